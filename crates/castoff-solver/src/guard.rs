//! What is asked before something that a step left behind may be kept or leave this machine.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use castoff_store::LayerId;

use crate::bodies::{Bodies, BodyError};

/// Looks for secrets in what steps leave behind. The caller's: this crate knows no forms of secrets.
///
/// Every method may be called by any number of threads.
pub trait Guard: fmt::Debug + Send + Sync {
    /// Looks at what a step printed.
    fn log(&self, log: &mut dyn Read) -> Result<(), GuardError>;

    /// Looks at a text. `name` says what it is.
    fn text(&self, name: &str, text: &[u8]) -> Result<(), GuardError>;

    /// Looks at a layer.
    fn layer(&self, bodies: &Bodies<'_>, layer: &LayerId) -> Result<(), GuardError>;

    /// Looks at what changed in the directory of a cache mount, which a step saw at `target`, since a time in
    /// milliseconds since 1970.
    fn cache_mount(&self, directory: &Path, target: &str, since_ms: i64) -> Result<(), GuardError>;

    /// Looks at all that a cache mount, which steps see at `target`, has in it: a tar that is to leave this machine.
    fn cache_mount_archive(&self, tar: &mut dyn Read, target: &str) -> Result<(), GuardError>;
}

/// Why something may not be kept, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is a secret in it.
    #[error("{0}")]
    Leak(Leak),
    /// A layer could not be read.
    #[error("looking for secrets")]
    Body(#[source] Box<BodyError>),
    /// A file could not be read.
    #[error("looking for secrets in `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<BodyError> for GuardError {
    fn from(error: BodyError) -> GuardError {
        GuardError::Body(Box::new(error))
    }
}

/// A secret where it must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The id of the secret.
    pub secret: String,
    /// Where it is, such as a path or `the log`.
    pub place: String,
    /// How it is written there.
    pub encoding: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "secret `{}` is in {} ({})", self.secret, self.place, self.encoding)
    }
}
