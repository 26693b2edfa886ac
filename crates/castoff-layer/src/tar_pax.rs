//! PAX records: `length key=value` lines that override or extend the header after them.
//!
//! The length is decimal and counts the whole line, itself and the newline included, so that values may
//! contain any byte.

use std::collections::BTreeMap;

/// Extended attributes as star, GNU tar and Go write them.
const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// The records for one entry, sorted by key, so that they are written in one order only.
#[derive(Debug, Default)]
pub(crate) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Parses the data of an `x` entry; of equal keys the last counts.
    pub(crate) fn parse(mut data: &[u8]) -> Option<Records> {
        let mut records = BTreeMap::new();
        while !data.is_empty() {
            let space = data.iter().take(20).position(|byte| *byte == b' ')?;
            let digits = &data[..space];
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.is_empty() || key.contains(&0) {
                return None;
            }
            records.insert(key.to_vec(), value.to_vec());
            data = &data[length..];
        }
        Some(Records(records))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes a record; an empty value means that the header counts.
    pub(crate) fn take(&mut self, key: &str) -> Option<Vec<u8>> {
        self.0.remove(key.as_bytes()).filter(|value| !value.is_empty())
    }

    /// Returns whether the entry's data is a map of a sparse file.
    pub(crate) fn is_sparse(&self) -> bool {
        self.0.keys().any(|key| key.starts_with(SPARSE))
    }

    /// Takes the extended attributes out; `None` if a name is impossible.
    pub(crate) fn xattrs(&mut self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut xattrs = BTreeMap::new();
        for (key, value) in std::mem::take(&mut self.0) {
            if let Some(name) = key.strip_prefix(XATTR) {
                // XATTR_NAME_MAX in linux/limits.h.
                if name.is_empty() || name.len() > 255 {
                    return None;
                }
                xattrs.insert(name.to_vec(), value);
            }
        }
        Some(xattrs)
    }

    pub(crate) fn insert(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.0.insert(key.as_bytes().to_vec(), value.into());
    }

    pub(crate) fn insert_xattr(&mut self, name: &[u8], value: &[u8]) {
        self.0.insert([XATTR, name].concat(), value.to_vec());
    }

    /// Returns the data of an `x` entry.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            let rest = 1 + key.len() + 1 + value.len() + 1;
            // The length counts its own digits, which may make it one digit longer.
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            bytes.extend_from_slice(length.to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(key);
            bytes.push(b'=');
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes
    }
}
