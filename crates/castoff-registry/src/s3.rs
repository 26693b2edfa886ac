//! Objects of a bucket: S3's protocol, as far as a shared cache needs it.
//!
//! Each request is signed by its address (AWS signature version 4 in the query), anew for each attempt. The secret
//! key is told to nobody. Redirects are not followed, because an address is signed for its host. Errors have the
//! store's own code and message.
//!
//! A blob is put only where there is none of its name yet (`If-None-Match: *`), so two who write the same at once do
//! not meet; a store that does not know the condition (501) is asked without it. What is larger than
//! [`Config::chunk`](crate::Config::chunk) is sent in parts, one after the other, none of which is kept in memory.

mod ask;
mod upload;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use castoff_oci::Descriptor;
use rusty_s3::{Credentials, S3Action as _, UrlStyle};
use ureq::Body;
use ureq::http::{Method, Response, Uri};

use crate::blob::BlobReader;
use crate::client::{Client, at_offset};
use crate::error::RegistryError;
use crate::push::header;
use crate::transport::Request;
use crate::url;

use ask::{Asked, Sent};

/// A bucket, and who asks it.
#[derive(Clone)]
pub struct BucketSettings {
    /// Its name.
    pub name: String,
    /// Its region, which is a part of every signature.
    pub region: String,
    /// The address of the store; AWS's of the region when it is not given.
    pub endpoint: Option<String>,
    /// Whether the name is in the path of addresses, and not in their host. It always is where the host could not be
    /// one: with an endpoint that is a number, and names that no certificate fits.
    pub path_style: bool,
    /// Who asks.
    pub credentials: BucketCredentials,
    /// Blobs that are sent at once.
    pub uploads_at_once: usize,
    /// Attempts per request, the first included; else as many as for registries.
    pub attempts: Option<u32>,
    /// Returns the time, in milliseconds since 1970. It is a part of every signature.
    pub clock: fn() -> i64,
}

/// An access key of S3.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketCredentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The key itself.
    pub secret_access_key: String,
    /// What temporary keys need besides.
    pub session_token: Option<String>,
}

impl fmt::Debug for BucketCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BucketCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A bucket. Clones share connections; every method may be called by any number of threads.
#[derive(Clone)]
pub struct Bucket {
    client: Client,
    bucket: rusty_s3::Bucket,
    credentials: Arc<Credentials>,
    uploads_at_once: usize,
    attempts: Option<u32>,
    clock: fn() -> i64,
    /// The store does not know conditions of writes.
    unconditional: Arc<AtomicBool>,
}

/// A small object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: Option<i64>,
}

/// What is known of an object without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: Option<i64>,
}

impl Bucket {
    /// Returns a bucket; nothing is asked yet.
    ///
    /// # Errors
    /// When the endpoint is no address of HTTP, or none that the name of the bucket can be a part of.
    pub fn new(client: Client, settings: &BucketSettings) -> Result<Bucket, RegistryError> {
        let BucketSettings { name, region, endpoint, path_style, credentials, .. } = settings;
        let endpoint = endpoint.clone().unwrap_or_else(|| of_aws(region));
        let uri = url::parse(&endpoint).ok_or_else(|| {
            // What is before an `@` may be a password.
            let url = endpoint.rsplit('@').next().unwrap_or_default().to_owned();
            RegistryError::Address { url }
        })?;
        let refused =
            || RegistryError::Address { url: format!("{} with the bucket {name}", url::shown(&uri)) };
        let style =
            if *path_style || !fits_host(name, &uri) { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let address = endpoint.parse().map_err(|_| refused())?;
        let bucket = rusty_s3::Bucket::new(address, style, name.clone(), region.clone());
        let BucketCredentials { access_key_id, secret_access_key, session_token } = credentials.clone();
        let credentials = match session_token {
            None => Credentials::new(access_key_id, secret_access_key),
            Some(token) => Credentials::new_with_token(access_key_id, secret_access_key, token),
        };
        Ok(Bucket {
            client,
            bucket: bucket.map_err(|_| refused())?,
            credentials: Arc::new(credentials),
            uploads_at_once: settings.uploads_at_once,
            attempts: settings.attempts,
            clock: settings.clock,
            unconditional: Arc::default(),
        })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.bucket.name()
    }

    /// Reads an object of at most `limit` bytes, if there is one.
    ///
    /// # Errors
    /// When the store does not let it be read, or it is larger.
    pub fn object(&self, key: &str, limit: u64) -> Result<Option<Object>, RegistryError> {
        let sign = || self.sign(&self.bucket.get_object(Some(&self.credentials), key));
        let asked = Asked { sign: &sign, request: Request::new(Method::GET) };
        absent(self.ask(&asked, &mut Sent::Nothing, &mut |uri, mut response| {
            let modified_ms = modified(&response);
            let body = |cause| RegistryError::Body { url: url::shown(uri), cause };
            let mut bytes = Vec::new();
            let mut reader = response.body_mut().as_reader().take(limit.saturating_add(1));
            reader.read_to_end(&mut bytes).map_err(body)?;
            if bytes.len() as u64 > limit {
                return Err(RegistryError::TooLarge { url: url::shown(uri), limit });
            }
            Ok(Object { bytes, modified_ms })
        }))
    }

    /// Returns what is known of an object, if there is one.
    ///
    /// # Errors
    /// When the store does not say.
    pub fn facts(&self, key: &str) -> Result<Option<ObjectFacts>, RegistryError> {
        let sign = || self.sign(&self.bucket.head_object(Some(&self.credentials), key));
        let asked = Asked { sign: &sign, request: Request::new(Method::HEAD) };
        absent(self.ask(&asked, &mut Sent::Nothing, &mut |_, response| {
            let size = header(&response, "content-length").and_then(|text| text.trim().parse().ok());
            Ok(ObjectFacts { size: size.unwrap_or_default(), modified_ms: modified(&response) })
        }))
    }

    /// Opens a blob. What is read is verified; the last read fails when digest or size differ. Breaks are mended, and
    /// the reader takes one of the slots of its host, as [`Client::blob`] does.
    ///
    /// # Errors
    /// When the store does not have it.
    pub fn blob(&self, key: &str, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, RegistryError> {
        let shared = &self.client.0;
        let slot = shared.slots.take(&self.host(), shared.config.blobs_at_once, &shared.stop)?;
        let (url, inner) = self.open(key, 0)?;
        let (bucket, key) = (self.clone(), key.to_owned());
        let reopen = move |offset| Ok(bucket.open(&key, offset)?.1);
        let attempts = self.attempts.unwrap_or(shared.config.attempts);
        Ok(Box::new(BlobReader::new(inner, url, descriptor, Box::new(reopen), attempts, Some(slot))))
    }

    /// Writes a small object, in place of any that is there.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let sign = || self.sign(&self.bucket.put_object(Some(&self.credentials), key));
        let asked = Asked { sign: &sign, request: Request::new(Method::PUT) };
        self.ask(&asked, &mut Sent::Bytes(bytes), &mut |_, _| Ok(()))
    }

    /// Lets an object be as if it were written now, for rules that remove what is old. S3 does it by copying an object
    /// of at most 5 GiB onto itself.
    ///
    /// # Errors
    /// When the store does not do it.
    pub fn touch(&self, key: &str) -> Result<(), RegistryError> {
        let path = self.bucket.object_url(key).path().to_owned();
        let key_in_path = path.strip_prefix(self.bucket.base_url().path()).unwrap_or(&path);
        let source = format!("{}/{key_in_path}", self.bucket.name());
        let headers = [("x-amz-copy-source", source.as_str()), ("x-amz-metadata-directive", "REPLACE")];
        let sign = || {
            let mut action = self.bucket.put_object(Some(&self.credentials), key);
            headers.iter().for_each(|(name, value)| action.headers_mut().insert(*name, *value));
            self.sign(&action)
        };
        let request = Request { headers: &headers, ..Request::new(Method::PUT) };
        self.ask(&Asked { sign: &sign, request }, &mut Sent::Nothing, &mut ask::late_error)
    }

    fn open(&self, key: &str, offset: u64) -> Result<(String, Box<dyn Read + Send>), RegistryError> {
        let sign = || self.sign(&self.bucket.get_object(Some(&self.credentials), key));
        let request = Request { offset: (offset > 0).then_some(offset), ..Request::new(Method::GET) };
        self.ask(&Asked { sign: &sign, request }, &mut Sent::Nothing, &mut |uri, response| {
            at_offset(uri, response, offset)
        })
    }

    /// Returns what slots are counted by.
    fn host(&self) -> String {
        self.bucket.base_url().host_str().unwrap_or_default().to_owned()
    }
}

/// The addresses of AWS.
fn of_aws(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://s3.{region}.{domain}")
}

/// Returns whether a bucket's name can be a part of the host's. A certificate fits no name with a dot.
fn fits_host(name: &str, endpoint: &Uri) -> bool {
    let is_number = endpoint.host().is_some_and(|host| url::bare(host).parse::<IpAddr>().is_ok());
    let dots = endpoint.scheme_str() != Some("https");
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || (dots && byte == b'.')
    };
    !is_number && !name.is_empty() && name.bytes().all(fits)
}

fn absent<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn modified(response: &Response<Body>) -> Option<i64> {
    let text = header(response, "last-modified")?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn bucket(endpoint: Option<&str>, name: &str, region: &str) -> Result<Bucket, String> {
        let settings = BucketSettings {
            name: name.to_owned(),
            region: region.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            path_style: false,
            credentials: BucketCredentials {
                access_key_id: "key".to_owned(),
                secret_access_key: "opensesame".to_owned(),
                session_token: Some("token".to_owned()),
            },
            uploads_at_once: 4,
            attempts: None,
            clock: || 1_369_353_600_000,
        };
        assert!(!format!("{:?}", settings.credentials).contains("opensesame"));
        Bucket::new(Client::new(Config::default()), &settings).map_err(|error| error.to_string())
    }

    // B-129
    #[test]
    fn a_bucket_is_in_the_host_where_it_can_be() {
        let check = |endpoint: Option<&str>, name: &str, region: &str, expected: &str| {
            let bucket = bucket(endpoint, name, region).unwrap();
            assert_eq!(bucket.bucket.object_url("a/sha256:1").as_str(), expected);
        };
        check(None, "cache", "eu-west-1", "https://cache.s3.eu-west-1.amazonaws.com/a/sha256%3A1");
        check(None, "cache", "cn-north-1", "https://cache.s3.cn-north-1.amazonaws.com.cn/a/sha256%3A1");
        check(None, "my.cache", "us-east-1", "https://s3.us-east-1.amazonaws.com/my.cache/a/sha256%3A1");
        check(Some("http://127.0.0.1:9000"), "c", "x", "http://127.0.0.1:9000/c/a/sha256%3A1");
        check(Some("http://[::1]:9000/"), "c", "x", "http://[::1]:9000/c/a/sha256%3A1");
        check(Some("https://store.example/s3"), "c", "x", "https://c.store.example/s3/a/sha256%3A1");
        check(Some("http://store.example"), "Old_Name", "x", "http://store.example/Old_Name/a/sha256%3A1");
        let refused = |endpoint: &str| bucket(Some(endpoint), "cache", "x").map(drop).unwrap_err();
        assert_eq!(refused("ftp://store.example"), "`ftp://store.example` is not an address of HTTP");
        assert_eq!(refused("me:word@store.example"), "`store.example` is not an address of HTTP");
    }

    // B-129: what is signed changes nothing of what is shown.
    #[test]
    fn a_secret_key_is_in_no_address() {
        let bucket = bucket(None, "cache", "eu-west-1").unwrap();
        let address = bucket.sign(&bucket.bucket.get_object(Some(&bucket.credentials), "x"));
        assert!(address.contains("X-Amz-Signature=") && address.contains("X-Amz-Date=20130524T000000Z"));
        assert!(!address.contains("opensesame"), "{address}");
        let shown = url::shown(&url::parse(&address).unwrap());
        assert_eq!(shown, "https://cache.s3.eu-west-1.amazonaws.com/x");
    }
}
