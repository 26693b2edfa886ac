//! Files of a view of which any part can be read.

use std::io::{self, Read, Seek, SeekFrom};

use castoff_layer::{EntryKind, Node, View};

/// A file that is read forwards and opened anew to go back. What is skipped is read, so who knows what comes
/// asks in order.
pub(crate) struct Seekable<'a> {
    view: &'a View,
    node: &'a Node,
    size: u64,
    wanted: u64,
    at: u64,
    reader: Option<Box<dyn Read + Send>>,
}

impl<'a> Seekable<'a> {
    /// Returns a file at its beginning; what is no file is empty.
    pub(crate) fn new(view: &'a View, node: &'a Node) -> Seekable<'a> {
        let size = match node.entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        };
        Seekable { view, node, size, wanted: 0, at: 0, reader: None }
    }
}

impl Read for Seekable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reader.is_none() || self.at > self.wanted {
            self.reader = Some(self.view.open(self.node).map_err(io::Error::other)?);
            self.at = 0;
        }
        let reader = self.reader.as_mut().expect("opened above");
        let skip = self.wanted - self.at;
        self.at += io::copy(&mut reader.take(skip), &mut io::sink())?;
        if self.at < self.wanted {
            return Ok(0);
        }
        let count = reader.read(buffer)?;
        self.at += count as u64;
        self.wanted = self.at;
        Ok(count)
    }
}

impl Seek for Seekable<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let wanted = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.size.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.wanted.checked_add_signed(distance),
        };
        self.wanted = wanted.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.wanted)
    }
}
