//! Zip archives as streams (APPNOTE.TXT of PKWARE), from local header to local header.
//!
//! The directory at the end of an archive is not needed: whatever it names or leaves out, what the local headers are
//! before is looked at. Nothing is kept, so an archive may have any size.

use std::io::{self, BufRead, Read};

const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";

/// What comes before the data of a member (4.3.7).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    /// 0 is stored, 8 deflate.
    pub(super) method: u16,
    pub(super) is_encrypted: bool,
    /// Bytes of data; `None` when the archive tells only behind them.
    pub(super) size: Option<u64>,
}

/// Returns whether bytes begin a zip archive.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(&LOCAL_HEADER)
}

/// Reads to the next local header and over it; `None` at the end of the stream.
pub(super) fn next(reader: &mut impl BufRead) -> io::Result<Option<Member>> {
    if !find_header(reader)? {
        return Ok(None);
    }
    let mut header = [0; 26];
    reader.read_exact(&mut header)?;
    let two = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let four = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let flags = two(2);
    let mut name = vec![0; usize::from(two(22))];
    reader.read_exact(&mut name)?;
    let mut extra = vec![0; usize::from(two(24))];
    reader.read_exact(&mut extra)?;
    let size = match four(14) {
        _ if flags & 8 != 0 => None,
        u32::MAX => large_size(&extra),
        size => Some(u64::from(size)),
    };
    Ok(Some(Member { name, method: two(4), is_encrypted: flags & 1 != 0, size }))
}

/// Returns the compressed size of the field for sizes above 4 GiB (4.5.3), which has the other one first.
fn large_size(mut extra: &[u8]) -> Option<u64> {
    while let [id0, id1, length0, length1, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*length0, *length1]));
        let field = rest.get(..length)?;
        if u16::from_le_bytes([*id0, *id1]) == 1 {
            return Some(u64::from_le_bytes(*field.get(8..)?.first_chunk()?));
        }
        extra = &rest[length..];
    }
    None
}

fn find_header(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut matched = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let mut used = 0;
        for byte in bytes {
            used += 1;
            matched = match (*byte == LOCAL_HEADER[matched], *byte) {
                (true, _) => matched + 1,
                (false, b'P') => 1,
                (false, _) => 0,
            };
            if matched == LOCAL_HEADER.len() {
                break;
            }
        }
        reader.consume(used);
        if matched == LOCAL_HEADER.len() {
            return Ok(true);
        }
    }
}

/// Reads what is left of a member whose size is known.
pub(super) fn skip(reader: &mut io::Take<impl Read>) -> io::Result<()> {
    io::copy(reader, &mut io::sink()).map(drop)
}
