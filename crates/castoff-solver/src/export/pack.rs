//! What an image is outside the store: documents, and the blobs of its layers in the wanted compression.
//!
//! Archives, layouts and registries take the same [`Pack`]. In the store the new layers of an image are
//! uncompressed; packing compresses them, and makes the manifests and the index that name the result. Layers
//! of base images stay as they are unless they are to be compressed again (B-108): a pack only names them,
//! and whoever needs their bytes fetches them, because a registry may have them already.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use castoff_layer::{CompressOptions, Compression};
use castoff_oci::{Descriptor, Digest, Index, LayerCompression, Manifest, MediaType, Raw};

use crate::bodies::{BaseLayer, Bodies, BodyError};
use crate::driver::Messenger;
use crate::export::image::{Image, ImageLayer};
use crate::export::set::{ImageSet, index_descriptor};

/// Documents are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// How images are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackOptions {
    /// The compression of layers that are not compressed yet.
    pub compression: LayerCompression,
    /// Its level; `None` is the default of the algorithm.
    pub level: Option<u32>,
    /// Whether layers that are compressed otherwise are compressed again.
    pub force: bool,
}

impl Default for PackOptions {
    /// Gzip of the default level; what is compressed stays.
    fn default() -> PackOptions {
        PackOptions { compression: LayerCompression::Gzip, level: None, force: false }
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
    /// Where it comes from when it is a layer of a base image as it is; it may not be in the store. Any
    /// other blob is.
    pub base: Option<BaseLayer>,
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
    Compress(#[from] io::Error),
    /// A blob vanished.
    #[error("blob `{0}` is not in the store")]
    Missing(Digest),
}

/// Packs an image, or an index and its images.
///
/// # Errors
/// When a layer cannot be read, or the store not be written.
pub fn pack(images: &ImageSet, options: &PackOptions, source: PackSource<'_>) -> Result<Pack, PackError> {
    let mut packer =
        Packer { options, source, documents: BTreeMap::new(), manifests: Vec::new(), blobs: BTreeMap::new() };
    let packed =
        images.images().iter().map(|image| packer.add_image(image)).collect::<Result<Vec<_>, PackError>>()?;
    let root = match images.index() {
        None => packed[0].manifest.clone(),
        Some(index) => packer.add_index(index, images, &packed)?,
    };
    // The time of the newest part, so that equal images give equal packs.
    let created = images.images().iter().filter_map(|image| image.config.value().created.clone()).max();
    let Packer { documents, manifests, blobs, .. } = packer;
    Ok(Pack { root, images: packed, documents, manifests, blobs, created })
}

/// Opens a blob of a pack, and fetches it first when it is not in the store.
///
/// # Errors
/// When it cannot be fetched, or the store not be read.
pub fn open(blob: &PackedBlob, source: PackSource<'_>) -> Result<File, PackError> {
    let (digest, store) = (blob.descriptor.digest, &source.bodies.world.store);
    if let Some(base) = &blob.base
        && store.blob(&digest).is_none()
    {
        source.bodies.fetch(base, source.messenger)?;
    }
    store.open_blob(&digest)?.ok_or(PackError::Missing(digest))
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
        let mut layers = Vec::new();
        for layer in &image.layers {
            let blob = layer_blob(layer, self.options, self.source)?;
            layers.push(blob.descriptor.clone());
            self.blobs.insert(blob.descriptor.digest, blob);
        }
        let known = image.manifest.value();
        let config = known.config.clone();
        // A manifest that is right as it is stays, so that what was loaded is saved as the same bytes.
        let manifest = if known.media_type == Some(MediaType::OciManifest) && known.layers == layers {
            image.manifest.clone()
        } else {
            Raw::new(Manifest::oci(config.clone(), layers.clone()))
        };
        let document =
            Document { media_type: config.media_type.clone(), bytes: image.config.bytes().to_vec() };
        self.documents.insert(config.digest, document);
        let mut descriptor =
            Descriptor::new(MediaType::OciManifest, manifest.digest(), manifest.bytes().len() as u64);
        descriptor.platform = Some(image.config.value().platform());
        self.add_manifest(&descriptor, manifest.bytes().to_vec());
        Ok(PackedImage { manifest: descriptor, config, layers })
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
        let index = if pairs().all(|(image, packed)| image.manifest.digest() == packed.digest) {
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
            Raw::new(Index { annotations: index.value().annotations.clone(), ..Index::oci(kept) })
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
            let blob = |part: &Descriptor| PackedBlob { descriptor: part.clone(), base: None };
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

/// Returns a layer in the wanted compression. A layer of a base image that is compressed already is used as
/// it is unless `force` is set, and is only named (B-108); any other is in the store after this.
fn layer_blob(
    layer: &ImageLayer,
    options: &PackOptions,
    source: PackSource<'_>,
) -> Result<PackedBlob, PackError> {
    let PackSource { bodies, messenger } = source;
    let world = bodies.world;
    let current = layer.descriptor.media_type.layer_compression().unwrap_or(LayerCompression::None);
    if let Some(base) = bodies.base(&layer.id) {
        if current == options.compression || (!options.force && current != LayerCompression::None) {
            let mut descriptor = layer.descriptor.clone();
            descriptor.media_type = MediaType::oci_layer(current);
            return Ok(PackedBlob { descriptor, base: Some(base) });
        }
        if world.store.blob(&base.diff_id.0).is_none() {
            // Its tar is made from the files, so that it can be compressed otherwise.
            bodies.directory(&layer.id, messenger)?;
        }
    }
    let diff = bodies.diff(&layer.id)?;
    let blob = |digest, size| PackedBlob {
        descriptor: Descriptor::new(MediaType::oci_layer(options.compression), digest, size),
        base: None,
    };
    let (compression, variant) = match options.compression {
        LayerCompression::None => {
            if world.store.blob(&diff.diff_id.0).is_none() {
                let mut writer = world.store.blob_writer()?;
                bodies.write_tar(&layer.id, &mut writer)?;
                writer.finish(Some(diff.diff_id.0))?;
            }
            return Ok(blob(diff.diff_id.0, diff.size));
        }
        LayerCompression::Gzip => (Compression::Gzip, format!("gzip-{}", options.level.unwrap_or(6))),
        LayerCompression::Zstd => (Compression::Zstd, format!("zstd-{}", options.level.unwrap_or(3))),
    };
    if let Some(known) = world.store.compressed(&diff.diff_id, &variant) {
        return Ok(blob(known.digest, known.size));
    }
    let options = CompressOptions { compression, level: options.level, threads: world.machine.jobs.max(1) };
    let mut writer = world.store.blob_writer()?;
    let (mut reader, tar) = io::pipe()?;
    std::thread::scope(|scope| -> Result<(), PackError> {
        let producer = scope.spawn(move || {
            let mut tar = io::BufWriter::with_capacity(256 * 1024, tar);
            bodies.write_tar(&layer.id, &mut tar)?;
            tar.flush().map_err(PackError::Compress)
        });
        let compressed = castoff_layer::compress(&mut reader, &mut writer, options);
        drop(reader);
        producer.join().expect("the producer does not panic")?;
        Ok(compressed?)
    })?;
    let compressed = writer.finish(None)?;
    world.store.set_compressed(&diff.diff_id, &variant, &compressed.digest)?;
    Ok(blob(compressed.digest, compressed.size))
}
