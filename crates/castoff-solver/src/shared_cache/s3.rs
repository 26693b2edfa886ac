//! A shared cache in a bucket: `type=s3` (B-129, B-133).
//!
//! ```text
//! <prefix><manifests_prefix><name>/<key hex>    the manifest that a key stands for
//! <prefix><blobs_prefix>sha256:<hex>            layers, and steps that their manifests do not embed
//! ```
//!
//! The blobs are where BuildKit has its own, so a bucket has a layer once for both. What is content-named is put only
//! where there is nothing yet; a manifest is small, put as a whole, and right whoever wrote it last.

use std::fmt;
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use castoff_graph::CacheKey;
use castoff_oci::Descriptor;
use castoff_registry::{Bucket, Pushed, RegistryError};

use super::{Existing, OpenBlob, SharedCache, SharedCacheError, from_offset};
use crate::bodies::lock;

/// Manifests are small; more than this is damage.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// S3 touches nothing that is larger.
const TOUCHABLE: u64 = 5 << 30;

/// A cache in a bucket.
pub struct S3Cache {
    bucket: Bucket,
    places: S3Places,
    clock: fn() -> i64,
    name: String,
    export: Option<Export>,
}

/// Where in a bucket a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Places {
    /// What every key begins with.
    pub prefix: String,
    /// What follows it for blobs.
    pub blobs: String,
    /// What follows it for manifests.
    pub manifests: String,
    /// The caches among the manifests, at least one. An import asks them in order, an export fills all.
    pub names: Vec<String>,
}

struct Export {
    /// What was not written for so long is written anew, for rules that remove what is old.
    refresh: Duration,
    /// Why something could not be.
    trouble: Mutex<Option<RegistryError>>,
}

impl S3Cache {
    /// Returns a cache to be read. Nothing is asked yet. `clock` returns milliseconds since 1970.
    pub fn import(bucket: Bucket, places: S3Places, clock: fn() -> i64) -> S3Cache {
        let name = format!("the cache in the bucket {}", bucket.name());
        S3Cache { bucket, places, clock, name, export: None }
    }

    /// Returns a cache to be filled. What has been there for `refresh` and is used is as if it were new.
    pub fn export(bucket: Bucket, places: S3Places, clock: fn() -> i64, refresh: Duration) -> S3Cache {
        let export = Some(Export { refresh, trouble: Mutex::default() });
        S3Cache { export, ..S3Cache::import(bucket, places, clock) }
    }

    fn manifest_key(&self, name: &str, key: &CacheKey) -> String {
        let S3Places { prefix, manifests, .. } = &self.places;
        format!("{prefix}{manifests}{name}/{key}")
    }

    fn blob_key(&self, descriptor: &Descriptor) -> String {
        let S3Places { prefix, blobs, .. } = &self.places;
        format!("{prefix}{blobs}{}", descriptor.digest)
    }

    /// Lets an object be new when it is to be. That it cannot be is told in the end.
    fn refresh(&self, key: &str, modified_ms: Option<i64>) {
        let Some(Export { refresh, trouble }) = &self.export else { return };
        let age = modified_ms.map_or(0, |modified| (self.clock)().saturating_sub(modified));
        if u128::try_from(age).is_ok_and(|age| age > refresh.as_millis())
            && let Err(error) = self.bucket.touch(key)
        {
            lock(trouble).get_or_insert(error);
        }
    }
}

impl fmt::Debug for S3Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3Cache")
            .field("name", &self.name)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl SharedCache for S3Cache {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn manifest(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, SharedCacheError> {
        let mut found = None;
        for name in &self.places.names {
            let place = self.manifest_key(name, key);
            match (self.bucket.object(&place, MANIFEST_LIMIT)?, &self.export) {
                (Some(object), None) => return Ok(Some(object.bytes)),
                (Some(object), Some(_)) => {
                    self.refresh(&place, object.modified_ms);
                    found = Some(object.bytes);
                }
                (None, None) => {}
                // An export has a step when it has it under all its names.
                (None, Some(_)) => return Ok(None),
            }
        }
        Ok(found)
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, SharedCacheError> {
        Ok(self.bucket.blob(&self.blob_key(descriptor), descriptor)?)
    }

    fn lacks_blob(&self, descriptor: &Descriptor) -> bool {
        if self.export.is_none() {
            // It would be one more request for each step.
            return false;
        }
        // Rules of the bucket may have removed it while its manifest stays.
        let key = self.blob_key(descriptor);
        match self.bucket.facts(&key) {
            Ok(Some(facts)) if facts.size == descriptor.size => {
                if facts.size <= TOUCHABLE {
                    self.refresh(&key, facts.modified_ms);
                }
                false
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        existing: Existing,
        open: &OpenBlob<'_>,
    ) -> Result<u64, SharedCacheError> {
        // A step that its manifest has in it needs no object of its own.
        if descriptor.data.is_some() {
            return Ok(0);
        }
        let from = from_offset(open);
        let key = self.blob_key(descriptor);
        let pushed = match existing {
            Existing::Keep => self.bucket.put_blob(&key, descriptor, &from)?,
            Existing::Replace => self.bucket.replace_blob(&key, descriptor, &from)?,
        };
        match pushed {
            Pushed::Present | Pushed::Mounted => Ok(0),
            Pushed::Sent => Ok(descriptor.size),
        }
    }

    fn put_manifest(&self, keys: &[CacheKey], manifest: &[u8]) -> Result<(), SharedCacheError> {
        for name in &self.places.names {
            for key in keys {
                self.bucket.put(&self.manifest_key(name, key), manifest)?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), SharedCacheError> {
        let trouble = self.export.as_ref().and_then(|export| lock(&export.trouble).take());
        trouble.map_or(Ok(()), |error| Err(error.into()))
    }
}
