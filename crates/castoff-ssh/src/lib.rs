//! ssh agents that steps may ask: somebody's own, forwarded, or one made of private keys.
//!
//! An [`Agent`] is either the socket of a running agent or a list of [`Key`]s in memory. [`Agent::serve`]
//! answers on a new socket until the returned [`Served`] is dropped. Who connects there may list the keys
//! and have things signed, and nothing else: keys are neither added nor removed nor locked, whatever the
//! real agent would allow (D-174).
//!
//! Whoever connects is not trusted: messages have a largest size, connections a largest number, and what
//! is malformed is answered with a failure.
//!
//! ```
//! use castoff_ssh::{Key, KeyError};
//!
//! let error = Key::parse(b"ssh-ed25519 AAAA... a public key", "id").unwrap_err();
//! assert!(matches!(error, KeyError::NoPrivateKey));
//! ```
//!
//! This crate deliberately knows no step and no mount, reads no key file and asks for no passphrase.

mod agent;
mod key;
mod serve;
mod wire;

pub use agent::Agent;
pub use key::{Key, KeyError};
pub use serve::Served;
