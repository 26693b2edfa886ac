//! Filling a new cache mount with what a shared cache has of it.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use castoff_graph::CacheKey;
use castoff_layer::{ApplyError, ApplyOptions, Limits, ReadOptions};
use castoff_oci::{Descriptor, Digest};
use castoff_store::CacheMount;

use super::{Chunk, MountObject, Mounts};
use crate::World;
use crate::driver::Messenger;
use crate::event::{Event, StepId};
use crate::shared_cache::{Import, Ledger, MalformedObject, SharedCache, SharedCacheError};
use crate::step::{StepError, chain};

/// Chunks that are fetched at once.
const AT_ONCE: usize = 4;

/// A mount with more entries is no cache but an attack.
const ENTRIES: u64 = 10_000_000;

/// Why a mount was not filled.
#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error(transparent)]
    Cache(#[from] SharedCacheError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("it has {size} bytes, and {limit} are allowed")]
    TooLarge { size: u64, limit: u64 },
}

/// Fills a cache mount that is new with the first that an import has under one of its keys, and returns whether one
/// has. What is broken is a warning, and the mount is as new as before.
pub(crate) fn restore(
    world: &World,
    mount: &CacheMount,
    id: &str,
    keys: &[CacheKey],
    step: StepId,
    messenger: &Messenger,
) -> Result<bool, StepError> {
    let imports = world.shared_caches.imports.iter();
    let mut imports: Vec<(&Import, &Mounts)> = imports
        .filter_map(|import| Some((import, import.mounts.as_ref().filter(|mounts| mounts.include(id))?)))
        .collect();
    for key in keys {
        let mut place = 0;
        while let Some((import, mounts)) = imports.get(place).copied() {
            let name = import.cache.name();
            let error = match from_import(world, import, mounts, *key, mount.path()) {
                Ok(None) => {
                    place += 1;
                    continue;
                }
                Ok(Some((size, entries))) => {
                    let text = format!("cache mount {id}: {entries} entries ({size} bytes) from {name}");
                    messenger.send(Event::Note { step, text });
                    return Ok(true);
                }
                Err(_) if world.cancel.is_cancelled() => return Err(StepError::Cancelled),
                Err(error) => error,
            };
            mount.clean()?;
            // Of who cannot be asked nothing is known.
            if !matches!(error, RestoreError::TooLarge { .. }) && !import.off.load(Ordering::Relaxed) {
                world.shared_caches.refuse_mount(keys);
            }
            let text = format!("cache mount {id}: {name} is of no use: {}", chain(&error));
            messenger.send(Event::Warning { step: Some(step), rule: None, text, line: None });
            // What it has under other keys is of the same chunks.
            imports.remove(place);
        }
    }
    Ok(false)
}

/// Returns the size of the tar and how many entries it had, when the import has one.
fn from_import(
    world: &World,
    import: &Import,
    mounts: &Mounts,
    key: CacheKey,
    directory: &Path,
) -> Result<Option<(u64, u64)>, RestoreError> {
    if import.off.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let cache = &*import.cache;
    let object = match MountObject::find(cache, key) {
        Ok(None) => return Ok(None),
        Ok(Some(object)) => object,
        Err(error) => {
            // As with steps: who cannot be asked once is not waited for again.
            if !matches!(error, SharedCacheError::Malformed(_)) {
                import.off.store(true, Ordering::Relaxed);
            }
            return Err(error.into());
        }
    };
    let (size, limit) = (object.mount.size, mounts.limit);
    if size > limit {
        return Err(RestoreError::TooLarge { size, limit });
    }
    let options = ApplyOptions {
        opaque: world.machine.opaque,
        ownership: world.machine.ownership,
        overlay: false,
        read: ReadOptions {
            whiteouts: false,
            limits: Limits { bytes: size, entries: ENTRIES, ..Limits::default() },
        },
    };
    let applied = std::thread::scope(|scope| {
        let object = &object;
        let channels = (0..AT_ONCE).map(|first| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || fetch(cache, object, first, &sender));
            receiver
        });
        let channels: Vec<Receiver<Fetched>> = channels.collect();
        let blobs = &object.blobs[..];
        let mut tar = Chunks { world, channels, blobs, next: 0, current: Cursor::default(), failure: None };
        let applied = castoff_layer::apply(&mut tar, directory, &options);
        match tar.failure.take() {
            Some(failure) => Err(RestoreError::from(failure)),
            None => applied.map_err(RestoreError::from),
        }
    })?;
    Ok(Some((size, applied.entries)))
}

type Fetched = Result<Vec<u8>, SharedCacheError>;

/// Fetches every [`AT_ONCE`]th chunk, until nobody wants more.
fn fetch(cache: &dyn SharedCache, object: &MountObject, first: usize, sender: &SyncSender<Fetched>) {
    let chunks = object.mount.chunks.iter().zip(&object.blobs);
    for (chunk, blob) in chunks.skip(first).step_by(AT_ONCE) {
        let fetched = fetch_chunk(cache, chunk, blob);
        let failed = fetched.is_err();
        if sender.send(fetched).is_err() || failed {
            return;
        }
    }
}

/// Returns a chunk. It and its blob are what the object says.
fn fetch_chunk(cache: &dyn SharedCache, chunk: &Chunk, blob: &Descriptor) -> Fetched {
    let file = |source| SharedCacheError::File { path: blob.digest.to_string().into(), source };
    let mut compressed = Vec::new();
    let reader = cache.open_blob(blob)?;
    reader.take(blob.size.saturating_add(1)).read_to_end(&mut compressed).map_err(file)?;
    check(&compressed, blob.digest)?;
    let mut bytes = Vec::new();
    let (_, decoder) = castoff_layer::decoder(&compressed[..]).map_err(file)?;
    decoder.take(chunk.size + 1).read_to_end(&mut bytes).map_err(file)?;
    check(&bytes, chunk.digest)?;
    Ok(bytes)
}

fn check(bytes: &[u8], expected: Digest) -> Result<(), MalformedObject> {
    match Digest::of(bytes) {
        actual if actual == expected => Ok(()),
        actual => Err(MalformedObject::Digest { expected, actual }),
    }
}

/// The chunks of a mount, one after the other.
struct Chunks<'a> {
    world: &'a World,
    channels: Vec<Receiver<Fetched>>,
    blobs: &'a [Descriptor],
    /// The place of the chunk that comes next.
    next: usize,
    current: Cursor<Vec<u8>>,
    failure: Option<SharedCacheError>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(blob) = self.blobs.get(self.next) else { return Ok(0) };
            if self.world.cancel.is_cancelled() {
                return Err(io::Error::other("stopped"));
            }
            let Ledger { fetched, waited_ms, .. } = &self.world.shared_caches.ledger;
            let before = (self.world.clock)();
            let received = self.channels[self.next % AT_ONCE].recv();
            waited_ms.fetch_add((self.world.clock)() - before, Ordering::Relaxed);
            match received.unwrap_or(Err(SharedCacheError::Stopped)) {
                Ok(bytes) => {
                    fetched.fetch_add(blob.size, Ordering::Relaxed);
                    self.current = Cursor::new(bytes);
                    self.next += 1;
                }
                Err(failure) => {
                    self.failure = Some(failure);
                    return Err(io::Error::other("a chunk cannot be had"));
                }
            }
        }
    }
}
