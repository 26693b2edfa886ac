//! A snapshot as a plain tree: `type=local`, `type=tar`, and the initial content of mounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::Path;

use castoff_layer::{ApplyOptions, EntryKind, Node, Ownership, TarOptions, TarWriter, View};
use castoff_oci::{Digest, Hasher};

use crate::IgnoreFile;
use crate::step::{StepError, is_broken_pipe};

/// Why a tree could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum TreeExportError {
    /// The snapshot could not be read.
    #[error("reading the result: {0}")]
    View(#[from] castoff_layer::ViewError),
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Tar(#[from] castoff_layer::TarWriteError),
    /// The files could not be created.
    #[error("writing the files: {0}")]
    Apply(#[from] castoff_layer::ApplyError),
    /// Two trees that are merged have different files of one name (B-098).
    #[error(
        "cannot put `{path}` of {second} over that of {first}: the files differ, and platform-split=false leaves them one place"
    )]
    Conflict {
        /// Where.
        path: String,
        /// The platform whose file came first.
        first: String,
        /// The other platform.
        second: String,
    },
    /// A pipe within castoff failed.
    #[error("passing the files on: {0}")]
    Pipe(#[from] std::io::Error),
}

/// How a tree is written out.
#[derive(Debug, Clone, Copy, Default)]
pub struct TreeExport<'a> {
    /// What is left out.
    pub ignore: Option<&'a IgnoreFile>,
    /// Time of all entries in seconds since 1970 (B-100).
    pub epoch: Option<i64>,
    /// Whether files belong to whoever writes them (B-095) and not to whom the image says.
    pub owned_by_caller: bool,
    /// A directory that everything is put into, relative; empty for none. It has no entry of its own.
    pub below: &'a [u8],
    /// Paths that are there already; their further hard links refer to what is there.
    pub present: Option<&'a BTreeSet<Vec<u8>>>,
}

/// Writes everything below `start` of a view to a tar, sorted, parents first. The names in the tar are
/// relative to `start`; a `start` that is a file is written under its own name.
///
/// # Errors
/// When the view cannot be read or the tar not be written.
pub fn write_view<W: Write>(
    view: &View,
    start: &[u8],
    tar: &mut TarWriter<W>,
    export: &TreeExport<'_>,
) -> Result<(), TreeExportError> {
    let mut walk = Walk { view, start, tar, export, links: HashMap::new() };
    let Some(node) = view.lookup(start)? else { return Ok(()) };
    if matches!(node.entry.kind, EntryKind::Directory { .. }) {
        walk.directory(start)
    } else {
        let name = start.rsplit(|byte| *byte == b'/').next().unwrap_or(start).to_vec();
        walk.entry(&node, name)
    }
}

struct Walk<'a, 'v, W: Write> {
    view: &'v View,
    start: &'a [u8],
    tar: &'a mut TarWriter<W>,
    export: &'a TreeExport<'a>,
    /// The first name written of each group of hard links.
    links: HashMap<castoff_layer::LinkGroup, Vec<u8>>,
}

impl<W: Write> Walk<'_, '_, W> {
    fn directory(&mut self, path: &[u8]) -> Result<(), TreeExportError> {
        for (_, node) in self.view.read_dir(path)? {
            let path = node.entry.path.clone();
            let patterns = self.export.ignore.map(|file| &file.patterns);
            let hidden = patterns.is_some_and(|patterns| patterns.matches(&path));
            let is_directory = matches!(node.entry.kind, EntryKind::Directory { .. });
            if hidden && (!is_directory || patterns.is_some_and(|patterns| patterns.can_prune(&path))) {
                continue;
            }
            if !hidden {
                let relative = &path[self.start.len()..];
                let relative = relative.strip_prefix(b"/").unwrap_or(relative).to_vec();
                self.entry(&node, relative)?;
            }
            if is_directory {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, node: &Node, name: Vec<u8>) -> Result<(), TreeExportError> {
        let mut entry = self.view.complete(node)?;
        let is_present = self.export.present.is_some_and(|present| present.contains(&name));
        entry.path = if self.export.below.is_empty() { name } else { join(self.export.below, &name) };
        if let Some(epoch) = self.export.epoch {
            entry.mtime = castoff_layer::Timestamp { seconds: epoch, nanos: 0 };
        }
        if self.export.owned_by_caller {
            (entry.uid, entry.gid) = (0, 0);
        }
        if let Some(group) = node.link_group {
            if let Some(first) = self.links.get(&group) {
                if is_present {
                    return Ok(());
                }
                entry.kind = EntryKind::Hardlink { target: first.clone() };
                self.tar.append(&entry, &mut std::io::empty())?;
                return Ok(());
            }
            self.links.insert(group, entry.path.clone());
        }
        if is_present {
            return Ok(());
        }
        match entry.kind {
            EntryKind::File { .. } => {
                let mut data = self.view.open(node)?;
                self.tar.append(&entry, &mut data)?;
            }
            EntryKind::Socket => {}
            _ => self.tar.append(&entry, &mut std::io::empty())?,
        }
        Ok(())
    }
}

/// Returns, for each of some trees in order, the paths that one before it has already. Files are equal
/// when type, mode, owner, link target, extended attributes and content are (B-098); of directories and of
/// times the first tree's count. BuildKit refuses equal files, too.
///
/// # Errors
/// When two trees have different files of one name, or one cannot be read.
pub fn merge(trees: &[(String, View)]) -> Result<Vec<BTreeSet<Vec<u8>>>, TreeExportError> {
    let mut first: BTreeMap<Vec<u8>, (usize, Node)> = BTreeMap::new();
    let mut present = Vec::new();
    for (place, (name, view)) in trees.iter().enumerate() {
        let mut again = BTreeSet::new();
        let mut open = vec![Vec::new()];
        while let Some(directory) = open.pop() {
            for (_, node) in view.read_dir(&directory)? {
                let path = node.entry.path.clone();
                if matches!(node.entry.kind, EntryKind::Directory { .. }) {
                    open.push(path.clone());
                }
                let Some((other, earlier)) = first.get(&path) else {
                    first.insert(path, (place, node));
                    continue;
                };
                let (first_name, first_view) = &trees[*other];
                if !are_equal(first_view, earlier, view, &node)? {
                    return Err(TreeExportError::Conflict {
                        path: String::from_utf8_lossy(&path).into_owned(),
                        first: first_name.clone(),
                        second: name.clone(),
                    });
                }
                again.insert(path);
            }
        }
        present.push(again);
    }
    Ok(present)
}

fn are_equal(
    left_view: &View,
    left: &Node,
    right_view: &View,
    right: &Node,
) -> Result<bool, TreeExportError> {
    let is_directory = |node: &Node| matches!(node.entry.kind, EntryKind::Directory { .. });
    if is_directory(left) || is_directory(right) {
        return Ok(is_directory(left) && is_directory(right));
    }
    let (one, other) = (left_view.complete(left)?, right_view.complete(right)?);
    let same = (&one.kind, one.mode, one.uid, one.gid, &one.xattrs)
        == (&other.kind, other.mode, other.uid, other.gid, &other.xattrs);
    if !same || !matches!(one.kind, EntryKind::File { .. }) {
        return Ok(same);
    }
    Ok(digest(&mut left_view.open(left)?)? == digest(&mut right_view.open(right)?)?)
}

fn digest(reader: &mut dyn Read) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

/// Writes everything below `start` of a view into a directory, merging with what is there (B-095).
///
/// # Errors
/// When the view cannot be read or a file not be created.
pub fn write_directory(
    view: &View,
    start: &[u8],
    destination: &Path,
    ownership: Ownership,
    export: &TreeExport<'_>,
) -> Result<(), TreeExportError> {
    let (mut reader, writer) = std::io::pipe()?;
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || -> Result<(), TreeExportError> {
            let buffered = std::io::BufWriter::with_capacity(256 * 1024, writer);
            let mut tar = TarWriter::new(buffered, TarOptions::default());
            write_view(view, start, &mut tar, export)?;
            tar.finish()?.flush()?;
            Ok(())
        });
        let options = ApplyOptions { ownership, overlay: false, ..ApplyOptions::default() };
        let applied = castoff_layer::apply(&mut reader, destination, &options);
        // The producer stops at a broken pipe when applying failed, so it always ends.
        drop(reader);
        let produced = producer.join().expect("the producer does not panic");
        match (applied, produced) {
            (Ok(_), produced) => produced,
            // What was cut cannot be applied, and why it was cut is the reason then.
            (Err(_), Err(cause)) if !is_broken_pipe(&cause) => Err(cause),
            (Err(error), _) => Err(error.into()),
        }
    })
}

/// Removes from a directory what none of some trees has; each tree lies in the subdirectory of its name, or at
/// the top for an empty name (B-096). Links are removed and never followed.
///
/// # Errors
/// When a tree cannot be read or a file not be removed.
pub fn remove_others(destination: &Path, trees: &[(&str, &View)]) -> Result<(), TreeExportError> {
    let mut kept: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (name, view) in trees {
        if !name.is_empty() {
            kept.insert(name.as_bytes().to_vec());
        }
        let mut open = vec![Vec::new()];
        while let Some(directory) = open.pop() {
            for (_, node) in view.read_dir(&directory)? {
                let path = &node.entry.path;
                kept.insert(if name.is_empty() { path.clone() } else { join(name.as_bytes(), path) });
                if node.entry.is_directory() {
                    open.push(path.clone());
                }
            }
        }
    }
    let mut open = vec![(destination.to_owned(), Vec::new())];
    while let Some((directory, prefix)) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().into_encoded_bytes();
            let relative = if prefix.is_empty() { name } else { join(&prefix, &name) };
            let is_directory = entry.file_type()?.is_dir();
            match (kept.contains(&relative), is_directory) {
                (true, true) => open.push((entry.path(), relative)),
                (true, false) => {}
                (false, true) => std::fs::remove_dir_all(entry.path())?,
                (false, false) => std::fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// Lays out part of a view for a mount. With `owned_by_root` its files are, as those of a local directory
/// (D-272).
pub(crate) fn extract(
    view: &View,
    start: &[u8],
    destination: &Path,
    ignore: Option<&IgnoreFile>,
    owned_by_root: bool,
) -> Result<(), StepError> {
    let export = TreeExport { ignore, owned_by_caller: owned_by_root, ..TreeExport::default() };
    Ok(write_directory(view, start, destination, Ownership::Keep, &export)?)
}
