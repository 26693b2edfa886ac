//! Going through the directory of a cache mount, which other steps may use at the same time.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use castoff_inspect::secrets::Scanner;
use castoff_solver::GuardError;
use rustix::fs::OFlags;

/// The times of files may be older than the clock by its coarseness, and by a difference of file servers.
const SLACK_MS: i64 = 2000;

/// Looks at the names of everything, and at the content of files that changed since a time in milliseconds since 1970.
/// A process cannot set the time of a change (ctime), so whatever was written meanwhile is looked at.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    root: &Path,
    target: &str,
    since_ms: i64,
) -> Result<(), GuardError> {
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let path = root.join(&directory);
        let failed = |source| GuardError::File { path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            // Another user of the mount removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        let mut names =
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>();
        names.iter_mut().for_each(|names| names.sort_unstable());
        for name in names.map_err(failed)? {
            let relative = directory.join(&name);
            let path = root.join(&relative);
            let shown = Path::new(target).join(&relative);
            match entry(scanner, &path, shown.as_os_str().as_bytes(), since_ms) {
                Ok(true) => pending.push(relative),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(GuardError::File { path, source }),
            }
        }
    }
    Ok(())
}

/// Returns whether it is a directory.
fn entry(scanner: &mut Scanner<'_>, path: &Path, shown: &[u8], since_ms: i64) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    let link = if metadata.is_symlink() { Some(path.read_link()?) } else { None };
    scanner.name(shown, link.as_ref().map(|link| link.as_os_str().as_bytes()));
    let changed_ms = metadata.ctime().saturating_mul(1000).saturating_add(metadata.ctime_nsec() / 1_000_000);
    if metadata.is_file() && changed_ms >= since_ms.saturating_sub(SLACK_MS) {
        // It may have become a link or a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        scanner.file(shown, &mut file)?;
    }
    Ok(metadata.is_dir())
}
