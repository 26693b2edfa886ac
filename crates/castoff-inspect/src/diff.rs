//! How two images differ: their file systems path by path, and their configs part by part.

mod config;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use castoff_layer::{Entry, EntryKind, Node, View, ViewError};

pub use config::{ConfigChange, config_changes};

/// Two file systems to compare. What is in the trees at the bottom that are the very same in both is not compared byte by
/// byte.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The one before.
    pub before: &'a View,
    /// The one after.
    pub after: &'a View,
    /// Whether modification times count.
    pub times: bool,
}

/// A path that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// The path, without a slash in front.
    pub path: Vec<u8>,
    /// What is there before; `None` when nothing is.
    pub before: Option<Entry>,
    /// What is there after; `None` when nothing is.
    pub after: Option<Entry>,
    /// What is different, where something is there before and after; never empty then.
    pub aspects: Vec<Aspect>,
}

/// What of a path is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// One is a file and the other is not, or the like.
    Type,
    /// The permission bits.
    Mode,
    /// The user or the group.
    Owner,
    /// The size of a file.
    Size,
    /// The bytes of a file.
    Content,
    /// The text of a symbolic link.
    Link,
    /// The numbers of a device.
    Device,
    /// Extended attributes.
    Xattrs,
    /// The modification time.
    Time,
}

impl Aspect {
    /// Returns the name that it has in messages and documents.
    pub fn name(self) -> &'static str {
        match self {
            Aspect::Type => "type",
            Aspect::Mode => "mode",
            Aspect::Owner => "owner",
            Aspect::Size => "size",
            Aspect::Content => "content",
            Aspect::Link => "link",
            Aspect::Device => "device",
            Aspect::Xattrs => "xattrs",
            Aspect::Time => "time",
        }
    }
}

/// Returns the name that the kind of an entry has in messages and documents.
pub fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => "file",
        EntryKind::Directory { .. } => "directory",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::Whiteout => "whiteout",
    }
}

impl Comparison<'_> {
    /// Visits every path that is not the same in both, a directory before what is in it.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn run(&self, visit: &mut dyn FnMut(PathChange)) -> Result<(), ViewError> {
        // Directories still to do, with whether each is one before and after.
        let mut pending = vec![(Vec::new(), true, true)];
        while let Some((directory, in_before, in_after)) = pending.pop() {
            let mut deeper = Vec::new();
            let mut names: BTreeMap<Vec<u8>, (Option<Node>, Option<Node>)> = BTreeMap::new();
            if in_before {
                for (name, node) in self.before.read_dir(&directory)? {
                    names.entry(name).or_default().0 = Some(node);
                }
            }
            if in_after {
                for (name, node) in self.after.read_dir(&directory)? {
                    names.entry(name).or_default().1 = Some(node);
                }
            }
            for (before, after) in names.into_values() {
                let is_directory =
                    |node: &Option<Node>| node.as_ref().is_some_and(|node| node.entry.is_directory());
                let path = before.as_ref().or(after.as_ref()).map(|node| node.entry.path.clone());
                let Some(path) = path else { continue };
                if is_directory(&before) || is_directory(&after) {
                    deeper.push((path.clone(), is_directory(&before), is_directory(&after)));
                }
                let aspects = match (&before, &after) {
                    (Some(before), Some(after)) => self.aspects(before, after)?,
                    _ => Vec::new(),
                };
                if before.is_none() || after.is_none() || !aspects.is_empty() {
                    let entry = |node: Option<Node>| node.map(|node| node.entry);
                    visit(PathChange { path, before: entry(before), after: entry(after), aspects });
                }
            }
            pending.extend(deeper.into_iter().rev());
        }
        Ok(())
    }

    fn aspects(&self, before: &Node, after: &Node) -> Result<Vec<Aspect>, ViewError> {
        if self.is_shared(before, after) {
            return Ok(Vec::new());
        }
        let (one, other) = (&before.entry, &after.entry);
        let mut aspects = Vec::new();
        let mut add = |aspect, differs: bool| {
            if differs {
                aspects.push(aspect);
            }
        };
        add(Aspect::Mode, one.mode != other.mode && !matches!(one.kind, EntryKind::Symlink { .. }));
        add(Aspect::Owner, (one.uid, one.gid) != (other.uid, other.gid));
        add(Aspect::Time, self.times && one.mtime != other.mtime);
        match (&one.kind, &other.kind) {
            (EntryKind::File { size: left }, EntryKind::File { size: right }) if left != right => {
                add(Aspect::Size, true);
                add(Aspect::Content, true);
            }
            (EntryKind::File { .. }, EntryKind::File { .. }) => {
                add(Aspect::Content, !self.same_bytes(before, after)?);
            }
            (EntryKind::Symlink { target: left }, EntryKind::Symlink { target: right }) => {
                add(Aspect::Link, left != right);
            }
            (EntryKind::CharDevice { .. }, EntryKind::CharDevice { .. })
            | (EntryKind::BlockDevice { .. }, EntryKind::BlockDevice { .. }) => {
                add(Aspect::Device, one.kind != other.kind);
            }
            (left, right) => add(Aspect::Type, kind_name(left) != kind_name(right)),
        }
        if kind_name(&one.kind) == kind_name(&other.kind) {
            let xattrs = self.before.complete(before)?.xattrs != self.after.complete(after)?.xattrs;
            add(Aspect::Xattrs, xattrs);
        }
        aspects.sort();
        Ok(aspects)
    }

    /// Whether both are in one tree, which is as far up in both.
    fn is_shared(&self, before: &Node, after: &Node) -> bool {
        let tree = self.before.tree_of(before);
        let tree = tree.filter(|tree| Some(*tree) == self.after.tree_of(after));
        let Some(tree) = tree else { return false };
        let pair = self.before.trees().nth(tree).zip(self.after.trees().nth(tree));
        pair.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Returns the first byte, from 0, at which the files at a path differ, or at which one of them ends; `None` when they
    /// do not differ, or one is no file.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn first_difference(&self, path: &[u8]) -> Result<Option<u64>, ViewError> {
        let is_file = |node: &Node| matches!(kind_name(&node.entry.kind), "file");
        let (before, after) = (self.before.lookup(path)?, self.after.lookup(path)?);
        match (before.filter(is_file), after.filter(is_file)) {
            (Some(before), Some(after)) => self.difference(&before, &after),
            _ => Ok(None),
        }
    }

    fn same_bytes(&self, before: &Node, after: &Node) -> Result<bool, ViewError> {
        Ok(self.difference(before, after)?.is_none())
    }

    fn difference(&self, before: &Node, after: &Node) -> Result<Option<u64>, ViewError> {
        if before.identity.is_some() && before.identity == after.identity {
            return Ok(None);
        }
        let mut offset = 0;
        let (mut one, mut other) = (self.before.open(before)?, self.after.open(after)?);
        let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let failed =
            |source| ViewError::Io { path: String::from_utf8_lossy(&before.entry.path).into_owned(), source };
        loop {
            let count = fill(&mut *one, &mut left).map_err(failed)?;
            let other_count = fill(&mut *other, &mut right).map_err(failed)?;
            let both = left[..count].iter().zip(&right[..other_count]);
            let same = both.take_while(|(one, other)| one == other).count();
            offset += same as u64;
            if same < count.max(other_count) {
                return Ok(Some(offset));
            }
            if count < left.len() {
                return Ok(None);
            }
        }
    }
}

/// Reads until the buffer is full or nothing more comes.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
