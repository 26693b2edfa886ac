//! Pushing: what is there already, mounts, chunks, and what goes on after a break.

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_oci::{Descriptor, Digest, MediaType};
use castoff_registry::{Client, Config, Push, Pushed, RegistryError};

use crate::kit::{client, config, content, descriptor};
use crate::repository::Repository;
use crate::server::{Answer, Server};

/// Chunks of this size, so that a few make a blob.
const CHUNK: usize = 1000;

fn chunked() -> Config {
    let mut config = config();
    config.chunk = CHUNK as u64;
    config
}

fn push(client: &Client, repository: &Repository, bytes: &[u8]) -> Result<Pushed, RegistryError> {
    push_as(client, repository, &descriptor(bytes), bytes, None)
}

fn push_as(
    client: &Client,
    repository: &Repository,
    descriptor: &Descriptor,
    bytes: &[u8],
    from: Option<&str>,
) -> Result<Pushed, RegistryError> {
    let reference = repository.server.reference(":1");
    let from = from.map(|name| format!("{}/{name}", repository.server.host()).parse().unwrap());
    let bytes = bytes.to_vec();
    let open = move |offset: u64| -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(bytes[usize::try_from(offset).unwrap()..].to_vec())))
    };
    let mut sent = |_| {};
    client.push_blob(&reference, Push { descriptor, mount_from: from.as_ref(), open: &open, sent: &mut sent })
}

// B-082
#[test]
fn a_small_blob_goes_in_one_piece() {
    let repository = Repository::start();
    let bytes = content(5000);
    assert_eq!(push(&client(), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
    assert_eq!(repository.asked(), ["HEAD blobs/", "POST blobs/uploads/", "PUT blobs/uploads/1"]);
    assert_eq!(push(&client(), &repository, &bytes).unwrap(), Pushed::Present);
    assert_eq!(repository.asked().len(), 4);
    assert_eq!(push(&client(), &repository, b"").unwrap(), Pushed::Sent);
    assert!(repository.has(b""));
}

// B-082
#[test]
fn a_large_blob_goes_in_chunks() {
    let repository = Repository::start();
    let bytes = content(2500);
    assert_eq!(push(&Client::new(chunked()), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
    assert_eq!(
        repository.asked()[2..],
        [
            "PATCH blobs/uploads/1 0-999",
            "PATCH blobs/uploads/1 1000-1999",
            "PATCH blobs/uploads/1 2000-2499",
            "PUT blobs/uploads/1"
        ]
    );
}

// B-082
#[test]
fn a_registry_says_how_large_a_chunk_is_at_least() {
    let repository = Repository::with(|request, content| {
        (request.method == "POST").then(|| content.answer(request).with("OCI-Chunk-Min-Length", "2000"))
    });
    let bytes = content(2500);
    push(&Client::new(chunked()), &repository, &bytes).unwrap();
    assert!(repository.asked().contains(&"PATCH blobs/uploads/1 0-1999".to_owned()));
}

// B-082: what one repository has is mounted into another.
#[test]
fn a_blob_of_another_repository_is_mounted() {
    let repository = Repository::start();
    let bytes = content(5000);
    let digest = Digest::of(&bytes).to_string();
    repository.content.lock().unwrap().elsewhere.push(digest);
    let pushed = push_as(&client(), &repository, &descriptor(&bytes), &bytes, Some("y"));
    assert_eq!(pushed.unwrap(), Pushed::Mounted);
    assert_eq!(repository.asked(), ["HEAD blobs/", "POST blobs/uploads/?mount"]);
    // What cannot be mounted is sent, with no request in vain.
    let other = content(4000);
    let pushed = push_as(&client(), &repository, &descriptor(&other), &other, Some("y"));
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    assert_eq!(repository.asked()[2..], ["HEAD blobs/", "POST blobs/uploads/?mount", "PUT blobs/uploads/1"]);
}

// B-082
#[test]
fn a_mount_that_is_refused_is_an_upload() {
    for status in [401, 403, 404, 405] {
        let repository = Repository::with(move |request, _| {
            request.path.contains("mount=").then(|| Answer::status(status))
        });
        let bytes = content(100);
        let pushed = push_as(&client(), &repository, &descriptor(&bytes), &bytes, Some("y"));
        assert_eq!(pushed.unwrap(), Pushed::Sent, "{status}");
    }
}

// B-081: the registry has the chunk though its answer was lost.
#[test]
fn an_upload_goes_on_where_the_registry_has_it_to() {
    let repository = Repository::with(|request, content| {
        let second = request.header("content-range").starts_with("1000-");
        if !second {
            return None;
        }
        // Half of it arrives.
        content.uploads.get_mut(&1).unwrap().extend(&request.body[..500]);
        Some(Answer::nothing())
    });
    let bytes = content(3000);
    assert_eq!(push(&Client::new(chunked()), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
    assert_eq!(
        repository.asked()[3..],
        [
            "PATCH blobs/uploads/1 1000-1999",
            "GET blobs/uploads/1",
            "PATCH blobs/uploads/1 1500-2499",
            "PATCH blobs/uploads/1 2500-2999",
            "PUT blobs/uploads/1"
        ]
    );
}

// B-081
#[test]
fn an_upload_that_is_forgotten_begins_anew() {
    let repository = Repository::with(|request, content| {
        let second = request.header("content-range").starts_with("1000-");
        if second && content.uploads.remove(&1).is_some() {
            return Some(Answer::nothing());
        }
        None
    });
    let bytes = content(2500);
    assert_eq!(push(&Client::new(chunked()), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
    let asked = repository.asked();
    assert_eq!(asked[4..7], ["GET blobs/uploads/1", "HEAD blobs/", "POST blobs/uploads/"], "{asked:?}");
}

// B-081: nothing is sent twice when only the last answer is lost.
#[test]
fn a_blob_whose_last_answer_was_lost_is_there() {
    let repository = Repository::with(|request, content| {
        (request.method == "PUT").then(|| {
            content.answer(request);
            Answer::nothing()
        })
    });
    let bytes = content(800);
    assert_eq!(push(&client(), &repository, &bytes).unwrap(), Pushed::Sent);
    assert_eq!(
        repository.asked(),
        ["HEAD blobs/", "POST blobs/uploads/", "PUT blobs/uploads/1", "GET blobs/uploads/1", "HEAD blobs/"]
    );
}

// B-082: the distribution specification lets a registry take blobs in one piece only.
#[test]
fn a_registry_without_chunks_gets_blobs_whole() {
    for status in [400, 405, 416, 501] {
        let repository =
            Repository::with(move |request, _| (request.method == "PATCH").then(|| Answer::status(status)));
        let client = Client::new(chunked());
        for length in [2500, 3500] {
            let bytes = content(length);
            assert_eq!(push(&client, &repository, &bytes).unwrap(), Pushed::Sent, "{status}");
            assert!(repository.has(&bytes));
        }
        // It is learned once.
        let patches = repository.asked().iter().filter(|asked| asked.starts_with("PATCH")).count();
        assert_eq!(patches, 1, "{status}");
    }
}

// B-081
#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let repository = Repository::with(|request, _| {
        (request.nth < 2).then(|| Answer::status(429).with("Retry-After", "0"))
    });
    let bytes = content(2500);
    assert_eq!(push(&Client::new(chunked()), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
}

// B-081: what never works ends, in the registry's own words, and nothing is left there.
#[test]
fn a_failing_upload_ends_with_the_words_of_the_registry() {
    let repository = Repository::with(|request, _| {
        let text = r#"{"errors":[{"code":"UNKNOWN","message":"disk full","detail":{"volume":"/var"}}]}"#;
        (request.method == "PATCH").then(|| Answer::ok(text).at(500))
    });
    let error = push(&Client::new(chunked()), &repository, &content(2500)).unwrap_err().to_string();
    let expected = "status 500: UNKNOWN: disk full (volume /var)";
    assert!(error.ends_with(expected), "{error}");
    let patches = repository.asked().iter().filter(|asked| asked.starts_with("PATCH")).count();
    assert_eq!(patches, 5);
    assert!(repository.content.lock().unwrap().uploads.is_empty());
}

// B-220: damage is found before the registry has all of it.
#[test]
fn a_damaged_blob_is_not_pushed() {
    for config in [config(), chunked()] {
        let repository = Repository::start();
        let (good, mut bad) = (content(2500), content(2500));
        bad[2400] ^= 1;
        let error = push_as(&Client::new(config), &repository, &descriptor(&good), &bad, None).unwrap_err();
        assert!(matches!(error, RegistryError::Damaged { .. }), "{error}");
        let asked = repository.asked();
        assert!(!asked.iter().any(|asked| asked.starts_with("GET")), "{asked:?}");
        assert!(repository.content.lock().unwrap().blobs.is_empty());
    }
}

#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    let storage = Repository::start();
    let to = storage.server.host();
    let repository = Repository::with(move |request, content| {
        if request.header("authorization") != "Basic bmFtZTp3b3Jk" {
            return Some(Answer::status(401).with("WWW-Authenticate", "Basic realm=\"here\""));
        }
        if request.method != "POST" {
            return None;
        }
        content.answer(request);
        let location = format!("http://{to}/v2/x/blobs/uploads/1?signature=s");
        Some(Answer::status(202).with("Location", &location))
    });
    storage.content.lock().unwrap().uploads.insert(1, Vec::new());
    let entry = format!(r#"{{"auths":{{"{}":{{"auth":"bmFtZTp3b3Jk"}}}}}}"#, repository.server.host());
    let bytes = content(500);
    push(&Client::new(config().with_credentials(&entry).unwrap()), &repository, &bytes).unwrap();
    assert!(storage.has(&bytes));
    let shown = storage.server.requests();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].header("authorization"), "");
    assert!(shown[0].path.contains("signature=s&digest="), "{}", shown[0].path);
}

#[test]
fn a_redirect_of_an_upload_gets_the_bytes_and_no_credentials() {
    let storage = Repository::start();
    storage.content.lock().unwrap().uploads.insert(1, Vec::new());
    let to = storage.server.host();
    let repository = Repository::with(move |request, _| {
        if request.header("authorization").is_empty() {
            return Some(Answer::status(401).with("WWW-Authenticate", "Basic realm=\"here\""));
        }
        (request.method == "PUT")
            .then(|| Answer::status(307).with("Location", &format!("http://{to}{}", request.path)))
    });
    let entry = format!(r#"{{"auths":{{"{}":{{"auth":"bmFtZTp3b3Jk"}}}}}}"#, repository.server.host());
    let bytes = content(500);
    push(&Client::new(config().with_credentials(&entry).unwrap()), &repository, &bytes).unwrap();
    assert!(storage.has(&bytes));
    assert_eq!(storage.server.requests()[0].header("authorization"), "");
}

// B-086: a token that ends in the middle of an upload is replaced; one that is known to end is not shown.
#[test]
fn a_token_that_expires_while_uploading_is_replaced() {
    let tokens = AtomicUsize::new(0);
    let uses = AtomicUsize::new(0);
    let repository = Repository::with(move |request, _| {
        if request.path.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Some(Answer::ok(format!(r#"{{"token":"t{number}"}}"#)));
        }
        let current = format!("Bearer t{}", tokens.load(Ordering::SeqCst).wrapping_sub(1));
        if request.header("authorization") == current && uses.fetch_add(1, Ordering::SeqCst) % 3 != 2 {
            return None;
        }
        let realm = format!(
            "Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:x:pull\"",
            request.header("host")
        );
        Some(Answer::status(401).with("WWW-Authenticate", &realm))
    });
    let bytes = content(5500);
    assert_eq!(push(&Client::new(chunked()), &repository, &bytes).unwrap(), Pushed::Sent);
    assert!(repository.has(&bytes));
    let tokens: Vec<_> =
        repository.server.asked().into_iter().filter(|asked| asked.contains("/token")).collect();
    assert!(tokens.len() > 2, "{tokens:?}");
    // Writing was asked for at once.
    assert_eq!(tokens[0], "GET /token?scope=repository%3Ax%3Apull%2Cpush&service=s");
}

// B-086
#[test]
fn a_token_that_is_about_to_expire_is_not_shown() {
    let tokens = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Answer::ok(format!(r#"{{"token":"t{number}","expires_in":2}}"#));
        }
        match request.header("authorization") {
            "" => Answer::status(401).with(
                "WWW-Authenticate",
                &format!("Bearer realm=\"http://{}/token\"", request.header("host")),
            ),
            _ => Answer::status(201),
        }
    });
    let client = client();
    for tag in [":1", ":2", ":3"] {
        client.push_manifest(&server.reference(tag), &MediaType::OciManifest, b"{}").unwrap();
    }
    let shown: Vec<String> =
        server.requests().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(shown, ["", "", "Bearer t0", "", "Bearer t1", "", "Bearer t2"]);
}

// B-086
#[test]
fn a_mount_asks_for_both_repositories() {
    let repository = Repository::with(|request, _| {
        if request.path.starts_with("/token") {
            return Some(Answer::ok(r#"{"token":"t"}"#));
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
        let denied = || Answer::status(401).with("WWW-Authenticate", &realm);
        (request.header("authorization") != "Bearer t").then(denied)
    });
    let bytes = content(100);
    push_as(&client(), &repository, &descriptor(&bytes), &bytes, Some("y")).unwrap();
    let asked = repository.server.asked();
    let both = "GET /token?scope=repository%3Ax%3Apull%2Cpush&scope=repository%3Ay%3Apull";
    assert!(asked.iter().any(|asked| asked == both), "{asked:?}");
}

// B-083
#[test]
fn a_manifest_is_put_under_its_tag_and_its_digest() {
    let repository = Repository::start();
    let reference = repository.server.reference(":1");
    let manifest = br#"{"schemaVersion":2}"#;
    client().push_manifest(&reference, &MediaType::OciManifest, manifest).unwrap();
    let digest = Digest::of(manifest);
    client().push_manifest(&reference.with_digest(digest), &MediaType::OciIndex, manifest).unwrap();
    let content = repository.content.lock().unwrap();
    assert_eq!(content.manifests["1"], (MediaType::OciManifest.to_string(), manifest.to_vec()));
    assert_eq!(content.manifests[&digest.to_string()].0, MediaType::OciIndex.to_string());
    let other = reference.with_digest(Digest::of(b"other"));
    let error = client().push_manifest(&other, &MediaType::OciIndex, manifest).unwrap_err();
    assert!(matches!(error, RegistryError::Damaged { .. }), "{error}");
}

// B-220
#[test]
fn a_registry_that_took_something_else_is_not_believed() {
    let wrong = Digest::of(b"something else").to_string();
    let repository = Repository::with(move |request, content| {
        (request.method == "PUT").then(|| {
            let mut answer = content.answer(request);
            answer.headers.retain(|(name, _)| name != "Docker-Content-Digest");
            answer.with("Docker-Content-Digest", &wrong)
        })
    });
    let error = push(&client(), &repository, b"blob").unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    let reference = repository.server.reference(":1");
    let error = client().push_manifest(&reference, &MediaType::OciManifest, b"{}").unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
}

// B-088: mirrors are for reading.
#[test]
fn a_mirror_is_not_written_to() {
    let (mirror, repository) = (Repository::start(), Repository::start());
    let (of_mirror, host) = (mirror.server.host(), repository.server.host());
    let table =
        format!("[[registry]]\nlocation = \"{host}\"\n[[registry.mirror]]\nlocation = \"{of_mirror}\"\n");
    let client = Client::new(config().with_registries(&table).unwrap());
    let bytes = content(100);
    push(&client, &repository, &bytes).unwrap();
    client.push_manifest(&repository.server.reference(":1"), &MediaType::OciManifest, b"{}").unwrap();
    assert_eq!(mirror.asked(), Vec::<String>::new());
    assert!(repository.has(&bytes));
}

#[test]
fn tags_are_listed_page_by_page() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/x/tags/list" => Answer::ok(r#"{"name":"x","tags":["1","2"]}"#)
            .with("Link", "</v2/x/tags/list?n=2&last=2>; rel=\"next\""),
        "/v2/x/tags/list?n=2&last=2" => Answer::ok(r#"{"name":"x","tags":["3"]}"#),
        _ => Answer::ok(r#"{"name":"x","tags":null}"#),
    });
    assert_eq!(client().tags(&server.reference("")).unwrap(), ["1", "2", "3"]);
    let none = format!("{}/none", server.host()).parse().unwrap();
    assert_eq!(client().tags(&none).unwrap(), Vec::<String>::new());
}

#[test]
fn a_list_of_tags_without_an_end_is_refused() {
    let page = format!(r#"{{"tags":["{}"]}}"#, "x".repeat(3 << 20));
    let server = Server::start(move |_| {
        Answer::ok(page.as_str()).with("Link", "</v2/x/tags/list?last=x>; rel=\"next\"")
    });
    let error = client().tags(&server.reference("")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert_eq!(server.requests().len(), 22);
}
