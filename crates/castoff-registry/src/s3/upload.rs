//! The upload of one blob:
//!
//! ```text
//! HEAD <key>                             there already: nothing to do
//! PUT  <key>          If-None-Match: *   small blobs
//! POST <key>?uploads                     larger ones: an upload is begun,
//! PUT  <key>?partNumber=..&uploadId=..   its parts are sent,
//! POST <key>?uploadId=..                 and it is ended, with the same condition
//! ```

use std::sync::atomic::Ordering;

use castoff_oci::Descriptor;
use rusty_s3::S3Action as _;
use ureq::http::Method;

use super::Bucket;
use super::ask::{Asked, Sent, element, late_error};
use crate::error::RegistryError;
use crate::outgoing::{Open, Outgoing};
use crate::push::{Pushed, header};
use crate::slots::Slot;
use crate::transport::{Request, words};
use crate::url;

/// An upload has no more parts.
const PARTS: u64 = 10_000;

/// The condition that there is no object of that name.
const ONLY_NEW: (&str, &str) = ("if-none-match", "*");

struct Upload<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    /// Whether there is no object yet, and there may be one only by somebody else who writes the same.
    only_new: bool,
    outgoing: Outgoing<'a>,
}

impl Bucket {
    /// Brings a blob under a key that is made of its digest: not at all when the bucket has it. When this returns, the
    /// bucket has it. At most [`BucketSettings::uploads_at_once`](super::BucketSettings::uploads_at_once) are sent at
    /// a time; others wait. An object of another size is replaced.
    ///
    /// # Errors
    /// When the store does not take it, or the bytes cannot be read or are not what their digest says.
    pub fn put_blob(
        &self,
        key: &str,
        descriptor: &Descriptor,
        open: &Open<'_>,
    ) -> Result<Pushed, RegistryError> {
        let slot = self.upload_slot()?;
        let facts = self.facts(key)?;
        if facts.is_some_and(|facts| facts.size == descriptor.size) {
            return Ok(Pushed::Present);
        }
        let only_new = facts.is_none() && !self.unconditional.load(Ordering::Relaxed);
        self.send_blob(slot, key, descriptor, open, only_new)
    }

    /// Does the same, whatever the bucket has there.
    ///
    /// # Errors
    /// As [`put_blob`](Bucket::put_blob).
    pub fn replace_blob(
        &self,
        key: &str,
        descriptor: &Descriptor,
        open: &Open<'_>,
    ) -> Result<Pushed, RegistryError> {
        self.send_blob(self.upload_slot()?, key, descriptor, open, false)
    }

    fn upload_slot(&self) -> Result<Slot, RegistryError> {
        let shared = &self.client.0;
        // Not the slots of downloads: the bytes may come from the same host.
        shared.slots.take(&format!("to {}", self.host()), self.uploads_at_once, &shared.stop)
    }

    fn send_blob(
        &self,
        _slot: Slot,
        key: &str,
        descriptor: &Descriptor,
        open: &Open<'_>,
        only_new: bool,
    ) -> Result<Pushed, RegistryError> {
        let mut unheard = |_| {};
        let outgoing = Outgoing::new(descriptor, open, &self.client.0.stop, &mut unheard);
        Upload { bucket: self, key, only_new, outgoing }.run()
    }
}

impl Upload<'_> {
    fn run(mut self) -> Result<Pushed, RegistryError> {
        let bucket = self.bucket;
        let mut attempts = bucket.attempts(false);
        loop {
            let size = self.outgoing.size;
            let sent = if size > self.chunk() { self.in_parts() } else { self.whole() };
            let Err(error) = sent else { return Ok(Pushed::Sent) };
            match &error {
                RegistryError::Status { status: 412, .. } if self.only_new => return Ok(Pushed::Present),
                RegistryError::Status { status: 501, .. } if self.only_new => {
                    bucket.unconditional.store(true, Ordering::Relaxed);
                    self.only_new = false;
                }
                // Two ended the same upload at once, or the answer that it has ended got lost.
                RegistryError::Status { status: 404 | 409, .. } => {
                    if bucket.facts(self.key)?.is_some_and(|facts| facts.size == size) {
                        return Ok(Pushed::Present);
                    }
                    if no_bucket(&error) {
                        return Err(error);
                    }
                    attempts.wait_after(error.into_transient())?;
                }
                _ => return Err(error),
            }
        }
    }

    /// Returns the size of parts in bytes.
    fn chunk(&self) -> u64 {
        self.bucket.client.0.config.chunk.max(1).max(self.outgoing.size.div_ceil(PARTS))
    }

    fn condition(&self) -> &'static [(&'static str, &'static str)] {
        if self.only_new { &[ONLY_NEW] } else { &[] }
    }

    fn whole(&mut self) -> Result<(), RegistryError> {
        let (Bucket { bucket, credentials, .. }, key) = (self.bucket, self.key);
        let headers = self.condition();
        let sign = || {
            let mut action = bucket.put_object(Some(credentials), key);
            headers.iter().for_each(|(name, value)| action.headers_mut().insert(*name, *value));
            self.bucket.sign(&action)
        };
        self.outgoing.select(0, self.outgoing.size)?;
        let request = Request { headers, ..Request::new(Method::PUT) };
        let asked = Asked { sign: &sign, request };
        self.bucket.ask(&asked, &mut Sent::Blob(&mut self.outgoing), &mut |_, _| Ok(()))
    }

    fn in_parts(&mut self) -> Result<(), RegistryError> {
        let id = self.begin()?;
        let done = self.parts(&id).and_then(|tags| self.end(&id, &tags));
        if done.as_ref().is_err_and(|error| !error.is_unreachable()) {
            self.give_up(&id);
        }
        done
    }

    fn begin(&self) -> Result<String, RegistryError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let sign = || self.bucket.sign(&bucket.create_multipart_upload(Some(credentials), self.key));
        let asked = Asked { sign: &sign, request: Request::new(Method::POST) };
        self.bucket.ask(&asked, &mut Sent::Nothing, &mut |uri, response| {
            let id = element(&words(response).text, "UploadId");
            id.ok_or_else(|| RegistryError::NoLocation { url: url::shown(uri) })
        })
    }

    /// Sends the parts and returns their tags.
    fn parts(&mut self, id: &str) -> Result<Vec<String>, RegistryError> {
        let (Bucket { bucket, credentials, .. }, key) = (self.bucket, self.key);
        let (chunk, mut begin, mut tags) = (self.chunk(), 0, Vec::new());
        while begin < self.outgoing.size {
            self.outgoing.select(begin, chunk)?;
            let number = u16::try_from(tags.len() + 1).expect("there are at most 10,000 parts");
            let sign = || self.bucket.sign(&bucket.upload_part(Some(credentials), key, number, id));
            let asked = Asked { sign: &sign, request: Request::new(Method::PUT) };
            let tag =
                self.bucket.ask(&asked, &mut Sent::Blob(&mut self.outgoing), &mut |uri, response| {
                    let tag = header(&response, "etag").map(str::to_owned);
                    tag.ok_or_else(|| RegistryError::NoLocation { url: url::shown(uri) })
                })?;
            tags.push(tag);
            begin += chunk;
        }
        Ok(tags)
    }

    fn end(&self, id: &str, tags: &[String]) -> Result<(), RegistryError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let action = || {
            let tags = tags.iter().map(String::as_str);
            bucket.complete_multipart_upload(Some(credentials), self.key, id, tags)
        };
        let headers = self.condition();
        let sign = || {
            let mut action = action();
            headers.iter().for_each(|(name, value)| action.headers_mut().insert(*name, *value));
            self.bucket.sign(&action)
        };
        let body = action().body();
        let request = Request { headers, ..Request::new(Method::POST) };
        let asked = Asked { sign: &sign, request };
        self.bucket.ask(&asked, &mut Sent::Bytes(body.as_bytes()), &mut late_error)
    }

    /// Parts that belong to nothing are paid for. This is tried once, also when all else has been stopped.
    fn give_up(&self, id: &str) {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let sign = || self.bucket.sign(&bucket.abort_multipart_upload(Some(credentials), self.key, id));
        let asked = Asked { sign: &sign, request: Request::new(Method::DELETE) };
        let _rules_of_the_bucket_may = self.bucket.ask_once(&asked, &mut Sent::Nothing, &mut |_, _| Ok(()));
    }
}

fn no_bucket(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Status { message, .. } if message.starts_with("NoSuchBucket"))
}
