//! A file at an address, as ADD and contexts name them: no registry's protocol, but the same connections,
//! proxies, certificates, attempts and patience.

use std::io::{self, Read};

use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri};

use crate::ask::Attempts;
use crate::config::Config;
use crate::error::RegistryError;
use crate::slots::Stop;
use crate::transport::{Payload, Request, Transport, refusal};
use crate::url;

/// What is to be downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// The address, without credentials.
    pub url: &'a str,
    /// An Authorization header. It goes to no other server than that of the address.
    pub authorization: Option<&'a str>,
    /// The ETag of the content that the caller has.
    pub etag: Option<&'a str>,
    /// The Last-Modified of the content that the caller has.
    pub last_modified: Option<&'a str>,
    /// Whether the caller knows the digest of what comes.
    pub verified: bool,
    /// How many bytes there may be.
    pub limit: u64,
}

/// What came of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downloaded<T> {
    /// The caller has it already.
    NotModified,
    /// The content, as the caller took it.
    File {
        /// What the caller made of the content.
        value: T,
        /// The ETag.
        etag: Option<String>,
        /// The Last-Modified.
        last_modified: Option<String>,
    },
}

/// The content of an answer. The end is reported only when everything that was announced has come.
pub struct Content<'a> {
    reader: Box<dyn Read + 'a>,
    /// The announced length.
    length: Option<u64>,
    read: u64,
    limit: u64,
    url: String,
    stop: &'a Stop,
    failure: Option<RegistryError>,
}

impl Content<'_> {
    /// Returns how many bytes were announced.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn fail(&mut self, failure: RegistryError) -> io::Error {
        let message = failure.to_string();
        self.failure = Some(failure);
        io::Error::other(message)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(stopped) = self.stop.check() {
            return Err(self.fail(stopped));
        }
        let url = || self.url.clone();
        match self.reader.read(buffer) {
            Ok(0) if !buffer.is_empty() && self.length.is_some_and(|length| self.read < length) => {
                let cause = io::Error::from(io::ErrorKind::UnexpectedEof);
                let failure = RegistryError::Body { url: url(), cause };
                Err(self.fail(failure))
            }
            Ok(count) => {
                self.read += count as u64;
                if self.read > self.limit {
                    let failure = RegistryError::TooLarge { url: url(), limit: self.limit };
                    return Err(self.fail(failure));
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(cause) => {
                let failure = RegistryError::Body { url: url(), cause };
                Err(self.fail(failure))
            }
        }
    }
}

/// What a download works with.
pub(crate) struct Downloader<'a> {
    pub(crate) config: &'a Config,
    pub(crate) transport: &'a Transport,
    pub(crate) stop: &'a Stop,
}

/// Makes something of the content; called once per attempt.
pub(crate) type Take<'a, T, E> = dyn FnMut(&mut Content<'_>) -> Result<T, E> + 'a;

impl Downloader<'_> {
    /// Downloads, again when that may help. What `take` returned for an attempt whose content broke off is
    /// dropped.
    pub(crate) fn download<T, E: From<RegistryError>>(
        &self,
        download: &Download<'_>,
        take: &mut Take<'_, T, E>,
    ) -> Result<Downloaded<T>, E> {
        let mut attempts = Attempts::new(self.config.attempts, self.config.retry_delay, self.stop);
        loop {
            let error = match self.once(download, take)? {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            attempts.wait_after(error)?;
        }
    }

    /// Asks once. The outer error is that of `take`, which no further attempt helps.
    fn once<T, E: From<RegistryError>>(
        &self,
        download: &Download<'_>,
        take: &mut Take<'_, T, E>,
    ) -> Result<Result<Downloaded<T>, RegistryError>, E> {
        let (uri, response) = match self.ask(download) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let has_some = download.etag.is_some() || download.last_modified.is_some();
        if response.status() == StatusCode::NOT_MODIFIED && has_some {
            return Ok(Ok(Downloaded::NotModified));
        }
        if !response.status().is_success() {
            return Ok(Err(refusal(&uri, response, download.authorization.is_none())));
        }
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (etag, last_modified) = (header("etag"), header("last-modified"));
        let length = header("content-length").and_then(|length| length.trim().parse().ok());
        if length.is_some_and(|length| length > download.limit) {
            let error = RegistryError::TooLarge { url: url::shown(&uri), limit: download.limit };
            return Ok(Err(error));
        }
        let mut content = Content {
            reader: Box::new(response.into_body().into_reader()),
            length,
            read: 0,
            limit: download.limit,
            url: url::shown(&uri),
            stop: self.stop,
            failure: None,
        };
        let taken = take(&mut content);
        match content.failure {
            Some(failure) => Ok(Err(failure)),
            None => Ok(Ok(Downloaded::File { value: taken?, etag, last_modified })),
        }
    }

    fn ask(&self, download: &Download<'_>) -> Result<(Uri, Response<Body>), RegistryError> {
        let malformed = || RegistryError::Address { url: download.url.to_owned() };
        let uri = url::parse(download.url).ok_or_else(malformed)?;
        let conditions: Vec<(&str, &str)> =
            [("if-none-match", download.etag), ("if-modified-since", download.last_modified)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
        let request =
            Request { verified: download.verified, headers: &conditions, ..Request::new(Method::GET) };
        let (payload, authorization) = (&mut Payload::Nothing, download.authorization);
        let answer = self.transport.send(self.config, &uri, false, &request, payload, authorization)?;
        Ok((uri, answer.response))
    }
}
