//! What is written to a registry: blobs, manifests under digests and tags. Only the registry itself is
//! written to, never its mirrors (B-088).

use std::io::Read;

use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use ureq::Body;
use ureq::http::{Method, Response};

use crate::ask::Question;
use crate::client::{ACCEPT, Client, DOCUMENT_LIMIT, Shared};
use crate::error::RegistryError;
use crate::hosts::Endpoint;
use crate::outgoing::{Open, Outgoing};
use crate::token::Access;
use crate::transport::{Payload, Request};
use crate::upload::Upload;
use crate::url;

/// A registry that sends more about tags has no end.
const TAGS_LIMIT: u64 = 64 << 20;

/// A blob to be pushed.
pub struct Push<'a> {
    /// Its digest and size.
    pub descriptor: &'a Descriptor,
    /// Another repository of the same registry that is known to have it.
    pub mount_from: Option<&'a Reference>,
    /// Opens its bytes from an offset; called only when the registry does not have it, and again after
    /// each break.
    pub open: &'a Open<'a>,
    /// Hears how many of its bytes were sent; fewer than before when some are sent again.
    pub sent: &'a mut dyn FnMut(u64),
}

/// How a blob came into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

impl Client {
    /// Returns whether the reference's repository has a blob, or cannot be asked that.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        self.0.has(&self.0.registry(reference)?, &format!("blobs/{digest}"))
    }

    /// Returns whether the reference's repository has a manifest or index, or cannot be asked that.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub fn has_manifest(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        self.0.has(&self.0.registry(reference)?, &format!("manifests/{digest}"))
    }

    /// Brings a blob into the reference's repository: not at all when it is there, by mounting it, or by
    /// sending it (B-082). When this returns, the registry has it and has verified it. At most
    /// [`blobs_at_once`](crate::Config::blobs_at_once) go to one host at a time; others wait.
    ///
    /// # Errors
    /// When the registry does not take it, or the bytes cannot be read or are not what their digest says.
    pub fn push_blob(&self, reference: &Reference, push: Push<'_>) -> Result<Pushed, RegistryError> {
        let shared = &*self.0;
        let endpoint = shared.registry(reference)?;
        // Not the slots of downloads: the bytes may come from the same host.
        let host = format!("to {}", endpoint.host);
        let _slot = shared.slots.take(&host, shared.config.blobs_at_once, &shared.stop)?;
        let mount_from = match push.mount_from {
            Some(from) => {
                let from = shared.registry(from)?;
                (from.host == endpoint.host && from.repository != endpoint.repository)
                    .then_some(from.repository)
            }
            None => None,
        };
        let outgoing = Outgoing::new(push.descriptor, push.open, &shared.stop, push.sent);
        Upload { shared, endpoint: &endpoint, mount_from: mount_from.as_deref(), outgoing }.run()
    }

    /// Puts a manifest or index into the reference's repository, under its tag unless the reference has a
    /// digest: then under that. What it names must be there.
    ///
    /// # Errors
    /// When the registry does not take it, or says that it is something else.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let digest = Digest::of(bytes);
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(named), _) if named != digest => {
                return Err(RegistryError::Damaged { expected: named, actual: digest });
            }
            (Some(named), _) => named.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let endpoint = self.0.registry(reference)?;
        let headers = [("content-type", media_type.as_str())];
        let request = Request { headers: &headers, ..Request::new(Method::PUT) };
        let question = Question { path: &format!("manifests/{wanted}"), access: Access::Push, request };
        self.0.ask(
            &endpoint,
            &question,
            &mut Payload::Bytes(bytes),
            &mut |uri, response| {
                let said = header(&response, "docker-content-digest").and_then(|text| text.parse().ok());
                match said {
                    Some(actual) if actual != digest => {
                        Err(RegistryError::Digest { url: url::shown(uri), expected: digest, actual })
                    }
                    _ => Ok(()),
                }
            },
            false,
        )
    }

    /// Returns the tags of the reference's repository, in the order of the registry.
    ///
    /// # Errors
    /// When the registry does not tell, or does not stop telling.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let endpoint = self.0.registry(reference)?;
        let mut tags: Vec<String> = Vec::new();
        let mut left = TAGS_LIMIT;
        let mut path = Some("tags/list".to_owned());
        while let Some(this) = path.take() {
            let request = Request { accept: "application/json", ..Request::new(Method::GET) };
            let question = Question { path: &this, access: Access::Pull, request };
            let answer = self.0.ask(
                &endpoint,
                &question,
                &mut Payload::Nothing,
                &mut |uri, response| {
                    let url = url::shown(uri);
                    let (page, next, size) = tag_page(&url, response)?;
                    left =
                        left.checked_sub(size).ok_or(RegistryError::TooLarge { url, limit: TAGS_LIMIT })?;
                    Ok((page, next))
                },
                false,
            )?;
            let (page, next) = answer;
            path = next.filter(|_| !page.is_empty()).map(|query| format!("tags/list?{query}"));
            tags.extend(page);
        }
        Ok(tags)
    }
}

impl Shared {
    /// Returns whether an endpoint has something. That it does not say so is no reason not to write:
    /// writing fails in the registry's own words, which HEAD has none of.
    pub(crate) fn has(&self, endpoint: &Endpoint, path: &str) -> Result<bool, RegistryError> {
        let request = Request { accept: ACCEPT, ..Request::new(Method::HEAD) };
        let question = Question { path, access: Access::Push, request };
        match self.ask(endpoint, &question, &mut Payload::Nothing, &mut |_, _| Ok(()), false) {
            Ok(()) => Ok(true),
            Err(
                RegistryError::NotFound { .. } | RegistryError::Denied { .. } | RegistryError::Status { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the text of a header.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// One page of a list of tags.
#[derive(serde::Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

/// Returns the tags of a page, the query of the next one, and the size of the page in bytes.
fn tag_page(
    url: &str,
    response: Response<Body>,
) -> Result<(Vec<String>, Option<String>, u64), RegistryError> {
    let link =
        header(&response, "link").filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
    let address = link.and_then(|link| link.split_once('<')?.1.split_once('>')).map(|(address, _)| address);
    let next = address.and_then(|address| address.split_once('?')).map(|(_, query)| query.to_owned());
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(DOCUMENT_LIMIT + 1);
    reader.read_to_end(&mut bytes).map_err(|cause| RegistryError::Body { url: url.to_owned(), cause })?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(RegistryError::TooLarge { url: url.to_owned(), limit: DOCUMENT_LIMIT });
    }
    let page: TagPage = serde_json::from_slice(&bytes)
        .map_err(|cause| RegistryError::Body { url: url.to_owned(), cause: cause.into() })?;
    Ok((page.tags.unwrap_or_default(), next, bytes.len() as u64))
}
