//! Layer tars in, entry by entry, hostile ones refused.
//!
//! Understood are V7, ustar, star and GNU headers, GNU long names and PAX records. Where parsers of the
//! field differ, Go's `archive/tar` is followed, because registries and runtimes read layers with it: what
//! one parser sees and another does not is how files are smuggled.
//!
//! PAX records are parsed here by their stated length, since values (extended attributes, names) may
//! contain any byte, the newline included. Nothing that a header announces is allocated before it has
//! arrived.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use crate::entry::{Entry, EntryKind, Timestamp, join, split};
use crate::tar_header::{BLOCK, Field, Header};
use crate::tar_pax::Records;

/// How a tar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether `.wh.` names are whiteouts, as in a layer, or files, as in any other archive.
    pub whiteouts: bool,
    /// What is too much.
    pub limits: Limits,
}

/// Bounds on what one archive may make its reader do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many entries there may be.
    pub entries: u64,
    /// How many bytes the long name or the PAX records of one entry may have. Go's limit is 1 MiB.
    pub extension: u64,
    /// How many components a path may have.
    pub depth: usize,
    /// How many bytes of file data there may be in all.
    pub bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { whiteouts: true, limits: Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 100_000_000, extension: 1024 * 1024, depth: 4096, bytes: u64::MAX }
    }
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TarReadError {
    /// The stream failed, or ended too early.
    #[error("archive cannot be read")]
    Io(#[from] io::Error),
    /// What should be a header is none.
    #[error("no tar header at byte {offset}")]
    Header {
        /// Where in the stream.
        offset: u64,
    },
    /// A number or record of a header makes no sense.
    #[error("header at byte {offset} has an invalid {field}")]
    Field {
        /// Where in the stream.
        offset: u64,
        /// Which field.
        field: Field,
    },
    /// A name has `..` as a component.
    #[error("entry `{}` escapes the root", path.escape_ascii())]
    Escape {
        /// The name as the archive has it.
        path: Vec<u8>,
    },
    /// A name contains a NUL byte or, where one is needed, nothing.
    #[error("entry `{}` has an invalid name or link target", path.escape_ascii())]
    Name {
        /// The name as the archive has it.
        path: Vec<u8>,
    },
    /// A whiteout of something that cannot be named.
    #[error("entry `{}` is not a valid whiteout", path.escape_ascii())]
    Whiteout {
        /// The name as the archive has it.
        path: Vec<u8>,
    },
    /// A sparse file.
    #[error("entry `{}` is a sparse file", path.escape_ascii())]
    Sparse {
        /// The name as the archive has it.
        path: Vec<u8>,
    },
    /// A kind of entry that has no meaning in a file system tree.
    #[error("entry `{}` is of the unknown type `{}`", path.escape_ascii(), kind.escape_ascii())]
    Kind {
        /// The name as the archive has it.
        path: Vec<u8>,
        /// The type flag.
        kind: u8,
    },
    /// A limit was exceeded.
    #[error("archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

/// What is shown an entry, a reader of its data, and where in the stream that data begins.
pub type Visit<'a, E> = dyn FnMut(Entry, &mut dyn Read, u64) -> Result<(), E> + 'a;

/// Reads a tar from its beginning to its end-of-archive marker and shows each entry to `visit`, with a
/// reader of its data and the position of that data in the stream.
///
/// `visit` may leave data unread. With [`ReadOptions::whiteouts`], an opaque marker shows its directory
/// with `opaque: true`, a second time if the directory itself was in the archive before. The stream may
/// be read beyond the marker, by less than 64 KiB.
///
/// # Errors
/// When the stream fails or the archive is damaged or hostile, and whatever `visit` returns.
pub fn read_tar(
    reader: &mut dyn Read,
    options: ReadOptions,
    visit: &mut Visit<'_, TarReadError>,
) -> Result<(), TarReadError> {
    walk(reader, options, visit)
}

/// [`read_tar`] for visitors with errors of their own.
pub(crate) fn walk<E: From<TarReadError>>(
    reader: &mut dyn Read,
    options: ReadOptions,
    visit: &mut Visit<'_, E>,
) -> Result<(), E> {
    let mut stream = Stream { inner: BufReader::with_capacity(64 * 1024, reader), position: 0 };
    let mut whiteouts = options.whiteouts.then(Whiteouts::default);
    let mut pending = Extensions::default();
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    while let Some((header, offset)) = stream.header()? {
        let kind = header.kind();
        match kind {
            b'x' | b'X' => {
                pending.records = Records::parse(&stream.extension(&header, offset, options.limits)?)
                    .ok_or(TarReadError::Field { offset, field: Field::Pax })?;
                continue;
            }
            // Global records are comments in practice (git writes one); Go does not apply them either.
            b'g' => {
                stream.extension(&header, offset, options.limits)?;
                continue;
            }
            b'L' => {
                pending.name = Some(until_nul(stream.extension(&header, offset, options.limits)?));
                continue;
            }
            b'K' => {
                pending.link = Some(until_nul(stream.extension(&header, offset, options.limits)?));
                continue;
            }
            _ => {}
        }
        let extensions = std::mem::take(&mut pending);
        entries += 1;
        if entries > options.limits.entries {
            return Err(TarReadError::Limit { what: "entries", limit: options.limits.entries }.into());
        }
        let parsed = interpret(&header, offset, extensions, options.limits)?;
        let size = if parsed.has_data { parsed.size } else { 0 };
        bytes = bytes.saturating_add(size);
        if bytes > options.limits.bytes {
            return Err(TarReadError::Limit { what: "bytes", limit: options.limits.bytes }.into());
        }
        let data_offset = stream.position;
        let mut data = Data { stream: &mut stream, left: size };
        if let Some(mut entry) = parsed.entry {
            let shown = match &mut whiteouts {
                Some(whiteouts) => whiteouts.translate(&mut entry)?,
                None => true,
            };
            if shown {
                visit(entry, &mut data, data_offset)?;
            }
        }
        let left = data.left;
        stream.skip(left).map_err(TarReadError::Io)?;
        stream.skip(size.next_multiple_of(BLOCK as u64) - size).map_err(TarReadError::Io)?;
    }
    if pending.is_empty() { Ok(()) } else { Err(TarReadError::Header { offset: stream.position }.into()) }
}

/// What extension entries say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.name.is_none() && self.link.is_none()
    }
}

/// A header with its extensions applied.
struct Parsed {
    /// `None` for what belongs to the archive and not to the tree.
    entry: Option<Entry>,
    size: u64,
    has_data: bool,
}

fn interpret(
    header: &Header,
    offset: u64,
    extensions: Extensions,
    limits: Limits,
) -> Result<Parsed, TarReadError> {
    let Extensions { mut records, name, link } = extensions;
    let bad = |field| TarReadError::Field { offset, field };
    // PAX wins over GNU, as in Go.
    let raw = records.take("path").or(name).unwrap_or_else(|| header.path());
    let raw_link = records.take("linkpath").or(link).unwrap_or_else(|| header.link());
    let size = match records.take("size") {
        Some(text) => decimal(&text).ok_or(bad(Field::Size))?,
        None => header.size().ok_or(bad(Field::Size))?,
    };
    // Rounding up to blocks must not overflow; no file system has such a file.
    if size > i64::MAX as u64 {
        return Err(bad(Field::Size));
    }
    let uid = match records.take("uid") {
        Some(text) => decimal(&text),
        None => header.uid(),
    };
    let gid = match records.take("gid") {
        Some(text) => decimal(&text),
        None => header.gid(),
    };
    let uid = uid.and_then(id).ok_or(bad(Field::Uid))?;
    let gid = gid.and_then(id).ok_or(bad(Field::Gid))?;
    let mtime = match records.take("mtime") {
        Some(text) => fraction(&text),
        None => header.mtime().map(|seconds| Timestamp { seconds, nanos: 0 }),
    };
    let mtime = mtime.ok_or(bad(Field::Mtime))?;
    if records.is_sparse() {
        return Err(TarReadError::Sparse { path: raw });
    }
    let xattrs = records.xattrs().ok_or(bad(Field::Pax))?;

    let flag = header.kind();
    let device = |block: bool| -> Result<EntryKind, TarReadError> {
        let (major, minor) = header.device().ok_or(bad(Field::Device))?;
        Ok(if block {
            EntryKind::BlockDevice { major, minor }
        } else {
            EntryKind::CharDevice { major, minor }
        })
    };
    let kind = match flag {
        // V7 had no directories but names that end in a slash.
        b'0' | 0 | b'7' if raw.ends_with(b"/") => EntryKind::Directory { opaque: false },
        b'0' | 0 | b'7' => EntryKind::File { size },
        b'1' => EntryKind::Hardlink { target: relative(&raw_link, limits)? },
        b'2' => EntryKind::Symlink { target: checked(&raw_link, &raw)? },
        b'3' => device(false)?,
        b'4' => device(true)?,
        b'5' => EntryKind::Directory { opaque: false },
        b'6' => EntryKind::Fifo,
        b'S' => return Err(TarReadError::Sparse { path: raw }),
        // The label of a GNU archive.
        b'V' => return Ok(Parsed { entry: None, size, has_data: true }),
        kind => return Err(TarReadError::Kind { path: raw, kind }),
    };
    let path = relative(&raw, limits)?;
    let is_directory = matches!(kind, EntryKind::Directory { .. });
    if path.is_empty() && !is_directory {
        return Err(TarReadError::Name { path: raw });
    }
    if let EntryKind::Hardlink { target } = &kind
        && target.is_empty()
    {
        return Err(TarReadError::Name { path: raw });
    }
    // Some writers state sizes for entries that have no data; like Go, take them as having none. But a
    // file with a trailing slash keeps its data in the stream.
    let has_data = matches!(flag, b'0' | 0 | b'7');
    let mode = header.mode().ok_or(bad(Field::Mode))? & 0o7777;
    Ok(Parsed { entry: Some(Entry { path, kind, mode, uid, gid, mtime, xattrs }), size, has_data })
}

/// Makes a name of an archive relative to the root: leading slashes and `.` components go, `..` is
/// refused (B-219).
pub(crate) fn relative(raw: &[u8], limits: Limits) -> Result<Vec<u8>, TarReadError> {
    if raw.contains(&0) {
        return Err(TarReadError::Name { path: raw.to_vec() });
    }
    let mut path = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(TarReadError::Escape { path: raw.to_vec() }),
            _ => {}
        }
        depth += 1;
        if depth > limits.depth {
            return Err(TarReadError::Limit { what: "components in a path", limit: limits.depth as u64 });
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Ok(path)
}

fn checked(target: &[u8], path: &[u8]) -> Result<Vec<u8>, TarReadError> {
    if target.is_empty() || target.contains(&0) {
        return Err(TarReadError::Name { path: path.to_vec() });
    }
    Ok(target.to_vec())
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

/// The largest number is no id: to the kernel it means "leave it as it is".
fn id(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses `[-]seconds[.fraction]`.
fn fraction(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !part.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let digits = part.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, nanos) => Timestamp { seconds, nanos },
        (true, 0) => Timestamp { seconds: -seconds, nanos: 0 },
        (true, nanos) => Timestamp { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Gives `.wh.` names their meaning.
#[derive(Default)]
struct Whiteouts {
    /// The directories so far: an opaque marker may come long after its directory.
    directories: HashMap<Vec<u8>, Entry>,
}

/// The prefix of whiteouts; the OCI image specification, "Layer Filesystem Changeset".
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// The file that makes its directory opaque.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

impl Whiteouts {
    /// Translates an entry in place; `false` if it means nothing.
    fn translate(&mut self, entry: &mut Entry) -> Result<bool, TarReadError> {
        let (directory, name) = split(&entry.path);
        // Only a whole name can be a whiteout; as a directory it could never be written again.
        if directory.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(TarReadError::Whiteout { path: entry.path.clone() });
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if name == OPAQUE {
                let path = directory.to_vec();
                *entry = match self.directories.get(&path) {
                    Some(known) => known.clone(),
                    None => implied(path),
                };
                entry.kind = EntryKind::Directory { opaque: true };
                return Ok(true);
            }
            // Other names of AUFS (`.wh..wh.plnk`) are its own bookkeeping; Docker skips them as well.
            if hidden.starts_with(WHITEOUT) {
                return Ok(false);
            }
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(TarReadError::Whiteout { path: entry.path.clone() });
            }
            *entry = whiteout(join(directory, hidden));
            return Ok(true);
        }
        match entry.kind {
            // Overlayfs takes it for a whiteout, so every engine on overlayfs does.
            EntryKind::CharDevice { major: 0, minor: 0 } => {
                *entry = whiteout(std::mem::take(&mut entry.path))
            }
            EntryKind::Directory { .. } => {
                self.directories.insert(entry.path.clone(), entry.clone());
            }
            _ => {}
        }
        Ok(true)
    }
}

/// A whiteout has no metadata, so that equal trees make equal layers.
pub(crate) fn whiteout(path: Vec<u8>) -> Entry {
    let (mode, uid, gid) = (0, 0, 0);
    Entry {
        path,
        kind: EntryKind::Whiteout,
        mode,
        uid,
        gid,
        mtime: Timestamp::default(),
        xattrs: Default::default(),
    }
}

/// A directory of which an archive has only the content.
pub(crate) fn implied(path: Vec<u8>) -> Entry {
    let kind = EntryKind::Directory { opaque: false };
    let mtime = Timestamp::default();
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() }
}

/// The archive's bytes and how many have gone by.
struct Stream<'a> {
    inner: BufReader<&'a mut dyn Read>,
    position: u64,
}

impl Stream<'_> {
    /// Reads the next header; `None` at the end of the archive, which is a zero block followed by another
    /// or by nothing, or simply the end of the stream.
    fn header(&mut self) -> Result<Option<(Header, u64)>, TarReadError> {
        let offset = self.position;
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            let header = Header::parse(block).ok_or(TarReadError::Header { offset })?;
            return Ok(Some((header, offset)));
        }
        match self.block()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => Err(TarReadError::Header { offset }),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(block))
    }

    /// Reads the data of an extension entry whole.
    fn extension(&mut self, header: &Header, offset: u64, limits: Limits) -> Result<Vec<u8>, TarReadError> {
        let size = header.size().ok_or(TarReadError::Field { offset, field: Field::Size })?;
        if size > limits.extension {
            let (what, limit) = ("bytes of records for one entry", limits.extension);
            return Err(TarReadError::Limit { what, limit });
        }
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data)?;
        self.skip(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(data)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(count), &mut io::sink())?;
        if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// The data of one entry. Its end is exact: an archive that ends before is an error.
struct Data<'a, 'b> {
    stream: &'a mut Stream<'b>,
    left: u64,
}

impl Read for Data<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}
