//! Layers as lower layers of an overlay: images where the kernel takes them, else directories.
//!
//! Creating files is the dearest thing that file systems do. An EROFS image needs two files whatever the
//! layer holds: the layer's tar, and the image, which has names and metadata only and refers to the tar
//! for data. What the kernel or the format cannot take becomes a directory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use castoff_layer::{EntryKind, TarIndex, Tree};
use castoff_oci::{DiffId, Digest};
use castoff_sandbox::Lower;
use castoff_store::{Blob, BlobError, LayerId};

use crate::bodies::{Bodies, BodyError, SnapshotLayer, lock};
use crate::driver::Messenger;

impl Bodies<'_> {
    /// Returns the layers of a snapshot as an overlay takes them, bottom to top, making what does not exist
    /// yet; base layers are fetched side by side.
    pub fn lowers(&self, layers: &[SnapshotLayer], messenger: &Messenger) -> Result<Vec<Lower>, BodyError> {
        if !self.makes_images() {
            let directories = self.directories(layers, messenger)?;
            return Ok(directories.into_iter().map(Lower::Directory).collect());
        }
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
                Some(tar) => self.image(tar, below, messenger)?,
                None => None,
            };
            lowers.push(match (image, layer) {
                (Some(image), _) => image,
                (None, SnapshotLayer::Directory(path)) => Lower::Directory(path.clone()),
                (None, SnapshotLayer::Stored(id)) => {
                    Lower::Directory(self.directory_over(id, below, messenger)?)
                }
            });
        }
        Ok(lowers)
    }

    /// Whether images are made at all: the machine takes them and has not refused one.
    pub(crate) fn makes_images(&self) -> bool {
        self.world.machine.images && !self.images_refused.load(Ordering::Relaxed)
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
        let (Some(diff_id), Some(base)) = (self.known_diff_id(id), self.base(id)) else { return Ok(None) };
        let digest = base.descriptor.digest;
        let stream = |source| BodyError::Stream { digest, source };
        let (_, mut plain) = castoff_layer::decompress(self.open_base(&base, messenger)?).map_err(stream)?;
        let mut writer = self.world.store.blob_writer()?;
        io::copy(&mut plain, &mut writer).map_err(stream)?;
        match writer.finish(Some(diff_id.0)) {
            Ok(tar) => Ok(Some(tar)),
            Err(BlobError::Mismatch { actual, .. }) => {
                Err(BodyError::DiffId { digest, expected: diff_id, actual: DiffId(actual) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the image that shows a tar, or nothing when it cannot be one.
    fn image(
        &self,
        tar: Blob,
        below: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<Option<Lower>, BodyError> {
        let store = &self.world.store;
        let diff_id = DiffId(tar.digest);
        if !self.makes_images() {
            return Ok(None);
        }
        if let Some(image) = store.layer_image(&diff_id) {
            return Ok(Some(Lower::Erofs { image, data: tar.path }));
        }
        let path = |source| BodyError::Open { path: tar.path.clone(), source };
        let file = File::open(&tar.path).map_err(path)?;
        // What is wrong with a tar, unpacking says better; a sparse file is unpacked too.
        let Ok(index) = TarIndex::build(&file) else { return Ok(None) };
        let index = Arc::new(index);
        let id = LayerId::of_diff(diff_id);
        lock(&self.trees).entry(id).or_insert_with(|| Arc::new(Tree::tar(file, Arc::clone(&index))));
        let below = if index.has_implied() { Some(self.view(below, messenger)?) } else { None };
        let mut implied = |path: &[u8]| {
            let node = below.as_ref()?.lookup(path).ok()??;
            matches!(node.entry.kind, EntryKind::Directory { .. }).then_some(node.entry)
        };
        let Ok(bytes) = index.to_erofs(tar.size, &mut implied) else { return Ok(None) };
        let image = store.set_layer_image(&diff_id, &bytes)?;
        if self.is_refused(&image, &tar.path) {
            store.remove_layer_image(&diff_id)?;
            return Ok(None);
        }
        Ok(Some(Lower::Erofs { image, data: tar.path }))
    }

    /// Asks the kernel about the first image of a build, whose answer holds for the others.
    fn is_refused(&self, image: &Path, data: &Path) -> bool {
        if self.images_tried.load(Ordering::Relaxed) {
            return false;
        }
        let refused = castoff_sandbox::can_mount_erofs(image, data).is_err();
        self.images_refused.store(refused, Ordering::Relaxed);
        self.images_tried.store(true, Ordering::Relaxed);
        refused
    }
}
