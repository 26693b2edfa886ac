//! Challenges, tokens, credentials and the programs that keep them.

use std::os::unix::fs::PermissionsExt;

use castoff_registry::{Client, Config, ConfigEnvironment, RegistryError};

use crate::kit::config;
use crate::server::{Answer, Request, Server};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// Wants a token from `/token` of the same server for what is not authorized with one of `good`.
fn guarded(request: &Request, good: &[&str]) -> Answer {
    if good.contains(&request.header("authorization")) {
        return Answer::ok(MANIFEST);
    }
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"the service\",scope=\"repository:x:pull\"",
        request.header("host")
    );
    Answer { status: 401, ..Answer::ok(r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#) }
        .with("WWW-Authenticate", &challenge)
}

fn with_auth(server: &Server, entry: &str) -> Config {
    config().with_credentials(&format!(r#"{{"auths":{{"{}":{{{entry}}}}}}}"#, server.host())).unwrap()
}

fn token(text: &str) -> Answer {
    Answer::ok(format!(r#"{{"token":"{text}","expires_in":300}}"#))
}

// B-086
#[test]
fn an_anonymous_token_is_got_once_and_kept() {
    let server = Server::start(|request| {
        if request.path.starts_with("/token") { token("t") } else { guarded(request, &["Bearer t"]) }
    });
    let client = Client::new(config());
    client.resolve(&server.reference(":1")).unwrap();
    client.resolve(&server.reference(":2")).unwrap();
    let ask = "GET /token?scope=repository%3Ax%3Apull&service=the%20service";
    assert_eq!(
        server.asked(),
        ["GET /v2/x/manifests/1", ask, "GET /v2/x/manifests/1", "GET /v2/x/manifests/2"]
    );
    assert_eq!(server.requests()[1].header("authorization"), "");
    // A token is for one repository.
    let other = format!("{}/y:1", server.host()).parse().unwrap();
    client.resolve(&other).unwrap();
    assert_eq!(server.requests().len(), 7);
}

// B-086
#[test]
fn a_remembered_token_that_expired_is_replaced() {
    let server = Server::start(|request| {
        if request.path.starts_with("/token") {
            return token(&format!("t{}", request.nth));
        }
        let good = if request.path.ends_with("/1") { "Bearer t0" } else { "Bearer t1" };
        guarded(request, &[good])
    });
    let client = Client::new(config());
    client.resolve(&server.reference(":1")).unwrap();
    client.resolve(&server.reference(":2")).unwrap();
    client.resolve(&server.reference(":2")).unwrap();
    let shown: Vec<String> =
        server.requests().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(shown, ["", "", "Bearer t0", "Bearer t0", "", "Bearer t1", "Bearer t1"]);
}

/// Authorizes with an entry of `auths` and returns the requests to the token server.
fn token_requests(entry: &str, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Vec<String> {
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") { answer(request) } else { guarded(request, &["Bearer t"]) }
    });
    Client::new(with_auth(&server, entry)).resolve(&server.reference(":1")).unwrap();
    let to_server = server.requests().into_iter().filter(|request| request.path.starts_with("/token"));
    to_server
        .map(|request| {
            format!(
                "{} {}{}",
                request.method,
                request.header("authorization"),
                String::from_utf8_lossy(&request.body)
            )
        })
        .collect()
}

const PASSWORD: &str = r#""auth":"bmFtZTp3b3Jk""#;
const FORM: &str = "service=the+service&scope=repository%3Ax%3Apull&client_id=castoff";

// B-086
#[test]
fn a_password_is_exchanged_by_post() {
    let said = token_requests(PASSWORD, |_| Answer::ok(r#"{"access_token":"t"}"#));
    assert_eq!(said, [format!("POST grant_type=password&username=name&password=word&{FORM}")]);
}

// B-086
#[test]
fn a_token_server_without_post_is_asked_by_get() {
    for status in [400, 401, 404, 405] {
        let said = token_requests(PASSWORD, move |request| match request.method.as_str() {
            "POST" => Answer::status(status),
            _ if request.header("authorization") == "Basic bmFtZTp3b3Jk" => token("t"),
            _ => token("for anybody"),
        });
        assert_eq!(said.len(), 2, "{status}");
        assert_eq!(said[1], "GET Basic bmFtZTp3b3Jk");
    }
}

// B-084, B-086
#[test]
fn an_identity_token_is_refreshed_and_a_registry_token_is_sent_as_it_is() {
    let said = token_requests(r#""auth":"bmFtZTp3b3Jk","identitytoken":"refresh""#, |_| token("t"));
    assert_eq!(said, [format!("POST grant_type=refresh_token&refresh_token=refresh&{FORM}")]);
    let said = token_requests(r#""registrytoken":"t""#, |_| Answer::status(500));
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn a_token_server_that_makes_no_sense_is_told() {
    let check = |answer: Answer, expected: &str| {
        let server = Server::start(move |request| {
            if request.path.starts_with("/token") { answer.clone() } else { guarded(request, &[]) }
        });
        let error = Client::new(config()).resolve(&server.reference(":1")).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", server.url("/token")));
    };
    check(Answer::ok("{}"), "the answer holds no token");
    check(Answer::ok("<html>"), "the answer holds no token");
    check(Answer::ok(r#"{"token":""}"#), "the answer holds no token");
    check(Answer::ok(r#"{"token":"a\r\nX-Other: b"}"#), "the answer holds no token");
    check(Answer::status(503), "status 503");
    check(Answer::status(404), "not found");
}

#[test]
fn a_token_server_out_of_http_is_not_asked() {
    for realm in ["file:///etc/passwd", "", "/token", "http://"] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server = Server::start(move |_| Answer::status(401).with("WWW-Authenticate", &challenge));
        let error = Client::new(config()).resolve(&server.reference(":1")).unwrap_err();
        assert!(matches!(error, RegistryError::Realm { .. }), "{error}");
    }
}

// B-086
#[test]
fn a_basic_challenge_is_answered_and_remembered() {
    let server = Server::start(|request| match request.header("authorization") {
        "Basic bmFtZTp3b3Jk" => Answer::ok(MANIFEST),
        _ => Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let client = Client::new(with_auth(&server, PASSWORD));
    client.resolve(&server.reference(":1")).unwrap();
    client.resolve(&server.reference(":2")).unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let check = |config: fn(&Server) -> Config, realm: &'static str, requests: usize, expected: &str| {
        let server = Server::start(move |_| {
            Answer::ok(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#)
                .with("WWW-Authenticate", realm)
                .at(401)
        });
        let error = Client::new(config(&server)).resolve(&server.reference(":1")).unwrap_err().to_string();
        let url = server.url("/v2/x/manifests/1");
        assert_eq!(error, format!("{url}: access denied with status 401: DENIED: no; {expected}"));
        assert_eq!(server.requests().len(), requests);
    };
    let nobody = "it does not exist, or credentials are needed and none are configured";
    check(|_| config(), "Basic realm=\"x\"", 1, nobody);
    check(|_| config(), "Negotiate", 1, nobody);
    let somebody = "it does not exist, or the credentials are not enough";
    check(|server| with_auth(server, PASSWORD), "Basic realm=\"x\"", 2, somebody);
}

/// Loads a configuration whose credentials are kept by a program.
fn with_helper(server: &Server, script: &str) -> (tempfile::TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("docker-credential-keeper");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(r#"{{"credHelpers":{{"{}":"keeper"}}}}"#, server.host());
    std::fs::write(directory.path().join("config.json"), text).unwrap();
    let environment = ConfigEnvironment {
        home: Some(directory.path().join("home")),
        docker_config: Some(directory.path().to_owned()),
        path: Some(format!("{}:/usr/bin:/bin", directory.path().display()).into()),
        ..ConfigEnvironment::default()
    };
    let mut config = Config::load(&environment).unwrap();
    config.retry_delay = std::time::Duration::from_millis(2);
    (directory, config)
}

// B-084, B-085
#[test]
fn a_helper_is_asked_for_the_server() {
    let server = Server::start(|request| match request.header("authorization") {
        "Basic bmFtZTp3b3Jk" => Answer::ok(MANIFEST),
        _ => Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let resolve = |script: &str| {
        let (_directory, config) = with_helper(&server, script);
        Client::new(config).resolve(&server.reference(":1")).map_err(|error| error.to_string())
    };
    let answer = format!(
        "[ \"$1\" = get ] && [ \"$(cat)\" = {} ] && echo '{{\"Username\":\"name\",\"Secret\":\"word\"}}'",
        server.host()
    );
    resolve(&answer).unwrap();
    // It need not read the question.
    resolve("echo '{\"Username\":\"name\",\"Secret\":\"word\"}'").unwrap();
    let error = resolve("echo 'credentials not found in native keychain'; exit 1").unwrap_err();
    assert!(error.ends_with("none are configured"), "{error}");
    let error = resolve("echo the keychain is locked; exit 1").unwrap_err();
    assert_eq!(error, "credential helper `docker-credential-keeper`: the keychain is locked");
    let error = resolve("echo nonsense").unwrap_err();
    assert!(error.starts_with("credential helper `docker-credential-keeper`: "), "{error}");
}
