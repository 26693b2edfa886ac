//! What the parsers of single instructions work with: one logical line, and where findings go.

use std::ops::Range;

use crate::heredoc::Found;
use crate::lines::Joined;
use crate::{Diagnostic, Severity, Span, Spanned};

/// Longest piece of the source that is repeated in a message.
const SHOWN: usize = 80;

/// Most findings of one file. Whoever has so many has not written a Dockerfile.
pub(crate) const MOST: usize = 1000;

/// One logical line being parsed. Ranges are byte offsets in the joined text.
pub(crate) struct Scope<'a> {
    /// The line.
    pub joined: &'a Joined,
    /// The escape character of the file.
    pub escape: char,
    /// First and last line of the instruction.
    pub lines: (u32, u32),
    /// Here-documents of the instruction, in order, with the places of their tokens.
    pub heredocs: Vec<Found>,
    /// One past the last source byte of the instruction.
    pub end: u32,
    /// Findings.
    pub diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Scope<'a> {
    /// Returns a piece of the line.
    pub fn text(&self, range: Range<usize>) -> &'a str {
        &self.joined.text[range]
    }

    /// Returns the place of a piece of the line.
    pub fn span(&self, range: Range<usize>) -> Span {
        self.joined.span(range)
    }

    /// Returns a piece of the line with its place.
    pub fn word(&self, range: Range<usize>) -> Spanned<String> {
        Spanned { value: self.text(range.clone()).to_owned(), span: self.span(range) }
    }

    /// Reports an error.
    pub fn error(&mut self, range: Range<usize>, message: impl Into<String>) {
        self.report(Severity::Error, self.span(range), message.into(), Vec::new());
    }

    /// Reports an error with what to do next.
    pub fn error_with_hint(&mut self, range: Range<usize>, message: impl Into<String>, hint: &str) {
        self.report(Severity::Error, self.span(range), message.into(), vec![hint.to_owned()]);
    }

    /// Reports an error at a place of the source.
    pub fn error_at(&mut self, span: Span, message: impl Into<String>) {
        self.report(Severity::Error, span, message.into(), Vec::new());
    }

    fn report(&mut self, severity: Severity, span: Span, message: String, hints: Vec<String>) {
        if self.diagnostics.len() < MOST {
            let lines = self.lines;
            self.diagnostics.push(Diagnostic { severity, rule: None, message, span, lines, hints });
        }
    }
}

/// Shortens a piece of the source for a message.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
