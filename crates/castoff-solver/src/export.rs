//! From solved vertices to what the user asked for: images in the store, archives, directories.

pub mod annotate;
pub mod archive;
pub mod attest;
mod estargz;
pub mod image;
pub mod materials;
pub mod pack;
pub mod push;
pub mod set;
pub mod tree;
mod verified;
