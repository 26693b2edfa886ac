//! Why a registry did not give what was asked for.

use std::io;
use std::time::Duration;

use castoff_oci::Digest;

/// Why a request failed. Addresses are shown without credentials and without their query.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached. The cause is part of the message.
    #[error("{url}: {cause}")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        cause: Box<ureq::Error>,
    },
    /// The answer broke off. The cause is part of the message.
    #[error("{url}: reading the answer: {cause}")]
    Body {
        /// What was asked for.
        url: String,
        /// Why.
        cause: io::Error,
    },
    /// The registry refused, in its own words.
    #[error("{url}: status {status}{}", detail(message))]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said, verbatim.
        message: String,
        /// How long the registry wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The registry does not let castoff in (401 and 403). Registries also say so of what does not exist.
    #[error(
        "{url}: access denied with status {status}{}; it does not exist, or {}",
        detail(message),
        if *anonymous { "credentials are needed and none are configured" } else { "the credentials are not enough" }
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said, verbatim.
        message: String,
        /// Whether there were no credentials to show.
        anonymous: bool,
    },
    /// The registry does not have it.
    #[error("{url}: not found")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// Neither the mirrors nor the registry behind them gave it.
    #[error("{last}; its mirrors: {}", mirrors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mirrors {
        /// The mirrors' errors, in their order.
        mirrors: Vec<RegistryError>,
        /// The error of the registry.
        last: Box<RegistryError>,
    },
    /// The answer is not what its digest says (B-080).
    #[error("{url}: expected digest `{expected}` and got `{actual}`")]
    Digest {
        /// What was asked for.
        url: String,
        /// The digest of what was asked for.
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
    /// The rest of a blob was asked for and another part came.
    #[error("{url}: asked for the part from byte {offset} and got `{got}`")]
    Range {
        /// What was asked for.
        url: String,
        /// The first byte asked for.
        offset: u64,
        /// The Content-Range of the answer.
        got: String,
    },
    /// The address is none of HTTP.
    #[error("`{url}` is not an address of HTTP")]
    Address {
        /// The address.
        url: String,
    },
    /// A redirect leads nowhere, in circles, or from HTTPS to plain HTTP.
    #[error("{url}: refusing the redirect to `{to}`")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// The proxy of the environment cannot be used.
    #[error("{host}: the proxy cannot be used: {reason}")]
    Proxy {
        /// The host that was to be asked through it.
        host: String,
        /// Why.
        reason: &'static str,
    },
    /// The token server would get credentials over plain HTTP, or has no usable address.
    #[error("{url}: refusing to ask `{realm}` for a token")]
    Realm {
        /// What was asked for.
        url: String,
        /// The address of the token server.
        realm: String,
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
    /// The document means two things.
    #[error("{url}: the document is both an index and a manifest")]
    Ambiguous {
        /// What was asked for.
        url: String,
    },
    /// An answer does not say where an upload goes on.
    #[error("{url}: the answer does not say where to upload to")]
    NoLocation {
        /// What was asked for.
        url: String,
    },
    /// A registry forgot an upload; it is begun anew.
    #[error("{0}")]
    Forgotten(Box<RegistryError>),
    /// The bytes of a blob that is to be pushed cannot be read. The cause is part of the message.
    #[error("blob `{digest}`: reading what is to be pushed: {cause}")]
    Source {
        /// The blob.
        digest: Digest,
        /// Why.
        cause: io::Error,
    },
    /// What is to be pushed is not what its digest says.
    #[error("blob `{expected}` is damaged: its bytes have the digest `{actual}`")]
    Damaged {
        /// The digest by which it is known.
        expected: Digest,
        /// The digest of its bytes.
        actual: Digest,
    },
    /// Nobody is asked, because the user wants no network.
    #[error("{from}: not asked, because castoff is offline")]
    Offline {
        /// What was to be asked for.
        from: String,
    },
    /// Whoever waited for the answer gave up.
    #[error("stopped")]
    Stopped,
    /// Reading failed.
    #[error("reading from the registry")]
    Read(#[from] io::Error),
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl RegistryError {
    /// Returns whether the registry was asked and, as far as it says, does not have it. Many say of what
    /// does not exist that it is not allowed.
    pub fn means_absent(&self) -> bool {
        match self {
            RegistryError::NotFound { .. } | RegistryError::Denied { .. } | RegistryError::Blocked { .. } => {
                true
            }
            RegistryError::Mirrors { last, .. } => last.means_absent(),
            _ => false,
        }
    }

    /// Returns whether the registry said that it does not have it.
    pub fn is_not_found(&self) -> bool {
        match self {
            RegistryError::NotFound { .. } => true,
            RegistryError::Mirrors { last, .. } => last.is_not_found(),
            _ => false,
        }
    }

    /// Returns whether nobody was asked, because the user wants no network.
    pub fn is_offline(&self) -> bool {
        matches!(self, RegistryError::Offline { .. })
    }

    /// Returns whether asking again may help (B-081).
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RegistryError::Transport { cause, .. } => match &**cause {
                // A certificate that is refused, or a server that speaks something else.
                ureq::Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
                ureq::Error::Timeout(_)
                | ureq::Error::ConnectionFailed
                | ureq::Error::Protocol(_)
                | ureq::Error::BodyStalled => true,
                _ => false,
            },
            // What is not implemented now is not either in a moment.
            RegistryError::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=599),
            RegistryError::Body { .. } | RegistryError::Read(_) | RegistryError::Forgotten(_) => true,
            RegistryError::Denied { .. }
            | RegistryError::NotFound { .. }
            | RegistryError::Mirrors { .. }
            | RegistryError::Digest { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Range { .. }
            | RegistryError::Address { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Proxy { .. }
            | RegistryError::Realm { .. }
            | RegistryError::NoToken { .. }
            | RegistryError::Helper { .. }
            | RegistryError::Blocked { .. }
            | RegistryError::Schema1 { .. }
            | RegistryError::Ambiguous { .. }
            | RegistryError::NoLocation { .. }
            | RegistryError::Source { .. }
            | RegistryError::Damaged { .. }
            | RegistryError::Offline { .. }
            | RegistryError::Stopped => false,
        }
    }

    /// Returns the error of an upload that a registry does not know any more.
    pub(crate) fn into_transient(self) -> RegistryError {
        RegistryError::Forgotten(Box::new(self))
    }

    /// Returns whether no answer came at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, RegistryError::Transport { .. })
    }

    /// Returns how long the registry wants to be left alone, if it said so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            RegistryError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
