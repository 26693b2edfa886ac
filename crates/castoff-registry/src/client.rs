//! Requests: endpoints in order, schemes in order, attempts with growing delay, tokens on demand.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use ureq::Body;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use crate::auth::{self, Challenge, Credentials, TokenAnswer};
use crate::blob::{BlobReader, Reopen};
use crate::config::Config;
use crate::error::RegistryError;
use crate::hosts::{self, Endpoint, Scheme};

/// Manifests are small; the distribution specification lets a registry refuse above 4 MiB.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// How much of an error's body is shown.
const MESSAGE_LIMIT: u64 = 16 << 10;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A client of all registries, shared by threads.
pub struct Client {
    config: Config,
    agents: Mutex<HashMap<(String, bool), ureq::Agent>>,
    /// Authorization headers that worked, by host and repository.
    tokens: Mutex<HashMap<(String, String), String>>,
}

/// A manifest or index as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub media_type: MediaType,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Client {
    /// Returns a client; nothing is sent yet.
    pub fn new(config: Config) -> Client {
        Client { config, agents: Mutex::default(), tokens: Mutex::default() }
    }

    /// Fetches the manifest or index that a reference names.
    ///
    /// # Errors
    /// When no endpoint has it; the error is that of the last one asked.
    pub fn resolve(&self, reference: &Reference) -> Result<Document, RegistryError> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        self.document(reference, &wanted, reference.digest())
    }

    /// Fetches a manifest of the reference's repository by digest.
    ///
    /// # Errors
    /// As [`resolve`](Client::resolve).
    pub fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Document, RegistryError> {
        self.document(reference, &digest.to_string(), Some(*digest))
    }

    /// Opens a blob. What is read is verified; the last read fails when digest or size differ.
    ///
    /// # Errors
    /// When no endpoint has it.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, RegistryError> {
        let (url, endpoint, reader) = self.each_endpoint(reference, true, &mut |endpoint| {
            let (url, response) = self.get(endpoint, &format!("blobs/{}", descriptor.digest), "*/*", None)?;
            Ok((url, endpoint.clone(), response.into_body().into_reader()))
        })?;
        Ok(Box::new(BlobReader::new(
            Box::new(reader),
            url,
            descriptor,
            self.resumer(endpoint, descriptor.digest),
            self.config.attempts,
        )))
    }

    /// Returns a function that opens the rest of a blob from an offset. It needs nothing of the client
    /// but clones, so that the reader may outlive the call.
    fn resumer(&self, endpoint: Endpoint, digest: Digest) -> Reopen {
        let client = Client {
            config: self.config.clone(),
            agents: Mutex::new(lock(&self.agents).clone()),
            tokens: Mutex::new(lock(&self.tokens).clone()),
        };
        Box::new(move |offset| {
            let range = format!("bytes={offset}-");
            let (_, response) = client.get(&endpoint, &format!("blobs/{digest}"), "*/*", Some(&range))?;
            let partial = response.status() == StatusCode::PARTIAL_CONTENT;
            let mut reader = response.into_body().into_reader();
            if !partial {
                // The server does not know ranges and starts over.
                std::io::copy(&mut reader.by_ref().take(offset), &mut std::io::sink())?;
            }
            Ok(Box::new(reader))
        })
    }

    fn document(
        &self,
        reference: &Reference,
        wanted: &str,
        expected: Option<Digest>,
    ) -> Result<Document, RegistryError> {
        self.each_endpoint(reference, expected.is_some(), &mut |endpoint| {
            let (url, mut response) = self.get(endpoint, &format!("manifests/{wanted}"), ACCEPT, None)?;
            let header = |name: &str| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            let content_type = header("content-type").unwrap_or_default();
            let mut bytes = Vec::new();
            let mut reader = response.body_mut().as_reader().take(DOCUMENT_LIMIT + 1);
            reader.read_to_end(&mut bytes)?;
            if bytes.len() as u64 > DOCUMENT_LIMIT {
                return Err(RegistryError::TooLarge { url, limit: DOCUMENT_LIMIT });
            }
            let digest = Digest::of(&bytes);
            if let Some(expected) = expected
                && expected != digest
            {
                return Err(RegistryError::Digest { url, expected, actual: digest });
            }
            let media_type = media_type(&content_type, &bytes);
            if matches!(&media_type, MediaType::Other(text) if text.contains("docker.distribution.manifest.v1")) {
                return Err(RegistryError::Schema1 { url });
            }
            Ok(Document { media_type, digest, bytes })
        })
    }

    /// Asks each endpoint in order until one answers. A mirror that fails for any reason is passed
    /// over; the last endpoint's error is the answer.
    fn each_endpoint<T>(
        &self,
        reference: &Reference,
        by_digest: bool,
        ask: &mut dyn FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut endpoints = hosts::endpoints(&self.config.registries, reference)?;
        endpoints.retain(|endpoint| by_digest || !endpoint.digest_only);
        let (last, mirrors) = endpoints.split_last().expect("the registry itself is always an endpoint");
        for mirror in mirrors {
            if let Ok(answer) = ask(mirror) {
                return Ok(answer);
            }
        }
        ask(last)
    }

    /// Sends a GET below `/v2/<repository>/` and returns the URL that was asked and the answer, whose
    /// status is a success.
    fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        accept: &str,
        range: Option<&str>,
    ) -> Result<(String, Response<Body>), RegistryError> {
        let (last, earlier) = endpoint.schemes.split_last().expect("an endpoint has a scheme");
        for scheme in earlier {
            match self.get_with_scheme(endpoint, *scheme, path, accept, range, 1) {
                // Only a server that does not speak the scheme is asked in another one.
                Err(RegistryError::Transport { .. }) => {}
                answer => return answer,
            }
        }
        self.get_with_scheme(endpoint, *last, path, accept, range, self.config.attempts)
    }

    fn get_with_scheme(
        &self,
        endpoint: &Endpoint,
        scheme: Scheme,
        path: &str,
        accept: &str,
        range: Option<&str>,
        attempts: u32,
    ) -> Result<(String, Response<Body>), RegistryError> {
        let url = format!("{}://{}/v2/{}/{path}", scheme.as_str(), endpoint.host, endpoint.repository);
        let agent = self.agent(&endpoint.host, scheme);
        let mut delay = self.config.retry_delay;
        let mut attempt = 1;
        loop {
            let answer = self.authorized_get(&agent, endpoint, &url, accept, range);
            let (error, wait) = match answer {
                Ok(response) if response.status().is_success() => return Ok((url, response)),
                Ok(response) => {
                    let wait = response
                        .headers()
                        .get("retry-after")
                        .and_then(|value| value.to_str().ok()?.parse().ok())
                        .map(Duration::from_secs);
                    (refusal(&url, response), wait)
                }
                Err(error) => (error, None),
            };
            if attempt >= attempts || !error.is_transient() {
                return Err(error);
            }
            // A registry that asks for more patience than a minute is not waited for.
            std::thread::sleep(wait.unwrap_or(delay).min(Duration::from_secs(60)));
            delay *= 2;
            attempt += 1;
        }
    }

    /// Sends a GET, answering one challenge. The header that worked is remembered for the repository.
    fn authorized_get(
        &self,
        agent: &ureq::Agent,
        endpoint: &Endpoint,
        url: &str,
        accept: &str,
        range: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let key = (endpoint.host.clone(), endpoint.repository.clone());
        let remembered = lock(&self.tokens).get(&key).cloned();
        let response = send(agent, url, accept, range, remembered.as_deref())?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| auth::parse_challenge(value.to_str().ok()?))
            .max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(challenge) = challenge else { return Ok(response) };
        let credentials = auth::credentials(&self.config, &endpoint.credentials, &endpoint.repository)?;
        let header = match challenge {
            Challenge::Basic => credentials.basic_header(),
            Challenge::Bearer { realm, service, scope } => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
                Some(format!("Bearer {}", self.token(&realm, service.as_deref(), &scope, &credentials)?))
            }
        };
        let Some(header) = header else { return Ok(response) };
        let response = send(agent, url, accept, range, Some(&header))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            lock(&self.tokens).insert(key, header);
        }
        Ok(response)
    }

    /// Gets a token: by OAuth2 POST when there is something to show, else, or when the server does not
    /// know that, by GET (B-086).
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: &Credentials,
    ) -> Result<String, RegistryError> {
        if let Credentials::RegistryToken(token) = credentials {
            return Ok(token.clone());
        }
        let host = realm.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(realm);
        let agent = self.agent(host, Scheme::Https);
        let transport = |source| transport(realm, source);
        let service_text = service.unwrap_or_default();
        let posted = match credentials {
            Credentials::IdentityToken(token) => {
                Some(vec![("grant_type", "refresh_token"), ("refresh_token", token)])
            }
            Credentials::Basic { user, password } => {
                Some(vec![("grant_type", "password"), ("username", user), ("password", password)])
            }
            Credentials::Anonymous | Credentials::RegistryToken(_) => None,
        };
        if let Some(mut form) = posted {
            form.extend([("service", service_text), ("scope", scope), ("client_id", "castoff")]);
            let response = agent.post(realm).send_form(form).map_err(transport)?;
            match response.status().as_u16() {
                200..=299 => return token_of(realm, response),
                401 | 404 | 405 => {}
                _ => return Err(refusal(realm, response)),
            }
        }
        let mut request = agent.get(realm).query("scope", scope);
        if let Some(service) = service {
            request = request.query("service", service);
        }
        if let Some(header) = credentials.basic_header() {
            request = request.header("authorization", header);
        }
        let response = request.call().map_err(transport)?;
        if response.status().is_success() { token_of(realm, response) } else { Err(refusal(realm, response)) }
    }

    /// Returns the agent of a host; each host may have certificates of its own (B-089).
    fn agent(&self, host: &str, scheme: Scheme) -> ureq::Agent {
        let unverified = scheme == Scheme::HttpsUnverified;
        let key = (host.to_owned(), unverified);
        if let Some(agent) = lock(&self.agents).get(&key) {
            return agent.clone();
        }
        let certificates = Certificates::find(&self.config, host);
        let mut tls = TlsConfig::builder().disable_verification(unverified);
        tls = if certificates.roots.is_empty() {
            tls.root_certs(RootCerts::PlatformVerifier)
        } else {
            tls.root_certs(RootCerts::new_with_certs(&certificates.roots))
        };
        tls = tls.client_cert(certificates.client);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(&self.config.user_agent)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(8)
            .tls_config(tls.build())
            .build();
        let agent = config.new_agent();
        lock(&self.agents).insert(key, agent.clone());
        agent
    }
}

/// Certificates of `certs.d/<host>/`: `*.crt` are authorities, `*.cert` with `*.key` are castoff's own.
#[derive(Default)]
struct Certificates {
    roots: Vec<Certificate<'static>>,
    client: Option<ClientCert>,
}

impl Certificates {
    fn find(config: &Config, host: &str) -> Certificates {
        let mut found = Certificates::default();
        for directory in &config.certificate_dirs {
            let Ok(entries) = std::fs::read_dir(directory.join(host)) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                let extension = path.extension().and_then(|extension| extension.to_str());
                let Ok(pem) = std::fs::read(&path) else { continue };
                match extension {
                    Some("crt") => found.roots.extend(certificates(&pem)),
                    Some("cert") => {
                        let key = std::fs::read(path.with_extension("key"))
                            .ok()
                            .and_then(|pem| PrivateKey::from_pem(&pem).ok());
                        if let Some(key) = key {
                            found.client = Some(ClientCert::new_with_certs(&certificates(&pem), key));
                        }
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

fn send(
    agent: &ureq::Agent,
    url: &str,
    accept: &str,
    range: Option<&str>,
    authorization: Option<&str>,
) -> Result<Response<Body>, RegistryError> {
    let mut request = agent.get(url).header("accept", accept);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.call().map_err(|source| transport(url, source))
}

fn transport(url: &str, source: ureq::Error) -> RegistryError {
    RegistryError::Transport { url: url.to_owned(), source: Box::new(source) }
}

/// Turns a refusal into an error that holds the registry's own words.
fn refusal(url: &str, response: Response<Body>) -> RegistryError {
    let status = response.status().as_u16();
    if status == 404 {
        return RegistryError::NotFound { url: url.to_owned() };
    }
    let mut text = String::new();
    let read = response.into_body().into_reader().take(MESSAGE_LIMIT).read_to_string(&mut text);
    let message = if read.is_ok() {
        structured(&text).unwrap_or_else(|| text.trim().to_owned())
    } else {
        String::new()
    };
    RegistryError::Status { url: url.to_owned(), status, message }
}

/// Returns the messages of the specification's error document.
fn structured(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let errors = value.get("errors")?.as_array()?;
    let words = errors.iter().map(|error| {
        let part =
            |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        format!("{}: {}", part("code"), part("message"))
    });
    Some(words.collect::<Vec<_>>().join("; "))
}

fn token_of(realm: &str, response: Response<Body>) -> Result<String, RegistryError> {
    let mut text = String::new();
    response.into_body().into_reader().take(1 << 20).read_to_string(&mut text)?;
    let answer: Option<TokenAnswer> = serde_json::from_str(&text).ok();
    answer
        .and_then(|answer| answer.token.filter(|token| !token.is_empty()).or(answer.access_token))
        .ok_or_else(|| RegistryError::NoToken { url: realm.to_owned() })
}

/// The header decides, except when it says nothing of use; then the document's own field does.
fn media_type(content_type: &str, bytes: &[u8]) -> MediaType {
    let named = MediaType::from(content_type.split(';').next().unwrap_or_default().trim());
    if named.is_index() || named.is_manifest() {
        return named;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(text) => MediaType::from(text),
        None if value.get("manifests").is_some() => MediaType::OciIndex,
        None if value.get("layers").is_some() => MediaType::OciManifest,
        None => named,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
