//! From solved vertices to what the user asked for: images in the store, archives, directories.

pub mod archive;
pub mod image;
pub mod pack;
pub mod set;
pub mod tree;
