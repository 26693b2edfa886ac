//! The image while files are copied into it: the parent, under what is planned so far.

use std::collections::BTreeMap;

use castoff_graph::Chmod;
use castoff_layer::{Entry, EntryKind, Node, Timestamp, View, ViewError};

use super::{CopyError, join, shown, split};

/// One entry per path; every parent of a planned path is planned.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) parent: &'a View,
    pub(super) plan: BTreeMap<Vec<u8>, Planned>,
    pub(super) created: Created<'a>,
}

/// What directories that are created look like (D-202).
#[derive(Debug, Clone, Copy)]
pub(super) struct Created<'a> {
    pub(super) owner: (u32, u32),
    pub(super) chmod: Option<&'a Chmod>,
    pub(super) mtime: Timestamp,
}

/// One entry of the layer.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) entry: Entry,
    pub(super) data: Data,
    /// For a directory: the parent has nothing below this path that could be seen.
    pub(super) fresh: bool,
}

/// Where the data and the extended attributes of an entry come from.
#[derive(Debug)]
pub(super) enum Data {
    /// There is none; the entry is complete.
    None,
    /// A node of a source, by the positions of the source and of the match.
    Source { source: usize, root: usize, node: Node },
    /// A file of the parent that an archive links to.
    Parent(Node),
    /// A here-document, by its position.
    Inline(usize),
    /// A member of an archive, by their positions.
    Archive { archive: usize, member: u64 },
}

/// As in `castoff_layer`'s views.
const LINK_LIMIT: usize = 255;

impl Scene<'_> {
    /// Returns what kind of thing is at a path, no symbolic link followed.
    pub(super) fn kind(&self, path: &[u8]) -> Result<Option<EntryKind>, CopyError> {
        if let Some(planned) = self.plan.get(path) {
            return Ok(Some(planned.entry.kind.clone()));
        }
        if path.is_empty() {
            return Ok(Some(EntryKind::Directory { opaque: false }));
        }
        let mut above = split(path).0;
        while !above.is_empty() {
            if let Some(planned) = self.plan.get(above) {
                if planned.fresh || !matches!(planned.entry.kind, EntryKind::Directory { .. }) {
                    return Ok(None);
                }
                break;
            }
            above = split(above).0;
        }
        Ok(self.parent.lookup(path)?.map(|node| node.entry.kind))
    }

    /// Follows symbolic links inside the image to where something is or would be created (D-206).
    pub(super) fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Vec<u8>, CopyError> {
        let mut pending = Vec::new();
        push_components(&mut pending, path);
        let mut current: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == b".." {
                current.truncate(split(&current).0.len());
                continue;
            }
            let candidate = join(&current, &component);
            match self.kind(&candidate)? {
                Some(EntryKind::Symlink { target }) if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > LINK_LIMIT {
                        let path = path.strip_prefix(b"/").unwrap_or(path);
                        return Err(ViewError::TooManyLinks { path: shown(path) }.into());
                    }
                    if target.starts_with(b"/") {
                        current.clear();
                    }
                    push_components(&mut pending, &target);
                }
                None | Some(EntryKind::Directory { .. }) => current = candidate,
                Some(_) if pending.is_empty() => current = candidate,
                Some(_) => return Err(CopyError::DirectoryOverFile { path: shown(&candidate) }),
            }
        }
        Ok(current)
    }

    /// Plans a directory and its parents: existing ones as they are, missing ones created (D-202).
    pub(super) fn ensure_directory(&mut self, path: &[u8]) -> Result<(), CopyError> {
        if path.is_empty() || self.is_planned_directory(path)? {
            return Ok(());
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        for end in ends.chain([path.len()]) {
            let path = &path[..end];
            if self.is_planned_directory(path)? {
                continue;
            }
            let planned = match self.kind(path)? {
                Some(EntryKind::Directory { .. }) => {
                    let node = self.parent.lookup(path)?;
                    let entry = node.map(|node| self.parent.complete(&node)).transpose()?;
                    let entry = entry.unwrap_or_else(|| self.new_directory(path));
                    Planned { entry, data: Data::None, fresh: false }
                }
                Some(_) => return Err(CopyError::DirectoryOverFile { path: shown(path) }),
                None => Planned { entry: self.new_directory(path), data: Data::None, fresh: true },
            };
            self.plan.insert(path.to_vec(), planned);
        }
        Ok(())
    }

    fn is_planned_directory(&self, path: &[u8]) -> Result<bool, CopyError> {
        match self.plan.get(path).map(|planned| &planned.entry.kind) {
            None => Ok(false),
            Some(EntryKind::Directory { .. }) => Ok(true),
            Some(_) => Err(CopyError::DirectoryOverFile { path: shown(path) }),
        }
    }

    fn new_directory(&self, path: &[u8]) -> Entry {
        // Only an octal mode is for created directories (D-215, D-216), which BuildKit makes as mkdir(2)
        // does: with its file creation mask, and without the special bits.
        let mode = match self.created.chmod {
            Some(Chmod::Octal(bits)) => *bits & 0o755,
            Some(Chmod::Symbolic(_)) | None => 0o755,
        };
        Entry {
            path: path.to_vec(),
            kind: EntryKind::Directory { opaque: false },
            mode,
            uid: self.created.owner.0,
            gid: self.created.owner.1,
            mtime: self.created.mtime,
            xattrs: BTreeMap::new(),
        }
    }

    /// Plans something other than a directory under `entry.path`. Replaces everything but directories
    /// (D-205); those too, with `replace_directories`, as archives do (D-233).
    pub(super) fn put_file(
        &mut self,
        entry: Entry,
        data: Data,
        replace_directories: bool,
    ) -> Result<(), CopyError> {
        let path = entry.path.clone();
        self.ensure_directory(split(&path).0)?;
        if let Some(EntryKind::Directory { .. }) = self.kind(&path)? {
            if !replace_directories {
                return Err(CopyError::FileOverDirectory { path: shown(&path) });
            }
            self.forget_below(&path);
        }
        self.plan.insert(path, Planned { entry, data, fresh: false });
        Ok(())
    }

    /// Plans a directory with metadata of its own. Existing directories are merged; with
    /// `replace_others`, anything else gives way, as for archives.
    pub(super) fn put_directory(
        &mut self,
        mut entry: Entry,
        data: Data,
        replace_others: bool,
    ) -> Result<(), CopyError> {
        let path = entry.path.clone();
        if path.is_empty() {
            return Ok(());
        }
        self.ensure_directory(split(&path).0)?;
        let mut fresh = true;
        match self.kind(&path)? {
            Some(EntryKind::Directory { opaque }) => {
                fresh = self.plan.get(&path).is_some_and(|planned| planned.fresh);
                entry.kind = EntryKind::Directory { opaque };
            }
            Some(_) if replace_others => {
                // What was planned in place of a directory of the parent hid its contents.
                let hides = match self.parent.lookup(&path)? {
                    Some(node) => matches!(node.entry.kind, EntryKind::Directory { .. }),
                    None => false,
                };
                entry.kind = EntryKind::Directory { opaque: hides };
            }
            Some(_) => return Err(CopyError::DirectoryOverFile { path: shown(&path) }),
            None => {}
        }
        self.plan.insert(path, Planned { entry, data, fresh });
        Ok(())
    }

    fn forget_below(&mut self, path: &[u8]) {
        let first = [path, b"/"].concat();
        let after = [path, b"0"].concat();
        let mut later = self.plan.split_off(&first);
        self.plan.append(&mut later.split_off(&after));
    }
}

fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let at = pending.len();
    pending.extend(components.map(<[u8]>::to_vec));
    pending[at..].reverse();
}
