//! A snapshot as a plain tree: `type=local`, `type=tar`, and the initial content of mounts.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use castoff_layer::{ApplyOptions, EntryKind, Node, Ownership, TarOptions, TarWriter, View};

use crate::IgnoreFile;
use crate::step::StepError;

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
        entry.path = name;
        if let Some(epoch) = self.export.epoch {
            entry.mtime = castoff_layer::Timestamp { seconds: epoch, nanos: 0 };
        }
        if self.export.owned_by_caller {
            (entry.uid, entry.gid) = (0, 0);
        }
        if let Some(group) = node.link_group {
            if let Some(first) = self.links.get(&group) {
                entry.kind = EntryKind::Hardlink { target: first.clone() };
                self.tar.append(&entry, &mut std::io::empty())?;
                return Ok(());
            }
            self.links.insert(group, entry.path.clone());
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
        applied?;
        produced
    })
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
