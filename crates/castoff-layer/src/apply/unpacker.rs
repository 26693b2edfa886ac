//! Making one entry after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

use crate::apply::{Applied, ApplyError, ApplyOptions, Ownership};
use crate::entry::{Entry, EntryKind, Timestamp, join, split};
use crate::rootfs::{Rootfs, open_below, open_child, remove};
use crate::tar_read::TarReadError;
use crate::xattr::{OWNER_XATTR, belongs_to_layer};

/// As many directories are held open on the way to the last entry, so that going up costs nothing.
const HELD: usize = 24;
const BUFFER: usize = 256 * 1024;

/// A directory and its path.
type Held = (Vec<u8>, OwnedFd);

pub(super) struct Unpacker<'a> {
    root: &'a Rootfs,
    options: &'a ApplyOptions,
    /// Each is within the one before.
    held: Vec<Held>,
    /// Whether a directory or link was removed that may have been on the way to one of these.
    stale: bool,
    /// Times of directories are set last, because making their entries changes them.
    directory_times: BTreeMap<Vec<u8>, Timestamp>,
    /// What came from this tar; only known where whiteouts remove the rest.
    unpacked: BTreeSet<Vec<u8>>,
    applied: Applied,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(root: &'a Rootfs, options: &'a ApplyOptions) -> Unpacker<'a> {
        Unpacker {
            root,
            options,
            held: Vec::new(),
            stale: false,
            directory_times: BTreeMap::new(),
            unpacked: BTreeSet::new(),
            applied: Applied::default(),
            buffer: vec![0; BUFFER],
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), ApplyError> {
        self.applied.entries += 1;
        if entry.path.is_empty() {
            return self.root_entry(entry);
        }
        let (parent, name) = split(&entry.path);
        let parent = self.enter(parent).map_err(|error| failed(entry, "opening its directory", error))?;
        let inner = self.make(parent.1.as_fd(), name, entry, data)?;
        if std::mem::take(&mut self.stale) {
            self.held.clear();
        } else {
            self.hold(parent);
            if let Some(inner) = inner {
                self.hold((entry.path.clone(), inner));
            }
        }
        if !self.options.overlay && entry.kind != EntryKind::Whiteout {
            self.unpacked.insert(entry.path.clone());
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Applied, ApplyError> {
        for (path, mtime) in std::mem::take(&mut self.directory_times) {
            let (parent, name) = split(&path);
            let set = match self.enter_existing(parent) {
                Ok(parent) => {
                    let name = if name.is_empty() { b"." } else { name };
                    let set =
                        rustix::fs::utimensat(&parent.1, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW);
                    self.hold(parent);
                    set
                }
                Err(error) => Err(error),
            };
            match set {
                // A later entry replaced it, through another path.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    let action = "setting the time";
                    return Err(ApplyError::Entry { path, action, source: error.into() });
                }
            }
        }
        Ok(self.applied)
    }

    /// Opens the directory at `path`, making what is missing on the way.
    fn enter(&mut self, path: &[u8]) -> Result<Held, Errno> {
        match self.enter_existing(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
        let overlay = self.options.overlay;
        let opaque = self.options.opaque.opaque_name();
        let (implied, times) = (&mut self.applied.implied, &mut self.directory_times);
        let directory = self.root.directory_or_make(path, &mut |parent, name, path| {
            let mode = Mode::from_raw_mode(0o755);
            let whiteout = match rustix::fs::mkdirat(parent, name, mode) {
                // Something in it came after it was removed from lower layers.
                Err(Errno::EXIST) if overlay && is_whiteout(&stat(parent, name)?) => {
                    remove(parent, name)?;
                    rustix::fs::mkdirat(parent, name, mode)?;
                    true
                }
                Err(Errno::EXIST) => return Err(Errno::NOTDIR),
                other => other.map(|()| false)?,
            };
            let directory = open_child(parent, name)?;
            // A setgid parent gives its group away.
            let group = rustix::process::getegid();
            if rustix::fs::fstat(&directory)?.st_gid != group.as_raw() {
                rustix::fs::fchown(&directory, None, Some(group))?;
            }
            rustix::fs::fchmod(&directory, mode)?;
            if whiteout {
                rustix::fs::fsetxattr(&directory, opaque, b"y", XattrFlags::empty())?;
            }
            implied.push(path.to_vec());
            times.insert(path.to_vec(), Timestamp::default());
            Ok(())
        })?;
        Ok((path.to_vec(), directory))
    }

    /// Takes the directory at `path` out of those that are held, or opens it.
    fn enter_existing(&mut self, path: &[u8]) -> Result<Held, Errno> {
        while let Some((held, _)) = self.held.last() {
            if is_within(path, held) {
                break;
            }
            match self.held.pop() {
                Some(last) if last.0 == path => return Ok(last),
                _ => {}
            }
        }
        let below = self.held.last().map(|(held, directory)| {
            let rest = if held.is_empty() { path } else { &path[held.len() + 1..] };
            open_below(directory.as_fd(), rest)
        });
        let directory = match below {
            Some(Ok(directory)) => directory,
            // Nothing held, or a link on the way, which is followed from the root.
            Some(Err(_)) | None => self.root.directory(path)?,
        };
        Ok((path.to_vec(), directory))
    }

    fn hold(&mut self, directory: Held) {
        if self.held.len() >= HELD {
            self.held.remove(0);
        }
        self.held.push(directory);
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let EntryKind::Directory { opaque } = entry.kind else { return Ok(()) };
        let root = self.root.directory(b"").map_err(|error| failed(entry, "opening", error))?;
        if self.options.overlay {
            self.metadata(root.as_fd(), entry)?;
            self.directory_times.insert(Vec::new(), entry.mtime);
        }
        if opaque { self.opaque(root.as_fd(), entry) } else { Ok(()) }
    }

    /// Makes an entry in its directory. Returns the entry itself if it is a directory.
    fn make(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<Option<OwnedFd>, ApplyError> {
        match &entry.kind {
            EntryKind::File { .. } => self.file(parent, name, entry, data)?,
            EntryKind::Directory { opaque } => return self.directory(parent, name, entry, *opaque).map(Some),
            EntryKind::Symlink { target } => {
                self.replacing(parent, name, entry, "making the link", || {
                    rustix::fs::symlinkat(target.as_slice(), parent, name)
                })?;
                self.metadata_at(parent, name, entry)?;
                self.applied.skipped_xattrs += entry.xattrs.len() as u64;
            }
            EntryKind::Hardlink { target } => self.link(parent, name, entry, target)?,
            EntryKind::CharDevice { major, minor } => {
                self.node(parent, name, entry, FileType::CharacterDevice, makedev(*major, *minor))?;
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(parent, name, entry, FileType::BlockDevice, makedev(*major, *minor))?;
            }
            EntryKind::Fifo => self.node(parent, name, entry, FileType::Fifo, 0)?,
            EntryKind::Socket => {}
            EntryKind::Whiteout if self.options.overlay => self.whiteout(parent, name, entry)?,
            EntryKind::Whiteout => {
                self.delete(parent, name, &entry.path)
                    .map_err(|error| failed(entry, "removing what it deletes", error))?;
            }
        }
        Ok(None)
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), ApplyError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(self.replacing(parent, name, entry, "creating it", || {
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        })?);
        loop {
            let count = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The archive's fault and not the file's.
                Err(error) => return Err(TarReadError::Io(error).into()),
            };
            file.write_all(&self.buffer[..count]).map_err(|error| failed(entry, "writing", error))?;
            self.applied.bytes += count as u64;
        }
        self.metadata(file.as_fd(), entry)?;
        rustix::fs::futimens(&file, &times(entry.mtime))
            .map_err(|error| failed(entry, "setting the time", error))
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        opaque: bool,
    ) -> Result<OwnedFd, ApplyError> {
        let made = |error| failed(entry, "making the directory", error);
        let mut hides = opaque;
        let mode = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(parent, name, mode) {
            Err(Errno::EXIST) => {
                let there = stat(parent, name).map_err(made)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    hides |= self.options.overlay && is_whiteout(&there);
                    self.clear(parent, name, &entry.path, &there).map_err(made)?;
                    rustix::fs::mkdirat(parent, name, mode).map_err(made)?;
                }
            }
            other => other.map_err(made)?,
        }
        let directory = open_child(parent, name).map_err(made)?;
        self.metadata(directory.as_fd(), entry)?;
        self.directory_times.insert(entry.path.clone(), entry.mtime);
        if hides {
            self.opaque(directory.as_fd(), entry)?;
        }
        Ok(directory)
    }

    /// Hides, or removes, what lower layers have in a directory.
    fn opaque(&mut self, directory: BorrowedFd<'_>, entry: &Entry) -> Result<(), ApplyError> {
        let action = "making the directory opaque";
        if self.options.overlay {
            let name = self.options.opaque.opaque_name();
            return rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty())
                .map_err(|error| failed(entry, action, error));
        }
        self.delete_below(directory, &entry.path).map_err(|error| failed(entry, action, error))
    }

    fn whiteout(&mut self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        let action = "making the whiteout";
        // Linux 5.8 lets a user namespace make this one device, overlayfs's whiteout.
        match rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|error| failed(entry, action, error)),
        }
        let there = stat(parent, name).map_err(|error| failed(entry, action, error))?;
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            let directory = open_child(parent, name).map_err(|error| failed(entry, action, error))?;
            return self.opaque(directory.as_fd(), entry);
        }
        Ok(())
    }

    fn link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), ApplyError> {
        let refused = || ApplyError::Link { path: entry.path.clone(), target: target.to_vec() };
        let (directory, file) = split(target);
        let opened;
        let directory = if directory == split(&entry.path).0 {
            parent
        } else if let Some((_, held)) = self.held.iter().find(|(held, _)| held == directory) {
            opened =
                held.try_clone().map_err(|error| failed(entry, "opening its target's directory", error))?;
            opened.as_fd()
        } else {
            opened = self.root.directory(directory).map_err(|error| match error {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => refused(),
                error => failed(entry, "opening its target's directory", error),
            })?;
            opened.as_fd()
        };
        let source = match stat(directory, file) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Err(refused()),
            Err(error) => return Err(failed(entry, "looking at its target", error)),
        };
        if FileType::from_raw_mode(source.st_mode) == FileType::Directory
            || (self.options.overlay && is_whiteout(&source))
        {
            return Err(refused());
        }
        // Removing what is in the way must not remove the target.
        if let Ok(there) = stat(parent, name)
            && (there.st_dev, there.st_ino) == (source.st_dev, source.st_ino)
        {
            return Ok(());
        }
        self.replacing(parent, name, entry, "linking", || {
            rustix::fs::linkat(directory, file, parent, name, AtFlags::empty())
        })
    }

    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        kind: FileType,
        device: u64,
    ) -> Result<(), ApplyError> {
        let mode = Mode::from_raw_mode(0o600);
        let made = self.replacing_errno(parent, name, &entry.path, || {
            rustix::fs::mknodat(parent, name, kind, mode, device)
        });
        match made {
            Ok(()) => {}
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.applied.skipped_devices.push(entry.path.clone());
                return Ok(());
            }
            Err(error) => return Err(failed(entry, "making the node", error)),
        }
        self.metadata_at(parent, name, entry)?;
        // It was made just now and is no link, so there is nothing to follow.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|error| failed(entry, "setting the mode", error))?;
        self.applied.skipped_xattrs += entry.xattrs.len() as u64;
        Ok(())
    }

    /// Sets owner, mode and attributes. The order matters: a change of owner clears setuid bits and
    /// capabilities.
    fn metadata(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> Result<(), ApplyError> {
        match self.options.ownership {
            Ownership::Keep => {
                rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
                    .map_err(|error| failed(entry, "setting the owner", error))?;
            }
            Ownership::Record if (entry.uid, entry.gid) != (0, 0) => {
                let value = format!("{}:{}", entry.uid, entry.gid);
                self.xattr(file, entry, OWNER_XATTR.as_bytes(), value.as_bytes())?;
            }
            Ownership::Record => {}
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .map_err(|error| failed(entry, "setting the mode", error))?;
        for (name, value) in &entry.xattrs {
            if belongs_to_layer(name) {
                self.xattr(file, entry, name, value)?;
            } else {
                self.applied.skipped_xattrs += 1;
            }
        }
        Ok(())
    }

    fn xattr(
        &mut self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), ApplyError> {
        match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            // Attributes are best effort (D-208); ext4 says ENOSPC when one does not fit into its block.
            Err(
                Errno::PERM
                | Errno::ACCESS
                | Errno::NOTSUP
                | Errno::INVAL
                | Errno::RANGE
                | Errno::TOOBIG
                | Errno::NOSPC,
            ) => self.applied.skipped_xattrs += 1,
            Err(error) => return Err(failed(entry, "setting an extended attribute", error)),
        }
        Ok(())
    }

    /// Sets owner and time of what cannot be opened.
    fn metadata_at(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        if self.options.ownership == Ownership::Keep {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(entry, "setting the owner", error))?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(entry, "setting the time", error))
    }

    fn replacing<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        action: &'static str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, ApplyError> {
        self.replacing_errno(parent, name, &entry.path, make).map_err(|error| failed(entry, action, error))
    }

    /// Makes something; if a thing is in its way, removes that and tries once more.
    fn replacing_errno<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match make() {
            Err(Errno::EXIST) => {
                let there = stat(parent, name)?;
                self.clear(parent, name, path, &there)?;
                make()
            }
            other => other,
        }
    }

    /// Removes what is in the way of an entry.
    fn clear(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8], there: &Stat) -> Result<(), Errno> {
        remove(parent, name)?;
        let kind = FileType::from_raw_mode(there.st_mode);
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            self.forget(path);
        }
        Ok(())
    }

    /// Forgets what is known about a path and all below it, which exist no more.
    fn forget(&mut self, path: &[u8]) {
        self.stale = true;
        let below = join(path, b"");
        self.directory_times.remove(path);
        let gone: Vec<Vec<u8>> = self
            .directory_times
            .range(below.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&below))
            .cloned()
            .collect();
        for path in gone {
            self.directory_times.remove(&path);
        }
    }

    /// Removes what an earlier layer has at a path and leaves what this tar brought.
    fn delete(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Errno> {
        if self.brought(path) {
            let there = stat(parent, name)?;
            if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                let directory = open_child(parent, name)?;
                self.delete_below(directory.as_fd(), path)?;
            }
            return Ok(());
        }
        remove(parent, name)?;
        self.forget(path);
        Ok(())
    }

    fn delete_below(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        let mut names = Vec::new();
        for found in Dir::read_from(directory)? {
            let found = found?;
            let name = found.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.iter().try_for_each(|name| self.delete(directory, name, &join(path, name)))
    }

    /// Returns whether this tar has had something at a path or below it.
    fn brought(&self, path: &[u8]) -> bool {
        let below = join(path, b"");
        self.unpacked.contains(path)
            || self.unpacked.range(below.clone()..).next().is_some_and(|first| first.starts_with(&below))
    }
}

/// Returns whether a path is below a directory, and not that directory itself.
fn is_within(path: &[u8], directory: &[u8]) -> bool {
    (directory.is_empty() && !path.is_empty())
        || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Overlayfs's whiteout is the character device 0:0.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) };
    Timestamps { last_access: time, last_modification: time }
}

fn failed(entry: &Entry, action: &'static str, error: impl Into<io::Error>) -> ApplyError {
    ApplyError::Entry { path: entry.path.clone(), action, source: error.into() }
}
