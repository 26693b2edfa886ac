//! Physical lines to logical lines (section 1), keeping where every byte came from.

use std::ops::Range;

use crate::Span;

/// A physical line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// First byte.
    pub start: usize,
    /// One past the last byte that is not part of the line end (D-002).
    pub end: usize,
    /// Start of the next line.
    pub next: usize,
    /// Number, from 1.
    pub number: u32,
}

/// The physical lines of a text, in order.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    position: usize,
    number: u32,
}

impl<'a> Lines<'a> {
    /// Starts after the byte order mark, if there is one (D-001).
    pub fn new(text: &'a str) -> Lines<'a> {
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lines { text, position, number: 0 }
    }

    /// Starts at `position`, which begins the line after line `number`.
    pub fn at(text: &'a str, position: usize, number: u32) -> Lines<'a> {
        Lines { text, position, number }
    }

    /// Returns the number of the last line read, and where the next one starts.
    pub fn position(&self) -> (u32, usize) {
        (self.number, self.position)
    }

    /// Returns the whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let start = self.position;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        let next = rest.find('\n').map_or(self.text.len(), |at| start + at + 1);
        let content = self.text[start..next].trim_end_matches(['\r', '\n']);
        self.position = next;
        self.number += 1;
        Some(Line { start, end: start + content.len(), next, number: self.number })
    }
}

/// Text joined from pieces of the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined {
    /// The text.
    pub text: String,
    /// Where each piece starts: in the text, and in the source. Ascending in both; none is empty.
    pieces: Vec<(usize, usize)>,
    /// One past the last source byte that was looked at.
    end: usize,
}

impl Joined {
    fn push(&mut self, source: &str, range: Range<usize>) {
        self.end = self.end.max(range.end);
        if !range.is_empty() {
            self.pieces.push((self.text.len(), range.start));
            self.text.push_str(&source[range]);
        }
    }

    /// Returns the place of the byte at `offset` in the source.
    fn place(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|piece| piece.0 <= offset);
        match after.checked_sub(1) {
            Some(index) => self.pieces[index].1 + (offset - self.pieces[index].0),
            None => self.end,
        }
    }

    /// Whether the byte at a place of the source is in the text.
    pub fn contains(&self, place: usize) -> bool {
        let after = self.pieces.partition_point(|piece| piece.1 <= place);
        let Some(index) = after.checked_sub(1) else { return false };
        let end = self.pieces.get(index + 1).map_or(self.text.len(), |next| next.0);
        place - self.pieces[index].1 < end - self.pieces[index].0
    }

    /// Returns one past the last source byte that was joined.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Returns the place of a range of the text in the source.
    pub fn span(&self, range: Range<usize>) -> Span {
        let last = range.end.saturating_sub(1);
        let (start, end) = if range.start < range.end {
            (self.place(range.start), self.place(last) + 1)
        } else if range.start > 0 {
            // An empty range stands right behind the text before it.
            (self.place(range.start - 1) + 1, self.place(range.start - 1) + 1)
        } else {
            (self.place(0), self.place(0))
        };
        Span { start: offset(start), end: offset(end) }
    }
}

/// Source offsets fit: longer sources are refused before they are read.
pub(crate) fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// What the next lines are.
#[derive(Debug)]
pub(crate) enum Item {
    /// A blank line.
    Blank,
    /// A comment: the place of the text after the `#`, without blanks around it.
    Comment(Range<usize>),
    /// An instruction, not yet looked at.
    Logical(Logical),
}

/// A logical line (D-010 to D-014).
#[derive(Debug)]
pub(crate) struct Logical {
    /// The lines joined.
    pub joined: Joined,
    /// First and last line.
    pub lines: (u32, u32),
    /// The blank lines between continued lines (D-009).
    pub blanks: Vec<Line>,
}

/// Reads the next item.
pub(crate) fn next_item(lines: &mut Lines<'_>, escape: char) -> Option<Item> {
    let source = lines.text();
    let mut line = lines.next()?;
    let first = line.number;
    line.start += leading_blanks(&source[line.start..line.end]);
    if let Some(comment) = comment(source, line) {
        return Some(Item::Comment(comment));
    }
    if line.start == line.end {
        return Some(Item::Blank);
    }
    let mut joined = Joined::default();
    let mut blanks = Vec::new();
    let mut last = first;
    loop {
        let Some(length) = continued(&source[line.start..line.end], escape) else {
            joined.push(source, line.start..line.end);
            break;
        };
        joined.push(source, line.start..line.start + length);
        let next = loop {
            let Some(next) = lines.next() else { break None };
            last = next.number;
            if comment(source, next).is_some() {
                continue;
            }
            if source[next.start..next.end].trim_start().is_empty() {
                blanks.push(next);
                continue;
            }
            break Some(next);
        };
        match next {
            Some(next) => line = next,
            None => break,
        }
    }
    Some(Item::Logical(Logical { joined, lines: (first, last), blanks }))
}

/// Returns how much of a line is left when it goes on in the next one.
fn continued(line: &str, escape: char) -> Option<usize> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    // Only the one character before counts, so three in a row do not continue either (D-011).
    (!before.ends_with(escape)).then_some(before.len())
}

fn comment(source: &str, line: Line) -> Option<Range<usize>> {
    let text = &source[line.start..line.end];
    let body = text.trim_start().strip_prefix('#')?;
    let body = body.trim_start();
    let start = line.end - body.len();
    Some(start..start + body.trim_end().len())
}

fn leading_blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}
