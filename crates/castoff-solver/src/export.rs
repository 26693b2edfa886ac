//! From solved vertices to what the user asked for: images in the store, archives, directories.

pub mod archive;
pub mod image;
pub mod set;
pub mod tree;
