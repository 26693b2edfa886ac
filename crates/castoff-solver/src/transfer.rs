//! Images from one place to another as they are: registries, OCI layouts, the store.
//!
//! Documents keep their bytes, and so their digests; nothing is unpacked or compressed. What an index names
//! comes along: the images of all platforms, attestations, and what castoff does not know the meaning of.
//! [`gather`] reads the documents and gives a [`Pack`], whose blobs stay where they are until somebody who
//! writes the pack reads them.

mod combine;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Raw, Reference};
use castoff_registry::RegistryError;

use crate::World;
use crate::driver::Messenger;
use crate::event::{Event, StepId};
use crate::export::pack::{self, BlobOrigin, Document, Pack, PackError, PackSource, PackedBlob, PackedImage};
use crate::export::push::is_distributed;
use crate::resolve::{available, choose};

pub use combine::{CombineError, CombineOptions, Part, combine};

/// Documents of an image are small; more than this is an attack.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// All documents of what is copied together: they are in memory, and a hostile index names as many as it likes.
const DOCUMENTS_LIMIT: u64 = 256 << 20;

/// Indexes in indexes, deeper than anybody has them.
const DEPTH: usize = 8;

/// Blobs that are copied into the store at once.
const AT_ONCE: usize = 4;

/// Where images are read from.
#[derive(Debug, Clone)]
pub enum Place {
    /// A repository of a registry.
    Registry(Reference),
    /// A directory with an OCI layout.
    Layout(PathBuf),
    /// The store, where an archive was read into it.
    Store,
}

/// Why an image could not be transferred.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The registry does not have it or cannot be asked.
    #[error("{reference}")]
    Registry {
        /// Which image.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// A file of a layout could not be read.
    #[error("reading the layout: `{}`: {source}", path.display())]
    Layout {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layout has no image of the name, or several images and no name was given.
    #[error("the layout `{}` has {found}", directory.display())]
    Choice {
        /// The layout.
        directory: PathBuf,
        /// What it has.
        found: String,
    },
    /// A document is not the one that its descriptor names (B-220).
    #[error("the document `{digest}` has {what}")]
    Damaged {
        /// What it should be.
        digest: Digest,
        /// What is wrong.
        what: String,
    },
    /// A document is not what it should be.
    #[error("the document `{digest}` is malformed: {source}")]
    Malformed {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The document is neither a manifest nor an index.
    #[error("the document `{digest}` is of the type `{media_type}`, which castoff does not copy")]
    MediaType {
        /// Which.
        digest: Digest,
        /// What it is.
        media_type: MediaType,
    },
    /// Indexes are in each other too deep.
    #[error("the index `{0}` is below more than {DEPTH} others")]
    Depth(Digest),
    /// The documents are too many, or too large.
    #[error("the documents are larger than {} MiB together", DOCUMENTS_LIMIT >> 20)]
    TooLarge,
    /// The platform is not there.
    #[error("no match for platform {wanted}; it is there for: {}", available.join(", "))]
    Platform {
        /// What was wanted.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<String>,
    },
    /// What was named is not there at all.
    #[error("the document `{0}` is missing")]
    Missing(Digest),
    /// Something that castoff's store has no place for.
    #[error("the store has images only, and `{digest}` is {what}")]
    NoImage {
        /// The manifest.
        digest: Digest,
        /// What it is instead.
        what: &'static str,
    },
    /// A blob could not be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A blob could not be copied.
    #[error("copying `{digest}`: {source}")]
    Copy {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Tag(#[from] castoff_store::FileError),
}

/// Returns the descriptor of what a name in a registry stands for.
///
/// # Errors
/// When the registry does not have it or cannot be asked.
pub fn find_in_registry(world: &World, reference: &Reference) -> Result<Descriptor, TransferError> {
    let document = world
        .registry
        .resolve(reference)
        .map_err(|source| TransferError::Registry { reference: Box::new(reference.clone()), source })?;
    Ok(Descriptor::new(document.media_type, document.digest, document.bytes.len() as u64))
}

/// Returns the descriptor of the image of a layout that a tag or a digest names, or of the only one.
///
/// # Errors
/// When there is none, or several.
pub fn find_in_layout(
    directory: &Path,
    tag: Option<&str>,
    digest: Option<Digest>,
) -> Result<Descriptor, TransferError> {
    let path = directory.join("index.json");
    let bytes = read_file(&path)?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|source| TransferError::Malformed { digest: Digest::of(&bytes), source })?;
    let fits = |descriptor: &Descriptor| match (digest, tag) {
        (Some(digest), _) => descriptor.digest == digest,
        (None, Some(tag)) => {
            descriptor.annotations.get("org.opencontainers.image.ref.name").is_some_and(|name| name == tag)
                || descriptor.annotations.get("io.containerd.image.name").is_some_and(|name| name == tag)
        }
        (None, None) => true,
    };
    let mut found: Vec<Descriptor> = index.manifests.into_iter().filter(fits).collect();
    // One image may have several names.
    found.sort_by_key(|descriptor| descriptor.digest);
    found.dedup_by_key(|descriptor| descriptor.digest);
    let several = found.len();
    match (found.pop(), several) {
        (Some(only), 1) => Ok(Descriptor { annotations: Default::default(), ..only }),
        (last, _) => Err(TransferError::Choice {
            directory: directory.to_owned(),
            found: match last {
                None => "no image of that name or digest".to_owned(),
                Some(_) => format!("{several} images: name one by tag or digest"),
            },
        }),
    }
}

impl Place {
    /// Reads a document that a descriptor names; of a layout or the store it may be absent.
    fn document(&self, world: &World, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, TransferError> {
        let digest = descriptor.digest;
        let bytes = match self {
            Place::Registry(reference) => {
                let failed =
                    |source| TransferError::Registry { reference: Box::new(reference.clone()), source };
                world.registry.manifest(reference, &digest).map_err(failed)?.bytes
            }
            Place::Layout(directory) => {
                let path = blob_path(directory, &digest);
                if !path.exists() {
                    return Ok(None);
                }
                read_file(&path)?
            }
            Place::Store => match world.store.read_blob(&digest, DOCUMENT_LIMIT)? {
                None => return Ok(None),
                Some(bytes) => bytes,
            },
        };
        if bytes.len() as u64 != descriptor.size {
            let what = format!("{} bytes, and its descriptor says {}", bytes.len(), descriptor.size);
            return Err(TransferError::Damaged { digest, what });
        }
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(TransferError::Damaged { digest, what: format!("the digest `{actual}`") });
        }
        Ok(Some(bytes))
    }

    /// Reads a small blob, such as a config.
    fn blob(&self, world: &World, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, TransferError> {
        match self {
            Place::Layout(_) | Place::Store => self.document(world, descriptor),
            Place::Registry(reference) => {
                let failed =
                    |source| TransferError::Registry { reference: Box::new(reference.clone()), source };
                if descriptor.size > DOCUMENT_LIMIT {
                    let what = format!("{} bytes, which is too much", descriptor.size);
                    return Err(TransferError::Damaged { digest: descriptor.digest, what });
                }
                let mut reader = world.registry.blob(reference, descriptor).map_err(failed)?;
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut reader, &mut bytes)
                    .map_err(|source| TransferError::Copy { digest: descriptor.digest, source })?;
                Ok(Some(bytes))
            }
        }
    }

    fn origin(&self, descriptor: &Descriptor) -> BlobOrigin {
        match self {
            Place::Registry(reference) => BlobOrigin::Registry(reference.clone()),
            Place::Layout(directory) => BlobOrigin::File(blob_path(directory, &descriptor.digest)),
            Place::Store => BlobOrigin::Store,
        }
    }
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}

fn read_file(path: &Path) -> Result<Vec<u8>, TransferError> {
    let failed = |source| TransferError::Layout { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, DOCUMENT_LIMIT + 1), &mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is too large")));
    }
    Ok(bytes)
}

/// Reads the documents of an image or index. With a platform it is one image of an index.
///
/// # Errors
/// When a document is missing, damaged, or not for the platform.
pub fn gather(
    world: &World,
    place: &Place,
    root: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Pack, TransferError> {
    let mut root = root.clone();
    if let Some(wanted) = platform {
        root = of_platform(world, place, &root, wanted)?;
    }
    let pack = Pack::of(root.clone());
    let mut gatherer = Gatherer { world, place, pack, seen: BTreeSet::new(), left: DOCUMENTS_LIMIT };
    if !gatherer.add(&root, 0)? {
        return Err(TransferError::Missing(root.digest));
    }
    Ok(gatherer.pack)
}

/// Reads a document that is at a place: what an index or a manifest says, as it is.
///
/// # Errors
/// When it is missing or damaged.
pub fn document(world: &World, place: &Place, descriptor: &Descriptor) -> Result<Vec<u8>, TransferError> {
    place.document(world, descriptor)?.ok_or(TransferError::Missing(descriptor.digest))
}

/// Returns the config of an image; `None` when the manifest is of no image.
///
/// # Errors
/// When a document is missing or damaged.
pub fn config_of(
    world: &World,
    place: &Place,
    manifest: &Descriptor,
) -> Result<Option<Raw<ImageConfig>>, TransferError> {
    let parsed: Manifest = parse(&manifest.digest, &document(world, place, manifest)?)?;
    if !is_image_config(&parsed.config.media_type) {
        return Ok(None);
    }
    let config = place.blob(world, &parsed.config)?.ok_or(TransferError::Missing(parsed.config.digest))?;
    let digest = parsed.config.digest;
    let config = Raw::parse(config).map_err(|source| TransferError::Malformed { digest, source })?;
    Ok(Some(config))
}

/// Returns the platform that an image says it is for; `None` when it is no image.
///
/// # Errors
/// When its config cannot be read.
pub fn platform_of(
    world: &World,
    place: &Place,
    manifest: &Descriptor,
) -> Result<Option<Platform>, TransferError> {
    Ok(config_of(world, place, manifest)?.map(|config| config.value().platform()))
}

fn of_platform(
    world: &World,
    place: &Place,
    root: &Descriptor,
    wanted: &Platform,
) -> Result<Descriptor, TransferError> {
    let none = |available| TransferError::Platform { wanted: Box::new(wanted.clone()), available };
    if root.media_type.is_index() {
        let bytes = place.document(world, root)?.ok_or(TransferError::Missing(root.digest))?;
        let index: Index = parse(&root.digest, &bytes)?;
        let chosen = choose(wanted, &index.manifests).ok_or_else(|| none(available(&index.manifests)))?;
        return Ok(Descriptor { annotations: Default::default(), ..chosen.clone() });
    }
    match platform_of(world, place, root)? {
        Some(platform) if wanted.accepts(&platform).is_some() => Ok(root.clone()),
        platform => Err(none(platform.iter().map(Platform::to_string).collect())),
    }
}

fn parse<T: serde::de::DeserializeOwned>(digest: &Digest, bytes: &[u8]) -> Result<T, TransferError> {
    serde_json::from_slice(bytes).map_err(|source| TransferError::Malformed { digest: *digest, source })
}

fn is_image_config(media_type: &MediaType) -> bool {
    matches!(media_type, MediaType::OciConfig | MediaType::DockerConfig)
}

struct Gatherer<'a> {
    world: &'a World,
    place: &'a Place,
    pack: Pack,
    /// Hostile indexes may refer to the same things in exponentially many ways.
    seen: BTreeSet<Digest>,
    /// How many bytes there may be yet.
    left: u64,
}

impl Gatherer<'_> {
    /// Adds a manifest or index after what it names, and returns whether it is there.
    fn add(&mut self, descriptor: &Descriptor, depth: usize) -> Result<bool, TransferError> {
        let digest = descriptor.digest;
        if !self.seen.insert(digest) {
            return Ok(self.pack.documents.contains_key(&digest));
        }
        if depth > DEPTH {
            return Err(TransferError::Depth(digest));
        }
        // What is claimed is checked when it is read.
        self.left = self.left.checked_sub(descriptor.size).ok_or(TransferError::TooLarge)?;
        let Some(bytes) = self.place.document(self.world, descriptor)? else { return Ok(false) };
        if descriptor.media_type.is_index() {
            let index: Index = parse(&digest, &bytes)?;
            let mut any = index.manifests.is_empty();
            for entry in &index.manifests {
                // Archives of one platform have the whole index.
                any |= self.add(entry, depth + 1)?;
            }
            if !any {
                return Err(TransferError::Missing(index.manifests[0].digest));
            }
        } else if descriptor.media_type.is_manifest() {
            let manifest: Manifest = parse(&digest, &bytes)?;
            for part in manifest.layers.iter().chain([&manifest.config]) {
                if is_distributed(&part.media_type) {
                    let blob = PackedBlob { descriptor: part.clone(), origin: self.place.origin(part) };
                    self.pack.blobs.insert(part.digest, blob);
                }
            }
            let known = descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
            if is_image_config(&manifest.config.media_type) && !known {
                self.pack.images.push(PackedImage {
                    manifest: descriptor.clone(),
                    config: manifest.config,
                    layers: manifest.layers,
                });
            }
        } else {
            let media_type = descriptor.media_type.clone();
            return Err(TransferError::MediaType { digest, media_type });
        }
        let document = Document { media_type: descriptor.media_type.clone(), bytes };
        self.pack.documents.insert(digest, document);
        self.pack.manifests.push(descriptor.clone());
        Ok(true)
    }
}

/// Puts a pack into the store under a name.
///
/// # Errors
/// When a blob cannot be had, or it is no image. Then nothing gets the name.
pub fn keep(
    pack: &Pack,
    name: &Reference,
    source: PackSource<'_>,
    step: StepId,
) -> Result<(), TransferError> {
    let store = &source.bodies.world.store;
    pack::fetch(pack.blobs.values(), source)?;
    let missing: Vec<&PackedBlob> =
        pack.blobs.values().filter(|blob| store.blob(&blob.descriptor.digest).is_none()).collect();
    let next = AtomicUsize::new(0);
    let copy = |messenger: Messenger| -> Result<(), TransferError> {
        while let Some(blob) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Descriptor { digest, size, .. } = blob.descriptor;
            let mut reader = pack::open(blob, PackSource { bodies: source.bodies, messenger: &messenger })?;
            let mut writer = store.blob_writer()?;
            std::io::copy(&mut reader, &mut writer)
                .map_err(|source| TransferError::Copy { digest, source })?;
            writer.finish(Some(digest))?;
            let item = digest.to_string();
            messenger.send(Event::Status { step, item, current: size, total: Some(size), done: true });
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(missing.len()))
            .map(|_| {
                let (copy, messenger) = (&copy, source.messenger.clone());
                scope.spawn(move || copy(messenger))
            })
            .collect();
        let copied: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("copying does not panic")).collect();
        copied.into_iter().collect::<Result<(), TransferError>>()
    })?;
    for document in pack.documents.values() {
        store.put_blob(&document.bytes)?;
    }
    check_images(pack, source)?;
    store.set_tag(name, &Descriptor { annotations: Default::default(), ..pack.root.clone() })?;
    Ok(())
}

/// What has a name in the store is an image, or an index with one.
fn check_images(pack: &Pack, source: PackSource<'_>) -> Result<(), TransferError> {
    let store = &source.bodies.world.store;
    let refused = |digest, what| Err(TransferError::NoImage { digest, what });
    if pack.images.is_empty() {
        return refused(pack.root.digest, "something else");
    }
    for manifest in &pack.manifests {
        let attestation = manifest.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        let image = pack.images.iter().find(|image| image.manifest.digest == manifest.digest);
        let Some(image) = image else {
            if attestation || manifest.digest == pack.root.digest {
                continue;
            }
            return refused(manifest.digest, "something else");
        };
        let bytes = store.read_blob(&image.config.digest, DOCUMENT_LIMIT)?.unwrap_or_default();
        let config: ImageConfig = parse(&image.config.digest, &bytes)?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            return refused(manifest.digest, "an image whose config lists other layers");
        }
    }
    Ok(())
}
