//! The upload of one blob (distribution specification, "Push"):
//!
//! ```text
//! HEAD  blobs/<digest>                          there already: nothing to do
//! POST  blobs/uploads/[?mount=<digest>&from=]   mounted, or the location of an upload
//! PUT   <location>?digest=<digest>              small blobs, and where a registry takes no chunks
//! PATCH <location>, ..., PUT                    larger ones, in chunks
//! GET   <location>                              after a break: how far did it come?
//! ```
//!
//! A location may be at another host. Nothing but the bytes and its own address is told there.

use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri};

use crate::ask::{Attempts, Question, lock};
use crate::client::Shared;
use crate::error::RegistryError;
use crate::hosts::{Endpoint, Scheme};
use crate::outgoing::Outgoing;
use crate::push::{Pushed, header};
use crate::token::Access;
use crate::transport::{Payload, Request, refusal};
use crate::url;

/// A chunk is never larger than this, whatever a registry wants.
const LARGEST_CHUNK: u64 = 1 << 30;

pub(crate) struct Upload<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) endpoint: &'a Endpoint,
    /// A repository of the same host that has the blob.
    pub(crate) mount_from: Option<&'a str>,
    pub(crate) outgoing: Outgoing<'a>,
}

/// An upload that was begun.
#[derive(Clone)]
struct Session {
    location: Uri,
    /// How many bytes the registry has.
    offset: u64,
    chunk: u64,
}

enum Begun {
    Mounted,
    Session(Session),
}

impl Upload<'_> {
    /// Uploads, goes on after breaks, and begins anew where that is not possible.
    pub(crate) fn run(mut self) -> Result<Pushed, RegistryError> {
        if self.is_there()? {
            return Ok(Pushed::Present);
        }
        let Shared { config, stop, .. } = self.shared;
        let mut attempts = Attempts::new(config.push_attempts, config.retry_delay, stop);
        let mut session = None;
        loop {
            stop.check()?;
            let before = session.as_ref().map_or(0, |session: &Session| session.offset);
            let error = match self.attempt(&mut session) {
                Ok(pushed) => return Ok(pushed),
                Err(error) => self.outgoing.cause(error),
            };
            if self.takes_no_chunks(&error, session.as_ref()) {
                session = None;
                continue;
            }
            if session.as_ref().is_some_and(|session| session.offset > before) {
                attempts.moved_on();
            }
            let begun_anew = forgotten(&error) && session.is_some();
            if let Err(error) = attempts.wait_after(if begun_anew { error.into_transient() } else { error }) {
                if let Some(session) = session.filter(|_| !error.is_unreachable()) {
                    self.cancel(&session);
                }
                return Err(error);
            }
            session = match session {
                Some(session) if !begun_anew => self.standing(session, &mut attempts)?,
                _ => None,
            };
            // The answer that said so may be what got lost.
            if session.is_none() && self.is_there()? {
                return Ok(Pushed::Sent);
            }
        }
    }

    /// Goes on with a session, or begins one, to the end. `session` is kept up to date.
    fn attempt(&mut self, session: &mut Option<Session>) -> Result<Pushed, RegistryError> {
        let mut current = match session.take() {
            Some(session) => session,
            None => match self.begin()? {
                Begun::Mounted => return Ok(Pushed::Mounted),
                Begun::Session(session) => session,
            },
        };
        *session = Some(current.clone());
        let size = self.outgoing.size;
        let whole = current.offset == 0 && (size <= current.chunk || self.whole_only());
        if !whole {
            while current.offset < size {
                current = self.chunk(current)?;
                *session = Some(current.clone());
            }
        }
        self.finish(&current, whole)?;
        Ok(Pushed::Sent)
    }

    fn is_there(&self) -> Result<bool, RegistryError> {
        self.shared.has(self.endpoint, &format!("blobs/{}", self.outgoing.digest))
    }

    /// Asks for a mount, else for a place to upload to. A registry that does not mount gives one at once.
    fn begin(&mut self) -> Result<Begun, RegistryError> {
        if let Some(from) = self.mount_from.take() {
            let path = format!("blobs/uploads/?mount={}&from={from}", self.outgoing.digest);
            match self.post(&path, Access::Mount(from)) {
                // Whoever may not read the other repository can still upload.
                Err(RegistryError::Denied { .. } | RegistryError::NotFound { .. }) => {}
                Err(RegistryError::Status { status, .. }) if status < 500 && status != 429 => {}
                answer => return answer,
            }
        }
        self.post("blobs/uploads/", Access::Push)
    }

    fn post(&self, path: &str, access: Access<'_>) -> Result<Begun, RegistryError> {
        let question = Question { path, access, request: Request::new(Method::POST) };
        self.shared.ask_once(self.endpoint, &question, &mut Payload::Nothing, &mut |uri, response| {
            if response.status() == StatusCode::CREATED && matches!(access, Access::Mount(_)) {
                return Ok(Begun::Mounted);
            }
            let location = self.location(uri, &response)?;
            let location = location.ok_or_else(|| RegistryError::NoLocation { url: url::shown(uri) })?;
            let least = header(&response, "oci-chunk-min-length").and_then(|text| text.trim().parse().ok());
            let chunk = self.shared.config.chunk.max(1).max(least.unwrap_or(0)).min(LARGEST_CHUNK);
            Ok(Begun::Session(Session { location, offset: 0, chunk }))
        })
    }

    /// Sends one chunk and returns where the upload stands then.
    fn chunk(&mut self, session: Session) -> Result<Session, RegistryError> {
        let begin = session.offset;
        self.outgoing.select(begin, session.chunk)?;
        let end = begin.saturating_add(session.chunk).min(self.outgoing.size);
        let range = format!("{begin}-{}", end - 1);
        let headers = [("content-type", "application/octet-stream"), ("content-range", range.as_str())];
        let request = Request { headers: &headers, ..Request::new(Method::PATCH) };
        let response = self.send(&session.location, &request, true)?;
        let location = self.location(&session.location, &response)?.unwrap_or(session.location);
        let offset = match header(&response, "range") {
            Some(text) => {
                let range = |got: &str| RegistryError::Range {
                    url: url::shown(&location),
                    offset: end,
                    got: got.to_owned(),
                };
                let has = has_until(text).filter(|has| (begin + 1..=end).contains(has));
                has.ok_or_else(|| range(text))?
            }
            None => end,
        };
        Ok(Session { location, offset, ..session })
    }

    /// Says that this is all, with the whole blob when nothing was sent before.
    fn finish(&mut self, session: &Session, whole: bool) -> Result<(), RegistryError> {
        if whole {
            self.outgoing.select(0, self.outgoing.size)?;
        }
        let location = with_digest(&session.location, &self.outgoing.digest.to_string())
            .ok_or_else(|| RegistryError::NoLocation { url: url::shown(&session.location) })?;
        let headers = [("content-type", "application/octet-stream")];
        let request = Request { headers: &headers, ..Request::new(Method::PUT) };
        let response = self.send(&location, &request, whole && self.outgoing.size > 0)?;
        let said = header(&response, "docker-content-digest").and_then(|text| text.parse().ok());
        match said {
            Some(actual) if actual != self.outgoing.digest => {
                let (url, expected) = (url::shown(&location), self.outgoing.digest);
                Err(RegistryError::Digest { url, expected, actual })
            }
            _ => Ok(()),
        }
    }

    /// Asks how far an upload came. `None` when the registry does not know it any more.
    fn standing(
        &mut self,
        session: Session,
        attempts: &mut Attempts<'_>,
    ) -> Result<Option<Session>, RegistryError> {
        let response = loop {
            match self.send(&session.location, &Request::new(Method::GET), false) {
                Ok(response) => break response,
                Err(error) if error.is_transient() => attempts.wait_after(error)?,
                Err(error @ RegistryError::Stopped) => return Err(error),
                // What is wrong is found out by the next attempt.
                Err(_) => return Ok(None),
            }
        };
        let location = self.location(&session.location, &response)?.unwrap_or(session.location.clone());
        // Many say `0-0` of an upload that has nothing yet.
        let offset = match header(&response, "range").map(has_until) {
            Some(Some(has)) if has <= 1 => 0,
            Some(Some(has)) if has <= self.outgoing.size => has,
            _ => return Ok(None),
        };
        Ok(Some(Session { location, offset, ..session }))
    }

    /// Tells the registry that nothing more comes. It forgets uploads by itself, later.
    fn cancel(&mut self, session: &Session) {
        if self.shared.stop.check().is_ok() {
            let _it_forgets_by_itself = self.send(&session.location, &Request::new(Method::DELETE), false);
        }
    }

    /// Sends a request about an upload to its location. The registry's credentials go along to the registry
    /// alone.
    fn send(
        &mut self,
        location: &Uri,
        request: &Request<'_>,
        with_bytes: bool,
    ) -> Result<Response<Body>, RegistryError> {
        let Upload { shared, endpoint, outgoing, .. } = self;
        let scheme = shared.scheme(endpoint).unwrap_or(Scheme::Https);
        let mut payload = if with_bytes { Payload::Part(outgoing) } else { Payload::Nothing };
        let (response, anonymous) = if at_registry(endpoint, scheme, location) {
            shared.authorized(endpoint, scheme, location, Access::Push, request, &mut payload)?
        } else {
            // The setting is about one server, not about any that it names.
            let answer =
                shared.transport.send(&shared.config, location, false, request, &mut payload, None)?;
            (answer.response, true)
        };
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(location, response, anonymous))
        }
    }

    /// Returns the location that an answer names. Behind a proxy that ends TLS, registries name their own
    /// host with plain HTTP; it is asked as before. Another host may not be less protected.
    fn location(&self, uri: &Uri, response: &Response<Body>) -> Result<Option<Uri>, RegistryError> {
        let Some(text) = header(response, "location") else { return Ok(None) };
        let refused = || RegistryError::Redirect {
            url: url::shown(uri),
            to: text.split('?').next().unwrap_or_default().to_owned(),
        };
        let location = url::join(uri, text).ok_or_else(refused)?;
        if uri.scheme_str() == Some("https") && location.scheme_str() == Some("http") {
            if location.host() != uri.host()
                || location.port_u16().is_some_and(|port| port != 80 && uri.port_u16() != Some(port))
            {
                return Err(refused());
            }
            let path = location.path_and_query().map_or("/", |path| path.as_str());
            return url::join(uri, path).map(Some).ok_or_else(refused);
        }
        Ok(Some(location))
    }

    fn whole_only(&self) -> bool {
        lock(&self.shared.learned).whole.contains(&self.endpoint.host)
    }

    /// Returns whether a registry refuses chunks as such, and remembers it (B-082).
    fn takes_no_chunks(&self, error: &RegistryError, session: Option<&Session>) -> bool {
        let RegistryError::Status { status, .. } = error else { return false };
        // Some take the first chunk and no second one.
        let early = |session: &Session| self.outgoing.size > session.chunk && session.offset <= session.chunk;
        let chunked = session.is_some_and(early) && !self.whole_only();
        let refused = chunked && matches!(status, 400 | 405 | 411 | 412 | 415 | 416 | 501);
        if refused {
            lock(&self.shared.learned).whole.insert(self.endpoint.host.clone());
        }
        refused
    }
}

/// Returns whether the registry says that it does not know an upload, or another state of it.
fn forgotten(error: &RegistryError) -> bool {
    match error {
        RegistryError::NotFound { .. } | RegistryError::Range { .. } => true,
        RegistryError::Status { status, .. } => *status == 416,
        _ => false,
    }
}

/// Parses the Range header of an upload, `0-1023` or `bytes=0-1023`: how many bytes are there.
fn has_until(text: &str) -> Option<u64> {
    let text = text.trim();
    let (begin, end) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    (begin.trim() == "0").then_some(())?;
    end.trim().parse::<u64>().ok()?.checked_add(1)
}

/// Adds the digest to the query, which belongs to the registry.
fn with_digest(location: &Uri, digest: &str) -> Option<Uri> {
    let text = location.to_string();
    let separator = match location.query() {
        None => "?",
        Some(query) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    url::parse(&format!("{text}{separator}digest={}", digest.replace(':', "%3A")))
}

fn at_registry(endpoint: &Endpoint, scheme: Scheme, location: &Uri) -> bool {
    let registry = url::parse(&format!("{}://{}/", scheme.as_str(), endpoint.host));
    registry.is_some_and(|registry| url::same_origin(&registry, location))
}

#[cfg(test)]
mod tests {
    use super::{has_until, with_digest};
    use crate::url::parse;

    #[test]
    fn a_range_says_how_much_is_there() {
        for (text, expected) in [
            ("0-1023", Some(1024)),
            ("bytes=0-9", Some(10)),
            ("0-0", Some(1)),
            ("5-9", None),
            ("0-18446744073709551615", None),
            ("", None),
            ("0--1", None),
        ] {
            assert_eq!(has_until(text), expected, "{text}");
        }
    }

    #[test]
    fn the_query_of_a_location_is_kept() {
        let check = |location: &str, expected: &str| {
            assert_eq!(with_digest(&parse(location).unwrap(), "sha256:1").unwrap().to_string(), expected);
        };
        check("http://a.example/u", "http://a.example/u?digest=sha256%3A1");
        check("http://a.example/u?_state=x%3D", "http://a.example/u?_state=x%3D&digest=sha256%3A1");
    }
}
