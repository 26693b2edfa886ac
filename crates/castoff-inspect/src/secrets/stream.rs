//! Looking at a stream of bytes of any length, piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::needles::{Needles, Origin};
use super::tokens::{self, Tokens};

/// Bytes that are looked at together.
const PIECE: usize = 128 << 10;

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Patterns<'p> {
    pub(super) needles: &'p Needles,
    pub(super) tokens: Option<&'p Tokens>,
}

/// What was found in a stream.
#[derive(Debug, Default)]
pub(super) struct Hits {
    pub(super) needles: BTreeSet<Origin>,
    /// Places of rules.
    pub(super) tokens: BTreeSet<usize>,
}

/// A stream that is looked at. What is kept of each piece is longer than anything that is looked for.
pub(super) struct Stream<'p> {
    patterns: Patterns<'p>,
    buffer: Vec<u8>,
    filled: usize,
    overlap: usize,
    /// Numbers of the needles that were found.
    needles: BTreeSet<usize>,
    tokens: BTreeSet<usize>,
    bytes: u64,
}

impl<'p> Stream<'p> {
    pub(super) fn new(patterns: Patterns<'p>) -> Stream<'p> {
        let longest = patterns.needles.search.longest();
        let overlap = longest.max(if patterns.tokens.is_some() { tokens::LONGEST } else { 0 });
        Stream {
            patterns,
            buffer: vec![0; PIECE + overlap],
            filled: 0,
            overlap,
            needles: BTreeSet::new(),
            tokens: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Returns room for more bytes, never none.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            self.look(false);
            self.buffer.copy_within(self.filled - self.overlap..self.filled, 0);
            self.filled = self.overlap;
        }
        &mut self.buffer[self.filled..]
    }

    /// Says that the room has so many bytes more.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled += count;
        self.bytes += count as u64;
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
    }

    /// Takes the first bytes of a reader, as many as there are up to `count`, and returns them. Nothing may have been
    /// taken before.
    pub(super) fn head(&mut self, reader: &mut dyn Read, count: usize) -> io::Result<&[u8]> {
        while self.filled < count {
            match read(reader, self.room())? {
                0 => break,
                more => self.advance(more),
            }
        }
        Ok(&self.buffer[..self.filled])
    }

    /// Takes all that a reader still has.
    pub(super) fn drain(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        loop {
            match read(reader, self.room())? {
                0 => return Ok(()),
                count => self.advance(count),
            }
        }
    }

    /// Ends the stream and begins another. Returns what was found, and how many bytes there were.
    pub(super) fn finish(&mut self) -> (Hits, u64) {
        self.look(true);
        self.filled = 0;
        let numbers = std::mem::take(&mut self.needles);
        let needles = self.patterns.needles;
        let mut pieces: BTreeMap<(u32, Origin), u32> = BTreeMap::new();
        let mut hits = Hits { tokens: std::mem::take(&mut self.tokens), ..Hits::default() };
        for origin in numbers.into_iter().map(|number| needles.origin(number)) {
            match origin.group {
                Some(group) => *pieces.entry((group, origin)).or_default() += 1,
                None => {
                    hits.needles.insert(origin);
                }
            }
        }
        for ((group, origin), count) in pieces {
            if needles.is_enough(group, count) {
                hits.needles.insert(Origin { group: None, ..origin });
            }
        }
        (hits, std::mem::take(&mut self.bytes))
    }

    fn look(&mut self, is_last: bool) {
        let text = &self.buffer[..self.filled];
        let needles = &mut self.needles;
        self.patterns.needles.search.each(text, &mut |needle, _| {
            needles.insert(needle);
        });
        if let Some(tokens) = self.patterns.tokens {
            tokens.each(text, is_last, &mut |rule| {
                self.tokens.insert(rule);
            });
        }
    }
}

/// A reader whose bytes are looked at as they pass.
pub(super) struct Watched<'r, 's, 'p> {
    pub(super) inner: &'r mut dyn Read,
    pub(super) stream: &'s mut Stream<'p>,
    /// Why the reader itself failed.
    pub(super) failed: Option<io::Error>,
}

impl Read for Watched<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match read(self.inner, buffer) {
            Ok(count) => {
                self.stream.push(&buffer[..count]);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

fn read(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::super::encode::forms;
    use super::{Needles, Patterns, Stream};

    const VALUE: &[u8] = b"tok3n/\"Value+ 9XkQ?";

    /// Bytes as random as anything, the same each time.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..length).map(next).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A form of a secret is found wherever it is, and in whatever pieces the stream comes.
        #[test]
        fn every_form_is_found_everywhere(
            form in 0..forms(VALUE).len(),
            near in 0usize..3,
            offset in -60i64..60,
            seed in any::<u64>(),
            piece in 1usize..50_000,
        ) {
            let needles = Needles::of([("s", VALUE)]);
            let (encoding, bytes) = forms(VALUE).swap_remove(form);
            let mut text = noise(400_000, seed);
            let border = [100, 128 << 10, 256 << 10][near] + offset;
            let start = usize::try_from(border).unwrap();
            text[start..start + bytes.len()].copy_from_slice(&bytes);
            let mut stream = Stream::new(Patterns { needles: &needles, tokens: None });
            for part in text.chunks(piece) {
                stream.push(part);
            }
            let (hits, count) = stream.finish();
            prop_assert_eq!(count, text.len() as u64);
            // A form may be that of several encodings, of which the first is told.
            let same = forms(VALUE).into_iter().find(|(_, other)| *other == bytes).unwrap().0;
            prop_assert!(hits.needles.iter().any(|origin| origin.encoding == same), "{} {:?}", encoding, hits);
        }

        #[test]
        fn chance_finds_nothing(seed in any::<u64>(), value in "[a-z0-9+/]{8,40}") {
            prop_assume!(!Needles::of([("s", value.as_bytes())]).ids().is_empty());
            let needles = Needles::of([("s", value.as_bytes())]);
            let mut stream = Stream::new(Patterns { needles: &needles, tokens: None });
            stream.drain(&mut &noise(300_000, seed)[..]).unwrap();
            prop_assert!(stream.finish().0.needles.is_empty());
        }
    }

    /// Programs cut base64 into lines, and the secret may be anywhere in what they encode.
    #[test]
    fn base64_in_lines_is_found() {
        use base64::Engine as _;
        let value =
            "github_pat_11ABCDEFG0a1b2C3d4E5f6G7h8_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17AbCdEfGhIjKl0123456";
        let needles = Needles::of([("s", value.as_bytes())]);
        for before in 0..80 {
            let text = [noise(before, 7), value.as_bytes().to_vec(), noise(20, 9)].concat();
            let encoded = base64::engine::general_purpose::STANDARD.encode(&text).into_bytes();
            for width in [64, 76] {
                let lines: Vec<&[u8]> = encoded.chunks(width).collect();
                let mut stream = Stream::new(Patterns { needles: &needles, tokens: None });
                stream.push(&lines.join(&b"\r\n"[..]));
                let (hits, _) = stream.finish();
                assert!(!hits.needles.is_empty(), "{before} bytes before, lines of {width}");
            }
        }
        // A part of it proves nothing.
        let mut stream = Stream::new(Patterns { needles: &needles, tokens: None });
        stream.push(base64::engine::general_purpose::STANDARD.encode(&value[..36]).as_bytes());
        assert!(stream.finish().0.needles.is_empty());
    }

    #[test]
    fn a_stream_can_be_used_again() {
        let needles = Needles::of([("s", VALUE)]);
        let mut stream = Stream::new(Patterns { needles: &needles, tokens: None });
        let mut reader = VALUE.chain(&b"rest"[..]);
        assert!(stream.head(&mut reader, 10).unwrap().starts_with(b"tok3n"));
        stream.drain(&mut reader).unwrap();
        assert_eq!(stream.finish().0.needles.len(), 1);
        stream.push(&VALUE[1..]);
        assert_eq!(stream.finish().0.needles.len(), 0);
    }
}
