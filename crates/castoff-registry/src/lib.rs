//! The distribution protocol, as far as pulling needs it: resolve names, fetch manifests and blobs,
//! authenticate, retry, fall back over mirrors.
//!
//! The main types are [`Client`] and [`Config`]. A blob is a [`Read`](std::io::Read) that verifies
//! its digest and size as it goes, and asks again for the rest when the connection breaks.
//!
//! [`Client::download`] fetches a file that is no part of any image over the same connections.
//!
//! This crate deliberately knows no store and no image: it returns bytes. Pushing is not built yet.

mod auth;
mod blob;
mod client;
mod config;
mod document;
mod download;
mod engine;
mod error;
mod hosts;
mod proxy;
mod slots;
mod tls;
mod token;
mod transport;
mod url;

pub use client::Client;
pub use config::{Config, ConfigEnvironment, ConfigError};
pub use document::Document;
pub use download::{Content, Download, Downloaded};
pub use engine::{Engine, EngineAddress, EngineError, EngineKind};
pub use error::RegistryError;
