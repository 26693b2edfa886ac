//! The log of a step on its way to the disk.

use std::collections::VecDeque;
use std::io::Write as _;

use castoff_oci::Digest;
use castoff_store::{BlobError, BlobWriter, Store};

/// How much of a log is kept from its beginning.
const HEAD: u64 = 256 << 20;

/// How much of a longer log is kept from its end, where it says why it failed.
const TAIL: usize = 1 << 20;

/// Writes what a step prints into a blob, as it comes. What is beyond the bounds is left out, and said to be.
pub(super) struct Log<'s> {
    store: &'s Store,
    writer: Option<BlobWriter>,
    head: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    /// Bytes that came after the head.
    beyond: u64,
    failed: Option<LogError>,
}

impl<'s> Log<'s> {
    /// Returns a log in which nothing is yet.
    pub(super) fn new(store: &'s Store) -> Log<'s> {
        Log::with_bounds(store, HEAD, TAIL)
    }

    fn with_bounds(store: &'s Store, head: u64, tail_limit: usize) -> Log<'s> {
        Log { store, writer: None, head, tail: VecDeque::new(), tail_limit, beyond: 0, failed: None }
    }

    /// Adds what the step printed. An error comes up at the end: a step is not stopped for its log.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.try_add(bytes)
        {
            self.failed = Some(error);
        }
    }

    fn try_add(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => empty.insert(self.store.blob_writer()?),
        };
        let room = usize::try_from(self.head.saturating_sub(writer.size())).unwrap_or(usize::MAX);
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        writer.write_all(head).map_err(LogError::Write)?;
        self.beyond += rest.len() as u64;
        self.tail.extend(&rest[rest.len().saturating_sub(self.tail_limit)..]);
        let surplus = self.tail.len().saturating_sub(self.tail_limit);
        self.tail.drain(..surplus);
        Ok(())
    }

    /// Puts the log into the store; one in which nothing is is none.
    pub(super) fn finish(mut self) -> Result<Option<Digest>, LogError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(mut writer) = self.writer.take() else { return Ok(None) };
        let left_out = self.beyond - self.tail.len() as u64;
        if left_out > 0 {
            write!(writer, "\n[castoff: {left_out} bytes of this log are left out here]\n")
                .map_err(LogError::Write)?;
        }
        let (first, second) = self.tail.as_slices();
        writer.write_all(first).and_then(|()| writer.write_all(second)).map_err(LogError::Write)?;
        Ok(Some(writer.finish(None)?.digest))
    }
}

/// Why a log could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its bytes could not be written.
    #[error("writing the log: {0}")]
    Write(std::io::Error),
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] BlobError),
}

#[cfg(test)]
mod tests {
    use castoff_store::Boot;

    use super::*;

    fn check(pieces: &[&str], expected: Option<&str>) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Boot { boot_id: "b".to_owned() }).unwrap();
        let mut log = Log::with_bounds(&store, 6, 4);
        for piece in pieces {
            log.add(piece.as_bytes());
        }
        let digest = log.finish().unwrap();
        let text =
            digest.map(|digest| String::from_utf8(store.read_blob(&digest, 1024).unwrap().unwrap()).unwrap());
        assert_eq!(text.as_deref(), expected);
    }

    // B-152: what a step printed is there in full, up to the bounds.
    #[test]
    fn the_beginning_and_the_end_of_a_log_are_kept() {
        check(&[], None);
        check(&["abc", "def"], Some("abcdef"));
        check(&["abcdefghij"], Some("abcdefghij"));
        let cut = "abcdef\n[castoff: 3 bytes of this log are left out here]\njklm";
        check(&["abcdefghijklm"], Some(cut));
        check(&["abc", "defg", "hij", "klm"], Some(cut));
        check(&["a", "bcdefghijk", "l", "m"], Some(cut));
    }
}
