//! Exports: each step is uploaded in the background as soon as it is done, whatever becomes of the build.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use castoff_graph::{CacheKey, FileList};
use castoff_oci::{Descriptor, LayerCompression, MediaType, Raw};
use castoff_store::{CacheRecord, LayerId};
use crossbeam_channel::{Receiver, Sender};

use super::mount::{self, MountReport, Mounts, UsedMount, UsedMounts};
use super::object::{CachedStep, StepObject};
use super::{Existing, SharedCache, SharedCacheError, find};
use crate::World;
use crate::bodies::{Bodies, Origin, lock};
use crate::driver::Messenger;
use crate::export::image::ImageLayer;
use crate::export::pack::{self, PackOptions, PackSource, PackedBlob};
use crate::guard::GuardError;
use crate::step::chain;

/// Uploads at once, where nobody asks for more or fewer.
pub const UPLOADS: usize = 4;

/// Longer lists of files are not in an object: it is read by every look-up.
const FILES_LIMIT: u64 = 64 << 10;

/// Uploads smaller than this say nothing about how fast a cache is.
const MEASURED: u64 = 1 << 20;

/// Which steps are exported (B-122).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers are in the result.
    Min,
    /// All.
    Max,
}

/// A cache that is filled.
#[derive(Debug)]
pub struct CacheExport {
    /// The cache.
    pub cache: Box<dyn SharedCache>,
    /// Which steps it gets.
    pub mode: CacheMode,
    /// How layers are compressed.
    pub compression: PackOptions,
    /// Which cache mounts it gets.
    pub mounts: Option<Mounts>,
    /// How many steps are uploaded at once. The threads are those of all exports, as many as the one needs that wants
    /// the most.
    pub uploads_at_once: usize,
    /// Whether the build succeeds when the export fails.
    pub ignore_error: bool,
}

/// What became of an export.
#[derive(Debug)]
pub struct ExportReport {
    /// The cache, as the user knows it.
    pub name: String,
    /// Steps that it has now and did not have before.
    pub sent: u64,
    /// Steps that it had already.
    pub known: u64,
    /// Steps that are made again sooner than they are uploaded.
    pub skipped: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// What became of the cache mounts that it takes.
    pub mounts: Vec<MountReport>,
    /// Why it is not complete.
    pub error: Option<SharedCacheError>,
    /// Whether that may be.
    pub ignore_error: bool,
}

/// A step that is done.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) key: CacheKey,
    pub(crate) definition: Option<CacheKey>,
    pub(crate) place: CacheKey,
    pub(crate) layer: LayerId,
    /// Whether its layer is in the result.
    pub(crate) in_result: bool,
    /// Whether it can be made again without fetching what other steps made.
    pub(crate) stands_alone: bool,
}

/// Where steps that are done are put, and cache mounts that they have written to.
#[derive(Debug, Clone)]
pub struct UploadQueue {
    steps: Sender<Upload>,
    mounts: Arc<UsedMounts>,
}

impl UploadQueue {
    pub(crate) fn put(&self, upload: Upload) {
        let _given_up = self.steps.send(upload);
    }

    /// Lets cache mounts get into the exports that take them, in the end: other steps may write to them.
    pub(crate) fn put_mounts(&self, used: Vec<UsedMount>) {
        used.into_iter().for_each(|used| self.mounts.add(used));
    }
}

/// Uploads steps on threads of its own.
pub struct Uploader<'scope> {
    queue: UploadQueue,
    world: &'scope World,
    exports: &'scope [CacheExport],
    states: Arc<Vec<Mutex<State>>>,
    stop: Arc<AtomicBool>,
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
}

#[derive(Debug, Default)]
struct State {
    sent: u64,
    known: u64,
    skipped: u64,
    bytes: u64,
    /// Uncompressed bytes whose upload was measured, and the milliseconds that it took.
    measured: (u64, u64),
    error: Option<SharedCacheError>,
}

impl<'scope> Uploader<'scope> {
    /// Starts the threads. `stop` gives the export up: it is set when the uploader is told so, and the caller's
    /// caches may look at it.
    pub fn start(
        scope: &'scope Scope<'scope, '_>,
        exports: &'scope [CacheExport],
        world: &'scope World,
        bodies: &'scope Bodies<'_>,
        stop: Arc<AtomicBool>,
    ) -> Uploader<'scope> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let states: Arc<Vec<Mutex<State>>> = Arc::new(exports.iter().map(|_| Mutex::default()).collect());
        let count = exports.iter().map(|export| export.uploads_at_once).max().unwrap_or_default();
        let worker = |_| {
            let (states, stop) = (Arc::clone(&states), Arc::clone(&stop));
            let receiver: Receiver<Upload> = receiver.clone();
            scope.spawn(move || {
                for upload in receiver {
                    for (export, state) in exports.iter().zip(&*states) {
                        let to = To { export, state, world, bodies, stop: &stop };
                        to.upload_unless_failed(&upload);
                    }
                }
            })
        };
        let workers = (0..count).map(worker).collect();
        let queue = UploadQueue { steps: sender, mounts: Arc::default() };
        Uploader { queue, world, exports, states, stop, workers }
    }

    /// Returns where steps are put.
    pub fn queue(&self) -> UploadQueue {
        self.queue.clone()
    }

    /// Waits for the uploads, or gives them up, and ends the exports. No other queue of this uploader may be
    /// left.
    pub fn finish(self, give_up: bool) -> Vec<ExportReport> {
        self.stop.store(give_up, Ordering::Relaxed);
        let mounts: Vec<UsedMount> = self.queue.mounts.take().into_values().collect();
        drop(self.queue);
        for worker in self.workers {
            worker.join().expect("an uploading thread does not panic");
        }
        let mut of_mounts: Vec<(Vec<MountReport>, Option<SharedCacheError>)> =
            self.states.iter().map(|state| (Vec::new(), lock(state).error.take())).collect();
        mount::send(self.world, &mounts, self.exports, &self.stop, &mut of_mounts);
        let report = |((export, state), (mounts, error)): ((&CacheExport, &Mutex<State>), _)| {
            let state = std::mem::take(&mut *lock(state));
            // What was uploaded before a failure is of use.
            let finished = export.cache.finish().err();
            ExportReport {
                name: export.cache.name(),
                sent: state.sent,
                known: state.known,
                skipped: state.skipped,
                bytes: state.bytes,
                mounts,
                error: Option::or(error, finished),
                ignore_error: export.ignore_error,
            }
        };
        self.exports.iter().zip(&*self.states).zip(of_mounts).map(report).collect()
    }
}

/// One export at work.
struct To<'a> {
    export: &'a CacheExport,
    state: &'a Mutex<State>,
    world: &'a World,
    bodies: &'a Bodies<'a>,
    stop: &'a Arc<AtomicBool>,
}

impl To<'_> {
    fn upload_unless_failed(&self, upload: &Upload) {
        let wanted = upload.in_result || self.export.mode == CacheMode::Max;
        if !wanted || lock(self.state).error.is_some() || self.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.upload(upload) {
            lock(self.state).error.get_or_insert(error);
        }
    }

    fn upload(&self, upload: &Upload) -> Result<(), SharedCacheError> {
        let cache = &*self.export.cache;
        // A result that was not kept has no record.
        let Some(record) = self.world.store.record(upload.key.0).map_err(unreadable)? else { return Ok(()) };
        let keys: Vec<CacheKey> = [Some(upload.key), upload.definition].into_iter().flatten().collect();
        let existing = match self.world.shared_caches.is_refused(&upload.key) {
            true => Existing::Replace,
            false => Existing::Keep,
        };
        if existing == Existing::Keep && self.is_there(&keys)? {
            lock(self.state).known += 1;
            return Ok(());
        }
        let diff = self.bodies.diff(&upload.layer).map_err(unreadable)?;
        if upload.stands_alone && costs_more(lock(self.state).measured, diff.size, record.duration_ms) {
            lock(self.state).skipped += 1;
            return Ok(());
        }
        self.refuse_secrets(upload)?;
        let before = (self.world.clock)();
        let (messenger, _nobody) = Messenger::channel();
        let source = PackSource { bodies: self.bodies, messenger: &messenger };
        let blob = self.pack(&upload.layer, source)?;
        let variant = match blob.origin.of_layer() {
            // It stays as the other cache has it.
            Some(Origin::Cache(layer)) => layer.variant.clone(),
            Some(Origin::Base(_)) | None => self.export.compression.variant(),
        };
        let files = match record.files {
            Some(digest) => self.world.store.read_blob(&digest, FILES_LIMIT).ok().flatten(),
            None => None,
        };
        let FileList { digests: files, modes } =
            files.and_then(|bytes| FileList::parse(&bytes)).unwrap_or_default();
        let step = CachedStep { files, modes, ..describe(upload, &record, diff, variant) };
        let object = StepObject { step, layer: blob.descriptor.clone() };
        let (manifest, step) = object.documents();
        if let Some(guard) = &self.world.guard {
            guard.text("the description of a step for a cache", step.bytes())?;
        }
        let mut bytes = cache.put_blob(&object.layer, existing, &|| self.open(&blob, source))?;
        bytes += put_step(cache, &manifest.value().config, &step)?;
        cache.put_manifest(&[&keys[..], &[upload.place]].concat(), manifest.bytes())?;
        let mut state = lock(self.state);
        state.sent += 1;
        state.bytes += bytes;
        if bytes >= MEASURED {
            state.measured.0 += diff.size;
            state.measured.1 += u64::try_from((self.world.clock)() - before).unwrap_or_default();
        }
        Ok(())
    }

    /// What has a secret in it does not get into a cache, and is not used again.
    fn refuse_secrets(&self, upload: &Upload) -> Result<(), SharedCacheError> {
        let Some(guard) = &self.world.guard else { return Ok(()) };
        let looked = guard.layer(self.bodies, &upload.layer);
        if let Err(GuardError::Leak(_)) = &looked {
            self.world.store.remove_record(upload.key.0).map_err(unreadable)?;
        }
        looked.map_err(SharedCacheError::from)
    }

    /// Whether the cache has the step under all its keys, whole.
    fn is_there(&self, keys: &[CacheKey]) -> Result<bool, SharedCacheError> {
        let cache = &*self.export.cache;
        for key in keys {
            if self.world.shared_caches.has(key, cache) {
                continue;
            }
            match find(cache, *key) {
                Ok(Some(object)) if object.step.key == keys[0] && !cache.lacks_blob(&object.layer) => {}
                // What is malformed is replaced.
                Ok(_) | Err(SharedCacheError::Malformed(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn pack(&self, layer: &LayerId, source: PackSource<'_>) -> Result<PackedBlob, SharedCacheError> {
        let diff = self.bodies.diff(layer).map_err(unreadable)?;
        let descriptor =
            Descriptor::new(MediaType::oci_layer(LayerCompression::None), diff.diff_id.0, diff.size);
        let layer = ImageLayer { id: layer.clone(), descriptor };
        let (blob, _) = pack::layer_blob(&layer, &self.export.compression, source).map_err(unreadable)?;
        Ok(blob)
    }

    fn open(
        &self,
        blob: &PackedBlob,
        source: PackSource<'_>,
    ) -> Result<Box<dyn Read + Send>, SharedCacheError> {
        let file = pack::open(blob, source).map_err(unreadable)?;
        Ok(Box::new(Stoppable { inner: file, stop: Arc::clone(self.stop) }))
    }
}

/// Whether compressing and sending `size` bytes takes longer than `duration_ms`, when what was `measured`, bytes and
/// milliseconds, holds for these too. Nothing is known before something was measured.
fn costs_more(measured: (u64, u64), size: u64, duration_ms: u64) -> bool {
    let (bytes, milliseconds) = measured;
    bytes > 0 && u128::from(size) * u128::from(milliseconds) > u128::from(bytes) * u128::from(duration_ms)
}

fn put_step(
    cache: &dyn SharedCache,
    descriptor: &Descriptor,
    step: &Raw<CachedStep>,
) -> Result<u64, SharedCacheError> {
    cache.put_blob(descriptor, Existing::Keep, &|| Ok(Box::new(io::Cursor::new(step.bytes().to_vec()))))
}

fn describe(
    upload: &Upload,
    record: &CacheRecord,
    diff: castoff_store::LayerDiff,
    variant: Option<String>,
) -> CachedStep {
    let recipe = serde_json::from_value(record.recipe.clone());
    let recipe = recipe.unwrap_or_else(|_| castoff_graph::KeyRecipe::new("unknown"));
    CachedStep {
        definition: upload.definition,
        place: Some(upload.place.0),
        variant,
        created_ms: record.created_ms,
        duration_ms: record.duration_ms,
        cpu_ms: record.cpu_ms,
        memory_bytes: record.memory_bytes,
        log: record.log,
        ..CachedStep::new(upload.key, &recipe, diff.diff_id, diff.size)
    }
}

pub(super) fn unreadable(error: impl std::error::Error) -> SharedCacheError {
    SharedCacheError::Layer(chain(&error))
}

/// A reader that ends with an error when the export is given up.
struct Stoppable<R> {
    inner: R,
    stop: Arc<AtomicBool>,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_sooner_than_sent_is_left_out() {
        // 1 MiB in a second: 10 MiB take ten.
        let measured = (1 << 20, 1000);
        assert!(costs_more(measured, 10 << 20, 9_999));
        assert!(!costs_more(measured, 10 << 20, 10_000));
        assert!(!costs_more(measured, 0, 0));
        assert!(!costs_more((0, 0), u64::MAX, 0));
        assert!(costs_more((1, u64::MAX), u64::MAX, u64::MAX));
    }
}
