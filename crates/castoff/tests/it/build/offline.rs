//! Builds that may use no network: files and repositories are those of the last time.

use super::kit::Kit;
use super::repository::Repositories;
use crate::server::{Answer, Server};

const OFFLINE: &[&str] = &["--offline"];

// D-237, D-243
#[test]
fn a_file_is_the_one_that_was_fetched() {
    let kit = Kit::new();
    let server = Server::start(|request| Answer::ok(format!("content {}", request.nth)));
    let url = server.url("/file");
    let text = format!("FROM scratch\nADD {url} /\n");
    kit.build(&text, OFFLINE)
        .fails()
        .says(&format!("{url}: the store does not have it, and castoff is offline"))
        .says("Dockerfile:2")
        .says("hint: one build without --offline puts it into the store");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(kit.files(&text, &[]).text("file"), "content 0");
    assert_eq!(kit.files(&text, OFFLINE).text("file"), "content 0");
    assert_eq!(kit.files(&text, &[OFFLINE, &["--no-cache"]].concat()).text("file"), "content 0");
    assert_eq!(server.requests().len(), 1);
    let other = castoff_oci::Digest::of(b"another");
    kit.build(&format!("FROM scratch\nADD --checksum={other} {url} /\n"), OFFLINE)
        .fails()
        .says("castoff is offline");
    let known = castoff_oci::Digest::of(b"content 0");
    let elsewhere = server.url("/elsewhere");
    let text = format!("FROM scratch\nADD --checksum={known} {elsewhere} /\n");
    assert_eq!(kit.files(&text, OFFLINE).text("elsewhere"), "content 0");
    assert_eq!(server.requests().len(), 1);
}

// D-239, D-316, B-063
#[test]
fn a_reference_leads_to_where_it_led() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("x.git", &[]);
    let first = repositories.commit("x.git", &[("file", "first")]);
    let server = repositories.serve(|_| true);
    let text = |rest: &str| format!("FROM scratch\nADD {}{rest} /d/\n", server.url("/x.git"));
    let offline = |rest: &str| kit.files(&text(rest), OFFLINE).text("d/file").to_owned();
    kit.build(&text("#main"), OFFLINE).fails().says("x.git#main: the store does not have it");
    assert_eq!(kit.files(&text("#main"), &[]).text("d/file"), "first");
    repositories.commit("x.git", &[("file", "second")]);
    let asked = server.requests().len();
    assert_eq!(offline("#main"), "first");
    assert_eq!(offline(&format!("#{first}")), "first");
    // HEAD was never asked for, and a commit that was never fetched is not there.
    kit.build(&text(""), OFFLINE).fails().says("x.git#HEAD: the store does not have it");
    kit.build(&text(&format!("#{}", "1".repeat(40))), OFFLINE).fails().says("the store does not have it");
    assert_eq!(server.requests().len(), asked);
    assert_eq!(kit.files(&text("#main"), &[]).text("d/file"), "second");
    assert_eq!(offline("#main"), "second");
    // The same for a context.
    let context = server.url("/x.git#main");
    repositories.commit("x.git", &[("Dockerfile", "FROM scratch\nCOPY file /\n")]);
    kit.castoff(&["build", "--offline", &context]).fails().says("no such file");
    kit.castoff(&["build", &context]).succeeds();
    let asked = server.requests().len();
    kit.castoff(&["build", "--offline", &context]).succeeds();
    assert_eq!(server.requests().len(), asked);
}
