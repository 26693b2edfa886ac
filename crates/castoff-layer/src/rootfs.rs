//! A directory within which names are resolved and cannot lead out.
//!
//! The kernel resolves with the directory as its root (`openat2`, `RESOLVE_IN_ROOT`, Linux 5.6): an
//! absolute link or a `..` ends up inside, and a race against the resolution changes nothing (B-218).
//! Where that cannot be had (a path beyond PATH_MAX, a sandbox without the call, a directory that must
//! be made on the way), the path is walked component by component, never following a link blindly.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::entry::join;

/// A held directory. Paths given to it are relative to it, whatever is in them.
#[derive(Debug)]
pub struct Rootfs {
    directory: OwnedFd,
}

/// Makes a directory that is missing on the way: gets its parent, its name and its path from the root.
pub(crate) type Make<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8], &[u8]) -> Result<(), Errno>;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// As many links as the kernel follows (MAXSYMLINKS).
const LINKS: usize = 40;

impl Rootfs {
    /// Opens a directory as a root.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Rootfs, Errno> {
        Ok(Rootfs { directory: rustix::fs::open(path, DIRECTORY, Mode::empty())? })
    }

    /// Opens a directory below the root; links on the way are followed inside it. An empty path is the
    /// root itself.
    ///
    /// # Errors
    /// When it does not exist or is no directory.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        match open_within(self.as_fd(), path, ResolveFlags::IN_ROOT) {
            Err(error) if needs_walk(error) => self.walk(path, &mut |_, _, _| Err(Errno::NOENT)),
            other => other,
        }
    }

    /// Opens a directory as [`Rootfs::directory`] does; `make` is called for what is missing or in the
    /// way, before it is looked up once more.
    pub(crate) fn directory_or_make(&self, path: &[u8], make: Make<'_>) -> Result<OwnedFd, Errno> {
        match open_within(self.as_fd(), path, ResolveFlags::IN_ROOT) {
            Err(error) if needs_walk(error) || matches!(error, Errno::NOENT | Errno::NOTDIR) => {
                self.walk(path, make)
            }
            other => other,
        }
    }

    fn walk(&self, path: &[u8], make: Make<'_>) -> Result<OwnedFd, Errno> {
        let mut todo: Vec<Vec<u8>> = components(path).rev().collect();
        let mut here = rustix::fs::openat(&self.directory, ".", DIRECTORY, Mode::empty())?;
        // Where `here` is, without links.
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut made = false;
        while let Some(name) = todo.pop() {
            if name == b".." {
                done.pop();
                here = self.descend(&done)?;
                continue;
            }
            match open_child(here.as_fd(), &name) {
                Ok(directory) => {
                    here = directory;
                    done.push(name);
                    made = false;
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    match rustix::fs::readlinkat(&here, name.as_slice(), Vec::new()) {
                        Ok(target) => {
                            links += 1;
                            if links > LINKS {
                                return Err(Errno::LOOP);
                            }
                            let target = target.as_bytes();
                            if target.starts_with(b"/") {
                                done.clear();
                                here = self.descend(&done)?;
                            }
                            todo.extend(components(target).rev());
                        }
                        // Made once and still not there: somebody removes it at the same time.
                        Err(Errno::NOENT | Errno::INVAL) if made => return Err(Errno::AGAIN),
                        Err(error @ (Errno::NOENT | Errno::INVAL)) => {
                            let path = done.iter().fold(Vec::new(), |path, name| join(&path, name));
                            make(here.as_fd(), &name, &join(&path, &name)).map_err(|failed| {
                                // What is no link and no directory cannot be gone through.
                                if error == Errno::INVAL && failed == Errno::NOENT {
                                    Errno::NOTDIR
                                } else {
                                    failed
                                }
                            })?;
                            made = true;
                            todo.push(name);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(here)
    }

    /// Opens a path of which no component is a link.
    fn descend(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
        let root = rustix::fs::openat(&self.directory, ".", DIRECTORY, Mode::empty())?;
        path.iter().try_fold(root, |here, name| open_child(here.as_fd(), name))
    }
}

impl AsFd for Rootfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Opens a directory below a held one that is reached without any link.
pub(crate) fn open_below(held: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_within(held, path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens a directory that is directly in a held one, and not a link to one.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

fn open_within(held: BorrowedFd<'_>, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(held, path, DIRECTORY, Mode::empty(), resolve) {
            // The kernel could not exclude a race with a rename; it asks for another try.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Too long for one call, or no such call: old seccomp filters answer EPERM.
fn needs_walk(error: Errno) -> bool {
    matches!(error, Errno::NAMETOOLONG | Errno::NOSYS | Errno::PERM)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

/// Removes whatever is at a name, with all that is in it, without following links. Nothing there is
/// fine. Holds two descriptors however deep the tree is.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let mut here = open_child(parent, name)?;
    // The directories from `name` to `here`: their names, and which they are.
    let mut trail = vec![(name.to_vec(), identity(here.as_fd())?)];
    loop {
        if let Some(inner) = unlink_until_directory(here.as_fd())? {
            here = open_child(here.as_fd(), inner.to_bytes())?;
            trail.push((inner.into_bytes(), identity(here.as_fd())?));
            continue;
        }
        let Some((name, _)) = trail.pop() else { return Ok(()) };
        let Some((_, above)) = trail.last() else {
            return rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        };
        let up = rustix::fs::openat(&here, "..", DIRECTORY, Mode::empty())?;
        // Moved while it was emptied: going on would empty a directory that nobody asked for.
        if identity(up.as_fd())? != *above {
            return Err(Errno::BUSY);
        }
        rustix::fs::unlinkat(&up, name, AtFlags::REMOVEDIR)?;
        here = up;
    }
}

fn identity(directory: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes entries up to the first directory that is not empty, and returns its name.
fn unlink_until_directory(directory: BorrowedFd<'_>) -> Result<Option<CString>, Errno> {
    // Removing may make the kernel leave out entries, so it ends only when a whole pass finds nothing.
    loop {
        let mut buffer = [const { MaybeUninit::uninit() }; 16 * 1024];
        let fresh = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty())?;
        let mut entries = RawDir::new(&fresh, &mut buffer);
        let mut removed = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            removed = true;
            let flags = match entry.file_type() {
                FileType::Directory => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            match rustix::fs::unlinkat(directory, name, flags) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
                Err(error) => return Err(error),
            }
        }
        if !removed {
            return Ok(None);
        }
    }
}
