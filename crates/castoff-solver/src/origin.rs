//! Where blobs are known to be: every image that was ever resolved says which repository has its layers.
//!
//! An image in the store names its layers by digest alone. Those of a base that was never fetched are still
//! where the base came from, under whatever name the image has now.

use std::collections::BTreeMap;

use castoff_oci::{Descriptor, Digest, Index, Manifest, Reference};
use castoff_store::{BlobError, FileError, Store};

/// Documents of an image are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Names, pinned to no digest, of repositories that have a blob.
pub type Origins = BTreeMap<Digest, Vec<Reference>>;

/// Why the origins could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The names could not be read.
    #[error("using the store: {0}")]
    File(#[from] FileError),
    /// A document could not be read.
    #[error("using the store: {0}")]
    Blob(#[from] BlobError),
}

/// Returns which repositories have which configs and layers, by the images that were resolved. Documents that
/// are not there any more say nothing.
///
/// # Errors
/// When the store cannot be read.
pub fn origins(store: &Store) -> Result<Origins, OriginError> {
    let mut origins = Origins::new();
    for tag in store.all_pulled()? {
        let Some(bytes) = store.read_blob(&tag.descriptor.digest, DOCUMENT_LIMIT)? else { continue };
        let mut manifests = vec![bytes];
        for entry in entries(&manifests[0]) {
            manifests.extend(store.read_blob(&entry.digest, DOCUMENT_LIMIT)?);
        }
        for manifest in manifests {
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else { continue };
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                let known = origins.entry(blob.digest).or_default();
                if !known.iter().any(|known| known.name() == tag.reference.name()) {
                    known.push(tag.reference.clone());
                }
            }
        }
    }
    Ok(origins)
}

/// Returns the entries of an index; a document that is none has none.
pub(crate) fn entries(document: &[u8]) -> Vec<Descriptor> {
    serde_json::from_slice::<Index>(document).map(|index| index.manifests).unwrap_or_default()
}
