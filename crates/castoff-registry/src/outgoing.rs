//! A blob on its way out: read from anywhere, hashed as it is sent, sent again from where a registry has
//! it to.

use std::io::{self, Read};

use castoff_oci::{Descriptor, Digest, Hasher};

use crate::error::RegistryError;
use crate::slots::Stop;
use crate::transport::Part;

/// Opens the bytes of a blob from an offset.
pub type Open<'a> = dyn Fn(u64) -> io::Result<Box<dyn Read + Send>> + 'a;

/// The bytes of a blob, as a registry is to get them. The last of them are given out only when the digest
/// is right, so that no registry takes what is damaged.
pub(crate) struct Outgoing<'a> {
    open: &'a Open<'a>,
    stop: &'a Stop,
    sent: &'a mut dyn FnMut(u64),
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    reader: Option<Box<dyn Read + Send>>,
    position: u64,
    /// Of what is before `position`.
    hasher: Hasher,
    /// The part that is sent: where it begins, the state of the hash there, and where it ends.
    begin: (u64, Hasher),
    end: u64,
    /// Why the bytes could not be had.
    failure: Option<RegistryError>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(
        descriptor: &Descriptor,
        open: &'a Open<'a>,
        stop: &'a Stop,
        sent: &'a mut dyn FnMut(u64),
    ) -> Outgoing<'a> {
        Outgoing {
            open,
            stop,
            sent,
            digest: descriptor.digest,
            size: descriptor.size,
            reader: None,
            position: 0,
            hasher: Hasher::new(),
            begin: (0, Hasher::new()),
            end: descriptor.size,
            failure: None,
        }
    }

    /// Chooses what is sent next. What is skipped is read, because it is part of the digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn select(&mut self, begin: u64, length: u64) -> Result<(), RegistryError> {
        if begin < self.begin.0 {
            self.begin = (0, Hasher::new());
        }
        if begin < self.position {
            self.rewind();
        }
        self.end = self.size;
        let mut buffer = vec![0; 64 << 10];
        while self.position < begin {
            let left = usize::try_from(begin - self.position).unwrap_or(usize::MAX).min(buffer.len());
            if let Err(error) = self.advance(&mut buffer[..left]) {
                return Err(self.failure(error));
            }
        }
        self.begin = (self.position, self.hasher.clone());
        self.end = begin.saturating_add(length).min(self.size);
        Ok(())
    }

    /// Returns why the bytes could not be had, if that is why a request failed with `error`.
    pub(crate) fn cause(&mut self, error: RegistryError) -> RegistryError {
        self.failure.take().unwrap_or(error)
    }

    fn failure(&mut self, error: io::Error) -> RegistryError {
        self.failure.take().unwrap_or(RegistryError::Source { digest: self.digest, cause: error })
    }

    fn rewind(&mut self) {
        self.position = self.begin.0;
        self.hasher = self.begin.1.clone();
        self.reader = None;
    }

    /// Reads on and remembers why that failed.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.read_on(buffer);
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
            && self.failure.is_none()
        {
            let cause = io::Error::new(error.kind(), error.to_string());
            self.failure = Some(RegistryError::Source { digest: self.digest, cause });
        }
        result
    }

    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(stopped) = self.stop.check() {
            self.failure = Some(stopped);
            return Err(io::Error::other("stopped"));
        }
        let room = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        if self.reader.is_none() {
            self.reader = Some((self.open)(self.position)?);
        }
        let reader = self.reader.as_mut().expect("opened above");
        let count = reader.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ended after {} of {} bytes", self.position, self.size),
            ));
        }
        self.hasher.update(&buffer[..count]);
        self.position += count as u64;
        if self.position == self.size {
            let actual = self.hasher.clone().finish();
            if actual != self.digest {
                self.failure = Some(RegistryError::Damaged { expected: self.digest, actual });
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the digest is wrong"));
            }
        }
        (self.sent)(self.position);
        Ok(count)
    }
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.advance(buffer)
    }
}

impl Part for Outgoing<'_> {
    fn length(&self) -> u64 {
        self.end - self.begin.0
    }

    fn start(&mut self) -> io::Result<&mut dyn Read> {
        if self.position != self.begin.0 {
            self.rewind();
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};
    use std::sync::Arc;

    use castoff_oci::{Descriptor, Digest, MediaType};

    use super::Outgoing;
    use crate::slots::Stop;
    use crate::transport::Part;

    const CONTENT: &[u8] = b"hello world";

    fn sent(content: &'static [u8], parts: &[(u64, u64)]) -> Result<Vec<u8>, String> {
        let descriptor = Descriptor::new(MediaType::OciLayer, Digest::of(CONTENT), CONTENT.len() as u64);
        let open = |offset: u64| -> std::io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(&content[usize::try_from(offset).unwrap()..])))
        };
        let (stop, mut ignored) = (Stop(Arc::new(|| false)), |_| {});
        let mut outgoing = Outgoing::new(&descriptor, &open, &stop, &mut ignored);
        let mut all = Vec::new();
        for (begin, length) in parts {
            outgoing.select(*begin, *length).map_err(|error| error.to_string())?;
            // A request is repeated.
            for repeated in [true, false] {
                let mut bytes = Vec::new();
                let read = outgoing.start().unwrap().read_to_end(&mut bytes);
                read.map_err(|error| outgoing.failure(error).to_string())?;
                if !repeated {
                    all.extend(bytes);
                }
            }
        }
        Ok(all)
    }

    /// B-081, B-082.
    #[test]
    fn a_part_is_sent_from_where_the_registry_has_it_to() {
        assert_eq!(sent(CONTENT, &[(0, 100)]).unwrap(), CONTENT);
        assert_eq!(sent(CONTENT, &[(0, 4), (4, 4), (8, 4)]).unwrap(), CONTENT);
        assert_eq!(sent(CONTENT, &[(0, 6), (3, 100)]).unwrap(), b"hello lo world");
        assert_eq!(sent(CONTENT, &[(4, 4), (1, 100)]).unwrap(), b"o woello world");
        assert_eq!(sent(CONTENT, &[(6, 100)]).unwrap(), b"world");
    }

    /// B-220: the end of what is damaged is never sent.
    #[test]
    fn what_is_damaged_is_not_sent() {
        let error = sent(b"hello w0rld", &[(0, 8), (8, 100)]).unwrap_err();
        assert!(error.contains("is damaged"), "{error}");
        let error = sent(b"hello w0rld", &[(9, 100)]).unwrap_err();
        assert!(error.contains("is damaged"), "{error}");
        let error = sent(b"hello", &[(0, 100)]).unwrap_err();
        assert!(error.contains("it ended after 5 of 11 bytes"), "{error}");
    }
}
