//! What the tests of the client share: clients that do not wait long, and what registries say.

use std::io::Read;
use std::time::Duration;

use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use castoff_registry::{Client, Config};

use crate::server::{Answer, Request, Server};

impl Server {
    /// Returns the name of the image `x` of this server.
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/x{rest}", self.host()).parse().unwrap()
    }
}

/// Answers as registries do for a blob, ranges included.
pub fn blob(request: &Request, content: &[u8]) -> Answer {
    let offset = request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    match offset.and_then(|offset| offset.parse::<usize>().ok()) {
        None => Answer::ok(content),
        Some(offset) if offset >= content.len() => Answer::status(416),
        Some(offset) => {
            let range = format!("bytes {offset}-{}/{}", content.len() - 1, content.len());
            Answer { status: 206, ..Answer::ok(&content[offset..]) }.with("Content-Range", &range)
        }
    }
}

pub fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::OciLayer, Digest::of(content), content.len() as u64)
}

/// Returns some bytes that are not alike.
pub fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// Returns a configuration that is quick to ask again.
pub fn config() -> Config {
    let mut config = Config::default();
    config.retry_delay = Duration::from_millis(2);
    config
}

pub fn client() -> Client {
    Client::new(config())
}

/// Reads a blob of the repository `x` to its end.
pub fn fetch(client: &Client, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = client.blob(reference, descriptor).map_err(|error| error.to_string())?;
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
