//! Parser directives (section 2).

use std::ops::Range;

use serde_json::Value;

use crate::lines::{Line, Lines, offset};
use crate::{Diagnostic, Severity, Span, Spanned};

/// The directives of a file.
#[derive(Debug)]
pub(crate) struct Directives {
    /// The escape character (D-021).
    pub escape: char,
    /// The first word of `syntax`.
    pub syntax: Option<Spanned<String>>,
    /// The first word of `check`.
    pub check: Option<Spanned<String>>,
    /// Number of the last line that is a directive; such lines are no comments.
    pub last_line: u32,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// A `key=value` line.
struct Entry {
    key: Key,
    key_range: Range<usize>,
    value: Range<usize>,
    line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Syntax,
    Escape,
    Check,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::Syntax => "syntax",
            Key::Escape => "escape",
            Key::Check => "check",
        }
    }
}

/// Reads the directives at the start of a text.
pub(crate) fn read_directives(source: &str) -> Directives {
    let mut directives =
        Directives { escape: '\\', syntax: None, check: None, last_line: 0, diagnostics: Vec::new() };
    let mut lines = Lines::new(source);
    let shebang = {
        let mut first = lines.clone();
        let line = first.next();
        let shebang = line.is_some_and(|line| source[line.start..line.end].starts_with("#!"));
        if shebang {
            lines = first;
        }
        shebang
    };
    let hash = entries(source, lines.clone(), "#");
    let mut seen: Vec<Key> = Vec::new();
    for entry in &hash {
        if seen.contains(&entry.key) {
            let message = format!("only one {} parser directive can be used", entry.key.name());
            directives.error(entry, entry.key_range.clone(), message, None);
            continue;
        }
        seen.push(entry.key);
        match entry.key {
            Key::Syntax => directives.syntax = Some(first_word(source, entry.value.clone())),
            Key::Check => directives.check = Some(first_word(source, entry.value.clone())),
            // The line with `#!` is a comment and ends directive position; only the frontend is still
            // looked for behind it (D-024).
            Key::Escape if shebang => {}
            Key::Escape => directives.set_escape(source, entry),
        }
        if !shebang {
            directives.last_line = entry.line;
        }
    }
    if directives.syntax.is_none() {
        directives.syntax = foreign_syntax(source, lines);
    }
    directives
}

impl Directives {
    fn set_escape(&mut self, source: &str, entry: &Entry) {
        match &source[entry.value.clone()] {
            "\\" => self.escape = '\\',
            "`" => self.escape = '`',
            other => {
                let message = format!("invalid escape token '{}'", crate::scope::shown(other));
                let hint = "the escape character is either a backslash or a backtick";
                self.error(entry, entry.value.clone(), message, Some(hint));
            }
        }
    }

    fn error(&mut self, entry: &Entry, range: Range<usize>, message: String, hint: Option<&str>) {
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            rule: None,
            message,
            span: span(range),
            lines: (entry.line, entry.line),
            hints: hint.map(str::to_owned).into_iter().collect(),
        });
    }
}

/// Reads lines until one is not a directive (D-018).
fn entries(source: &str, lines: Lines<'_>, prefix: &str) -> Vec<Entry> {
    lines.map_while(|line| entry(source, line, prefix)).collect()
}

fn entry(source: &str, line: Line, prefix: &str) -> Option<Entry> {
    let end = line.end;
    let text = source[line.start..end].trim_start().strip_prefix(prefix)?.trim_start();
    let start = end - text.len();
    let (key, value) = text.split_once('=')?;
    let key = key.trim_end();
    let key_range = start..start + key.len();
    let key = [Key::Syntax, Key::Escape, Key::Check]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(key))?;
    let value = value.trim_start();
    let value_start = end - value.len();
    let value = value.trim_end();
    if value.is_empty() {
        return None;
    }
    Some(Entry { key, key_range, value: value_start..value_start + value.len(), line: line.number })
}

/// Finds a frontend named in the style of other file formats (D-024).
fn foreign_syntax(source: &str, lines: Lines<'_>) -> Option<Spanned<String>> {
    let slashes = entries(source, lines.clone(), "//");
    if let Some(entry) = slashes.into_iter().find(|entry| entry.key == Key::Syntax) {
        return Some(first_word(source, entry.value));
    }
    let mut rest = lines;
    let first = rest.next()?;
    let text = &source[first.start..];
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return None };
    let value = object.get("syntax")?.as_str()?.to_owned();
    Some(Spanned { value, span: span(first.start..first.end) })
}

fn first_word(source: &str, range: Range<usize>) -> Spanned<String> {
    let value = &source[range.clone()];
    // What is left is trimmed like a value that stands alone.
    let value = value.split(' ').next().unwrap_or(value).trim_end();
    Spanned { value: value.to_owned(), span: span(range.start..range.start + value.len()) }
}

fn span(range: Range<usize>) -> Span {
    Span { start: offset(range.start), end: offset(range.end) }
}
