//! The distribution protocol: resolve names, fetch and push manifests and blobs, authenticate, retry, fall
//! back over mirrors.
//!
//! The main types are [`Client`] and [`Config`]. A blob is a [`Read`](std::io::Read) that verifies
//! its digest and size as it goes, and asks again for the rest when the connection breaks.
//!
//! [`Client::download`] fetches a file that is no part of any image over the same connections.
//!
//! [`Client::push_blob`] and [`Client::push_manifest`] write to the registry itself, never to its mirrors.
//!
//! [`Bucket`] reads and writes objects of S3.
//!
//! This crate deliberately knows no store and no image: it returns and takes bytes.

mod ask;
mod auth;
mod blob;
mod client;
mod config;
mod document;
mod download;
mod engine;
mod error;
mod hosts;
pub mod login;
mod outgoing;
mod proxy;
mod push;
mod s3;
mod slots;
mod tls;
mod token;
mod transport;
mod upload;
mod url;

pub use client::Client;
pub use config::{Config, ConfigEnvironment, ConfigError};
pub use document::Document;
pub use download::{Content, Download, Downloaded};
pub use engine::{Engine, EngineAddress, EngineError, EngineKind};
pub use error::RegistryError;
pub use outgoing::Open;
pub use push::{Push, Pushed};
pub use s3::{Bucket, BucketCredentials, BucketSettings, Object, ObjectFacts};
