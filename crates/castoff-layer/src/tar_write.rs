//! Tars out, the same bytes for the same entries everywhere.
//!
//! The format is ustar; a PAX header comes first only for what ustar cannot say: long names, ids and sizes
//! beyond its octal fields, times before 1970, extended attributes. User and group names stay empty and
//! times are whole seconds, as in the layers of BuildKit.

use std::io::{self, Read, Write};

use crate::entry::{Entry, EntryKind};
use crate::tar_header::{BLOCK, HeaderWriter};
use crate::tar_pax::Records;
use crate::tar_read::{OPAQUE, WHITEOUT};

/// How a tar is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct TarOptions {
    /// Seconds since 1970; later modification times become this one (B-170).
    pub clamp_mtime: Option<i64>,
}

/// Writes a tar entry by entry.
///
/// It has a buffer of its own and writes large pieces. [`TarWriter::finish`] must be called; after an
/// error the tar is worthless.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    writer: W,
    options: TarOptions,
    buffer: Vec<u8>,
    filled: usize,
}

/// Why a tar could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TarWriteError {
    /// The tar could not be written.
    #[error("archive cannot be written")]
    Io(#[from] io::Error),
    /// The data of a file could not be read.
    #[error("data of `{}` cannot be read", path.escape_ascii())]
    Data {
        /// The entry's path.
        path: Vec<u8>,
        /// What went wrong.
        source: io::Error,
    },
    /// A file's data is not as long as its entry says.
    #[error("`{}` changed while it was read: {expected} bytes announced, {}", path.escape_ascii(), describe(*actual))]
    Size {
        /// The entry's path.
        path: Vec<u8>,
        /// What the entry says.
        expected: u64,
        /// How many there are; `None` if there are more.
        actual: Option<u64>,
    },
    /// A path or link target that no tar may have.
    #[error("`{}` is not a valid path in an archive", path.escape_ascii())]
    Name {
        /// The path.
        path: Vec<u8>,
    },
    /// A file whose name would read as a whiteout.
    #[error("the name of `{}` is reserved for whiteouts", path.escape_ascii())]
    Reserved {
        /// The path.
        path: Vec<u8>,
    },
    /// An extended attribute whose name PAX records cannot hold.
    #[error("extended attribute `{}` of `{}` cannot be archived", name.escape_ascii(), path.escape_ascii())]
    Xattr {
        /// The entry's path.
        path: Vec<u8>,
        /// The attribute's name.
        name: Vec<u8>,
    },
}

fn describe(actual: Option<u64>) -> String {
    match actual {
        Some(actual) => format!("{actual} found"),
        None => "more found".to_owned(),
    }
}

const BUFFER: usize = 256 * 1024;

impl<W: Write> TarWriter<W> {
    /// Begins a tar.
    pub fn new(writer: W, options: TarOptions) -> Self {
        TarWriter { writer, options, buffer: vec![0; BUFFER], filled: 0 }
    }

    /// Adds an entry; `data` must give exactly the bytes that the size of a file announces.
    ///
    /// A whiteout becomes an empty `.wh.` file without metadata, an opaque directory is followed by its
    /// marker, a socket becomes an empty file (D-210).
    ///
    /// # Errors
    /// When the tar cannot be written, the data not be read, or the entry has no place in a tar.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), TarWriteError> {
        check_path(&entry.path)?;
        let name = entry.name();
        if name.starts_with(WHITEOUT) {
            return Err(TarWriteError::Reserved { path: entry.path.clone() });
        }
        match &entry.kind {
            EntryKind::File { size } => {
                self.header(entry, b'0', &[], *size)?;
                self.data(entry, *size, data)?;
            }
            EntryKind::Directory { opaque } => {
                self.header(entry, b'5', &[], 0)?;
                if *opaque {
                    let mut path = entry.path.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(OPAQUE);
                    self.marker(path)?;
                }
            }
            EntryKind::Whiteout => {
                let mut path = entry.path[..entry.path.len() - name.len()].to_vec();
                path.extend_from_slice(WHITEOUT);
                path.extend_from_slice(name);
                self.marker(path)?;
            }
            EntryKind::Symlink { target } => {
                if target.is_empty() || target.contains(&0) {
                    return Err(TarWriteError::Name { path: target.clone() });
                }
                self.header(entry, b'2', target, 0)?;
            }
            EntryKind::Hardlink { target } => {
                check_path(target)?;
                self.header(entry, b'1', target, 0)?;
            }
            EntryKind::CharDevice { .. } => self.header(entry, b'3', &[], 0)?,
            EntryKind::BlockDevice { .. } => self.header(entry, b'4', &[], 0)?,
            EntryKind::Fifo => self.header(entry, b'6', &[], 0)?,
            EntryKind::Socket => self.header(entry, b'0', &[], 0)?,
        }
        Ok(())
    }

    /// Writes the end-of-archive marker and everything still buffered, and returns the writer.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> Result<W, TarWriteError> {
        self.put(&[0; 2 * BLOCK])?;
        self.flush()?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn header(&mut self, entry: &Entry, kind: u8, link: &[u8], size: u64) -> Result<(), TarWriteError> {
        let mut header = HeaderWriter::new(kind);
        let mut records = Records::default();
        let mut slashed;
        let path = match entry.kind {
            EntryKind::Directory { .. } if entry.path.is_empty() => b"./",
            EntryKind::Directory { .. } => {
                slashed = entry.path.clone();
                slashed.push(b'/');
                slashed.as_slice()
            }
            _ => entry.path.as_slice(),
        };
        // What bytes beyond ASCII mean in a bare header is open (POSIX pax, "ustar Interchange Format").
        if !header.path(path) || !path.is_ascii() {
            records.insert("path", path);
        }
        if !header.link(link) || !link.is_ascii() {
            records.insert("linkpath", link);
        }
        header.mode(entry.mode & 0o7777);
        if !header.uid(entry.uid) {
            records.insert("uid", entry.uid.to_string());
        }
        if !header.gid(entry.gid) {
            records.insert("gid", entry.gid.to_string());
        }
        if !header.size(size) {
            records.insert("size", size.to_string());
        }
        let mtime = match self.options.clamp_mtime {
            Some(latest) => entry.mtime.seconds.min(latest),
            None => entry.mtime.seconds,
        };
        if !header.mtime(mtime) {
            records.insert("mtime", mtime.to_string());
        }
        if let EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } = entry.kind
            && !header.device(major, minor)
        {
            // Linux has 12 bits of major and 20 of minor number.
            return Err(TarWriteError::Name { path: entry.path.clone() });
        }
        // The attributes of the other name count.
        if kind != b'1' {
            for (name, value) in &entry.xattrs {
                // The key ends at the first equals sign.
                if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
                    return Err(TarWriteError::Xattr { path: entry.path.clone(), name: name.clone() });
                }
                records.insert_xattr(name, value);
            }
        }
        if !records.is_empty() {
            let bytes = records.to_bytes();
            let mut extension = HeaderWriter::new(b'x');
            extension.path(b"PaxHeaders.0");
            extension.size(bytes.len() as u64);
            self.put(&extension.finish())?;
            self.put(&bytes)?;
            self.pad(bytes.len() as u64)?;
        }
        self.put(&header.finish())?;
        Ok(())
    }

    /// Writes an empty file that stands for something else.
    fn marker(&mut self, path: Vec<u8>) -> Result<(), TarWriteError> {
        let mut entry = crate::tar_read::whiteout(path);
        entry.kind = EntryKind::File { size: 0 };
        self.header(&entry, b'0', &[], 0)
    }

    fn data(&mut self, entry: &Entry, size: u64, data: &mut dyn Read) -> Result<(), TarWriteError> {
        let failed = |source| TarWriteError::Data { path: entry.path.clone(), source };
        let changed = |actual| TarWriteError::Size { path: entry.path.clone(), expected: size, actual };
        let mut left = size;
        while left > 0 {
            if self.filled == BUFFER {
                self.flush()?;
            }
            let space = &mut self.buffer[self.filled..];
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(space.len());
            match data.read(&mut space[..limit]) {
                Ok(0) => return Err(changed(Some(size - left))),
                Ok(count) => {
                    self.filled += count;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        loop {
            match data.read(&mut [0]) {
                Ok(0) => break,
                Ok(_) => return Err(changed(None)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.pad(size)?;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.put(&[0; BLOCK][rest..]) }
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.filled == BUFFER {
                self.flush()?;
            }
            let count = bytes.len().min(BUFFER - self.filled);
            self.buffer[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.buffer[..self.filled])?;
        self.filled = 0;
        Ok(())
    }
}

/// Only relative paths without detours are written, so that every reader takes them alike.
fn check_path(path: &[u8]) -> Result<(), TarWriteError> {
    let odd = |part: &[u8]| matches!(part, b"" | b"." | b"..");
    if !path.is_empty() && (path.contains(&0) || path.split(|byte| *byte == b'/').any(odd)) {
        return Err(TarWriteError::Name { path: path.to_vec() });
    }
    Ok(())
}
