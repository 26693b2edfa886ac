//! Reading tars from anybody: names are checked before anyone sees them.
//!
//! The `tar` crate finds the entries (GNU and PAX extensions, sizes); what they mean is decided here.
//! A leading slash or `./` is dropped as every unpacker does; `..` and NUL bytes are refused (B-062,
//! B-219).

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::entry::{Entry, EntryKind, Timestamp};

const XATTR: &[u8] = b"SCHILY.xattr.";

/// How a tar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether `.wh.` names are whiteouts, as in layers, or ordinary files, as in archives.
    pub whiteouts: bool,
    /// Bounds against archives that are made to exhaust their reader.
    pub limits: Limits,
}

/// Bounds on an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of data in all files together.
    pub bytes: u64,
    /// Longest path in bytes.
    pub path: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 20_000_000, bytes: 4 << 40, path: 32 << 10 }
    }
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { whiteouts: true, limits: Limits::default() }
    }
}

/// Why a tar was refused.
#[derive(Debug, thiserror::Error)]
pub enum TarReadError {
    /// Reading failed, or the bytes are no tar.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A name leads out of the root.
    #[error("entry `{0}` escapes the root")]
    Escape(String),
    /// A name holds a byte that no file name may hold, or is too long.
    #[error("entry `{0}` has a name that no file can have")]
    Name(String),
    /// The archive holds more than the limits allow.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A kind of entry that castoff does not read.
    #[error("entry `{path}` is of the type `{kind}`, which castoff does not read")]
    Kind {
        /// Which entry.
        path: String,
        /// The type byte, printable.
        kind: String,
    },
}

/// Reads a tar and shows each entry with its data and the offset of that data in the stream. The
/// visitor need not read the data.
///
/// # Errors
/// When reading fails, an entry is refused, or the visitor returns an error.
pub fn read_tar(
    reader: &mut dyn Read,
    options: ReadOptions,
    visit: &mut dyn FnMut(Entry, &mut dyn Read, u64) -> Result<(), TarReadError>,
) -> Result<(), TarReadError> {
    let mut archive = tar::Archive::new(reader);
    let mut count = 0;
    let mut bytes = 0u64;
    for found in archive.entries()? {
        let mut found = found?;
        let kind = found.header().entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader) {
            continue;
        }
        count += 1;
        if count > options.limits.entries {
            return Err(TarReadError::Limit { what: "entries", limit: options.limits.entries });
        }
        bytes = bytes.saturating_add(found.size());
        if bytes > options.limits.bytes {
            return Err(TarReadError::Limit { what: "bytes", limit: options.limits.bytes });
        }
        let path = clean(&found.path_bytes(), options.limits.path)?;
        let (xattrs, pax_mtime) = extensions(&mut found)?;
        let header = found.header();
        let number = |field: io::Result<u64>| field.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        let mut entry = Entry {
            kind: EntryKind::Fifo,
            mode: header.mode()? & 0o7777,
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            mtime: pax_mtime.unwrap_or(Timestamp { seconds: signed(header.mtime()?), nanos: 0 }),
            xattrs,
            path,
        };
        let link = |found: &tar::Entry<'_, &mut dyn Read>| -> Result<Vec<u8>, TarReadError> {
            let target = found.link_name_bytes().unwrap_or_default().into_owned();
            if target.is_empty() || target.contains(&0) || target.len() > options.limits.path {
                return Err(TarReadError::Name(shown(&found.path_bytes())));
            }
            Ok(target)
        };
        entry.kind = match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                // Archives from before POSIX mark a directory by its slash alone.
                if kind == tar::EntryType::Regular && found.path_bytes().ends_with(b"/") {
                    EntryKind::Directory { opaque: false }
                } else {
                    EntryKind::File { size: found.size() }
                }
            }
            tar::EntryType::Directory => EntryKind::Directory { opaque: false },
            tar::EntryType::Symlink => EntryKind::Symlink { target: link(&found)? },
            tar::EntryType::Link => {
                EntryKind::Hardlink { target: clean(&link(&found)?, options.limits.path)? }
            }
            tar::EntryType::Char => EntryKind::CharDevice {
                major: header.device_major()?.unwrap_or(0),
                minor: header.device_minor()?.unwrap_or(0),
            },
            tar::EntryType::Block => EntryKind::BlockDevice {
                major: header.device_major()?.unwrap_or(0),
                minor: header.device_minor()?.unwrap_or(0),
            },
            tar::EntryType::Fifo => EntryKind::Fifo,
            other => {
                return Err(TarReadError::Kind {
                    path: shown(&entry.path),
                    kind: char::from(other.as_byte()).escape_default().to_string(),
                });
            }
        };
        if entry.path.is_empty() && !matches!(entry.kind, EntryKind::Directory { .. }) {
            return Err(TarReadError::Name(shown(&found.path_bytes())));
        }
        if options.whiteouts && !interpret_whiteout(&mut entry)? {
            continue;
        }
        let offset = found.raw_file_position();
        visit(entry, &mut found, offset)?;
    }
    Ok(())
}

/// Turns `.wh.name` into a whiteout of `name` and `.wh..wh..opq` into an opaque directory. Returns
/// false for the other names that aufs reserves, which mean nothing in a layer.
fn interpret_whiteout(entry: &mut Entry) -> Result<bool, TarReadError> {
    let start = entry.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let Some(name) = entry.path[start..].strip_prefix(b".wh.") else { return Ok(true) };
    if name == b".wh..opq" {
        entry.path.truncate(start.saturating_sub(1));
        entry.kind = EntryKind::Directory { opaque: true };
        return Ok(true);
    }
    if name.starts_with(b".wh.") {
        return Ok(false);
    }
    if name.is_empty() || name == b"." || name == b".." {
        return Err(TarReadError::Name(shown(&entry.path)));
    }
    let name = name.to_vec();
    entry.path.truncate(start);
    entry.path.extend_from_slice(&name);
    entry.kind = EntryKind::Whiteout;
    Ok(true)
}

/// Returns a name relative to the root, without empty and `.` components.
fn clean(name: &[u8], limit: usize) -> Result<Vec<u8>, TarReadError> {
    if name.contains(&0) || name.len() > limit {
        return Err(TarReadError::Name(shown(name)));
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(TarReadError::Escape(shown(name))),
            _ if component.len() > 255 => return Err(TarReadError::Name(shown(name))),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

type Extensions = (BTreeMap<Vec<u8>, Vec<u8>>, Option<Timestamp>);

/// Returns what the entry's PAX header says beyond what the `tar` crate applies by itself.
fn extensions(entry: &mut tar::Entry<'_, &mut dyn Read>) -> Result<Extensions, TarReadError> {
    let mut xattrs = BTreeMap::new();
    let mut mtime = None;
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = extension.key_bytes();
            if let Some(name) = key.strip_prefix(XATTR) {
                xattrs.insert(name.to_vec(), extension.value_bytes().to_vec());
            } else if key == b"mtime" {
                mtime = std::str::from_utf8(extension.value_bytes()).ok().and_then(decimal_time);
            }
        }
    }
    Ok((xattrs, mtime))
}

/// Parses seconds with a fraction, possibly negative.
fn decimal_time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(if negative && nanos > 0 {
        Timestamp { seconds: seconds - 1, nanos: 1_000_000_000 - nanos }
    } else {
        Timestamp { seconds, nanos }
    })
}

/// GNU tar writes times before 1970 as negative numbers in base 256.
fn signed(seconds: u64) -> i64 {
    seconds as i64
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
