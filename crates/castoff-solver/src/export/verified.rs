//! Bytes from elsewhere that are what their descriptor says, or an error.

use std::io::{self, Read};

use castoff_oci::{Descriptor, Digest, Hasher};

/// Reads as many bytes as a descriptor says. The last of them are given out only when the digest is right, so
/// that a reader who counts and does not ask for the end learns of damage, too.
pub(crate) struct Verified<R> {
    inner: R,
    expected: Digest,
    size: u64,
    left: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, descriptor: &Descriptor) -> Verified<R> {
        let Descriptor { digest: expected, size, .. } = *descriptor;
        Verified { inner, expected, size, left: size, hasher: Some(Hasher::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = if room == 0 { 0 } else { self.inner.read(&mut buffer[..room])? };
        if room > 0 && count == 0 {
            let (expected, size, has) = (self.expected, self.size, self.size - self.left);
            return Err(damaged(format!("`{expected}` is damaged: it has {has} of {size} bytes")));
        }
        self.left -= count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if self.left == 0
            && !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let actual = hasher.finish();
            if actual != self.expected {
                let expected = self.expected;
                return Err(damaged(format!(
                    "`{expected}` is damaged: its bytes have the digest `{actual}`"
                )));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use castoff_oci::{Descriptor, Digest, MediaType};

    use super::Verified;

    /// Reads what should be `hello`.
    fn check(content: &[u8]) -> Result<Vec<u8>, String> {
        let descriptor = Descriptor::new(MediaType::OciLayer, Digest::of(b"hello"), 5);
        let mut bytes = vec![0; 5];
        let mut reader = Verified::new(content, &descriptor);
        reader.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        assert_eq!(reader.read(&mut [0]).map_err(|error| error.to_string()), Ok(0));
        Ok(bytes)
    }

    // B-220
    #[test]
    fn what_is_damaged_is_not_given_out_to_the_end() {
        assert_eq!(check(b"hello").unwrap(), b"hello");
        assert_eq!(check(b"hello and more").unwrap(), b"hello");
        assert!(check(b"hell").unwrap_err().contains("it has 4 of 5 bytes"));
        assert!(check(b"hellO").unwrap_err().contains("its bytes have the digest"));
    }

    // B-220
    #[test]
    fn nothing_has_a_digest_too() {
        let empty = |digest| Descriptor::new(MediaType::OciLayer, digest, 0);
        let read = |digest| Verified::new(&b""[..], &empty(digest)).read(&mut [0]);
        assert_eq!(read(Digest::of(b"")).unwrap(), 0);
        assert!(read(Digest::of(b"hello")).is_err());
    }
}
