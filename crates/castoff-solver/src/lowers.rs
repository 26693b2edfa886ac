//! Layers as lower directories of an overlay: mounted images where the kernel takes them, else unpacked.
//!
//! Creating files is the dearest thing that file systems do. An EROFS image needs two files whatever the
//! layer holds: the layer's tar, and the image, which has names and metadata only and refers to the tar
//! for data. What the kernel or the format cannot take becomes a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castoff_layer::{EntryKind, TarIndex, Tree};
use castoff_oci::{DiffId, Digest};
use castoff_sandbox::ImageMounts;
use castoff_store::{Blob, BlobError, LayerId, TemporaryDirectory};

use crate::World;
use crate::bodies::{Bodies, BodyError, SnapshotLayer, lock};
use crate::driver::Messenger;

impl Bodies<'_> {
    /// Returns the layers of a snapshot as an overlay takes them, bottom to top, making what does not exist
    /// yet; base layers are fetched side by side.
    pub fn lowers(&self, layers: &[SnapshotLayer], messenger: &Messenger) -> Result<Vec<PathBuf>, BodyError> {
        if !self.makes_images() {
            return self.directories(layers, messenger);
        }
        let layers = &self.without_vacant(layers);
        let tars: Vec<Option<Blob>> = std::thread::scope(|scope| {
            let handles: Vec<_> = layers
                .iter()
                .map(|layer| match layer {
                    SnapshotLayer::Stored(id) if self.world.store.layer_dir(id).is_none() => {
                        // Only downloads are worth a thread.
                        let messenger = messenger.clone();
                        match self.stored_tar(id) {
                            Some(tar) => Err(Some(tar)),
                            None => Ok(scope.spawn(move || self.tar(id, &messenger))),
                        }
                    }
                    SnapshotLayer::Stored(_) | SnapshotLayer::Directory(_) => Err(None),
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| match handle {
                    Err(tar) => Ok(tar),
                    Ok(thread) => thread.join().expect("a body thread does not panic"),
                })
                .collect::<Result<_, BodyError>>()
        })?;
        let mut lowers = Vec::with_capacity(layers.len());
        for (position, (layer, tar)) in layers.iter().zip(tars).enumerate() {
            let below = &layers[..position];
            let image = match tar {
                Some(tar) => self.image(&tar, below, messenger)?,
                None => None,
            };
            lowers.push(match (image, layer) {
                (Some(image), _) => image,
                (None, SnapshotLayer::Directory(path)) => path.clone(),
                (None, SnapshotLayer::Stored(id)) => self.directory_over(id, below, messenger)?,
            });
        }
        Ok(lowers)
    }

    /// Whether images are made at all: the machine takes them and has not refused one.
    pub(crate) fn makes_images(&self) -> bool {
        self.world.machine.images && !matches!(*lock(&self.images), Images::Refused)
    }

    /// Returns the uncompressed tar of a layer if the store has it.
    pub(crate) fn stored_tar(&self, id: &LayerId) -> Option<Blob> {
        self.world.store.blob(&self.known_diff_id(id)?.0)
    }

    /// Returns the uncompressed tar of a layer, fetching and verifying it when needed; nothing when the
    /// layer's only body is a directory.
    pub(crate) fn tar(&self, id: &LayerId, messenger: &Messenger) -> Result<Option<Blob>, BodyError> {
        let own = Arc::clone(lock(&self.making).entry(id.clone()).or_default());
        let _making = lock(&own);
        let cancelled = || self.world.cancel.is_cancelled();
        let _across = self.world.store.lock(&Digest::of(format!("layer {id}").as_bytes()), &cancelled)?;
        if let Some(tar) = self.stored_tar(id) {
            return Ok(Some(tar));
        }
        let (Some(diff_id), Some(origin)) = (self.known_diff_id(id), self.origin(id)) else {
            return Ok(None);
        };
        let digest = origin.digest();
        let stream = |source| BodyError::Stream { digest, source };
        self.fetched(&origin, || {
            let (_, mut plain) =
                castoff_layer::decompress(self.open_origin(&origin, messenger)?).map_err(stream)?;
            let mut writer = self.world.store.blob_writer()?;
            match origin.size() {
                None => io::copy(&mut plain, &mut writer).map_err(stream)?,
                Some(expected) => {
                    let copied = io::copy(&mut plain.take(expected.saturating_add(1)), &mut writer);
                    let size = copied.map_err(stream)?;
                    if size != expected {
                        return Err(BodyError::Size { digest, expected });
                    }
                    size
                }
            };
            match writer.finish(Some(diff_id.0)) {
                Ok(tar) => Ok(Some(tar)),
                Err(BlobError::Mismatch { actual, .. }) => {
                    Err(BodyError::DiffId { digest, expected: diff_id, actual: DiffId(actual) })
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Returns where the image that shows a tar is mounted, or nothing when it cannot be shown so.
    fn image(
        &self,
        tar: &Blob,
        below: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<Option<PathBuf>, BodyError> {
        let store = &self.world.store;
        let diff_id = DiffId(tar.digest);
        if let Images::Mounted { places, .. } = &*lock(&self.images)
            && let Some(place) = places.get(&diff_id)
        {
            return Ok(Some(place.clone()));
        }
        if !self.makes_images() {
            return Ok(None);
        }
        let image = match store.layer_image(&diff_id) {
            Some(image) => image,
            None => match self.new_image(tar, below, messenger)? {
                Some(bytes) => store.set_layer_image(&diff_id, &bytes)?,
                None => return Ok(None),
            },
        };
        let place = lock(&self.images).mount(self.world, diff_id, &image, &tar.path)?;
        if place.is_none() {
            store.remove_layer_image(&diff_id)?;
        }
        Ok(place)
    }

    fn new_image(
        &self,
        tar: &Blob,
        below: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<Option<Vec<u8>>, BodyError> {
        let path = |source| BodyError::Open { path: tar.path.clone(), source };
        let file = File::open(&tar.path).map_err(path)?;
        // What is wrong with a tar, unpacking says better; a sparse file is unpacked too.
        let Ok(index) = TarIndex::build(&file) else { return Ok(None) };
        let index = Arc::new(index);
        let id = LayerId::of_diff(DiffId(tar.digest));
        lock(&self.trees).entry(id).or_insert_with(|| Arc::new(Tree::tar(file, Arc::clone(&index))));
        let below = if index.has_implied() { Some(self.view(below, messenger)?) } else { None };
        let mut implied = |path: &[u8]| {
            let node = below.as_ref()?.lookup(path).ok()??;
            matches!(node.entry.kind, EntryKind::Directory { .. }).then_some(node.entry)
        };
        Ok(index.to_erofs(tar.size, &mut implied).ok())
    }
}

/// The images that a build has mounted.
#[derive(Debug, Default)]
pub(crate) enum Images {
    /// None was needed yet.
    #[default]
    None,
    /// The kernel did not take the first, which holds for the others.
    Refused,
    Mounted {
        places: BTreeMap<DiffId, PathBuf>,
        /// Before the directory that they are over.
        mounts: ImageMounts,
        _over: TemporaryDirectory,
    },
}

impl Images {
    /// Mounts an image unless it is mounted; returns nothing when the kernel does not take it.
    fn mount(
        &mut self,
        world: &World,
        diff_id: DiffId,
        image: &Path,
        data: &Path,
    ) -> Result<Option<PathBuf>, BodyError> {
        if matches!(self, Images::None) {
            let over = world.store.temporary()?;
            *self = match ImageMounts::over(over.path()) {
                Ok(mounts) => Images::Mounted { places: BTreeMap::new(), mounts, _over: over },
                Err(_not_allowed) => Images::Refused,
            };
        }
        let Images::Mounted { places, mounts, .. } = self else { return Ok(None) };
        if let Some(place) = places.get(&diff_id) {
            return Ok(Some(place.clone()));
        }
        match mounts.mount(&diff_id.0.hex(), image, data) {
            Ok(place) => {
                places.insert(diff_id, place.clone());
                Ok(Some(place))
            }
            Err(_) if places.is_empty() => {
                *self = Images::Refused;
                Ok(None)
            }
            Err(source) => Err(BodyError::Open { path: image.to_owned(), source }),
        }
    }
}
