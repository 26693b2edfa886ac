//! Splitting arguments: at blanks, at blanks outside quotes, as JSON, as comma-separated fields.

use std::ops::Range;

use serde_json::Value;

/// The blanks that separate words (D-030).
pub(crate) const BLANKS: [char; 5] = [' ', '\t', '\r', '\u{b}', '\u{c}'];

/// Narrows a range to the text without white space around it.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.end - piece.trim_start().len();
    start..start + text[start..range.end].trim_end().len()
}

/// Splits at runs of blanks, without a look at quotes (D-042).
pub(crate) fn split_blanks(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = range.start;
    for piece in text[range].split(BLANKS) {
        if !piece.is_empty() {
            words.push(start..start + piece.len());
        }
        // Every blank is one byte long.
        start += piece.len() + 1;
    }
    words
}

/// Splits at white space that is neither quoted nor escaped; quotes and escapes stay (D-043). A
/// quote that is not closed takes the rest; expansion reports it.
pub(crate) fn split_quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut word: Option<Range<usize>> = None;
    let mut quote = None;
    let mut chars = text[range.clone()].char_indices();
    while let Some((at, c)) = chars.next() {
        let at = range.start + at;
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let mut end = at + c.len_utf8();
        match quote {
            Some(open) if c == open => quote = None,
            Some('\'') => {}
            Some(_) | None if c == escape => match chars.next() {
                Some((next, escaped)) => end = range.start + next + escaped.len_utf8(),
                // An escape character at the very end is dropped.
                None => break,
            },
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => {}
        }
        word = Some(word.map_or(at, |word| word.start)..end);
    }
    words.extend(word);
    words
}

/// What a text in brackets turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// An array of strings, each with its place.
    Strings(Vec<(String, Range<usize>)>),
    /// A valid array that holds something else (D-040).
    Mixed,
    /// Not a JSON array (D-039).
    Other,
}

/// Reads a JSON array (D-038).
pub(crate) fn json(text: &str, range: Range<usize>) -> Json {
    let piece = &text[range.clone()];
    if !piece.starts_with('[') {
        return Json::Other;
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(piece) else { return Json::Other };
    let mut strings = Vec::with_capacity(values.len());
    let mut places = json_strings(piece);
    for value in values {
        let Value::String(string) = value else { return Json::Mixed };
        let place = places.next().unwrap_or(0..piece.len());
        strings.push((string, range.start + place.start..range.start + place.end));
    }
    Json::Strings(strings)
}

/// Returns the places of the string literals of a valid flat JSON array.
fn json_strings(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(|byte| *byte == b'"')?;
        at = start + 1;
        while *bytes.get(at)? != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        at += 1;
        Some(start..at)
    })
}

/// Splits one line of comma-separated fields; a field in double quotes may hold commas and, doubled,
/// quotes (D-146).
pub(crate) fn split_commas(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote inside an unquoted field");
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("text after a closing quote"),
        }
    }
}

/// Reads the rest of a field whose opening quote is gone; returns it and what follows.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
    Err("a quote that is not closed")
}
