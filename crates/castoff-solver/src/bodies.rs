//! Bodies of layers: getting hold of a layer as a directory, as a tar, or as something to look into.
//!
//! A layer of a base image, or of a step that a shared cache has, starts as a descriptor. It is downloaded when
//! somebody needs its bytes and unpacked when somebody needs its files; download, verification, decompression, hashing and
//! unpacking are one pass of stacked readers. Layers of our own have the body their step made.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use castoff_layer::{ApplyOptions, TarIndex, TarOptions, TarWriter, Tree, TreeError, TreeOptions, View};
use castoff_oci::{DiffId, Digest, Hasher};
use castoff_store::{LayerDiff, LayerId};

mod entries;
mod remote;
mod vacant;

use crate::World;
use crate::driver::Messenger;
use crate::lowers::Images;
use crate::shared_cache::{CachedLayer, SharedCacheError};

pub use remote::BaseLayer;
pub(crate) use remote::Origin;

/// One layer of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotLayer {
    /// A layer of the store.
    Stored(LayerId),
    /// A directory of the machine, used where it is and never written to.
    Directory(PathBuf),
}

/// Why a layer could not be brought into the wanted form.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The store has no body of the layer and nobody knows where to get one.
    #[error("layer `{0}` is not in the store and its origin is unknown")]
    Missing(String),
    /// Fetching failed.
    #[error("fetching layer `{digest}`")]
    Fetch {
        /// Which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: castoff_registry::RegistryError,
    },
    /// A shared cache does not give what it said it has.
    #[error("fetching layer `{digest}` from {cache}")]
    Cache {
        /// Which blob.
        digest: Digest,
        /// Which cache.
        cache: String,
        /// Why.
        #[source]
        source: Box<SharedCacheError>,
    },
    /// A layer has another size than its origin says.
    #[error("layer `{digest}` unpacks to another size than {expected} bytes")]
    Size {
        /// Which blob.
        digest: Digest,
        /// What the origin says.
        expected: u64,
    },
    /// Reading or writing bytes failed.
    #[error("reading layer `{digest}`")]
    Stream {
        /// Which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layer does not unpack to what its image says.
    #[error("layer `{digest}` unpacks to `{actual}` and not to `{expected}` as its image config says")]
    DiffId {
        /// Which blob.
        digest: Digest,
        /// What the config says.
        expected: DiffId,
        /// What came out.
        actual: DiffId,
    },
    /// Unpacking failed.
    #[error("unpacking layer `{digest}`")]
    Apply {
        /// Which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: castoff_layer::ApplyError,
    },
    /// Making a tar failed.
    #[error("archiving layer `{layer}`")]
    Tar {
        /// Which layer.
        layer: String,
        /// Why.
        #[source]
        source: castoff_layer::TreeError,
    },
    /// A view could not be opened.
    #[error("opening `{path}`")]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer's tar could not be indexed.
    #[error("indexing layer `{layer}`")]
    Index {
        /// Which layer.
        layer: String,
        /// Why.
        #[source]
        source: castoff_layer::TarReadError,
    },
    /// The store failed.
    #[error("using the store")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store")]
    Layer(#[from] castoff_store::LayerError),
    /// The store failed.
    #[error("using the store")]
    File(#[from] castoff_store::FileError),
    /// The store failed, or the build was stopped.
    #[error("using the store")]
    Lock(#[from] castoff_store::LockError),
}

/// Finds and makes bodies of layers for one build.
pub struct Bodies<'w> {
    pub(crate) world: &'w World,
    bases: Mutex<HashMap<LayerId, BaseLayer>>,
    cached: Mutex<HashMap<LayerId, CachedLayer>>,
    pub(crate) trees: Mutex<HashMap<LayerId, Arc<Tree>>>,
    /// One lock per layer, so that two steps of one build do not unpack the same base.
    pub(crate) making: Mutex<HashMap<LayerId, Arc<Mutex<()>>>>,
    pub(crate) images: Mutex<Images>,
    vacant: Mutex<HashMap<LayerId, vacant::Body>>,
}

impl<'w> Bodies<'w> {
    /// Returns the bodies that `world`'s store has.
    pub fn new(world: &'w World) -> Bodies<'w> {
        Bodies {
            world,
            bases: Mutex::default(),
            cached: Mutex::default(),
            trees: Mutex::default(),
            making: Mutex::default(),
            images: Mutex::default(),
            vacant: Mutex::default(),
        }
    }

    /// Returns the store that the layers are in.
    pub fn store(&self) -> &'w castoff_store::Store {
        &self.world.store
    }

    /// Makes the origin of a base layer known.
    pub fn add_base(&self, layer: BaseLayer) -> LayerId {
        let id = LayerId::of_diff(layer.diff_id);
        lock(&self.bases).entry(id.clone()).or_insert(layer);
        id
    }

    /// Returns the base layer of this id, if it is one.
    pub fn base(&self, id: &LayerId) -> Option<BaseLayer> {
        lock(&self.bases).get(id).cloned()
    }

    /// Returns whether the layer's bytes are on this machine in any form.
    pub fn is_present(&self, id: &LayerId) -> bool {
        let store = &self.world.store;
        store.layer_dir(id).is_some()
            || store.layer_diff(id).is_some_and(|diff| store.blob(&diff.diff_id.0).is_some())
            || self.base(id).is_some_and(|base| {
                store.blob(&base.diff_id.0).is_some() || store.blob(&base.descriptor.digest).is_some()
            })
    }

    /// Returns a view of a snapshot, bottom to top. What shared caches have of it is fetched side by side.
    pub fn view(&self, layers: &[SnapshotLayer], messenger: &Messenger) -> Result<View, BodyError> {
        self.view_in_full(&self.without_vacant(layers), messenger)
    }

    /// Returns the same view with a tree for each layer, at the layer's place: also for those that change nothing.
    ///
    /// # Errors
    /// When a layer cannot be had or opened.
    pub fn view_in_full(&self, layers: &[SnapshotLayer], messenger: &Messenger) -> Result<View, BodyError> {
        self.fetch_remote(layers, messenger)?;
        let trees = layers.iter().map(|layer| self.tree(layer, messenger)).collect::<Result<_, _>>()?;
        Ok(View::new(trees))
    }

    /// Returns the directories of a snapshot, bottom to top, making those that do not exist yet; base
    /// layers are fetched and unpacked side by side.
    pub fn directories(
        &self,
        layers: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<Vec<PathBuf>, BodyError> {
        let layers = &self.without_vacant(layers);
        let made = std::thread::scope(|scope| {
            let handles: Vec<_> = layers
                .iter()
                .map(|layer| match layer {
                    SnapshotLayer::Directory(path) => Err(path.clone()),
                    SnapshotLayer::Stored(id) => match self.world.store.layer_dir(id) {
                        Some(path) => Err(path),
                        None => {
                            let messenger = messenger.clone();
                            Ok(scope.spawn(move || self.directory(id, &messenger)))
                        }
                    },
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| match handle {
                    Err(path) => Ok((path, Vec::new())),
                    Ok(thread) => thread.join().expect("a body thread does not panic"),
                })
                .collect::<Result<Vec<_>, BodyError>>()
        })?;
        for (index, (path, implied)) in made.iter().enumerate() {
            if !implied.is_empty() {
                let below = self.view(&layers[..index], messenger)?;
                adopt(&below, path, implied)?;
            }
        }
        Ok(made.into_iter().map(|(path, _)| path).collect())
    }

    /// Returns the directory body of a layer that lies over others.
    pub(crate) fn directory_over(
        &self,
        id: &LayerId,
        below: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<PathBuf, BodyError> {
        let (path, implied) = self.directory(id, messenger)?;
        if !implied.is_empty() {
            adopt(&self.view(below, messenger)?, &path, &implied)?;
        }
        Ok(path)
    }

    /// Returns the diff id of a layer where that takes no work.
    pub(crate) fn known_diff_id(&self, id: &LayerId) -> Option<DiffId> {
        let known = self.world.store.layer_diff(id).map(|diff| diff.diff_id);
        known.or_else(|| Some(self.origin(id)?.diff_id()))
    }

    fn tree(&self, layer: &SnapshotLayer, messenger: &Messenger) -> Result<Arc<Tree>, BodyError> {
        let id = match layer {
            SnapshotLayer::Directory(path) => {
                let tree = Tree::directory(path, None, castoff_layer::Ownership::Keep)
                    .map_err(|source| BodyError::Open { path: path.clone(), source })?;
                return Ok(Arc::new(tree));
            }
            SnapshotLayer::Stored(id) => id,
        };
        if let Some(tree) = lock(&self.trees).get(id) {
            return Ok(Arc::clone(tree));
        }
        let store = &self.world.store;
        let tar = match self.known_diff_id(id) {
            Some(_) if store.layer_dir(id).is_some() => None,
            // A tar is made of what is downloaded only where it will not be unpacked after all.
            Some(_) if self.makes_images() => self.tar(id, messenger)?,
            Some(diff_id) => store.blob(&diff_id.0),
            None => None,
        };
        let tar = match tar {
            Some(tar) => store.open_blob(&tar.digest)?,
            None => None,
        };
        let indexed = match tar {
            None => None,
            Some(file) => match TarIndex::build(&file) {
                Ok(index) => Some((file, index)),
                // What is wrong with a foreign tar, unpacking says better.
                Err(_) if self.origin(id).is_some() => None,
                Err(source) => return Err(BodyError::Index { layer: id.to_string(), source }),
            },
        };
        let tree = match indexed {
            Some((file, index)) => Tree::tar(file, Arc::new(index)),
            None => {
                let (path, _) = self.directory(id, messenger)?;
                let machine = &self.world.machine;
                Tree::directory(&path, Some(machine.opaque), machine.ownership)
                    .map_err(|source| BodyError::Open { path, source })?
            }
        };
        let tree = Arc::new(tree);
        lock(&self.trees).insert(id.clone(), Arc::clone(&tree));
        Ok(tree)
    }

    /// Returns the directory body of a layer, making it when there is none, and those of its directories
    /// that the layer has no entry of its own for.
    pub(crate) fn directory(
        &self,
        id: &LayerId,
        messenger: &Messenger,
    ) -> Result<(PathBuf, Vec<Vec<u8>>), BodyError> {
        let store = &self.world.store;
        if let Some(path) = store.layer_dir(id) {
            return Ok((path, Vec::new()));
        }
        let own = Arc::clone(lock(&self.making).entry(id.clone()).or_default());
        let _making = lock(&own);
        let cancelled = || self.world.cancel.is_cancelled();
        let _across = store.lock(&Digest::of(format!("layer {id}").as_bytes()), &cancelled)?;
        if let Some(path) = store.layer_dir(id) {
            return Ok((path, Vec::new()));
        }
        let Some(diff_id) = self.known_diff_id(id) else { return Err(BodyError::Missing(id.to_string())) };
        if let Some(file) = store.open_blob(&diff_id.0)? {
            return self.unpack(id, diff_id, diff_id.0, Box::new(file));
        }
        let Some(origin) = self.origin(id) else { return Err(BodyError::Missing(id.to_string())) };
        self.fetched(&origin, || {
            let reader = self.open_origin(&origin, messenger)?;
            self.unpack(id, diff_id, origin.digest(), reader)
        })
    }

    /// Unpacks a layer that is in a blob.
    fn unpack(
        &self,
        id: &LayerId,
        diff_id: DiffId,
        digest: Digest,
        reader: Box<dyn Read + Send + '_>,
    ) -> Result<(PathBuf, Vec<Vec<u8>>), BodyError> {
        let store = &self.world.store;
        let stream = |source| BodyError::Stream { digest, source };
        let (_, plain) = castoff_layer::decompress(reader).map_err(stream)?;
        let limit = self.origin(id).and_then(|origin| origin.size());
        let plain: Box<dyn Read + Send + '_> = match limit {
            Some(size) => Box::new(plain.take(size.saturating_add(1))),
            None => plain,
        };
        let mut hashed = HashingReader { inner: plain, hasher: Hasher::new(), bytes: 0 };
        let active = store.prepare_layer()?;
        let applied = castoff_layer::apply(&mut hashed, active.fs(), &self.apply_options())
            .map_err(|source| BodyError::Apply { digest, source })?;
        // What follows the end-of-archive marker is part of the digest too.
        io::copy(&mut hashed, &mut io::sink()).map_err(stream)?;
        let size = hashed.bytes;
        let actual = DiffId(hashed.hasher.finish());
        if let Some(expected) = limit.filter(|limit| *limit != size) {
            return Err(BodyError::Size { digest, expected });
        }
        if actual != diff_id {
            return Err(BodyError::DiffId { digest, expected: diff_id, actual });
        }
        drop(hashed.inner);
        let path = active.commit(id)?;
        store.set_layer_diff(id, LayerDiff { diff_id, size })?;
        Ok((path, applied.implied))
    }

    fn apply_options(&self) -> ApplyOptions {
        let machine = &self.world.machine;
        ApplyOptions {
            opaque: machine.opaque,
            ownership: machine.ownership,
            overlay: true,
            ..Default::default()
        }
    }

    /// Returns the diff id and size of a layer, computing and remembering them when needed.
    pub fn diff(&self, id: &LayerId) -> Result<LayerDiff, BodyError> {
        if let Some(diff) = self.world.store.layer_diff(id) {
            return Ok(diff);
        }
        if let Some(tar) = self.stored_tar(id) {
            return Ok(LayerDiff { diff_id: DiffId(tar.digest), size: tar.size });
        }
        let Some(path) = self.world.store.layer_dir(id) else {
            let cached = lock(&self.cached).get(id).map(|layer| layer.diff);
            return cached.ok_or_else(|| BodyError::Missing(id.to_string()));
        };
        let counter = self.write_directory(id, &path, CountingHasher { hasher: Hasher::new(), size: 0 })?;
        let diff = LayerDiff { diff_id: DiffId(counter.hasher.finish()), size: counter.size };
        self.world.store.set_layer_diff(id, diff)?;
        Ok(diff)
    }

    /// Returns the diff id of a layer of an image, base layers included.
    pub fn diff_of(&self, id: &LayerId) -> Result<LayerDiff, BodyError> {
        match self.base(id) {
            Some(base) => Ok(LayerDiff { diff_id: base.diff_id, size: 0 }),
            None => self.diff(id),
        }
    }

    /// Turns a directory of the machine into a layer of the store, because an image is made of it.
    pub fn import_directory(&self, layer: &SnapshotLayer) -> Result<LayerId, BodyError> {
        let path = match layer {
            SnapshotLayer::Stored(id) => return Ok(id.clone()),
            SnapshotLayer::Directory(path) => path,
        };
        let error = |source| BodyError::Tar { layer: path.display().to_string(), source };
        let mut tar = TarWriter::new(self.world.store.blob_writer()?, TarOptions::default());
        let options = TreeOptions { overlay: false, one_file_system: true, ..Default::default() };
        castoff_layer::write_tree(path, &mut tar, &options).map_err(error)?;
        let blob = tar.finish().map_err(|source| error(source.into()))?.finish(None)?;
        let id = LayerId::of_diff(DiffId(blob.digest));
        self.world.store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
        Ok(id)
    }

    /// Writes the uncompressed tar of a layer.
    pub fn write_tar(&self, id: &LayerId, mut to: &mut dyn Write) -> Result<(), BodyError> {
        let diff = self.diff(id)?;
        if let Some(mut file) = self.world.store.open_blob(&diff.diff_id.0)? {
            io::copy(&mut file, &mut to)
                .map_err(|source| BodyError::Stream { digest: diff.diff_id.0, source })?;
            return Ok(());
        }
        let path = self.world.store.layer_dir(id).ok_or_else(|| BodyError::Missing(id.to_string()))?;
        self.write_directory(id, &path, to)?;
        Ok(())
    }

    /// Returns a layer that differs from this one only in its times: none is later than `epoch`, in
    /// seconds since 1970 (B-170).
    pub fn clamped(&self, id: &LayerId, epoch: i64) -> Result<LayerId, BodyError> {
        let (messenger, _nobody) = Messenger::channel();
        self.materialise(id, &messenger)?;
        let variant = format!("clamped-{epoch}");
        let before = self.diff(id)?;
        if let Some(blob) = self.world.store.compressed(&before.diff_id, &variant) {
            return Ok(LayerId::of_diff(DiffId(blob.digest)));
        }
        let digest = before.diff_id.0;
        let stream = |source| BodyError::Stream { digest, source };
        let (mut reader, writer) = io::pipe().map_err(stream)?;
        let blob = std::thread::scope(|scope| {
            let producer = scope.spawn(move || {
                let mut writer = io::BufWriter::with_capacity(256 * 1024, writer);
                self.write_tar(id, &mut writer)?;
                writer.flush().map_err(stream)
            });
            let options = TarOptions { clamp_mtime: Some(epoch) };
            let mut tar = TarWriter::new(self.world.store.blob_writer()?, options);
            let mut refused = None;
            let read = castoff_layer::read_tar(&mut reader, Default::default(), &mut |entry, data, _| {
                tar.append(&entry, data).map_err(|error| {
                    refused = Some(error);
                    castoff_layer::TarReadError::Io(io::Error::other("stopped"))
                })
            });
            let drained = io::copy(&mut reader, &mut io::sink());
            drop(reader);
            producer.join().expect("the producer does not panic")?;
            let error = |source: TreeError| BodyError::Tar { layer: id.to_string(), source };
            if let Some(refused) = refused {
                return Err(error(refused.into()));
            }
            read.map_err(|source| BodyError::Index { layer: id.to_string(), source })?;
            drained.map_err(stream)?;
            let writer = tar.finish().map_err(|source| error(source.into()))?;
            Ok(writer.finish(None)?)
        })?;
        self.world.store.set_compressed(&before.diff_id, &variant, &blob.digest)?;
        let id = LayerId::of_diff(DiffId(blob.digest));
        self.world.store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
        Ok(id)
    }

    fn write_directory<W: Write>(&self, id: &LayerId, path: &Path, to: W) -> Result<W, BodyError> {
        let error = |source| BodyError::Tar { layer: id.to_string(), source };
        let machine = &self.world.machine;
        let mut tar = TarWriter::new(to, TarOptions::default());
        let options = TreeOptions {
            opaque: machine.opaque,
            ownership: machine.ownership,
            overlay: true,
            ..Default::default()
        };
        castoff_layer::write_tree(path, &mut tar, &options).map_err(error)?;
        tar.finish().map_err(|source| error(source.into()))
    }
}

/// Gives directories that a layer only passes through the metadata of those they are merged with: of a
/// merged directory the topmost decides, and the layer says nothing about it.
fn adopt(below: &View, body: &Path, implied: &[Vec<u8>]) -> Result<(), BodyError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, chown};
    for name in implied {
        let Ok(Some(node)) = below.lookup(name) else { continue };
        if !matches!(node.entry.kind, castoff_layer::EntryKind::Directory { .. }) {
            continue;
        }
        let path = body.join(std::ffi::OsStr::from_bytes(name));
        // With one mapped id there is no other owner to give it to.
        let _owner = chown(&path, Some(node.entry.uid), Some(node.entry.gid));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(node.entry.mode))
            .map_err(|source| BodyError::Open { path, source })?;
    }
    Ok(())
}

/// Locks a mutex whose data stays valid whatever its holders did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct HashingReader<'a> {
    inner: Box<dyn Read + Send + 'a>,
    hasher: Hasher,
    bytes: u64,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

struct CountingHasher {
    hasher: Hasher,
    size: u64,
}

impl Write for CountingHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
