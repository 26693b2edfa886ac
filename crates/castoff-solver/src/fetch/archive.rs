//! Archives and trees as contexts (B-061, B-062, B-068).

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use castoff_graph::pattern::IgnorePatterns;
use castoff_layer::{
    Compression, EntryKind, Ownership, ReadOptions, TarIndex, TarOptions, Timestamp, Tree, View, decompress,
    detect, is_tar, read_tar,
};
use castoff_oci::{DiffId, Digest, Hasher};
use castoff_store::{LayerId, RecordOutcome};

use super::{FetchError, record, write_layer};
use crate::World;
use crate::copy::{self, CopyError, Owners, SelectOptions, SourceTree, WriteOptions};

/// So many bytes tell an archive from a Dockerfile.
pub const HEAD: usize = 512;

/// Returns whether the first [`HEAD`] bytes are of an archive, compressed or not.
pub fn is_archive(head: &[u8]) -> bool {
    detect(head) != Compression::None || is_tar(head)
}

/// Makes a layer of an archive that is a blob of the store. Whatever its entries are called, they are in the
/// layer's root; their owners, modes and times stay.
///
/// # Errors
/// When it is no archive or a hostile one.
pub fn tree(world: &World, blob: &Digest) -> Result<DiffId, FetchError> {
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-archive-1");
    hasher.field(blob.as_bytes());
    let key = hasher.finish();
    if let Some(known) = world.store.record(key)?
        && let RecordOutcome::Layer(layer) = known.outcome
        && let Some(diff_id) = layer.diff_id()
        && world.store.blob(&diff_id.0).is_some()
    {
        world.store.touch_record(key);
        return Ok(diff_id);
    }
    let path = world.store.blob(blob).ok_or(FetchError::Gone(*blob))?.path;
    check_archive(&path)?;
    let (directory, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
    let view = View::new(vec![Arc::new(Tree::directory(directory, None, Ownership::Keep)?)]);
    let nothing = IgnorePatterns::default();
    let options = SelectOptions { parents: false, exclude: &nothing, ignore: None, literal: true };
    let selection = copy::select(&view, &name.to_string_lossy(), &options)?;
    let source = SourceTree { view, selection: &selection, owners: Owners::Kept, seen: None, unpack: true };
    let layer = write(world, source).map_err(|error| match error {
        // The blob's name says nothing.
        FetchError::Copy(CopyError::Archive { source, .. }) => FetchError::Archive(source),
        error => error,
    })?;
    let outcome = RecordOutcome::Layer(layer.clone());
    world.store.put_record(key, &record(world, "archive", serde_json::Value::Null, outcome))?;
    layer.diff_id().ok_or(FetchError::Gone(*blob))
}

/// Returns the layer without what the patterns of an ignore file match (D-279).
///
/// # Errors
/// When the store fails.
pub fn filtered(world: &World, layer: DiffId, ignore: &IgnorePatterns) -> Result<DiffId, FetchError> {
    let view = view(world, layer)?;
    let nothing = IgnorePatterns::default();
    let options = SelectOptions { parents: false, exclude: &nothing, ignore: Some(ignore), literal: true };
    let selection = copy::select(&view, ".", &options)?;
    let source = SourceTree { view, selection: &selection, owners: Owners::Kept, seen: None, unpack: false };
    write(world, source)?.diff_id().ok_or(FetchError::Gone(layer.0))
}

/// Returns a view of a layer that was fetched.
///
/// # Errors
/// When it is not in the store any more.
pub fn view(world: &World, layer: DiffId) -> Result<View, FetchError> {
    let file = world.store.open_blob(&layer.0)?.ok_or(FetchError::Gone(layer.0))?;
    let index = TarIndex::build(&file).map_err(FetchError::Archive)?;
    Ok(View::new(vec![Arc::new(Tree::tar(file, Arc::new(index)))]))
}

/// Returns the content of a file of a view, symbolic links followed inside of it; `None` if there is none.
///
/// # Errors
/// When it cannot be read or has more than `limit` bytes.
pub fn read(view: &View, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
    let resolved = match view.resolve(path.as_bytes(), true) {
        Ok(resolved) => resolved,
        Err(castoff_layer::ViewError::NotADirectory { .. }) => return Ok(None),
        Err(error) => return Err(CopyError::from(error).into()),
    };
    let Some(node) = resolved.node.filter(|node| matches!(node.entry.kind, EntryKind::File { .. })) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    view.open(&node).map_err(CopyError::from)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FetchError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Returns the newest time of a layer's entries, in seconds since 1970 (D-102).
///
/// # Errors
/// When the layer cannot be read.
pub fn newest(world: &World, layer: DiffId) -> Result<Option<i64>, FetchError> {
    let mut file = world.store.open_blob(&layer.0)?.ok_or(FetchError::Gone(layer.0))?;
    let mut newest = None;
    read_tar(&mut file, ReadOptions::default(), &mut |entry, _data, _offset| {
        newest = newest.max(Some(entry.mtime.seconds));
        Ok(())
    })
    .map_err(FetchError::Archive)?;
    Ok(newest)
}

/// What is compressed and no archive would be copied as it is.
fn check_archive(path: &Path) -> Result<(), FetchError> {
    let (_, plain) = decompress(Box::new(std::fs::File::open(path)?))?;
    let mut head = Vec::with_capacity(HEAD);
    let read = plain.take(HEAD as u64).read_to_end(&mut head);
    match read {
        Ok(_) if is_tar(&head) => Ok(()),
        Ok(_) => Err(FetchError::NoArchive),
        Err(source) => Err(FetchError::Archive(source.into())),
    }
}

fn write(world: &World, source: SourceTree<'_>) -> Result<LayerId, FetchError> {
    let options = WriteOptions {
        owner: None,
        chmod: None,
        link: false,
        parents: false,
        // Directories that an archive only implies have the same time always.
        mtime: Timestamp::default(),
    };
    write_layer(&world.store, TarOptions::default(), |tar| {
        copy::write(&View::empty(), &[source], &[], "/", &options, tar)?;
        Ok(())
    })
}
