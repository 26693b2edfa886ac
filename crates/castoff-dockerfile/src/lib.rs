//! x
mod ast;
mod diagnostic;
pub mod expand;
pub use ast::*;
pub use diagnostic::{Diagnostic, Severity};
