//! Cache mounts: directories that outlive builds and are in no layer (D-157 to D-163).
//!
//! ```text
//! mounts/<digest of id>/
//!   id                the id's text
//!   0/                the first directory of the id; `shared` and `locked` users meet here
//!     fs/             what is mounted
//!     initialised     there once fs/ has its owner, mode and first content
//!     lock            flock: shared by `shared` users, exclusive to `private` and `locked` ones
//!     first           flock: who gives fs/ its first content
//!   1/ ...            more directories of the id, made for `private` users that came while 0 was in use
//! ```
//!
//! A directory without `initialised` has nothing of worth in it and is emptied by its next user.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use castoff_oci::Digest;

use crate::file::{Action, FileError, failed, list, read_optional, remove_optional, touch};
use crate::lock::{Hold, hold, is_named, try_hold};
use crate::remove::remove_tree;
use crate::{LockError, Store};

/// What happens when a cache is wanted by two steps at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSharing {
    /// Both get the same directory.
    Shared,
    /// The second gets another directory, which is kept for the next time.
    Private,
    /// The second waits.
    Locked,
}

/// A cache mount in use; released on drop.
#[derive(Debug)]
pub struct CacheMount {
    store: Store,
    relative: String,
    path: PathBuf,
    first: Option<File>,
    _lock: File,
}

impl Store {
    /// Returns the cache mount of this id, waiting for others as `sharing` says.
    ///
    /// Who takes several should take them in the order of their ids, or two steps may wait for each other.
    ///
    /// # Errors
    /// When `cancelled` returns true during a wait, or the mount's files cannot be used.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: CacheSharing,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<CacheMount, LockError> {
        let of_id = mount_path(id);
        let id_file = format!("{of_id}/id");
        if !self.path(&id_file).exists() {
            self.write_file(&id_file, id.as_bytes())?;
        }
        loop {
            let (relative, lock) = match sharing {
                CacheSharing::Shared => self.first_index(&of_id, Hold::Shared, cancelled)?,
                CacheSharing::Locked => self.first_index(&of_id, Hold::Exclusive, cancelled)?,
                CacheSharing::Private => self.free_index(&of_id)?,
            };
            let directory = self.path(&relative);
            let mark = directory.join("initialised");
            let first = match touch(&mark) {
                Some(_) => None,
                // Users that share the directory agree here on who begins.
                None => Some(hold(&directory.join("first"), Hold::Exclusive, cancelled)?),
            };
            // A prune may have moved the directory away while we waited for the second lock.
            if !is_named(&lock, &directory.join("lock"))? {
                continue;
            }
            let first = first.filter(|_| touch(&mark).is_none());
            let path = directory.join("fs");
            if first.is_some() {
                self.empty_directory(&path)?;
                remove_optional(&directory.join(UNPROVED))?;
            }
            return Ok(CacheMount { store: self.clone(), relative, path, first, _lock: lock });
        }
    }

    /// Empties all directories of this id, waiting for their users. The next user starts anew (D-163).
    ///
    /// # Errors
    /// When `cancelled` returns true during a wait, or the mount's files cannot be removed.
    pub fn reset_cache_mount(&self, id: &str, cancelled: &dyn Fn() -> bool) -> Result<(), LockError> {
        for (directory, metadata) in list(&self.path(mount_path(id)))? {
            if !metadata.is_dir() {
                continue;
            }
            let _lock = hold(&directory.join("lock"), Hold::Exclusive, cancelled)?;
            remove_optional(&directory.join("initialised"))?;
            remove_optional(&directory.join(UNPROVED))?;
            if let Some(old) = self.move_away(&directory.join("fs"))? {
                remove_tree(&old)?;
            }
        }
        Ok(())
    }

    fn first_index(
        &self,
        of_id: &str,
        wanted: Hold,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(String, File), LockError> {
        let relative = format!("{of_id}/0");
        let lock = hold(&self.path(&relative).join("lock"), wanted, cancelled)?;
        Ok((relative, lock))
    }

    fn free_index(&self, of_id: &str) -> Result<(String, File), LockError> {
        let mut index = 0u32;
        loop {
            let relative = format!("{of_id}/{index}");
            if let Some(lock) = try_hold(&self.path(&relative).join("lock"), Hold::Exclusive)? {
                return Ok((relative, lock));
            }
            index += 1;
        }
    }

    fn empty_directory(&self, path: &Path) -> Result<(), FileError> {
        if let Some(old) = self.move_away(path)? {
            remove_tree(&old)?;
        }
        fs::create_dir(path).map_err(failed(Action::Create, path))?;
        // D-161, whatever the process's umask.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed(Action::Create, path))
    }
}

impl CacheMount {
    /// Returns the directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the directory is new: empty, with mode 0755, and waiting for its owner, mode and
    /// first content. Others that share it wait until [`CacheMount::initialised`] or drop.
    pub fn created(&self) -> bool {
        self.first.is_some()
    }

    /// Empties the directory while it is new.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn clean(&self) -> Result<(), FileError> {
        if self.first.is_some() { self.store.empty_directory(&self.path) } else { Ok(()) }
    }

    /// Says that the directory is about to be written to by a step that may leave a secret there. Returns whether that
    /// was so before, and was never found to be untrue.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn doubt(&self) -> Result<bool, FileError> {
        let mark = format!("{}/{UNPROVED}", self.relative);
        if self.store.path(&mark).exists() {
            return Ok(true);
        }
        self.store.write_file(&mark, b"")?;
        Ok(false)
    }

    /// Says that there is no secret in the directory.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn clear(&self) -> Result<(), FileError> {
        remove_optional(&self.store.path(format!("{}/{UNPROVED}", self.relative))).map(drop)
    }

    /// Says that the directory has its owner, mode and first content. Without it, the next user finds the
    /// directory empty again.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn initialised(&mut self) -> Result<(), FileError> {
        if self.first.is_some() {
            self.store.write_file(&format!("{}/initialised", self.relative), b"")?;
            self.first = None;
        }
        Ok(())
    }
}

/// There while steps that may leave a secret use the directory, and after one of them did.
const UNPROVED: &str = "unproved";

/// Returns the id of the cache mount whose directories are in `of_id`.
pub(crate) fn mount_id(of_id: &Path) -> Result<Option<String>, FileError> {
    let bytes = read_optional(&of_id.join("id"))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn mount_path(id: &str) -> String {
    format!("mounts/{}", Digest::of(id.as_bytes()).hex())
}
