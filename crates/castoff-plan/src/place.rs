//! Making diagnostics: a place in the source text and a message.

use castoff_dockerfile::lint::Rule;
use castoff_dockerfile::{Diagnostic, Severity, Span};

/// Longest message, in bytes. Values of variables may be in it, and there may be many messages.
const LONGEST: usize = 1000;

/// Where a finding is: the narrowest span, and the lines of the instruction.
///
/// The default is no place at all, for findings about the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) span: Span,
    pub(crate) lines: (u32, u32),
}

/// The result of giving meaning to a part of the Dockerfile.
pub(crate) type Checked<T> = Result<T, Diagnostic>;

impl Place {
    pub(crate) fn new(span: Span, lines: (u32, u32)) -> Place {
        Place { span, lines }
    }

    /// Returns an error here.
    pub(crate) fn error(self, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, None, message.into())
    }

    /// Returns an error here with a hint, if there is one.
    pub(crate) fn error_with_hint(self, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        Diagnostic { hints: hint.into_iter().collect(), ..self.error(message) }
    }

    /// Returns the warning of a build check.
    pub(crate) fn warning(self, rule: &Rule, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, Some(rule.name), message.into())
    }

    fn diagnostic(self, severity: Severity, rule: Option<&'static str>, mut message: String) -> Diagnostic {
        if message.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
            message.push_str("...");
        }
        Diagnostic { severity, rule, message, span: self.span, lines: self.lines, hints: Vec::new() }
    }
}
