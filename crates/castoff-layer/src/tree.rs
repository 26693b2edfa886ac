//! Streaming a directory as a tar: a layer from an overlay's upper directory, or plain files.
//!
//! Names are sorted by their bytes within each directory and parents come first, so that equal trees give
//! equal tars (B-111, B-173). Every file is opened relative to its held directory and never through a
//! link.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::apply::{OpaqueXattr, Ownership};
use crate::entry::{Entry, EntryKind, Timestamp, join};
use crate::rootfs::open_child;
use crate::tar_read::whiteout;
use crate::tar_write::{TarWriteError, TarWriter};
use crate::xattr::{OWNER_XATTR, XattrReader, belongs_to_layer, parse_owner};

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
    /// Sockets, which mean nothing without their process and are left out.
    pub sockets: u64,
}

/// Why a directory could not be streamed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tar could not be written, or a file changed meanwhile.
    #[error(transparent)]
    Write(#[from] TarWriteError),
    /// An entry could not be read.
    #[error("`{}`: {action} failed", path.escape_ascii())]
    Read {
        /// Which entry.
        path: Vec<u8>,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file or directory whose content overlayfs keeps elsewhere: the overlay was mounted with
    /// `metacopy` or `redirect_dir`.
    #[error("`{}` is only part of a file or directory in lower layers", path.escape_ascii())]
    Hollow {
        /// Which entry.
        path: Vec<u8>,
    },
}

/// Streams everything below `root` to a tar, without an entry for the root itself.
///
/// # Errors
/// When an entry cannot be read, a file changes while it is read, or the tar cannot be written.
pub fn write_tree<W: Write>(
    root: &Path,
    tar: &mut TarWriter<W>,
    options: &TreeOptions<'_>,
) -> Result<TreeStats, TreeError> {
    read_tree(root, options, &mut |entry, data| Ok(tar.append(entry, data)?))
}

/// Shows everything below `root` to `visit`, without an entry for the root itself, as [`write_tree`] would write
/// it: sorted, parents first, with a reader of each file's data.
///
/// # Errors
/// When an entry cannot be read, and whatever `visit` returns.
pub fn read_tree(
    root: &Path,
    options: &TreeOptions<'_>,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), TreeError>,
) -> Result<TreeStats, TreeError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(root, flags, Mode::empty()).map_err(|error| failed(b"", "opening", error))?;
    let stat = rustix::fs::fstat(&directory).map_err(|error| failed(b"", "looking at it", error))?;
    let mut walk = Walk {
        options,
        visit,
        device: stat.st_dev,
        links: HashMap::new(),
        xattrs: XattrReader::new(),
        no_atime: OFlags::NOATIME,
        stats: TreeStats::default(),
    };
    walk.run(directory, &stat)?;
    Ok(walk.stats)
}

/// As many directories above the current one are held open; those above these are reopened on the way
/// back, so that a deep tree needs no more descriptors than a flat one.
const HELD: usize = 64;

struct Walk<'a> {
    options: &'a TreeOptions<'a>,
    visit: &'a mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), TreeError>,
    device: u64,
    /// The first name of each file that has several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    xattrs: XattrReader,
    /// Reading a layer should not write its times; dropped when the file system or the rights forbid it.
    no_atime: OFlags,
    stats: TreeStats,
}

/// A directory on the way to the current entry.
struct Frame {
    directory: Option<OwnedFd>,
    identity: (u64, u64),
    path: Vec<u8>,
    names: std::vec::IntoIter<(CString, FileType)>,
}

impl Walk<'_> {
    fn run(&mut self, root: OwnedFd, stat: &Stat) -> Result<(), TreeError> {
        let mut frames = vec![frame(root, stat, Vec::new())?];
        while let Some(top) = frames.last_mut() {
            let Some((name, kind)) = top.names.next() else {
                let left = frames.pop();
                if let (Some(left), Some(above)) = (left, frames.last_mut()) {
                    reopen(above, &left)?;
                }
                continue;
            };
            let path = join(&top.path, name.to_bytes());
            if (self.options.skip)(&path) {
                continue;
            }
            let directory =
                top.directory.as_ref().expect("the last frame is open: it was pushed or reopened");
            if let Some(inner) = self.entry(directory.as_fd(), &name, kind, path)? {
                frames.push(inner);
                if let Some(distant) = frames.len().checked_sub(HELD) {
                    frames[distant].directory = None;
                }
            }
        }
        Ok(())
    }

    /// Streams one entry; returns where to go on if it is a directory.
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        path: Vec<u8>,
    ) -> Result<Option<Frame>, TreeError> {
        // File systems may leave the type to stat, and a name may mean something else by now.
        if kind == FileType::RegularFile {
            self.file(parent, name, path)?;
            return Ok(None);
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(&path, "looking at it", error))?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(parent, name, path),
            FileType::RegularFile | FileType::Unknown => {
                self.file(parent, name, path)?;
                return Ok(None);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|error| failed(&path, "reading the link", error))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            // What it looks like on disk depends on who made it, and its links are overlayfs's economy.
            FileType::CharacterDevice if self.options.overlay && stat.st_rdev == 0 => {
                self.write(&whiteout(path), &mut io::empty())?;
                return Ok(None);
            }
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => {
                self.stats.sockets += 1;
                return Ok(None);
            }
        };
        let mut entry = entry(path, kind, &stat);
        if let Some(link) = self.earlier_name(&stat, &entry.path) {
            entry.kind = link;
        }
        self.write(&entry, &mut io::empty())?;
        Ok(None)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: Vec<u8>,
    ) -> Result<Option<Frame>, TreeError> {
        let directory =
            open_child(parent, name.to_bytes()).map_err(|error| failed(&path, "opening", error))?;
        let stat = rustix::fs::fstat(&directory).map_err(|error| failed(&path, "looking at it", error))?;
        let mut entry = entry(path, EntryKind::Directory { opaque: false }, &stat);
        let opaque = self.attributes(directory.as_fd(), &mut entry)?;
        entry.kind = EntryKind::Directory { opaque };
        self.write(&entry, &mut io::empty())?;
        if self.options.one_file_system && stat.st_dev != self.device {
            return Ok(None);
        }
        frame(directory, &stat, entry.path).map(Some)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Result<(), TreeError> {
        let file = self.open(parent, name).map_err(|error| failed(&path, "opening", error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(&path, "looking at it", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let (expected, actual) = (stat.st_size as u64, None);
            return Err(TarWriteError::Size { path, expected, actual }.into());
        }
        let size = stat.st_size as u64;
        let mut entry = entry(path, EntryKind::File { size }, &stat);
        if let Some(link) = self.earlier_name(&stat, &entry.path) {
            entry.kind = link;
            // Headers of links have the metadata of the file, a recorded owner included.
            self.attributes(file.as_fd(), &mut entry)?;
            return self.write(&entry, &mut io::empty());
        }
        self.attributes(file.as_fd(), &mut entry)?;
        self.stats.bytes += size;
        self.write(&entry, &mut File::from(file))
    }

    fn open(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
        // Not blocking: the name may have become a pipe since it was looked at.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags | self.no_atime, Mode::empty()) {
            Err(Errno::PERM) if !self.no_atime.is_empty() => {
                self.no_atime = OFlags::empty();
                rustix::fs::openat(parent, name, flags, Mode::empty())
            }
            other => other,
        }
    }

    /// Returns the link to an earlier name of the same file, if there is one.
    fn earlier_name(&mut self, stat: &Stat, path: &[u8]) -> Option<EntryKind> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key) {
            return Some(EntryKind::Hardlink { target: first.clone() });
        }
        self.links.insert(key, path.to_vec());
        None
    }

    /// Fills in the extended attributes that belong to the layer, and a recorded owner. Returns whether
    /// overlayfs takes it for an opaque directory.
    fn attributes(&mut self, file: BorrowedFd<'_>, entry: &mut Entry) -> Result<bool, TreeError> {
        let mut found =
            self.xattrs.read(file).map_err(|error| failed(&entry.path, "reading its attributes", error))?;
        if self.options.ownership == Ownership::Record
            && let Some(owner) = found.get(OWNER_XATTR.as_bytes()).and_then(|value| parse_owner(value))
        {
            (entry.uid, entry.gid) = owner;
        }
        let mut opaque = false;
        if self.options.overlay {
            let prefix = self.options.opaque.opaque_name().trim_end_matches("opaque");
            let has = |name: &str| found.get([prefix, name].concat().as_bytes());
            if has("metacopy").is_some() || has("redirect").is_some() {
                return Err(TreeError::Hollow { path: entry.path.clone() });
            }
            opaque = has("opaque").is_some_and(|value| value == b"y");
        }
        found.retain(|name, _| belongs_to_layer(name));
        entry.xattrs = found;
        Ok(opaque)
    }

    fn write(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), TreeError> {
        self.stats.entries += 1;
        (self.visit)(entry, data)
    }
}

fn frame(directory: OwnedFd, stat: &Stat, path: Vec<u8>) -> Result<Frame, TreeError> {
    let names = names(directory.as_fd()).map_err(|error| failed(&path, "listing", error))?;
    let identity = (stat.st_dev, stat.st_ino);
    Ok(Frame { directory: Some(directory), identity, path, names: names.into_iter() })
}

/// Opens the directory above one that is done, if it was closed on the way down.
fn reopen(above: &mut Frame, left: &Frame) -> Result<(), TreeError> {
    if above.directory.is_some() {
        return Ok(());
    }
    let Some(below) = &left.directory else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(below, "..", flags, Mode::empty()).and_then(|directory| {
        let stat = rustix::fs::fstat(&directory)?;
        // Moved meanwhile, perhaps to outside of the root.
        if (stat.st_dev, stat.st_ino) == above.identity { Ok(directory) } else { Err(Errno::STALE) }
    });
    above.directory = Some(opened.map_err(|error| failed(&above.path, "opening", error))?);
    Ok(())
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; 32 * 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

fn entry(path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    // The kernel keeps nanoseconds below a second and not negative.
    let mtime = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    let mode = stat.st_mode & 0o7777;
    Entry { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs: Default::default() }
}

fn failed(path: &[u8], action: &'static str, error: Errno) -> TreeError {
    let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
    TreeError::Read { path, action, source: error.into() }
}
