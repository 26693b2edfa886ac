//! Manifests and indexes: what is accepted, and what is asked for again.

use castoff_oci::{Digest, MediaType};
use castoff_registry::{Client, Document, RegistryError};

use crate::kit::{client, config};
use crate::server::{Answer, Request, Server};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn manifest() -> Answer {
    Answer::ok(MANIFEST).with("Content-Type", OCI_MANIFEST)
}

/// Asks for `x:1` and returns what came and how many requests it took.
fn resolve(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (Result<Document, RegistryError>, Vec<Request>) {
    let server = Server::start(answer);
    let result = client().resolve(&server.reference(":1"));
    (result, server.requests())
}

/// Checks the error of asking for `x:1`, without the address, and the number of requests.
#[track_caller]
fn check_error(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static, expected: &str, requests: usize) {
    let (result, asked) = resolve(answer);
    let error = result.unwrap_err().to_string();
    let (url, said) = error.split_once("/v2/x/manifests/1: ").unwrap_or_else(|| panic!("{error}"));
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(said, expected);
    assert_eq!(asked.len(), requests);
}

// B-078
#[test]
fn a_manifest_is_found_by_tag_and_by_digest() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let server = Server::start(|_| manifest());
    let client = client();
    let expected =
        Document { media_type: MediaType::OciManifest, digest, bytes: MANIFEST.as_bytes().to_vec() };
    assert_eq!(client.resolve(&server.reference(":1")).unwrap(), expected);
    assert_eq!(client.resolve(&server.reference("")).unwrap(), expected);
    // B-077: with both, the digest counts.
    assert_eq!(client.resolve(&server.reference(&format!(":1@{digest}"))).unwrap(), expected);
    assert_eq!(client.manifest(&server.reference(":1"), &digest).unwrap(), expected);
    let paths = ["1", "latest", &digest.to_string(), &digest.to_string()];
    assert_eq!(server.asked(), paths.map(|path| format!("GET /v2/x/manifests/{path}")));
    let accept = server.requests()[0].header("accept").to_owned();
    for kind in ["oci.image.index", "oci.image.manifest", "manifest.list.v2", "distribution.manifest.v2"] {
        assert!(accept.contains(kind), "{accept}");
    }
    assert!(server.requests()[0].header("user-agent").starts_with("castoff/"));
}

// B-078, B-079
#[test]
fn an_index_leads_to_a_manifest() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{}}}]}}"#,
        MANIFEST.len()
    );
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/x/manifests/1" => Answer::ok(index.as_str()).with("Content-Type", OCI_INDEX),
        path if path.ends_with(&digest.to_string()) => manifest(),
        _ => Answer::status(404),
    });
    let (client, reference) = (client(), server.reference(":1"));
    assert_eq!(client.resolve(&reference).unwrap().media_type, MediaType::OciIndex);
    assert_eq!(client.manifest(&reference, &digest).unwrap().media_type, MediaType::OciManifest);
}

// B-081
#[test]
fn a_passing_failure_is_asked_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let (result, asked) =
            resolve(move |request| if request.nth < 2 { Answer::status(status) } else { manifest() });
        assert_eq!((result.is_ok(), asked.len()), (true, 3), "{status}");
    }
    let busy = |request: &Request| match request.nth {
        0 => Answer::status(429).with("Retry-After", "0"),
        _ => manifest(),
    };
    // The same, said as a time that has come.
    let then = "Sun, 06 Nov 1994 08:49:37 GMT";
    let dated = move |request: &Request| match request.nth {
        0 => Answer::status(503).with("Retry-After", then).with("Date", then),
        _ => manifest(),
    };
    // Only the registry's own wish ends this wait in time.
    let mut config = config();
    config.retry_delay = std::time::Duration::from_secs(100_000);
    for server in [Server::start(busy), Server::start(dated)] {
        assert!(Client::new(config.clone()).resolve(&server.reference(":1")).is_ok());
    }
}

// B-081
#[test]
fn a_lasting_failure_is_told_in_the_registrys_words() {
    check_error(|_| Answer::status(503), "status 503", 3);
    let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\u001b[2J down"},{"code":"OTHER"}]}"#;
    let limit = move |_: &Request| Answer { status: 429, ..Answer::ok(words) };
    check_error(limit, "status 429: TOOMANYREQUESTS: slow[2J down; OTHER", 3);
    let page = |_: &Request| Answer { status: 400, ..Answer::ok("\u{7}no\nmore") };
    let server = Server::start(page);
    // The address that an insecure registry was asked at first says nothing.
    let insecure = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", server.host());
    let client = Client::new(config().with_registries(&insecure).unwrap());
    let error = client.resolve(&server.reference(":1")).unwrap_err().to_string();
    assert!(error.starts_with("https://"), "{error}");
    check_error(|_| Answer::status(404), "not found", 1);
    check_error(|_| Answer::status(418), "status 418", 1);
}

#[test]
fn a_wrong_digest_is_refused() {
    let server = Server::start(|_| manifest());
    let wanted = Digest::of(b"something else");
    let error = client().resolve(&server.reference(&format!("@{wanted}"))).unwrap_err();
    let RegistryError::Digest { expected, actual, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *actual), (wanted, Digest::of(MANIFEST.as_bytes())));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_document_that_breaks_off_is_asked_again() {
    let (result, asked) = resolve(|request| if request.nth == 0 { manifest().cut(10) } else { manifest() });
    assert_eq!(result.unwrap().bytes, MANIFEST.as_bytes());
    assert_eq!(asked.len(), 2);
    let (result, asked) = resolve(|_| manifest().cut(10));
    assert!(matches!(result, Err(RegistryError::Body { .. })), "{result:?}");
    assert_eq!(asked.len(), 3);
}

#[test]
fn a_huge_document_is_refused() {
    let expected = "the document is larger than 4194304 bytes";
    check_error(|_| Answer::ok(vec![b' '; (4 << 20) + 1]), expected, 1);
    // An endless one is left where it is too much.
    check_error(|_| Answer { length: Some(1 << 40), ..Answer::ok(vec![b' '; 5 << 20]) }, expected, 1);
}

// B-078
#[test]
fn schema_1_is_refused() {
    let expected = "schema 1 manifests are not supported; push the image again with a current tool";
    let v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    check_error(move |_| Answer::ok("{}").with("Content-Type", v1), expected, 1);
    let plain = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    check_error(move |_| Answer::ok(plain).with("Content-Type", "application/json"), expected, 1);
}

#[test]
fn waiting_for_the_next_attempt_is_stopped() {
    let server = Server::start(|_| Answer::status(503));
    let mut config = config();
    config.retry_delay = std::time::Duration::from_secs(100_000);
    // Stopped after the first answer.
    let glances = std::sync::atomic::AtomicUsize::new(0);
    let stopped = move || glances.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 2;
    let error = Client::new(config).stopped_by(stopped).resolve(&server.reference(":1")).unwrap_err();
    assert!(matches!(error, RegistryError::Stopped), "{error}");
    assert_eq!(server.requests().len(), 1);
}
