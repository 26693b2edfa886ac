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

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp};
use castoff_oci::{Descriptor, Digest, Index, Platform, Raw, Reference};
use serde_json::json;

use crate::export::pack::{self, Pack, PackError, PackSource, PackedBlob, PackedImage};

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI image layout.
    Oci,
    /// A Docker archive that is an OCI image layout at the same time.
    Docker,
}

/// How an archive is written.
#[derive(Clone, Copy)]
pub struct ArchiveExport<'a> {
    /// What it is for.
    pub kind: ArchiveKind,
    /// Names of the image in the archive.
    pub names: &'a [Reference],
    /// Where the layers come from.
    pub source: PackSource<'a>,
    /// Blobs that are named and not in the archive, because whoever reads it has them.
    pub left_out: &'a BTreeSet<Digest>,
}

/// How a layout directory is written.
#[derive(Clone, Copy)]
pub struct LayoutExport<'a> {
    /// Names of the image in the layout.
    pub names: &'a [Reference],
    /// Where the layers come from.
    pub source: PackSource<'a>,
    /// Whether other images without a name stay in the layout beside one without a name. Else it takes the place
    /// of the one that was built before.
    pub keep_nameless: bool,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A layer could not be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Tar(#[from] castoff_layer::TarWriteError),
    /// The archive or layout could not be written.
    #[error("writing the archive: {0}")]
    Io(#[from] io::Error),
    /// The layout that was to be extended is none, and is left as it is.
    #[error("extending the layout: `{}` is malformed: {source}", path.display())]
    Index {
        /// Its index.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// What a layout has.
const INDEX: &str = "index.json";

/// The files of a layout: small documents, and layers by their blob.
struct Layout<'p> {
    documents: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, &'p PackedBlob>,
}

/// Writes an image, or an index and its images, as a tar.
///
/// # Errors
/// When a layer cannot be read or `to` not be written.
pub fn write_archive(
    pack: &Pack,
    export: &ArchiveExport<'_>,
    to: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let layout = Layout::new(pack, export.kind, export.names);
    let sent = layout.blobs.values().filter(|blob| !export.left_out.contains(&blob.descriptor.digest));
    pack::fetch(sent.copied(), export.source)?;
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
                let blob = layout.blobs[name];
                if export.left_out.contains(&blob.descriptor.digest) {
                    continue;
                }
                let mut file = pack::open(blob, export.source)?;
                let kind = EntryKind::File { size: blob.descriptor.size };
                tar.append(&entry(name, kind, 0o644), &mut file)?;
            }
        }
    }
    tar.finish()?;
    Ok(())
}

/// Writes an image, or an index and its images, as a layout directory (`tar=false`). Blobs that are there
/// are kept, and an entry of the same name in `index.json` is replaced (B-102). Several may extend one layout at
/// once.
///
/// # Errors
/// When a layer cannot be read, the directory not be written, or the `index.json` there is malformed.
pub fn write_layout(pack: &Pack, export: &LayoutExport<'_>, directory: &Path) -> Result<(), ArchiveError> {
    let mut layout = Layout::new(pack, ArchiveKind::Oci, export.names);
    std::fs::create_dir_all(directory.join("blobs/sha256"))?;
    let mut blobs: Vec<_> = layout.blobs.iter().collect();
    blobs.retain(|(name, blob)| {
        let known = directory.join(name).metadata();
        !known.is_ok_and(|metadata| metadata.len() == blob.descriptor.size)
    });
    pack::fetch(blobs.iter().map(|(_, blob)| **blob), export.source)?;
    for (name, blob) in blobs {
        let path = directory.join(name);
        let mut file = pack::open(blob, export.source)?;
        write_file(&path, &mut file)?;
    }
    let index = layout.documents.remove(INDEX).expect("every layout has an index");
    for (name, bytes) in &layout.documents {
        write_file(&directory.join(name), &mut bytes.as_slice())?;
    }
    // Whoever else extends the layout waits, where the file system has locks.
    let lock = File::open(directory)?;
    let _without = lock.lock();
    let path = directory.join(INDEX);
    let index = match std::fs::read(&path) {
        Ok(existing) => {
            let existing = serde_json::from_slice(&existing)
                .map_err(|source| ArchiveError::Index { path: path.clone(), source })?;
            let ours = serde_json::from_slice(&index).expect("written above");
            Raw::new(extended(existing, ours, export.keep_nameless)).bytes().to_vec()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => index,
        Err(error) => return Err(error.into()),
    };
    Ok(write_file(&path, &mut index.as_slice())?)
}

/// Returns the index of a layout with further entries, each in the place of those that it replaces.
fn extended(mut index: Index, more: Index, keep_nameless: bool) -> Index {
    let name = |entry: &Descriptor| entry.annotations.get("org.opencontainers.image.ref.name").cloned();
    index.manifests.retain(|old| {
        !more.manifests.iter().any(|new| match (name(new), name(old)) {
            (None, None) => !keep_nameless || new.digest == old.digest,
            (new, old) => new == old,
        })
    });
    index.manifests.extend(more.manifests);
    index
}

impl<'p> Layout<'p> {
    fn new(pack: &'p Pack, kind: ArchiveKind, names: &[Reference]) -> Layout<'p> {
        let entries = named_entries(&pack.root, pack.created.as_deref(), names);
        let document =
            |(digest, document): (&Digest, &pack::Document)| (blob_name(digest), document.bytes.clone());
        let mut documents: BTreeMap<String, Vec<u8>> = pack.documents.iter().map(document).collect();
        documents.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        documents.insert(INDEX.to_owned(), Raw::new(Index::oci(entries)).bytes().to_vec());
        if kind == ArchiveKind::Docker {
            let host = Platform::host();
            let distance = |image: &&PackedImage| {
                let platform = image.manifest.platform.as_ref();
                platform.and_then(|platform| host.accepts(platform)).unwrap_or(u32::MAX)
            };
            let chosen = pack.images.iter().min_by_key(distance).expect("there is an image");
            let list = json!([{
                "Config": blob_name(&chosen.config.digest),
                "RepoTags": names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": chosen.layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
            }]);
            documents.insert("manifest.json".to_owned(), list.to_string().into_bytes());
        }
        let blobs = pack.blobs.iter().map(|(digest, blob)| (blob_name(digest), blob)).collect();
        Layout { documents, blobs }
    }
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
