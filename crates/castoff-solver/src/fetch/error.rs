//! Why something could not be fetched.

use castoff_oci::Digest;
use castoff_registry::RegistryError;

/// Why something could not be fetched. Addresses are shown without credentials.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached, or refused.
    #[error("{0}")]
    Http(RegistryError),
    /// The content is another than the one asked for (D-243).
    #[error("{url}: digest mismatch: expected {expected} and got {actual}")]
    Checksum {
        /// What was asked for.
        url: String,
        /// What it should be.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// The store failed.
    #[error("using the store: {0}")]
    File(#[from] castoff_store::FileError),
    /// The layer could not be written.
    #[error("writing the layer: {0}")]
    Tar(#[from] castoff_layer::TarWriteError),
    /// What was fetched is not in the store any more.
    #[error("blob `{0}` is not in the store any more")]
    Gone(Digest),
    /// What came could not be kept.
    #[error("keeping what came: {0}")]
    Io(#[from] std::io::Error),
    /// The build was stopped.
    #[error("the build was stopped")]
    Cancelled,
}

impl From<RegistryError> for FetchError {
    fn from(error: RegistryError) -> FetchError {
        match error {
            RegistryError::Stopped => FetchError::Cancelled,
            error => FetchError::Http(error),
        }
    }
}
