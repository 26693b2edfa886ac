//! Streaming a directory as a tar: a layer from an overlay's upper directory, or plain files.
//!
//! Names are sorted by their bytes and parents come first, so that equal trees give equal tars. Every
//! file is opened relative to its held directory and never through a link.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::apply::{OWNER_XATTR, OpaqueXattr, Ownership, is_overlay_xattr};
use crate::entry::{Entry, EntryKind, Timestamp};
use crate::tar_write::{TarWriteError, TarWriter};

/// How a directory is streamed.
#[derive(Clone, Copy)]
pub struct TreeOptions<'a> {
    /// The attribute that marks opaque directories.
    pub opaque: OpaqueXattr,
    /// Whether owners are on the files or in their attributes.
    pub ownership: Ownership,
    /// Whether overlayfs's marks are translated; without it a character device 0:0 is a device.
    pub overlay: bool,
    /// Whether directories that other file systems are mounted on are left empty.
    pub one_file_system: bool,
    /// Paths that are left out, with everything below them.
    pub skip: &'a dyn Fn(&[u8]) -> bool,
}

impl Default for TreeOptions<'_> {
    fn default() -> Self {
        TreeOptions {
            opaque: OpaqueXattr::Trusted,
            ownership: Ownership::Keep,
            overlay: true,
            one_file_system: false,
            skip: &|_| false,
        }
    }
}

/// What was streamed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeStats {
    /// Entries.
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
}

/// Why a directory could not be streamed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tar could not be written, or a file changed meanwhile.
    #[error(transparent)]
    Write(#[from] TarWriteError),
    /// An entry could not be read.
    #[error("`{path}`: {action}: {source}")]
    Read {
        /// Which entry.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Streams everything below `root` to a tar, without an entry for the root itself.
///
/// # Errors
/// When an entry cannot be read or the tar not be written.
pub fn write_tree<W: Write>(
    root: &Path,
    tar: &mut TarWriter<W>,
    options: &TreeOptions<'_>,
) -> Result<TreeStats, TreeError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(root, flags, Mode::empty()).map_err(|error| failed(b"", "opening", error))?;
    let device = rustix::fs::fstat(&directory).map_err(|error| failed(b"", "looking at it", error))?.st_dev;
    let mut walk = Walk { tar, options, device, links: HashMap::new(), stats: TreeStats::default() };
    walk.directory(directory.as_fd(), b"")?;
    Ok(walk.stats)
}

struct Walk<'a, W: Write> {
    tar: &'a mut TarWriter<W>,
    options: &'a TreeOptions<'a>,
    device: u64,
    /// The first name of each file that has several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    stats: TreeStats,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), TreeError> {
        for name in names(directory).map_err(|error| failed(path, "listing", error))? {
            let mut child = Vec::with_capacity(path.len() + 1 + name.len());
            child.extend_from_slice(path);
            if !path.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(&name);
            if !(self.options.skip)(&child) {
                self.entry(directory, &name, child)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<(), TreeError> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(&path, "looking at it", error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.subdirectory(parent, name, path, &stat);
        }
        if kind == FileType::RegularFile {
            return self.file(parent, name, path);
        }
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let mut entry = entry(path, &stat);
        entry.kind = match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|error| failed(&entry.path, "reading the link", error))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice if self.options.overlay && device == (0, 0) => EntryKind::Whiteout,
            FileType::CharacterDevice => EntryKind::CharDevice { major: device.0, minor: device.1 },
            FileType::BlockDevice => EntryKind::BlockDevice { major: device.0, minor: device.1 },
            FileType::Fifo => EntryKind::Fifo,
            // A socket is of no use once its process is gone.
            _ => return Ok(()),
        };
        if entry.kind == EntryKind::Whiteout {
            // What it looks like on disk depends on who made it.
            entry = Entry { mode: 0, uid: 0, gid: 0, mtime: Timestamp::default(), ..entry };
        }
        if let Some(kind) = self.linked(&stat, &entry) {
            entry.kind = kind;
        }
        self.append(&entry, &mut io::empty())
    }

    fn subdirectory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        stat: &Stat,
    ) -> Result<(), TreeError> {
        let directory = open(parent, name, OFlags::DIRECTORY).map_err(|error| failed(&path, "opening", error))?;
        let mut entry = entry(path, stat);
        self.attributes(&directory, &mut entry)?;
        let opaque = self.options.overlay && {
            let mut value = [0; 8];
            let found = rustix::fs::fgetxattr(&directory, self.options.opaque.opaque_name(), &mut value[..]);
            found.is_ok_and(|length| &value[..length] == b"y")
        };
        entry.kind = EntryKind::Directory { opaque };
        self.append(&entry, &mut io::empty())?;
        if self.options.one_file_system && stat.st_dev != self.device {
            return Ok(());
        }
        self.directory(directory.as_fd(), &entry.path)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<(), TreeError> {
        // Not blocking: the name may have become a pipe since it was looked at.
        let file = open(parent, name, OFlags::NONBLOCK).map_err(|error| failed(&path, "opening", error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(&path, "looking at it", error))?;
        let mut entry = entry(path, &stat);
        self.attributes(&file, &mut entry)?;
        let size = stat.st_size as u64;
        entry.kind = EntryKind::File { size };
        if let Some(kind) = self.linked(&stat, &entry) {
            entry.kind = kind;
            return self.append(&entry, &mut io::empty());
        }
        self.stats.bytes += size;
        self.append(&entry, &mut std::fs::File::from(file))
    }

    /// Returns the link to an earlier name of the same file, if there is one.
    fn linked(&mut self, stat: &Stat, entry: &Entry) -> Option<EntryKind> {
        if stat.st_nlink < 2 || entry.kind == EntryKind::Whiteout {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        match self.links.get(&key) {
            Some(first) => Some(EntryKind::Hardlink { target: first.clone() }),
            None => {
                self.links.insert(key, entry.path.clone());
                None
            }
        }
    }

    /// Fills in the extended attributes that belong to the layer, and a recorded owner.
    fn attributes(&self, file: &OwnedFd, entry: &mut Entry) -> Result<(), TreeError> {
        let found = xattrs(file).map_err(|error| failed(&entry.path, "reading its attributes", error))?;
        if self.options.ownership == Ownership::Record
            && let Some(owner) = found.get(OWNER_XATTR.as_bytes()).and_then(|value| parse_owner(value))
        {
            (entry.uid, entry.gid) = owner;
        }
        entry.xattrs = found.into_iter().filter(|(name, _)| belongs_to_layer(name)).collect();
        Ok(())
    }

    fn append(&mut self, entry: &Entry, data: &mut dyn io::Read) -> Result<(), TreeError> {
        self.stats.entries += 1;
        Ok(self.tar.append(entry, data)?)
    }
}

/// Returns whether an extended attribute is part of a layer (D-312): of `security.*` capabilities
/// alone, nothing of the system's, of overlayfs's, or of castoff's.
pub fn belongs_to_layer(name: &[u8]) -> bool {
    name == b"security.capability"
        || !(name.starts_with(b"security.") || name.starts_with(b"system.") || is_overlay_xattr(name))
}

/// Parses a recorded owner.
pub(crate) fn parse_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Returns all extended attributes of an open file; none where the file system has none.
pub(crate) fn xattrs(file: impl AsFd) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut list = [0; 4096];
    let mut large = Vec::new();
    let listed: &[u8] = match rustix::fs::flistxattr(&file, &mut list[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Ok(length) => &list[..length],
        Err(Errno::RANGE) => {
            large.resize(64 << 10, 0);
            let length = rustix::fs::flistxattr(&file, &mut large[..])?;
            &large[..length]
        }
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    let mut value = vec![0; 64 << 10];
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::fgetxattr(&file, name, &mut value[..]) {
            Ok(length) => {
                found.insert(name.to_vec(), value[..length].to_vec());
            }
            // Gone since it was listed, or not for this process to read.
            Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for found in rustix::fs::Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn open(parent: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn entry(path: Vec<u8>, stat: &Stat) -> Entry {
    Entry {
        path,
        kind: EntryKind::Fifo,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
        xattrs: BTreeMap::new(),
    }
}

fn failed(path: &[u8], action: &'static str, error: Errno) -> TreeError {
    let path = if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() };
    TreeError::Read { path, action, source: error.into() }
}
