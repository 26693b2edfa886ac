//! Images in: archives and layouts that other tools wrote, and root file systems.
//!
//! Every regular file of an archive becomes a blob while it is read, so that an archive may come from
//! a pipe and in any order. What is not referred to in the end is garbage for `castoff prune`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use castoff_layer::{EntryKind, ReadOptions};
use castoff_oci::{
    Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Index, Manifest, MediaType, Platform, Raw,
    Reference,
};
use castoff_store::{LayerDiff, LayerId, Store};
use serde::Deserialize;

/// Documents are small; more than this is an attack.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its names; empty when the archive has none.
    pub names: Vec<Reference>,
    /// What it is called in the archive, which may be less than a name.
    pub tags: Vec<String>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

/// Why images could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read.
    #[error("reading the archive: {0}")]
    Io(#[from] io::Error),
    /// A file of a layout could not be read.
    #[error("reading the layout: `{}`: {source}", path.display())]
    Layout {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The input is not a tar that castoff accepts.
    #[error("reading the archive: {0}")]
    Tar(#[from] castoff_layer::TarReadError),
    /// Neither an OCI layout nor a Docker archive.
    #[error("the archive has neither `index.json` nor `manifest.json`: it is not an image archive")]
    NotAnImage,
    /// A document is malformed.
    #[error("`{name}` is malformed: {source}")]
    Document {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The archive refers to a file that is not in it.
    #[error("the archive refers to `{0}`, which is not in it")]
    Missing(String),
    /// A blob is not what its name says (B-220).
    #[error("`{name}` has the digest `{actual}`")]
    Digest {
        /// Name in the archive.
        name: String,
        /// What its bytes are.
        actual: Digest,
    },
    /// A descriptor lies about the size of a document.
    #[error("`{name}` has {actual} bytes, and its descriptor says {claimed}")]
    Size {
        /// Name in the archive.
        name: String,
        /// What the descriptor says.
        claimed: u64,
        /// What there is.
        actual: u64,
    },
    /// A tag in a layout is not the one asked for (B-073).
    #[error("the layout has {0}")]
    Ambiguous(String),
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// The store failed.
    #[error("using the store: {0}")]
    Tag(#[from] castoff_store::FileError),
}

/// Files of an archive by name, already blobs of the store.
type Files = HashMap<String, (Digest, u64)>;

/// Loads the images of an OCI or Docker archive, compressed or not, and names them.
///
/// # Errors
/// When the archive is none, lies about a digest, or the store cannot be written.
pub fn load_archive(store: &Store, input: Box<dyn Read + Send>) -> Result<Vec<Loaded>, ImportError> {
    let loaded = read_archive(store, input)?;
    name(store, &loaded)?;
    Ok(loaded)
}

/// Reads the images of an OCI or Docker archive into the store. Nothing gets a name there.
///
/// # Errors
/// As [`load_archive`].
pub fn read_archive(store: &Store, input: Box<dyn Read + Send>) -> Result<Vec<Loaded>, ImportError> {
    let (_, mut plain) = castoff_layer::decompress(input)?;
    let mut files = Files::new();
    let mut links = Vec::new();
    let mut failure = None;
    let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
    let read = castoff_layer::read_tar(&mut plain, options, &mut |entry, data, _| {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        match entry.kind {
            EntryKind::File { .. } => match store_file(store, &name, data) {
                Ok(file) => {
                    files.insert(name, file);
                }
                Err(error) => {
                    failure = Some(error);
                    return Err(castoff_layer::TarReadError::from(io::Error::other("stopped")));
                }
            },
            EntryKind::Symlink { target } | EntryKind::Hardlink { target } => {
                links.push((name, String::from_utf8_lossy(&target).into_owned()));
            }
            EntryKind::Directory { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Socket
            | EntryKind::Whiteout => {}
        }
        Ok(())
    });
    if let Some(error) = failure {
        return Err(error);
    }
    read?;
    for (name, target) in links {
        // `docker save` of old links a layer that is there already: `../<id>/layer.tar`.
        let target = target.trim_start_matches("../");
        let found = files.get(target).copied();
        if let Some(file) = found {
            check_name(&name, &file.0)?;
            files.insert(name, file);
        }
    }
    finish(store, &files)
}

/// Loads the images of an OCI layout directory and names them.
///
/// # Errors
/// As [`load_archive`].
pub fn load_layout(store: &Store, directory: &Path) -> Result<Vec<Loaded>, ImportError> {
    let loaded = finish(store, &layout_files(store, directory)?)?;
    name(store, &loaded)?;
    Ok(loaded)
}

fn layout_files(store: &Store, directory: &Path) -> Result<Files, ImportError> {
    let mut files = Files::new();
    for name in ["oci-layout", "index.json", "manifest.json"] {
        if let Ok(mut file) = std::fs::File::open(directory.join(name)) {
            files.insert(name.to_owned(), store_file(store, name, &mut file)?);
        }
    }
    let blobs = directory.join("blobs/sha256");
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Layout { path, source }
    };
    for entry in std::fs::read_dir(&blobs).map_err(unreadable(&blobs))? {
        let entry = entry.map_err(unreadable(&blobs))?;
        let path = entry.path();
        let name = format!("blobs/sha256/{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(unreadable(&path))?.is_file() {
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy()).parse::<Digest>();
            // What a writer that died has left beside the blobs is not part of the layout.
            let Ok(digest) = digest else { continue };
            // A base image is not read again by every build.
            let file = match store.blob(&digest) {
                Some(blob) => (blob.digest, blob.size),
                None => {
                    let mut file = std::fs::File::open(&path).map_err(unreadable(&path))?;
                    store_file(store, &name, &mut file)?
                }
            };
            files.insert(name, file);
        }
    }
    Ok(files)
}

/// Loads the layout and returns the digest of the manifest that a tag or digest names, or of the only
/// one (B-073). Nothing gets a name in the store.
///
/// # Errors
/// As [`load_archive`], and when the layout has none or several.
pub fn find_in_layout(
    store: &Store,
    directory: &Path,
    tag: Option<&str>,
    digest: Option<Digest>,
) -> Result<Digest, ImportError> {
    let files = layout_files(store, directory)?;
    let index: Index = document(store, &files, "index.json")?;
    let fits = |descriptor: &&Descriptor| match (digest, tag) {
        (Some(digest), _) => descriptor.digest == digest,
        (None, Some(tag)) => {
            let name = descriptor.annotations.get("org.opencontainers.image.ref.name");
            name.is_some_and(|name| name == tag || name.ends_with(&format!(":{tag}")))
        }
        (None, None) => true,
    };
    let mut found: Vec<Digest> =
        index.manifests.iter().filter(fits).map(|descriptor| descriptor.digest).collect();
    // One image may have several names.
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [only] => {
            let descriptor = index.manifests.iter().find(|descriptor| descriptor.digest == only);
            check_complete(store, &files, descriptor.expect("it was found there"))?;
            Ok(only)
        }
        [] => Err(ImportError::Ambiguous("no image of that tag or digest".to_owned())),
        _ => Err(ImportError::Ambiguous(format!("{} images: name one by tag or digest", found.len()))),
    }
}

fn store_file(store: &Store, name: &str, data: &mut dyn Read) -> Result<(Digest, u64), ImportError> {
    let mut writer = store.blob_writer()?;
    io::copy(data, &mut writer)?;
    let blob = writer.finish(None)?;
    check_name(name, &blob.digest)?;
    Ok((blob.digest, blob.size))
}

/// Checks that what is named as a blob of a layout is that blob.
fn check_name(name: &str, digest: &Digest) -> Result<(), ImportError> {
    let claimed = name.strip_prefix("blobs/sha256/");
    if claimed.is_some_and(|hex| hex != digest.hex()) {
        return Err(ImportError::Digest { name: name.to_owned(), actual: *digest });
    }
    Ok(())
}

fn finish(store: &Store, files: &Files) -> Result<Vec<Loaded>, ImportError> {
    if files.contains_key("index.json") {
        from_index(store, files)
    } else if files.contains_key("manifest.json") {
        from_docker(store, files)
    } else {
        Err(ImportError::NotAnImage)
    }
}

fn name(store: &Store, loaded: &[Loaded]) -> Result<(), ImportError> {
    for image in loaded {
        for name in &image.names {
            store.set_tag(name, &image.descriptor)?;
        }
    }
    Ok(())
}

fn document<T: serde::de::DeserializeOwned>(
    store: &Store,
    files: &Files,
    name: &str,
) -> Result<T, ImportError> {
    let missing = || ImportError::Missing(name.to_owned());
    let (digest, _) = files.get(name).ok_or_else(missing)?;
    let bytes = store.read_blob(digest, DOCUMENT_LIMIT)?.ok_or_else(missing)?;
    serde_json::from_slice(&bytes).map_err(|source| ImportError::Document { name: name.to_owned(), source })
}

fn from_index(store: &Store, files: &Files) -> Result<Vec<Loaded>, ImportError> {
    let index: Index = document(store, files, "index.json")?;
    let mut loaded: Vec<Loaded> = Vec::new();
    for descriptor in index.manifests {
        check_complete(store, files, &descriptor)?;
        let annotation = |key: &str| descriptor.annotations.get(key).map(String::as_str);
        let name = annotation("io.containerd.image.name")
            .or_else(|| {
                annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']))
            })
            .and_then(|name| name.parse::<Reference>().ok());
        let tag = annotation("org.opencontainers.image.ref.name").map(str::to_owned);
        match loaded.iter_mut().find(|image| image.descriptor.digest == descriptor.digest) {
            Some(image) => {
                image.names.extend(name);
                image.tags.extend(tag);
            }
            None => loaded.push(Loaded {
                names: name.into_iter().collect(),
                tags: tag.into_iter().collect(),
                descriptor: Descriptor { annotations: Default::default(), ..descriptor },
            }),
        }
    }
    Ok(loaded)
}

/// Checks that everything a manifest or index refers to is there, so that a tag never names an image
/// with holes. Entries of an index whose manifest is absent are allowed, but not all of them: archives of
/// one platform have the whole index.
fn check_complete(store: &Store, files: &Files, root: &Descriptor) -> Result<(), ImportError> {
    // Hostile indexes may refer to the same things in exponentially many ways.
    let mut done = BTreeSet::new();
    let mut open = vec![root.clone()];
    while let Some(descriptor) = open.pop() {
        if !done.insert(descriptor.digest) {
            continue;
        }
        let name = blob_name(&descriptor);
        check_size(files, &name, &descriptor)?;
        if descriptor.media_type.is_index() {
            let index: Index = document(store, files, &name)?;
            let (present, absent): (Vec<_>, Vec<_>) =
                index.manifests.into_iter().partition(|entry| files.contains_key(&blob_name(entry)));
            if let (true, Some(entry)) = (present.is_empty(), absent.first()) {
                return Err(ImportError::Missing(blob_name(entry)));
            }
            open.extend(present);
            continue;
        }
        let manifest: Manifest = document(store, files, &name)?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let name = blob_name(part);
            if !files.contains_key(&name) {
                return Err(ImportError::Missing(name));
            }
            check_size(files, &name, part)?;
        }
    }
    Ok(())
}

fn check_size(files: &Files, name: &str, descriptor: &Descriptor) -> Result<(), ImportError> {
    match files.get(name) {
        Some((_, actual)) if *actual != descriptor.size => {
            Err(ImportError::Size { name: name.to_owned(), claimed: descriptor.size, actual: *actual })
        }
        _ => Ok(()),
    }
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn from_docker(store: &Store, files: &Files) -> Result<Vec<Loaded>, ImportError> {
    let entries: Vec<DockerEntry> = document(store, files, "manifest.json")?;
    let mut loaded = Vec::new();
    for entry in entries {
        let file = |name: &str| files.get(name).copied().ok_or_else(|| ImportError::Missing(name.to_owned()));
        let (digest, size) = file(&entry.config)?;
        let config: ImageConfig = document(store, files, &entry.config)?;
        let mut layers = Vec::new();
        for name in &entry.layers {
            let (digest, size) = file(name)?;
            let mut magic = [0; 6];
            let mut blob = store.open_blob(&digest)?.ok_or_else(|| ImportError::Missing(name.clone()))?;
            let count = read_some(&mut blob, &mut magic)?;
            let media_type = match castoff_layer::detect(&magic[..count]) {
                castoff_layer::Compression::Gzip => MediaType::OciLayerGzip,
                castoff_layer::Compression::Zstd => MediaType::OciLayerZstd,
                castoff_layer::Compression::None
                | castoff_layer::Compression::Xz
                | castoff_layer::Compression::Bzip2 => MediaType::OciLayer,
            };
            layers.push(Descriptor::new(media_type, digest, size));
        }
        if layers.len() != config.rootfs.diff_ids.len() {
            return Err(ImportError::Missing(format!("a layer for each diff id of {}", entry.config)));
        }
        let manifest = Raw::new(Manifest::oci(Descriptor::new(MediaType::OciConfig, digest, size), layers));
        store.put_blob(manifest.bytes())?;
        let tags = entry.repo_tags.unwrap_or_default();
        loaded.push(Loaded {
            names: tags.iter().filter_map(|name| name.parse().ok()).collect(),
            tags,
            descriptor: Descriptor::new(
                MediaType::OciManifest,
                manifest.digest(),
                manifest.bytes().len() as u64,
            ),
        });
    }
    Ok(loaded)
}

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Makes a root file system tar, compressed or not, an image of one layer.
///
/// # Errors
/// When the input is not a tar, or the store cannot be written.
pub fn import_rootfs(
    store: &Store,
    input: Box<dyn Read + Send>,
    name: &Reference,
    platform: &Platform,
    created: &str,
) -> Result<Loaded, ImportError> {
    let (_, mut plain) = castoff_layer::decompress(input)?;
    let mut writer = store.blob_writer()?;
    // Checked while it is copied, so that what is no tar never gets a name.
    let mut tee = Tee { reader: &mut plain, writer: &mut writer, failed: None };
    let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
    let read = castoff_layer::read_tar(&mut tee, options, &mut |_, data, _| {
        io::copy(data, &mut io::sink())?;
        Ok(())
    });
    io::copy(&mut tee, &mut io::sink())?;
    if let Some(error) = tee.failed {
        return Err(error.into());
    }
    read?;
    let blob = writer.finish(None)?;
    let diff_id = DiffId(blob.digest);
    store.set_layer_diff(&LayerId::of_diff(diff_id), LayerDiff { diff_id, size: blob.size })?;
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        created: Some(created.to_owned()),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids.push(diff_id);
    config.history.push(HistoryEntry {
        created: Some(created.to_owned()),
        comment: Some("imported by castoff".to_owned()),
        ..HistoryEntry::default()
    });
    let config = Raw::new(config);
    store.put_blob(config.bytes())?;
    let manifest = Raw::new(Manifest::oci(
        Descriptor::new(MediaType::OciConfig, config.digest(), config.bytes().len() as u64),
        vec![Descriptor::new(MediaType::OciLayer, blob.digest, blob.size)],
    ));
    store.put_blob(manifest.bytes())?;
    let descriptor =
        Descriptor::new(MediaType::OciManifest, manifest.digest(), manifest.bytes().len() as u64);
    store.set_tag(name, &descriptor)?;
    Ok(Loaded { names: vec![name.clone()], tags: Vec::new(), descriptor })
}

struct Tee<'a> {
    reader: &'a mut dyn Read,
    writer: &'a mut castoff_store::BlobWriter,
    failed: Option<io::Error>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Err(error) = io::Write::write_all(self.writer, &buffer[..count]) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        Ok(count)
    }
}
