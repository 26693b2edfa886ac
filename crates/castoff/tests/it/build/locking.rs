//! `castoff.lock` for files and repositories, and what becomes of a broken one.

use castoff_oci::Digest;

use super::kit::Kit;
use super::repository::Repositories;
use crate::server::{Answer, Server};

// D-235, D-243
#[test]
fn a_locked_file_is_what_it_was_or_an_error() {
    let kit = Kit::new();
    let server = Server::start(|request| Answer::ok(format!("content {}", request.nth)));
    let url = server.url("/file");
    let text = format!("FROM scratch\nADD {url} /\n");
    kit.write("context/Dockerfile", &text);
    assert_eq!(
        kit.castoff(&["update", "context"]).succeeds().text(),
        format!("{url}: {}\n", Digest::of(b"content 0"))
    );
    let lock = kit.read("context/castoff.lock");
    assert!(
        lock.ends_with(&format!("[[file]]\nurl = \"{url}\"\ndigest = \"{}\"\n", Digest::of(b"content 0")))
    );
    // What the store has under the digest is not asked for.
    assert_eq!(kit.files(&text, &["--locked"]).text("file"), "content 0");
    assert_eq!(server.requests().len(), 1);
    kit.build(&text, &["--progress=plain"]).succeeds().says(&format!("{url} (pinned by castoff.lock)"));
    let other = kit.another();
    other.write("context/castoff.lock", &lock);
    other
        .build(&text, &[])
        .fails()
        .says("digest mismatch")
        .says(&format!("hint: castoff.lock says what it was; `castoff update --only {url}`"));
    assert_eq!(other.files(&text, &["--no-lock"]).text("file"), "content 2");
    let more = format!("{text}ADD {} /\n", server.url("/more"));
    kit.build(&more, &["--locked"]).fails().says("/more` is not in castoff.lock").says("Dockerfile:3");
    kit.build(&more, &[]).succeeds();
    let checked = format!("{text}ADD --checksum={} {url} /again\n", Digest::of(b"content 0"));
    kit.build(&checked, &["--locked"]).succeeds();
}

// D-239, D-316, B-072
#[test]
fn a_locked_tree_is_the_commit_that_it_was() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("x.git", &[]);
    let first = repositories.commit("x.git", &[("file", "first")]);
    let server = repositories.serve(|_| true);
    let url = server.url("/x.git");
    let text = format!("FROM scratch\nADD {url}#main /d/\nCOPY --from=src file /\n");
    kit.write("context/Dockerfile", &text);
    let context = format!("src={url}");
    let with = ["--build-context", &context];
    kit.castoff(&[&["update"], &with[..], &["context"]].concat()).succeeds();
    let lock = kit.read("context/castoff.lock");
    assert_eq!(lock.matches(&first).count(), 2, "{lock}");
    repositories.commit("x.git", &[("file", "second")]);
    for flags in [&["--locked"][..], &[]] {
        let files = kit.files(&text, &[&with[..], flags].concat());
        assert_eq!((files.text("d/file"), files.text("file")), ("first", "first"));
    }
    let files = kit.files(&text, &[&with[..], &["--no-lock"]].concat());
    assert_eq!((files.text("d/file"), files.text("file")), ("second", "second"));
    let other = format!("src={url}#refs/heads/main");
    kit.build(&text, &["--build-context", &other, "--locked"]).fails().says("is not in castoff.lock");
    // A repository brings the lock of its Dockerfile along.
    let own = format!("FROM scratch\nADD {url}#main /d/\n");
    repositories.init("own.git", &[]);
    repositories.commit("own.git", &[("Dockerfile", &own), ("castoff.lock", &lock)]);
    let own = server.url("/own.git");
    kit.castoff(&["build", "--locked", "-o", "out", &own]).succeeds();
    assert_eq!(kit.read("out/d/file"), "first");
    kit.castoff(&["update", &own]).fails().says("`--lockfile` says");
}

#[test]
fn a_broken_lock_is_shown_where_it_is_broken() {
    let kit = Kit::new();
    kit.write(
        "context/castoff.lock",
        "version = 1\n\n[[image]]\nname = \"debian:13\"\ndigest = \"sha256:1\"\n",
    );
    let text = "FROM scratch\nLABEL a=b\n";
    kit.build(text, &[])
        .fails()
        .says("castoff.lock:5")
        .says("^^^^^^^^^^")
        .says("`sha256:1` is not a digest")
        .says("hint: `castoff update` writes it anew; `--no-lock` does without");
    kit.build(text, &["--no-lock"]).succeeds();
    kit.build(text, &["--lockfile", "other.lock"]).fails().says("there is no other.lock");
    kit.build(text, &["--lockfile", "other.lock", "--no-lock"]).fails().says("cannot be used with");
    kit.castoff(&["update", "--check", "context"]).fails().says("it is written anew");
    kit.castoff(&["update", "context"]).succeeds().says("wrote castoff.lock");
    kit.build(text, &["--locked"]).succeeds();
    kit.castoff(&["update", "context"]).succeeds().says("is up to date");
    kit.castoff(&["--offline", "update", "context"]).fails().says("castoff is offline");
    kit.castoff_reading(&["build", "--locked", "-"], text.as_bytes())
        .fails()
        .says("the Dockerfile is no file");
}
