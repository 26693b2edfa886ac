//! Asking: endpoints in order, schemes in order, attempts with growing delay, tokens on demand.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use castoff_oci::Reference;
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri};

use crate::auth::{self, Challenge, Credentials};
use crate::client::Shared;
use crate::error::RegistryError;
use crate::hosts::{self, Endpoint, Scheme};
use crate::slots::Stop;
use crate::token::{Access, Asking, Header};
use crate::transport::{Payload, Request, refusal};
use crate::url;

/// A registry that asks for more patience than a minute is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a registry may name the time to come again before that counts as a failure.
const PATIENCE: u32 = 10;

/// A token that is to expire so soon is replaced before it is shown.
const SOON: Duration = Duration::from_secs(5);

/// What a registry is asked about a repository.
pub(crate) struct Question<'a> {
    /// What follows the repository in the address.
    pub(crate) path: &'a str,
    /// What must be allowed.
    pub(crate) access: Access<'a>,
    pub(crate) request: Request<'a>,
}

/// What is done with an answer whose status is a success.
pub(crate) type Take<'a, T> = dyn FnMut(&Uri, Response<Body>) -> Result<T, RegistryError> + 'a;

/// An Authorization header that worked.
#[derive(Clone)]
pub(crate) struct Remembered {
    header: String,
    /// The challenge it answers and when it has to be answered again, if that is known.
    renewal: Option<(Challenge, Instant)>,
}

/// Counts attempts and waits between them (B-081).
pub(crate) struct Attempts<'a> {
    all: u32,
    left: u32,
    patience: u32,
    first_delay: Duration,
    delay: Duration,
    stop: &'a Stop,
}

impl<'a> Attempts<'a> {
    /// Returns so many attempts, the first included.
    pub(crate) fn new(all: u32, delay: Duration, stop: &'a Stop) -> Attempts<'a> {
        Attempts { all, left: all, patience: PATIENCE, first_delay: delay, delay, stop }
    }

    /// Waits until it makes sense to ask again. Who is told when to come again comes then, and that is no
    /// attempt, a few times.
    ///
    /// # Errors
    /// The error itself, when there is no attempt left or none would help.
    pub(crate) fn wait_after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_transient() {
            return Err(error);
        }
        let told = error.retry_after().map(|time| time.min(LONGEST_WAIT));
        if let Some(time) = told
            && self.patience > 0
        {
            self.patience -= 1;
            return self.stop.wait(time);
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Err(error);
        }
        self.stop.wait(told.unwrap_or(self.delay))?;
        self.delay = self.delay.saturating_mul(2);
        Ok(())
    }

    /// Begins to count anew: what moves on gets there.
    pub(crate) fn moved_on(&mut self) {
        (self.left, self.delay, self.patience) = (self.all, self.first_delay, PATIENCE);
    }
}

impl Shared {
    /// Returns the registry itself: the only place that is written to.
    pub(crate) fn registry(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let endpoints = hosts::endpoints(&self.config, reference)?;
        Ok(endpoints.into_iter().next_back().expect("the registry itself is always an endpoint"))
    }

    /// Asks each endpoint in order until one answers. A mirror that fails for any reason is passed over.
    pub(crate) fn each_endpoint<T>(
        &self,
        reference: &Reference,
        question: &Question<'_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        // Said of the registry once, and not of each mirror.
        if self.config.offline {
            return Err(RegistryError::Offline { from: reference.registry().to_owned() });
        }
        let mut endpoints = hosts::endpoints(&self.config, reference)?;
        endpoints.retain(|endpoint| question.request.verified || !endpoint.digest_only);
        let (last, mirrors) = endpoints.split_last().expect("the registry itself is always an endpoint");
        let mut errors = Vec::new();
        for mirror in mirrors {
            if lock(&self.learned).unreachable.contains(&mirror.host) {
                continue;
            }
            match self.ask(mirror, question, &mut Payload::Nothing, take, true) {
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
        let answer = self.ask(last, question, &mut Payload::Nothing, take, false);
        match answer {
            Err(error) if !errors.is_empty() && !matches!(error, RegistryError::Stopped) => {
                Err(RegistryError::Mirrors { mirrors: errors, last: Box::new(error) })
            }
            answer => answer,
        }
    }

    /// Asks one endpoint, again when that may help. What is behind a mirror is asked rather than waiting
    /// for a mirror that cannot be reached.
    pub(crate) fn ask<T>(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        payload: &mut Payload<'_>,
        take: &mut Take<'_, T>,
        is_mirror: bool,
    ) -> Result<T, RegistryError> {
        let all =
            if question.access == Access::Pull { self.config.attempts } else { self.config.push_attempts };
        let mut attempts = Attempts::new(all, self.config.retry_delay, &self.stop);
        loop {
            self.stop.check()?;
            let error = match self.ask_once(endpoint, question, payload, take) {
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
    pub(crate) fn ask_once<T>(
        &self,
        endpoint: &Endpoint,
        question: &Question<'_>,
        payload: &mut Payload<'_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        let known = self.scheme(endpoint);
        let schemes = known.as_ref().map_or(&endpoint.schemes[..], std::slice::from_ref);
        let mut failure = None;
        for scheme in schemes {
            let address = format!(
                "{}://{}/v2/{}/{}",
                scheme.as_str(),
                endpoint.host,
                endpoint.repository,
                question.path
            );
            let uri = url::parse(&address).ok_or(RegistryError::NotFound { url: address })?;
            let Question { access, request, .. } = question;
            let (response, anonymous) =
                match self.authorized(endpoint, *scheme, &uri, *access, request, payload) {
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

    /// Returns how an endpoint answered before, as far as that is allowed.
    pub(crate) fn scheme(&self, endpoint: &Endpoint) -> Option<Scheme> {
        let known = lock(&self.learned).schemes.get(&endpoint.host).copied();
        known.filter(|scheme| endpoint.schemes.contains(scheme))
    }

    /// Sends a request, answering one challenge. The header that worked is remembered for what it allows;
    /// when it works no more, the new challenge is answered. Also returns whether castoff had nothing to
    /// show.
    pub(crate) fn authorized(
        &self,
        endpoint: &Endpoint,
        scheme: Scheme,
        uri: &Uri,
        access: Access<'_>,
        request: &Request<'_>,
        payload: &mut Payload<'_>,
    ) -> Result<(Response<Body>, bool), RegistryError> {
        let unverified = scheme == Scheme::HttpsUnverified;
        let scopes = access.scopes(&endpoint.repository);
        let key = (endpoint.host.clone(), scopes.join(" "));
        let asking = Asking { config: &self.config, transport: &self.transport, uri, unverified, scopes };
        let mut remembered = lock(&self.learned).headers.get(&key).cloned();
        if let Some(Remembered { renewal: Some((challenge, expires)), .. }) = &remembered
            && Instant::now() + SOON >= *expires
        {
            // The registry may be about to refuse it, in the middle of what is sent.
            let credentials = self.credentials(endpoint)?;
            remembered = asking.answer(challenge, &credentials)?.map(|header| renewed(header, challenge));
        }
        let mut send = |header: Option<&str>| {
            self.transport.send(&self.config, uri, unverified, request, payload, header)
        };
        let shown = remembered.as_ref().map(|remembered| remembered.header.as_str());
        let answer = send(shown)?;
        // Whoever a redirect led to has no business with the registry's credentials.
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.same_origin {
            let anonymous = remembered.is_none();
            if let Some(remembered) = remembered {
                lock(&self.learned).headers.insert(key, remembered);
            }
            return Ok((answer.response, anonymous));
        }
        let challenge = auth::challenge(answer.response.headers());
        let credentials = self.credentials(endpoint)?;
        let anonymous = credentials == Credentials::Anonymous;
        let Some(challenge) = challenge else { return Ok((answer.response, anonymous)) };
        let Some(header) = asking.answer(&challenge, &credentials)? else {
            return Ok((answer.response, anonymous));
        };
        let answer = send(Some(&header.value))?;
        if answer.response.status() != StatusCode::UNAUTHORIZED {
            lock(&self.learned).headers.insert(key, renewed(header, &challenge));
        }
        Ok((answer.response, anonymous))
    }

    fn credentials(&self, endpoint: &Endpoint) -> Result<Credentials, RegistryError> {
        auth::credentials(&self.config, &endpoint.credentials, &endpoint.repository)
    }
}

fn renewed(header: Header, challenge: &Challenge) -> Remembered {
    let expires = header.lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
    Remembered { header: header.value, renewal: expires.map(|expires| (challenge.clone(), expires)) }
}

/// Locks a mutex whose data stays valid whatever its holders did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
