//! Cuts what processes write into lines.

use std::mem;
use std::time::Duration;

use castoff_solver::OutputStream;

/// A part of a log: a whole line, or the beginning or end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which stream it is from; lines of different streams do not mix.
    pub stream: OutputStream,
    /// Time since the step began.
    pub at: Duration,
    /// The text without its line end.
    pub text: String,
    /// Whether a line begins here.
    pub starts: bool,
    /// Whether the line ends here.
    pub ends: bool,
}

/// How long the beginning of a line is held back for the rest to come.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// How much of a line is held back.
const LONGEST: usize = 64 << 10;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    held: Vec<u8>,
    since: Option<Duration>,
    /// Whether the beginning of the line was already given out.
    given: bool,
}

impl Cutter {
    /// Adds bytes and returns the lines that they complete.
    pub fn add(&mut self, stream: OutputStream, at: Duration, bytes: &[u8], pieces: &mut Vec<Piece>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.held.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            pieces.push(self.take(stream, at, true));
        }
        self.held.extend_from_slice(rest);
        if self.held.is_empty() {
            self.since = None;
        } else if self.held.len() > LONGEST {
            pieces.push(self.take(stream, at, false));
        } else {
            self.since.get_or_insert(at);
        }
    }

    /// Returns the beginning of a line that has waited long enough for its end. A line that is written
    /// over and over, which is how programs show their own progress, waits as long as `rewritten` says.
    pub fn flush(
        &mut self,
        stream: OutputStream,
        at: Duration,
        rewritten: Duration,
        pieces: &mut Vec<Piece>,
    ) {
        let patience = if self.held.contains(&b'\r') { rewritten } else { PATIENCE };
        if self.since.is_some_and(|since| at.saturating_sub(since) >= patience) {
            pieces.push(self.take(stream, at, false));
        }
    }

    /// Returns what is held, because nothing more will come.
    pub fn finish(&mut self, stream: OutputStream, at: Duration, pieces: &mut Vec<Piece>) {
        if self.given || !self.held.is_empty() {
            pieces.push(self.take(stream, at, true));
        }
    }

    fn take(&mut self, stream: OutputStream, at: Duration, ends: bool) -> Piece {
        let mut bytes = mem::take(&mut self.held);
        self.since = None;
        // The rest of a character that is cut in two waits for its end.
        if !ends
            && let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.held = bytes.split_off(error.valid_up_to());
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        // A carriage return goes back to the beginning, and what follows is written over what was there.
        let last = text.rsplit('\r').next().unwrap_or(text);
        let starts = !mem::replace(&mut self.given, !ends) || last.len() < text.len();
        Piece { stream, at, text: last.to_owned(), starts, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines() {
        let check = |writes: &[&[u8]], expected: &[(&str, bool, bool)]| {
            let mut cutter = Cutter::default();
            let mut pieces = Vec::new();
            for bytes in writes {
                let at = Duration::ZERO;
                match *bytes {
                    b"<wait>" => cutter.flush(OutputStream::Stdout, PATIENCE, PATIENCE, &mut pieces),
                    bytes => cutter.add(OutputStream::Stdout, at, bytes, &mut pieces),
                }
            }
            cutter.finish(OutputStream::Stdout, PATIENCE, &mut pieces);
            let pieces: Vec<_> =
                pieces.iter().map(|piece| (piece.text.as_str(), piece.starts, piece.ends)).collect();
            assert_eq!(pieces, expected);
        };
        check(&[b"a\nb\n"], &[("a", true, true), ("b", true, true)]);
        check(&[b"a", b"b\n"], &[("ab", true, true)]);
        check(&[b"a\r\n\n"], &[("a", true, true), ("", true, true)]);
        check(&[b"10%\r50%\r100%\n"], &[("100%", true, true)]);
        check(&[b"end"], &[("end", true, true)]);
        check(&[b"wait", b"<wait>", b" done\n"], &[("wait", true, false), (" done", false, true)]);
        check(&[b"1%", b"<wait>", b"\r2%", b"\n"], &[("1%", true, false), ("2%", true, true)]);
        check(&[b"\xe2\x82", b"<wait>", b"\xac\n"], &[("", true, false), ("\u{20ac}", false, true)]);
        check(&[b"\xff\n"], &[("\u{fffd}", true, true)]);
    }
}
