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
    /// The store does not have it, and nobody is asked, because the user wants no network.
    #[error("{0}: the store does not have it, and castoff is offline")]
    Offline(String),
    /// There is no program for repositories.
    #[error("the program `git` was not found in PATH; repositories are fetched with it")]
    NoGit,
    /// Git failed, in its own words.
    #[error("{remote}: git {step} failed: {message}")]
    Git {
        /// The repository.
        remote: String,
        /// Git's command.
        step: String,
        /// What it said.
        message: String,
    },
    /// The repository has no such reference.
    #[error("{remote}: the repository does not contain ref `{name}`")]
    NoRef {
        /// The repository.
        remote: String,
        /// What was asked for.
        name: String,
    },
    /// The reference leads to another commit than the one asked for (D-243).
    #[error("{remote}: expected checksum to match {expected}, got {actual}")]
    Commit {
        /// The repository.
        remote: String,
        /// What was asked for.
        expected: String,
        /// Where the reference leads.
        actual: String,
    },
    /// The subdirectory is none (D-240).
    #[error("{remote}: subdirectory `{path}` {reason}")]
    Subdir {
        /// The repository.
        remote: String,
        /// The part of the path that is wrong.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What came could not be read.
    #[error("{0}")]
    Copy(#[from] crate::copy::CopyError),
    /// What should be an archive is hostile or damaged.
    #[error("the archive cannot be used: {}", crate::step::chain(.0))]
    Archive(castoff_layer::TarReadError),
    /// What should be an archive is something else.
    #[error("the context is compressed, and no tar archive")]
    NoArchive,
    /// A file is larger than such files are.
    #[error("`{path}` has more than {limit} bytes")]
    TooLarge {
        /// Which.
        path: String,
        /// How many it may have.
        limit: u64,
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

impl From<castoff_store::LockError> for FetchError {
    fn from(error: castoff_store::LockError) -> FetchError {
        match error {
            castoff_store::LockError::Cancelled => FetchError::Cancelled,
            castoff_store::LockError::File(error) => FetchError::File(error),
        }
    }
}

impl From<RegistryError> for FetchError {
    fn from(error: RegistryError) -> FetchError {
        match error {
            RegistryError::Stopped => FetchError::Cancelled,
            error => FetchError::Http(error),
        }
    }
}
