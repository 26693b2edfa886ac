//! Dockerfile text to a syntax tree with spans and diagnostics, and word expansion.
//!
//! [`parse`] takes the bytes of a file and always returns a [`Dockerfile`], together with every
//! finding about it; one broken instruction does not hide the next. Nothing in the tree is expanded:
//! [`expand`](mod@expand) does that later, word by word, with the variables that are visible at that
//! point of the build.
//!
//! ```
//! let parsed = castoff_dockerfile::parse(b"FROM alpine AS base\nRUN echo hello\n");
//! assert!(parsed.diagnostics.is_empty());
//! assert_eq!(parsed.dockerfile.stages[0].from.image.value, "alpine");
//! ```
//!
//! The crate does not decide what instructions mean, resolves no name, and touches neither files nor
//! the environment.

mod ast;
mod diagnostic;
mod directive;
pub mod expand;
pub mod fix;
mod flags;
mod heredoc;
mod instruction;
mod lines;
pub mod lint;
mod parse;
mod print;
mod scope;
mod suggest;
mod words;

pub use ast::*;
pub use diagnostic::{Diagnostic, Severity};
pub use parse::{Parsed, parse, parse_trigger};
pub use print::print;
pub use suggest::suggest;
