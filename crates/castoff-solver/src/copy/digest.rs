//! The content part of the cache key of what is copied (D-311, D-312).

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_layer::{Entry, EntryKind, Node, View};
use castoff_oci::{Digest, Hasher};

use super::select::{RootKind, Selection, size};
use super::{CopyError, Owners, shown};

/// More threads than this wait for the disk together.
const MOST_THREADS: usize = 8;
/// So many files, or bytes, are worth a thread.
const MANY: usize = 64;
const MUCH: u64 = 1 << 20;

/// What one thread has digested: groups of files by their number.
type Done = Vec<(usize, Vec<Digest>)>;

/// Files are read in pieces of this size.
const LARGE: usize = 128 * 1024;

/// Returns the digest of a selection: type, permission bits, owner, size, link target, device numbers,
/// extended attributes and data of everything in it, under its name relative to its root.
///
/// Times do not count, nor does the name or metadata of a directory of which only the contents are
/// copied. `file_digest` is asked in the order of [`Selection::regular_files`] and returns the digest of a regular
/// file, as [`content_digests`] does; what that returned earlier may be remembered for a file that did not change.
pub fn digest<E: From<CopyError>>(
    selection: &Selection,
    view: &View,
    owners: Owners,
    file_digest: &mut dyn FnMut(&Node) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-selection-1");
    for root in &selection.roots {
        match root.kind {
            RootKind::File => {
                hasher.field(b"file");
                hasher.field(&root.name);
                add(&mut hasher, view, &root.node, owners, file_digest)?;
            }
            RootKind::Directory => hasher.field(b"directory"),
            RootKind::Parents => hasher.field(b"parents"),
        }
        hasher.update(&(root.entries.len() as u64).to_le_bytes());
        for selected in &root.entries {
            hasher.field(&selected.relative);
            add(&mut hasher, view, &selected.node, owners, file_digest)?;
        }
    }
    Ok(hasher.finish())
}

/// Returns the digest of each regular file, in order: of its data, and of its extended attributes if it has any.
/// Many files are read by several threads.
pub fn content_digests(view: &View, nodes: &[&Node]) -> Result<Vec<Digest>, CopyError> {
    let bytes: u64 = nodes.iter().map(|node| size(node)).sum();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(MOST_THREADS).min(nodes.len());
    if threads < 2 || (nodes.len() < MANY && bytes < MUCH) {
        return nodes.iter().map(|node| content_digest(view, node)).collect();
    }
    // Neighbours to one thread: they are in the same directory.
    let group = (nodes.len() / (threads * 8)).clamp(1, 64);
    let groups: Vec<&[&Node]> = nodes.chunks(group).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Done, (usize, CopyError)> {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(nodes) = groups.get(number) else { return Ok(done) };
            match nodes.iter().map(|node| content_digest(view, node)).collect() {
                Ok(digests) => done.push((number, digests)),
                Err(error) => {
                    // The others come to their end.
                    next.store(groups.len(), Ordering::Relaxed);
                    return Err((number, error));
                }
            }
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|thread| thread.join().expect("reading files does not panic"));
        std::iter::once(own).chain(others).collect()
    });
    let mut digests: Vec<Vec<Digest>> = vec![Vec::new(); groups.len()];
    let mut first: Option<(usize, CopyError)> = None;
    for result in results {
        match result {
            Ok(done) => done.into_iter().for_each(|(number, found)| digests[number] = found),
            Err((number, error)) if first.as_ref().is_none_or(|(earlier, _)| number < *earlier) => {
                first = Some((number, error));
            }
            Err(_) => {}
        }
    }
    match first {
        Some((_, error)) => Err(error),
        None => Ok(digests.concat()),
    }
}

pub(super) fn content_digest(view: &View, node: &Node) -> Result<Digest, CopyError> {
    let (entry, mut reader) = view.open_complete(node)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; usize::try_from(size(node)).unwrap_or(LARGE).clamp(1, LARGE)];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                let path = shown(&node.entry.path);
                return Err(CopyError::View(castoff_layer::ViewError::Io { path, source }));
            }
        }
    }
    Ok(file_digest(hasher.finish(), &entry))
}

/// Returns the digest of a regular file whose data has the digest `data`.
pub(super) fn file_digest(data: Digest, entry: &Entry) -> Digest {
    if entry.xattrs.is_empty() {
        return data;
    }
    let mut record = b"castoff-file-1".to_vec();
    record.extend(data.as_bytes());
    add_xattrs(&mut record, entry);
    Digest::of(&record)
}

fn add<E: From<CopyError>>(
    hasher: &mut Hasher,
    view: &View,
    node: &Node,
    owners: Owners,
    file_digest: &mut dyn FnMut(&Node) -> Result<Digest, E>,
) -> Result<(), E> {
    let entry = &node.entry;
    let (uid, gid) = match owners {
        Owners::Root => (0, 0),
        Owners::Kept => (entry.uid, entry.gid),
    };
    // One update per entry: hashing many small pieces costs more than the bytes do.
    let mut record = Vec::with_capacity(64);
    for number in [entry.mode, uid, gid] {
        record.extend(number.to_le_bytes());
    }
    match &entry.kind {
        EntryKind::File { size } => {
            record.push(b'f');
            record.extend(size.to_le_bytes());
            record.extend(file_digest(node)?.as_bytes());
        }
        EntryKind::Directory { .. } => {
            record.push(b'd');
            add_xattrs(&mut record, &view.complete(node).map_err(CopyError::from)?);
        }
        EntryKind::Symlink { target } => {
            record.push(b'l');
            add_field(&mut record, target);
        }
        EntryKind::CharDevice { major, minor } => {
            record.push(b'c');
            record.extend(major.to_le_bytes());
            record.extend(minor.to_le_bytes());
        }
        EntryKind::BlockDevice { major, minor } => {
            record.push(b'b');
            record.extend(major.to_le_bytes());
            record.extend(minor.to_le_bytes());
        }
        EntryKind::Fifo => record.push(b'p'),
        EntryKind::Socket => record.push(b's'),
        EntryKind::Hardlink { .. } | EntryKind::Whiteout => {
            unreachable!("a view shows files under their names")
        }
    }
    hasher.update(&record);
    Ok(())
}

fn add_field(record: &mut Vec<u8>, field: &[u8]) {
    record.extend((field.len() as u64).to_le_bytes());
    record.extend(field);
}

fn add_xattrs(record: &mut Vec<u8>, entry: &Entry) {
    record.extend((entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        add_field(record, name);
        add_field(record, value);
    }
}
