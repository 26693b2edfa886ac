//! A blob on its way: verified as it is read, resumed when the connection breaks.

use std::io::{self, Read};

use castoff_oci::{Descriptor, Digest, Hasher};

use crate::error::RegistryError;
use crate::slots::Slot;

/// Opens the rest of a blob from an offset.
pub(crate) type Reopen = Box<dyn FnMut(u64) -> Result<Box<dyn Read + Send>, RegistryError> + Send>;

/// A break after this many bytes does not count as an attempt that failed: what moves on gets there.
const PROGRESS: u64 = 4 << 20;

/// Reads a blob. No byte past the announced size is passed on, and the end is reported only when the
/// digest is right.
pub(crate) struct BlobReader {
    inner: Box<dyn Read + Send>,
    url: String,
    digest: Digest,
    size: u64,
    offset: u64,
    /// Taken at the end.
    hasher: Option<Hasher>,
    /// What came instead of the right digest.
    wrong: Option<Digest>,
    reopen: Reopen,
    attempts: u32,
    failures: u32,
    broken_at: u64,
    _slot: Option<Slot>,
}

impl BlobReader {
    pub(crate) fn new(
        inner: Box<dyn Read + Send>,
        url: String,
        descriptor: &Descriptor,
        reopen: Reopen,
        attempts: u32,
        slot: Option<Slot>,
    ) -> BlobReader {
        BlobReader {
            inner,
            url,
            digest: descriptor.digest,
            size: descriptor.size,
            offset: 0,
            hasher: Some(Hasher::new()),
            wrong: None,
            reopen,
            attempts,
            failures: 0,
            broken_at: 0,
            _slot: slot,
        }
    }

    /// Says which byte the first connection begins with. What is before it is not verified, and so the digest
    /// is not either.
    pub(crate) fn beginning_at(mut self, offset: u64) -> BlobReader {
        if offset > 0 {
            (self.offset, self.broken_at, self.hasher) = (offset, offset, None);
        }
        self
    }

    fn finish(&mut self) -> io::Result<usize> {
        if let Some(hasher) = self.hasher.take() {
            self.wrong = Some(hasher.finish()).filter(|actual| *actual != self.digest);
        }
        match self.wrong {
            None => Ok(0),
            Some(actual) => {
                let error = RegistryError::Digest { url: self.url.clone(), expected: self.digest, actual };
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.offset == self.size {
                return self.finish();
            }
            let room = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX).min(buffer.len());
            let broken = match self.inner.read(&mut buffer[..room]) {
                Ok(0) => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{}: ended after {} of {} bytes", self.url, self.offset, self.size),
                ),
                Ok(count) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&buffer[..count]);
                    }
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => io::Error::other(RegistryError::Body { url: self.url.clone(), cause }),
            };
            if self.offset - self.broken_at >= PROGRESS {
                self.failures = 0;
            }
            self.failures += 1;
            self.broken_at = self.offset;
            if self.failures >= self.attempts {
                return Err(broken);
            }
            self.inner = (self.reopen)(self.offset).map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use castoff_oci::{Descriptor, Digest, MediaType};

    use super::BlobReader;

    /// Reads a blob of which each connection delivers `piece` bytes before it breaks.
    fn check(
        content: &'static [u8],
        announced: &[u8],
        piece: usize,
        attempts: u32,
    ) -> Result<Vec<u8>, String> {
        let descriptor = Descriptor::new(MediaType::OciLayer, Digest::of(announced), announced.len() as u64);
        let from = move |offset: u64| -> Box<dyn Read + Send> {
            let rest = &content[usize::try_from(offset).unwrap().min(content.len())..];
            Box::new(io::Cursor::new(&rest[..rest.len().min(piece)]))
        };
        let reopen = Box::new(move |offset| Ok(from(offset)));
        let mut reader = BlobReader::new(from(0), "blob".to_owned(), &descriptor, reopen, attempts, None);
        let mut bytes = Vec::new();
        let result = reader.read_to_end(&mut bytes).map_err(|error| error.to_string());
        if result.is_err() {
            // What failed does not look like an end when it is read again.
            assert!(reader.read(&mut [0]).is_err());
        }
        result.map(|_| bytes)
    }

    /// B-081: an interrupted download goes on where it stopped.
    #[test]
    fn a_broken_download_resumes() {
        assert_eq!(check(b"hello world", b"hello world", 4, 3).unwrap(), b"hello world");
        let error = check(b"hello world", b"hello world", 4, 2).unwrap_err();
        assert_eq!(error, "blob: ended after 8 of 11 bytes");
    }

    #[test]
    fn a_download_that_moves_on_may_break_often() {
        let content: &[u8] = Vec::leak(vec![7; 13 << 20]);
        assert_eq!(check(content, content, 5 << 20, 2).unwrap().len(), content.len());
        assert!(check(content, content, 3 << 20, 2).is_err());
    }

    #[test]
    fn an_empty_blob_needs_no_byte() {
        assert_eq!(check(b"", b"", 1, 1).unwrap(), b"");
    }

    /// B-080, B-220: a lie about the content is found.
    #[test]
    fn a_wrong_digest_is_refused() {
        let error = check(b"hello world", b"hello w0rld", 100, 1).unwrap_err();
        assert!(error.contains("expected digest"), "{error}");
    }

    #[test]
    fn bytes_past_the_announced_size_are_not_passed_on() {
        assert_eq!(check(b"hello world and more", b"hello world", 100, 1).unwrap(), b"hello world");
    }
}
