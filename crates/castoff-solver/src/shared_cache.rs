//! Caches that several machines share: asked for single steps on demand, filled while the build runs.
//!
//! A step is looked up in the store first and then in the imports, in their order (B-121). What an import
//! answers is a small object; the layer stays where it is until somebody needs its bytes ([`Bodies`] fetches
//! it). The format is `docs/shared-cache.md`. Nothing that a cache says is believed beyond the result itself:
//! an object must be of the key that was asked for, and a layer must be the bytes that the object names. A
//! cache that lies is refused, and the step is executed.
//!
//! [`Bodies`]: crate::Bodies

pub(crate) mod inline;
mod layout;
pub(crate) mod mount;
mod object;
mod registry;
mod s3;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use castoff_graph::{CacheKey, FileList, KeyRecipe, VertexId};
use castoff_oci::{Descriptor, Digest, Reference};
use castoff_store::{CacheRecord, LayerDiff, LayerId, RecordOutcome};

use crate::bodies::lock;
use crate::driver::{Messenger, Shared};
use crate::event::{Event, Fact, StepId};
use crate::lookup;
use crate::miss::Earlier;
use crate::schedule::VertexResult;
use crate::step::{StepError, chain};

pub use layout::{LayoutCache, LayoutExport};
pub use mount::{MountOutcome, MountReport, Mounts};
pub use object::MalformedObject;
pub use registry::RegistryCache;
pub use s3::{S3Cache, S3Places};
pub(crate) use upload::Upload;
pub use upload::{CacheExport, CacheMode, ExportReport, UPLOADS, UploadQueue, Uploader};

use object::{CONFIG_LIMIT, StepObject, unmasked};

/// A place where objects of steps and blobs of layers are kept, by several machines at once.
///
/// Nothing that it gives is trusted; nothing that it is given is a secret. Every method may be called by any
/// number of threads and processes.
pub trait SharedCache: fmt::Debug + Send + Sync {
    /// Returns how the user knows the cache.
    fn name(&self) -> String;

    /// Returns a name in the repository that has the blobs, when the cache is in a registry.
    fn repository(&self) -> Option<&Reference> {
        None
    }

    /// Returns the manifest that a key stands for, if there is one.
    fn manifest(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, SharedCacheError>;

    /// Opens a blob. Its bytes are not verified.
    fn open_blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, SharedCacheError>;

    /// Returns whether a blob is known to be missing, as far as that costs nothing.
    fn lacks_blob(&self, descriptor: &Descriptor) -> bool;

    /// Makes sure that the cache has a blob; `open` gives its bytes. Returns how many bytes were sent.
    fn put_blob(
        &self,
        descriptor: &Descriptor,
        existing: Existing,
        open: &OpenBlob<'_>,
    ) -> Result<u64, SharedCacheError>;

    /// Lets keys stand for a manifest whose blobs are there.
    fn put_manifest(&self, keys: &[CacheKey], manifest: &[u8]) -> Result<(), SharedCacheError>;

    /// Ends an export, after its last manifest.
    fn finish(&self) -> Result<(), SharedCacheError>;
}

/// Opens a blob that is to be put, from its start.
pub type OpenBlob<'a> = dyn Fn() -> Result<Box<dyn Read + Send>, SharedCacheError> + 'a;

/// What becomes of a blob that a cache seems to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is what its name says.
    Keep,
    /// It was found not to be. A registry looks at what it takes, so there it stays.
    Replace,
}

/// Returns a function that opens a blob from an offset.
fn from_offset<'a>(open: &'a OpenBlob<'a>) -> impl Fn(u64) -> io::Result<Box<dyn Read + Send>> + 'a {
    |offset| {
        let mut reader = open().map_err(|error| io::Error::other(chain(&error)))?;
        io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
        Ok(reader)
    }
}

/// Why a shared cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SharedCacheError {
    /// There is none at this place.
    #[error("there is no cache in `{}`", .0.display())]
    NotFound(PathBuf),
    /// A file could not be used.
    #[error("using `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A registry or a store of objects did not give or take what it should.
    #[error(transparent)]
    Registry(#[from] castoff_registry::RegistryError),
    /// A document of the cache is not what it should be.
    #[error("{0}")]
    Malformed(#[from] MalformedObject),
    /// A document of the cache's own is not what it should be.
    #[error("`{path}` is malformed")]
    Document {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A layer to be written could not be read.
    #[error("reading a layer: {0}")]
    Layer(String),
    /// A secret would get into the cache, or it could not be looked for.
    #[error(transparent)]
    Guard(#[from] crate::GuardError),
    /// The export was given up.
    #[error("stopped")]
    Stopped,
}

/// The imports of a build, and what they gave and cost.
#[derive(Debug, Default)]
pub struct SharedCaches {
    imports: Vec<Import>,
    refused: Mutex<BTreeSet<CacheKey>>,
    refusals: AtomicU64,
    /// Keys that were found, and in which import.
    found: Mutex<BTreeMap<CacheKey, usize>>,
    pub(crate) ledger: Ledger,
}

/// A cache that is asked.
#[derive(Debug)]
pub struct CacheImport {
    /// The cache.
    pub cache: Box<dyn SharedCache>,
    /// Which cache mounts come from it.
    pub mounts: Option<Mounts>,
}

#[derive(Debug)]
struct Import {
    cache: Box<dyn SharedCache>,
    mounts: Option<Mounts>,
    /// It could not be read once and is not asked again.
    off: AtomicBool,
}

/// What imports gave and cost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    steps: AtomicU64,
    saved_ms: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) waited_ms: AtomicI64,
}

/// What the imports of a build gave and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Steps that were not executed.
    pub steps: u64,
    /// The time that these took where they were executed, in milliseconds.
    pub saved_ms: u64,
    /// Bytes of layers that were fetched.
    pub fetched: u64,
    /// How long steps and outputs waited for the caches, in milliseconds; they may have waited at once.
    pub waited_ms: u64,
}

/// A layer that a shared cache has.
#[derive(Debug, Clone)]
pub(crate) struct CachedLayer {
    /// The blob, usually compressed.
    pub(crate) descriptor: Descriptor,
    /// What the object says that it unpacks to.
    pub(crate) diff: LayerDiff,
    /// How the blob was made, such as `zstd-3`.
    pub(crate) variant: Option<String>,
    /// Which import has it.
    pub(crate) import: usize,
    /// Of which step it is.
    pub(crate) key: CacheKey,
    /// The step that is shown to work when it is fetched.
    pub(crate) step: StepId,
}

impl SharedCaches {
    /// Returns imports, in the order in which they are asked.
    pub fn new(imports: Vec<CacheImport>) -> SharedCaches {
        let import = |CacheImport { cache, mounts }| Import { cache, mounts, off: AtomicBool::new(false) };
        SharedCaches { imports: imports.into_iter().map(import).collect(), ..SharedCaches::default() }
    }

    /// Returns whether there is any import.
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty()
    }

    /// Returns what the imports gave and cost so far.
    pub fn report(&self) -> ImportReport {
        let Ledger { steps, saved_ms, fetched, waited_ms } = &self.ledger;
        ImportReport {
            steps: steps.load(Ordering::Relaxed),
            saved_ms: saved_ms.load(Ordering::Relaxed),
            fetched: fetched.load(Ordering::Relaxed),
            waited_ms: u64::try_from(waited_ms.load(Ordering::Relaxed)).unwrap_or_default(),
        }
    }

    /// Returns how many results of caches were refused so far. When a build failed and more were refused than
    /// before, it is worth another try, which executes those steps.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Returns whether the result of a step, or a cache mount, was found not to be what a cache said.
    fn is_refused(&self, key: &CacheKey) -> bool {
        lock(&self.refused).contains(key)
    }

    /// Remembers that what a cache has under keys of a cache mount is broken: an export replaces it.
    fn refuse_mount(&self, keys: &[CacheKey]) {
        lock(&self.refused).extend(keys);
    }

    /// Lets a step's result be of no cache any more.
    pub(crate) fn refuse(&self, key: CacheKey) {
        // The export replaces it.
        lock(&self.found).clear();
        if lock(&self.refused).insert(key) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn cache(&self, layer: &CachedLayer) -> &dyn SharedCache {
        &*self.imports[layer.import].cache
    }

    /// Returns whether a key was found in an import that is the same place in a registry as an export.
    fn has(&self, key: &CacheKey, export: &dyn SharedCache) -> bool {
        let found = lock(&self.found).get(key).copied();
        found.is_some_and(|import| {
            export.repository().is_some() && self.imports[import].cache.repository() == export.repository()
        })
    }

    /// Asks the imports for a key.
    fn find(
        &self,
        key: CacheKey,
        clock: fn() -> i64,
        warn: &mut dyn FnMut(String),
    ) -> Option<(usize, StepObject)> {
        if self.is_refused(&key) {
            return None;
        }
        for (place, import) in self.imports.iter().enumerate() {
            if import.off.load(Ordering::Relaxed) {
                continue;
            }
            let before = clock();
            let found = find(&*import.cache, key);
            self.ledger.waited_ms.fetch_add(clock() - before, Ordering::Relaxed);
            match found {
                Ok(Some(object)) if self.is_refused(&object.step.key) => {}
                Ok(Some(object)) if import.cache.lacks_blob(&object.layer) => {}
                Ok(Some(object)) => {
                    // Whoever put it under its definition had put it under its key before.
                    lock(&self.found).extend([(key, place), (object.step.key, place)]);
                    return Some((place, object));
                }
                Ok(None) => {}
                Err(error @ SharedCacheError::Malformed(_)) => {
                    warn(format!("{} is refused: {key}: {}", import.cache.name(), chain(&error)));
                }
                Err(error) => {
                    // One warning for each import, and no step waits for it again.
                    if !import.off.swap(true, Ordering::Relaxed) {
                        warn(format!("{} cannot be read: {}", import.cache.name(), chain(&error)));
                    }
                }
            }
        }
        None
    }
}

fn find(cache: &dyn SharedCache, key: CacheKey) -> Result<Option<StepObject>, SharedCacheError> {
    let Some(manifest) = cache.manifest(&key)? else { return Ok(None) };
    Ok(Some(StepObject::read(&manifest, key, |descriptor| read_config(cache, descriptor))?))
}

fn read_config(cache: &dyn SharedCache, descriptor: &Descriptor) -> Result<Vec<u8>, SharedCacheError> {
    let mut bytes = Vec::new();
    let source = cache.open_blob(descriptor)?;
    let file = |source| SharedCacheError::File { path: descriptor.digest.to_string().into(), source };
    source.take(CONFIG_LIMIT).read_to_end(&mut bytes).map_err(file)?;
    Ok(bytes)
}

/// Where a step is in its Dockerfile, on whatever machine.
pub(crate) fn place(shared: &Shared<'_>, id: VertexId) -> CacheKey {
    CacheKey(lookup::slot(shared, id, &shared.options.shared_scope))
}

/// Returns the newest step of a place that an import has, with the values of variables that `now` has. It explains a miss and nothing else, so an import that cannot be asked has none.
pub(crate) fn earlier(shared: &Shared<'_>, id: VertexId, now: &KeyRecipe) -> Option<Earlier> {
    let place = place(shared, id);
    let imports = &shared.world.shared_caches.imports;
    imports.iter().filter(|import| !import.off.load(Ordering::Relaxed)).find_map(|import| {
        let cache = &*import.cache;
        let manifest = cache.manifest(&place).ok()??;
        let object = StepObject::read_any(&manifest, |descriptor| read_config(cache, descriptor)).ok()?;
        let step = object.step;
        (step.place == Some(place.0)).then(|| Earlier {
            recipe: unmasked(&step.recipe, now),
            key: step.key,
            files: FileList { digests: step.files, modes: step.modes },
        })
    })
}

/// Looks a step up in the imports. A hit leaves a record, and the layer's origin in `bodies`.
///
/// Returns the key of the result, which is another than `key` when that is a definition.
pub(crate) fn look_up(
    shared: &Shared<'_>,
    id: VertexId,
    key: CacheKey,
    recipe: &KeyRecipe,
    messenger: &Messenger,
) -> Result<Option<(VertexResult, CacheKey)>, StepError> {
    let world = shared.world;
    let caches = &world.shared_caches;
    let step = shared.step(id);
    let mut warn = |text: String| {
        messenger.send(Event::Warning { step: Some(step), rule: None, text, line: None });
    };
    let Some((import, object)) = caches.find(key, world.clock, &mut warn) else { return Ok(None) };
    let found = object.step;
    let layer = LayerId::of_diff(found.diff_id);
    let record = CacheRecord {
        recipe: serde_json::to_value(if found.key == key {
            recipe.clone()
        } else {
            unmasked(&found.recipe, recipe)
        })
        .expect("a recipe is always JSON"),
        outcome: RecordOutcome::Layer(layer.clone()),
        created_ms: found.created_ms,
        started_ms: found.created_ms.saturating_sub_unsigned(found.duration_ms),
        duration_ms: found.duration_ms,
        cpu_ms: found.cpu_ms,
        memory_bytes: found.memory_bytes,
        log: found.log,
        files: match found.files.is_empty() {
            true => None,
            false => {
                let list = FileList { digests: found.files, modes: found.modes };
                Some(world.store.put_blob(&list.to_bytes())?.digest)
            }
        },
        cache: Some(caches.imports[import].cache.name()),
        // Caches have none.
        warnings: Vec::new(),
        stage: shared.graph.vertex(id).stage.clone().unwrap_or_default(),
        name: shared.graph.vertex(id).name.clone(),
    };
    world.store.put_record(found.key.0, &record)?;
    if found.key != key {
        lookup::put_alias(world, key, found.key, &record.name)?;
    }
    if !shared.bodies.is_present(&layer) {
        shared.bodies.add_cached(CachedLayer {
            descriptor: object.layer,
            diff: LayerDiff { diff_id: found.diff_id, size: found.size },
            variant: found.variant,
            import,
            key: found.key,
            step,
        });
    }
    caches.ledger.steps.fetch_add(1, Ordering::Relaxed);
    caches.ledger.saved_ms.fetch_add(found.duration_ms, Ordering::Relaxed);
    let cache = caches.imports[import].cache.name();
    messenger.send(Event::Note { step, text: format!("found in {cache}") });
    messenger.send(Event::Fact { step, fact: Fact::FoundIn { cache } });
    let result = VertexResult {
        identity: lookup::identity(shared, id, found.key),
        layer: Some(layer),
        created_ms: found.created_ms,
        cached: true,
    };
    Ok(Some((result, found.key)))
}

/// A blob of a cache that counts what it gives and how long that takes.
pub(crate) struct Counted<'a> {
    pub(crate) inner: Box<dyn Read + Send>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) clock: fn() -> i64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = (self.clock)();
        let count = self.inner.read(buffer)?;
        self.ledger.waited_ms.fetch_add((self.clock)() - before, Ordering::Relaxed);
        self.ledger.fetched.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Returns a digest's text as the part of a file name.
fn file_name(digest: &Digest) -> String {
    digest.hex()
}
