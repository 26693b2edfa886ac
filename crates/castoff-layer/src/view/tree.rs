//! One layer of a view: a directory or a tar with its index.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{FileChanged, FileIdentity};
use crate::apply::{OpaqueXattr, Ownership};
use crate::entry::{Entry, EntryKind, Timestamp, join, split};
use crate::index::TarIndex;
use crate::{OWNER_XATTR, belongs_to_layer};

/// One layer of a [`super::View`].
#[derive(Debug)]
pub enum Tree {
    /// A directory of the machine.
    Directory(DirectoryTree),
    /// A layer tar that is read in place.
    Tar {
        /// The tar.
        file: Arc<File>,
        /// What is where in it.
        index: Arc<TarIndex>,
    },
}

/// A directory held open.
#[derive(Debug)]
pub struct DirectoryTree {
    root: OwnedFd,
    overlay: Option<OpaqueXattr>,
    ownership: Ownership,
    /// The directories used last, newest first: files are looked up and opened one directory after another, by
    /// several threads.
    recent: Mutex<VecDeque<(Vec<u8>, Arc<OwnedFd>)>>,
}

/// How many directories are held open besides the root.
const RECENT: usize = 8;

/// Where in a tree something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// Under its path in a directory.
    Directory,
    /// Somewhere in a tar: the position of the entry and of its data.
    Tar { position: usize, offset: u64 },
    /// Made up.
    Nowhere,
}

/// Something in one tree.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) identity: Option<FileIdentity>,
    /// Equal for hard links of one file in this tree.
    pub(super) links: Option<(u64, u64)>,
    pub(super) location: Location,
    /// A directory of which the tar has only the content.
    pub(super) implied: bool,
}

/// What a layer says of a path, whatever is below the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its metadata, without extended attributes; a whiteout says that the path is gone.
    pub entry: Entry,
    /// Equal for the hard links of one file of the layer.
    pub link: Option<(u64, u64)>,
    /// Whether the layer has only the content of the directory, and not itself.
    pub implied: bool,
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

impl Tree {
    /// Opens a directory. With `overlay`, it is in the on-disk format of overlayfs: character devices
    /// 0:0 are whiteouts. Without, it is a plain directory.
    pub fn directory(path: &Path, overlay: Option<OpaqueXattr>, ownership: Ownership) -> io::Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Tree::Directory(DirectoryTree { root, overlay, ownership, recent: Mutex::default() }))
    }

    /// Takes an uncompressed layer tar and its index.
    pub fn tar(file: File, index: Arc<TarIndex>) -> Tree {
        Tree::Tar { file: Arc::new(file), index }
    }

    /// Visits everything that the layer has, whiteouts included, a directory before what is in it and names in
    /// their order. Opaque directories are marked as such.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn walk(&self, visit: &mut dyn FnMut(TreeEntry)) -> io::Result<()> {
        // Directories still to do; a path is as deep as the layer has it, so no recursion.
        let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(directory) = pending.pop() {
            let mut found = self.list(&directory)?.unwrap_or_default();
            found.sort_unstable_by(|left, right| left.entry.path.cmp(&right.entry.path));
            let mut deeper = Vec::new();
            for Found { mut entry, links, implied, .. } in found {
                if let EntryKind::Directory { opaque } = &mut entry.kind {
                    *opaque = self.is_opaque(&entry.path)?;
                    deeper.push(entry.path.clone());
                }
                visit(TreeEntry { entry, link: links, implied });
            }
            pending.extend(deeper.into_iter().rev());
        }
        Ok(())
    }

    /// Returns whether it has no whiteouts and implies nothing.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Tree::Directory(DirectoryTree { overlay: None, .. }))
    }

    /// Returns what is at a path, if its parents are directories.
    pub(super) fn stat(&self, path: &[u8]) -> io::Result<Option<Found>> {
        match self {
            Tree::Directory(directory) => directory.stat(path),
            Tree::Tar { index, .. } => Ok(index.find(path).map(|position| found_in_tar(index, position))),
        }
    }

    /// Returns what is in a directory, in any order; `None` if it is not one.
    pub(super) fn list(&self, path: &[u8]) -> io::Result<Option<Vec<Found>>> {
        match self {
            Tree::Directory(directory) => directory.list(path),
            Tree::Tar { index, .. } => {
                let positions = index.children(path);
                Ok(Some(positions.into_iter().map(|position| found_in_tar(index, position)).collect()))
            }
        }
    }

    /// Returns whether a directory hides those below it.
    pub(super) fn is_opaque(&self, path: &[u8]) -> io::Result<bool> {
        match self {
            Tree::Directory(directory) => directory.is_opaque(path),
            Tree::Tar { index, .. } => {
                Ok(index.find(path).is_some_and(|position| index.get(position).entry.is_opaque()))
            }
        }
    }

    /// Opens the data of a regular file, and loads its extended attributes if they are wanted.
    pub(super) fn open(
        &self,
        path: &[u8],
        location: &Location,
        size: u64,
        with_xattrs: bool,
    ) -> io::Result<(Xattrs, Box<dyn Read + Send>)> {
        match (self, location) {
            (Tree::Directory(directory), _) => {
                let (file, _) = directory.open_file(path)?;
                let xattrs = if with_xattrs { read_xattrs(file.as_fd())? } else { Xattrs::new() };
                Ok((xattrs, Box::new(file)))
            }
            (Tree::Tar { file, index }, Location::Tar { position, offset }) => {
                let section = Section { file: Arc::clone(file), offset: *offset, left: size };
                Ok((tar_xattrs(index, *position), Box::new(section)))
            }
            (Tree::Tar { .. }, Location::Directory | Location::Nowhere) => {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
        }
    }

    /// Opens a file of a directory that `expected` is of still, and loads its extended attributes. Reading its
    /// end fails when it has changed since.
    pub(super) fn open_unchanged(
        &self,
        path: &[u8],
        expected: FileIdentity,
    ) -> io::Result<Option<(Xattrs, Box<dyn Read + Send>)>> {
        let Tree::Directory(directory) = self else { return Ok(None) };
        let (file, stat) = directory.open_file(path)?;
        if identity(&stat) != expected {
            return Ok(None);
        }
        let xattrs = read_xattrs(file.as_fd())?;
        Ok(Some((xattrs, Box::new(Unchanged { file, identity: expected }))))
    }

    pub(super) fn xattrs(&self, entry: &Entry, location: &Location) -> io::Result<Xattrs> {
        match (self, location) {
            (Tree::Directory(directory), _) => directory.xattrs(entry),
            (Tree::Tar { index, .. }, Location::Tar { position, .. }) => Ok(tar_xattrs(index, *position)),
            (Tree::Tar { .. }, Location::Directory | Location::Nowhere) => Ok(Xattrs::new()),
        }
    }
}

fn tar_xattrs(index: &TarIndex, position: usize) -> Xattrs {
    let xattrs = index.get(position).entry.xattrs.iter();
    xattrs
        .filter(|(name, _)| belongs_to_layer(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn found_in_tar(index: &TarIndex, position: usize) -> Found {
    let here = index.get(position);
    let target = match here.entry.kind {
        EntryKind::Hardlink { .. } => index.link_target(position),
        _ => None,
    };
    let source = target.unwrap_or(position);
    let data = index.get(source);
    let entry = Entry { path: here.entry.path.clone(), ..data.entry.clone() };
    let is_file = matches!(entry.kind, EntryKind::File { .. });
    Found {
        entry,
        identity: None,
        links: (is_file && index.is_linked(source)).then_some((source as u64, 0)),
        location: Location::Tar { position: source, offset: data.offset },
        implied: here.implied,
    }
}

/// Errors that say that a path does not exist, or could not.
fn is_missing(error: Errno) -> bool {
    use Errno as E;
    matches!(error, E::NOENT | E::NOTDIR | E::LOOP | E::NAMETOOLONG | E::INVAL | E::XDEV)
}

impl DirectoryTree {
    fn stat(&self, path: &[u8]) -> io::Result<Option<Found>> {
        if path.is_empty() {
            let stat = rustix::fs::fstat(&self.root)?;
            return self.found(self.root.as_fd(), c".", Vec::new(), &stat).map(Some);
        }
        let (parent, name) = split(path);
        if matches!(name, b"" | b"." | b"..") {
            return Ok(None);
        }
        let Some(directory) = self.open_directory(parent)? else { return Ok(None) };
        let Ok(name) = std::ffi::CString::new(name) else { return Ok(None) };
        match rustix::fs::statat(&*directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.found(directory.as_fd(), &name, path.to_vec(), &stat).map(Some),
            Err(error) if is_missing(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, path: &[u8]) -> io::Result<Option<Vec<Found>>> {
        // A descriptor of its own: the position in a shared one would be shared too.
        let Some(directory) = self.open_fresh(path)? else { return Ok(None) };
        let mut buffer = [const { MaybeUninit::uninit() }; 32 * 1024];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    found.push(self.found(directory.as_fd(), name, join(path, name.to_bytes()), &stat)?);
                }
                // Gone since the directory was read.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.set_recent(path, &Arc::new(directory));
        Ok(Some(found))
    }

    fn is_opaque(&self, path: &[u8]) -> io::Result<bool> {
        let Some(overlay) = self.overlay else { return Ok(false) };
        let Some(directory) = self.open_directory(path)? else { return Ok(false) };
        let name = match overlay {
            OpaqueXattr::Trusted => "trusted.overlay.opaque",
            OpaqueXattr::User => "user.overlay.opaque",
        };
        Ok(get_xattr(directory.as_fd(), name)?.is_some_and(|value| value == b"y"))
    }

    fn open_file(&self, path: &[u8]) -> io::Result<(File, Stat)> {
        let (parent, name) = split(path);
        let missing = || io::Error::from(Errno::NOENT);
        let directory = self.open_directory(parent)?.ok_or_else(missing)?;
        // Without NONBLOCK, what has become a FIFO meanwhile would block for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("no longer a regular file"));
        }
        Ok((File::from(file), stat))
    }

    fn xattrs(&self, entry: &Entry) -> io::Result<Xattrs> {
        // Others can neither have `user.` attributes nor be opened without consequences.
        match entry.kind {
            EntryKind::File { .. } => read_xattrs(self.open_file(&entry.path)?.0.as_fd()),
            EntryKind::Directory { .. } => match self.open_directory(&entry.path)? {
                Some(directory) => read_xattrs(directory.as_fd()),
                None => Ok(Xattrs::new()),
            },
            EntryKind::Symlink { .. }
            | EntryKind::Hardlink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Socket
            | EntryKind::Whiteout => Ok(Xattrs::new()),
        }
    }

    /// Opens a directory for looking names up in it; `None` if it is not one.
    fn open_directory(&self, path: &[u8]) -> io::Result<Option<Arc<OwnedFd>>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, directory)) = recent.iter().find(|(known, _)| known == path) {
            return Ok(Some(Arc::clone(directory)));
        }
        drop(recent);
        let Some(directory) = self.open_fresh(path)?.map(Arc::new) else { return Ok(None) };
        self.set_recent(path, &directory);
        Ok(Some(directory))
    }

    fn set_recent(&self, path: &[u8], directory: &Arc<OwnedFd>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT - 1);
        recent.push_front((path.to_vec(), Arc::clone(directory)));
    }

    fn open_fresh(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = if path.is_empty() { b"." } else { path };
        match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve) {
            Ok(directory) => Ok(Some(directory)),
            // Paths beyond PATH_MAX, sandboxes that know no openat2, and a rename during the walk.
            Err(Errno::NAMETOOLONG | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.open_stepwise(path),
            Err(error) if is_missing(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_stepwise(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = rustix::fs::openat(&self.root, ".", flags, Mode::empty())?;
        for component in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            if component == b".." {
                return Ok(None);
            }
            directory = match rustix::fs::openat(&directory, component, flags, Mode::empty()) {
                Ok(directory) => directory,
                Err(error) if is_missing(error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(directory))
    }

    fn found(&self, directory: BorrowedFd<'_>, name: &CStr, path: Vec<u8>, stat: &Stat) -> io::Result<Found> {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice if stat.st_rdev == 0 && self.overlay.is_some() => EntryKind::Whiteout,
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::RegularFile | FileType::Unknown => EntryKind::File { size: stat.st_size as u64 },
        };
        let mtime = timestamp(stat.st_mtime, stat.st_mtime_nsec);
        let identity = identity(stat);
        let is_file = matches!(kind, EntryKind::File { .. });
        let links = (stat.st_nlink > 1 && is_file).then_some((stat.st_dev, stat.st_ino));
        let mut entry = Entry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime,
            xattrs: BTreeMap::new(),
        };
        if self.ownership == Ownership::Record
            && matches!(entry.kind, EntryKind::File { .. } | EntryKind::Directory { .. })
        {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            if let Some((uid, gid)) = recorded_owner(file.as_fd())? {
                (entry.uid, entry.gid) = (uid, gid);
            }
        }
        Ok(Found { entry, identity: Some(identity), links, location: Location::Directory, implied: false })
    }
}

fn identity(stat: &Stat) -> FileIdentity {
    FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size as u64,
        mtime: timestamp(stat.st_mtime, stat.st_mtime_nsec),
        ctime: timestamp(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn timestamp(seconds: i64, nanos: impl TryInto<u32>) -> Timestamp {
    Timestamp { seconds, nanos: nanos.try_into().unwrap_or(0) }
}

fn recorded_owner(file: BorrowedFd<'_>) -> io::Result<Option<(u32, u32)>> {
    let Some(value) = get_xattr(file, OWNER_XATTR)? else { return Ok(None) };
    let owner = std::str::from_utf8(&value).ok().and_then(|text| {
        let (uid, gid) = text.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    });
    Ok(owner)
}

/// Values are at most 64 KiB (XATTR_SIZE_MAX in linux/limits.h), and so are lists of names.
const XATTR_LIMIT: usize = 64 * 1024;

fn get_xattr<Name: rustix::path::Arg + Copy>(
    file: BorrowedFd<'_>,
    name: Name,
) -> io::Result<Option<Vec<u8>>> {
    let mut small = [0_u8; 256];
    match rustix::fs::fgetxattr(file, name, &mut small) {
        Ok(length) => return Ok(Some(small[..length].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error.into()),
    }
    let mut value = vec![0; XATTR_LIMIT];
    match rustix::fs::fgetxattr(file, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_xattrs(file: BorrowedFd<'_>) -> io::Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    for name in list_xattrs(file)? {
        if belongs_to_layer(&name)
            && let Some(value) = get_xattr(file, name.as_slice())?
        {
            xattrs.insert(name, value);
        }
    }
    Ok(xattrs)
}

fn list_xattrs(file: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let names = |bytes: &[u8]| {
        bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let mut small = [0_u8; 512];
    match rustix::fs::flistxattr(file, &mut small) {
        Ok(length) => return Ok(names(&small[..length])),
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error.into()),
    }
    let mut list = vec![0; XATTR_LIMIT];
    let length = rustix::fs::flistxattr(file, &mut list)?;
    Ok(names(&list[..length]))
}

/// A file that cannot be read to its end when it has changed.
struct Unchanged {
    file: File,
    identity: FileIdentity,
}

impl Read for Unchanged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        // Only the end counts: what was read before is believed by nobody who does not get there.
        if count == 0 && !buffer.is_empty() && identity(&rustix::fs::fstat(&self.file)?) != self.identity {
            return Err(io::Error::other(FileChanged));
        }
        Ok(count)
    }
}

/// Part of a file, read from a position of its own.
struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..limit], self.offset)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
