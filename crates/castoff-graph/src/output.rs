//! What is made of the graph in the end: an image's file system and its config.

use castoff_oci::{ImageConfig, Platform};

use crate::VertexId;

/// An image to assemble when its vertex is done.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageOutput {
    /// The platform of the image.
    pub platform: Platform,
    /// The file system of the image.
    pub vertex: VertexId,
    /// The config without what the build adds: `rootfs` and `history` are those of the base image,
    /// `created` is absent.
    pub config: ImageConfig,
    /// The history entries to append, oldest first.
    pub history: Vec<PlannedHistory>,
    /// SOURCE_DATE_EPOCH in seconds since 1970.
    pub epoch: Option<i64>,
}

/// A history entry whose time is known when its layer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHistory {
    /// The instruction as BuildKit writes it (D-295).
    pub created_by: String,
    /// The vertex that makes the layer; `None` for an empty layer.
    pub vertex: Option<VertexId>,
}
