//! The OCI image vocabulary: digests, descriptors, manifests, configs, platforms and references,
//! and their JSON.
//!
//! The main types are [`Digest`], [`Descriptor`], [`Manifest`], [`ImageConfig`] and [`Reference`].
//!
//! ```
//! use castoff_oci::Reference;
//!
//! let reference: Reference = "alpine:3.20".parse().unwrap();
//! assert_eq!(reference.to_string(), "docker.io/library/alpine:3.20");
//! ```
//!
//! This crate deliberately does no input or output, and knows nothing of how a layer is read. A
//! document that comes from outside is kept as the bytes that were hashed ([`Raw`]); it is never
//! serialized again to compute a digest.

mod config;
mod descriptor;
mod digest;
mod manifest;
mod platform;
mod raw;
mod reference;

pub use config::{ContainerConfig, Healthcheck, HistoryEntry, ImageConfig, RootFs};
pub use descriptor::{Descriptor, LayerCompression, MediaType, MediaTypes};
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use raw::Raw;
pub use reference::{Reference, ReferenceError};
