//! Single requests: agents with certificates and proxies, redirects, refusals in words.
//!
//! Redirects are followed here and not by the HTTP library, because what may be told to the next server
//! depends on port and scheme, and because each host has certificates of its own.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{self, Method, Response, Uri};
use ureq::tls::{ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::{Body, SendBody};

use crate::config::Config;
use crate::error::RegistryError;
use crate::tls::Certificates;
use crate::url;

/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// How much of an error's body is shown.
const MESSAGE_LIMIT: u64 = 4 << 10;

/// What is asked, apart from where.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// The Accept header.
    pub(crate) accept: &'a str,
    /// The first byte wanted, when it is not the first of all.
    pub(crate) offset: Option<u64>,
    /// Whether a digest proves what comes, whoever sends it.
    pub(crate) verified: bool,
    /// Further headers.
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl Request<'_> {
    /// Returns a request that accepts everything and says nothing further.
    pub(crate) fn new(method: Method) -> Request<'static> {
        Request { method, accept: "*/*", offset: None, verified: false, headers: &[] }
    }
}

/// What goes along with a request. It is sent again from its start when a request is repeated.
pub(crate) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Part(&'a mut (dyn Part + 'a)),
}

/// A payload that is read while it is sent.
pub(crate) trait Part {
    /// Returns how many bytes are sent.
    fn length(&self) -> u64;

    /// Returns the bytes from the start on.
    fn start(&mut self) -> io::Result<&mut dyn Read>;
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// Whether it is from the server that was asked and not from one that it named.
    pub(crate) same_origin: bool,
}

/// Connections to all hosts.
#[derive(Default)]
pub(crate) struct Transport {
    agents: Mutex<HashMap<(String, Verification), ureq::Agent>>,
}

/// How a server proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verification {
    /// By a certificate.
    Certificate,
    /// Not at all, by explicit setting.
    Nothing,
    /// It cannot: plain HTTP.
    Plain,
}

impl Transport {
    /// Sends a request and follows redirects. The Authorization header goes to no other server than the
    /// one that was asked. `unverified` is whether certificates are not looked at.
    pub(crate) fn send(
        &self,
        config: &Config,
        start: &Uri,
        unverified: bool,
        request: &Request<'_>,
        payload: &mut Payload<'_>,
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let mut uri = start.clone();
        for _ in 0..=REDIRECTS {
            let same_origin = url::same_origin(start, &uri);
            let authorization = authorization.filter(|_| same_origin);
            let response = self.send_here(config, &uri, unverified, request, payload, authorization)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, same_origin });
            }
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let refused = |to: &str| RegistryError::Redirect { url: url::shown(&uri), to: to.to_owned() };
            let location = location.ok_or_else(|| refused(""))?;
            let without_query = location.split('?').next().unwrap_or_default();
            let next = url::join(&uri, location).ok_or_else(|| refused(without_query))?;
            let downgrade = uri.scheme_str() == Some("https") && next.scheme_str() == Some("http");
            if downgrade && !unverified && !request.verified {
                return Err(refused(without_query));
            }
            uri = next;
        }
        Err(RegistryError::Redirect { url: url::shown(start), to: url::shown(&uri) })
    }

    /// Sends a request to the server of an address and follows no redirect.
    pub(crate) fn send_here(
        &self,
        config: &Config,
        uri: &Uri,
        unverified: bool,
        request: &Request<'_>,
        payload: &mut Payload<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        if config.offline {
            return Err(RegistryError::Offline { from: url::shown(uri) });
        }
        let agent = self.agent(config, uri, unverified)?;
        send_once(&agent, uri, request, payload, authorization)
    }

    /// Returns the agent for an address; each host may have certificates of its own (B-089).
    ///
    /// # Errors
    /// When the host would be asked through a proxy that cannot be used.
    pub(crate) fn agent(
        &self,
        config: &Config,
        uri: &Uri,
        unverified: bool,
    ) -> Result<ureq::Agent, RegistryError> {
        let host = url::host_and_port(uri);
        let verification = match uri.scheme_str() {
            Some("http") => Verification::Plain,
            _ if unverified => Verification::Nothing,
            _ => Verification::Certificate,
        };
        let key = (host, verification);
        if let Some(agent) = self.agents.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(agent.clone());
        }
        let (host, _) = &key;
        let https = verification != Verification::Plain;
        let proxy = config.proxies.of(host, https);
        let proxy = proxy.map_err(|reason| RegistryError::Proxy { host: host.clone(), reason })?;
        let builder = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(&config.user_agent)
            .proxy(proxy)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(8);
        let certificates = if https { Certificates::find(config, host) } else { Certificates::default() };
        let agent = if verification == Verification::Certificate && !certificates.roots.is_empty() {
            certificates.agent(builder.build()).map_err(|cause| failed(uri, ureq::Error::Rustls(cause)))?
        } else {
            let client = certificates.client.and_then(|(chain, key)| client_certificate(&chain, &key));
            let tls = TlsConfig::builder()
                .disable_verification(verification == Verification::Nothing)
                .root_certs(RootCerts::PlatformVerifier)
                .client_cert(client);
            builder.tls_config(tls.build()).build().new_agent()
        };
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).insert(key, agent.clone());
        Ok(agent)
    }
}

fn send_once(
    agent: &ureq::Agent,
    uri: &Uri,
    request: &Request<'_>,
    payload: &mut Payload<'_>,
    authorization: Option<&str>,
) -> Result<Response<Body>, RegistryError> {
    let mut builder = http::Request::builder().method(&request.method).uri(uri);
    builder = builder.header("accept", request.accept);
    if let Some(offset) = request.offset {
        builder = builder.header("range", format!("bytes={offset}-"));
    }
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    if let Some(authorization) = authorization {
        builder = builder.header("authorization", authorization);
    }
    let malformed = |error: http::Error| failed(uri, error.into());
    let has_no_body = matches!(request.method, Method::GET | Method::HEAD | Method::DELETE);
    let answer = match payload {
        Payload::Nothing if has_no_body => agent.run(builder.body(()).map_err(malformed)?),
        Payload::Nothing => agent.run(builder.body(&[][..]).map_err(malformed)?),
        Payload::Bytes(bytes) => agent.run(builder.body(*bytes).map_err(malformed)?),
        Payload::Part(part) => {
            let builder = builder.header("content-length", part.length());
            let reader = part.start().map_err(|error| failed(uri, error.into()))?;
            let mut reader = reader;
            agent.run(builder.body(SendBody::from_reader(&mut reader)).map_err(malformed)?)
        }
    };
    answer.map_err(|cause| failed(uri, cause))
}

fn client_certificate(chain: &[u8], key: &[u8]) -> Option<ClientCert> {
    let chain: Vec<_> = ureq::tls::parse_pem(chain)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Some(ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key).ok()?))
}

pub(crate) fn failed(uri: &Uri, cause: ureq::Error) -> RegistryError {
    RegistryError::Transport { url: url::shown(uri), cause: Box::new(cause) }
}

/// Turns a refusal into an error that holds the registry's own words.
pub(crate) fn refusal(uri: &Uri, response: Response<Body>, anonymous: bool) -> RegistryError {
    let url = url::shown(uri);
    if response.status() == http::StatusCode::NOT_FOUND {
        return RegistryError::NotFound { url };
    }
    let Words { status, text, retry_after } = words(response);
    let message = structured(text.as_bytes()).unwrap_or_else(|| printable(&text));
    if matches!(status, 401 | 403) {
        return RegistryError::Denied { url, status, message, anonymous };
    }
    RegistryError::Status { url, status, message, retry_after }
}

/// What a server says beside what was asked for.
pub(crate) struct Words {
    pub(crate) status: u16,
    /// The beginning of the body.
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

/// Reads an answer that is short, or only shown.
pub(crate) fn words(response: Response<Body>) -> Words {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let retry_after = header("retry-after").and_then(|text| retry_after(text, header("date")));
    let mut bytes = Vec::new();
    // What broke off is still worth showing.
    let _shown = response.into_body().into_reader().take(MESSAGE_LIMIT).read_to_end(&mut bytes);
    Words { status, text: String::from_utf8_lossy(&bytes).into_owned(), retry_after }
}

/// Returns how long a server wants to be left alone (RFC 9110 section 10.2.3): so many seconds, or until a time,
/// which counts from the time that the server says it is.
fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second());
    let seconds = time(text)?.saturating_sub(time(date?)?);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// Returns the messages of the specification's error document.
fn structured(text: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let errors = value.get("errors")?.as_array()?;
    let words = errors.iter().map(|error| {
        let part =
            |name: &str| printable(error.get(name).and_then(|value| value.as_str()).unwrap_or_default());
        let said = match (part("code"), part("message")) {
            (code, message) if message.is_empty() => code,
            (code, message) => format!("{code}: {message}"),
        };
        match error.get("detail").map(detail).unwrap_or_default() {
            detail if detail.is_empty() => said,
            detail => format!("{said} ({detail})"),
        }
    });
    Some(words.collect::<Vec<_>>().join("; "))
}

/// Returns what an error is about, as far as it is words. Of the detail of a refused scope there are none.
fn detail(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => printable(text),
        serde_json::Value::Object(fields) => {
            let words =
                fields.iter().filter_map(|(name, value)| Some((printable(name), printable(value.as_str()?))));
            words.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

/// A server's words go to a terminal: one line of them, and nothing that steers it.
pub(crate) fn printable(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::retry_after;

    // B-081
    #[test]
    fn the_time_to_come_again_is_a_number_or_a_date() {
        let check = |text: &str, date: Option<&str>, seconds: Option<u64>| {
            assert_eq!(retry_after(text, date), seconds.map(Duration::from_secs), "{text} {date:?}");
        };
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        check("7", None, Some(7));
        check("Sun, 06 Nov 1994 08:49:47 GMT", now, Some(10));
        // It is over already.
        check("Sun, 06 Nov 1994 08:49:30 GMT", now, Some(0));
        check("Sun, 06 Nov 1994 08:49:47 GMT", None, None);
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some("now"), None);
        check("soon", now, None);
        check("-1", now, None);
    }
}
