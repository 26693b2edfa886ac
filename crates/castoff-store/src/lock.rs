//! Locks between processes: flock on a file, polled so that the wait can be cancelled.
//!
//! A lock ends with its holder, however that dies. The file of a lock may be removed by its holder; who
//! then gets the lock of a file that no longer has the name opens the name again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use castoff_oci::Digest;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Store;
use crate::file::{Action, FileError, failed, is_absent};

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The caller no longer wants it.
    #[error("waiting for a lock was cancelled")]
    Cancelled,
    /// The lock's file or the directory that it guards could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// An exclusive lock between processes and between threads, released on drop or by death.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Shared,
    Exclusive,
}

impl Store {
    /// Waits for the lock of this name. For work that should not be done twice at once; who cannot lock may
    /// do the work all the same.
    ///
    /// # Errors
    /// When `cancelled` returns true before the lock is free, or the lock's file cannot be used.
    pub fn lock(&self, name: &Digest, cancelled: &dyn Fn() -> bool) -> Result<Lock, LockError> {
        let path = self.path(format!("locks/{}", name.hex()));
        let file = hold(&path, Hold::Exclusive, cancelled)?;
        Ok(Lock { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still held here, so the name is ours to remove; the descriptor closes after this.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Waits for a lock on `path`, which is created when absent.
pub(crate) fn hold(path: &Path, hold: Hold, cancelled: &dyn Fn() -> bool) -> Result<File, LockError> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(file) = try_hold(path, hold)? {
            return Ok(file);
        }
        if cancelled() {
            return Err(LockError::Cancelled);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Takes a lock on `path`, which is created when absent, or returns `None` when somebody has it.
pub(crate) fn try_hold(path: &Path, hold: Hold) -> Result<Option<File>, FileError> {
    loop {
        let file = open_lock_file(path)?;
        if !try_flock(&file, path, hold)? {
            return Ok(None);
        }
        if is_named(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Takes a lock on an open file, or returns false when somebody has it.
pub(crate) fn try_flock(file: &File, path: &Path, hold: Hold) -> Result<bool, FileError> {
    let operation = match hold {
        Hold::Shared => FlockOperation::NonBlockingLockShared,
        Hold::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(failed(Action::Lock, path)(error)),
        }
    }
}

/// Returns whether `path` is still the name of `file`.
pub(crate) fn is_named(file: &File, path: &Path) -> Result<bool, FileError> {
    let held = file.metadata().map_err(failed(Action::Lock, path))?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed(Action::Lock, path)(error)),
    }
}

fn open_lock_file(path: &Path) -> Result<File, FileError> {
    let mut attempts = 0;
    loop {
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        match opened {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 8 => {
                attempts += 1;
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(failed(Action::Create, parent))?;
                }
            }
            Err(error) => return Err(failed(Action::Open, path)(error)),
        }
    }
}
