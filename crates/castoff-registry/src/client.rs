//! Requests: endpoints in order, schemes in order, attempts with growing delay, tokens on demand.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

use castoff_oci::{Descriptor, Digest, Reference};
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri};

use crate::auth::{self, Challenge, Credentials};
use crate::blob::BlobReader;
use crate::config::Config;
use crate::document::Document;
use crate::download::{Content, Download, Downloaded, Downloader};
use crate::error::RegistryError;
use crate::hosts::{self, Endpoint, Scheme};
use crate::slots::{Slots, Stop};
use crate::token::Asking;
use crate::transport::{Get, Transport, refusal};
use crate::url;

/// Manifests are small; the distribution specification lets a registry refuse above 4 MiB.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// A registry that asks for more patience than a minute is not waited for.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A client of all registries, shared by threads. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    config: Config,
    stop: Stop,
    transport: Arc<Transport>,
    slots: Arc<Slots>,
    learned: Arc<Mutex<Learned>>,
}

/// What answers have taught.
#[derive(Default)]
struct Learned {
    /// Authorization headers that worked, by host and repository.
    headers: HashMap<(String, String), String>,
    /// How a host that may be asked in several ways answered.
    schemes: HashMap<String, Scheme>,
    /// Mirrors that could not be reached. They are not waited for again.
    unreachable: HashSet<String>,
}

/// What is done with an answer whose status is a success.
type Take<'a, T> = dyn FnMut(&Uri, Response<Body>) -> Result<T, RegistryError> + 'a;

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
        let shared = &self.0;
        let slot = shared.slots.take(reference.registry(), shared.config.blobs_at_once, &shared.stop)?;
        let (url, inner) = shared.open(reference, &descriptor.digest, 0)?;
        let (client, reference, digest) = (self.clone(), reference.clone(), descriptor.digest);
        let reopen = move |offset| Ok(client.0.open(&reference, &digest, offset)?.1);
        let attempts = shared.config.attempts;
        Ok(Box::new(BlobReader::new(inner, url, descriptor, Box::new(reopen), attempts, Some(slot))))
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

/// Counts attempts and waits between them (B-081).
pub(crate) struct Attempts<'a> {
    left: u32,
    delay: std::time::Duration,
    stop: &'a Stop,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(config: &Config, stop: &'a Stop) -> Attempts<'a> {
        Attempts { left: config.attempts, delay: config.retry_delay, stop }
    }

    /// Waits until it makes sense to ask again.
    ///
    /// # Errors
    /// The error itself, when there is no attempt left or none would help.
    pub(crate) fn wait_after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !error.is_transient() {
            return Err(error);
        }
        self.stop.wait(error.retry_after().unwrap_or(self.delay).min(LONGEST_WAIT))?;
        self.delay = self.delay.saturating_mul(2);
        Ok(())
    }
}

impl Shared {
    /// Opens a blob from an offset, at whichever endpoint has it.
    fn open(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<(String, Box<dyn Read + Send>), RegistryError> {
        let get =
            Get { accept: "*/*", offset: (offset > 0).then_some(offset), verified: true, conditions: &[] };
        self.each_endpoint(reference, &format!("blobs/{digest}"), &get, &mut |uri, response| {
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
        })
    }

    fn document(
        &self,
        reference: &Reference,
        wanted: &str,
        expected: Option<Digest>,
    ) -> Result<Document, RegistryError> {
        let get = Get { accept: ACCEPT, offset: None, verified: expected.is_some(), conditions: &[] };
        self.each_endpoint(reference, &format!("manifests/{wanted}"), &get, &mut |uri, mut response| {
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

    /// Asks each endpoint in order until one answers. A mirror that fails for any reason is passed over.
    fn each_endpoint<T>(
        &self,
        reference: &Reference,
        path: &str,
        get: &Get<'_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        let mut endpoints = hosts::endpoints(&self.config.registries, reference)?;
        endpoints.retain(|endpoint| get.verified || !endpoint.digest_only);
        let (last, mirrors) = endpoints.split_last().expect("the registry itself is always an endpoint");
        let mut errors = Vec::new();
        for mirror in mirrors {
            if lock(&self.learned).unreachable.contains(&mirror.host) {
                continue;
            }
            match self.ask(mirror, path, get, take, true) {
                Err(error @ RegistryError::Stopped) => return Err(error),
                Err(error) => {
                    if error.is_unreachable() {
                        lock(&self.learned).unreachable.insert(mirror.host.clone());
                    }
                    errors.push(error);
                }
                answer => return answer,
            }
        }
        let answer = self.ask(last, path, get, take, false);
        match answer {
            Err(error) if !errors.is_empty() && !matches!(error, RegistryError::Stopped) => {
                Err(RegistryError::Mirrors { mirrors: errors, last: Box::new(error) })
            }
            answer => answer,
        }
    }

    /// Asks one endpoint, again when that may help. What is behind a mirror is asked rather than waiting
    /// for a mirror that cannot be reached.
    fn ask<T>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        get: &Get<'_>,
        take: &mut Take<'_, T>,
        is_mirror: bool,
    ) -> Result<T, RegistryError> {
        let mut attempts = Attempts::new(&self.config, &self.stop);
        loop {
            self.stop.check()?;
            let error = match self.ask_once(endpoint, path, get, take) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_mirror && error.is_unreachable() {
                return Err(error);
            }
            attempts.wait_after(error)?;
        }
    }

    /// Asks in the scheme that the host is known to answer, or in each that the configuration allows.
    fn ask_once<T>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        get: &Get<'_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        let known = lock(&self.learned).schemes.get(&endpoint.host).copied();
        let known = known.filter(|scheme| endpoint.schemes.contains(scheme));
        let schemes = known.as_ref().map_or(&endpoint.schemes[..], std::slice::from_ref);
        let mut failure = None;
        for scheme in schemes {
            let address =
                format!("{}://{}/v2/{}/{path}", scheme.as_str(), endpoint.host, endpoint.repository);
            let uri = url::parse(&address).ok_or(RegistryError::NotFound { url: address })?;
            let (response, anonymous) = match self.authorized_get(endpoint, *scheme, &uri, get) {
                Err(error) if error.is_unreachable() => {
                    failure = Some(error);
                    continue;
                }
                answer => answer?,
            };
            // A server of HTTPS says 400 to plain HTTP; then the failure of HTTPS is what matters.
            if let Some(failure) = failure.take_if(|_| response.status() == StatusCode::BAD_REQUEST) {
                return Err(failure);
            }
            lock(&self.learned).schemes.insert(endpoint.host.clone(), *scheme);
            return if response.status().is_success() {
                take(&uri, response)
            } else {
                Err(refusal(&uri, response, anonymous))
            };
        }
        Err(failure.expect("an endpoint has a scheme"))
    }

    /// Sends a GET, answering one challenge. The header that worked is remembered for the repository;
    /// when it works no more, the new challenge is answered. Also returns whether castoff had nothing to
    /// show.
    fn authorized_get(
        &self,
        endpoint: &Endpoint,
        scheme: Scheme,
        uri: &Uri,
        get: &Get<'_>,
    ) -> Result<(Response<Body>, bool), RegistryError> {
        let unverified = scheme == Scheme::HttpsUnverified;
        let key = (endpoint.host.clone(), endpoint.repository.clone());
        let remembered = lock(&self.learned).headers.get(&key).cloned();
        let send = |header: Option<&str>| self.transport.get(&self.config, uri, unverified, get, header);
        let answer = send(remembered.as_deref())?;
        // Whoever a redirect led to has no business with the registry's credentials.
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.same_origin {
            return Ok((answer.response, remembered.is_none()));
        }
        let challenge = answer
            .response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| auth::parse_challenge(value.to_str().ok()?))
            .max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let credentials = auth::credentials(&self.config, &endpoint.credentials, &endpoint.repository)?;
        let anonymous = credentials == Credentials::Anonymous;
        let Some(challenge) = challenge else { return Ok((answer.response, anonymous)) };
        let asking = Asking {
            config: &self.config,
            transport: &self.transport,
            uri,
            unverified,
            repository: &endpoint.repository,
        };
        let Some(header) = asking.answer(&challenge, &credentials)? else {
            return Ok((answer.response, anonymous));
        };
        let answer = send(Some(&header))?;
        if answer.response.status() != StatusCode::UNAUTHORIZED {
            lock(&self.learned).headers.insert(key, header);
        }
        Ok((answer.response, anonymous))
    }
}

/// Locks a mutex whose data stays valid whatever its holders did.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
