//! Images into registries: from the store and from builds, over what errs on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kit::{Machine, Registry, has, with_registry};
use super::proxy::{Asked, Fault, Proxy};
use super::{HTPASSWD, NAME, THREE, make_certificate, read, trust, with_tls};

/// Gives a machine the context that [`THREE`] needs, and builds it.
fn build(machine: &Machine, flags: &[&str]) {
    for name in ["one", "two", "three"] {
        machine.write(&format!("context/{name}"), format!("{name}\n"));
    }
    machine.build(THREE, flags);
}

/// Checks that another machine gets the files of [`THREE`] under a name.
#[track_caller]
fn check(name: &str) {
    let machine = Machine::new();
    let files = machine.files(&format!("FROM {name}\n"), &[]);
    assert_eq!((read(&files, "one"), read(&files, "three")), ("one\n".to_owned(), "three\n".to_owned()));
}

/// Returns the digest that a file of `--digestfile` has.
fn digest(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

// B-083, B-101
#[test]
fn an_image_is_pushed_and_pulled_again() {
    with_registry("", |registry, machine| {
        let name = format!("{}/team/app:1", registry.host());
        build(machine, &["-t", &name]);
        let said = machine.castoff(&["push", "--digestfile", "digest", &name]);
        let digest = digest(machine.path("digest"));
        assert!(said.starts_with(&format!("1: digest: {digest} size: ")), "{said}");
        check(&name);
        check(&format!("{}/team/app@{digest}", registry.host()));
        // The same image has the same digest, whatever it is pushed as.
        let other = format!("{}/other:2", registry.host());
        machine.castoff(&["tag", &name, &other]);
        assert_eq!(machine.castoff(&["push", "--quiet", &other]), format!("{other}@{digest}\n"));
        check(&other);
    });
}

// B-082: what is there is neither sent nor made again.
#[test]
fn nothing_is_sent_twice() {
    with_registry("", |registry, machine| {
        let proxy = Proxy::start(registry.host(), |_| Fault::Pass);
        let names = [format!("{}/a:1", proxy.host()), format!("{}/b:1", proxy.host())];
        build(machine, &["-t", &names[0], "-t", &names[1]]);
        machine.castoff(&["push", &names[0]]);
        let sent = proxy.count(Asked::sends);
        assert_eq!(sent, 4);
        machine.castoff(&["push", &names[0]]);
        assert_eq!(proxy.count(Asked::sends), sent);
        // Within one build the second repository gets all by mounting.
        build(machine, &["-o", &format!("type=registry,\"name={},{}\"", names[0], names[1])]);
        assert_eq!(proxy.count(Asked::sends), sent);
        assert_eq!(proxy.count(|asked| asked.path.contains("mount=")), 4);
        check(&names[1]);
    });
}

// B-101, B-106
#[test]
fn a_build_pushes_its_result() {
    with_registry("", |registry, machine| {
        let host = registry.host();
        build(machine, &["--push", "-t", &format!("{host}/a:1"), "-t", &format!("{host}/a:2")]);
        check(&format!("{host}/a:1"));
        check(&format!("{host}/a:2"));
        build(machine, &["-o", &format!("type=image,push=true,name={host}/b"), "--metadata-file", "facts"]);
        check(&format!("{host}/b:latest"));
        let facts = read(&machine.path(""), "facts");
        let digest = facts.split("\"containerimage.digest\": \"").nth(1).unwrap().split('"').next().unwrap();
        check(&format!("{host}/b@{digest}"));
        build(machine, &["-o", &format!("type=registry,push-by-digest=true,name={host}/c")]);
        check(&format!("{host}/c@{digest}"));
        let puller = Machine::new();
        let error = puller.fails(&["pull", &format!("{host}/c:latest")]);
        assert!(error.contains("not found"), "{error}");
        let error = machine.build_fails(THREE, &["--push"]);
        assert!(error.contains("tag is needed when pushing to registry"), "{error}");
        let error = machine.build_fails(THREE, &["--push", "-t", "x", "-o", "type=tar,dest=x.tar"]);
        assert!(error.contains("--push"), "{error}");
    });
}

// B-109, B-166
#[test]
fn an_index_is_pushed_with_its_images() {
    with_registry("", |registry, machine| {
        let name = format!("{}/both:1", registry.host());
        build(machine, &["--push", "-t", &name, "--platform", "linux/amd64,linux/arm64"]);
        for platform in ["linux/amd64", "linux/arm64"] {
            let machine = Machine::new();
            let files = machine.files(&format!("FROM {name}\n"), &["--platform", platform]);
            assert_eq!(read(&files, "two"), "two\n");
        }
        let single = format!("{}/single:1", registry.host());
        machine.castoff(&["tag", &name, &single]);
        machine.castoff(&["push", "--platform", "linux/arm64", &single]);
        let puller = Machine::new();
        let files = puller.files(&format!("FROM {single}\n"), &["--platform", "linux/arm64"]);
        assert_eq!(read(&files, "two"), "two\n");
        let whole = machine.castoff(&["push", "-q", &single]);
        assert_ne!(machine.castoff(&["push", "-q", "--platform", "linux/arm64", &single]), whole);
    });
}

// B-082: a base image that was never fetched is mounted, or goes from registry to registry.
#[test]
fn a_base_that_was_never_fetched_is_pushed() {
    with_registry("", |registry, machine| {
        registry.push("team/base:1", THREE, &[], &[]);
        let other = Registry::start("");
        let from = format!("FROM {}/team/base:1\nENV A=b\n", registry.host());
        let same = format!("{}/team/app:1", registry.host());
        machine.build(&from, &["--push", "-t", &same]);
        assert_eq!(machine.fetched(), 0);
        check(&same);
        let far = format!("{}/far:1", other.host());
        machine.build(&from, &["-t", &far]);
        machine.castoff(&["push", &far]);
        assert_eq!(machine.fetched(), 0);
        check(&far);
        // The same is true of an archive: it knows where the base is from.
        machine.castoff(&["save", "-o", "far.tar", &far]);
        assert_eq!(machine.fetched(), 3);
    });
}

// B-107, B-108: what nobody asks to change keeps its digest, whoever made it.
#[test]
fn a_pulled_image_is_pushed_as_it_is() {
    with_registry("", |registry, machine| {
        registry.push("docker:1", THREE, &[], &["--format", "v2s2"]);
        let (from, to) = (format!("{}/docker:1", registry.host()), format!("{}/other:1", registry.host()));
        let said = machine.command(&["pull", &from]).output().unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        machine.castoff(&["tag", &from, &to]);
        let pushed = machine.castoff(&["push", "--quiet", &to]);
        let digest = pushed.trim().rsplit('@').next().unwrap();
        assert!(said.contains(&format!("Digest: {digest}\n")), "{said} {pushed}");
        machine.castoff(&["save", "-o", "kept.tar", &to]);
        let again = Machine::new();
        again.castoff(&["load", "-i", &machine.path("kept.tar").display().to_string()]);
        assert_eq!(again.castoff(&["push", "--quiet", &to]), pushed);
        // Whoever asks for it gets another one.
        let changed = machine.castoff(&["push", "--quiet", "--format", "oci", &to]);
        assert_ne!(changed, pushed);
        check(&to);
    });
}

#[test]
fn every_tag_of_a_name_is_pushed() {
    with_registry("", |registry, machine| {
        let name = format!("{}/app", registry.host());
        build(machine, &["-t", &format!("{name}:1"), "-t", &format!("{name}:2"), "-t", "elsewhere:3"]);
        machine.castoff(&["push", "--all-tags", &name]);
        check(&format!("{name}:1"));
        check(&format!("{name}:2"));
        for (words, reason) in [
            (&["push", "--all-tags", "none"][..], "there is no image `none`"),
            (&["push", "--all-tags", "elsewhere:3"], "a tag cannot be used"),
            (&["push", "none:1"], "there is no image"),
            (&["push", "--format", "other", "elsewhere:3"], "format `other` is unknown"),
            (&["push", "--compression", "other", "elsewhere:3"], "expected uncompressed"),
        ] {
            let error = machine.fails(words);
            assert!(error.contains(reason), "{words:?} {error}");
        }
    });
}

// B-084, B-086, B-089
#[test]
fn a_push_shows_its_password_over_tls() {
    if !has(&["openssl"]) {
        return;
    }
    let keys = Machine::new();
    make_certificate(&keys, "server", &NAME);
    let file = keys.write("htpasswd", HTPASSWD);
    let settings = format!(
        "{}auth: {{htpasswd: {{realm: here, path: {}}}}}\n",
        with_tls(&keys, "server", ""),
        file.display()
    );
    with_registry(&settings, |registry, machine| {
        let name = format!("{}/app:1", registry.host());
        build(machine, &["-t", &name]);
        let error = machine.fails(&["push", &name]);
        assert!(error.contains("certificate"), "{error}");
        trust(machine, &registry.host(), &keys, "server");
        let error = machine.fails(&["push", &name]);
        assert!(error.contains("UNAUTHORIZED: authentication required"), "{error}");
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"bmFtZTpvcGVuc2VzYW1l"}}}}}}"#, registry.host());
        machine.write(".docker/config.json", config);
        machine.castoff(&["push", &name]);
        // Over HTTPS that is not looked at, and with the same password.
        machine.write(".config/containers/certs.d/none", "");
        fs::remove_dir_all(machine.path(".config/containers/certs.d")).unwrap();
        assert!(machine.fails(&["push", &name]).contains("certificate"));
        machine.castoff(&["push", "--tls-verify=false", &name]);
        build(machine, &["-o", &format!("type=registry,registry.insecure=true,name={name}")]);
    });
}

/// Pushes [`THREE`] through a proxy; layers are long enough to be cut.
fn push_through(
    decide: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    then: impl FnOnce(&Proxy, &Machine, &str),
) {
    with_registry("", |registry, machine| {
        let proxy = Proxy::start(registry.host(), decide);
        let name = format!("{}/app:1", proxy.host());
        build(machine, &["-t", &name]);
        then(&proxy, machine, &name);
        // Whatever happened, the store has the image and the registry no half of one.
        assert_eq!(read(&machine.files(&format!("FROM {name}\n"), &[]), "one"), "one\n");
    });
}

// B-081
#[test]
fn a_push_survives_broken_connections() {
    let cuts = AtomicUsize::new(0);
    let decide = move |asked: &Asked| match asked.sends() && cuts.fetch_add(1, Ordering::SeqCst) < 4 {
        true => Fault::CutRequest(40),
        false => Fault::Pass,
    };
    push_through(decide, |proxy, machine, name| {
        machine.castoff(&["push", name]);
        assert!(proxy.count(Asked::sends) >= 5);
        check(name);
    });
}

// B-081: what was asked for is done, and the answer does not come.
#[test]
fn a_push_survives_lost_answers() {
    let cuts = AtomicUsize::new(0);
    let decide = move |asked: &Asked| match asked.method != "GET" && cuts.fetch_add(1, Ordering::SeqCst) < 4 {
        true => Fault::CutAnswer(5),
        false => Fault::Pass,
    };
    push_through(decide, |_, machine, name| {
        machine.castoff(&["push", name]);
        check(name);
    });
}

// B-081
#[test]
fn a_push_survives_a_busy_registry() {
    let known = Mutex::new(BTreeSet::new());
    let decide = move |asked: &Asked| {
        let first = known.lock().unwrap().insert((asked.method.clone(), asked.path.clone()));
        match (first, asked.method.as_str()) {
            (true, "PUT") => Fault::status(503, "Retry-After: 0\r\n"),
            (true, _) => Fault::status(429, "Retry-After: 0\r\n"),
            (false, _) => Fault::Pass,
        }
    };
    push_through(decide, |_, machine, name| {
        machine.castoff(&["push", name]);
        check(name);
    });
}

// B-081
#[test]
fn slow_answers_are_waited_for() {
    push_through(
        |_| Fault::Drip(600),
        |_, machine, name| {
            machine.castoff(&["push", name]);
            check(name);
        },
    );
}

// B-083: the registry's words, once, and no tag.
#[test]
fn a_push_that_fails_says_why_and_leaves_no_tag() {
    let decide = |asked: &Asked| match asked.sends() {
        true => Fault::body(403, "", r#"{"errors":[{"code":"DENIED","message":"quota of team exceeded"}]}"#),
        false => Fault::Pass,
    };
    push_through(decide, |proxy, machine, name| {
        let error = machine.fails(&["push", name]);
        assert_eq!(error.matches("error: ").count(), 1, "{error}");
        assert!(error.contains("access denied with status 403: DENIED: quota of team exceeded"), "{error}");
        assert_eq!(proxy.count(|asked| asked.path.contains("/manifests/")), 0);
        let error = Machine::new().fails(&["pull", name]);
        assert!(error.contains("not found"), "{error}");
    });
}

// B-220
#[test]
fn what_a_proxy_damages_is_not_believed() {
    with_registry("", |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let configs = AtomicUsize::new(0);
        let proxy = Proxy::start(registry.host(), move |asked| {
            // The config is what a build needs at once.
            let of_blob = asked.method == "GET" && asked.path.contains("/blobs/");
            let is_layer = of_blob && configs.fetch_add(1, Ordering::SeqCst) > 0;
            if is_layer { Fault::Damage } else { Fault::Pass }
        });
        let other = Registry::start("");
        let name = format!("{}/copy:1", other.host());
        machine.build(&format!("FROM {}/base:1\nENV A=b\n", proxy.host()), &["-t", &name]);
        let error = machine.fails(&["push", &name]);
        assert!(error.contains("is damaged: its bytes have the digest"), "{error}");
        assert!(Machine::new().fails(&["pull", &name]).contains("not found"));
    });
}

// B-086: a token that ends at any moment is replaced.
#[test]
fn tokens_that_expire_are_replaced() {
    let (tokens, uses) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    with_registry("", |registry, machine| {
        let port = AtomicUsize::new(0);
        let port = std::sync::Arc::new(port);
        let known = std::sync::Arc::clone(&port);
        let proxy = Proxy::start(registry.host(), move |asked| {
            if asked.path.starts_with("/token") {
                let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
                return Fault::body(200, "", &format!(r#"{{"token":"t{number}"}}"#));
            }
            let mut uses = uses.lock().unwrap();
            let used = uses.entry(asked.authorization.clone()).or_insert(0_usize);
            *used += 1;
            if *used <= 3 && !asked.authorization.is_empty() {
                return Fault::Pass;
            }
            let realm = format!("http://127.0.0.1:{}/token", known.load(Ordering::SeqCst));
            Fault::status(401, &format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"here\"\r\n"))
        });
        port.store(proxy.host().rsplit(':').next().unwrap().parse().unwrap(), Ordering::SeqCst);
        let name = format!("{}/app:1", proxy.host());
        build(machine, &["-t", &name]);
        machine.castoff(&["push", &name]);
        let writes = proxy.count(|asked| asked.path.contains("scope=repository%3Aapp%3Apull%2Cpush"));
        assert!(writes > 1, "{:?}", proxy.asked());
        check(&format!("{}/app:1", registry.host()));
    });
}

// The registry's password goes to no other server.
#[test]
fn a_redirect_takes_no_password_along() {
    with_registry("", |registry, machine| {
        let storage = Proxy::start(registry.host(), |_| Fault::Pass);
        let to = storage.host();
        let front = Proxy::start(registry.host(), move |asked| {
            if asked.authorization != "Basic bmFtZTpvcGVuc2VzYW1l" {
                return Fault::status(401, "WWW-Authenticate: Basic realm=\"here\"\r\n");
            }
            match asked.sends() {
                true => Fault::status(307, &format!("Location: http://{to}{}\r\n", asked.path)),
                false => Fault::Pass,
            }
        });
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"bmFtZTpvcGVuc2VzYW1l"}}}}}}"#, front.host());
        machine.write(".docker/config.json", config);
        let name = format!("{}/app:1", front.host());
        build(machine, &["-t", &name]);
        machine.castoff(&["push", &name]);
        check(&format!("{}/app:1", registry.host()));
        assert!(storage.count(Asked::sends) > 0);
        assert_eq!(storage.count(|asked| !asked.authorization.is_empty()), 0);
    });
}
