//! The two pattern languages of the field: Go's `filepath.Match`, which COPY and ADD use for their
//! sources, and that of `.dockerignore`, which adds `**` and `!`.
//!
//! Both work on the bytes of paths. A character is one UTF-8 sequence; a byte that is not part of one
//! is a character of its own, so that any name can be matched. Every pattern runs in time linear in
//! the length of the path: a hostile pattern cannot make a build hang.

mod glob;
mod ignore;
mod machine;
#[cfg(test)]
mod tests;

pub use glob::{Glob, clean, has_wildcard, unescape};
pub use ignore::{DeepPattern, IgnorePatterns, PatternError, PatternProblem};
