//! The client: what may be read from a registry.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

use castoff_oci::{Descriptor, Digest, Reference};
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri};

use crate::ask::{Question, Remembered};
use crate::blob::BlobReader;
use crate::config::Config;
use crate::document::Document;
use crate::download::{Content, Download, Downloaded, Downloader};
use crate::error::RegistryError;
use crate::hosts::Scheme;
use crate::slots::{Slots, Stop};
use crate::token::Access;
use crate::transport::{Request, Transport};
use crate::url;

/// Manifests are small; the distribution specification lets a registry refuse above 4 MiB.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The documents that castoff reads.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A client of all registries, shared by threads. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Shared>);

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) stop: Stop,
    pub(crate) transport: Arc<Transport>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) learned: Arc<Mutex<Learned>>,
}

/// What answers have taught.
#[derive(Default)]
pub(crate) struct Learned {
    /// Authorization headers that worked, by host and what they allow.
    pub(crate) headers: HashMap<(String, String), Remembered>,
    /// How a host that may be asked in several ways answered.
    pub(crate) schemes: HashMap<String, Scheme>,
    /// Mirrors that could not be reached. They are not waited for again.
    pub(crate) unreachable: HashSet<String>,
    /// Hosts that take blobs in one piece only.
    pub(crate) whole: HashSet<String>,
}

impl Client {
    /// Returns a client; nothing is sent yet.
    pub fn new(config: Config) -> Client {
        Client(Arc::new(Shared {
            config,
            stop: Stop(Arc::new(|| false)),
            transport: Arc::default(),
            slots: Arc::default(),
            learned: Arc::default(),
        }))
    }

    /// Returns the same client, whose waiting between attempts ends when `stopped` says so.
    #[must_use]
    pub fn stopped_by(self, stopped: impl Fn() -> bool + Send + Sync + 'static) -> Client {
        Client(Arc::new(Shared { stop: Stop(Arc::new(stopped)), ..Shared::clone(&self.0) }))
    }

    /// Returns the same client, which asks a registry that no configuration mentions over HTTPS without
    /// looking at its certificate, and then over plain HTTP (B-089).
    #[must_use]
    pub fn insecure(&self, registry: &str) -> Client {
        let mut shared = Shared::clone(&self.0);
        shared.config.insecure.insert(registry.to_owned());
        Client(Arc::new(shared))
    }

    /// Returns whether nothing is ever asked ([`Config::offline`]).
    pub fn is_offline(&self) -> bool {
        self.0.config.offline
    }

    /// Fetches the manifest or index that a reference names.
    ///
    /// # Errors
    /// When no endpoint has it.
    pub fn resolve(&self, reference: &Reference) -> Result<Document, RegistryError> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        self.0.document(reference, &wanted, reference.digest())
    }

    /// Fetches a manifest of the reference's repository by digest.
    ///
    /// # Errors
    /// As [`resolve`](Client::resolve).
    pub fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Document, RegistryError> {
        self.0.document(reference, &digest.to_string(), Some(*digest))
    }

    /// Opens a blob. What is read is verified; the last read fails when digest or size differ. While the
    /// reader lives it takes one of the slots of its host: who opens a blob reads it before opening the
    /// next.
    ///
    /// # Errors
    /// When no endpoint has it.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, RegistryError> {
        Ok(Box::new(self.reader(reference, descriptor, 0)?))
    }

    fn reader(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, RegistryError> {
        let shared = &self.0;
        let slot = shared.slots.take(reference.registry(), shared.config.blobs_at_once, &shared.stop)?;
        let (url, inner) = shared.open(reference, &descriptor.digest, offset)?;
        let (client, reference, digest) = (self.clone(), reference.clone(), descriptor.digest);
        let reopen = move |offset| Ok(client.0.open(&reference, &digest, offset)?.1);
        let attempts = shared.config.attempts;
        let reader = BlobReader::new(inner, url, descriptor, Box::new(reopen), attempts, Some(slot));
        Ok(reader.beginning_at(offset))
    }

    /// Opens a blob from an offset; only its size is verified, by whoever has the rest the digest. Breaks are
    /// mended as by [`blob`](Client::blob), and it takes a slot as that does.
    ///
    /// # Errors
    /// When no endpoint has it.
    pub fn blob_part(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, RegistryError> {
        Ok(Box::new(self.reader(reference, descriptor, offset)?))
    }

    /// Downloads a file. `take` makes something of its content, once per attempt.
    ///
    /// # Errors
    /// When it cannot be had, and what `take` returns.
    pub fn download<T, E: From<RegistryError>>(
        &self,
        download: &Download<'_>,
        take: &mut dyn FnMut(&mut Content<'_>) -> Result<T, E>,
    ) -> Result<Downloaded<T>, E> {
        let Shared { config, stop, transport, .. } = &*self.0;
        Downloader { config, transport, stop }.download(download, take)
    }
}

impl Shared {
    /// Opens a blob from an offset, at whichever endpoint has it.
    pub(crate) fn open(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<(String, Box<dyn Read + Send>), RegistryError> {
        let request =
            Request { offset: (offset > 0).then_some(offset), verified: true, ..Request::new(Method::GET) };
        let path = &format!("blobs/{digest}");
        let question = Question { path, access: Access::Pull, request };
        self.each_endpoint(reference, &question, &mut |uri, response| at_offset(uri, response, offset))
    }

    fn document(
        &self,
        reference: &Reference,
        wanted: &str,
        expected: Option<Digest>,
    ) -> Result<Document, RegistryError> {
        let request = Request { accept: ACCEPT, verified: expected.is_some(), ..Request::new(Method::GET) };
        let path = &format!("manifests/{wanted}");
        let question = Question { path, access: Access::Pull, request };
        self.each_endpoint(reference, &question, &mut |uri, mut response| {
            let url = url::shown(uri);
            let content_type = response.headers().get("content-type");
            let content_type =
                content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let mut bytes = Vec::new();
            let mut reader = response.body_mut().as_reader().take(DOCUMENT_LIMIT + 1);
            reader
                .read_to_end(&mut bytes)
                .map_err(|cause| RegistryError::Body { url: url.clone(), cause })?;
            if bytes.len() as u64 > DOCUMENT_LIMIT {
                return Err(RegistryError::TooLarge { url, limit: DOCUMENT_LIMIT });
            }
            Document::check(&url, &content_type, bytes, expected)
        })
    }
}

/// Returns the address of an answer and its content from an offset on, which was asked for.
pub(crate) fn at_offset(
    uri: &Uri,
    response: Response<Body>,
    offset: u64,
) -> Result<(String, Box<dyn Read + Send>), RegistryError> {
    let url = url::shown(uri);
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    if let Some(range) = range
        && partial
        && !range.trim().starts_with(&format!("bytes {offset}-"))
    {
        return Err(RegistryError::Range { url, offset, got: range.to_owned() });
    }
    let mut reader = response.into_body().into_reader();
    if !partial && offset > 0 {
        // The server does not know ranges and starts over.
        std::io::copy(&mut reader.by_ref().take(offset), &mut std::io::sink())
            .map_err(|cause| RegistryError::Body { url: url.clone(), cause })?;
    }
    let reader: Box<dyn Read + Send> = Box::new(reader);
    Ok((url, reader))
}
