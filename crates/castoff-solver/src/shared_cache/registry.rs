//! A shared cache in a registry: `type=registry` (B-126). The objects are manifests of one repository, and each
//! key is a tag, so that the registry's own collection keeps what is named and a look-up is one request.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex};

use castoff_graph::CacheKey;
use castoff_oci::{Descriptor, Digest, Manifest, MediaType, Reference};
use castoff_registry::{Client, Push, Pushed, RegistryError};

use super::object::StepObject;
use super::{Existing, OpenBlob, SharedCache, SharedCacheError, from_offset, inline};
use crate::bodies::lock;
use crate::origin::entries;

/// Longest tag of the distribution specification.
const TAG_LIMIT: usize = 128;

/// A cache in the repository of a reference.
pub struct RegistryCache {
    client: Client,
    reference: Reference,
    name: String,
    /// Whether the reference may be an image that has a cache in it, and its steps when it was looked at.
    image: Option<Mutex<Option<Steps>>>,
}

type Steps = Arc<BTreeMap<CacheKey, StepObject>>;

/// Configs with steps are small; more than this is an attack.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Images of an index that are looked at.
const IMAGES: usize = 32;

impl RegistryCache {
    /// Returns the cache that a reference names. Nothing is asked yet.
    pub fn new(client: Client, reference: Reference) -> RegistryCache {
        let name = format!("the cache {}", reference.familiar());
        RegistryCache { client, reference, name, image: None }
    }

    /// The same, and when the reference is an image, what it says of its own steps (B-125).
    pub fn with_image(self) -> RegistryCache {
        RegistryCache { image: Some(Mutex::default()), ..self }
    }

    /// Returns a step that the image of the reference says it has. The image is looked at once.
    fn in_image(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, SharedCacheError> {
        let Some(image) = &self.image else { return Ok(None) };
        // Others have nothing better to do than to wait for the same.
        let mut steps = lock(image);
        let steps = match &*steps {
            Some(known) => known,
            None => steps.insert(Arc::new(self.read_image()?)),
        };
        Ok(steps.get(key).map(|object| object.documents().0.bytes().to_vec()))
    }

    fn read_image(&self) -> Result<BTreeMap<CacheKey, StepObject>, SharedCacheError> {
        let document = match self.client.resolve(&self.reference) {
            Ok(document) => document,
            Err(RegistryError::NotFound { .. }) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let mut manifests = vec![document.bytes];
        for entry in entries(&manifests[0]).iter().take(IMAGES) {
            match self.client.manifest(&self.reference, &entry.digest) {
                Ok(document) => manifests.push(document.bytes),
                Err(RegistryError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut steps = BTreeMap::new();
        for manifest in manifests {
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else { continue };
            let config = &manifest.config;
            if config.size > CONFIG_LIMIT || manifest.layers.is_empty() {
                continue;
            }
            let mut bytes = Vec::new();
            let blob = self.client.blob(&self.reference, config)?;
            blob.take(CONFIG_LIMIT).read_to_end(&mut bytes).map_err(|source| SharedCacheError::File {
                path: config.digest.to_string().into(),
                source,
            })?;
            if Digest::of(&bytes) == config.digest {
                steps.extend(inline::read(&manifest, &bytes));
            }
        }
        Ok(steps)
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
            Err(RegistryError::NotFound { .. }) => self.in_image(key),
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
        _: Existing,
        open: &OpenBlob<'_>,
    ) -> Result<u64, SharedCacheError> {
        let from = from_offset(open);
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
