//! The build graph: what is to be done, in terms of file systems and processes, with no trace of the
//! Dockerfile it came from.
//!
//! The main types are [`BuildGraph`], [`Vertex`], [`Op`] and [`ImageOutput`]; [`KeyRecipe`] is the
//! readable form of a step's cache key, and [`CacheKey`] its digest; [`FileList`] what a step read. [`pattern`] holds the two
//! pattern languages of the field: Go's `filepath.Match` and that of `.dockerignore`.
//!
//! The operations mean what BuildKit's LLB operations mean (source, exec, file), so that other front
//! ends can lower to the same graph. This crate deliberately does no input or output and knows no
//! Dockerfile syntax.

mod files;
mod graph;
pub mod key;
mod op;
mod output;
pub mod pattern;
pub mod print;
pub mod remote;

pub use files::{FileList, USUAL_MODE};
pub use graph::{BuildGraph, GraphError, Origin, Vertex, VertexId};
pub use key::{CacheKey, Difference, KeyRecipe};
pub use op::{
    Chmod, CopyKind, CopyOp, CopySource, DeviceRequest, ExtraHost, LocalName, Mount, NetworkMode, Op, Owner,
    RunOp, Script, SecurityMode, Sharing, SourceOp, Ulimit, WorkdirOp,
};
pub use output::{ImageOutput, PlannedHistory};
