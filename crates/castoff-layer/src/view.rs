//! File system trees seen without mounting anything.
//!
//! A [`Tree`] is one layer: a directory or a tar with its index. A [`View`] is a stack of trees seen
//! as one file system, with whiteouts and opaque directories applied as overlayfs and the OCI image
//! specification (layer.md, "Whiteouts") apply them. No path ever leaves it (B-218): directories are
//! opened relative to a held descriptor without following symbolic links, and those are followed by
//! [`View::resolve`], which takes every target relative to the root of the view.
//!
//! Paths are relative to the root, without a leading or trailing slash; the root is `b""`.
//! [`View::resolve`] and [`View::read`] also take paths with slashes, `.` and `..` as they come.

mod resolve;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::entry::{Entry, EntryKind, Timestamp, split};

pub use resolve::Resolved;
use tree::{Found, Location};
pub use tree::{Tree, TreeEntry};

/// A stack of trees seen as one file system. Cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    inner: Arc<Inner>,
}

/// The trees that contribute to a directory, top first.
type Stack = Arc<Vec<usize>>;

#[derive(Debug)]
struct Inner {
    /// Top first.
    trees: Vec<Arc<Tree>>,
    /// Which trees contribute to a directory; `None` where there is no directory.
    stacks: Mutex<HashMap<Vec<u8>, Option<Stack>>>,
}

/// A file, directory or other thing in a [`View`].
///
/// Hard links appear as what they are links to. Extended attributes of things in directories are not
/// loaded; [`View::complete`] does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Metadata, under the path in the view.
    pub entry: Entry,
    /// What identifies the file on disk; `None` in tars.
    pub identity: Option<FileIdentity>,
    /// Equal for the hard links of one file; `None` for a file with one link.
    pub link_group: Option<LinkGroup>,
    tree: usize,
    location: Location,
}

/// Names a file that has several hard links. Meaningful within one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup {
    tree: usize,
    major: u64,
    minor: u64,
}

/// What tells whether a file on disk is the one seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the data.
    pub mtime: Timestamp,
    /// Time of the last change of data or metadata.
    pub ctime: Timestamp,
}

impl FileIdentity {
    /// Returns whether neither data nor metadata changed at or after this time, in milliseconds since 1970.
    pub fn rests_since(&self, ms: i64) -> bool {
        let last = self.mtime.nanoseconds().max(self.ctime.nanoseconds());
        last < ms.saturating_mul(1_000_000)
    }
}

/// A file is not the one that was looked at any more; in the [`io::Error`] of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file changed while it was read")]
pub struct FileChanged;

/// Why a view cannot be read. Paths are those of the view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The system refused.
    #[error("`/{path}`")]
    Io {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path passes through something that is not a directory.
    #[error("`/{path}` is not a directory")]
    NotADirectory {
        /// What is passed through.
        path: String,
    },
    /// Something other than a regular file was to be read.
    #[error("`/{path}` is not a regular file")]
    NotAFile {
        /// What.
        path: String,
    },
    /// More than 255 symbolic links were met, so they form a loop.
    #[error("`/{path}`: too many levels of symbolic links")]
    TooManyLinks {
        /// The path as asked for.
        path: String,
    },
    /// A file is larger than the reader allows.
    #[error("`/{path}` is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// A hard link leads nowhere.
    #[error("`/{path}` is a hard link to `/{target}`, which does not exist")]
    DanglingHardlink {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
}

/// A file's entry, extended attributes included, and its data.
pub type OpenedFile = (Entry, Box<dyn Read + Send>);

type Opened = (BTreeMap<Vec<u8>, Vec<u8>>, Box<dyn Read + Send>);

/// Remembered directories; a view of more starts afresh.
const STACKS_LIMIT: usize = 100_000;

impl View {
    /// Stacks trees, given bottom to top.
    pub fn new(layers_bottom_to_top: Vec<Arc<Tree>>) -> View {
        let trees = layers_bottom_to_top.into_iter().rev().collect();
        View { inner: Arc::new(Inner { trees, stacks: Mutex::default() }) }
    }

    /// Returns the file system that has nothing in it.
    pub fn empty() -> View {
        View::new(Vec::new())
    }

    /// Returns the trees, bottom to top.
    pub fn trees(&self) -> impl DoubleEndedIterator<Item = &Arc<Tree>> {
        self.inner.trees.iter().rev()
    }

    /// Returns which tree something is in, counted from the bottom; the root of a view that has none is in no tree.
    pub fn tree_of(&self, node: &Node) -> Option<usize> {
        self.inner.trees.len().checked_sub(node.tree + 1)
    }

    /// Returns what is at a path. No symbolic link is followed: a path through one does not exist.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Node>, ViewError> {
        if path.is_empty() {
            return self.root().map(Some);
        }
        let (parent, _) = split(path);
        // A tree on its own knows better than we whether the parent is there.
        let alone: [usize; 1] = [0];
        let stack;
        let trees: &[usize] = if self.is_alone() {
            &alone
        } else {
            match self.stack(parent)? {
                Some(found) => stack = found,
                None => return Ok(None),
            }
            &stack
        };
        let Some((found, tree, directories)) = self.find(trees, path)? else { return Ok(None) };
        if !directories.is_empty() && !self.is_alone() {
            self.remember(path, Some(Arc::new(directories)));
        }
        self.node(found, tree).map(Some)
    }

    /// Returns what is in a directory, sorted by name.
    pub fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Node)>, ViewError> {
        let not_a_directory = || ViewError::NotADirectory { path: shown(path) };
        if self.is_alone() {
            let found = self.list(0, path)?.ok_or_else(not_a_directory)?;
            let mut nodes = Vec::with_capacity(found.len());
            for found in found {
                if found.entry.kind != EntryKind::Whiteout {
                    nodes.push((split(&found.entry.path).1.to_vec(), self.node(found, 0)?));
                }
            }
            nodes.sort_unstable_by(|left, right| left.0.cmp(&right.0));
            return Ok(nodes);
        }
        let stack = self.stack(path)?.ok_or_else(not_a_directory)?;
        let mut merged: BTreeMap<Vec<u8>, (Found, usize)> = BTreeMap::new();
        for tree in stack.iter().copied() {
            for found in self.list(tree, path)?.unwrap_or_default() {
                let name = split(&found.entry.path).1.to_vec();
                match merged.entry(name) {
                    std::collections::btree_map::Entry::Vacant(slot) => {
                        slot.insert((found, tree));
                    }
                    std::collections::btree_map::Entry::Occupied(mut slot) => {
                        let (above, _) = slot.get();
                        // A directory that its tar only implies looks as it does below, if it is there.
                        let implied = above.implied && !above.entry.is_opaque();
                        if implied && found.entry.is_directory() {
                            slot.insert((found, tree));
                        } else if implied {
                            slot.get_mut().0.implied = false;
                        }
                    }
                }
            }
        }
        let present = merged.into_iter().filter(|(_, (found, _))| found.entry.kind != EntryKind::Whiteout);
        present.map(|(name, (found, tree))| Ok((name, self.node(found, tree)?))).collect()
    }

    /// Opens the data of a regular file.
    pub fn open(&self, node: &Node) -> Result<Box<dyn Read + Send>, ViewError> {
        self.open_with(node, false).map(|(_, reader)| reader)
    }

    /// Opens the data of a regular file and completes its entry, which is cheaper than one after the
    /// other.
    pub fn open_complete(&self, node: &Node) -> Result<OpenedFile, ViewError> {
        let (xattrs, reader) = self.open_with(node, true)?;
        Ok((Entry { xattrs, ..node.entry.clone() }, reader))
    }

    /// Like [`View::open_complete`] for a file on disk that is, by its [`FileIdentity`], the one that the node was
    /// made of; nothing for others. Reading its end fails with a [`FileChanged`] when it has changed since.
    pub fn open_unchanged(&self, node: &Node) -> Result<Option<OpenedFile>, ViewError> {
        let (_, tree) = self.file(node)?;
        let Some(identity) = node.identity else { return Ok(None) };
        let path = &node.entry.path;
        let opened = tree.open_unchanged(path, identity).map_err(|error| io_error(path, error))?;
        Ok(opened.map(|(xattrs, reader)| (Entry { xattrs, ..node.entry.clone() }, reader)))
    }

    fn file(&self, node: &Node) -> Result<(u64, &Tree), ViewError> {
        match (&node.entry.kind, self.inner.trees.get(node.tree)) {
            (EntryKind::File { size }, Some(tree)) => Ok((*size, tree)),
            _ => Err(ViewError::NotAFile { path: shown(&node.entry.path) }),
        }
    }

    fn open_with(&self, node: &Node, with_xattrs: bool) -> Result<Opened, ViewError> {
        let (size, tree) = self.file(node)?;
        let path = &node.entry.path;
        tree.open(path, &node.location, size, with_xattrs).map_err(|error| io_error(path, error))
    }

    /// Returns the entry of a node with its extended attributes, apart from those that overlayfs and
    /// castoff keep for themselves and those that belong to a machine and not to an image (D-312).
    pub fn complete(&self, node: &Node) -> Result<Entry, ViewError> {
        let mut entry = node.entry.clone();
        if let Some(tree) = self.inner.trees.get(node.tree) {
            entry.xattrs =
                tree.xattrs(&entry, &node.location).map_err(|error| io_error(&entry.path, error))?;
        }
        Ok(entry)
    }

    /// Returns whether a single plain tree makes up the view, so that nothing needs to be merged.
    fn is_alone(&self) -> bool {
        matches!(self.inner.trees.as_slice(), [tree] if tree.is_plain())
    }

    fn root(&self) -> Result<Node, ViewError> {
        for (tree, root) in self.inner.trees.iter().enumerate() {
            if let Some(found) = root.stat(b"").map_err(|error| io_error(b"", error))?
                && !found.implied
            {
                return self.node(found, tree);
            }
        }
        let entry = Entry {
            path: Vec::new(),
            kind: EntryKind::Directory { opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds: 0, nanos: 0 },
            xattrs: BTreeMap::new(),
        };
        let tree = self.inner.trees.len();
        Ok(Node { entry, identity: None, link_group: None, tree, location: Location::Nowhere })
    }

    /// Returns the trees that contribute to a directory, top first.
    fn stack(&self, path: &[u8]) -> Result<Option<Stack>, ViewError> {
        if let Some(known) = self.known(path) {
            return Ok(known);
        }
        let mut stack = Vec::new();
        for (index, tree) in self.inner.trees.iter().enumerate() {
            stack.push(index);
            if tree.is_opaque(b"").map_err(|error| io_error(b"", error))? {
                break;
            }
        }
        // From the deepest directory that is known down; a path may have thousands of components.
        let mut from = 0;
        for end in slashes(path).collect::<Vec<_>>().into_iter().rev() {
            if let Some(known) = self.known(&path[..end]) {
                let Some(known) = known else { return Ok(None) };
                (from, stack) = (end + 1, known.to_vec());
                break;
            }
        }
        let ends = slashes(path).chain((!path.is_empty()).then_some(path.len()));
        for end in ends.filter(|end| *end >= from) {
            let directories = self.find(&stack, &path[..end])?.map(|(_, _, directories)| directories);
            let Some(directories) = directories.filter(|directories| !directories.is_empty()) else {
                self.remember(&path[..end], None);
                return Ok(None);
            };
            stack = directories;
            if end < path.len() {
                self.remember(&path[..end], Some(Arc::new(stack.clone())));
            }
        }
        let stack = Arc::new(stack);
        self.remember(path, Some(Arc::clone(&stack)));
        Ok(Some(stack))
    }

    fn known(&self, path: &[u8]) -> Option<Option<Stack>> {
        self.inner.stacks.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn remember(&self, path: &[u8], stack: Option<Stack>) {
        let mut stacks = self.inner.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if stacks.len() >= STACKS_LIMIT {
            stacks.clear();
        }
        stacks.insert(path.to_vec(), stack);
    }

    /// Finds a path whose parent directory is made of `trees`. Returns what it is, in which tree, and
    /// if it is a directory the trees that contribute to that.
    fn find(&self, trees: &[usize], path: &[u8]) -> Result<Option<(Found, usize, Vec<usize>)>, ViewError> {
        let mut result: Option<(Found, usize)> = None;
        let mut directories = Vec::new();
        for (position, index) in trees.iter().copied().enumerate() {
            let tree = &self.inner.trees[index];
            let Some(found) = tree.stat(path).map_err(|error| io_error(path, error))? else { continue };
            match found.entry.kind {
                EntryKind::Whiteout => break,
                EntryKind::Directory { .. } => {
                    directories.push(index);
                    if result.as_ref().is_none_or(|(above, _)| above.implied) {
                        result = Some((found, index));
                    }
                    let last = position + 1 == trees.len();
                    if !last && tree.is_opaque(path).map_err(|error| io_error(path, error))? {
                        break;
                    }
                }
                EntryKind::File { .. }
                | EntryKind::Symlink { .. }
                | EntryKind::Hardlink { .. }
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Socket => {
                    result.get_or_insert((found, index));
                    break;
                }
            }
        }
        Ok(result.map(|(found, tree)| (found, tree, directories)))
    }

    fn list(&self, tree: usize, path: &[u8]) -> Result<Option<Vec<Found>>, ViewError> {
        self.inner.trees[tree].list(path).map_err(|error| io_error(path, error))
    }

    fn node(&self, found: Found, tree: usize) -> Result<Node, ViewError> {
        let Found { mut entry, identity, links, location, implied: _ } = found;
        if let EntryKind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
        if let EntryKind::Hardlink { target } = &entry.kind {
            // The layer has the link but not the file; some layers of the field mean one below.
            let target = target.clone();
            let linked = if target == entry.path { None } else { self.lookup_below(tree, &target)? };
            let Some(linked) = linked else {
                return Err(ViewError::DanglingHardlink { path: shown(&entry.path), target: shown(&target) });
            };
            return Ok(Node { entry: Entry { path: entry.path, ..linked.entry }, ..linked });
        }
        let link_group = links.map(|(major, minor)| LinkGroup { tree, major, minor });
        Ok(Node { entry, identity, link_group, tree, location })
    }

    /// Looks a path up in what is below a tree.
    fn lookup_below(&self, tree: usize, path: &[u8]) -> Result<Option<Node>, ViewError> {
        let below: Vec<Arc<Tree>> = self.inner.trees[tree + 1..].iter().rev().cloned().collect();
        let Some(mut node) = View::new(below).lookup(path)? else { return Ok(None) };
        node.tree += tree + 1;
        if let Some(links) = &mut node.link_group {
            links.tree += tree + 1;
        }
        Ok(Some(node))
    }
}

/// Returns where the proper parents of a path end.
fn slashes(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn io_error(path: &[u8], source: io::Error) -> ViewError {
    ViewError::Io { path: shown(path), source }
}
