//! Asking a bucket: signing, attempts, and refusals in the store's words.

use std::time::Duration;

use jiff::Timestamp;
use rusty_s3::S3Action;
use ureq::Body;
use ureq::http::{Response, Uri};

use super::Bucket;
use crate::ask::{Attempts, Take};
use crate::error::RegistryError;
use crate::outgoing::Outgoing;
use crate::push::header;
use crate::transport::{Payload, Request, Words, printable, words};
use crate::url;

/// How long an address is good for. It is looked at when a request begins, however long that takes.
const VALIDITY: Duration = Duration::from_secs(15 * 60);

/// Codes of errors that pass, whatever status they come with. `RequestTimeout` is a body that came too slowly.
const PASSING: &[&str] =
    &["InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"];

/// A request to a bucket.
pub(super) struct Asked<'a> {
    /// Returns the signed address.
    pub(super) sign: &'a dyn Fn() -> String,
    pub(super) request: Request<'a>,
}

/// What goes along with a request.
pub(super) enum Sent<'a, 'b> {
    Nothing,
    Bytes(&'a [u8]),
    Blob(&'a mut Outgoing<'b>),
}

impl Bucket {
    pub(super) fn sign<'a>(&self, action: &impl S3Action<'a>) -> String {
        let now = Timestamp::from_millisecond((self.clock)()).unwrap_or(Timestamp::UNIX_EPOCH);
        action.sign_with_time(VALIDITY, &now).to_string()
    }

    /// Asks, and again when that may help.
    pub(super) fn ask<T>(
        &self,
        asked: &Asked<'_>,
        sent: &mut Sent<'_, '_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        let mut attempts = self.attempts(asked.request.method.is_safe());
        loop {
            self.client.0.stop.check()?;
            match self.ask_once(asked, sent, take) {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.wait_after(error)?,
            }
        }
    }

    /// Returns how often something is tried.
    pub(super) fn attempts(&self, reads: bool) -> Attempts<'_> {
        let config = &self.client.0.config;
        let usual = if reads { config.attempts } else { config.push_attempts };
        Attempts::new(self.attempts.unwrap_or(usual), config.retry_delay, &self.client.0.stop)
    }

    pub(super) fn ask_once<T>(
        &self,
        asked: &Asked<'_>,
        sent: &mut Sent<'_, '_>,
        take: &mut Take<'_, T>,
    ) -> Result<T, RegistryError> {
        let address = (asked.sign)();
        let uri = url::parse(&address).ok_or_else(|| RegistryError::Address {
            url: address.split('?').next().unwrap_or_default().to_owned(),
        })?;
        let shared = &self.client.0;
        let answer = {
            let mut payload = match sent {
                Sent::Nothing => Payload::Nothing,
                Sent::Bytes(bytes) => Payload::Bytes(bytes),
                Sent::Blob(outgoing) => Payload::Part(&mut **outgoing),
            };
            shared.transport.send_here(&shared.config, &uri, false, &asked.request, &mut payload, None)
        };
        let response = answer.map_err(|error| match sent {
            Sent::Blob(outgoing) => outgoing.cause(error),
            Sent::Nothing | Sent::Bytes(_) => error,
        })?;
        if response.status().is_success() { take(&uri, response) } else { Err(refusal(&uri, response)) }
    }
}

/// Returns the error of a request that began as a success: what takes long has its status sent before it is done.
pub(super) fn late_error(uri: &Uri, response: Response<Body>) -> Result<(), RegistryError> {
    let Words { status, text, retry_after } = words(response);
    match element(&text, "Code") {
        None => Ok(()),
        Some(code) => Err(failed(url::shown(uri), status, &code, &text, retry_after)),
    }
}

/// Turns a refusal into an error. That there is no such object is told apart from that there is no such bucket.
fn refusal(uri: &Uri, response: Response<Body>) -> RegistryError {
    let url = url::shown(uri);
    let region = header(&response, "x-amz-bucket-region").map(printable);
    let Words { status, mut text, retry_after } = words(response);
    let code = element(&text, "Code").unwrap_or_default();
    if let Some(region) = region.filter(|_| (300..400).contains(&status)) {
        text = format!("<Message>the bucket is in the region {region}</Message>{text}");
    }
    match (status, code.as_str()) {
        // An answer to HEAD has no words.
        (404, "" | "NoSuchKey") => RegistryError::NotFound { url },
        (401 | 403, code) => {
            RegistryError::Denied { url, status, message: said(code, &text), anonymous: false }
        }
        (_, code) => failed(url, status, code, &text, retry_after),
    }
}

fn failed(url: String, status: u16, code: &str, text: &str, retry_after: Option<Duration>) -> RegistryError {
    let error = RegistryError::Status { url, status, message: said(code, text), retry_after };
    if PASSING.contains(&code) && !error.is_transient() { error.into_transient() } else { error }
}

/// Returns the store's own words.
fn said(code: &str, text: &str) -> String {
    match element(text, "Message").filter(|message| !message.is_empty()) {
        Some(message) if code.is_empty() => message,
        Some(message) => format!("{code}: {message}"),
        None if code.is_empty() => printable(text),
        None => code.to_owned(),
    }
}

/// Returns the text of the first element of a name. The documents of S3 are flat, and stores do not agree on their
/// namespaces.
pub(super) fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    let text =
        entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character));
    Some(printable(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_store_are_found_in_its_document() {
        let text = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>No \u{1b}[31m&lt;such&gt; &amp;lt; bucket</Message></Error>";
        assert_eq!(element(text, "Code").as_deref(), Some("NoSuchBucket"));
        assert_eq!(said("NoSuchBucket", text), "NoSuchBucket: No [31m<such> &lt; bucket");
        assert_eq!(element(text, "Key"), None);
        assert_eq!(element("<Code>cut", "Code"), None);
        assert_eq!(said("", "no\nXML"), "no");
    }

    // B-081: what passes is tried again, and what does not is told at once.
    #[test]
    fn an_error_that_passes_is_known_by_its_code() {
        let error = |status, code| failed(String::new(), status, code, "", None);
        assert!(error(503, "SlowDown").is_transient());
        assert!(error(400, "RequestTimeout").is_transient());
        assert!(error(200, "InternalError").is_transient());
        assert!(!error(404, "NoSuchBucket").is_transient());
        assert!(!error(412, "PreconditionFailed").is_transient());
    }
}
