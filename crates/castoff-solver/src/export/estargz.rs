//! eStargz: gzip layers from which a reader may take single files (stargz-snapshotter, docs/estargz.md).
//!
//! ```text
//! gzip members   headers | data of a file, at most 4 MiB | headers | data | ...
//! gzip member    stargz.index.json (the table of contents) and the end of the archive
//! gzip member    empty; its extra field says where the one before begins
//! ```
//!
//! All members together are a tar like any other, with two entries more: the table, and a landmark that
//! says that nothing is to be fetched in advance. So the layer has another diff id than without them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_layer::{
    Entry, EntryKind, ReadOptions, TarOptions, TarReadError, TarWriteError, TarWriter, read_tar,
};
use castoff_oci::{Digest, Hasher};
use serde::Serialize;

/// Data of a file per member.
const CHUNK: u64 = 4 << 20;
/// Bytes of headers after which a member ends all the same, so that memory is bounded.
const HEADERS: usize = 1 << 20;
const TABLE: &str = "stargz.index.json";
const LANDMARK: &str = ".no.prefetch.landmark";
const OTHER_LANDMARK: &str = ".prefetch.landmark";

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estargz {
    /// Digest of the uncompressed tar, which has more entries than what was read.
    pub diff: Digest,
    /// Size of the uncompressed tar in bytes.
    pub size: u64,
    /// Digest of the table of contents, which the layer's descriptor is annotated with.
    pub table: Digest,
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EstargzError {
    /// The layer is not a tar that castoff reads.
    #[error("reading the layer")]
    Read(#[from] TarReadError),
    /// Reading or writing failed.
    #[error("writing the layer")]
    Io(#[from] io::Error),
    /// The landmark or the table could not be written.
    #[error("writing the table of contents")]
    Table(#[from] TarWriteError),
    /// The table is JSON, and a name is not UTF-8.
    #[error("the table of contents cannot hold the name `{}`, which is not UTF-8", .0.escape_ascii())]
    Name(Vec<u8>),
}

/// Compresses an uncompressed tar. Its bytes stay the same, except that the table and the landmark of an
/// earlier writing are replaced.
///
/// # Errors
/// When `input` is no tar, a name in it is not UTF-8, or `output` cannot be written.
pub fn write_estargz(
    input: &mut dyn Read,
    output: &mut dyn Write,
    level: Option<u32>,
) -> Result<Estargz, EstargzError> {
    let level = i32::try_from(level.unwrap_or(6)).unwrap_or(i32::MAX);
    let level = libdeflater::CompressionLvl::new(level)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip levels are 0 to 12"))?;
    let mut members = Members {
        output,
        compressor: libdeflater::Compressor::new(level),
        current: Vec::new(),
        offset: 0,
        hasher: Hasher::new(),
        size: 0,
    };
    let mut table = Table { version: 1, entries: Vec::new() };
    landmark(&mut members, &mut table)?;
    let seen = RefCell::new(Seen { bytes: VecDeque::new(), position: 0 });
    let mut recorded = Recorder { inner: input, seen: &seen };
    let mut failed = None;
    // Where the last entry ends, with its padding.
    let mut end = 0;
    let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
    let read = read_tar(&mut recorded, options, &mut |entry, data, offset| {
        add(&entry, data, offset, &mut end, &seen, &mut members, &mut table).map_err(|error| match error {
            EstargzError::Read(error) => error,
            other => {
                failed = Some(other);
                TarReadError::Io(io::Error::other("stopped"))
            }
        })
    });
    if let Some(failed) = failed {
        return Err(failed);
    }
    read?;
    // What is left is the end of the archive, and comes after the table.
    let padding = seen.borrow_mut().take(end);
    members.write(&padding)?;
    members.close()?;
    finish(members, &table)
}

fn landmark(members: &mut Members<'_>, table: &mut Table) -> Result<(), EstargzError> {
    let content = [0xf_u8];
    let tar = one_entry(LANDMARK, &content)?;
    members.write(&tar[..512])?;
    members.close()?;
    let digest = Digest::of(&content).to_string();
    table.entries.push(TableEntry {
        name: LANDMARK.to_owned(),
        kind: "reg",
        size: 1,
        modified: Some("1970-01-01T00:00:00Z".to_owned()),
        mode: 0o644,
        offset: members.offset,
        digest: Some(digest.clone()),
        chunk_digest: Some(digest),
        ..TableEntry::default()
    });
    members.write(&tar[512..1024])?;
    Ok(())
}

/// Returns a tar of one file, with its end.
fn one_entry(name: &str, content: &[u8]) -> Result<Vec<u8>, EstargzError> {
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    let entry = Entry {
        path: name.as_bytes().to_vec(),
        kind: EntryKind::File { size: content.len() as u64 },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Default::default(),
        xattrs: Default::default(),
    };
    tar.append(&entry, &mut &content[..])?;
    Ok(tar.finish()?)
}

/// Passes an entry on, and describes it.
fn add(
    entry: &Entry,
    data: &mut dyn Read,
    offset: u64,
    end: &mut u64,
    seen: &RefCell<Seen>,
    members: &mut Members<'_>,
    table: &mut Table,
) -> Result<(), EstargzError> {
    let before = seen.borrow_mut().take(*end);
    members.write(&before)?;
    let size = if let EntryKind::File { size } = entry.kind { size } else { 0 };
    *end = (offset + size).next_multiple_of(512);
    if [TABLE, LANDMARK, OTHER_LANDMARK].iter().any(|own| own.as_bytes() == entry.path) {
        io::copy(data, &mut io::sink())?;
        seen.borrow_mut().take(*end);
        return Ok(());
    }
    let header = seen.borrow_mut().take(offset);
    members.write(&header)?;
    let mut described = describe(entry)?;
    if size == 0 {
        if members.current.len() >= HEADERS {
            members.close()?;
        }
        if described.kind == "reg" {
            described.digest = Some(Digest::of(b"").to_string());
        }
        table.entries.push(described);
        return Ok(());
    }
    let first = table.entries.len();
    let (mut whole, mut done) = (Hasher::new(), 0);
    while done < size {
        let length = CHUNK.min(size - done);
        members.close()?;
        let mut chunk = Vec::new();
        data.take(length).read_to_end(&mut chunk)?;
        whole.update(&chunk);
        described.offset = members.offset;
        described.chunk_offset = done;
        described.chunk_size = if size - done > length { length } else { 0 };
        described.chunk_digest = Some(Digest::of(&chunk).to_string());
        table.entries.push(described);
        members.write(&chunk)?;
        done += length;
        seen.borrow_mut().take(offset + done);
        described = TableEntry { name: text(&entry.path)?, kind: "chunk", ..TableEntry::default() };
    }
    table.entries[first].digest = Some(whole.finish().to_string());
    Ok(())
}

fn describe(entry: &Entry) -> Result<TableEntry, EstargzError> {
    let mut described = TableEntry {
        name: text(&entry.path)?,
        modified: Some(time(entry.mtime.seconds)),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        ..TableEntry::default()
    };
    for (name, value) in &entry.xattrs {
        described.xattrs.insert(text(name)?, STANDARD.encode(value));
    }
    match &entry.kind {
        EntryKind::File { size } => {
            described.kind = "reg";
            described.size = *size;
        }
        // Whiteouts and markers are files to a reader that was not told of them.
        EntryKind::Whiteout | EntryKind::Socket => described.kind = "reg",
        EntryKind::Directory { .. } => {
            described.kind = "dir";
            described.name.push('/');
        }
        EntryKind::Symlink { target } => {
            described.kind = "symlink";
            described.link = text(target)?;
        }
        EntryKind::Hardlink { target } => {
            described.kind = "hardlink";
            described.link = text(target)?;
        }
        EntryKind::CharDevice { major, minor } => {
            described.kind = "char";
            (described.major, described.minor) = (*major, *minor);
        }
        EntryKind::BlockDevice { major, minor } => {
            described.kind = "block";
            (described.major, described.minor) = (*major, *minor);
        }
        EntryKind::Fifo => described.kind = "fifo",
    }
    Ok(described)
}

fn text(bytes: &[u8]) -> Result<String, EstargzError> {
    String::from_utf8(bytes.to_vec()).map_err(|error| EstargzError::Name(error.into_bytes()))
}

/// Returns an instant in RFC 3339.
fn time(seconds: i64) -> String {
    let earliest = jiff::Timestamp::MIN.as_second();
    let latest = jiff::Timestamp::MAX.as_second();
    jiff::Timestamp::from_second(seconds.clamp(earliest, latest))
        .expect("the instant was clamped")
        .to_string()
}

/// Writes the table and the last member.
fn finish(mut members: Members<'_>, table: &Table) -> Result<Estargz, EstargzError> {
    let json = serde_json::to_vec_pretty(table).expect("names are strings");
    let offset = members.offset;
    members.write(&one_entry(TABLE, &json)?)?;
    members.close()?;
    let footer = footer(offset);
    members.output.write_all(&footer)?;
    members.output.flush()?;
    Ok(Estargz { diff: members.hasher.finish(), size: members.size, table: Digest::of(&json) })
}

/// Returns an empty gzip member of 51 bytes whose extra field says where the table begins.
fn footer(offset: u64) -> Vec<u8> {
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    let field = format!("{offset:016x}STARGZ");
    footer.extend((field.len() as u16 + 4).to_le_bytes());
    footer.extend(*b"SG");
    footer.extend((field.len() as u16).to_le_bytes());
    footer.extend(field.as_bytes());
    // One stored block without content, and the checksum and size of nothing.
    footer.extend([1, 0, 0, 0xff, 0xff]);
    footer.extend([0; 8]);
    footer
}

/// The members of the output.
struct Members<'a> {
    output: &'a mut dyn Write,
    compressor: libdeflater::Compressor,
    /// What the member in the making is of.
    current: Vec<u8>,
    /// Where it will begin.
    offset: u64,
    /// Over all that is uncompressed.
    hasher: Hasher,
    size: u64,
}

impl Members<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.current.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the member, unless it is empty.
    fn close(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; self.compressor.gzip_compress_bound(self.current.len())];
        let length = self.compressor.gzip_compress(&self.current, &mut bytes).map_err(io::Error::other)?;
        self.output.write_all(&bytes[..length])?;
        self.offset += length as u64;
        self.current.clear();
        Ok(())
    }
}

/// What of the input was read and not yet passed on.
struct Seen {
    bytes: VecDeque<u8>,
    /// Where it begins in the input.
    position: u64,
}

impl Seen {
    /// Takes the bytes before a position of the input; all of them were read.
    fn take(&mut self, position: u64) -> Vec<u8> {
        let count = usize::try_from(position.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let count = count.min(self.bytes.len());
        self.position += count as u64;
        self.bytes.drain(..count).collect()
    }
}

/// Keeps what is read through it.
struct Recorder<'a> {
    inner: &'a mut dyn Read,
    seen: &'a RefCell<Seen>,
}

impl Read for Recorder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.seen.borrow_mut().bytes.extend(&buffer[..count]);
        Ok(count)
    }
}

/// The table of contents, in the form of the format's document.
#[derive(Serialize)]
struct Table {
    version: u32,
    entries: Vec<TableEntry>,
}

#[derive(Default, Serialize)]
struct TableEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(rename = "linkName", skip_serializing_if = "String::is_empty")]
    link: String,
    #[serde(skip_serializing_if = "is_zero_32")]
    mode: u32,
    #[serde(skip_serializing_if = "is_zero_32")]
    uid: u32,
    #[serde(skip_serializing_if = "is_zero_32")]
    gid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(rename = "devMajor", skip_serializing_if = "is_zero_32")]
    major: u32,
    #[serde(rename = "devMinor", skip_serializing_if = "is_zero_32")]
    minor: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(rename = "chunkOffset", skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(rename = "chunkSize", skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(rename = "chunkDigest", skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_32(number: &u32) -> bool {
    *number == 0
}
