//! What is wrong with a Dockerfile, and where.

use crate::Span;

/// A finding about a source text. The text itself is not in it; whoever renders it has the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the build.
    pub severity: Severity,
    /// Name of the build check that fired, such as `StageNameCasing`; `None` for plain errors.
    pub rule: Option<&'static str>,
    /// A lower-case fragment without full stop, except where a rule fixes the wording.
    pub message: String,
    /// The narrowest place that is wrong.
    pub span: Span,
    /// Lines of the whole instruction, from 1.
    pub lines: (u32, u32),
    /// What to do next, one line each.
    pub hints: Vec<String>,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build stops.
    Error,
}
