//! Bringing cache mounts into a shared cache, when the steps of a build have done with them.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Seek, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use castoff_layer::{CompressOptions, Compression, TarOptions, TarWriter, TreeOptions};
use castoff_oci::{Descriptor, Digest, MediaType};
use castoff_store::{CacheSharing, LockError, TemporaryDirectory};
use fastcdc::v2020::StreamCDC;

use super::{CHUNK, CHUNK_TYPE, CachedMount, Chunk, MountObject, UsedMount, VERSION};
use crate::World;
use crate::bodies::lock;
use crate::shared_cache::upload::{CacheExport, unreadable};
use crate::shared_cache::{Existing, SharedCache, SharedCacheError};
use crate::step::chain;

/// What became of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountReport {
    /// Its id.
    pub id: String,
    /// What.
    pub outcome: MountOutcome,
}

/// What became of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountOutcome {
    /// The cache has it.
    Sent {
        /// Chunks.
        chunks: u64,
        /// Chunks that the cache did not have.
        new: u64,
        /// Bytes that were sent.
        bytes: u64,
    },
    /// It is larger than this many bytes.
    TooLarge(u64),
    /// Another build works in it.
    Busy,
    /// It could not be read.
    Unreadable(String),
}

/// The content of a mount at one time.
struct Snapshot {
    tar: File,
    size: u64,
    _directory: TemporaryDirectory,
}

/// Why there is no snapshot.
enum Without {
    Outcome(MountOutcome),
    Gone,
    Error(SharedCacheError),
}

impl From<SharedCacheError> for Without {
    fn from(error: SharedCacheError) -> Without {
        Without::Error(error)
    }
}

/// Brings mounts into each export that takes them. `of` is the report and the failure of each export, in their order.
pub(crate) fn send(
    world: &World,
    mounts: &[UsedMount],
    exports: &[CacheExport],
    stop: &AtomicBool,
    of: &mut [(Vec<MountReport>, Option<SharedCacheError>)],
) {
    for used in mounts {
        let takes =
            |export: &CacheExport| export.mounts.as_ref().is_some_and(|mounts| mounts.include(&used.id));
        let limit = exports.iter().filter(|export| takes(export)).filter_map(|export| export.mounts.as_ref());
        let Some(limit) = limit.map(|mounts| mounts.limit).max() else { continue };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let snapshot = match snapshot(world, used, limit) {
            Ok(snapshot) => Ok(snapshot),
            Err(Without::Outcome(outcome)) => Err(outcome),
            Err(Without::Gone) => continue,
            Err(Without::Error(error)) => {
                // It is nobody's more than that of the first who would have got it.
                let first = exports.iter().zip(&mut *of).find(|(export, _)| takes(export));
                if let Some((_, (_, failure))) = first {
                    failure.get_or_insert(error);
                }
                continue;
            }
        };
        for (export, (reports, failure)) in exports.iter().zip(&mut *of) {
            let Some(mounts) = export.mounts.as_ref().filter(|_| takes(export) && failure.is_none()) else {
                continue;
            };
            let outcome = match &snapshot {
                Ok(snapshot) if snapshot.size > mounts.limit => Ok(MountOutcome::TooLarge(mounts.limit)),
                Ok(snapshot) => send_to(world, used, snapshot, export, stop),
                Err(MountOutcome::TooLarge(_)) => Ok(MountOutcome::TooLarge(mounts.limit)),
                Err(outcome) => Ok(outcome.clone()),
            };
            match outcome {
                Ok(outcome) => reports.push(MountReport { id: used.id.clone(), outcome }),
                Err(error) => *failure = Some(error),
            }
        }
    }
}

/// Copies the content of a mount, so that it is one however long sending takes, and looks for secrets in the copy.
fn snapshot(world: &World, used: &UsedMount, limit: u64) -> Result<Snapshot, Without> {
    let store = &world.store;
    // Nobody waits for another build here.
    let mount = match store.cache_mount(&used.name, CacheSharing::Shared, &|| true) {
        Ok(mount) => mount,
        Err(LockError::Cancelled) => return Err(Without::Outcome(MountOutcome::Busy)),
        Err(error @ LockError::File(_)) => return Err(unreadable(error).into()),
    };
    if mount.created() {
        return Err(Without::Gone);
    }
    let directory = store.temporary().map_err(unreadable)?;
    let path = directory.path().join("mount.tar");
    let file = |source| SharedCacheError::File { path: path.clone(), source };
    let mut tar = File::options().read(true).write(true).create_new(true).open(&path).map_err(file)?;
    let exceeded = Cell::new(false);
    let writer = Limited { inner: &tar, left: limit, exceeded: &exceeded };
    let mut writer = TarWriter::new(writer, TarOptions::default());
    let options = TreeOptions {
        opaque: world.machine.opaque,
        ownership: world.machine.ownership,
        overlay: false,
        ..TreeOptions::default()
    };
    let written = castoff_layer::write_tree(mount.path(), &mut writer, &options);
    match written.and_then(|_| Ok(writer.finish().map(drop)?)) {
        Ok(()) => {}
        Err(_) if exceeded.get() => return Err(Without::Outcome(MountOutcome::TooLarge(limit))),
        // Such as a file that another step was writing.
        Err(error) => return Err(Without::Outcome(MountOutcome::Unreadable(chain(&error)))),
    }
    drop(mount);
    if let Some(guard) = &world.guard {
        tar.rewind().map_err(file)?;
        guard.cache_mount_archive(&mut tar, &used.target).map_err(SharedCacheError::from)?;
    }
    let size = tar.metadata().map_err(file)?.len();
    Ok(Snapshot { tar, size, _directory: directory })
}

/// Sends what a cache does not have of a snapshot.
fn send_to(
    world: &World,
    used: &UsedMount,
    snapshot: &Snapshot,
    export: &CacheExport,
    stop: &AtomicBool,
) -> Result<MountOutcome, SharedCacheError> {
    let cache = &*export.cache;
    let file = |source| SharedCacheError::File { path: "mount.tar".into(), source };
    let existing = match used.keys.iter().any(|key| world.shared_caches.is_refused(key)) {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    let mut known: HashMap<Digest, Descriptor> = HashMap::new();
    let mut earlier = Vec::new();
    for key in &used.keys {
        match MountObject::find(cache, *key) {
            Ok(found) => earlier.push(found),
            // What is malformed is replaced.
            Err(SharedCacheError::Malformed(_)) => earlier.push(None),
            Err(error) => return Err(error),
        }
    }
    for object in earlier.iter().flatten().filter(|_| existing == Existing::Keep) {
        known.extend(object.mount.chunks.iter().map(|chunk| chunk.digest).zip(object.blobs.iter().cloned()));
    }
    let (new, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let parts: Mutex<Vec<(usize, Chunk, Descriptor)>> = Mutex::default();
    let failure: Mutex<Option<SharedCacheError>> = Mutex::default();
    let (sender, receiver) = crossbeam_channel::bounded::<(usize, Vec<u8>)>(1);
    let read: io::Result<()> = std::thread::scope(|scope| {
        for _ in 0..export.uploads_at_once {
            let receiver = receiver.clone();
            scope.spawn(|| {
                for (place, data) in receiver {
                    if lock(&failure).is_some() || stop.load(Ordering::Relaxed) {
                        continue;
                    }
                    match send_chunk(cache, &data, &known, existing) {
                        Ok((chunk, blob, sent)) => {
                            new.fetch_add(u64::from(sent > 0), Ordering::Relaxed);
                            bytes.fetch_add(sent, Ordering::Relaxed);
                            lock(&parts).push((place, chunk, blob));
                        }
                        Err(error) => {
                            lock(&failure).get_or_insert(error);
                        }
                    }
                }
            });
        }
        drop(receiver);
        let (least, usual, greatest) = CHUNK;
        (&snapshot.tar).rewind()?;
        for (place, chunk) in StreamCDC::new(&snapshot.tar, least, usual, greatest).enumerate() {
            let failed = lock(&failure).is_some();
            if failed || sender.send((place, chunk.map_err(io::Error::from)?.data)).is_err() {
                break;
            }
        }
        drop(sender);
        Ok(())
    });
    read.map_err(file)?;
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if stop.load(Ordering::Relaxed) {
        return Err(SharedCacheError::Stopped);
    }
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_by_key(|(place, ..)| *place);
    let (chunks, blobs): (Vec<Chunk>, Vec<Descriptor>) =
        parts.into_iter().map(|(_, chunk, blob)| (chunk, blob)).unzip();
    let outcome =
        MountOutcome::Sent { chunks: chunks.len() as u64, new: new.into_inner(), bytes: bytes.into_inner() };
    let same =
        |object: &Option<MountObject>| object.as_ref().is_some_and(|object| object.mount.chunks == chunks);
    if !earlier.iter().all(same) {
        let mount = CachedMount {
            version: VERSION,
            keys: used.keys.clone(),
            size: snapshot.size,
            created_ms: (world.clock)(),
            chunks,
        };
        put(cache, &MountObject { mount, blobs })?;
    }
    Ok(outcome)
}

fn put(cache: &dyn SharedCache, object: &MountObject) -> Result<(), SharedCacheError> {
    let (manifest, mount) = object.documents();
    let config = &manifest.value().config;
    cache.put_blob(config, Existing::Keep, &|| Ok(Box::new(Cursor::new(mount.bytes().to_vec()))))?;
    cache.put_manifest(&object.mount.keys, manifest.bytes())
}

/// Makes sure that a cache has a chunk, and returns how many bytes were sent.
fn send_chunk(
    cache: &dyn SharedCache,
    data: &[u8],
    known: &HashMap<Digest, Descriptor>,
    existing: Existing,
) -> Result<(Chunk, Descriptor, u64), SharedCacheError> {
    let chunk = Chunk { digest: Digest::of(data), size: data.len() as u64 };
    if let Some(blob) = known.get(&chunk.digest).filter(|blob| !cache.lacks_blob(blob)) {
        return Ok((chunk, blob.clone(), 0));
    }
    let mut compressed = Vec::new();
    let options = CompressOptions { compression: Compression::Zstd, level: Some(3), threads: 1 };
    castoff_layer::compress(&mut &data[..], &mut compressed, options).map_err(unreadable)?;
    let media_type = MediaType::Other(CHUNK_TYPE.to_owned());
    let blob = Descriptor::new(media_type, Digest::of(&compressed), compressed.len() as u64);
    let sent = cache.put_blob(&blob, existing, &|| Ok(Box::new(Cursor::new(compressed.clone()))))?;
    Ok((chunk, blob, sent))
}

/// A writer that takes so many bytes and no more.
struct Limited<'a> {
    inner: &'a File,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl Write for Limited<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.left {
            self.exceeded.set(true);
            return Err(io::Error::other("too large"));
        }
        let count = self.inner.write(buffer)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
