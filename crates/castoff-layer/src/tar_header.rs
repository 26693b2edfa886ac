//! The 512 bytes in front of every tar entry.
//!
//! ```text
//!   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
//! 156 type 1   | 157 linkname 100 | 257 magic 6 | 263 version 2 | 265 uname 32 | 297 gname 32
//! 329 devmajor 8 | 337 devminor 8 | 345 prefix 155 | 500 unused 12
//! ```
//!
//! Numbers are octal text; GNU writes those that do not fit as big-endian two's complement with the top
//! bit of the first byte set.

use std::fmt;
use std::ops::Range;

/// Headers are one block, data is padded to whole blocks.
pub(crate) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// Star keeps times behind a shorter prefix, and its own magic at the end.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;

/// A part of a header that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Permission bits.
    Mode,
    /// Owner.
    Uid,
    /// Group.
    Gid,
    /// Bytes of data.
    Size,
    /// Modification time.
    Mtime,
    /// Device numbers.
    Device,
    /// PAX records.
    Pax,
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Field::Mode => "mode",
            Field::Uid => "owner",
            Field::Gid => "group",
            Field::Size => "size",
            Field::Mtime => "modification time",
            Field::Device => "device number",
            Field::Pax => "PAX record",
        })
    }
}

/// Returns whether these bytes begin with the first header of a tar.
///
/// Takes the first 512 bytes of a stream, after decompression. An archive without entries is not
/// recognised, since it is all zeros.
pub fn is_tar(header: &[u8]) -> bool {
    let Some(block) = header.first_chunk::<BLOCK>() else { return false };
    block.iter().any(|byte| *byte != 0) && Header::parse(*block).is_some()
}

/// A header whose checksum is right.
pub(crate) struct Header([u8; BLOCK]);

impl Header {
    /// Checks the checksum, which old writers computed over signed bytes.
    pub(crate) fn parse(block: [u8; BLOCK]) -> Option<Header> {
        let stated = octal(&block[CHECKSUM])?;
        let right = stated == checksum(&block) || i64::try_from(stated) == Ok(signed_checksum(&block));
        right.then_some(Header(block))
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[KIND]
    }

    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let prefix = match &self.0[MAGIC] {
            b"ustar\0" if &self.0[STAR_MAGIC] == b"tar\0" => text(&self.0[STAR_PREFIX]),
            b"ustar\0" => text(&self.0[PREFIX]),
            // GNU keeps other things there.
            _ => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[LINK]).to_vec()
    }

    pub(crate) fn mode(&self) -> Option<u32> {
        // Some writers put the type into the upper bits.
        number(&self.0[MODE]).and_then(|mode| u32::try_from(mode).ok())
    }

    pub(crate) fn uid(&self) -> Option<u64> {
        number(&self.0[UID]).and_then(|id| u64::try_from(id).ok())
    }

    pub(crate) fn gid(&self) -> Option<u64> {
        number(&self.0[GID]).and_then(|id| u64::try_from(id).ok())
    }

    pub(crate) fn size(&self) -> Option<u64> {
        number(&self.0[SIZE]).and_then(|size| u64::try_from(size).ok())
    }

    pub(crate) fn mtime(&self) -> Option<i64> {
        number(&self.0[MTIME])
    }

    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        let major = u32::try_from(number(&self.0[MAJOR])?).ok()?;
        let minor = u32::try_from(number(&self.0[MINOR])?).ok()?;
        Some((major, minor))
    }
}

/// A ustar header under construction.
pub(crate) struct HeaderWriter([u8; BLOCK]);

impl HeaderWriter {
    pub(crate) fn new(kind: u8) -> HeaderWriter {
        let mut block = [0; BLOCK];
        block[KIND] = kind;
        block[MAGIC].copy_from_slice(b"ustar\0");
        block[263..265].copy_from_slice(b"00");
        let mut header = HeaderWriter(block);
        for field in [MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR] {
            header.octal(field, 0);
        }
        header
    }

    /// Sets the path; returns whether it fits, split over prefix and name where necessary.
    pub(crate) fn path(&mut self, path: &[u8]) -> bool {
        let Some((prefix, name)) = split_ustar(path) else {
            // A reader that knows no PAX at least sees where it belongs.
            let length = path.len().min(NAME.len());
            self.0[..length].copy_from_slice(&path[..length]);
            return false;
        };
        self.0[..name.len()].copy_from_slice(name);
        self.0[PREFIX.start..PREFIX.start + prefix.len()].copy_from_slice(prefix);
        true
    }

    /// Sets the link target; returns whether it fits.
    pub(crate) fn link(&mut self, target: &[u8]) -> bool {
        let length = target.len().min(LINK.len());
        self.0[LINK.start..LINK.start + length].copy_from_slice(&target[..length]);
        target.len() <= LINK.len()
    }

    pub(crate) fn mode(&mut self, mode: u32) {
        self.octal(MODE, u64::from(mode));
    }

    /// Sets the owner; returns whether it fits.
    pub(crate) fn uid(&mut self, uid: u32) -> bool {
        self.octal(UID, u64::from(uid))
    }

    /// Sets the group; returns whether it fits.
    pub(crate) fn gid(&mut self, gid: u32) -> bool {
        self.octal(GID, u64::from(gid))
    }

    /// Sets the size of the data; returns whether it fits.
    pub(crate) fn size(&mut self, size: u64) -> bool {
        self.octal(SIZE, size)
    }

    /// Sets the modification time; returns whether it fits.
    pub(crate) fn mtime(&mut self, seconds: i64) -> bool {
        u64::try_from(seconds).is_ok_and(|seconds| self.octal(MTIME, seconds))
    }

    /// Sets the device numbers; returns whether they fit.
    pub(crate) fn device(&mut self, major: u32, minor: u32) -> bool {
        self.octal(MAJOR, u64::from(major)) && self.octal(MINOR, u64::from(minor))
    }

    /// Adds the checksum.
    pub(crate) fn finish(mut self) -> [u8; BLOCK] {
        let sum = checksum(&self.0);
        let digits = format!("{sum:06o}\0 ");
        self.0[CHECKSUM].copy_from_slice(digits.as_bytes());
        self.0
    }

    /// Writes zero-padded octal digits and a NUL; leaves the field alone if there are too many.
    fn octal(&mut self, field: Range<usize>, number: u64) -> bool {
        let digits = field.len() - 1;
        if number >> (3 * digits) != 0 {
            return false;
        }
        let mut rest = number;
        for position in field.rev().skip(1) {
            self.0[position] = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
        true
    }
}

/// Splits a path at a slash into a prefix and a name that fit their fields, the prefix as long as possible.
fn split_ustar(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.len() {
        return Some((&[], path));
    }
    // The slash itself is in neither field, and a slash at the very end splits nothing off.
    let end = path.len().min(PREFIX.len() + 1);
    let end = if end == path.len() { end - 1 } else { end };
    let slash = path[..end].iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0)?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= NAME.len() && !name.is_empty()).then_some((prefix, name))
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        return octal(field).and_then(|number| i64::try_from(number).ok());
    }
    // Base 256: the bit below the marker is the sign.
    let negative = field[0] & 0x40 != 0;
    let first = if negative { i64::from(field[0]) - 0x100 } else { i64::from(field[0] & 0x3f) };
    field[1..].iter().try_fold(first, |number, byte| number.checked_mul(256)?.checked_add(i64::from(*byte)))
}

/// Octal digits with spaces or NULs around them; nothing at all is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(padding).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Sums a block up, its checksum field counting as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(block) - sum(&block[CHECKSUM]) + SPACES
}

fn signed_checksum(block: &[u8; BLOCK]) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte as i8)).sum::<i64>();
    sum(block) - sum(&block[CHECKSUM]) + SPACES as i64
}

const SPACES: u64 = 8 * b' ' as u64;
