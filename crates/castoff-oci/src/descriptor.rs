//! Descriptors and media types (image-spec, descriptor.md and media-types.md).

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Platform};

/// What a document or blob is, as OCI and Docker name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// OCI image index.
    OciIndex,
    /// OCI image manifest.
    OciManifest,
    /// OCI image config.
    OciConfig,
    /// OCI layer, plain tar.
    OciLayer,
    /// OCI layer, tar and gzip.
    OciLayerGzip,
    /// OCI layer, tar and zstd.
    OciLayerZstd,
    /// Docker manifest list.
    DockerManifestList,
    /// Docker image manifest, schema 2.
    DockerManifest,
    /// Docker image config.
    DockerConfig,
    /// Docker layer, plain tar.
    DockerLayer,
    /// Docker layer, tar and gzip.
    DockerLayerGzip,
    /// Docker layer, tar and zstd.
    DockerLayerZstd,
    /// Anything else, as it was written; the specification leaves the set open.
    Other(String),
}

/// How the tar of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerCompression {
    /// Plain tar.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Whose names documents and layers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaTypes {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's, for what is older than OCI.
    Docker,
}

impl MediaTypes {
    /// Returns the type of an index.
    pub fn index(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::OciIndex,
            MediaTypes::Docker => MediaType::DockerManifestList,
        }
    }

    /// Returns the type of an image manifest.
    pub fn manifest(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::OciManifest,
            MediaTypes::Docker => MediaType::DockerManifest,
        }
    }

    /// Returns the type of an image config.
    pub fn config(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::OciConfig,
            MediaTypes::Docker => MediaType::DockerConfig,
        }
    }

    /// Returns the type of a layer.
    pub fn layer(self, compression: LayerCompression) -> MediaType {
        match (self, compression) {
            (MediaTypes::Oci, LayerCompression::None) => MediaType::OciLayer,
            (MediaTypes::Oci, LayerCompression::Gzip) => MediaType::OciLayerGzip,
            (MediaTypes::Oci, LayerCompression::Zstd) => MediaType::OciLayerZstd,
            (MediaTypes::Docker, LayerCompression::None) => MediaType::DockerLayer,
            (MediaTypes::Docker, LayerCompression::Gzip) => MediaType::DockerLayerGzip,
            (MediaTypes::Docker, LayerCompression::Zstd) => MediaType::DockerLayerZstd,
        }
    }
}

impl MediaType {
    const NAMES: [(MediaType, &'static str); 12] = [
        (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
        (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
        (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
        (MediaType::OciLayer, "application/vnd.oci.image.layer.v1.tar"),
        (MediaType::OciLayerGzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (MediaType::OciLayerZstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
        (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
        (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
        (MediaType::DockerLayer, "application/vnd.docker.image.rootfs.diff.tar"),
        (MediaType::DockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        (MediaType::DockerLayerZstd, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
    ];

    /// Returns the media type's text.
    pub fn as_str(&self) -> &str {
        match self {
            MediaType::Other(text) => text,
            known => Self::NAMES
                .iter()
                .find(|(media_type, _)| media_type == known)
                .map(|(_, text)| *text)
                .expect("every named media type is in the table"),
        }
    }

    /// Returns whether this is an OCI index or a Docker manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self, MediaType::OciIndex | MediaType::DockerManifestList)
    }

    /// Returns whether this is an OCI or Docker image manifest.
    pub fn is_manifest(&self) -> bool {
        matches!(self, MediaType::OciManifest | MediaType::DockerManifest)
    }

    /// Returns how a layer of this type is compressed, or `None` when it is not a layer.
    pub fn layer_compression(&self) -> Option<LayerCompression> {
        match self {
            MediaType::OciLayer | MediaType::DockerLayer => Some(LayerCompression::None),
            MediaType::OciLayerGzip | MediaType::DockerLayerGzip => Some(LayerCompression::Gzip),
            MediaType::OciLayerZstd | MediaType::DockerLayerZstd => Some(LayerCompression::Zstd),
            MediaType::OciIndex
            | MediaType::OciManifest
            | MediaType::OciConfig
            | MediaType::DockerManifestList
            | MediaType::DockerManifest
            | MediaType::DockerConfig
            | MediaType::Other(_) => None,
        }
    }

    /// Returns the OCI layer type of a compression.
    pub fn oci_layer(compression: LayerCompression) -> MediaType {
        MediaTypes::Oci.layer(compression)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> MediaType {
        MediaType::NAMES
            .into_iter()
            .find(|(_, name)| *name == text)
            .map_or_else(|| MediaType::Other(text.to_owned()), |(media_type, _)| media_type)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MediaType, D::Error> {
        Ok(MediaType::from(String::deserialize(deserializer)?.as_str()))
    }
}

/// A reference to content by type, digest and size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    pub media_type: MediaType,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Places to fetch the content from, used for foreign layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations in the order written.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
    /// Platform, on entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The content itself in base64, when it is embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Descriptor {
    /// Returns a descriptor without annotations, platform or urls.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: IndexMap::new(),
            platform: None,
            data: None,
        }
    }
}
