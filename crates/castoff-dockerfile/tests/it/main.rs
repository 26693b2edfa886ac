//! Behaviour of the parser and of word expansion, as tables.

mod expand;
mod properties;
