//! From solved vertices to what the user asked for: images in the store, archives, directories.

pub mod annotate;
pub mod archive;
mod estargz;
pub mod image;
pub mod pack;
pub mod push;
pub mod set;
pub mod tree;
mod verified;
