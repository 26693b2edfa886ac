//! Leases: who is alive, and whose temporary files are whose.
//!
//! A lease is a file below `leases/` that its process holds locked. A lease whose lock is free is dead, and
//! the next process that opens the store removes what it left below `tmp/`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::Store;
use crate::file::{Action, FileError, failed, list, random_name, written};
use crate::lock::{Hold, hold, is_named, try_flock, try_hold};
use crate::remove::remove_tree;

/// Keeps what the holder looks up in the store from being pruned, for as long as it is held.
///
/// A build holds one from before its first look-up until its last use. While any is held no exclusive prune
/// starts, and a prune that runs beside it spares whatever was used since an hour before the oldest.
#[derive(Debug)]
pub struct Lease {
    _holder: Holder,
    _shared: File,
}

/// A directory for unfinished work, removed with all its content on drop.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: PathBuf,
    /// Keeps the lease that the directory is below alive.
    _store: Store,
}

/// A locked file below `leases/` and the directory below `tmp/` that goes with it.
#[derive(Debug)]
pub(crate) struct Holder {
    lease: PathBuf,
    temporary: PathBuf,
    _file: File,
}

/// What a lease stands for, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Temporary files of one [`Store`] handle.
    Temporary,
    /// A [`Lease`].
    Build,
}

impl Store {
    /// Takes a lease. Waits while a sweep or an exclusive prune selects what to drop.
    ///
    /// # Errors
    /// When the lease's files cannot be created or locked.
    pub fn lease(&self) -> Result<Lease, FileError> {
        let path = self.path("lock");
        let shared = match hold(&path, Hold::Shared, &|| false) {
            Ok(file) => file,
            Err(crate::LockError::File(error)) => return Err(error),
            Err(crate::LockError::Cancelled) => unreachable!("nothing cancels this wait"),
        };
        Ok(Lease { _holder: Holder::new(self.root(), Kind::Build)?, _shared: shared })
    }

    /// Creates an empty directory on the store's file system, with mode 0700.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn temporary(&self) -> Result<TemporaryDirectory, FileError> {
        let path = self.temporary_path()?;
        fs::create_dir(&path).map_err(failed(Action::Create, &path))?;
        Ok(TemporaryDirectory { path, _store: self.clone() })
    }

    /// Returns a path that nothing has, below this handle's part of `tmp/`.
    pub(crate) fn temporary_path(&self) -> Result<PathBuf, FileError> {
        let mut temporary = self.inner.temporary.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = match &mut *temporary {
            Some(holder) => holder,
            absent => {
                let holder = Holder::new(self.root(), Kind::Temporary)?;
                fs::create_dir_all(&holder.temporary).map_err(failed(Action::Create, &holder.temporary))?;
                absent.insert(holder)
            }
        };
        let number = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        Ok(holder.temporary.join(number.to_string()))
    }

    /// Moves a file or directory out of the store's sight and returns its new path, or `None` when it is
    /// not there.
    pub(crate) fn move_away(&self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        let away = self.temporary_path()?;
        match fs::rename(path, &away) {
            Ok(()) => Ok(Some(away)),
            Err(error) if crate::file::is_absent(&error) => Ok(None),
            Err(error) => Err(failed(Action::Remove, path)(error)),
        }
    }

    /// Returns when the oldest lease that is alive was taken, if there is one.
    pub(crate) fn oldest_lease(&self) -> Result<Option<SystemTime>, FileError> {
        let mut oldest: Option<SystemTime> = None;
        for (path, metadata) in list(&self.path("leases"))? {
            let is_build =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"build-"));
            if is_build && is_alive(&path)? {
                let taken = written(&metadata);
                oldest = Some(oldest.map_or(taken, |other| other.min(taken)));
            }
        }
        Ok(oldest)
    }
}

impl TemporaryDirectory {
    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by who finds the lease dead.
        let _ = remove_tree(&self.path);
    }
}

impl Holder {
    fn new(root: &Path, kind: Kind) -> Result<Holder, FileError> {
        let kind = match kind {
            Kind::Temporary => "tmp",
            Kind::Build => "build",
        };
        loop {
            let name = format!("{kind}-{}-{}", std::process::id(), random_name());
            let lease = root.join("leases").join(&name);
            // Between its creation and its locking a lease looks dead. Who takes it for that removes it,
            // and then it is not ours.
            if let Some(file) = try_hold(&lease, Hold::Exclusive)?
                && is_named(&file, &lease)?
            {
                return Ok(Holder { lease, temporary: root.join("tmp").join(&name), _file: file });
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The lease goes last: as long as it is there and locked, the directory is nobody else's.
        if remove_tree(&self.temporary).is_ok() {
            let _ = fs::remove_file(&self.lease);
        }
    }
}

/// Removes what dead leases left. Failures are left to the next opener: another user's files, or a mount
/// that still is there, must not keep the store from being used.
pub(crate) fn remove_leftovers(root: &Path) -> Result<(), FileError> {
    let leases = root.join("leases");
    let temporary = root.join("tmp");
    for name in names(&temporary)?.into_iter().chain(names(&leases)?) {
        let lease = leases.join(&name);
        let held = match File::options().read(true).write(true).open(&lease) {
            Ok(file) => match try_flock(&file, &lease, Hold::Exclusive)? {
                true => Some(file),
                false => continue,
            },
            // A lease outlives its directory, so a directory without one is dead too.
            Err(error) if crate::file::is_absent(&error) => None,
            Err(_) => continue,
        };
        if remove_tree(&temporary.join(&name)).is_ok() && held.is_some() {
            let _ = fs::remove_file(&lease);
        }
    }
    Ok(())
}

fn is_alive(lease: &Path) -> Result<bool, FileError> {
    match File::options().read(true).write(true).open(lease) {
        Ok(file) => Ok(!try_flock(&file, lease, Hold::Shared)?),
        Err(_) => Ok(false),
    }
}

fn names(directory: &Path) -> Result<Vec<OsString>, FileError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if crate::file::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(Action::Read, directory)(error)),
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect())
}
