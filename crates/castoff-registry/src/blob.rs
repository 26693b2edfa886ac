//! A blob on its way: verified as it is read, resumed when the connection breaks.

use std::io::{self, Read};

use castoff_oci::{Descriptor, Digest, Hasher};

use crate::error::RegistryError;

/// Opens the rest of a blob from an offset.
pub(crate) type Reopen = Box<dyn FnMut(u64) -> Result<Box<dyn Read + Send>, RegistryError> + Send>;

/// Reads a blob. No byte past the announced size is passed on, and the end is reported only when the
/// digest is right.
pub(crate) struct BlobReader {
    inner: Box<dyn Read + Send>,
    url: String,
    digest: Digest,
    size: u64,
    offset: u64,
    hasher: Option<Hasher>,
    reopen: Reopen,
    attempts_left: u32,
}

impl BlobReader {
    pub(crate) fn new(
        inner: Box<dyn Read + Send>,
        url: String,
        descriptor: &Descriptor,
        reopen: Reopen,
        attempts: u32,
    ) -> BlobReader {
        BlobReader {
            inner,
            url,
            digest: descriptor.digest,
            size: descriptor.size,
            offset: 0,
            hasher: Some(Hasher::new()),
            reopen,
            attempts_left: attempts.saturating_sub(1),
        }
    }

    fn finish(&mut self) -> io::Result<usize> {
        let Some(hasher) = self.hasher.take() else { return Ok(0) };
        let actual = hasher.finish();
        if actual == self.digest {
            return Ok(0);
        }
        let error = RegistryError::Digest { url: self.url.clone(), expected: self.digest, actual };
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
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
                Err(error) => error,
            };
            if self.attempts_left == 0 {
                return Err(broken);
            }
            self.attempts_left -= 1;
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
        let mut reader = BlobReader::new(from(0), "blob".to_owned(), &descriptor, reopen, attempts);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
    }

    /// B-081: an interrupted download goes on where it stopped.
    #[test]
    fn a_broken_download_resumes() {
        assert_eq!(check(b"hello world", b"hello world", 4, 3).unwrap(), b"hello world");
        let error = check(b"hello world", b"hello world", 4, 2).unwrap_err();
        assert_eq!(error, "blob: ended after 8 of 11 bytes");
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
