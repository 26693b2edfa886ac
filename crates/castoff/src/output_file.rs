//! The files that a caller names for results.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::args::OutputFile;

/// Opens an output and gives it to `write`. A file appears under its name when it is complete (B-223), and a link
/// stays a link to it. A device or pipe that is there already, and what the system has of open files, such as
/// `/dev/stdout`, is written to as it is.
pub(crate) fn to_file<T>(
    dest: &OutputFile,
    write: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = match dest {
        OutputFile::Stdout => return buffered(io::stdout().lock(), write),
        OutputFile::Path(path) => path,
    };
    if is_special(path) {
        return buffered(File::options().write(true).truncate(true).open(path)?, write);
    }
    // A link to what is not there yet has no other path.
    let path = &path.canonicalize().unwrap_or_else(|_| path.clone());
    let temporary = beside(path);
    let written = File::create(&temporary).map_err(anyhow::Error::from).and_then(|file| {
        let result = buffered(file, write)?;
        std::fs::rename(&temporary, path)?;
        Ok(result)
    });
    if written.is_err() {
        let _already_failing = std::fs::remove_file(&temporary);
    }
    written
}

/// Writes a small file as [`to_file`] does.
pub(crate) fn write_output(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    to_file(&OutputFile::Path(path.to_owned()), &mut |to| Ok(to.write_all(content)?))
}

/// Returns whether there is something that must not be replaced.
fn is_special(path: &Path) -> bool {
    let of_the_system = path.starts_with("/dev") || path.starts_with("/proc");
    path.metadata().is_ok_and(|metadata| of_the_system || !metadata.is_file())
}

fn buffered<T>(
    to: impl Write,
    write: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut buffered = BufWriter::with_capacity(256 << 10, to);
    let result = write(&mut buffered)?;
    buffered.flush()?;
    Ok(result)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{beside, is_special, write_output};

    // B-112, B-115, B-223
    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("there")).unwrap();
        fs::write(path("there/file"), "a longer old text").unwrap();
        symlink("there/file", path("link")).unwrap();
        write_output(&path("link"), b"new").unwrap();
        assert!(path("link").is_symlink());
        assert_eq!(fs::read(path("there/file")).unwrap(), b"new");
        write_output(&path("file"), b"new").unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"new");
        assert!(write_output(&path("none/file"), b"new").is_err());
        assert!(!beside(&path("file")).exists() && !beside(&path("there/file")).exists());
    }

    // B-115: nobody's standard output becomes a file.
    #[test]
    fn what_the_system_has_of_open_files_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let file = fs::File::create(directory.path().join("file")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        for path in [format!("/dev/fd/{number}"), format!("/proc/self/fd/{number}"), "/dev/null".to_owned()] {
            assert!(is_special(path.as_ref()), "{path}");
        }
        write_output(format!("/proc/self/fd/{number}").as_ref(), b"text").unwrap();
        assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"text");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
