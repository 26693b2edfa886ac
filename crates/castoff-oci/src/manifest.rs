//! Image manifests and indexes (image-spec, manifest.md and image-index.md).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Descriptor, MediaType};

/// An image manifest, OCI or Docker schema 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own type; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The image config.
    pub config: Descriptor,
    /// Layers, bottom to top.
    pub layers: Vec<Descriptor>,
    /// Annotations in the order written.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
}

/// An image index, or a Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own type; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The manifests in the order written.
    pub manifests: Vec<Descriptor>,
    /// Annotations in the order written.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
}

impl Manifest {
    /// Returns an OCI manifest of a config and layers.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            config,
            layers,
            annotations: IndexMap::new(),
        }
    }
}

impl Index {
    /// Returns an OCI index of some manifests.
    pub fn oci(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            manifests,
            annotations: IndexMap::new(),
        }
    }
}
