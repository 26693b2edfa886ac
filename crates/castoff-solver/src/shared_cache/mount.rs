//! Cache mounts that travel: what a step left in one is in a shared cache, and comes back before a step that finds
//! its mount empty (`docs/shared-cache.md`).
//!
//! The content of a mount is a tar that is cut into chunks by what is in it, so that a change costs the chunks around
//! it. Chunks are blobs of the cache, and an object names them in their order. It is found under several keys, the
//! most telling first; whoever reads it believes nothing of it, as with steps.

mod restore;
mod send;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use castoff_graph::{CacheKey, KeyRecipe, RunOp};
use castoff_oci::{Descriptor, Digest, Manifest, Raw};
use serde::{Deserialize, Serialize};

use super::object::{MalformedObject, config_bytes, config_descriptor};
use super::{SharedCache, SharedCacheError, read_config};
use crate::bodies::lock;

pub(crate) use restore::restore;
pub(super) use send::send;
pub use send::{MountOutcome, MountReport};

/// Media type of the config of a mount's manifest.
const MOUNT_TYPE: &str = "application/vnd.castoff.cache.mount.v1+json";

/// Media type of a chunk.
const CHUNK_TYPE: &str = "application/vnd.castoff.cache.chunk.v1+zstd";

/// Version of the JSON, of how a tar is cut and of how chunks are compressed.
const VERSION: u32 = 1;

/// Sizes of chunks in bytes: the least, the one that most are near, and the greatest.
const CHUNK: (usize, usize, usize) = (512 << 10, 2 << 20, 8 << 20);

/// A chunk that does not shrink is a little larger when it is compressed.
const OVERHEAD: u64 = 64 << 10;

/// Which cache mounts travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// Those with these ids; all when it is not given.
    pub ids: Option<BTreeSet<String>>,
    /// Mounts of more bytes, as a tar, do not.
    pub limit: u64,
}

/// Cache mounts that steps of a build wrote to, by their names in the store.
#[derive(Debug, Default)]
pub(super) struct UsedMounts(Mutex<BTreeMap<String, UsedMount>>);

/// A cache mount that a step wrote to.
#[derive(Debug, Clone)]
pub(crate) struct UsedMount {
    /// Its name in the store.
    pub(crate) name: String,
    /// Its id, as the user knows it.
    pub(crate) id: String,
    /// Where the step saw it.
    pub(crate) target: String,
    /// The keys under which it is found.
    pub(crate) keys: Vec<CacheKey>,
}

/// What a shared cache knows of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CachedMount {
    version: u32,
    /// The keys that it was put under.
    keys: Vec<CacheKey>,
    /// Size of the tar in bytes.
    size: u64,
    /// When it was made, in milliseconds since 1970.
    created_ms: i64,
    /// What the chunks unpack to, in their order.
    chunks: Vec<Chunk>,
}

/// A chunk as it is before it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Chunk {
    digest: Digest,
    size: u64,
}

/// A mount and the blobs of its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MountObject {
    mount: CachedMount,
    blobs: Vec<Descriptor>,
}

impl Mounts {
    /// Returns whether a mount is among them.
    pub(crate) fn include(&self, id: &str) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(id))
    }
}

impl UsedMounts {
    /// Adds a mount, or what else it is found under.
    pub(super) fn add(&self, used: UsedMount) {
        let mut mounts = lock(&self.0);
        let known =
            mounts.entry(used.name.clone()).or_insert_with(|| UsedMount { keys: Vec::new(), ..used.clone() });
        let new: Vec<CacheKey> = used.keys.into_iter().filter(|key| !known.keys.contains(key)).collect();
        known.keys.extend(new);
    }

    pub(super) fn take(&self) -> BTreeMap<String, UsedMount> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// Returns the keys of a cache mount by its name in the store: what the same command left in it on the same platform,
/// what any command did there, and what any did at all.
pub(crate) fn keys(name: &str, op: &RunOp) -> Vec<CacheKey> {
    let mut recipe = KeyRecipe::new("cache mount 1");
    recipe.part("mount", name);
    let any = recipe.key();
    recipe.part("platform", op.platform.to_string());
    let of_platform = recipe.key();
    for (place, argument) in op.argv.iter().enumerate() {
        recipe.part(format!("argument {place}"), argument.clone());
    }
    if let Some(script) = &op.script {
        recipe.part("script", Digest::of(&script.content).to_string());
    }
    vec![recipe.key(), of_platform, any]
}

impl MountObject {
    /// Returns the manifest of the object, and the mount, which is the manifest's config.
    fn documents(&self) -> (Raw<Manifest>, Raw<CachedMount>) {
        let mount = Raw::new(self.mount.clone());
        let config = config_descriptor(MOUNT_TYPE, &mount);
        (Raw::new(Manifest::oci(config, self.blobs.clone())), mount)
    }

    /// Reads an object that was found under `key`. `blob` returns the bytes of a config that is not embedded.
    fn read<E: From<MalformedObject>>(
        manifest: &[u8],
        key: CacheKey,
        blob: impl FnOnce(&Descriptor) -> Result<Vec<u8>, E>,
    ) -> Result<MountObject, E> {
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(MalformedObject::Json)?;
        let bytes = config_bytes(&manifest, MOUNT_TYPE, "its config is not a cache mount", blob)?;
        let mount: CachedMount = serde_json::from_slice(&bytes).map_err(MalformedObject::Json)?;
        let refuse = |why| Err(MalformedObject::Kind(why).into());
        if mount.version != VERSION {
            return refuse("the cache mount is of another version");
        }
        if let Some(other) = mount.keys.first().filter(|_| !mount.keys.contains(&key)) {
            return Err(MalformedObject::Key(*other).into());
        }
        let sizes = |chunk: &Chunk| chunk.size <= CHUNK.2 as u64;
        if mount.keys.is_empty()
            || mount.chunks.len() != manifest.layers.len()
            || !mount.chunks.iter().all(sizes)
        {
            return refuse("its chunks make no sense");
        }
        if mount.chunks.iter().map(|chunk| chunk.size).sum::<u64>() != mount.size
            || manifest.layers.iter().any(|blob| blob.size > CHUNK.2 as u64 + OVERHEAD)
        {
            return refuse("its sizes make no sense");
        }
        Ok(MountObject { mount, blobs: manifest.layers })
    }

    /// Returns the object that a cache has under a key.
    fn find(cache: &dyn SharedCache, key: CacheKey) -> Result<Option<MountObject>, SharedCacheError> {
        let Some(manifest) = cache.manifest(&key)? else { return Ok(None) };
        Ok(Some(MountObject::read(&manifest, key, |descriptor| read_config(cache, descriptor))?))
    }
}

#[cfg(test)]
mod tests {
    use castoff_oci::MediaType;

    use super::*;

    fn object(keys: &[CacheKey]) -> MountObject {
        let chunk = |text: &[u8]| Chunk { digest: Digest::of(text), size: text.len() as u64 };
        let blob = |text: &[u8]| {
            Descriptor::new(MediaType::Other(CHUNK_TYPE.to_owned()), Digest::of(text), text.len() as u64)
        };
        let mount = CachedMount {
            version: VERSION,
            keys: keys.to_vec(),
            size: 5,
            created_ms: 7,
            chunks: vec![chunk(b"one"), chunk(b"22")],
        };
        MountObject { mount, blobs: vec![blob(b"zstd 1"), blob(b"zstd 2")] }
    }

    fn key(name: &str) -> CacheKey {
        KeyRecipe::new(name).key()
    }

    fn read(manifest: &[u8], key: CacheKey) -> Result<MountObject, String> {
        MountObject::read(manifest, key, |_| Err(MalformedObject::Kind("no blob")))
            .map_err(|error| error.to_string())
    }

    // B-121, B-218: an object is believed as little as that of a step.
    #[test]
    fn what_is_not_the_object_of_the_key_is_refused() {
        let good = object(&[key("a"), key("b")]);
        let bytes = |object: &MountObject| object.documents().0.bytes().to_vec();
        for name in ["a", "b"] {
            assert_eq!(read(&bytes(&good), key(name)).as_ref(), Ok(&good));
        }
        let refused = |object: &MountObject, why: &str| {
            let error = read(&bytes(object), key("a")).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&object(&[key("c")]), "of the key");
        refused(&object(&[]), "chunks make no sense");
        let mut other = good.clone();
        other.mount.version = 2;
        refused(&other, "another version");
        let mut other = good.clone();
        other.blobs.pop();
        refused(&other, "chunks make no sense");
        let mut other = good.clone();
        other.mount.chunks[0].size = CHUNK.2 as u64 + 1;
        refused(&other, "chunks make no sense");
        let mut other = good.clone();
        other.mount.size = 6;
        refused(&other, "sizes make no sense");
        let mut other = good.clone();
        other.blobs[0].size = 1 << 40;
        refused(&other, "sizes make no sense");
        assert!(read(b"{", key("a")).unwrap_err().contains("not a step"));
    }

    #[test]
    fn a_mount_is_one_however_many_steps_use_it() {
        let used = |name: &str, keys: &[&str]| UsedMount {
            name: name.to_owned(),
            id: name.to_owned(),
            target: format!("/{name}"),
            keys: keys.iter().map(|name| key(name)).collect(),
        };
        let mounts = UsedMounts::default();
        mounts.add(used("m", &["a", "z"]));
        mounts.add(used("m", &["b", "z"]));
        mounts.add(used("n", &["c"]));
        let taken = mounts.take();
        assert_eq!(taken["m"].keys, [key("a"), key("z"), key("b")]);
        assert_eq!(taken.len(), 2);
        assert!(mounts.take().is_empty());
    }
}
