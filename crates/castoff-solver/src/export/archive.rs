//! Images as archives and layout directories: `type=oci`, `type=docker`, `castoff save`.
//!
//! ```text
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! index.json                 the image or the index over several, once for each name
//! blobs/sha256/<hex>         indexes, manifests, configs, layers
//! manifest.json              only in type=docker: what `docker load` reads
//! ```
//!
//! `manifest.json` knows no platforms: of an index it has the image that serves this machine, or the first
//! one, as Docker's own archives do.
//!
//! An archive is both an OCI layout and, with `manifest.json`, a Docker archive (B-102). Entries are
//! sorted by name and carry no time, so equal images give equal archives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use castoff_layer::{CompressOptions, Compression, Entry, EntryKind, TarOptions, TarWriter, Timestamp};
use castoff_oci::{
    Descriptor, Digest, Index, LayerCompression, Manifest, MediaType, Platform, Raw, Reference,
};
use serde_json::json;

use crate::World;
use crate::bodies::{Bodies, BodyError};
use crate::driver::Messenger;
use crate::export::image::Image;
use crate::export::set::{ImageSet, index_descriptor};

/// Documents are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI image layout.
    Oci,
    /// A Docker archive that is an OCI image layout at the same time.
    Docker,
}

/// What an archive is made with.
#[derive(Clone, Copy)]
pub struct ArchiveExport<'a> {
    /// Names of the image in the archive.
    pub names: &'a [Reference],
    /// How layers are compressed.
    pub compression: ArchiveCompression,
    /// The store and the registries.
    pub world: &'a World,
    /// The layers.
    pub bodies: &'a Bodies<'a>,
    /// Hears of downloads.
    pub messenger: &'a Messenger,
}

/// How the layers of an archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveCompression {
    /// The algorithm of layers that are not compressed yet.
    pub compression: LayerCompression,
    /// Its level; `None` is the default of the algorithm.
    pub level: Option<u32>,
    /// Whether layers that are compressed otherwise are compressed again.
    pub force: bool,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A layer could not be read.
    #[error("{}", crate::step::chain(.0))]
    Body(#[from] BodyError),
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Tar(#[from] castoff_layer::TarWriteError),
    /// The archive or layout could not be written.
    #[error("writing the archive: {0}")]
    Io(#[from] io::Error),
    /// A blob vanished.
    #[error("blob `{0}` is not in the store")]
    Missing(Digest),
}

/// The files of a layout: small documents by content, layers by their blob.
struct Layout {
    documents: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Descriptor>,
}

/// Writes an image, or an index and its images, as a tar.
///
/// # Errors
/// When a layer cannot be read or `to` not be written.
pub fn write_archive(
    images: &ImageSet,
    kind: ArchiveKind,
    export: &ArchiveExport<'_>,
    to: &mut dyn Write,
) -> Result<Descriptor, ArchiveError> {
    let (layout, descriptor) = layout(images, kind, export)?;
    let mut tar = TarWriter::new(to, TarOptions::default());
    for directory in ["blobs", "blobs/sha256"] {
        tar.append(&entry(directory, EntryKind::Directory { opaque: false }, 0o755), &mut io::empty())?;
    }
    let mut names: Vec<&String> = layout.documents.keys().chain(layout.blobs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        match layout.documents.get(name) {
            Some(bytes) => {
                let kind = EntryKind::File { size: bytes.len() as u64 };
                tar.append(&entry(name, kind, 0o644), &mut bytes.as_slice())?;
            }
            None => {
                let descriptor = &layout.blobs[name];
                let mut file = blob(export.world, &descriptor.digest)?;
                let kind = EntryKind::File { size: descriptor.size };
                tar.append(&entry(name, kind, 0o644), &mut file)?;
            }
        }
    }
    tar.finish()?;
    Ok(descriptor)
}

/// Writes an image, or an index and its images, as a layout directory (`tar=false`). Blobs that are there are kept, and an entry of
/// the same name in `index.json` is replaced (B-102).
///
/// # Errors
/// When a layer cannot be read or the directory not be written.
pub fn write_layout(
    images: &ImageSet,
    export: &ArchiveExport<'_>,
    directory: &Path,
) -> Result<Descriptor, ArchiveError> {
    let (mut layout, descriptor) = layout(images, ArchiveKind::Oci, export)?;
    std::fs::create_dir_all(directory.join("blobs/sha256"))?;
    for (name, descriptor) in &layout.blobs {
        let path = directory.join(name);
        if path.metadata().is_ok_and(|metadata| metadata.len() == descriptor.size) {
            continue;
        }
        let mut file = blob(export.world, &descriptor.digest)?;
        write_file(&path, &mut file)?;
    }
    if let Some(existing) = std::fs::read(directory.join("index.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok())
    {
        let ours: Index = serde_json::from_slice(&layout.documents["index.json"]).expect("written above");
        let mut merged = existing;
        let name = |descriptor: &Descriptor| {
            descriptor.annotations.get("org.opencontainers.image.ref.name").cloned()
        };
        merged.manifests.retain(|old| !ours.manifests.iter().any(|new| name(new) == name(old)));
        merged.manifests.extend(ours.manifests);
        layout.documents.insert("index.json".to_owned(), Raw::new(merged).bytes().to_vec());
    }
    for (name, bytes) in &layout.documents {
        write_file(&directory.join(name), &mut bytes.as_slice())?;
    }
    Ok(descriptor)
}

fn layout(
    images: &ImageSet,
    kind: ArchiveKind,
    export: &ArchiveExport<'_>,
) -> Result<(Layout, Descriptor), ArchiveError> {
    let mut layout = Layout { documents: BTreeMap::new(), blobs: BTreeMap::new() };
    layout.documents.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    let packed = images
        .images()
        .iter()
        .map(|image| layout.add_image(image, export))
        .collect::<Result<Vec<_>, ArchiveError>>()?;
    let descriptor = match images.index() {
        None => packed[0].clone(),
        Some(index) => layout.add_index(index, images, &packed, export)?,
    };
    // The time of the newest part, so that equal images give equal archives.
    let created = images.images().iter().filter_map(|image| image.config.value().created.clone()).max();
    let entries = named_entries(&descriptor, created.as_deref(), export.names);
    layout.documents.insert("index.json".to_owned(), Raw::new(Index::oci(entries)).bytes().to_vec());
    if kind == ArchiveKind::Docker {
        let host = Platform::host();
        let distance = |place: &usize| {
            let platform = images.images()[*place].config.value().platform();
            host.accepts(&platform).unwrap_or(u32::MAX)
        };
        let chosen = (0..packed.len()).min_by_key(distance).expect("there is an image");
        let manifest: Manifest =
            serde_json::from_slice(&layout.documents[&blob_name(&packed[chosen].digest)])
                .expect("written above");
        let list = json!([{
            "Config": blob_name(&manifest.config.digest),
            "RepoTags": export.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
        }]);
        layout.documents.insert("manifest.json".to_owned(), list.to_string().into_bytes());
    }
    Ok((layout, descriptor))
}

/// Returns the entries of `index.json`: the descriptor once for each name (B-110).
fn named_entries(descriptor: &Descriptor, created: Option<&str>, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let entry = |name: &Reference| {
        let mut entry = descriptor.clone();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        if let Some(created) = created {
            entry.annotations.insert("org.opencontainers.image.created".to_owned(), created.to_owned());
        }
        let tag = name.tag().unwrap_or("latest").to_owned();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        entry
    };
    names.iter().map(entry).collect()
}

impl Layout {
    /// Adds an image and returns the descriptor of its manifest here.
    fn add_image(&mut self, image: &Image, export: &ArchiveExport<'_>) -> Result<Descriptor, ArchiveError> {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let descriptor = packed_layer(&layer.id, &layer.descriptor, export)?;
            self.blobs.insert(blob_name(&descriptor.digest), descriptor.clone());
            layers.push(descriptor);
        }
        let known = image.manifest.value();
        let config = known.config.clone();
        // A manifest that is right as it is stays, so that what was loaded is saved as the same bytes.
        let manifest = if known.media_type == Some(MediaType::OciManifest) && known.layers == layers {
            image.manifest.clone()
        } else {
            Raw::new(Manifest::oci(config.clone(), layers))
        };
        self.documents.insert(blob_name(&manifest.digest()), manifest.bytes().to_vec());
        self.documents.insert(blob_name(&config.digest), image.config.bytes().to_vec());
        let mut descriptor =
            Descriptor::new(MediaType::OciManifest, manifest.digest(), manifest.bytes().len() as u64);
        descriptor.platform = Some(image.config.value().platform());
        Ok(descriptor)
    }

    /// Adds the index over images that were added, and returns its descriptor here. One whose images are
    /// all unchanged stays as it is, with its other entries where the store has them.
    fn add_index(
        &mut self,
        index: &Raw<Index>,
        images: &ImageSet,
        packed: &[Descriptor],
        export: &ArchiveExport<'_>,
    ) -> Result<Descriptor, ArchiveError> {
        let pairs = || images.images().iter().zip(packed);
        let index = if pairs().all(|(image, packed)| image.manifest.digest() == packed.digest) {
            for entry in &index.value().manifests {
                if !packed.iter().any(|image| image.digest == entry.digest) {
                    self.add_other(entry, export)?;
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
        self.documents.insert(blob_name(&index.digest()), index.bytes().to_vec());
        Ok(index_descriptor(&index))
    }

    /// Adds what an entry of an index refers to, as far as it is in the store: an attestation, or nothing
    /// of an image that was never fetched.
    fn add_other(&mut self, entry: &Descriptor, export: &ArchiveExport<'_>) -> Result<(), ArchiveError> {
        let store = &export.world.store;
        let Some(bytes) = store.read_blob(&entry.digest, DOCUMENT_LIMIT)? else { return Ok(()) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(()) };
        let parts = || manifest.layers.iter().chain([&manifest.config]);
        if parts().all(|part| store.blob(&part.digest).is_some_and(|blob| blob.size == part.size)) {
            self.documents.insert(blob_name(&entry.digest), bytes);
            self.blobs.extend(parts().map(|part| (blob_name(&part.digest), part.clone())));
        }
        Ok(())
    }
}

/// Returns the descriptor of a layer in the wanted compression, with its blob in the store. A layer
/// that is compressed already is used as it is unless `force` is set (B-108).
fn packed_layer(
    id: &castoff_store::LayerId,
    descriptor: &Descriptor,
    export: &ArchiveExport<'_>,
) -> Result<Descriptor, ArchiveError> {
    let ArchiveExport { compression: wanted, world, bodies, messenger, .. } = *export;
    let current = descriptor.media_type.layer_compression().unwrap_or(LayerCompression::None);
    if let Some(base) = bodies.base(id)
        && (current == wanted.compression || (!wanted.force && current != LayerCompression::None))
    {
        if world.store.blob(&descriptor.digest).is_none() {
            bodies.fetch(&base, messenger)?;
        }
        let mut descriptor = descriptor.clone();
        descriptor.media_type = MediaType::oci_layer(current);
        return Ok(descriptor);
    }
    if let Some(base) = bodies.base(id)
        && world.store.blob(&base.diff_id.0).is_none()
    {
        // Its tar is made from the files, so that it can be compressed otherwise.
        bodies.directory(id, messenger)?;
    }
    let diff = bodies.diff(id)?;
    let media_type = MediaType::oci_layer(wanted.compression);
    let (compression, variant) = match wanted.compression {
        LayerCompression::None => {
            if world.store.blob(&diff.diff_id.0).is_none() {
                let mut writer = world.store.blob_writer()?;
                bodies.write_tar(id, &mut writer)?;
                writer.finish(Some(diff.diff_id.0))?;
            }
            return Ok(Descriptor::new(media_type, diff.diff_id.0, diff.size));
        }
        LayerCompression::Gzip => (Compression::Gzip, format!("gzip-{}", wanted.level.unwrap_or(6))),
        LayerCompression::Zstd => (Compression::Zstd, format!("zstd-{}", wanted.level.unwrap_or(3))),
    };
    if let Some(blob) = world.store.compressed(&diff.diff_id, &variant) {
        return Ok(Descriptor::new(media_type, blob.digest, blob.size));
    }
    let options = CompressOptions { compression, level: wanted.level, threads: world.machine.jobs.max(1) };
    let mut writer = world.store.blob_writer()?;
    let (mut reader, tar) = io::pipe()?;
    std::thread::scope(|scope| -> Result<(), ArchiveError> {
        let producer = scope.spawn(move || {
            let mut tar = io::BufWriter::with_capacity(256 * 1024, tar);
            bodies.write_tar(id, &mut tar)?;
            tar.flush().map_err(ArchiveError::Io)
        });
        let compressed = castoff_layer::compress(&mut reader, &mut writer, options);
        drop(reader);
        producer.join().expect("the producer does not panic")?;
        Ok(compressed?)
    })?;
    let blob = writer.finish(None)?;
    world.store.set_compressed(&diff.diff_id, &variant, &blob.digest)?;
    Ok(Descriptor::new(media_type, blob.digest, blob.size))
}

fn blob(world: &World, digest: &Digest) -> Result<File, ArchiveError> {
    world.store.open_blob(digest)?.ok_or(ArchiveError::Missing(*digest))
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn entry(name: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry {
        path: name.as_bytes().to_vec(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Default::default(),
    }
}

/// Writes a file under a temporary name and renames it, so that nobody sees half of it (B-223).
pub fn write_file(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| io::copy(content, &mut file));
    match written.and_then(|_| std::fs::rename(&temporary, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _already_failing = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}
