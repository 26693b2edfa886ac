//! A directory within which names are resolved and cannot lead out.
//!
//! The kernel resolves with the directory as its root (`openat2`, `RESOLVE_IN_ROOT`, Linux 5.6): an
//! absolute link or a `..` ends up inside, and a race against the resolution changes nothing (B-218).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A held directory. Paths given to it are relative to it, whatever is in them.
#[derive(Debug)]
pub struct Rootfs {
    directory: OwnedFd,
}

impl Rootfs {
    /// Opens a directory as a root.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Rootfs, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Rootfs { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a directory below the root; links on the way are followed inside it. An empty path is the
    /// root itself.
    ///
    /// # Errors
    /// When it does not exist or is no directory.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        self.open_in(path, OFlags::DIRECTORY | OFlags::RDONLY)
    }

    /// Opens a file below the root with these flags.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn open_in(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel could not exclude a race with a rename; it asks for another try.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }
}

impl AsFd for Rootfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
