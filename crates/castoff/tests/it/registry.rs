//! Base images from registries: Debian's own, and one that is scripted. Everything is on loopback.

mod buckets;
mod caching;
mod copying;
mod indexes;
mod interop;
mod kit;
mod login;
mod pinning;
mod proxy;
mod pushing;
mod scripted;
mod signing;
mod store;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use castoff_oci::Digest;

use kit::{Machine, has, import_busybox, run, runs_steps, text, with_registry};
use scripted::{Scripted, Sending};

/// Layers of [`THREE`] are shorter, its config is longer.
const SMALL: usize = 200;

const THREE: &str = "FROM scratch\nCOPY one /\nCOPY two /\nCOPY three /\nENV FROM_BASE=1\n";

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

// B-077, B-078
#[test]
fn a_base_is_found_by_tag_and_by_digest() {
    with_registry("", |registry, machine| {
        registry.push("team/base:1", THREE, &[], &[]);
        let name = format!("{}/team/base", registry.host());
        assert_eq!(read(&machine.files(&format!("FROM {name}:1\n"), &[]), "two"), "two\n");
        let puller = Machine::new();
        let output = puller.command(&["pull", "--progress=none", &format!("{name}:1")]).output().unwrap();
        let said = text(&output.stderr);
        let digest = said.trim().strip_prefix("Digest: ").unwrap_or_else(|| panic!("{said}"));
        for rest in [format!("@{digest}"), format!(":other@{digest}")] {
            let machine = Machine::new();
            let copy = format!("FROM {name}{rest}\nCOPY --from={name}{rest} /one /copy\n");
            assert_eq!(read(&machine.files(&copy, &[]), "copy"), "one\n");
            // What a digest names is known for ever.
            registry.kill();
            machine.build(&format!("FROM {name}@{digest}\nLABEL a=b\n"), &["--pull"]);
            registry.restart();
        }
    });
}

// B-033, B-091
#[test]
fn layers_are_fetched_when_somebody_needs_their_bytes() {
    with_registry("", |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let from = format!("FROM {}/base:1\n", registry.host());
        machine.build(&format!("{from}ENV A=b\nLABEL c=d\n"), &["-t", "lazy"]);
        assert_eq!(machine.fetched(), 0);
        let facts = machine.castoff(&["inspect", "lazy"]);
        assert!(facts.contains("FROM_BASE=1") && facts.contains("A=b"), "{facts}");
        // It looks at nothing of what it is put on (D-218).
        machine.write("context/new", "new\n");
        machine.build(&format!("{from}COPY --link new /\n"), &[]);
        assert_eq!(machine.fetched(), 0);
        registry.kill();
        machine.build(&format!("{from}ENV A=other\n"), &[]);
        registry.restart();
        assert_eq!(read(&machine.files(&from, &[]), "three"), "three\n");
        assert_eq!(machine.fetched(), 3);
        registry.kill();
        assert_eq!(read(&machine.files(&format!("{from}COPY new /\n"), &[]), "three"), "three\n");
    });
}

// B-033, B-091
#[test]
fn a_moved_tag_is_seen_when_it_is_asked_for() {
    with_registry("", |registry, machine| {
        let name = format!("{}/base:1", registry.host());
        let from = format!("FROM {name}\n");
        let has_two = |flags: &[&str]| machine.files(&from, flags).join("two").exists();
        registry.push("base:1", "FROM scratch\nCOPY one /\n", &[], &[]);
        assert!(!has_two(&[]));
        registry.push("base:1", "FROM scratch\nCOPY one two /\n", &[], &[]);
        assert!(!has_two(&[]));
        assert!(has_two(&["--pull"]));
        assert!(has_two(&[]));
        // A pulled name moves, too.
        machine.castoff(&["pull", &name]);
        registry.push("base:1", "FROM scratch\nCOPY one /\n", &[], &[]);
        assert!(has_two(&[]));
        assert!(!has_two(&["--pull"]));
        assert!(!has_two(&[]));
        // And a build may take the name.
        machine.write("context/two", "");
        machine.build("FROM scratch\nCOPY two /\n", &["-t", &name]);
        assert!(has_two(&[]));
    });
}

#[test]
fn an_image_is_pulled_whole() {
    with_registry("", |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let name = format!("{}/base:1", registry.host());
        assert_eq!(machine.castoff(&["pull", &name]), format!("{name}\n"));
        assert_eq!(machine.fetched(), 3);
        registry.kill();
        let images = machine.castoff(&["images"]);
        assert!(images.contains(&format!("{}/base", registry.host())), "{images}");
        assert_eq!(read(&machine.files(&format!("FROM {name}\n"), &[]), "one"), "one\n");
        machine.castoff(&["save", "-o", "again.tar", &name]);
        let another = Machine::new();
        another.castoff(&["load", "-i", &machine.path("again.tar").display().to_string()]);
        assert_eq!(read(&another.files(&format!("FROM {name}\n"), &[]), "two"), "two\n");
    });
}

#[test]
fn a_fetched_base_is_run() {
    with_registry("", |registry, machine| {
        import_busybox(machine);
        if !runs_steps(machine) {
            return;
        }
        registry.push("base:1", "FROM busybox\nCOPY one /one\nCOPY two /two\n", &[], &[]);
        let files = machine.files(
            &format!(
                "FROM {}/base:1 AS base\nRUN cat one two > three\nFROM scratch\nCOPY --from=base three /\n",
                registry.host()
            ),
            &[],
        );
        assert_eq!(read(&files, "three"), "one\ntwo\n");
    });
}

// B-088, B-089: no name of the network is asked; the mirror is plain HTTP.
#[test]
fn names_of_docker_hub_are_found_at_a_mirror() {
    with_registry("", |registry, machine| {
        registry.push("hub/library/tiny:3", THREE, &[], &[]);
        registry.push("hub/team/tiny:latest", THREE, &[], &[]);
        let host = registry.host();
        let conf = machine.write(
            "registries.conf",
            format!(
                "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\
                 [[registry.mirror]]\nlocation = \"{host}/hub\"\ninsecure = true\n"
            ),
        );
        let machine = Machine::with("CONTAINERS_REGISTRIES_CONF", conf.display());
        let dockerfile = "FROM tiny:3 AS a\nFROM docker.io/team/tiny\nCOPY --from=a one /copy\n";
        let files = machine.files(dockerfile, &[]);
        assert_eq!((read(&files, "copy"), read(&files, "three")), ("one\n".to_owned(), "three\n".to_owned()));
        let blocked = machine.write("blocked.conf", "[[registry]]\nprefix = \"docker.io\"\nblocked = true\n");
        let error =
            Machine::with("CONTAINERS_REGISTRIES_CONF", blocked.display()).build_fails("FROM tiny:3\n", &[]);
        assert!(
            error.contains("docker.io/library/tiny:3: `docker.io` is blocked by the registries"),
            "{error}"
        );
    });
}

/// `name` with the password `opensesame`.
const HTPASSWD: &str = "name:$2b$05$abcdefghijklmnopqrstuuQbLfdQZSxZ9gjhA5V9o8Tyc6aQRO0Qi\n";

// B-084, B-086
#[test]
fn a_password_is_found_in_dockers_configuration() {
    let passwords = Machine::new();
    let file = passwords.write("htpasswd", HTPASSWD);
    let settings = format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", file.display());
    with_registry(&settings, |registry, machine| {
        registry.push("base:1", THREE, &[], &["--dest-creds=name:opensesame"]);
        let from = format!("FROM {}/base:1\n", registry.host());
        let error = machine.build_fails(&from, &[]);
        assert!(
            error.contains("access denied with status 401: UNAUTHORIZED: authentication required"),
            "{error}"
        );
        assert!(error.contains("credentials are needed and none are configured"), "{error}");
        let with_password = |auth: &str| {
            let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host());
            let file = machine.write(&format!("{auth}/config.json"), config);
            Machine::with("DOCKER_CONFIG", file.parent().unwrap().display())
        };
        // name:wrong
        let error = with_password("bmFtZTp3cm9uZw==").build_fails(&from, &[]);
        assert!(error.contains("the credentials are not enough"), "{error}");
        // name:opensesame
        let machine = with_password("bmFtZTpvcGVuc2VzYW1l");
        assert_eq!(read(&machine.files(&from, &[]), "two"), "two\n");
    });
}

/// Puts an index of the images `base:amd64` and `base:arm64` at a registry, as `base:both`.
fn push_index(host: &str) {
    let curl =
        |words: &[&str]| run(Command::new("curl").args(["-sS", "--fail", "--noproxy", "*"]).args(words));
    let manifest_type = "application/vnd.docker.distribution.manifest.v2+json";
    let index_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let entries = ["amd64", "arm64"].map(|architecture| {
        let url = format!("http://{host}/v2/base/manifests/{architecture}");
        let manifest = curl(&["-H", &format!("Accept: {manifest_type}"), &url]);
        let (digest, size) = (Digest::of(manifest.as_bytes()), manifest.len());
        format!(
            r#"{{"mediaType":"{manifest_type}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    });
    let index =
        format!(r#"{{"schemaVersion":2,"mediaType":"{index_type}","manifests":[{}]}}"#, entries.join(","));
    let header = format!("Content-Type: {index_type}");
    curl(&[
        "-X",
        "PUT",
        "-H",
        &header,
        "--data-binary",
        &index,
        &format!("http://{host}/v2/base/manifests/both"),
    ]);
}

// B-079
#[test]
fn the_platform_is_chosen_from_an_index() {
    if !has(&["curl"]) {
        return;
    }
    with_registry("", |registry, machine| {
        for (architecture, file) in [("amd64", "one"), ("arm64", "two")] {
            let platform = format!("linux/{architecture}");
            let dockerfile = format!("FROM scratch\nCOPY {file} /file\n");
            registry.push(&format!("base:{architecture}"), &dockerfile, &["--platform", &platform], &[]);
        }
        push_index(&registry.host());
        let name = format!("{}/base:both", registry.host());
        let from = format!("FROM {name}\n");
        for (platform, content) in
            [("linux/amd64", "one\n"), ("linux/arm64", "two\n"), ("linux/arm64/v8", "two\n")]
        {
            assert_eq!(read(&machine.files(&from, &["--platform", platform]), "file"), content);
        }
        // B-166
        let both = machine.files(&from, &["--platform", "linux/arm64,linux/amd64"]);
        assert_eq!(read(&both, "linux_amd64/file"), "one\n");
        assert_eq!(read(&both, "linux_arm64/file"), "two\n");
        let error = machine.build_fails(&from, &["--platform", "linux/s390x"]);
        let expected =
            format!("{name}: no match for platform linux/s390x; it is there for: linux/amd64, linux/arm64");
        assert!(error.contains(&expected), "{error}");
        // What was asked for once is known, each platform of it.
        registry.kill();
        for (platform, content) in [("linux/amd64", "one\n"), ("linux/arm64", "two\n")] {
            assert_eq!(read(&machine.files(&from, &["--platform", platform]), "file"), content);
        }
        let both = format!(
            "FROM --platform=linux/arm64 {name} AS other\nFROM {name}\nCOPY --from=other file /other\n"
        );
        assert_eq!(read(&machine.files(&both, &["--platform", "linux/amd64"]), "other"), "two\n");
    });
}

#[test]
fn a_missing_image_is_shown_where_it_is_named() {
    with_registry("", |registry, machine| {
        let name = format!("{}/base:nope", registry.host());
        let error = machine
            .build_fails(&format!("# comment\nFROM --platform=$BUILDPLATFORM {name} AS a\nRUN true\n"), &[]);
        let carets = "^".repeat(name.len());
        let reason = format!("{name}: http://{}/v2/base/manifests/nope: not found", registry.host());
        let expected = format!(
            "Dockerfile:2\n--------------------\n   1 |     # comment\n   \
             2 | >>> FROM --platform=$BUILDPLATFORM {name} AS a\n     |     {:31}{carets}\n   \
             3 |     RUN true\n   4 |     \n--------------------\n\
             ERROR: failed to build: failed to solve: {reason}\n",
            ""
        );
        assert!(error.ends_with(&expected), "{error}\nis not\n{expected}");
        assert_eq!(error.matches("not found").count(), 2, "{error}");
        let name = format!("{}/none", registry.host());
        let error = machine.fails(&["pull", "--quiet", &name]);
        let expected =
            format!("error: {name}:latest: http://{}/v2/none/manifests/latest: not found\n", registry.host());
        assert_eq!(error, expected);
    });
}

/// Makes `<name>.crt` and `<name>.pem`, an authority when nothing else is said.
fn make_certificate(keys: &Machine, name: &str, flags: &[&str]) {
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-subj", &format!("/CN={name}")]).args(kind).args(flags);
    command.args(["-keyout", &format!("{name}.pem"), "-out", &format!("{name}.crt")]);
    run(command.current_dir(keys.path("")));
}

const NAME: [&str; 2] = ["-addext", "subjectAltName=IP:127.0.0.1"];

fn with_tls(keys: &Machine, name: &str, more: &str) -> String {
    let path = |kind: &str| keys.path(&format!("{name}.{kind}")).display().to_string();
    format!("  tls: {{certificate: {}, key: {}{more}}}\n", path("crt"), path("pem"))
}

/// Trusts an authority for the certificate of a host.
fn trust(machine: &Machine, host: &str, keys: &Machine, name: &str) {
    let to = format!(".config/containers/certs.d/{host}/ca.crt");
    machine.write(&to, fs::read(keys.path(&format!("{name}.crt"))).unwrap());
}

// B-089
#[test]
fn certificates_are_looked_at_unless_told_otherwise() {
    if !has(&["openssl"]) {
        return;
    }
    let keys = Machine::new();
    make_certificate(&keys, "authority", &[]);
    let signed = ["-addext", "basicConstraints=CA:FALSE", "-CA", "authority.crt", "-CAkey", "authority.pem"];
    make_certificate(&keys, "server", &[&NAME[..], &signed].concat());
    with_registry(&with_tls(&keys, "server", ""), |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let host = registry.host();
        let from = format!("FROM {host}/base:1\n");
        let error = machine.build_fails(&from, &[]);
        // It is this failure that is told, not that of plain HTTP, which loopback may be asked in.
        assert!(error.contains(&format!("https://{host}/v2/base/manifests/1: ")), "{error}");
        assert!(error.contains("certificate"), "{error}");
        let conf = format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n");
        let conf = machine.write("registries.conf", conf);
        let insecure = Machine::with("CONTAINERS_REGISTRIES_CONF", conf.display());
        assert_eq!(read(&insecure.files(&from, &[]), "one"), "one\n");
        trust(machine, &host, &keys, "authority");
        assert_eq!(read(&machine.files(&from, &[]), "one"), "one\n");
        // The name is part of what is looked at.
        let other = host.replace("127.0.0.1", "localhost");
        trust(machine, &other, &keys, "authority");
        let error = machine.build_fails(&format!("FROM {other}/base:1\n"), &[]);
        assert!(error.contains("certificate"), "{error}");
    });
}

// B-089: the usual recipe, one certificate for everything.
#[test]
fn a_certificate_that_signed_itself_is_known_when_it_is_given() {
    if !has(&["openssl"]) {
        return;
    }
    let keys = Machine::new();
    make_certificate(&keys, "self", &NAME);
    make_certificate(&keys, "other", &NAME);
    with_registry(&with_tls(&keys, "self", ""), |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let host = registry.host();
        let from = format!("FROM {host}/base:1\n");
        trust(machine, &host, &keys, "other");
        assert!(machine.build_fails(&from, &[]).contains("certificate"));
        trust(machine, &host, &keys, "self");
        assert_eq!(read(&machine.files(&from, &[]), "one"), "one\n");
        let other = host.replace("127.0.0.1", "localhost");
        trust(machine, &other, &keys, "self");
        let error = machine.build_fails(&format!("FROM {other}/base:1\n"), &[]);
        assert!(error.contains("not valid for name"), "{error}");
    });
}

// B-089
#[test]
fn a_registry_may_want_a_certificate_too() {
    if !has(&["openssl"]) {
        return;
    }
    let keys = Machine::new();
    make_certificate(&keys, "authority", &[]);
    let signed = ["-addext", "basicConstraints=CA:FALSE", "-CA", "authority.crt", "-CAkey", "authority.pem"];
    make_certificate(&keys, "server", &[&NAME[..], &signed].concat());
    make_certificate(&keys, "client", &signed);
    let authorities = format!(", clientcas: [{}]", keys.path("authority.crt").display());
    with_registry(&with_tls(&keys, "server", &authorities), |registry, machine| {
        let (host, read_key) = (registry.host(), |name: &str| fs::read(keys.path(name)).unwrap());
        let directory = format!(".config/containers/certs.d/{host}");
        trust(machine, &host, &keys, "authority");
        let from = format!("FROM {host}/base:1\n");
        machine.build_fails(&from, &[]);
        machine.write(&format!("{directory}/client.cert"), read_key("client.crt"));
        machine.write(&format!("{directory}/client.key"), read_key("client.pem"));
        let certificates = machine.path(&directory).display().to_string();
        registry.push("base:1", THREE, &[], &["--dest-cert-dir", &certificates]);
        assert_eq!(read(&machine.files(&from, &[]), "one"), "one\n");
    });
}

// B-081
#[test]
fn layers_come_side_by_side() {
    let maker = Machine::new();
    let archive = maker.archive(THREE, &[]);
    // No layer is sent before all are asked for.
    let (asked, all) = (Mutex::new(0), Condvar::new());
    let registry = Scripted::start(&archive, 0, move |length| {
        if length < SMALL {
            let mut count = asked.lock().unwrap();
            *count += 1;
            all.notify_all();
            let waited =
                all.wait_timeout_while(count, Duration::from_secs(30), |count| *count < 3).unwrap().1;
            assert!(!waited.timed_out(), "one layer after the other");
        }
        Sending::Whole
    });
    let machine = Machine::new();
    machine.castoff(&["pull", &registry.name()]);
    assert_eq!(machine.fetched(), 3);
}

// B-005, B-081
#[test]
fn a_registry_that_dies_leaves_a_valid_store() {
    let maker = Machine::new();
    let archive = maker.archive(THREE, &[]);
    let dying =
        Scripted::start(
            &archive,
            0,
            |length| if length < SMALL { Sending::HalfAndGone } else { Sending::Whole },
        );
    let (name, port) = (dying.name(), dying.port());
    let machine = Machine::new();
    machine.write("context/Dockerfile", format!("FROM {name}\n"));
    let build = machine.command(&["build", "-o", "type=local,dest=out", "context"]).spawn().unwrap();
    dying.wait();
    // It would ask again for some seconds.
    let process = rustix::process::Pid::from_child(&build);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let output = build.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(!machine.path("out").exists(), "{said}");
    let mut blobs = Vec::new();
    kit::walk(&machine.path("store/blobs"), &mut |path| blobs.push(path.to_owned()));
    for blob in blobs {
        let expected = blob.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Digest::of(&fs::read(&blob).unwrap()).hex(), expected);
    }
    let _revived = Scripted::start(&archive, port, |_| Sending::Whole);
    assert_eq!(read(&machine.files(&format!("FROM {name}\n"), &[]), "three"), "three\n");
}
