//! Cache keys and the readable recipes they are hashed from.
//!
//! A recipe is an ordered list of named parts. The key is the digest of all of them. The recipe is
//! stored with the result, so that "why did this step run" is a comparison of two recipes and not a
//! guess at two hashes. Format and versions: `docs/cache-keys.md`.

use std::fmt;

use castoff_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

/// Raised when the meaning of a recipe's parts changes, so that old keys never match new ones.
const KEY_VERSION: &str = "castoff-key-1";

/// The digest of a [`KeyRecipe`]. Equal keys promise equal results.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(pub Digest);

impl fmt::Display for CacheKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.hex())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CacheKey({})", self.0.hex())
    }
}

/// What a key is made of, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecipe {
    /// The kind of operation: `run`, `copy`, `workdir`, `image`, `local`, `http`, `git`,
    /// `tree`, `scratch`.
    pub op: String,
    /// Named parts in a fixed order, such as `argument 0`, `env PATH`, `parent`, `file src/a.ts`.
    pub parts: Vec<(String, String)>,
}

/// One way in which a recipe differs from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A part has another value.
    Changed {
        /// Name of the part.
        part: String,
        /// The earlier value.
        before: String,
        /// The value now.
        after: String,
    },
    /// A part is new.
    Added {
        /// Name of the part.
        part: String,
        /// Its value.
        after: String,
    },
    /// A part is gone.
    Removed {
        /// Name of the part.
        part: String,
        /// The value that it had.
        before: String,
    },
}

impl KeyRecipe {
    /// Returns an empty recipe of an operation.
    pub fn new(op: &str) -> KeyRecipe {
        KeyRecipe { op: op.to_owned(), parts: Vec::new() }
    }

    /// Adds a named part.
    pub fn part(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parts.push((name.into(), value.into()));
    }

    /// Returns the key: the digest over the version, the operation and all parts, each with its
    /// length in front.
    pub fn key(&self) -> CacheKey {
        let mut hasher = Hasher::new();
        hasher.field(KEY_VERSION.as_bytes());
        hasher.field(self.op.as_bytes());
        for (name, value) in &self.parts {
            hasher.field(name.as_bytes());
            hasher.field(value.as_bytes());
        }
        CacheKey(hasher.finish())
    }

    /// Returns how this recipe differs from an earlier one, in the order of the parts.
    pub fn differences(&self, earlier: &KeyRecipe) -> Vec<Difference> {
        let mut differences = Vec::new();
        let before: std::collections::BTreeMap<&str, &str> =
            earlier.parts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let now: std::collections::BTreeSet<&str> =
            self.parts.iter().map(|(name, _)| name.as_str()).collect();
        for (name, after) in &self.parts {
            match before.get(name.as_str()) {
                None => {
                    differences.push(Difference::Added { part: name.clone(), after: after.clone() });
                }
                Some(value) if value != after => differences.push(Difference::Changed {
                    part: name.clone(),
                    before: (*value).to_owned(),
                    after: after.clone(),
                }),
                Some(_) => {}
            }
        }
        for (name, before) in &earlier.parts {
            if !now.contains(name.as_str()) {
                differences.push(Difference::Removed { part: name.clone(), before: before.clone() });
            }
        }
        differences
    }
}
