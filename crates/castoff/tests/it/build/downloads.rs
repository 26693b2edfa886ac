//! ADD of files over HTTP, from a server on this machine's loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_oci::Digest;

use super::kit::Kit;
use crate::server::{Answer, Server};

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

/// Returns a tar with one file, compressed.
fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o640);
    header.set_uid(7);
    header.set_gid(8);
    tar.append_data(&mut header, "in/side", &b"packed"[..]).unwrap();
    let mut packed = Vec::new();
    let options = castoff_layer::CompressOptions {
        compression: castoff_layer::Compression::Gzip,
        level: None,
        threads: 1,
    };
    castoff_layer::compress(&mut tar.into_inner().unwrap().as_slice(), &mut packed, options).unwrap();
    packed
}

// D-235, D-236, D-234, D-244
#[test]
fn a_file_is_added_under_its_name() {
    let kit = Kit::new();
    let server = Server::start(|request| match request.path.as_str() {
        "/d/moved" => Answer::status(301).with("Location", "/other"),
        "/gone" => Answer::status(410),
        "/a.tgz" => Answer::ok(archive()),
        _ => Answer::ok("content").with("Last-Modified", THEN),
    });
    kit.write("context/local.tgz", archive());
    let url = |path: &str| server.url(path);
    let text = format!(
        "FROM scratch\n\
         ADD {} /named\n\
         ADD {} /dir/\n\
         ADD --chmod=755 --chown=1:2 {} /dir\n\
         ADD {} /dir/\n\
         ADD {} local.tgz /mixed/\n\
         ADD --unpack=true {} /unpacked\n",
        url("/"),
        url("/d/moved?x=/y#z"),
        url("/%2a%5B%5c"),
        url("/empty.txt"),
        url("/a.tgz"),
        url("/a.tgz"),
    );
    let files = kit.files(&text, &[]);
    assert_eq!((files.text("named"), files.look("named")), ("content", "-0600 0:0".into()));
    assert_eq!(files.get("named").mtime, 784_111_777);
    assert_eq!(files.look("dir/moved"), "-0600 0:0");
    assert_eq!(files.look("dir/*[\\"), "-0755 1:2");
    // Local archives are unpacked, others are not, unless it is asked for.
    assert_eq!(files.get("mixed/a.tgz").content, archive());
    assert_eq!(files.get("mixed/a.tgz").mtime, 0);
    assert_eq!(files.look("mixed/in/side"), "-0640 7:8");
    assert_eq!(files.text("unpacked/in/side"), "packed");

    let text = format!("FROM scratch\nADD {} /x\n", url("/gone"));
    kit.build(&text, &[]).fails().says("status 410").says("Dockerfile:2");
    let text = format!("FROM scratch\nADD {} /x/\n", url("/"));
    kit.build(&text, &[]).fails().says("cannot tell the name of the file");
    let text = format!("FROM scratch\nADD {} /x/\nADD {} /x\n", url("/y"), url("/"));
    kit.build(&text, &[]).fails().says("the URL has no file name");
}

// D-237, D-315
#[test]
fn a_file_that_is_still_the_same_is_not_fetched_again() {
    let kit = Kit::new();
    let version = Arc::new(AtomicUsize::new(0));
    let served = Arc::clone(&version);
    let server = Server::start(move |request| {
        let (tag, time, content) = match served.load(Ordering::SeqCst) {
            0 => ("\"0\"", THEN, "one"),
            // The same content, and newer.
            1 => ("\"1\"", LATER, "one"),
            _ => ("\"2\"", LATER, "two"),
        };
        if request.header("if-none-match") == tag {
            return Answer::status(304);
        }
        Answer::ok(content).with("ETag", tag).with("Last-Modified", time)
    });
    let url = server.url("/d/file?query");
    let text = format!("FROM scratch\nADD {url} /\n");
    let instruction = format!("ADD {url} /");
    let flags = ["--progress=plain"];
    let build = || kit.build(&text, &flags).succeeds();
    assert_eq!(build().executed(), [&instruction]);
    let again = build();
    assert_eq!(again.cached(), [&instruction]);
    assert_eq!(server.requests().len(), 2);
    // The time is part of the key.
    version.store(1, Ordering::SeqCst);
    assert_eq!(build().executed(), [&instruction]);
    assert_eq!(kit.files(&text, &[]).get("file").mtime, 784_111_777 + 86_400);
    // The content is, the rest of the address is not.
    let elsewhere = format!("FROM scratch\nADD {} /\n", server.url("/elsewhere/file"));
    assert_eq!(kit.build(&elsewhere, &flags).succeeds().executed(), [""; 0]);
    version.store(2, Ordering::SeqCst);
    let changed = build();
    assert_eq!(changed.executed(), [&instruction]);
    assert_eq!(kit.files(&text, &[]).text("file"), "two");
}

// D-243
#[test]
fn a_checksum_is_checked_and_saves_the_download() {
    let kit = Kit::new();
    let server = Server::start(|request| match request.nth {
        0 => Answer::ok("content").with("Last-Modified", THEN),
        _ => Answer::status(500),
    });
    let digest = Digest::of(b"content");
    let url = server.url("/file");
    let text = format!("FROM scratch\nARG SUM={digest}\nADD --checksum=$SUM {url} /\n");
    assert_eq!(kit.files(&text, &[]).text("file"), "content");
    let files = kit.files(&text, &["--no-cache"]);
    assert_eq!((files.text("file"), files.get("file").mtime), ("content", 784_111_777));
    assert_eq!(server.requests().len(), 1);

    let other = Server::start(|_| Answer::ok("another content"));
    let text = format!("FROM scratch\nADD --checksum={digest} {} /\n", other.url("/file"));
    let other_kit = Kit::new();
    let actual = Digest::of(b"another content");
    other_kit.build(&text, &[]).fails().says(&format!("expected {digest} and got {actual}"));
    for (checksum, sources, expected) in [
        ("md5:0123", "http://127.0.0.1/x", "invalid checksum `md5:0123`"),
        ("sha256:0123", "http://127.0.0.1/x", "invalid checksum `sha256:0123`"),
        ("sha256:0", "local", "checksum requires HTTP(S) or Git sources"),
        (
            "sha256:0",
            "http://127.0.0.1/x http://127.0.0.1/y",
            "checksum can't be specified for multiple sources",
        ),
    ] {
        let text = format!("FROM scratch\nADD --checksum={checksum} {sources} /x/\n");
        kit.build(&text, &[]).fails().says(expected);
    }
}

// D-238, B-067, B-221
#[test]
fn credentials_are_sent_to_their_host_and_shown_to_nobody() {
    let kit = Kit::new();
    let elsewhere = Server::start(|_| Answer::ok("public"));
    let away = elsewhere.url("/x");
    let server =
        Server::start(move |request| match (request.path.as_str(), request.header("authorization")) {
            ("/token", "Bearer t0ken-value") => Answer::status(302).with("Location", &away),
            ("/header", "Own h3ader-value") => Answer::ok("header"),
            ("/login", "Basic dXNlcjpwYXNzdzByZA==") => Answer::ok("login"),
            _ => Answer::status(401),
        });
    kit.write("token", "t0ken-value\n");
    kit.write("header", "Own h3ader-value");
    let host = server.host();
    let secret = |name: &str, file: &str| format!("--secret=id={name}_{host},src={file}");
    let (token, header) = (secret("HTTP_AUTH_TOKEN", "token"), secret("HTTP_AUTH_HEADER", "header"));
    let added = |path: &str| format!("FROM scratch\nADD {} /f\n", server.url(path));
    let with_progress = ["--progress=plain", token.as_str()];
    kit.build(&added("/token"), &with_progress).succeeds().never_says("t0ken-value");
    assert_eq!(elsewhere.requests()[0].header("authorization"), "");
    kit.build(&added("/header"), &["--progress=plain", &header]).succeeds().never_says("h3ader");
    kit.build(&added("/header"), &[]).fails().says("access denied with status 401");

    let text = format!("FROM scratch\nADD http://user:passw0rd@{host}/login /f\n");
    let done = kit.build(&text, &["--progress=plain", "-t", "it"]).succeeds().never_says("passw0rd");
    assert!(done.stderr.contains(&format!("ADD http://xxxxx:xxxxx@{host}/login /f")), "{}", done.stderr);
    assert!(kit.history("it")[0].contains("xxxxx:xxxxx@"), "{:?}", kit.history("it"));
    let plan = kit.castoff(&["plan", "context"]).succeeds();
    assert!(!plan.text().contains("passw0rd"), "{}", plan.text());
    let wrong = format!("FROM scratch\nADD http://user:passw0rd@{host}/none /f\n");
    kit.build(&wrong, &[]).fails().never_says("passw0rd");
    for secret in ["passw0rd", "t0ken-value", "h3ader-value"] {
        assert!(kit.containing("store", secret.as_bytes()).is_empty(), "{secret}");
    }
}

// B-081, B-223
#[test]
fn a_body_that_breaks_off_is_asked_for_again() {
    let kit = Kit::new();
    let server = Server::start(|request| match request.nth {
        0 => Answer::ok("content").cut(3),
        _ => Answer::ok("content"),
    });
    let text = format!("FROM scratch\nADD {} /f\n", server.url("/x"));
    assert_eq!(kit.files(&text, &[]).text("f"), "content");
    assert_eq!(server.asked(), ["GET /x", "GET /x"]);
}
