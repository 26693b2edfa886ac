//! Whether secrets are where they must not be: known ones in any of the forms in which they leak, and tokens that
//! their own form gives away.
//!
//! [`Needles`] are the byte strings that give the values of secrets away. A [`Scanner`] is shown entries of layers
//! and texts, looks for needles in names, link targets, attributes and contents, opens what is compressed or an
//! archive, and says in the end what it found and what it looked at.
//!
//! A find never has a needle in it, and neither has what [`Needles`] shows of itself.

mod encode;
mod members;
mod needles;
mod scan;
mod search;
mod stream;
mod tokens;
mod zip;

pub use encode::Encoding;
pub use needles::{LEAST, Needles, Part};
pub use scan::{Checked, Find, Scan, Scanner, TokenFind, TokenSearch, Unread};
pub use tokens::{TOKEN_RULES, TokenRule};

/// How deep archives and compressed files in one another are opened.
pub const DEPTH: u32 = 6;

/// How many bytes the members of one file may unpack to before the rest is left.
pub const FILE_LIMIT: u64 = 2 << 30;

/// How many bytes the members of all files of one scan may unpack to before the rest is left.
pub const SCAN_LIMIT: u64 = 32 << 30;
