//! Here-documents (section 4). The backslash is the escape character here, whatever the file's is
//! (D-022).

use std::ops::Range;

use crate::Heredoc;
use crate::lines::{Joined, Lines};

/// A here-document and the place of its token in the joined line.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Place of the token.
    pub range: Range<usize>,
    /// The here-document.
    pub heredoc: Heredoc,
}

/// A `<<` token whose body is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Place of the token.
    pub range: Range<usize>,
    /// Number before the `<<`.
    pub descriptor: Option<u32>,
    /// Whether it is `<<-`.
    pub strip_tabs: bool,
    /// The delimiter after quote removal.
    pub delimiter: String,
    /// Whether no part of the delimiter was quoted (D-048).
    pub expand: bool,
}

/// Finds the here-document tokens among the words of a line (D-047). A line with a quote that is not
/// closed has none.
pub(crate) fn tokens(text: &str, range: Range<usize>) -> Vec<Token> {
    let mut tokens = Vec::new();
    if !text[range.clone()].contains("<<") {
        return tokens;
    }
    let mut at = range.start;
    while at < range.end {
        let rest = &text[at..range.end];
        let blanks = rest.len() - rest.trim_start().len();
        if blanks > 0 {
            at += blanks;
            continue;
        }
        let Some(length) = word_length(rest) else { return Vec::new() };
        let mut end = at + length;
        if is_bare_operator(&rest[..length]) {
            let after = &rest[length..];
            let gap = after.len() - after.trim_start().len();
            match word_length(&after[gap..]) {
                Some(next) if gap > 0 && next > 0 => end += gap + next,
                Some(_) => {}
                None => return Vec::new(),
            }
        }
        match token(text, at..end) {
            Some(token) => {
                tokens.push(token);
                at = end;
            }
            None => at += length,
        }
    }
    tokens
}

/// Returns the length of the word that a text starts with, or `None` when a quote is not closed.
fn word_length(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (None | Some('"'), '\\') => drop(chars.next()),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    quote.is_none().then_some(text.len())
}

/// Whether a word is `<<` or `<<-` alone, so that the next word is the delimiter.
fn is_bare_operator(word: &str) -> bool {
    matches!(word.trim_start_matches(|c: char| c.is_ascii_digit()), "<<" | "<<-")
}

fn token(text: &str, range: Range<usize>) -> Option<Token> {
    let word = &text[range.clone()];
    let operator = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &word[..word.len() - operator.len()];
    let rest = operator.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.contains('<') {
        return None;
    }
    let (delimiter, quoted) = unquote(rest.trim_start());
    if delimiter.is_empty() {
        return None;
    }
    Some(Token { range, descriptor: digits.parse().ok(), strip_tabs, delimiter, expand: !quoted })
}

/// Removes quotes and escapes of a balanced word; also returns whether there were quotes.
fn unquote(word: &str) -> (String, bool) {
    let mut result = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quoted = true;
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\\') => result.extend(chars.next()),
            (Some('"'), '\\') => match chars.next_if(|next| matches!(next, '"' | '$' | '\\')) {
                Some(next) => result.push(next),
                None => result.push('\\'),
            },
            (_, c) => result.push(c),
        }
    }
    (result, quoted)
}

/// Reads the body that belongs to a token. Returns `None` when the file ends before the terminator.
pub(crate) fn read_body(token: Token, joined: &Joined, lines: &mut Lines<'_>) -> Option<Found> {
    let source = lines.text();
    let mut raw = String::new();
    let mut body = String::new();
    for line in lines {
        let content = &source[line.start..line.end];
        let candidate = if token.strip_tabs { content.trim_start_matches('\t') } else { content };
        if candidate == token.delimiter {
            raw.push_str(&token.delimiter);
            let Token { range, descriptor, strip_tabs, delimiter, expand } = token;
            let span = joined.span(range.clone());
            let heredoc = Heredoc { descriptor, delimiter, expand, strip_tabs, body, raw, span };
            return Some(Found { range, heredoc });
        }
        let whole = &source[line.start..line.next];
        raw.push_str(whole);
        body.push_str(if token.strip_tabs { whole.trim_start_matches('\t') } else { whole });
    }
    None
}
