//! Files that are no registry's.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use castoff_registry::{Download, Downloaded, RegistryError};

use crate::kit::client;
use crate::server::{Answer, Server};

const PLAIN: Download<'_> = Download {
    url: "",
    authorization: None,
    etag: None,
    last_modified: None,
    verified: false,
    limit: 1 << 20,
};

/// Downloads and shows the content, or why there is none.
fn download(download: &Download<'_>) -> Result<Downloaded<String>, RegistryError> {
    client().download(download, &mut |content| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        Ok(text)
    })
}

fn text(asked: &Download<'_>) -> String {
    match download(asked) {
        Ok(Downloaded::File { value, .. }) => value,
        Ok(Downloaded::NotModified) => "not modified".to_owned(),
        Err(error) => error.to_string(),
    }
}

// D-235
#[test]
fn redirects_are_followed_and_refusals_are_errors() {
    let server = Server::start(|request| match request.path.as_str() {
        "/moved" => Answer::status(302).with("Location", "/here"),
        "/here" => Answer::ok("content"),
        "/gone" => Answer::status(410),
        _ => Answer::status(404),
    });
    let at = |path: &str| text(&Download { url: &server.url(path), ..PLAIN });
    assert_eq!(at("/moved"), "content");
    assert!(at("/gone").contains("status 410"), "{}", at("/gone"));
    assert!(at("/none").contains("not found"));
    assert_eq!(text(&Download { url: "ftp://a/b", ..PLAIN }), "`ftp://a/b` is not an address of HTTP");
}

// B-081
#[test]
fn what_breaks_off_is_begun_again() {
    let server = Server::start(|request| match (request.path.as_str(), request.nth) {
        ("/cut", 0) => Answer::ok("content").cut(3),
        ("/busy", 0) => Answer::status(503),
        ("/always", _) => Answer::ok("content").cut(3),
        _ => Answer::ok("content"),
    });
    let at = |path: &str| text(&Download { url: &server.url(path), ..PLAIN });
    assert_eq!(at("/cut"), "content");
    assert_eq!(at("/busy"), "content");
    assert!(at("/always").contains("reading the answer"), "{}", at("/always"));
}

// D-238, B-221
#[test]
fn credentials_do_not_follow_to_another_server() {
    let other = Server::start(|_| Answer::ok("stolen?"));
    let to = other.url("/x");
    let server = Server::start(move |request| match request.path.as_str() {
        "/away" => Answer::status(307).with("Location", &to),
        _ => Answer::status(307).with("Location", "/away"),
    });
    let url = server.url("/start");
    let asked = Download { url: &url, authorization: Some("Bearer word"), ..PLAIN };
    assert_eq!(text(&asked), "stolen?");
    assert!(server.requests().iter().all(|request| request.header("authorization") == "Bearer word"));
    assert_eq!(other.requests()[0].header("authorization"), "");
}

// D-237
#[test]
fn the_server_says_whether_it_is_the_same() {
    let server = Server::start(|request| match request.header("if-none-match") {
        "\"1\"" => Answer::status(304),
        _ => Answer::ok("new").with("ETag", "\"2\"").with("Last-Modified", "then"),
    });
    let url = server.url("/x");
    let asked = Download { url: &url, etag: Some("\"1\""), last_modified: Some("before"), ..PLAIN };
    assert_eq!(download(&asked).unwrap(), Downloaded::NotModified);
    assert_eq!(server.requests()[0].header("if-modified-since"), "before");
    let expected = Downloaded::File {
        value: "new".to_owned(),
        etag: Some("\"2\"".to_owned()),
        last_modified: Some("then".to_owned()),
    };
    assert_eq!(download(&Download { etag: None, ..asked }).unwrap(), expected);
}

// B-219
#[test]
fn a_file_has_a_limit() {
    let server = Server::start(|request| match request.path.as_str() {
        "/lie" => Answer { length: Some(1 << 30), ..Answer::ok("x") },
        _ => Answer::ok("content"),
    });
    let at = |path: &str, limit| text(&Download { url: &server.url(path), limit, ..PLAIN });
    assert_eq!(at("/x", 7), "content");
    assert!(at("/x", 6).contains("larger than 6 bytes"));
    assert!(at("/lie", 1000).contains("larger than 1000 bytes"));
}

#[test]
fn a_download_is_stopped() {
    let server = Server::start(|_| Answer::ok("content"));
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let client = client().stopped_by(move || flag.load(Ordering::SeqCst));
    let url = server.url("/x");
    let result = client.download(&Download { url: &url, ..PLAIN }, &mut |content| {
        stopped.store(true, Ordering::SeqCst);
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        Ok::<_, RegistryError>(text)
    });
    assert!(matches!(result, Err(RegistryError::Stopped)), "{result:?}");
    assert_eq!(server.asked(), ["GET /x"]);
}
