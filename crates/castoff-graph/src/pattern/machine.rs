//! Patterns as a small automaton whose states are the positions between its tokens.

use super::PatternProblem;

/// One element of a compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Exactly this character.
    Char(u32),
    /// `?`: one character except `/`.
    AnyChar,
    /// `[a-z]`. Like Go's, a class can match `/`.
    Class {
        /// Whether `^` came first.
        negated: bool,
        /// Inclusive ranges.
        ranges: Vec<(u32, u32)>,
    },
    /// `*`: any run of characters except `/`.
    Star,
    /// `**` at the end: anything.
    Everything,
    /// `**` or `**/`: any number of whole components, or nothing. Always followed by `Within`.
    Directories,
    /// The inside of `Directories`: anything up to a `/`.
    Within,
}

/// A sequence of tokens that can be run over a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    tokens: Vec<Token>,
}

/// What is known after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The text, or a parent of it when parents count, is matched.
    pub(super) matched: bool,
    /// Some longer text could be matched.
    pub(super) alive: bool,
}

const SLASH: u32 = b'/' as u32;
/// Sets up to this many words need no allocation.
const INLINE_WORDS: usize = 3;

impl Machine {
    pub(super) fn new(tokens: Vec<Token>) -> Machine {
        Machine { tokens }
    }

    /// Returns the bytes that every matched text starts with.
    pub(super) fn literal_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for token in &self.tokens {
            match token {
                Token::Char(character) => encode(*character, &mut prefix),
                _ => break,
            }
        }
        prefix
    }

    /// Runs over `text`. With `parents`, a match of a prefix that ends before a `/` counts too.
    pub(super) fn run(&self, text: &[u8], parents: bool) -> Outcome {
        let words = self.tokens.len() / 64 + 1;
        let mut inline = [0_u64; 2 * INLINE_WORDS];
        let mut heap;
        let (mut current, mut next) = if words <= INLINE_WORDS {
            let (left, right) = inline.split_at_mut(INLINE_WORDS);
            (&mut left[..words], &mut right[..words])
        } else {
            heap = vec![0_u64; 2 * words];
            heap.split_at_mut(words)
        };
        self.enter(current, 0);
        let accept = self.tokens.len();
        let mut rest = text;
        while let Some((character, length)) = decode(rest) {
            rest = &rest[length..];
            if parents && character == SLASH && contains(current, accept) {
                return Outcome { matched: true, alive: true };
            }
            next.fill(0);
            let mut any = false;
            for (word, bits) in current.iter().enumerate() {
                let mut bits = *bits;
                while bits != 0 {
                    let state = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    any |= self.consume(state, character, next);
                }
            }
            if !any {
                return Outcome { matched: false, alive: false };
            }
            std::mem::swap(&mut current, &mut next);
        }
        Outcome { matched: contains(current, accept), alive: true }
    }

    /// Adds a state and those reached from it without a character.
    fn enter(&self, set: &mut [u64], state: usize) {
        let mut pending = Some(state);
        while let Some(state) = pending.take() {
            set[state / 64] |= 1 << (state % 64);
            match self.tokens.get(state) {
                Some(Token::Star | Token::Everything) => pending = Some(state + 1),
                Some(Token::Directories) => {
                    let within = state + 1;
                    set[within / 64] |= 1 << (within % 64);
                    pending = Some(state + 2);
                }
                Some(Token::Char(_) | Token::AnyChar | Token::Class { .. } | Token::Within) | None => {}
            }
        }
    }

    /// Follows one character from one state; returns whether that led anywhere.
    fn consume(&self, state: usize, character: u32, next: &mut [u64]) -> bool {
        let Some(token) = self.tokens.get(state) else { return false };
        match token {
            Token::Char(wanted) if *wanted == character => self.enter(next, state + 1),
            Token::AnyChar if character != SLASH => self.enter(next, state + 1),
            Token::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                if inside == *negated {
                    return false;
                }
                self.enter(next, state + 1);
            }
            Token::Star if character != SLASH => self.enter(next, state),
            Token::Everything => self.enter(next, state),
            Token::Within => {
                self.enter(next, state);
                if character == SLASH {
                    self.enter(next, state + 1);
                }
            }
            Token::Char(_) | Token::AnyChar | Token::Star | Token::Directories => return false,
        }
        true
    }
}

fn contains(set: &[u64], state: usize) -> bool {
    set[state / 64] & (1 << (state % 64)) != 0
}

/// Characters from here on are bytes that are not UTF-8.
const INVALID_BYTES: u32 = 0x11_0000;

/// Returns the first character and its length in bytes.
pub(super) fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u32::from(first), 1));
    }
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()])
            .expect("from_utf8 said that this much of it is valid"),
    };
    Some(match valid.chars().next() {
        Some(character) => (u32::from(character), character.len_utf8()),
        None => (INVALID_BYTES + u32::from(first), 1),
    })
}

fn encode(character: u32, bytes: &mut Vec<u8>) {
    match char::from_u32(character) {
        Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => bytes.push((character - INVALID_BYTES) as u8),
    }
}

/// Reads one element that means the same in both languages: a class, an escape, `?` or a character.
/// `*` is the caller's. Returns the token and the rest of the pattern, which must not be empty.
pub(super) fn element(pattern: &[u8]) -> Result<(Token, &[u8]), PatternProblem> {
    match pattern.first() {
        Some(b'?') => Ok((Token::AnyChar, &pattern[1..])),
        Some(b'[') => class(&pattern[1..]),
        Some(b'\\') => {
            let (character, length) = decode(&pattern[1..]).ok_or(PatternProblem::TrailingBackslash)?;
            Ok((Token::Char(character), &pattern[1 + length..]))
        }
        _ => {
            let (character, length) = decode(pattern).expect("the caller has seen that it is not empty");
            Ok((Token::Char(character), &pattern[length..]))
        }
    }
}

/// Go's path/filepath/match.go, `matchChunk`: only `^` negates, `]` and `-` must be escaped. A range that
/// nothing is in is an error because it is one to BuildKit, which makes a regular expression of it.
fn class(mut rest: &[u8]) -> Result<(Token, &[u8]), PatternProblem> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            return Ok((Token::Class { negated, ranges }, &rest[1..]));
        }
        let (low, after) = class_character(rest)?;
        rest = after;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            (high, rest) = class_character(&rest[1..])?;
            if high < low {
                return Err(PatternProblem::ReversedRange);
            }
        }
        ranges.push((low, high));
    }
}

fn class_character(rest: &[u8]) -> Result<(u32, &[u8]), PatternProblem> {
    let rest = match rest.first() {
        None => return Err(PatternProblem::UnclosedClass),
        Some(b'-' | b']') => return Err(PatternProblem::MalformedClass),
        Some(b'\\') => &rest[1..],
        Some(_) => rest,
    };
    let (character, length) = decode(rest).ok_or(PatternProblem::UnclosedClass)?;
    Ok((character, &rest[length..]))
}
