//! What an image is outside the store: documents, and the blobs of its layers in the wanted compression.
//!
//! Archives, layouts and registries take the same [`Pack`]. In the store the new layers of an image are
//! uncompressed; packing compresses them, and makes the manifests and the index that name the result. Layers
//! of base images, and those that only a shared cache has, stay as they are unless they are to be compressed
//! again (B-108): a pack only names them, and whoever needs their bytes fetches them, because a registry may
//! have them already.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_layer::{CompressOptions, Compression};
use castoff_oci::{
    Descriptor, DiffId, Digest, Index, LayerCompression, Manifest, MediaType, MediaTypes, Raw, Reference,
};
use castoff_store::Store;
use serde::{Deserialize, Serialize};

use crate::bodies::{BaseLayer, Bodies, BodyError, Origin};
use crate::driver::Messenger;
use crate::export::attest::is_attestation;
use crate::export::estargz::{self, EstargzError};
use crate::export::image::{Image, ImageLayer};
use crate::export::set::{ImageSet, index_descriptor};
use crate::export::verified::Verified;
use crate::step::is_broken_pipe;

/// Documents are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// Layers that are fetched at once. The registry's client has a limit of its own for each host, and a manifest may
/// name more layers than there can be threads.
const AT_ONCE: usize = 16;

/// How a layer is compressed outside the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackCompression {
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// gzip from which single files can be taken, with a table of contents. The layer has entries of its
    /// own then, so diff id and image id are others.
    Estargz,
    /// zstd.
    Zstd,
}

/// How images are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackOptions {
    /// Whose types documents and layers have.
    pub media_types: MediaTypes,
    /// The compression of layers that are not compressed yet.
    pub compression: PackCompression,
    /// Its level; `None` is the default of the algorithm.
    pub level: Option<u32>,
    /// Whether layers that are compressed otherwise are compressed again.
    pub force: bool,
    /// Whether an image all of whose layers are compressed and came from elsewhere stays as it is, to the
    /// last byte of its manifest. The others are packed by the rest of the options.
    pub keep: bool,
}

impl Default for PackOptions {
    /// OCI types and gzip of the default level; what is compressed stays.
    fn default() -> PackOptions {
        PackOptions {
            media_types: MediaTypes::Oci,
            compression: PackCompression::Gzip,
            level: None,
            force: false,
            keep: false,
        }
    }
}

impl PackOptions {
    /// Returns the name under which the store remembers a layer that was compressed so.
    pub(crate) fn variant(&self) -> Option<String> {
        match self.compression {
            PackCompression::Uncompressed | PackCompression::Estargz => None,
            PackCompression::Gzip => Some(format!("gzip-{}", self.level.unwrap_or(6))),
            PackCompression::Zstd => Some(format!("zstd-{}", self.level.unwrap_or(3))),
        }
    }
}

/// What packing works with.
#[derive(Clone, Copy)]
pub struct PackSource<'a> {
    /// The layers.
    pub bodies: &'a Bodies<'a>,
    /// Hears of downloads.
    pub messenger: &'a Messenger,
}

/// A packed image, or a packed index and its images.
#[derive(Debug, Clone)]
pub struct Pack {
    /// The index, or the only manifest with its platform.
    pub root: Descriptor,
    /// The images in the order of the set.
    pub images: Vec<PackedImage>,
    /// Configs, manifests and the index.
    pub documents: BTreeMap<Digest, Document>,
    /// The manifests and indexes among the documents, each after those that it names; the root is last.
    pub manifests: Vec<Descriptor>,
    /// Every blob that is no document.
    pub blobs: BTreeMap<Digest, PackedBlob>,
    /// When the newest image was made, in RFC 3339.
    pub created: Option<String>,
}

/// An image of a pack.
#[derive(Debug, Clone)]
pub struct PackedImage {
    /// Its manifest, with its platform.
    pub manifest: Descriptor,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, bottom to top.
    pub layers: Vec<Descriptor>,
}

/// A document of a pack.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it is.
    pub media_type: MediaType,
    /// The bytes that its digest is of.
    pub bytes: Vec<u8>,
}

/// A blob of a pack.
#[derive(Debug, Clone)]
pub struct PackedBlob {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub(crate) origin: BlobOrigin,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub(crate) enum BlobOrigin {
    /// In the store.
    Store,
    /// In the store, or where its layer is from, a base image or a shared cache. It goes through the store.
    Layer(Box<Origin>),
    /// In a repository. It does not go through the store.
    Registry(Reference),
    /// In a file, such as one of a layout.
    File(PathBuf),
}

impl BlobOrigin {
    fn layer(origin: Origin) -> BlobOrigin {
        BlobOrigin::Layer(Box::new(origin))
    }

    /// Returns where the layer is from that this is one of.
    pub(crate) fn of_layer(&self) -> Option<&Origin> {
        match self {
            BlobOrigin::Layer(origin) => Some(origin),
            BlobOrigin::Store | BlobOrigin::Registry(_) | BlobOrigin::File(_) => None,
        }
    }
}

/// Why an image could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A layer could not be read.
    #[error("{}", crate::step::chain(.0))]
    Body(#[from] BodyError),
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// A layer could not be compressed.
    #[error("compressing a layer: {0}")]
    Io(#[from] io::Error),
    /// A layer could not be given a table of contents.
    #[error("{}", crate::step::chain(.0))]
    Estargz(#[from] EstargzError),
    /// Something that Docker's media types have no place for (B-107, B-117).
    #[error("{0} need OCI media types, and this output has oci-mediatypes=false")]
    DockerTypes(&'static str),
    /// A registry does not give a blob.
    #[error("{}", crate::step::chain(.0))]
    Registry(#[from] castoff_registry::RegistryError),
    /// A file of a layout cannot be opened.
    #[error("opening `{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob vanished.
    #[error("blob `{0}` is not in the store")]
    Missing(Digest),
}

/// Packs an image, or an index and its images.
///
/// # Errors
/// When a layer cannot be read, the store not be written, or Docker's media types have no place for something.
pub fn pack(images: &ImageSet, options: &PackOptions, source: PackSource<'_>) -> Result<Pack, PackError> {
    if options.media_types == MediaTypes::Docker {
        refuse_for_docker(images, options)?;
    }
    let mut packer =
        Packer { options, source, documents: BTreeMap::new(), manifests: Vec::new(), blobs: BTreeMap::new() };
    let packed =
        images.images().iter().map(|image| packer.add_image(image)).collect::<Result<Vec<_>, PackError>>()?;
    let root = match images.index() {
        None => packed[0].manifest.clone(),
        Some(index) => packer.add_index(index, images, &packed)?,
    };
    let root = Descriptor { annotations: images.annotations().clone(), ..root };
    // The time of the newest part, so that equal images give equal packs.
    let created = images.images().iter().filter_map(|image| image.config.value().created.clone()).max();
    let Packer { documents, manifests, blobs, .. } = packer;
    Ok(Pack { root, images: packed, documents, manifests, blobs, created })
}

impl Pack {
    /// Returns a pack in which nothing is yet.
    pub(crate) fn of(root: Descriptor) -> Pack {
        Pack {
            root,
            images: Vec::new(),
            documents: BTreeMap::new(),
            manifests: Vec::new(),
            blobs: BTreeMap::new(),
            created: None,
        }
    }

    /// Puts the documents into the store, so that a name may stand for the pack's root.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep(&self, store: &Store) -> Result<(), PackError> {
        for document in self.documents.values() {
            store.put_blob(&document.bytes)?;
        }
        Ok(())
    }
}

/// Fetches those blobs that are not in the store, side by side.
///
/// # Errors
/// When one cannot be fetched; what came of the others stays.
pub fn fetch<'a>(
    blobs: impl Iterator<Item = &'a PackedBlob>,
    source: PackSource<'_>,
) -> Result<(), PackError> {
    let PackSource { bodies, messenger } = source;
    let missing = blobs.filter(|blob| bodies.world.store.blob(&blob.descriptor.digest).is_none());
    let missing: Vec<&Origin> = missing.filter_map(|blob| blob.origin.of_layer()).collect();
    let next = AtomicUsize::new(0);
    let fetch = |messenger: Messenger| -> Result<(), BodyError> {
        while let Some(origin) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            bodies.fetch_origin(origin, &messenger)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(missing.len()))
            .map(|_| {
                let (fetch, messenger) = (&fetch, messenger.clone());
                scope.spawn(move || fetch(messenger))
            })
            .collect();
        let fetched: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("a download does not panic")).collect();
        Ok(fetched.into_iter().collect::<Result<(), BodyError>>()?)
    })
}

/// Opens a blob of a pack, and fetches the layer of a base image first when it is not in the store. What comes
/// from elsewhere is verified: its last bytes are given out only when the digest is right.
///
/// # Errors
/// When it cannot be fetched, or not be read.
pub fn open(blob: &PackedBlob, source: PackSource<'_>) -> Result<Box<dyn Read + Send>, PackError> {
    let (descriptor, world) = (&blob.descriptor, source.bodies.world);
    let unverified: Box<dyn Read + Send> = match &blob.origin {
        BlobOrigin::Store | BlobOrigin::Layer(_) => {
            let digest = descriptor.digest;
            if let Some(origin) = blob.origin.of_layer()
                && world.store.blob(&digest).is_none()
            {
                source.bodies.fetch_origin(origin, source.messenger)?;
            }
            let file = world.store.open_blob(&digest)?.ok_or(PackError::Missing(digest))?;
            return Ok(Box::new(file));
        }
        BlobOrigin::Registry(reference) => world.registry.blob(reference, descriptor)?,
        BlobOrigin::File(path) => {
            Box::new(File::open(path).map_err(|source| PackError::File { path: path.clone(), source })?)
        }
    };
    Ok(Box::new(Verified::new(unverified, descriptor)))
}

struct Packer<'a> {
    options: &'a PackOptions,
    source: PackSource<'a>,
    documents: BTreeMap<Digest, Document>,
    manifests: Vec<Descriptor>,
    blobs: BTreeMap<Digest, PackedBlob>,
}

impl Packer<'_> {
    fn add_image(&mut self, image: &Image) -> Result<PackedImage, PackError> {
        if self.options.keep
            && let Some(bases) = self.unchanged(image)
        {
            return Ok(self.add_unchanged(image, bases));
        }
        let types = self.options.media_types;
        let (mut layers, mut diffs) = (Vec::new(), image.config.value().rootfs.diff_ids.clone());
        for (place, layer) in image.layers.iter().enumerate() {
            let (blob, diff) = layer_blob(layer, self.options, self.source)?;
            if let (Some(diff), Some(known)) = (diff, diffs.get_mut(place)) {
                *known = diff;
            }
            layers.push(blob.descriptor.clone());
            self.blobs.insert(blob.descriptor.digest, blob);
        }
        let config = if diffs == image.config.value().rootfs.diff_ids {
            image.config.clone()
        } else {
            let mut value = image.config.value().clone();
            value.rootfs.diff_ids = diffs;
            Raw::new(value)
        };
        let known = image.manifest.value();
        let config_type = match &known.config.media_type {
            MediaType::OciConfig | MediaType::DockerConfig => types.config(),
            other => other.clone(),
        };
        let config_descriptor =
            Descriptor::new(config_type.clone(), config.digest(), config.bytes().len() as u64);
        // A manifest that is right as it is stays, so that what was loaded is saved as the same bytes.
        let is_right = known.media_type == Some(types.manifest())
            && known.layers == layers
            && (&known.config.media_type, known.config.digest) == (&config_type, config.digest());
        let manifest = if is_right {
            image.manifest.clone()
        } else {
            Raw::new(Manifest {
                media_type: Some(types.manifest()),
                annotations: known.annotations.clone(),
                ..Manifest::oci(config_descriptor.clone(), layers.clone())
            })
        };
        let document = Document { media_type: config_type, bytes: config.bytes().to_vec() };
        self.documents.insert(config_descriptor.digest, document);
        let mut descriptor =
            Descriptor::new(types.manifest(), manifest.digest(), manifest.bytes().len() as u64);
        descriptor.platform = Some(image.config.value().platform());
        self.add_manifest(&descriptor, manifest.bytes().to_vec());
        Ok(PackedImage { manifest: descriptor, config: config_descriptor, layers })
    }

    /// Returns the layers of an image that is ready to leave as it came: all of them are compressed, and are
    /// what a registry or an archive had. Layers of unknown types are none of castoff's to change.
    fn unchanged(&self, image: &Image) -> Option<Vec<BaseLayer>> {
        let layers = image.layers.iter().map(|layer| {
            let plain = layer.descriptor.media_type.layer_compression() == Some(LayerCompression::None);
            self.source.bodies.base(&layer.id).filter(|_| !plain)
        });
        layers.collect()
    }

    fn add_unchanged(&mut self, image: &Image, bases: Vec<BaseLayer>) -> PackedImage {
        let layers: Vec<_> = image.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        for (descriptor, base) in layers.iter().cloned().zip(bases) {
            self.blobs.insert(
                descriptor.digest,
                PackedBlob { descriptor, origin: BlobOrigin::layer(Origin::Base(base)) },
            );
        }
        let config = image.manifest.value().config.clone();
        let document =
            Document { media_type: config.media_type.clone(), bytes: image.config.bytes().to_vec() };
        self.documents.insert(config.digest, document);
        let manifest = image.descriptor();
        self.add_manifest(&manifest, image.manifest.bytes().to_vec());
        PackedImage { manifest, config, layers }
    }

    /// Adds the index over images that were added, and returns its descriptor here. One whose images are
    /// all unchanged stays as it is, with its other entries where the store has them.
    fn add_index(
        &mut self,
        index: &Raw<Index>,
        images: &ImageSet,
        packed: &[PackedImage],
    ) -> Result<Descriptor, PackError> {
        let pairs = || images.images().iter().zip(packed.iter().map(|image| &image.manifest));
        let types = self.options.media_types;
        let is_right = (self.options.keep || index_descriptor(index).media_type == types.index())
            && pairs().all(|(image, packed)| image.manifest.digest() == packed.digest);
        let index = if is_right {
            for entry in &index.value().manifests {
                if !packed.iter().any(|image| image.manifest.digest == entry.digest) {
                    self.add_other(entry)?;
                }
            }
            index.clone()
        } else {
            // What the other entries say of the images, such as attestations, is not true of the new ones.
            let kept = index.value().manifests.iter().filter_map(|entry| {
                let (_, packed) = pairs().find(|(image, _)| image.manifest.digest() == entry.digest)?;
                let mut new = packed.clone();
                new.annotations.clone_from(&entry.annotations);
                new.platform = entry.platform.clone().or(new.platform);
                Some(new)
            });
            let kept = kept.collect();
            Raw::new(Index {
                media_type: Some(types.index()),
                annotations: index.value().annotations.clone(),
                ..Index::oci(kept)
            })
        };
        let descriptor = index_descriptor(&index);
        self.add_manifest(&descriptor, index.bytes().to_vec());
        Ok(descriptor)
    }

    /// Adds what an entry of an index refers to, as far as it is in the store: an attestation, or nothing
    /// of an image that was never fetched.
    fn add_other(&mut self, entry: &Descriptor) -> Result<(), PackError> {
        let store = &self.source.bodies.world.store;
        let Some(bytes) = store.read_blob(&entry.digest, DOCUMENT_LIMIT)? else { return Ok(()) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(()) };
        let parts = || manifest.layers.iter().chain([&manifest.config]);
        if parts().all(|part| store.blob(&part.digest).is_some_and(|blob| blob.size == part.size)) {
            self.add_manifest(entry, bytes);
            let blob = |part: &Descriptor| PackedBlob { descriptor: part.clone(), origin: BlobOrigin::Store };
            self.blobs.extend(parts().map(|part| (part.digest, blob(part))));
        }
        Ok(())
    }

    fn add_manifest(&mut self, descriptor: &Descriptor, bytes: Vec<u8>) {
        let document = Document { media_type: descriptor.media_type.clone(), bytes };
        if self.documents.insert(descriptor.digest, document).is_none() {
            self.manifests.push(descriptor.clone());
        }
    }
}

/// Refuses what Docker's media types have no place for.
fn refuse_for_docker(images: &ImageSet, options: &PackOptions) -> Result<(), PackError> {
    match options.compression {
        PackCompression::Uncompressed | PackCompression::Gzip => {}
        PackCompression::Estargz => return Err(PackError::DockerTypes("layers in estargz")),
        PackCompression::Zstd => return Err(PackError::DockerTypes("layers in zstd")),
    }
    let index = images.index().map(Raw::value);
    let entries = || index.iter().flat_map(|index| &index.manifests);
    if !images.annotations().is_empty()
        || index.is_some_and(|index| !index.annotations.is_empty())
        || entries().any(|entry| !entry.annotations.is_empty() && !is_attestation(entry))
    {
        return Err(PackError::DockerTypes("annotations of other than manifests"));
    }
    if entries().any(is_attestation) {
        return Err(PackError::DockerTypes("attestations"));
    }
    Ok(())
}

/// Returns a layer in the wanted compression, and its diff id where that is another one than in the store. A
/// layer of a base image that is compressed already is used as it is unless `force` is set, and is only named
/// (B-108), and so is one that only a shared cache has; any other is in the store after this.
pub(crate) fn layer_blob(
    layer: &ImageLayer,
    options: &PackOptions,
    source: PackSource<'_>,
) -> Result<(PackedBlob, Option<DiffId>), PackError> {
    let PackSource { bodies, messenger } = source;
    let world = bodies.world;
    if let Some(base) = bodies.base(&layer.id) {
        if let Some(descriptor) = as_it_is(&layer.descriptor, options) {
            return Ok((PackedBlob { descriptor, origin: BlobOrigin::layer(Origin::Base(base)) }, None));
        }
        if world.store.blob(&base.diff_id.0).is_none() {
            // Its tar is made from the files, so that it can be compressed otherwise.
            bodies.directory(&layer.id, messenger)?;
        }
    }
    if let Some(cached) = bodies.only_cached(&layer.id)
        && let Some(descriptor) = as_it_is(&cached.descriptor, options)
    {
        return Ok((PackedBlob { descriptor, origin: BlobOrigin::layer(Origin::Cache(cached)) }, None));
    }
    bodies.materialise(&layer.id, messenger)?;
    let diff = bodies.diff(&layer.id)?;
    let media_type = |compression| options.media_types.layer(compression);
    let blob = |media_type, digest, size| {
        (
            PackedBlob { descriptor: Descriptor::new(media_type, digest, size), origin: BlobOrigin::Store },
            None,
        )
    };
    let (media_type, compression) = match options.compression {
        PackCompression::Uncompressed => {
            if world.store.blob(&diff.diff_id.0).is_none() {
                let mut writer = world.store.blob_writer()?;
                bodies.write_tar(&layer.id, &mut writer)?;
                writer.finish(Some(diff.diff_id.0))?;
            }
            return Ok(blob(media_type(LayerCompression::None), diff.diff_id.0, diff.size));
        }
        PackCompression::Estargz => return estargz_blob(layer, diff.diff_id, options, source),
        PackCompression::Gzip => (media_type(LayerCompression::Gzip), Compression::Gzip),
        PackCompression::Zstd => (media_type(LayerCompression::Zstd), Compression::Zstd),
    };
    let variant = options.variant().expect("it is compressed");
    if let Some(known) = world.store.compressed(&diff.diff_id, &variant) {
        return Ok(blob(media_type, known.digest, known.size));
    }
    let options = CompressOptions { compression, level: options.level, threads: world.machine.jobs.max(1) };
    let mut writer = world.store.blob_writer()?;
    with_tar(layer, bodies, &mut |tar| Ok(castoff_layer::compress(tar, &mut writer, options)?))?;
    let compressed = writer.finish(None)?;
    world.store.set_compressed(&diff.diff_id, &variant, &compressed.digest)?;
    Ok(blob(media_type, compressed.digest, compressed.size))
}

/// Returns the descriptor of a base image's layer that stays as it is.
fn as_it_is(known: &Descriptor, options: &PackOptions) -> Option<Descriptor> {
    // What has another type, such as a layer that is not to be distributed, stays what it is.
    let Some(current) = known.media_type.layer_compression() else { return Some(known.clone()) };
    let is_wanted = match options.compression {
        PackCompression::Uncompressed => current == LayerCompression::None,
        PackCompression::Gzip => current == LayerCompression::Gzip,
        PackCompression::Zstd => current == LayerCompression::Zstd,
        PackCompression::Estargz => known.annotations.contains_key(TABLE_DIGEST),
    };
    let mut descriptor = known.clone();
    descriptor.media_type = options.media_types.layer(current);
    if options.media_types == MediaTypes::Docker {
        descriptor.annotations.clear();
        // Docker has a name for it that nothing of Docker's reads.
        if current == LayerCompression::Zstd {
            return None;
        }
    }
    (is_wanted || (!options.force && current != LayerCompression::None)).then_some(descriptor)
}

/// Annotation of a layer in eStargz: the digest of its table of contents.
const TABLE_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Annotation of the same: the size of the tar in bytes, which Podman wants to know.
const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// What is remembered of a layer in eStargz beside its blob.
#[derive(Serialize, Deserialize)]
struct EstargzFacts {
    diff: DiffId,
    size: u64,
    table: Digest,
}

fn estargz_blob(
    layer: &ImageLayer,
    diff: DiffId,
    options: &PackOptions,
    source: PackSource<'_>,
) -> Result<(PackedBlob, Option<DiffId>), PackError> {
    let (bodies, store) = (source.bodies, &source.bodies.world.store);
    let variant = format!("estargz-{}", options.level.unwrap_or(6));
    let facts_variant = format!("{variant}-facts");
    let known = match (store.compressed(&diff, &variant), store.compressed(&diff, &facts_variant)) {
        (Some(blob), Some(facts)) => {
            let bytes = store.read_blob(&facts.digest, DOCUMENT_LIMIT)?;
            bytes
                .and_then(|bytes| serde_json::from_slice::<EstargzFacts>(&bytes).ok())
                .map(|facts| (blob, facts))
        }
        _ => None,
    };
    let (blob, facts) = match known {
        Some(known) => known,
        None => {
            let mut writer = store.blob_writer()?;
            let mut written = None;
            with_tar(layer, bodies, &mut |tar| {
                written = Some(estargz::write_estargz(tar, &mut writer, options.level)?);
                io::copy(tar, &mut io::sink())?;
                Ok(())
            })?;
            let written = written.expect("set where nothing failed");
            let blob = writer.finish(None)?;
            let facts = EstargzFacts { diff: DiffId(written.diff), size: written.size, table: written.table };
            let document = serde_json::to_vec(&facts).expect("facts have string keys only");
            let document = store.put_blob(&document)?;
            store.set_compressed(&diff, &variant, &blob.digest)?;
            store.set_compressed(&diff, &facts_variant, &document.digest)?;
            (blob, facts)
        }
    };
    let media_type = options.media_types.layer(LayerCompression::Gzip);
    let mut descriptor = Descriptor::new(media_type, blob.digest, blob.size);
    descriptor.annotations.insert(TABLE_DIGEST.to_owned(), facts.table.to_string());
    descriptor.annotations.insert(UNCOMPRESSED_SIZE.to_owned(), facts.size.to_string());
    Ok((PackedBlob { descriptor, origin: BlobOrigin::Store }, Some(facts.diff)))
}

/// Gives the uncompressed tar of a layer to `work`, while it is made.
fn with_tar(
    layer: &ImageLayer,
    bodies: &Bodies<'_>,
    work: &mut dyn FnMut(&mut dyn Read) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let (mut reader, tar) = io::pipe()?;
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut tar = io::BufWriter::with_capacity(256 * 1024, tar);
            bodies.write_tar(&layer.id, &mut tar)?;
            tar.flush().map_err(PackError::Io)
        });
        let worked = work(&mut reader);
        // The producer stops at a broken pipe when the work has failed, so it always ends.
        drop(reader);
        let produced = producer.join().expect("the producer does not panic");
        match (worked, produced) {
            (Ok(()), produced) => produced,
            // What was cut cannot be read, and why it was cut is the reason then.
            (Err(_), Err(cause)) if !is_broken_pipe(&cause) => Err(cause),
            (Err(error), _) => Err(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-080, B-108
    #[test]
    fn layers_of_other_types_stay_what_they_are() {
        let digest = Digest::of(b"layer");
        let all = [
            PackCompression::Uncompressed,
            PackCompression::Gzip,
            PackCompression::Estargz,
            PackCompression::Zstd,
        ];
        for name in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/x-own"] {
            let known = Descriptor::new(MediaType::from(name), digest, 5);
            for (compression, force) in all.into_iter().flat_map(|one| [(one, false), (one, true)]) {
                let options = PackOptions { compression, force, ..PackOptions::default() };
                assert_eq!(as_it_is(&known, &options).as_ref(), Some(&known), "{name} {compression:?}");
            }
        }
        let gzip = Descriptor::new(MediaType::OciLayerGzip, digest, 5);
        let options =
            |force| PackOptions { compression: PackCompression::Zstd, force, ..PackOptions::default() };
        assert_eq!(as_it_is(&gzip, &options(false)).as_ref(), Some(&gzip));
        assert_eq!(as_it_is(&gzip, &options(true)), None);
    }
}
