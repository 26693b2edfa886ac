//! Images into registries: `castoff push`, `type=registry`.
//!
//! The order is that of B-083: the blobs of all repositories, then the manifests under their digests, then the
//! root, under each tag. Whoever asks for a tag finds all that is behind it. A layer of a base image that was
//! never fetched is mounted from where it is known to be, or goes from registry to registry as it is read.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use castoff_registry::{Client, Push, Pushed, RegistryError};

use crate::bodies::{Bodies, Origin};
use crate::driver::Messenger;
use crate::event::{Event, StepId};
use crate::export::pack::{BlobOrigin, Document, Pack};
use crate::origin::{self, OriginError, Origins};
use crate::step::chain;

/// Blobs that are asked for or sent at once. Of those that are sent the client limits the number per host.
const AT_ONCE: usize = 8;

/// How much is sent between two events.
const REPORT: u64 = 512 << 10;

/// Where a pack is pushed.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions<'a> {
    /// The names it gets, at least one. A tag is set unless `by_digest`.
    pub names: &'a [Reference],
    /// Whether no tag is set (B-106).
    pub by_digest: bool,
    /// Whether certificates are not looked at and plain HTTP will do.
    pub insecure: bool,
    /// The step that is shown to work.
    pub step: StepId,
}

/// Why an image could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A registry did not take it.
    #[error("pushing {reference}")]
    Registry {
        /// The name.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// An index names an image that was never fetched.
    #[error(
        "pushing {reference}: the index `{index}` has an entry that is not in the store: `{entry}`; pull it, \
         or push the image of one platform"
    )]
    Incomplete {
        /// The name.
        reference: Box<Reference>,
        /// The index.
        index: Digest,
        /// The entry.
        entry: Digest,
    },
    /// The store failed.
    #[error("{0}")]
    Origin(#[from] OriginError),
}

/// Pushes a pack under all its names.
///
/// # Errors
/// When a registry does not take it. What was pushed by then stays, without a tag.
pub fn push(
    pack: &Pack,
    bodies: &Bodies<'_>,
    messenger: &Messenger,
    options: &PushOptions<'_>,
) -> Result<(), PushError> {
    let world = bodies.world;
    let repositories = repositories(options.names);
    let clients: Vec<Client> = repositories
        .iter()
        .map(|(first, _)| match options.insecure {
            true => world.registry.insecure(first.registry()),
            false => world.registry.clone(),
        })
        .collect();
    let status = |item: &str, done: bool| {
        let (step, item) = (options.step, item.to_owned());
        messenger.send(Event::Status { step, item, current: 0, total: None, done });
    };
    status("pushing layers", false);
    let origins = origin::origins(&world.store)?;
    for (place, (repository, _)) in repositories.iter().enumerate() {
        let mut earlier = repositories[..place].iter().map(|(reference, _)| *reference);
        let earlier = earlier.rfind(|earlier| earlier.registry() == repository.registry());
        let to = Destination { client: &clients[place], repository, earlier, origins: &origins, bodies };
        let blobs = blobs(pack);
        to.push_blobs(&blobs, messenger, options.step)?;
    }
    status("pushing layers", true);
    for ((repository, tags), client) in repositories.iter().zip(&clients) {
        let failed = |source| PushError::Registry { reference: Box::new((*repository).clone()), source };
        complete(pack, client, repository)?;
        for manifest in pack.manifests.iter().filter(|manifest| manifest.digest != pack.root.digest) {
            put(pack, client, &repository.with_digest(manifest.digest), manifest).map_err(failed)?;
        }
        let digest = pack.root.digest;
        if options.by_digest {
            put(pack, client, &repository.with_digest(digest), &pack.root).map_err(failed)?;
            status(&format!("pushing manifest for {}@{digest}", repository.name()), true);
            continue;
        }
        for tag in tags {
            put(pack, client, tag, &pack.root)
                .map_err(|source| PushError::Registry { reference: Box::new((*tag).clone()), source })?;
            status(&format!("pushing manifest for {tag}@{digest}"), true);
        }
    }
    Ok(())
}

/// Returns the names by repository, both in the order given.
fn repositories(names: &[Reference]) -> Vec<(&Reference, Vec<&Reference>)> {
    let mut repositories: Vec<(&Reference, Vec<&Reference>)> = Vec::new();
    for name in names {
        match repositories.iter_mut().find(|(first, _)| first.name() == name.name()) {
            Some((_, tags)) if tags.contains(&name) => {}
            Some((_, tags)) => tags.push(name),
            None => repositories.push((name, vec![name])),
        }
    }
    repositories
}

/// Makes sure that the registry has what an index names and the pack lacks.
fn complete(pack: &Pack, client: &Client, repository: &Reference) -> Result<(), PushError> {
    let Some(document) = pack.documents.get(&pack.root.digest).filter(|_| pack.root.media_type.is_index())
    else {
        return Ok(());
    };
    let entries = origin::entries(&document.bytes);
    for entry in entries.iter().filter(|entry| !pack.documents.contains_key(&entry.digest)) {
        let known = client.has_manifest(repository, &entry.digest);
        let reference = || Box::new(repository.clone());
        if !known.map_err(|source| PushError::Registry { reference: reference(), source })? {
            let (index, entry) = (pack.root.digest, entry.digest);
            return Err(PushError::Incomplete { reference: reference(), index, entry });
        }
    }
    Ok(())
}

fn put(
    pack: &Pack,
    client: &Client,
    reference: &Reference,
    manifest: &Descriptor,
) -> Result<(), RegistryError> {
    let document = &pack.documents[&manifest.digest];
    client.push_manifest(reference, &document.media_type, &document.bytes)
}

/// A blob on its way.
struct Outgoing<'a> {
    descriptor: Descriptor,
    bytes: Bytes<'a>,
}

enum Bytes<'a> {
    Document(&'a [u8]),
    /// In the store, or else where this says.
    Blob(&'a BlobOrigin),
}

/// Returns the blobs of a pack: configs and layers. Layers that may not be distributed are left where they
/// are (B-080).
fn blobs(pack: &Pack) -> Vec<Outgoing<'_>> {
    let is_manifest = |digest: &Digest| pack.manifests.iter().any(|manifest| manifest.digest == *digest);
    let documents = pack.documents.iter().filter(|(digest, _)| !is_manifest(digest));
    let documents = documents.map(|(digest, Document { media_type, bytes })| Outgoing {
        descriptor: Descriptor::new(media_type.clone(), *digest, bytes.len() as u64),
        bytes: Bytes::Document(bytes),
    });
    let layers = pack.blobs.values().filter(|blob| is_distributed(&blob.descriptor.media_type));
    let layers =
        layers.map(|blob| Outgoing { descriptor: blob.descriptor.clone(), bytes: Bytes::Blob(&blob.origin) });
    // The largest first: what is sent last should be short.
    let mut blobs: Vec<_> = documents.chain(layers).collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.descriptor.size));
    blobs
}

/// Returns whether a layer may be pushed at all (B-080).
pub(crate) fn is_distributed(media_type: &MediaType) -> bool {
    !media_type.as_str().contains(".foreign.") && !media_type.as_str().contains(".nondistributable.")
}

/// One repository that is pushed to.
struct Destination<'a> {
    client: &'a Client,
    repository: &'a Reference,
    /// Another repository of the registry, to which all blobs were pushed before.
    earlier: Option<&'a Reference>,
    origins: &'a Origins,
    bodies: &'a Bodies<'a>,
}

impl Destination<'_> {
    /// Pushes blobs in parallel. The first that fails ends it: no further one is begun.
    fn push_blobs(
        &self,
        blobs: &[Outgoing<'_>],
        messenger: &Messenger,
        step: StepId,
    ) -> Result<(), PushError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(blobs.len()) {
                let messenger = messenger.clone();
                let (next, failed, failure) = (&next, &failed, &failure);
                scope.spawn(move || {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if failed.load(Ordering::Relaxed) {
                            return;
                        }
                        if let Err(source) = self.push_blob(blob, &messenger, step) {
                            failed.store(true, Ordering::Relaxed);
                            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                            failure.get_or_insert(source);
                            return;
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(source) => Err(PushError::Registry { reference: Box::new(self.repository.clone()), source }),
        }
    }

    fn push_blob(
        &self,
        blob: &Outgoing<'_>,
        messenger: &Messenger,
        step: StepId,
    ) -> Result<(), RegistryError> {
        let Descriptor { digest, size, .. } = blob.descriptor;
        let status = |current: u64, done: bool| {
            let item = digest.to_string();
            messenger.send(Event::Status { step, item, current, total: Some(size), done });
        };
        let world = self.bodies.world;
        let known = self.origins.get(&digest).map(Vec::as_slice).unwrap_or_default();
        // Where it is said to be for certain comes first.
        let known_as: Vec<&Reference> = match blob.bytes {
            Bytes::Blob(BlobOrigin::Registry(reference)) => iter::once(reference).chain(known).collect(),
            Bytes::Blob(BlobOrigin::Layer(origin)) => known.iter().chain(self.home(origin)).collect(),
            Bytes::Blob(BlobOrigin::Store | BlobOrigin::File(_)) | Bytes::Document(_) => {
                known.iter().collect()
            }
        };
        let elsewhere = |name: &&Reference| {
            name.registry() == self.repository.registry() && name.repository() != self.repository.repository()
        };
        let mount_from = self.earlier.or_else(|| known_as.iter().copied().find(elsewhere));
        let open = |offset: u64| -> io::Result<Box<dyn Read + Send>> {
            match blob.bytes {
                Bytes::Document(bytes) => {
                    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                    Ok(Box::new(Cursor::new(bytes[from..].to_vec())))
                }
                Bytes::Blob(BlobOrigin::File(path)) => {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(offset))?;
                    Ok(Box::new(file))
                }
                Bytes::Blob(origin) => {
                    if let BlobOrigin::Layer(origin) = origin
                        && matches!(**origin, Origin::Cache(_))
                        && world.store.blob(&digest).is_none()
                    {
                        // It is verified before it is passed on.
                        let failed = |error| io::Error::other(chain(&error));
                        self.bodies.fetch_origin(origin, messenger).map_err(failed)?;
                    }
                    self.open(&blob.descriptor, known_as.first().copied(), offset)
                }
            }
        };
        let mut reported = 0;
        let mut sent = |current: u64| {
            if current < reported || current - reported >= REPORT {
                reported = current;
                status(current, false);
            }
        };
        let push = Push { descriptor: &blob.descriptor, mount_from, open: &open, sent: &mut sent };
        match self.client.push_blob(self.repository, push)? {
            // What moved nothing is not shown as having moved.
            Pushed::Present | Pushed::Mounted => {}
            Pushed::Sent => status(size, true),
        }
        Ok(())
    }

    /// Returns the repository that a layer is from.
    fn home<'o>(&'o self, origin: &'o Origin) -> Option<&'o Reference> {
        match origin {
            Origin::Base(base) => Some(&base.reference),
            Origin::Cache(layer) => self.bodies.world.shared_caches.cache(layer).repository(),
        }
    }

    /// Opens a blob of the store, or reads it from where it is known to be. It is verified by whoever sends
    /// it on.
    fn open(
        &self,
        descriptor: &Descriptor,
        known_as: Option<&Reference>,
        offset: u64,
    ) -> io::Result<Box<dyn Read + Send>> {
        if let Some(mut file) =
            self.bodies.world.store.open_blob(&descriptor.digest).map_err(io::Error::other)?
        {
            file.seek(SeekFrom::Start(offset))?;
            return Ok(Box::new(file));
        }
        let Some(reference) = known_as else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the store"));
        };
        self.bodies.world.registry.blob_part(reference, descriptor, offset).map_err(io::Error::other)
    }
}
