//! A shared cache in a directory: `type=local` (B-127), an OCI image layout.
//!
//! ```text
//! oci-layout, index.json        as the image specification has them; an entry for each tag
//! blobs/sha256/<hex>            layers, steps, manifests, and an index over the steps of each tag
//! castoff-keys/<tag>/<hex>      descriptor of the manifest that a key stands for
//! castoff-lock                  flock: who makes the indexes or removes, one at a time
//! castoff-writers               flock: shared by who exports, exclusive for who removes
//! ```
//!
//! A key is a file, so writers of different steps do not meet. Whatever has its name was complete when it got
//! it. `index.json` says nothing that the keys do not say: it is made of them when an export ends, so that
//! other programs see ordinary artifacts, and is read only when a digest is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use castoff_graph::CacheKey;
use castoff_oci::{Descriptor, Digest, Index, Manifest, MediaType, Raw};
use rustix::fs::FlockOperation;

use super::{Existing, OpenBlob, SharedCache, SharedCacheError, file_name};
use crate::bodies::lock;

/// Documents are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Annotation of an entry of the index over steps: the keys that stand for it, separated by commas.
const KEYS: &str = "dev.castoff.cache.keys";

/// Annotation of the image specification for the tag of an entry.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A cache in a layout directory.
#[derive(Debug)]
pub struct LayoutCache {
    directory: PathBuf,
    tag: String,
    name: String,
    /// What of it is seen: all, or the entries of one index.
    only: Option<BTreeMap<CacheKey, Descriptor>>,
    export: Option<Export>,
}

/// How a layout is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayoutExport {
    /// Whether everything that this export has not put there is removed in the end. While others export into
    /// the directory, nothing is removed.
    pub reset: bool,
}

#[derive(Debug)]
struct Export {
    options: LayoutExport,
    kept: Mutex<BTreeSet<String>>,
    /// Shared while the export lasts.
    held: File,
    temporary: AtomicU64,
}

impl LayoutCache {
    /// Opens a cache for reading. With `digest`, it has the steps of the index of this digest alone.
    ///
    /// # Errors
    /// When the directory is no layout, or the index cannot be read.
    pub fn import(
        directory: &Path,
        tag: &str,
        digest: Option<&Digest>,
    ) -> Result<LayoutCache, SharedCacheError> {
        if !directory.join("oci-layout").is_file() {
            return Err(SharedCacheError::NotFound(directory.to_owned()));
        }
        let only = digest.map(|digest| entries(directory, digest)).transpose()?;
        Ok(LayoutCache { only, ..LayoutCache::new(directory, tag) })
    }

    /// Opens a cache for writing; the directory is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn export(
        directory: &Path,
        tag: &str,
        options: LayoutExport,
    ) -> Result<LayoutCache, SharedCacheError> {
        let cache = LayoutCache::new(directory, tag);
        for path in [directory.join("blobs/sha256"), cache.keys()] {
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let path = directory.join("castoff-writers");
        let held = File::options().create(true).append(true).open(&path).map_err(failed(&path))?;
        rustix::fs::flock(&held, FlockOperation::LockShared).map_err(failed(&path))?;
        let export = Export { options, kept: Mutex::default(), held, temporary: AtomicU64::new(0) };
        let cache = LayoutCache { export: Some(export), ..cache };
        let layout = directory.join("oci-layout");
        if !layout.is_file() {
            cache.write(&layout, &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..], None)?;
        }
        Ok(cache)
    }

    fn new(directory: &Path, tag: &str) -> LayoutCache {
        LayoutCache {
            directory: directory.to_owned(),
            tag: tag.to_owned(),
            name: format!("the cache in {}", directory.display()),
            only: None,
            export: None,
        }
    }

    fn keys(&self) -> PathBuf {
        self.directory.join("castoff-keys").join(&self.tag)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(file_name(digest))
    }

    /// Writes a file under a temporary name and renames it. With `expected`, only those bytes.
    fn write(
        &self,
        path: &Path,
        content: &mut dyn Read,
        expected: Option<&Descriptor>,
    ) -> Result<u64, SharedCacheError> {
        let export = self.export.as_ref().expect("only an export writes");
        let number = export.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".castoff-{}-{number}", std::process::id()));
        let written = File::create(&temporary).and_then(|mut file| io::copy(content, &mut file));
        let written = written.and_then(|size| match expected {
            Some(descriptor) if descriptor.size != size => {
                Err(io::Error::other(format!("the blob has {size} bytes and not {}", descriptor.size)))
            }
            _ => fs::rename(&temporary, path).map(|()| size),
        });
        if written.is_err() {
            let _already_failing = fs::remove_file(&temporary);
        }
        written.map_err(failed(path))
    }

    fn put_document(&self, bytes: &[u8]) -> Result<Digest, SharedCacheError> {
        let digest = Digest::of(bytes);
        let path = self.blob(&digest);
        if !path.is_file() {
            self.write(&path, &mut &*bytes, None)?;
        }
        Ok(digest)
    }

    /// Writes the index over the steps of this tag and its entry in `index.json`.
    fn write_index(&self) -> Result<(), SharedCacheError> {
        let mut manifests: BTreeMap<Digest, (Descriptor, Vec<String>)> = BTreeMap::new();
        for (key, path) in files(&self.keys())? {
            // A key that another process removes meanwhile, or that is not whole, is not there.
            let Some(descriptor) = read_descriptor(&path)? else { continue };
            manifests.entry(descriptor.digest).or_insert_with(|| (descriptor, Vec::new())).1.push(key);
        }
        let entries = manifests.into_values().map(|(mut descriptor, keys)| {
            descriptor.annotations.insert(KEYS.to_owned(), keys.join(","));
            descriptor
        });
        let steps = Raw::new(Index::oci(entries.collect()));
        let digest = self.put_document(steps.bytes())?;
        let mut entry = Descriptor::new(MediaType::OciIndex, digest, steps.bytes().len() as u64);
        entry.annotations.insert(REF_NAME.to_owned(), self.tag.clone());
        let path = self.directory.join("index.json");
        let mut index = match read_document(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|source| document(&path, source))?,
            None => Index::oci(Vec::new()),
        };
        index.manifests.retain(|other| other.annotations.get(REF_NAME) != Some(&self.tag));
        index.manifests.push(entry);
        self.write(&path, &mut Raw::new(index).bytes(), None)?;
        Ok(())
    }

    /// Removes the keys of this tag that the export has not put, and the blobs that nothing refers to.
    fn reset(&self, kept: &BTreeSet<String>) -> Result<(), SharedCacheError> {
        let keys = files(&self.keys())?;
        let mut objects = BTreeSet::new();
        for (_, path) in keys.iter().filter(|(key, _)| kept.contains(*key)) {
            objects.extend(read_descriptor(path)?.map(|descriptor| descriptor.digest));
        }
        // What has a key that is kept keeps its place.
        for path in keys.into_values() {
            if !read_descriptor(&path)?.is_some_and(|descriptor| objects.contains(&descriptor.digest)) {
                remove(&path)?;
            }
        }
        self.write_index()?;
        let mut used = BTreeSet::new();
        let path = self.directory.join("index.json");
        let index: Index = serde_json::from_slice(&read_document(&path)?.unwrap_or_default())
            .map_err(|source| document(&path, source))?;
        let mut open: Vec<Descriptor> = index.manifests;
        while let Some(descriptor) = open.pop() {
            if !used.insert(descriptor.digest) {
                continue;
            }
            let path = self.blob(&descriptor.digest);
            if descriptor.media_type.is_index() {
                if let Some(bytes) = read_document(&path)?
                    && let Ok(index) = serde_json::from_slice::<Index>(&bytes)
                {
                    open.extend(index.manifests);
                }
            } else if descriptor.media_type.is_manifest()
                && let Some(bytes) = read_document(&path)?
                && let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes)
            {
                open.push(manifest.config);
                open.extend(manifest.layers);
            }
        }
        let used: BTreeSet<String> = used.iter().map(file_name).collect();
        for (name, path) in files(&self.directory.join("blobs/sha256"))? {
            if !used.contains(&name) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

impl SharedCache for LayoutCache {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn manifest(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, SharedCacheError> {
        let descriptor = match &self.only {
            Some(only) => only.get(key).cloned(),
            None => read_descriptor(&self.keys().join(key.to_string()))?,
        };
        let Some(descriptor) = descriptor else { return Ok(None) };
        if let Some(export) = &self.export {
            lock(&export.kept).insert(key.to_string());
        }
        let Some(bytes) = read_document(&self.blob(&descriptor.digest))? else { return Ok(None) };
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            let expected = descriptor.digest;
            return Err(super::MalformedObject::Digest { expected, actual }.into());
        }
        Ok(Some(bytes))
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, SharedCacheError> {
        let path = self.blob(&descriptor.digest);
        let file = File::open(&path).map_err(failed(&path))?;
        Ok(Box::new(file.take(descriptor.size.saturating_add(1))))
    }

    fn lacks_blob(&self, descriptor: &Descriptor) -> bool {
        !self.blob(&descriptor.digest).metadata().is_ok_and(|metadata| metadata.len() == descriptor.size)
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        existing: Existing,
        open: &OpenBlob<'_>,
    ) -> Result<u64, SharedCacheError> {
        if existing == Existing::Keep && !self.lacks_blob(descriptor) {
            return Ok(0);
        }
        self.write(&self.blob(&descriptor.digest), &mut *open()?, Some(descriptor))
    }

    fn put_manifest(&self, keys: &[CacheKey], manifest: &[u8]) -> Result<(), SharedCacheError> {
        let digest = self.put_document(manifest)?;
        let descriptor = Raw::new(Descriptor::new(MediaType::OciManifest, digest, manifest.len() as u64));
        for key in keys {
            self.write(&self.keys().join(key.to_string()), &mut descriptor.bytes(), None)?;
            if let Some(export) = &self.export {
                lock(&export.kept).insert(key.to_string());
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), SharedCacheError> {
        let export = self.export.as_ref().expect("only an export is finished");
        let path = self.directory.join("castoff-lock");
        let alone = File::options().create(true).append(true).open(&path).map_err(failed(&path))?;
        rustix::fs::flock(&alone, FlockOperation::LockExclusive).map_err(failed(&path))?;
        // An export is finished once, so what it holds may go.
        let removes = export.options.reset
            && rustix::fs::flock(&export.held, FlockOperation::NonBlockingLockExclusive).is_ok();
        if removes { self.reset(&lock(&export.kept)) } else { self.write_index() }
    }
}

/// Returns the keys of an index over steps.
fn entries(directory: &Path, digest: &Digest) -> Result<BTreeMap<CacheKey, Descriptor>, SharedCacheError> {
    let path = directory.join("blobs/sha256").join(file_name(digest));
    let bytes = read_document(&path)?.ok_or_else(|| SharedCacheError::NotFound(path.clone()))?;
    let actual = Digest::of(&bytes);
    if actual != *digest {
        return Err(super::MalformedObject::Digest { expected: *digest, actual }.into());
    }
    let index: Index = serde_json::from_slice(&bytes).map_err(|source| document(&path, source))?;
    let mut entries = BTreeMap::new();
    for descriptor in index.manifests {
        let keys = descriptor.annotations.get(KEYS).cloned().unwrap_or_default();
        for key in keys.split(',').filter_map(|hex| format!("sha256:{hex}").parse().ok()) {
            entries.insert(CacheKey(key), descriptor.clone());
        }
    }
    Ok(entries)
}

fn read_descriptor(path: &Path) -> Result<Option<Descriptor>, SharedCacheError> {
    Ok(read_document(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn read_document(path: &Path) -> Result<Option<Vec<u8>>, SharedCacheError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(Some(bytes))
}

/// Returns the files of a directory by name, in order.
fn files(directory: &Path) -> Result<BTreeMap<String, PathBuf>, SharedCacheError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            files.insert(name.to_owned(), path);
        }
    }
    Ok(files)
}

fn remove(path: &Path) -> Result<(), SharedCacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> SharedCacheError + '_ {
    |source| SharedCacheError::File { path: path.to_owned(), source: source.into() }
}

fn document(path: &Path, source: serde_json::Error) -> SharedCacheError {
    SharedCacheError::Document { path: path.display().to_string(), source }
}
