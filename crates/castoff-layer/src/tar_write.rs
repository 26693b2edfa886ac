//! Writing tars: the same entries always give the same bytes (B-111, B-173).
//!
//! POSIX ustar with PAX records only where a field does not fit: long or odd names, large numbers,
//! extended attributes. Times are whole seconds; names of users and groups are left empty.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::entry::{Entry, EntryKind};

const BLOCK: usize = 512;

/// The largest number that an eight-byte octal field holds.
const OCTAL_8: u64 = 0o7_777_777;

/// The largest number that a twelve-byte octal field holds.
const OCTAL_12: u64 = 0o77_777_777_777;

/// How a tar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TarOptions {
    /// Later modification times become this one, in seconds since 1970 (SOURCE_DATE_EPOCH with
    /// `rewrite-timestamp`, B-170).
    pub clamp_mtime: Option<i64>,
}

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TarWriteError {
    /// The output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The data of an entry could not be read.
    #[error("reading `{path}`: {source}")]
    Data {
        /// Which entry.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file changed its size while it was read (B-071).
    #[error("`{path}` changed while it was read: {announced} bytes were announced and {found} found")]
    Size {
        /// Which entry.
        path: String,
        /// Bytes announced.
        announced: u64,
        /// Bytes found; one more than announced stands for any excess.
        found: u64,
    },
    /// Sockets have no form in a tar.
    #[error("`{0}` is a socket, which no archive can hold")]
    Socket(String),
}

/// Writes a tar, entry by entry.
pub struct TarWriter<W: Write> {
    output: W,
    options: TarOptions,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Returns a writer with nothing written yet.
    pub fn new(output: W, options: TarOptions) -> TarWriter<W> {
        TarWriter { output, options, buffer: vec![0; 256 * 1024] }
    }

    /// Writes an entry. For a file, `data` must give exactly its size; for others it is not read.
    /// Whiteouts become `.wh.<name>`, and an opaque directory is followed by its `.wh..wh..opq`.
    ///
    /// # Errors
    /// When the output fails, or the data does not.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), TarWriteError> {
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        let mut name = entry.path.clone();
        let mut header = Header { mode: entry.mode, uid: entry.uid, gid: entry.gid, ..Header::default() };
        header.mtime = match self.options.clamp_mtime {
            Some(limit) => entry.mtime.seconds.min(limit),
            None => entry.mtime.seconds,
        };
        match &entry.kind {
            EntryKind::File { size } => {
                header.kind = b'0';
                header.size = *size;
            }
            EntryKind::Directory { .. } => {
                header.kind = b'5';
                if name.is_empty() {
                    name.push(b'.');
                }
                name.push(b'/');
            }
            EntryKind::Symlink { target } => {
                header.kind = b'2';
                header.link = target.clone();
            }
            EntryKind::Hardlink { target } => {
                header.kind = b'1';
                header.link = target.clone();
            }
            EntryKind::CharDevice { major, minor } => {
                header.kind = b'3';
                header.device = (*major, *minor);
            }
            EntryKind::BlockDevice { major, minor } => {
                header.kind = b'4';
                header.device = (*major, *minor);
            }
            EntryKind::Fifo => header.kind = b'6',
            EntryKind::Socket => return Err(TarWriteError::Socket(shown())),
            EntryKind::Whiteout => {
                header.kind = b'0';
                let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                name.splice(start..start, b".wh.".iter().copied());
            }
        }
        self.header(&name, &header, &entry.xattrs)?;
        if let EntryKind::File { size } = entry.kind {
            self.data(size, data, &shown)?;
        }
        if let EntryKind::Directory { opaque: true } = entry.kind {
            let mut mark = entry.path.clone();
            if !mark.is_empty() {
                mark.push(b'/');
            }
            mark.extend_from_slice(b".wh..wh..opq");
            let header = Header { kind: b'0', mtime: header.mtime, ..Header::default() };
            self.header(&mark, &header, &BTreeMap::new())?;
        }
        Ok(())
    }

    /// Writes the end of the archive and returns the output.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> Result<W, TarWriteError> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn data(&mut self, size: u64, data: &mut dyn Read, shown: &dyn Fn() -> String) -> Result<(), TarWriteError> {
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match data.read(&mut self.buffer[..room]) {
                Ok(0) => {
                    return Err(TarWriteError::Size { path: shown(), announced: size, found: size - left });
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TarWriteError::Data { path: shown(), source }),
            };
            self.output.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        let excess = loop {
            match data.read(&mut self.buffer[..1]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match excess {
            Ok(0) => {}
            Ok(_) => return Err(TarWriteError::Size { path: shown(), announced: size, found: size + 1 }),
            Err(source) => return Err(TarWriteError::Data { path: shown(), source }),
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), TarWriteError> {
        let rest = (size % BLOCK as u64) as usize;
        if rest > 0 {
            self.output.write_all(&[0; BLOCK][rest..])?;
        }
        Ok(())
    }

    /// Writes a header, with a PAX header in front when a field does not fit.
    fn header(
        &mut self,
        name: &[u8],
        header: &Header,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), TarWriteError> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let split = split_name(name);
        if split.is_none() || !is_plain(name) {
            records.insert(b"path".to_vec(), name.to_vec());
        }
        if header.link.len() > 100 || !is_plain(&header.link) {
            records.insert(b"linkpath".to_vec(), header.link.clone());
        }
        let numbers: [(&[u8], u64, u64); 3] = [
            (b"uid", u64::from(header.uid), OCTAL_8),
            (b"gid", u64::from(header.gid), OCTAL_8),
            (b"size", header.size, OCTAL_12),
        ];
        for (key, value, limit) in numbers {
            if value > limit {
                records.insert(key.to_vec(), value.to_string().into_bytes());
            }
        }
        if header.mtime < 0 || header.mtime as u64 > OCTAL_12 {
            records.insert(b"mtime".to_vec(), header.mtime.to_string().into_bytes());
        }
        for (key, value) in xattrs {
            records.insert([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone());
        }
        if !records.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &records {
                body.extend_from_slice(&pax_record(key, value));
            }
            let pax = Header { kind: b'x', mode: 0o644, size: body.len() as u64, ..Header::default() };
            let base = name.strip_suffix(b"/").unwrap_or(name);
            let base = base.rsplit(|byte| *byte == b'/').next().unwrap_or(base);
            let mut pax_name = b"PaxHeaders.0/".to_vec();
            pax_name.extend(base.iter().copied().filter(u8::is_ascii_graphic).take(80));
            self.output.write_all(&pax.block(b"", &pax_name))?;
            self.output.write_all(&body)?;
            self.pad(body.len() as u64)?;
        }
        let (prefix, rest) = split.unwrap_or_else(|| (&[], &name[..name.len().min(100)]));
        self.output.write_all(&header.block(prefix, rest))?;
        Ok(())
    }
}

#[derive(Default)]
struct Header {
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    link: Vec<u8>,
    device: (u32, u32),
}

impl Header {
    /// Returns the ustar block; numbers that do not fit are zero, because a PAX record has them.
    fn block(&self, prefix: &[u8], name: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        octal(&mut block[100..108], u64::from(self.mode), OCTAL_8);
        octal(&mut block[108..116], u64::from(self.uid), OCTAL_8);
        octal(&mut block[116..124], u64::from(self.gid), OCTAL_8);
        octal(&mut block[124..136], self.size, OCTAL_12);
        octal(&mut block[136..148], u64::try_from(self.mtime).unwrap_or(0), OCTAL_12);
        block[148..156].fill(b' ');
        block[156] = self.kind;
        let link = &self.link[..self.link.len().min(100)];
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], u64::from(self.device.0), OCTAL_8);
        octal(&mut block[337..345], u64::from(self.device.1), OCTAL_8);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum, OCTAL_8);
        block
    }
}

/// Writes a number in octal digits up to a final NUL.
fn octal(field: &mut [u8], value: u64, limit: u64) {
    let mut value = if value > limit { 0 } else { value };
    let (last, digits) = field.split_last_mut().expect("a field has room for a number");
    *last = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// Splits a name into the prefix and name fields of a header, or says that it does not fit.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    let earliest = name.len().checked_sub(101)?;
    let inner = &name[..name.len() - 1];
    let slash = (earliest..inner.len().min(156)).find(|at| name[*at] == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && prefix.len() <= 155 && !rest.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

/// Names outside of ASCII go into a PAX record too, because what a bare header means by them is open.
fn is_plain(name: &[u8]) -> bool {
    name.is_ascii()
}

/// Returns `length key=value\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
