//! What a layer says about one path.
//!
//! An [`Entry`] is the common tongue of this crate: tars are read into entries and written from them,
//! directories are walked into them and made from them, and a view shows them.

use std::collections::BTreeMap;

/// One path of a file system tree and its metadata, as a layer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, without leading or trailing `/`; empty for the root directory itself. Not always UTF-8.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits including setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes by full name (`user.x`, `security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The kinds of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes of data.
        size: u64,
    },
    /// A directory.
    Directory {
        /// Whether it hides what lower layers have in the directory of the same path.
        opaque: bool,
    },
    /// A symbolic link.
    Symlink {
        /// The text of the link, any bytes but NUL.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    Hardlink {
        /// The path of that entry in the same layer, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket; no tar can hold one.
    Socket,
    /// The path does not exist, whatever lower layers have there.
    Whiteout,
}

/// A point in time, counted from 1970-01-01T00:00:00Z; negative seconds are before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// Returns the nanoseconds since 1970, clamped to what 64 bits hold.
    pub fn nanoseconds(&self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }
}

impl Entry {
    /// Returns whether it is a directory that hides those below it.
    pub fn is_opaque(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { opaque: true })
    }

    /// Returns whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { .. })
    }

    /// Returns the last component of the path.
    pub fn name(&self) -> &[u8] {
        split(&self.path).1
    }
}

/// Splits a path into its parent (empty for the root) and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Joins a directory path and a name; an empty name gives the prefix of what is in the directory.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}
