//! Why a registry did not give what was asked for.

use std::io;

use castoff_oci::Digest;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached.
    #[error("{url}: {source}")]
    Transport {
        /// What was asked for, without credentials.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The registry refused, in its own words.
    #[error("{url}: {status}{}", detail(message))]
    Status {
        /// What was asked for, without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said, verbatim.
        message: String,
    },
    /// The registry does not have it.
    #[error("{url}: not found")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The answer is not what its digest says (B-080).
    #[error("{url}: expected digest `{expected}` and got `{actual}`")]
    Digest {
        /// What was asked for.
        url: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A document is larger than documents are.
    #[error("{url}: the document is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The answer to a request for a token makes no sense.
    #[error("{url}: the answer holds no token")]
    NoToken {
        /// The token server.
        url: String,
    },
    /// A credential helper failed.
    #[error("credential helper `{program}`: {message}")]
    Helper {
        /// The program.
        program: String,
        /// What it said.
        message: String,
    },
    /// The configuration forbids the registry.
    #[error("`{prefix}` is blocked by the registries configuration")]
    Blocked {
        /// The prefix that is blocked.
        prefix: String,
    },
    /// The image is described in a format from before 2016 (B-078).
    #[error("{url}: schema 1 manifests are not supported; push the image again with a current tool")]
    Schema1 {
        /// What was asked for.
        url: String,
    },
    /// Reading failed.
    #[error("reading from the registry: {0}")]
    Read(#[from] io::Error),
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl RegistryError {
    /// Returns whether asking again may help (B-081).
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RegistryError::Transport { source, .. } => !matches!(
                **source,
                ureq::Error::BadUri(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::Tls(_)
                    | ureq::Error::Rustls(_)
            ),
            RegistryError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            RegistryError::Read(_) => true,
            RegistryError::NotFound { .. }
            | RegistryError::Digest { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::NoToken { .. }
            | RegistryError::Helper { .. }
            | RegistryError::Blocked { .. }
            | RegistryError::Schema1 { .. } => false,
        }
    }
}
