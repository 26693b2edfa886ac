//! Files over HTTP: downloaded once, then asked after with what the server said about them (D-235 to D-238).

use std::io::{Read, Write};

use base64::Engine as _;
use castoff_graph::remote::{HttpSource, host, redacted, split_credentials};
use castoff_layer::{Entry, EntryKind, TarOptions, Timestamp};
use castoff_oci::{Digest, Hasher};
use castoff_registry::{Content, Download, Downloaded};
use castoff_store::{LayerId, RecordOutcome};
use serde::{Deserialize, Serialize};

use super::{FetchError, Progress, record, write_layer};
use crate::World;

/// More than this is no file that anybody adds to an image.
const LIMIT: u64 = 1 << 40;

/// A file that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpContent {
    /// Its bytes.
    pub blob: Digest,
    /// The server's Last-Modified, in seconds since 1970.
    pub last_modified: Option<i64>,
    /// Whether it came just now.
    pub downloaded: bool,
}

/// What is remembered of an address.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Makes sure that a file is in the store.
///
/// With a checksum that the store has, nobody is asked (D-243). Else the server is asked whether the file is
/// still the one of the last time (D-237); offline it is taken to be.
///
/// # Errors
/// When it cannot be had or is not what it should be.
pub fn content(
    world: &World,
    source: &HttpSource,
    progress: &mut Progress<'_>,
) -> Result<HttpContent, FetchError> {
    let (url, login) = split_credentials(&source.url);
    let key = memo_key(&url);
    let known = known(world, key)?;
    let in_store = |digest: &Digest| world.store.blob(digest).is_some();
    if let Some(checksum) = source.checksum.filter(in_store) {
        let memo = known.filter(|(blob, _)| *blob == checksum).map(|(_, memo)| memo);
        let last_modified = memo.and_then(|memo| seconds(memo.last_modified.as_deref()?));
        return Ok(HttpContent { blob: checksum, last_modified, downloaded: false });
    }
    if world.registry.is_offline() {
        let known = known.filter(|_| source.checksum.is_none());
        let (blob, memo) = known.ok_or_else(|| FetchError::Offline(redacted(&url)))?;
        world.store.touch_record(key);
        let last_modified = memo.last_modified.as_deref().and_then(seconds);
        return Ok(HttpContent { blob, last_modified, downloaded: false });
    }
    let authorization = authorization(world, &url).or_else(|| login.as_deref().map(basic));
    // The content that was refused for its checksum may be another by now.
    let known = known.filter(|_| source.checksum.is_none());
    let download = Download {
        url: &url,
        authorization: authorization.as_deref(),
        etag: known.as_ref().and_then(|(_, memo)| memo.etag.as_deref()),
        last_modified: known.as_ref().and_then(|(_, memo)| memo.last_modified.as_deref()),
        verified: source.checksum.is_some(),
        limit: LIMIT,
    };
    let fetched = world.registry.download(&download, &mut |content| store(world, content, progress))?;
    match (fetched, known) {
        (Downloaded::NotModified, Some((blob, memo))) => {
            world.store.touch_record(key);
            let last_modified = memo.last_modified.as_deref().and_then(seconds);
            Ok(HttpContent { blob, last_modified, downloaded: false })
        }
        (Downloaded::NotModified, None) => unreachable!("without a condition there is no such answer"),
        (Downloaded::File { value: blob, etag, last_modified }, _) => {
            if let Some(expected) = source.checksum.filter(|expected| *expected != blob) {
                return Err(FetchError::Checksum { url: redacted(&url), expected, actual: blob });
            }
            let time = last_modified.as_deref().and_then(seconds);
            let memo = Memo { url: redacted(&url), etag, last_modified };
            let recipe = serde_json::to_value(&memo).expect("a memo is always JSON");
            let record = record(world, &memo.url, recipe, RecordOutcome::Blob(blob));
            world.store.put_record(key, &record)?;
            Ok(HttpContent { blob, last_modified: time, downloaded: true })
        }
    }
}

/// Returns the layer that holds a file alone, as ADD leaves it (D-235).
pub(crate) fn layer(
    world: &World,
    source: &HttpSource,
    content: &HttpContent,
) -> Result<LayerId, FetchError> {
    let mut file = world.store.open_blob(&content.blob)?.ok_or(FetchError::Gone(content.blob))?;
    let entry = Entry {
        path: source.file().as_bytes().to_vec(),
        kind: EntryKind::File { size: file.metadata()?.len() },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: content.last_modified.unwrap_or_default(), nanos: 0 },
        xattrs: Default::default(),
    };
    write_layer(&world.store, TarOptions::default(), |tar| Ok(tar.append(&entry, &mut file)?))
}

/// How many bytes come between two reports.
const STRIDE: u64 = 512 * 1024;

fn store(
    world: &World,
    content: &mut Content<'_>,
    progress: &mut Progress<'_>,
) -> Result<Digest, FetchError> {
    let mut writer = world.store.blob_writer()?;
    let total = content.length();
    let (mut current, mut reported) = (0, 0);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        writer.write_all(&buffer[..count])?;
        current += count as u64;
        if current - reported >= STRIDE {
            reported = current;
            progress(current, total);
        }
    }
    let blob = writer.finish(None)?;
    progress(current, Some(current));
    Ok(blob.digest)
}

/// Returns what is known of an address and still in the store.
fn known(world: &World, key: Digest) -> Result<Option<(Digest, Memo)>, FetchError> {
    let Some(record) = world.store.record(key)? else { return Ok(None) };
    let RecordOutcome::Blob(blob) = record.outcome else { return Ok(None) };
    let Ok(memo) = serde_json::from_value(record.recipe) else { return Ok(None) };
    Ok(world.store.blob(&blob).map(|_| (blob, memo)))
}

fn memo_key(url: &str) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-url-1");
    hasher.field(url.as_bytes());
    hasher.finish()
}

/// Returns the Authorization header that a secret holds for the host of an address (D-238).
fn authorization(world: &World, url: &str) -> Option<String> {
    let host = host(url)?;
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    [host.as_str(), name].iter().find_map(|host| {
        let secret = |id: String| {
            let value = &world.secrets.get(&id)?.0;
            let text = std::str::from_utf8(value).ok()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        secret(format!("HTTP_AUTH_HEADER_{host}"))
            .or_else(|| secret(format!("HTTP_AUTH_TOKEN_{host}")).map(|token| format!("Bearer {token}")))
    })
}

/// Returns the Authorization header of `name:password`.
pub(super) fn basic(login: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login))
}

/// Parses the time of a header (RFC 9110 section 5.6.7), of which there are three forms.
fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let civil = |format: &&str| jiff::civil::DateTime::strptime(format, text).ok();
    match jiff::fmt::rfc2822::parse(text) {
        Ok(time) => Some(time.timestamp().as_second()),
        Err(_) => {
            let time = obsolete.iter().find_map(civil)?;
            Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    // D-235
    #[test]
    fn the_time_of_a_header_has_three_forms() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(seconds(text), expected, "{text}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("yesterday", None);
        check("", None);
    }
}
