//! What goes where: sections 10.3 to 10.7 as a plan of one entry per path.

use castoff_layer::{Entry, EntryKind, Node};

use super::archive::{self, Archive};
use super::scene::{Created, Data, Scene};
use super::select::{RootKind, SelectedRoot, is_directory};
use super::{CopyError, InlineFile, Owners, SourceTree, WriteOptions, join, mode_after, shown};

/// A plan being made.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) archives: Vec<Archive<'a>>,
    /// Files that a later file took the place of (D-204).
    pub(super) overwritten: Vec<String>,
    options: &'a WriteOptions<'a>,
    destination: &'a [u8],
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        parent: &'a castoff_layer::View,
        destination: &'a str,
        options: &'a WriteOptions<'a>,
    ) -> Planner<'a> {
        let created =
            Created { owner: options.owner.unwrap_or((0, 0)), chmod: options.chmod, mtime: options.mtime };
        let scene = Scene { parent, plan: Default::default(), created };
        Planner {
            scene,
            archives: Vec::new(),
            overwritten: Vec::new(),
            options,
            destination: destination.as_bytes(),
        }
    }

    /// D-199: whether the destination is written like a directory.
    fn is_marked_directory(&self) -> bool {
        let end = self.destination.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        matches!(&self.destination[end..], b"" | b".") || self.options.parents
    }

    pub(super) fn add_source(&mut self, index: usize, source: &'a SourceTree<'a>) -> Result<(), CopyError> {
        for (number, root) in source.selection.roots.iter().enumerate() {
            match root.kind {
                RootKind::File => self.add_file((index, number), source, root)?,
                RootKind::Directory | RootKind::Parents => {
                    self.add_directory((index, number), source, root)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_inline(&mut self, index: usize, file: &InlineFile) -> Result<(), CopyError> {
        let path = self.file_path(file.name.as_bytes())?;
        let (uid, gid) = self.options.owner.unwrap_or((0, 0));
        let entry = Entry {
            path,
            kind: EntryKind::File { size: file.content.len() as u64 },
            mode: mode_after(self.options.chmod, 0o644, false)?,
            uid,
            gid,
            mtime: self.options.mtime,
            xattrs: Default::default(),
        };
        self.put_file(entry, Data::Inline(index))
    }

    fn add_file(
        &mut self,
        (index, number): (usize, usize),
        source: &'a SourceTree<'a>,
        root: &'a SelectedRoot,
    ) -> Result<(), CopyError> {
        if source.unpack && archive::is_archive(&source.view, &root.node)? {
            return self.add_archive(source, root);
        }
        let path = self.file_path(&root.name)?;
        let entry = self.copied(&root.node, path, source.owners)?;
        self.put_file(entry, Data::Source { source: index, root: number, node: root.node.clone() })
    }

    fn put_file(&mut self, entry: Entry, data: Data) -> Result<(), CopyError> {
        let earlier = self.scene.plan.get(&entry.path);
        if earlier.is_some_and(|planned| !matches!(planned.entry.kind, EntryKind::Directory { .. })) {
            self.overwritten.push(shown(&entry.path));
        }
        self.scene.put_file(entry, data, false)
    }

    /// D-200: where a file goes.
    fn file_path(&mut self, name: &[u8]) -> Result<Vec<u8>, CopyError> {
        let path = self.scene.resolve(self.destination, true)?;
        let exists = matches!(self.scene.kind(&path)?, Some(EntryKind::Directory { .. }));
        if !exists && !self.is_marked_directory() {
            return Ok(path);
        }
        if name.is_empty() {
            return Err(CopyError::Unnamed { path: shown(&path) });
        }
        self.scene.ensure_directory(&path)?;
        Ok(join(&path, name))
    }

    /// D-201, D-203, D-222.
    fn add_directory(
        &mut self,
        (index, number): (usize, usize),
        source: &SourceTree<'_>,
        root: &SelectedRoot,
    ) -> Result<(), CopyError> {
        let top = self.scene.resolve(self.destination, true)?;
        self.scene.ensure_directory(&top)?;
        if root.kind == RootKind::Directory
            && let Some(planned) = self.scene.plan.get_mut(&top)
        {
            planned.entry.mtime = root.node.entry.mtime;
        }
        for selected in &root.entries {
            let node = &selected.node;
            let entry = self.copied(node, join(&top, &selected.relative), source.owners)?;
            let data = Data::Source { source: index, root: number, node: node.clone() };
            if is_directory(node) {
                self.scene.put_directory(entry, data, false)?;
            } else {
                self.scene.put_file(entry, data, false)?;
            }
        }
        Ok(())
    }

    /// D-208, D-209, D-210, D-213, D-215..D-217.
    fn copied(&self, node: &Node, path: Vec<u8>, owners: Owners) -> Result<Entry, CopyError> {
        let mut entry = Entry { path, ..node.entry.clone() };
        if entry.kind == EntryKind::Socket {
            entry.kind = EntryKind::File { size: 0 };
        }
        (entry.uid, entry.gid) = match (self.options.owner, owners) {
            (Some(owner), _) => owner,
            (None, Owners::Root) => (0, 0),
            (None, Owners::Kept) => (entry.uid, entry.gid),
        };
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            entry.mode = mode_after(self.options.chmod, entry.mode, is_directory(node))?;
        }
        Ok(entry)
    }

    /// D-232, D-233: the destination is a directory, and `--chmod` means nothing.
    fn add_archive(&mut self, source: &'a SourceTree<'a>, root: &'a SelectedRoot) -> Result<(), CopyError> {
        let chmod = self.scene.created.chmod.take();
        let top = self.scene.resolve(self.destination, true)?;
        self.scene.ensure_directory(&top)?;
        // Directories that the archive implies are not entries of it, which --chown is for: they are root's.
        let owner = std::mem::take(&mut self.scene.created.owner);
        let known = source.seen.and_then(|seen| seen.digests.get(&root.node.entry.path));
        let archive = Archive { view: &source.view, node: &root.node, known };
        archive.plan(self.archives.len(), &top, self.options.owner, &mut self.scene)?;
        self.archives.push(archive);
        self.scene.created.chmod = chmod;
        self.scene.created.owner = owner;
        Ok(())
    }
}
