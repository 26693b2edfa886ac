//! Other builders, from Debian, for comparison: where they run, and what they made.

pub(crate) mod buildah;
pub(crate) mod compare;
mod docker;
pub(crate) mod image;
pub(crate) mod tree;
pub(crate) mod world;

pub(crate) use docker::Docker;
pub(crate) use world::World;
