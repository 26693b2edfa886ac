//! Blobs: verified, resumed, redirected.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_registry::Client;

use crate::kit::{blob, client, config, content, descriptor, fetch};
use crate::server::{Answer, Request, Server};

/// Fetches 100 KB from a server and checks the result; returns the Range headers of the requests.
#[track_caller]
fn check(
    answer: impl Fn(&Request, &[u8]) -> Answer + Send + Sync + 'static,
    expected: Result<(), &str>,
) -> Vec<String> {
    let all = content(100_000);
    let served = all.clone();
    let server = Server::start(move |request| answer(request, &served));
    match (fetch(&client(), &server.reference(":1"), &descriptor(&all)), expected) {
        (Ok(bytes), Ok(())) => assert!(bytes == all),
        (Err(said), Err(part)) => assert!(said.contains(part), "{said}"),
        (result, _) => panic!("{:?}", result.map(|bytes| bytes.len())),
    }
    server.requests().iter().map(|request| request.header("range").to_owned()).collect()
}

#[test]
fn a_blob_comes_whole() {
    assert_eq!(check(blob, Ok(())), [""]);
    let server = Server::start(|request| blob(request, b""));
    assert_eq!(fetch(&client(), &server.reference(""), &descriptor(b"")).unwrap(), b"");
    let digest = descriptor(b"").digest;
    assert_eq!(server.asked(), [format!("GET /v2/x/blobs/{digest}")]);
}

// B-081
#[test]
fn an_interrupted_blob_goes_on_where_it_stopped() {
    let breaking = |request: &Request, all: &[u8]| match request.nth {
        0 => blob(request, all).cut(40_000),
        1 => blob(request, all).cut(30_000),
        _ => blob(request, all),
    };
    assert_eq!(check(breaking, Ok(())), ["", "bytes=40000-", "bytes=70000-"]);
    // Failures between the parts are asked again on their own account.
    let failing = |request: &Request, all: &[u8]| match request.nth {
        0 => blob(request, all).cut(40_000),
        1 | 2 => Answer::status(500),
        _ => blob(request, all),
    };
    assert_eq!(check(failing, Ok(())), ["", "bytes=40000-", "bytes=40000-", "bytes=40000-"]);
}

// B-081
#[test]
fn a_server_without_ranges_starts_over() {
    let breaking = |request: &Request, all: &[u8]| {
        if request.nth == 0 { Answer::ok(all).cut(40_000) } else { Answer::ok(all) }
    };
    assert_eq!(check(breaking, Ok(())), ["", "bytes=40000-"]);
    // And breaks again before the place is reached.
    let twice = |request: &Request, all: &[u8]| match request.nth {
        0 => Answer::ok(all).cut(40_000),
        1 => Answer::ok(all).cut(10_000),
        _ => Answer::ok(all),
    };
    assert_eq!(check(twice, Ok(())), ["", "bytes=40000-", "bytes=40000-"]);
}

#[test]
fn another_part_than_the_one_asked_for_is_refused() {
    let lying = |request: &Request, all: &[u8]| match request.nth {
        0 => Answer::ok(all).cut(40_000),
        _ => Answer { status: 206, ..Answer::ok(&all[1..]) }.with("Content-Range", "bytes 1-99999/100000"),
    };
    check(lying, Err("asked for the part from byte 40000 and got `bytes 1-99999/100000`"));
    // One that does not say which part it is is found by the digest.
    let silent = |request: &Request, all: &[u8]| match request.nth {
        0 => Answer::ok(all).cut(40_000),
        _ => Answer { status: 206, ..Answer::ok(all) },
    };
    check(silent, Err("expected digest"));
}

#[test]
fn attempts_end() {
    assert_eq!(check(|_, all| Answer::ok(all).cut(10_000), Err("reading the answer")).len(), 3);
    assert_eq!(check(|_, _| Answer::ok(""), Err("ended after 0 of 100000 bytes")).len(), 3);
    assert_eq!(check(|_, _| Answer::status(404), Err("not found")).len(), 1);
}

// B-080, B-220
#[test]
fn a_wrong_digest_is_refused_at_the_end() {
    let flipped = |_: &Request, all: &[u8]| {
        let mut all = all.to_vec();
        all[99_999] ^= 1;
        Answer::ok(all)
    };
    assert_eq!(check(flipped, Err("expected digest")).len(), 1);
}

#[test]
fn a_wrong_length_is_survived() {
    // Less is announced than there is: the rest is asked for.
    let short = |request: &Request, all: &[u8]| match request.nth {
        0 => Answer { length: Some(60_000), ..Answer::ok(all) },
        _ => blob(request, all),
    };
    assert_eq!(check(short, Ok(())), ["", "bytes=60000-"]);
    // More comes than the manifest says: it is not read.
    let long = |_: &Request, all: &[u8]| Answer::ok([all, b"more"].concat());
    check(long, Ok(()));
    let endless = |_: &Request, all: &[u8]| Answer { length: Some(1 << 40), ..Answer::ok(all) };
    check(endless, Ok(()));
}

/// Returns a server that redirects blobs, and wants a password otherwise.
fn redirecting(to: impl Fn(&Request) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if request.header("authorization") != "Basic bmFtZTp3b3Jk" {
            return Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
        }
        Answer::status(307).with("Location", &to(request))
    })
}

fn client_with_password(server: &Server) -> Client {
    let credentials = format!(r#"{{"auths":{{"{}":{{"auth":"bmFtZTp3b3Jk"}}}}}}"#, server.host());
    Client::new(config().with_credentials(&credentials).unwrap())
}

#[test]
fn the_password_stays_with_the_server_it_is_for() {
    let all = content(100_000);
    let served = all.clone();
    let storage = Server::start(move |request| match request.nth {
        0 => blob(request, &served).cut(40_000),
        _ => blob(request, &served),
    });
    let to = storage.url("/data?signature=1");
    let server = redirecting(move |_| to.clone());
    let client = client_with_password(&server);
    assert!(fetch(&client, &server.reference(""), &descriptor(&all)).unwrap() == all);
    let asked = storage.requests();
    assert_eq!(storage.asked(), ["GET /data?signature=1"; 2]);
    for request in &asked {
        assert_eq!(request.header("authorization"), "");
    }
    // The part that is wanted is wanted there too.
    assert_eq!(asked[1].header("range"), "bytes=40000-");
    // Once without the password, then with it for each request.
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_redirect_within_the_server_keeps_the_password() {
    let server = Server::start(|request| {
        if request.header("authorization") != "Basic bmFtZTp3b3Jk" {
            return Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match request.path.as_str() {
            "/moved/here" => blob(request, b"content"),
            "/moved" => Answer::status(302).with("Location", "moved/here"),
            _ => Answer::status(301).with("Location", "/moved"),
        }
    });
    let client = client_with_password(&server);
    assert_eq!(fetch(&client, &server.reference(""), &descriptor(b"content")).unwrap(), b"content");
}

#[test]
fn whoever_a_redirect_leads_to_gets_no_answer_to_a_challenge() {
    let greedy = Server::start(|_| Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\""));
    let to = greedy.url("/data");
    let server = redirecting(move |_| to.clone());
    let error = fetch(&client_with_password(&server), &server.reference(""), &descriptor(b"x")).unwrap_err();
    assert!(error.contains("status 401"), "{error}");
    assert_eq!(greedy.requests().len(), 1);
    assert_eq!(greedy.requests()[0].header("authorization"), "");
}

#[test]
fn redirects_that_lead_nowhere_are_refused() {
    let check = |to: &'static str, expected: &str| {
        let server = redirecting(move |_| to.to_owned());
        let client = client_with_password(&server);
        let error = fetch(&client, &server.reference(""), &descriptor(b"x")).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    };
    check("/v2/x/circle?signature=1", "/v2/x/circle`");
    check("file:///etc/passwd", "refusing the redirect to `file:///etc/passwd`");
    check("", "/blobs/`");
    let silent = Server::start(|_| Answer::status(302));
    let error = fetch(&client(), &silent.reference(""), &descriptor(b"x")).unwrap_err();
    assert!(error.ends_with("refusing the redirect to ``"), "{error}");
}

// B-086: a token that ends while a blob comes is replaced.
#[test]
fn a_token_that_ends_in_the_middle_is_asked_for_again() {
    let all = content(100_000);
    let served = all.clone();
    let tokens = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            let token = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            return Answer::ok(format!(r#"{{"token":"t{token}"}}"#));
        }
        // The first token is good for the first part only.
        let expected = if request.header("range").is_empty() { "Bearer t1" } else { "Bearer t2" };
        if request.header("authorization") != expected {
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
            return Answer::status(401).with("WWW-Authenticate", &realm);
        }
        let answer = blob(request, &served);
        if request.header("range").is_empty() { answer.cut(40_000) } else { answer }
    });
    let (client, reference) = (client(), server.reference(""));
    assert!(fetch(&client, &reference, &descriptor(&all)).unwrap() == all);
    let asked: Vec<(bool, String, String)> = server
        .requests()
        .iter()
        .map(|request| {
            let header = |name| request.header(name).to_owned();
            (request.path.starts_with("/token"), header("range"), header("authorization"))
        })
        .collect();
    let (no, rest) = (String::new, || "bytes=40000-".to_owned());
    assert_eq!(
        asked,
        [
            (false, no(), no()),
            (true, no(), no()),
            (false, no(), "Bearer t1".to_owned()),
            (false, rest(), "Bearer t1".to_owned()),
            (true, no(), no()),
            (false, rest(), "Bearer t2".to_owned()),
        ]
    );
}

// B-081
#[test]
fn so_many_blobs_come_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_of_server, most_of_server) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |request| {
        most_of_server.fetch_max(now_of_server.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        blob(request, b"content")
    });
    let mut config = config();
    config.blobs_at_once = 2;
    let client = Client::new(config);
    let reference = server.reference("");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut reader = client.blob(&reference, &descriptor(b"content")).unwrap();
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                now.fetch_sub(1, Ordering::SeqCst);
                assert_eq!(text, "content");
            });
        }
    });
    assert_eq!(server.requests().len(), 8);
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
}
