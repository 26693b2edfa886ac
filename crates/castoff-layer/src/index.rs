//! An index over an uncompressed layer tar, so that its files can be looked up and read in place.
//!
//! Later entries of one path win, parents that the tar does not mention are implied, a whiteout beside
//! a directory of the same name makes the directory opaque, and hard links lead to the entry that
//! holds their data.
//!
//! The serialized form begins with a magic and a version; integers are little-endian, byte strings
//! have a 32-bit length in front:
//!
//! ```text
//! "CSTFIDX1" count:u32
//!   per entry, sorted by path: path flags:u8 kind:u8 mode:u32 uid:u32 gid:u32 seconds:i64 nanos:u32
//!                              offset:u64 a:u64 b:u64 target xattrs:u32 (name value)*
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::entry::{Entry, EntryKind, Timestamp};
use crate::tar_read::{ReadOptions, TarReadError, read_tar};

/// What a layer tar contains and where, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TarIndex {
    entries: Vec<IndexEntry>,
    /// Positions of files that have hard links, in order.
    linked: Vec<usize>,
}

/// One path of a layer tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The entry; a hard link stays one here.
    pub(crate) entry: Entry,
    /// Where the data of a file begins in the tar.
    pub(crate) offset: u64,
    /// Whether the tar has no entry of its own for this directory.
    pub(crate) implied: bool,
}

/// A serialized index that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layer index is damaged or of another version")]
pub struct IndexError;

const MAGIC: &[u8; 8] = b"CSTFIDX1";
/// Hard links to hard links are followed this far.
const LINK_LIMIT: usize = 64;

impl TarIndex {
    /// Reads a whole layer tar from its beginning; the position of `file` is not used.
    pub fn build(file: &File) -> Result<TarIndex, TarReadError> {
        let mut reader = io::BufReader::with_capacity(64 * 1024, Positioned { file, offset: 0 });
        let mut paths = BTreeMap::new();
        let options = ReadOptions { whiteouts: true, ..ReadOptions::default() };
        let mut end = 0;
        // The data of a sparse file is not in one piece, so it cannot be read in place.
        let sparse = || io::Error::new(io::ErrorKind::Unsupported, "the layer has sparse files");
        read_tar(&mut reader, options, &mut |entry, _data, offset| {
            if offset < end {
                return Err(sparse().into());
            }
            if let EntryKind::File { size } = entry.kind {
                end = offset.saturating_add(size);
            }
            insert(&mut paths, entry, offset);
            Ok(())
        })?;
        if file.metadata()?.len() < end {
            return Err(sparse().into());
        }
        Ok(TarIndex::of(paths.into_values().collect()))
    }

    fn of(entries: Vec<IndexEntry>) -> TarIndex {
        let mut index = TarIndex { entries, linked: Vec::new() };
        let links = index.entries.iter().enumerate();
        let links = links.filter(|(_, found)| matches!(found.entry.kind, EntryKind::Hardlink { .. }));
        let mut linked: Vec<usize> = links.filter_map(|(position, _)| index.link_target(position)).collect();
        linked.sort_unstable();
        linked.dedup();
        index.linked = linked;
        index
    }

    /// Returns whether a file has hard links.
    pub(crate) fn is_linked(&self, position: usize) -> bool {
        self.linked.binary_search(&position).is_ok()
    }

    /// Returns how many paths there are, implied directories and whiteouts included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the layer is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether the layer passes through directories that it has no entry for.
    pub fn has_implied(&self) -> bool {
        self.entries.iter().any(|entry| entry.implied)
    }

    pub(crate) fn get(&self, position: usize) -> &IndexEntry {
        &self.entries[position]
    }

    /// Returns the position of a path.
    pub(crate) fn find(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.entry.path.as_slice().cmp(path)).ok()
    }

    /// Returns the positions of what is directly in a directory.
    pub(crate) fn children(&self, directory: &[u8]) -> Vec<usize> {
        let mut prefix = directory.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let mut children = Vec::new();
        let mut position =
            self.entries.partition_point(|entry| entry.entry.path.as_slice() < prefix.as_slice());
        while let Some(found) = self.entries.get(position) {
            let path = &found.entry.path;
            let Some(rest) = path.strip_prefix(prefix.as_slice()) else { break };
            if rest.is_empty() {
                position += 1;
            } else if let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
                // Something deeper: continue after everything below that directory.
                let mut after = path[..prefix.len() + slash].to_vec();
                after.push(b'/' + 1);
                position += self.entries[position..]
                    .partition_point(|entry| entry.entry.path.as_slice() < after.as_slice());
            } else {
                children.push(position);
                position += 1;
            }
        }
        children
    }

    /// Follows hard links to the entry with the data, or returns `None` if it is not in this layer.
    pub(crate) fn link_target(&self, position: usize) -> Option<usize> {
        let mut position = position;
        for _ in 0..LINK_LIMIT {
            match &self.entries[position].entry.kind {
                EntryKind::Hardlink { target } => position = self.find(target)?,
                EntryKind::Directory { .. } | EntryKind::Whiteout => return None,
                EntryKind::File { .. }
                | EntryKind::Symlink { .. }
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Socket => return Some(position),
            }
        }
        None
    }

    /// Returns the serialized form, for keeping beside the layer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        for IndexEntry { entry, offset, implied } in &self.entries {
            let none: &[u8] = b"";
            let (kind, a, b, target) = match &entry.kind {
                EntryKind::File { size } => (0, *size, 0, none),
                EntryKind::Directory { opaque } => (1, u64::from(*opaque), 0, none),
                EntryKind::Symlink { target } => (2, 0, 0, target.as_slice()),
                EntryKind::Hardlink { target } => (3, 0, 0, target.as_slice()),
                EntryKind::CharDevice { major, minor } => (4, u64::from(*major), u64::from(*minor), none),
                EntryKind::BlockDevice { major, minor } => (5, u64::from(*major), u64::from(*minor), none),
                EntryKind::Fifo => (6, 0, 0, none),
                EntryKind::Socket => (7, 0, 0, none),
                EntryKind::Whiteout => (8_u8, 0, 0, none),
            };
            put(&mut bytes, &entry.path);
            bytes.extend([u8::from(*implied), kind]);
            for number in [entry.mode, entry.uid, entry.gid] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(entry.mtime.seconds.to_le_bytes());
            bytes.extend(entry.mtime.nanos.to_le_bytes());
            for number in [*offset, a, b] {
                bytes.extend(number.to_le_bytes());
            }
            put(&mut bytes, target);
            bytes.extend((entry.xattrs.len() as u32).to_le_bytes());
            for (name, value) in &entry.xattrs {
                put(&mut bytes, name);
                put(&mut bytes, value);
            }
        }
        bytes
    }

    /// Reads the serialized form; refuses anything that [`TarIndex::to_bytes`] would not have written.
    pub fn from_bytes(bytes: &[u8]) -> Result<TarIndex, IndexError> {
        let mut bytes = Bytes(bytes);
        if bytes.take(MAGIC.len())? != MAGIC {
            return Err(IndexError);
        }
        let count = bytes.u32()?;
        let mut entries: Vec<IndexEntry> = Vec::new();
        for _ in 0..count {
            let entry = bytes.entry()?;
            if entries.last().is_some_and(|last| last.entry.path >= entry.entry.path) {
                return Err(IndexError);
            }
            entries.push(entry);
        }
        if bytes.0.is_empty() { Ok(TarIndex::of(entries)) } else { Err(IndexError) }
    }
}

/// Adds an entry as the layers of the field mean it when they repeat or contradict themselves.
fn insert(paths: &mut BTreeMap<Vec<u8>, IndexEntry>, mut entry: Entry, offset: u64) {
    imply_parents(paths, &entry.path);
    // An opaque directory is a mark whose own metadata means nothing.
    if entry.is_opaque() {
        let hides = EntryKind::Directory { opaque: true };
        match paths.get_mut(&entry.path) {
            Some(IndexEntry { entry: found, .. }) if found.is_directory() => {
                found.kind = hides;
            }
            Some(_) | None => {
                let implied = implied_directory(&entry.path, true);
                paths.insert(entry.path, implied);
            }
        }
        return;
    }
    let before = paths.get(&entry.path).map(|found| (&found.entry.kind, found.implied));
    let mut keep_below = false;
    match (&mut entry.kind, before) {
        // A whiteout speaks of lower layers only; what this layer has stays.
        (EntryKind::Whiteout, Some((EntryKind::Directory { .. }, _))) => {
            if let Some(IndexEntry { entry: Entry { kind: EntryKind::Directory { opaque }, .. }, .. }) =
                paths.get_mut(&entry.path)
            {
                *opaque = true;
            }
            return;
        }
        (EntryKind::Whiteout, Some((kind, _))) if *kind != EntryKind::Whiteout => return,
        (EntryKind::Directory { opaque }, Some((EntryKind::Directory { opaque: earlier }, _))) => {
            *opaque |= *earlier;
            keep_below = true;
        }
        (EntryKind::Directory { opaque }, Some((EntryKind::Whiteout, _))) => *opaque = true,
        _ => {}
    }
    if before.is_some_and(|(kind, _)| matches!(kind, EntryKind::Directory { .. })) && !keep_below {
        let mut first = entry.path.clone();
        first.push(b'/');
        let below: Vec<Vec<u8>> = paths
            .range(first.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&first))
            .cloned()
            .collect();
        for path in below {
            paths.remove(&path);
        }
    }
    paths.insert(entry.path.clone(), IndexEntry { entry, offset, implied: false });
}

fn imply_parents(paths: &mut BTreeMap<Vec<u8>, IndexEntry>, path: &[u8]) {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    for end in slashes {
        let parent = &path[..end];
        let opaque = match paths.get(parent).map(|found| &found.entry.kind) {
            Some(EntryKind::Directory { .. }) => continue,
            Some(_) => true,
            None => false,
        };
        paths.insert(parent.to_vec(), implied_directory(parent, opaque));
    }
}

fn implied_directory(path: &[u8], opaque: bool) -> IndexEntry {
    let entry = Entry {
        path: path.to_vec(),
        kind: EntryKind::Directory { opaque },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: BTreeMap::new(),
    };
    IndexEntry { entry, offset: 0, implied: true }
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend((field.len() as u32).to_le_bytes());
    bytes.extend(field);
}

/// The rest of a serialized index.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(IndexError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        self.take(N)?.try_into().map_err(|_| IndexError)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.array().map(u64::from_le_bytes)
    }

    fn field(&mut self) -> Result<Vec<u8>, IndexError> {
        let length = self.u32()? as usize;
        Ok(self.take(length)?.to_vec())
    }

    fn entry(&mut self) -> Result<IndexEntry, IndexError> {
        let path = self.field()?;
        let [implied, kind] = self.array()?;
        let (mode, uid, gid) = (self.u32()?, self.u32()?, self.u32()?);
        let seconds = self.array().map(i64::from_le_bytes)?;
        let mtime = Timestamp { seconds, nanos: self.u32()? };
        let (offset, a, b) = (self.u64()?, self.u64()?, self.u64()?);
        let target = self.field()?;
        let device = |number: u64| u32::try_from(number).map_err(|_| IndexError);
        let kind = match kind {
            0 => EntryKind::File { size: a },
            1 => EntryKind::Directory { opaque: a != 0 },
            2 => EntryKind::Symlink { target },
            3 => EntryKind::Hardlink { target },
            4 => EntryKind::CharDevice { major: device(a)?, minor: device(b)? },
            5 => EntryKind::BlockDevice { major: device(a)?, minor: device(b)? },
            6 => EntryKind::Fifo,
            7 => EntryKind::Socket,
            8 => EntryKind::Whiteout,
            _ => return Err(IndexError),
        };
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.u32()? {
            let name = self.field()?;
            xattrs.insert(name, self.field()?);
        }
        let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs };
        Ok(IndexEntry { entry, offset, implied: implied != 0 })
    }
}

/// Reads a file from a position of its own.
struct Positioned<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
