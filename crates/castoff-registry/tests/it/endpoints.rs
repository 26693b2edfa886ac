//! Where a name leads: mirrors, rewriting, blocking, plain HTTP, proxies.

use std::net::TcpListener;

use castoff_oci::Reference;
use castoff_registry::{Client, Config, ConfigEnvironment, RegistryError};

use crate::kit::{blob, config, descriptor, fetch};
use crate::server::{Answer, Server};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// An address that nobody listens at.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn client(registries: &str) -> Client {
    Client::new(config().with_registries(registries).unwrap())
}

/// The configuration of a registry that is nowhere, with mirrors.
fn mirrored(location: &str, mirrors: &[&str]) -> String {
    let mut text = format!("[[registry]]\nprefix = \"registry.invalid\"\nlocation = \"{location}\"\n");
    for mirror in mirrors {
        text.push_str(&format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
    }
    text
}

fn reference(rest: &str) -> Reference {
    format!("registry.invalid/team/x{rest}").parse().unwrap()
}

fn full() -> Server {
    Server::start(|request| match request.path.rsplit('/').nth(1) {
        Some("blobs") => blob(request, b"content"),
        _ => Answer::ok(MANIFEST),
    })
}

// B-088
#[test]
fn mirrors_are_asked_in_order_until_one_answers() {
    let (broken, empty, good) =
        (Server::start(|_| Answer::status(500)), Server::start(|_| Answer::status(404)), full());
    let mirrors = [broken.host(), format!("{}/deep/er", empty.host()), good.host(), dead()];
    let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    let client = client(&mirrored(&dead(), &mirrors));
    client.resolve(&reference(":1")).unwrap();
    assert_eq!(broken.asked(), ["GET /v2/team/x/manifests/1"; 3]);
    assert_eq!(empty.asked(), ["GET /v2/deep/er/team/x/manifests/1"]);
    assert_eq!(good.asked(), ["GET /v2/team/x/manifests/1"]);
    assert_eq!(fetch(&client, &reference(":1"), &descriptor(b"content")).unwrap(), b"content");
}

// B-088
#[test]
fn a_mirror_that_cannot_be_reached_costs_nothing() {
    let registry = full();
    let text = mirrored(&registry.host(), &[&dead()]);
    // Waiting for the mirror would take for ever.
    let mut config = config().with_registries(&text).unwrap();
    config.retry_delay = std::time::Duration::from_secs(100_000);
    let client = Client::new(config);
    client.resolve(&reference(":1")).unwrap();
    client.resolve(&reference(":2")).unwrap();
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn when_all_fail_all_are_told() {
    let (mirror, registry) = (Server::start(|_| Answer::status(404)), Server::start(|_| Answer::status(404)));
    let error = client(&mirrored(&registry.host(), &[&mirror.host()])).resolve(&reference(":1")).unwrap_err();
    let path = "/v2/team/x/manifests/1";
    let expected = format!("{}: not found; its mirrors: {}: not found", registry.url(path), mirror.url(path));
    assert_eq!(error.to_string(), expected);
}

// B-088
#[test]
fn a_mirror_for_digests_is_not_asked_for_tags() {
    let (mirror, registry) = (full(), full());
    let mut text = mirrored(&registry.host(), &[&mirror.host()]);
    text.push_str("pull-from-mirror = \"digest-only\"\n");
    let client = client(&text);
    let document = client.resolve(&reference(":1")).unwrap();
    assert_eq!((mirror.requests().len(), registry.requests().len()), (0, 1));
    client.resolve(&reference(&format!("@{}", document.digest))).unwrap();
    assert_eq!((mirror.requests().len(), registry.requests().len()), (1, 1));
}

// B-088: a blob is the same wherever it is from.
#[test]
fn a_blob_goes_on_at_the_next_endpoint() {
    let all = crate::kit::content(100_000);
    let (of_mirror, of_registry) = (all.clone(), all.clone());
    let mirror = Server::start(move |request| match request.nth {
        0 => blob(request, &of_mirror).cut(40_000),
        _ => Answer::status(404),
    });
    let registry = Server::start(move |request| blob(request, &of_registry));
    let client = client(&mirrored(&registry.host(), &[&mirror.host()]));
    assert!(fetch(&client, &reference(":1"), &descriptor(&all)).unwrap() == all);
    assert_eq!(registry.requests()[0].header("range"), "bytes=40000-");
}

#[test]
fn a_blocked_registry_is_not_asked() {
    let server = full();
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.host());
    let error = client(&text).resolve(&server.reference(":1")).unwrap_err();
    assert!(matches!(error, RegistryError::Blocked { .. }), "{error}");
    assert_eq!(server.requests().len(), 0);
}

// B-089
#[test]
fn loopback_may_be_plain_without_a_setting() {
    let server = full();
    let client = Client::new(config());
    for name in ["127.0.0.1", "localhost"] {
        let port = server.host().replace("127.0.0.1", "");
        client.resolve(&format!("{name}{port}/x:1").parse().unwrap()).unwrap();
    }
    let error = Client::new(config()).resolve(&format!("{}/x:1", dead()).parse().unwrap()).unwrap_err();
    assert!(matches!(error, RegistryError::Transport { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// Loads a configuration with proxies from an environment.
fn proxied(https: &str, http: &str, no: &str) -> Config {
    let home = tempfile::tempdir().unwrap();
    let empty = home.path().join("registries.conf");
    std::fs::write(&empty, "").unwrap();
    let environment = ConfigEnvironment {
        home: Some(home.path().to_owned()),
        registries_conf: Some(empty),
        https_proxy: Some(https.to_owned()),
        http_proxy: Some(http.to_owned()),
        no_proxy: Some(no.to_owned()),
        ..ConfigEnvironment::default()
    };
    let mut config = Config::load(&environment).unwrap();
    config.retry_delay = std::time::Duration::from_millis(2);
    config
}

#[test]
fn the_proxy_is_for_other_machines() {
    let proxy = Server::start(|_| Answer::status(403));
    let registry = full();
    let proxy_url = proxy.url("");
    let client = Client::new(proxied(&proxy_url, &proxy_url, "other.invalid"));
    client.resolve(&registry.reference(":1")).unwrap();
    assert_eq!(proxy.requests().len(), 0);
    client.resolve(&reference(":1")).unwrap_err();
    assert_eq!(proxy.asked()[0], "CONNECT registry.invalid:443");
}

#[test]
fn a_proxy_that_cannot_be_used_stands_in_no_ones_way() {
    let registry = full();
    let client = Client::new(proxied("socks5h://127.0.0.1:1", "nonsense://", ""));
    client.resolve(&registry.reference(":1")).unwrap();
    let error = client.resolve(&reference(":1")).unwrap_err().to_string();
    assert_eq!(
        error,
        "registry.invalid: the proxy cannot be used: proxies of the SOCKS protocol are not supported"
    );
}
