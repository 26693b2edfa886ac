//! Unpacking a tar into a directory: as a lower directory of an overlay, or as plain files.
//!
//! Every name is resolved by the kernel inside the root, so an entry that goes through a link of an
//! earlier one stays inside. What stands in the way of an entry is removed, never followed.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::entry::{Entry, EntryKind, Timestamp};
use crate::rootfs::Rootfs;
use crate::tar_read::{ReadOptions, TarReadError, read_tar};

/// The attribute that remembers an owner which the file system cannot hold.
pub const OWNER_XATTR: &str = "user.castoff.owner";

/// How a tar is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyOptions {
    /// The attribute that marks opaque directories.
    pub opaque: OpaqueXattr,
    /// What becomes of owners.
    pub ownership: Ownership,
    /// Whether whiteouts become overlayfs's marks; without it they remove what is there.
    pub overlay: bool,
    /// Bounds and whiteout names.
    pub read: ReadOptions,
}

/// The attribute in which overlayfs keeps its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueXattr {
    /// `trusted.overlay.*`: mounts made by root.
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, made in a user namespace (Linux 5.11).
    User,
}

/// What becomes of the owners of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Files are owned by whom the layer says.
    Keep,
    /// Only one id is mapped: the owner is remembered in [`OWNER_XATTR`] where attributes are possible.
    Record,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries.
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// Device nodes that this process may not make.
    pub skipped_devices: Vec<Vec<u8>>,
    /// Extended attributes that the file system or the process's rights do not allow.
    pub skipped_xattrs: u64,
}

/// Why a tar could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The archive was refused or could not be read.
    #[error(transparent)]
    Tar(TarReadError),
    /// An entry could not be made.
    #[error("entry `{path}`: {action}: {source}")]
    Entry {
        /// Which entry.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The root could not be opened.
    #[error("opening the directory: {0}")]
    Root(#[source] io::Error),
}

impl OpaqueXattr {
    /// Returns the full name of the attribute that marks an opaque directory.
    pub fn opaque_name(self) -> &'static str {
        match self {
            OpaqueXattr::Trusted => "trusted.overlay.opaque",
            OpaqueXattr::User => "user.overlay.opaque",
        }
    }
}

impl Default for ApplyOptions {
    fn default() -> ApplyOptions {
        ApplyOptions {
            opaque: OpaqueXattr::Trusted,
            ownership: Ownership::Keep,
            overlay: true,
            read: ReadOptions::default(),
        }
    }
}

/// Unpacks an uncompressed tar into `root`.
///
/// # Errors
/// When the archive is refused, or an entry cannot be made. What was unpacked before stays.
pub fn apply(tar: &mut dyn Read, root: &Path, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let rootfs = Rootfs::open(root).map_err(|error| ApplyError::Root(error.into()))?;
    let mut unpacker = Unpacker {
        root: rootfs,
        options: *options,
        parent: None,
        directory_times: Vec::new(),
        applied: Applied::default(),
        buffer: vec![0; 256 * 1024],
    };
    let mut failure = None;
    let read = read_tar(tar, options.read, &mut |entry, data, _| {
        unpacker.entry(&entry, data).map_err(|error| {
            failure = Some(error);
            TarReadError::Io(io::Error::other("stopped"))
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    read.map_err(ApplyError::Tar)?;
    unpacker.finish()
}

struct Unpacker {
    root: Rootfs,
    options: ApplyOptions,
    /// The directory of the last entry: most entries share it with the one before.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times of directories are set last, because making their entries changes them.
    directory_times: Vec<(Vec<u8>, Timestamp)>,
    applied: Applied,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), ApplyError> {
        self.applied.entries += 1;
        if entry.path.is_empty() {
            return self.root_entry(entry);
        }
        let (parent, name) = split(&entry.path);
        self.enter(parent).map_err(|error| failed(entry, "opening its directory", error))?;
        let directory = self.parent.take().expect("entered above");
        let made = self.make(directory.1.as_fd(), name, entry, data);
        self.parent = Some(directory);
        if !matches!(entry.kind, EntryKind::File { .. } | EntryKind::Hardlink { .. }) {
            // It may have replaced a directory on the way to the remembered one.
            let prefix = [entry.path.as_slice(), b"/"].concat();
            let replaced = |path: &[u8]| path == entry.path || path.starts_with(&prefix);
            if self.parent.as_ref().is_some_and(|(path, _)| replaced(path)) {
                self.parent = None;
            }
        }
        made
    }

    /// Remembers the directory at `path`, making it and those above it when they are missing.
    fn enter(&mut self, path: &[u8]) -> Result<(), Errno> {
        if self.parent.as_ref().is_some_and(|(known, _)| known == path) {
            return Ok(());
        }
        let directory = match self.root.directory(path) {
            Err(Errno::NOENT) => {
                self.make_missing(path)?;
                self.root.directory(path)?
            }
            other => other?,
        };
        self.parent = Some((path.to_vec(), directory));
        Ok(())
    }

    fn make_missing(&self, path: &[u8]) -> Result<(), Errno> {
        let ends = (0..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
        for end in ends {
            let (parent, name) = split(&path[..end]);
            let directory = self.root.directory(parent)?;
            match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => rustix::fs::chmodat(&directory, name, Mode::from_raw_mode(0o755), AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        if let EntryKind::Directory { opaque } = entry.kind {
            let root = self.root.directory(b"").map_err(|error| failed(entry, "opening", error))?;
            if opaque {
                return self.opaque(&root, entry);
            }
            self.attributes(&root, entry)?;
            self.directory_times.push((Vec::new(), entry.mtime));
        }
        Ok(())
    }

    fn make(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), ApplyError> {
        match &entry.kind {
            EntryKind::File { .. } => self.file(parent, name, entry, data),
            EntryKind::Directory { opaque } => self.directory(parent, name, entry, *opaque),
            EntryKind::Symlink { target } => {
                replacing(parent, name, || rustix::fs::symlinkat(target.as_slice(), parent, name))
                    .map_err(|error| failed(entry, "making the link", error))?;
                self.attributes_at(parent, name, entry)
            }
            EntryKind::Hardlink { target } => {
                let (directory, file) = split(target);
                let directory = self.root.directory(directory).map_err(|error| failed(entry, "finding the file it links to", error))?;
                replacing(parent, name, || {
                    rustix::fs::linkat(&directory, file, parent, name, AtFlags::empty())
                })
                .map_err(|error| failed(entry, "linking", error))
            }
            EntryKind::CharDevice { major, minor } => {
                self.node(parent, name, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(parent, name, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            EntryKind::Fifo => self.node(parent, name, entry, FileType::Fifo, 0),
            EntryKind::Socket => Ok(()),
            EntryKind::Whiteout if self.options.overlay => {
                // Linux 5.8 lets a user namespace make this one device, overlayfs's whiteout.
                replacing(parent, name, || {
                    rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                })
                .map_err(|error| failed(entry, "making the whiteout", error))
            }
            EntryKind::Whiteout => {
                remove(parent, name).map_err(|error| failed(entry, "removing what it deletes", error))
            }
        }
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), ApplyError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let file = replacing(parent, name, create).map_err(|error| failed(entry, "creating", error))?;
        let mut file = std::fs::File::from(file);
        loop {
            let count = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(failure(entry, "reading its data", source)),
            };
            io::Write::write_all(&mut file, &self.buffer[..count])
                .map_err(|source| failure(entry, "writing", source))?;
            self.applied.bytes += count as u64;
        }
        self.attributes(&OwnedFd::from(file), entry)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        opaque: bool,
    ) -> Result<(), ApplyError> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        let made = match make() {
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
                let is_directory = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
                if is_directory { Ok(false) } else { replacing(parent, name, make).map(|()| true) }
            }
            other => other.map(|()| true),
        };
        let made = made.map_err(|error| failed(entry, "making the directory", error))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|error| failed(entry, "opening", error))?;
        if opaque {
            if made {
                // The mark came without the directory's own entry.
                let plain = Entry { mode: 0o755, ..entry.clone() };
                self.attributes(&directory, &plain)?;
            }
            return self.opaque(&directory, entry);
        }
        self.attributes(&directory, entry)?;
        self.directory_times.push((entry.path.clone(), entry.mtime));
        Ok(())
    }

    /// Marks a directory opaque, or empties it when plain files are wanted.
    fn opaque(&self, directory: &OwnedFd, entry: &Entry) -> Result<(), ApplyError> {
        if self.options.overlay {
            let name = self.options.opaque.opaque_name();
            return rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty())
                .map_err(|error| failed(entry, "marking it opaque", error));
        }
        empty(directory.as_fd()).map_err(|error| failed(entry, "emptying", error))
    }

    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        kind: FileType,
        device: u64,
    ) -> Result<(), ApplyError> {
        let make = || rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device);
        match replacing(parent, name, make) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(entry.mode);
                self.attributes_at(parent, name, entry)?;
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
                    .map_err(|error| failed(entry, "setting the mode", error))
            }
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.applied.skipped_devices.push(entry.path.clone());
                Ok(())
            }
            Err(error) => Err(failed(entry, "making the node", error)),
        }
    }

    /// Sets owner, mode, attributes and, except for directories, times. The order matters: a change of
    /// owner clears setuid bits and capabilities.
    fn attributes(&mut self, file: &OwnedFd, entry: &Entry) -> Result<(), ApplyError> {
        let owner = (entry.uid, entry.gid);
        match self.options.ownership {
            Ownership::Keep => {
                rustix::fs::fchown(file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
                    .map_err(|error| failed(entry, "setting the owner", error))?;
            }
            Ownership::Record if owner != (0, 0) => {
                let value = format!("{}:{}", owner.0, owner.1);
                if rustix::fs::fsetxattr(file, OWNER_XATTR, value.as_bytes(), XattrFlags::empty()).is_err() {
                    self.applied.skipped_xattrs += 1;
                }
            }
            Ownership::Record => {}
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .map_err(|error| failed(entry, "setting the mode", error))?;
        for (name, value) in &entry.xattrs {
            if is_overlay_xattr(name)
                || rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()).is_err()
            {
                self.applied.skipped_xattrs += 1;
            }
        }
        if !matches!(entry.kind, EntryKind::Directory { .. }) {
            rustix::fs::futimens(file, &times(entry.mtime))
                .map_err(|error| failed(entry, "setting the time", error))?;
        }
        Ok(())
    }

    /// Sets owner and times of what cannot be opened.
    fn attributes_at(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        if self.options.ownership == Ownership::Keep {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(entry, "setting the owner", error))?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(entry, "setting the time", error))
    }

    fn finish(self) -> Result<Applied, ApplyError> {
        for (path, mtime) in self.directory_times.iter().rev() {
            // A directory that a later entry replaced has no time to set.
            if let Ok(directory) = self.root.directory(path) {
                let _kept_as_it_is = rustix::fs::futimens(&directory, &times(*mtime));
            }
        }
        Ok(self.applied)
    }
}

/// Returns whether an attribute belongs to overlayfs or castoff and never to a layer.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") || name == OWNER_XATTR.as_bytes()
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes an entry; when something stands in its way, removes that and tries once more.
fn replacing<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            remove(parent, name)?;
            make()
        }
        other => other,
    }
}

/// Removes an entry and all that is in it, without following links. Nothing there is fine.
fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    empty(directory.as_fd())?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn empty(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = Vec::new();
    for found in rustix::fs::Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.iter().try_for_each(|name| remove(directory, name))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

fn failed(entry: &Entry, action: &'static str, error: Errno) -> ApplyError {
    failure(entry, action, error.into())
}

fn failure(entry: &Entry, action: &'static str, source: io::Error) -> ApplyError {
    ApplyError::Entry { path: String::from_utf8_lossy(&entry.path).into_owned(), action, source }
}
