//! Cache records: what a step was, what it gave, and what it cost.
//!
//! One file per key, written once the result is in the store. A record whose result is gone is a miss.

use castoff_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::file::{FileError, read_json, remove_optional, sharded, touch};
use crate::{LayerId, Store};

/// Version of the record's JSON; records of another one are absent to this castoff.
const RECORD_VERSION: u32 = 1;

/// What is remembered of a step that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Everything that went into the key, readable; its meaning is the caller's.
    pub recipe: serde_json::Value,
    /// What the step gave.
    pub outcome: RecordOutcome,
    /// When the record was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When the step was started, in milliseconds since 1970.
    pub started_ms: i64,
    /// How long the step took, in milliseconds.
    pub duration_ms: u64,
    /// Processor time of the step, in milliseconds, if it ran anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Largest memory of the step, in bytes, if it ran anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Blob with everything the step printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Digest>,
    /// Blob with the digests of the files that the step read, for explaining a later miss; its form is the
    /// caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// The shared cache that the result came from, as the user knows it, when it was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// What the user was warned of when the step was executed, to be said again when its result is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Stage that the step was part of, as the user knows it; empty when it has none.
    pub stage: String,
    /// The step as it was shown.
    pub name: String,
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// A layer on top of its input.
    Layer(LayerId),
    /// The same as the step with this key.
    Alias(Digest),
    /// Bytes that were fetched.
    Blob(Digest),
    /// Nothing: its input unchanged.
    Empty,
}

#[derive(Serialize, Deserialize)]
struct Stored<R> {
    version: u32,
    record: R,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    key: Digest,
}

impl Store {
    /// Returns the record of this key, if there is one. Use it together with [`Store::touch_record`].
    ///
    /// # Errors
    /// When the file is there and cannot be read. One that cannot be parsed is removed and absent.
    pub fn record(&self, key: Digest) -> Result<Option<CacheRecord>, FileError> {
        let path = self.path(record_path(key));
        let Some(stored) = read_json::<Stored<serde_json::Value>>(&path)? else { return Ok(None) };
        if stored.version != RECORD_VERSION {
            return Ok(None);
        }
        let record = serde_json::from_value(stored.record).ok();
        if record.is_none() {
            remove_optional(&path)?;
        }
        Ok(record)
    }

    /// Writes the record of this key; an earlier one is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_record(&self, key: Digest, record: &CacheRecord) -> Result<(), FileError> {
        self.write_json(&record_path(key), &Stored { version: RECORD_VERSION, record })
    }

    /// Marks the record as used. Costs a write only when it was last used more than an hour ago.
    pub fn touch_record(&self, key: Digest) {
        touch(&self.path(record_path(key)));
    }

    /// Removes the record of this key and returns whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_record(&self, key: Digest) -> Result<bool, FileError> {
        remove_optional(&self.path(record_path(key)))
    }

    /// Returns the key that the step in this place had when it was last built. For explaining a miss.
    pub fn last_key(&self, slot: Digest) -> Option<Digest> {
        let slot: Slot = read_json(&self.path(slot_path(slot))).ok()??;
        Some(slot.key)
    }

    /// Remembers the key of the step in this place; nothing is written when it is the same as before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_last_key(&self, slot: Digest, key: Digest) -> Result<(), FileError> {
        if self.last_key(slot) == Some(key) {
            return Ok(());
        }
        self.write_json(&slot_path(slot), &Slot { key })
    }
}

fn record_path(key: Digest) -> String {
    sharded("records", &key.hex(), ".json")
}

fn slot_path(slot: Digest) -> String {
    sharded("slots", &slot.hex(), ".json")
}
