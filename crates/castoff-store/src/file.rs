//! Reading and writing of the store's own small files.
//!
//! A file appears under its name whole or not at all: it is written below `tmp/` and renamed. A file that
//! is there and cannot be parsed is as good as absent, and is removed.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Store;

/// Something done to a file failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} `{}`", path.display())]
pub struct FileError {
    /// What was being done.
    pub action: Action,
    /// To which file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// What was being done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opening it.
    Open,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Creating it.
    Create,
    /// Renaming it to the path.
    Rename,
    /// Removing it.
    Remove,
    /// Locking it.
    Lock,
    /// Making it durable.
    Sync,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Action::Open => "opening",
            Action::Read => "reading",
            Action::Write => "writing",
            Action::Create => "creating",
            Action::Rename => "renaming to",
            Action::Remove => "removing",
            Action::Lock => "locking",
            Action::Sync => "syncing",
        })
    }
}

/// Returns the function that makes an I/O error on `path` say what failed.
pub(crate) fn failed<E: Into<io::Error>>(action: Action, path: &Path) -> impl FnOnce(E) -> FileError + '_ {
    move |source| FileError { action, path: path.to_owned(), source: source.into() }
}

/// How far an access time may lag behind the last use. A use within it costs no write.
pub(crate) const TOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// Returns when the file was last used: written, or touched by [`touch`].
pub(crate) fn last_used(metadata: &Metadata) -> SystemTime {
    let accessed = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
    accessed.max(written(metadata))
}

/// Returns when the file was last written.
pub(crate) fn written(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the time in milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |value| -value),
    }
}

/// Returns the file's metadata after marking it as used, or `None` when it is not there.
///
/// The mark is the access time alone. The modification time says when the content was written, which the
/// sweep after an unclean boot rests on.
pub(crate) fn touch(path: &Path) -> Option<Metadata> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if last_used(&metadata) + TOUCH_INTERVAL < SystemTime::now() {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        // A prune beside us may have taken the file since: then it is absent. Any other failure, such as
        // a read-only store, costs only the mark.
        if let Err(rustix::io::Errno::NOENT) =
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        {
            return None;
        }
    }
    Some(metadata)
}

/// Returns whether an error says that there is no such file.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns a file's content, or `None` when it is not there.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open_quietly(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(Action::Read, path)(error)),
    }
}

/// Opens a file for reading without the kernel's changing its access time, which is our mark of use.
fn open_quietly(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOATIME.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // Only the owner may ask for that; for others the store is read-only, and the mark moot.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        other => other,
    }
}

/// Returns what a JSON file says, or `None` when it is not there or is not the JSON of a `T`; in the latter
/// case it is removed.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes).ok();
    if value.is_none() {
        let _ = fs::remove_file(path);
    }
    Ok(value)
}

/// Removes a file and returns whether it was there.
pub(crate) fn remove_optional(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed(Action::Remove, path)(error)),
    }
}

/// Returns the entries of a directory with their metadata, sorted by name; those that vanish meanwhile are
/// left out, and an absent directory has none.
pub(crate) fn list(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>, FileError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(Action::Read, directory)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(Action::Read, directory))?;
        match entry.metadata() {
            Ok(metadata) => found.push((entry.path(), metadata)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(failed(Action::Read, &entry.path())(error)),
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

/// Returns all files below a directory with their metadata, in the order of their paths.
pub(crate) fn files_below(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>, FileError> {
    let mut found = Vec::new();
    for (path, metadata) in list(directory)? {
        if metadata.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push((path, metadata));
        }
    }
    Ok(found)
}

/// Moves a finished file or directory to its place, making the directories above it.
pub(crate) fn move_into_place(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut attempts = 0;
    loop {
        match fs::rename(from, to) {
            Ok(()) => return Ok(()),
            // A concurrent removal of the last tag of a repository removes the directory again; a few
            // rounds are enough for any race that is not deliberate.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 8 => {
                attempts += 1;
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).map_err(failed(Action::Create, parent))?;
                }
            }
            Err(error) => return Err(failed(Action::Rename, to)(error)),
        }
    }
}

/// Returns a name that no other process has, of 32 hex digits.
pub(crate) fn random_name() -> String {
    // Each `RandomState` has keys from the operating system; one hash of nothing is 64 of their bits.
    let bits = || RandomState::new().build_hasher().finish();
    let mut mixed = RandomState::new().build_hasher();
    mixed.write_u32(std::process::id());
    mixed.write_u64(bits());
    format!("{:016x}{:016x}", bits(), mixed.finish())
}

/// Returns `text` with every byte outside `[A-Za-z0-9_:-]`, and a dot that is first, as `%` and two hex
/// digits; other dots stay.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b':' | b'-' => escaped.push(char::from(byte)),
            b'.' if position > 0 => escaped.push('.'),
            other => escaped.push_str(&format!("%{other:02x}")),
        }
    }
    escaped
}

/// Returns the relative path of a file of a sharded directory.
pub(crate) fn sharded(directory: &str, hex: &str, rest: &str) -> String {
    format!("{directory}/{}/{hex}{rest}", &hex[..2])
}

/// Returns the bytes that a file takes on disk.
pub(crate) fn disk_size(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

impl Store {
    /// Writes a file whole. Not durable before the next [`Store::sync`].
    pub(crate) fn write_file(&self, relative: &str, bytes: &[u8]) -> Result<(), FileError> {
        let temporary = self.temporary_path()?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)
        };
        let written = write().map_err(failed(Action::Write, &temporary));
        let moved = written.and_then(|()| move_into_place(&temporary, &self.path(relative)));
        if moved.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        moved
    }

    /// Writes a JSON file whole. Not durable before the next [`Store::sync`].
    pub(crate) fn write_json<T: Serialize>(&self, relative: &str, value: &T) -> Result<(), FileError> {
        let mut bytes = serde_json::to_vec(value).expect("the store's documents have string keys only");
        bytes.push(b'\n');
        self.write_file(relative, &bytes)
    }
}

/// Writes a file whole and durable: contents, then name. `temporary` is on the same file system.
pub(crate) fn write_durable(temporary: &Path, to: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed(Action::Write, temporary))?;
    fs::rename(temporary, to).map_err(failed(Action::Rename, to))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed(Action::Sync, parent))
}
