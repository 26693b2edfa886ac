//! What of layers is elsewhere: with a registry that has a base image, or in a shared cache that has the
//! result of a step. It is fetched when somebody needs its bytes, and verified before anything of it is used.

use std::io::{self, Read, Write};

use castoff_oci::{Descriptor, DiffId, Digest, Reference};
use castoff_store::{BlobWriter, LayerId};

use super::{Bodies, BodyError, SnapshotLayer, lock};
use crate::driver::Messenger;
use crate::event::{Event, StepId};
use crate::shared_cache::{CachedLayer, Counted};

/// Where the bytes of a base layer come from.
#[derive(Debug, Clone)]
pub struct BaseLayer {
    /// The blob, usually compressed.
    pub descriptor: Descriptor,
    /// What it unpacks to.
    pub diff_id: DiffId,
    /// A name under which a registry has it.
    pub reference: Reference,
    /// The step that is shown to work when it is fetched.
    pub step: Option<StepId>,
}

/// Where the bytes of a layer can be fetched.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A registry that has the base image.
    Base(BaseLayer),
    /// A shared cache that has the result of a step.
    Cache(CachedLayer),
}

impl Origin {
    /// Returns the digest of the blob.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Origin::Base(layer) => layer.descriptor.digest,
            Origin::Cache(layer) => layer.descriptor.digest,
        }
    }

    /// Returns what the blob unpacks to.
    pub(crate) fn diff_id(&self) -> DiffId {
        match self {
            Origin::Base(layer) => layer.diff_id,
            Origin::Cache(layer) => layer.diff.diff_id,
        }
    }

    /// Returns the size of what the blob unpacks to, in bytes, where it is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Origin::Base(_) => None,
            Origin::Cache(layer) => Some(layer.diff.size),
        }
    }
}

impl Bodies<'_> {
    /// Makes it known that a shared cache has a layer.
    pub(crate) fn add_cached(&self, layer: CachedLayer) {
        lock(&self.cached).insert(LayerId::of_diff(layer.diff.diff_id), layer);
    }

    /// Returns where the bytes of a layer can be fetched.
    pub(crate) fn origin(&self, id: &LayerId) -> Option<Origin> {
        let cached = || lock(&self.cached).get(id).cloned().map(Origin::Cache);
        self.base(id).map(Origin::Base).or_else(cached)
    }

    /// Returns whether only a shared cache has the bytes of a layer.
    pub fn is_remote(&self, layer: &SnapshotLayer) -> bool {
        match layer {
            SnapshotLayer::Stored(id) => self.only_cached(id).is_some(),
            SnapshotLayer::Directory(_) => false,
        }
    }

    /// Fetches those layers that only a shared cache has, side by side.
    ///
    /// # Errors
    /// When one cannot be fetched; what came of the others stays.
    pub fn fetch_remote(&self, layers: &[SnapshotLayer], messenger: &Messenger) -> Result<(), BodyError> {
        let ids = layers.iter().filter(|layer| self.is_remote(layer)).filter_map(|layer| match layer {
            SnapshotLayer::Stored(id) => Some(id),
            SnapshotLayer::Directory(_) => None,
        });
        std::thread::scope(|scope| {
            let threads: Vec<_> = ids
                .map(|id| {
                    let messenger = messenger.clone();
                    scope.spawn(move || self.materialise(id, &messenger))
                })
                .collect();
            let done: Vec<_> =
                threads.into_iter().map(|thread| thread.join().expect("a download does not panic")).collect();
            done.into_iter().collect()
        })
    }

    /// Returns the layer in a shared cache, when its bytes are nowhere on this machine.
    pub(crate) fn only_cached(&self, id: &LayerId) -> Option<CachedLayer> {
        match self.origin(id) {
            Some(Origin::Cache(layer)) if !self.is_present(id) => Some(layer),
            _ => None,
        }
    }

    /// Makes sure that the bytes of a layer of our own are on this machine.
    pub(crate) fn materialise(&self, id: &LayerId, messenger: &Messenger) -> Result<(), BodyError> {
        if self.only_cached(id).is_some() {
            self.tar(id, messenger)?;
        }
        Ok(())
    }

    /// Does what fetches and verifies a layer. When a shared cache was wrong, its step is of no cache any more.
    pub(crate) fn fetched<T>(
        &self,
        origin: &Origin,
        work: impl FnOnce() -> Result<T, BodyError>,
    ) -> Result<T, BodyError> {
        let result = work();
        let Origin::Cache(layer) = origin else { return result };
        let store = &self.world.store;
        match &result {
            Ok(_) => {
                store.set_layer_diff(&LayerId::of_diff(layer.diff.diff_id), layer.diff)?;
                if let Some(variant) = &layer.variant
                    && store.blob(&layer.descriptor.digest).is_some()
                {
                    store.set_compressed(&layer.diff.diff_id, variant, &layer.descriptor.digest)?;
                }
            }
            Err(_) if self.world.cancel.is_cancelled() => {}
            Err(_) => {
                self.world.shared_caches.refuse(layer.key);
                lock(&self.cached).remove(&LayerId::of_diff(layer.diff.diff_id));
            }
        }
        result
    }

    /// Opens the blob of a base layer: from the store, or from its registry while it is written to the
    /// store.
    pub fn open_base(
        &self,
        base: &BaseLayer,
        messenger: &Messenger,
    ) -> Result<Box<dyn Read + Send>, BodyError> {
        let digest = base.descriptor.digest;
        if let Some(file) = self.world.store.open_blob(&digest)? {
            return Ok(Box::new(file));
        }
        let remote = self
            .world
            .registry
            .blob(&base.reference, &base.descriptor)
            .map_err(|source| BodyError::Fetch { digest, source })?;
        let progress = base.step.map(|step| Progress::new(step, &base.descriptor, messenger.clone()));
        Ok(Box::new(Download {
            inner: remote,
            writer: Some(self.world.store.blob_writer()?),
            digest,
            cancelled: self.world.cancel.clone(),
            progress,
        }))
    }

    /// Opens the blob of a layer that is fetched, as [`Bodies::open_base`].
    pub(crate) fn open_origin(
        &self,
        origin: &Origin,
        messenger: &Messenger,
    ) -> Result<Box<dyn Read + Send + '_>, BodyError> {
        let layer = match origin {
            Origin::Base(base) => return self.open_base(base, messenger),
            Origin::Cache(layer) => layer,
        };
        let world = self.world;
        let digest = layer.descriptor.digest;
        if let Some(file) = world.store.open_blob(&digest)? {
            return Ok(Box::new(file));
        }
        let cache = world.shared_caches.cache(layer);
        let remote = cache.open_blob(&layer.descriptor).map_err(|source| BodyError::Cache {
            digest,
            cache: cache.name(),
            source: Box::new(source),
        })?;
        let counted = Counted { inner: remote, ledger: &world.shared_caches.ledger, clock: world.clock };
        Ok(Box::new(Download {
            // One byte more shows that it is larger than it should be.
            inner: Box::new(counted.take(layer.descriptor.size.saturating_add(1))),
            writer: Some(world.store.blob_writer()?),
            digest,
            cancelled: world.cancel.clone(),
            progress: Some(Progress::new(layer.step, &layer.descriptor, messenger.clone())),
        }))
    }

    /// Makes sure that the blob of a layer is in the store. That of a shared cache is verified.
    pub(crate) fn fetch_origin(&self, origin: &Origin, messenger: &Messenger) -> Result<(), BodyError> {
        match origin {
            Origin::Base(base) => self.fetch(base, messenger),
            Origin::Cache(layer) => self.materialise(&LayerId::of_diff(layer.diff.diff_id), messenger),
        }
    }

    /// Makes sure the blob of a base layer is in the store, without unpacking it.
    pub fn fetch(&self, base: &BaseLayer, messenger: &Messenger) -> Result<(), BodyError> {
        let mut reader = self.open_base(base, messenger)?;
        if self.world.store.blob(&base.descriptor.digest).is_none() {
            io::copy(&mut reader, &mut io::sink())
                .map_err(|source| BodyError::Stream { digest: base.descriptor.digest, source })?;
        }
        Ok(())
    }
}

/// A download that becomes a blob of the store when it has been read to its end.
struct Download<'a> {
    inner: Box<dyn Read + Send + 'a>,
    writer: Option<BlobWriter>,
    digest: Digest,
    cancelled: castoff_sandbox::Cancel,
    progress: Option<Progress>,
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.inner.read(buffer)?;
        if let Some(progress) = &mut self.progress {
            progress.advance(count as u64);
        }
        if count > 0 {
            if let Some(writer) = &mut self.writer {
                writer.write_all(&buffer[..count])?;
            }
        } else if !buffer.is_empty()
            && let Some(writer) = self.writer.take()
        {
            writer.finish(Some(self.digest)).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// Reports how far a download is.
struct Progress {
    step: StepId,
    item: String,
    current: u64,
    reported: u64,
    total: u64,
    messenger: Messenger,
}

impl Progress {
    fn new(step: StepId, descriptor: &Descriptor, messenger: Messenger) -> Progress {
        Progress {
            step,
            item: descriptor.digest.to_string(),
            current: 0,
            reported: 0,
            total: descriptor.size,
            messenger,
        }
    }

    /// Sends an event per half megabyte and one at the end.
    fn advance(&mut self, count: u64) {
        self.current += count;
        if count > 0 && self.current - self.reported < 512 * 1024 {
            return;
        }
        self.reported = self.current;
        self.messenger.send(Event::Status {
            step: self.step,
            item: self.item.clone(),
            current: self.current,
            total: Some(self.total),
            done: count == 0,
        });
    }
}
