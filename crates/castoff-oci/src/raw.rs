//! A document together with the bytes it was read from.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Digest;

/// A parsed document and the exact bytes that its digest names.
#[derive(Debug, Clone)]
pub struct Raw<T> {
    bytes: Vec<u8>,
    value: T,
}

impl<T> Raw<T> {
    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the parsed document.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

impl<T: DeserializeOwned> Raw<T> {
    /// Parses bytes that came from outside and keeps them.
    ///
    /// # Errors
    /// When the bytes are not the JSON of a `T`.
    pub fn parse(bytes: Vec<u8>) -> Result<Raw<T>, serde_json::Error> {
        let value = serde_json::from_slice(&bytes)?;
        Ok(Raw { bytes, value })
    }
}

impl<T: Serialize> Raw<T> {
    /// Serializes a document of our own; its bytes are fixed from here on.
    pub fn new(value: T) -> Raw<T> {
        let bytes = serde_json::to_vec(&value).expect("image documents have string keys only");
        Raw { bytes, value }
    }
}
