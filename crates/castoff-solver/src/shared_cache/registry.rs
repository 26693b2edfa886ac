//! A shared cache in a registry: `type=registry` (B-126). The objects are manifests of one repository, and each
//! key is a tag, so that the registry's own collection keeps what is named and a look-up is one request.

use std::fmt;
use std::io::{self, Read};

use castoff_graph::CacheKey;
use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use castoff_registry::{Client, Push, Pushed, RegistryError};

use super::{SharedCache, SharedCacheError};
use crate::step::chain;

/// Longest tag of the distribution specification.
const TAG_LIMIT: usize = 128;

/// A cache in the repository of a reference.
pub struct RegistryCache {
    client: Client,
    reference: Reference,
    name: String,
}

impl RegistryCache {
    /// Returns the cache that a reference names. Nothing is asked yet.
    pub fn new(client: Client, reference: Reference) -> RegistryCache {
        let name = format!("the cache {}", reference.familiar());
        RegistryCache { client, reference, name }
    }

    /// Returns the reference of a key: its tag begins with the cache's own, so that a repository may have
    /// several caches.
    fn of_key(&self, key: &CacheKey) -> Reference {
        let hex = key.to_string();
        let own = self.reference.tag().unwrap_or("latest");
        let short;
        let own = if own.len() + 1 + hex.len() <= TAG_LIMIT {
            own
        } else {
            short = Digest::of(own.as_bytes()).hex();
            &short[..16]
        };
        format!("{}:{own}-{hex}", self.reference.name()).parse().expect("a tag with hex digits is a tag")
    }
}

impl fmt::Debug for RegistryCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RegistryCache").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl SharedCache for RegistryCache {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn manifest(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, SharedCacheError> {
        match self.client.resolve(&self.of_key(key)) {
            Ok(document) => Ok(Some(document.bytes)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, SharedCacheError> {
        Ok(self.client.blob(&self.reference, descriptor)?)
    }

    fn lacks_blob(&self, _: &Descriptor) -> bool {
        // It would be one more request for each step; the registry keeps what its manifests name.
        false
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>, SharedCacheError>,
    ) -> Result<u64, SharedCacheError> {
        let from = |offset: u64| {
            let mut reader = open().map_err(|error| io::Error::other(chain(&error)))?;
            io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
            Ok(reader)
        };
        let push = Push { descriptor, mount_from: None, open: &from, sent: &mut |_| {} };
        match self.client.push_blob(&self.reference, push)? {
            Pushed::Present | Pushed::Mounted => Ok(0),
            Pushed::Sent => Ok(descriptor.size),
        }
    }

    fn put_manifest(&self, keys: &[CacheKey], manifest: &[u8]) -> Result<(), SharedCacheError> {
        for key in keys {
            self.client.push_manifest(&self.of_key(key), &MediaType::OciManifest, manifest)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), SharedCacheError> {
        Ok(())
    }
}
