//! Behaviour of the parser, of word expansion and of the checks, as tables.

mod arguments;
mod directives;
mod errors;
mod expand;
mod fix;
mod heredocs;
mod instructions;
mod laws;
mod lines;
mod lint;
mod lint_own;
mod print;
mod properties;
mod triggers;
