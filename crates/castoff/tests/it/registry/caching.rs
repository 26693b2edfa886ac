//! Shared caches in registries. No step of these builds runs a program.

use std::fs;

use super::kit::{Machine, Registry, import_busybox, runs_steps, text, with_registry};
use super::proxy::{Asked, Fault, Proxy};

const DOCKERFILE: &str = "FROM scratch AS build\nCOPY large /large\nCOPY data /data\n\
    FROM scratch\nCOPY --from=build /data /\n";

/// Builds on a machine of its own and returns what is said and the image id.
fn built(data: &str, dockerfile: &str, flags: &[&str]) -> (String, String) {
    let machine = Machine::new();
    // Not to be compressed away.
    let large: Vec<u8> = (0..400_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    machine.write("context/large", large);
    machine.write("context/data", data);
    machine.write("context/Dockerfile", dockerfile);
    let words = [&["build", "--progress=plain", "--iidfile=id"], flags, &["context"]].concat();
    let output = machine.command(&words).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    (said, fs::read_to_string(machine.path("id")).unwrap())
}

fn count(said: &str, what: &str) -> usize {
    said.lines().filter(|line| line.ends_with(what)).count()
}

// B-121, B-122, B-126
#[test]
fn a_cache_in_a_registry_serves_another_machine() {
    with_registry("", |registry, _| {
        let name = format!("{}/team/cache:main", registry.host());
        let to = format!("type=registry,ref={name},mode=max");
        let (said, first) = built("one\n", DOCKERFILE, &["--cache-to", &to]);
        assert!(said.contains("3 steps sent"), "{said}");
        // Nobody has to look into the registry before.
        let (said, second) = built("one\n", DOCKERFILE, &["--cache-from", &name]);
        assert_eq!(count(&said, "CACHED"), 3, "{said}");
        assert_eq!(first, second);
        assert!(said.contains("importing cache"), "{said}");
        assert!(!said.contains("kB fetched"), "{said}");
        // What is there is not sent again, and one file that changed is one step and its copy.
        let (said, _) = built("one\n", DOCKERFILE, &["--cache-from", &name, "--cache-to", &to]);
        assert!(said.contains("0 steps sent (0B), 3 were there"), "{said}");
        let (said, _) = built("two\n", DOCKERFILE, &["--cache-from", &name, "--cache-to", &to]);
        assert_eq!(count(&said, "CACHED"), 1, "{said}");
        assert!(said.contains("2 steps sent"), "{said}");
        // Another tag of the repository is another cache.
        let (said, _) = built("one\n", DOCKERFILE, &["--cache-from", &name.replace(":main", ":other")]);
        assert_eq!(count(&said, "CACHED"), 0, "{said}");
    });
}

// B-121, B-122
#[test]
fn a_registry_that_is_away_stops_no_build_and_fails_an_export() {
    with_registry("", |registry, machine| {
        let name = format!("{}/cache", registry.host());
        registry.kill();
        let (said, _) = built("one\n", DOCKERFILE, &["--cache-from", &name]);
        assert_eq!(count(&said, "CACHED"), 0, "{said}");
        assert_eq!(said.matches("cannot be read").count(), 1, "{said}");
        let to = format!("type=registry,ref={name},ignore-error=true");
        let (said, _) = built("one\n", DOCKERFILE, &["--cache-to", &to]);
        assert!(said.contains("WARN: exporting to the cache"), "{said}");
        machine.write("context/large", "");
        machine.write("context/data", "");
        let said = machine.build_fails(DOCKERFILE, &["--cache-to", &name]);
        assert!(said.contains("exporting to the cache"), "{said}");
    });
}

/// An image whose first layer is large and whose second changes.
const APP: &str = "FROM scratch\nCOPY large /large\nCOPY --link data /data\n";

fn gets_blob(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.contains("/blobs/sha256:")
}

/// Gives a machine the context of [`APP`] and builds it there.
fn built_on(machine: &Machine, data: &str, flags: &[&str]) -> String {
    let large: Vec<u8> = (0..400_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    machine.write("context/large", large);
    machine.write("context/data", data);
    machine.write("context/Dockerfile", APP);
    let words = [&["build", "--progress=plain"], flags, &["context"]].concat();
    let output = machine.command(&words).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[track_caller]
fn check_app(name: &str, data: &str) {
    let machine = Machine::new();
    let files = machine.files(&format!("FROM {name}\n"), &[]);
    assert_eq!(fs::read_to_string(files.join("data")).unwrap(), data);
    assert_eq!(fs::metadata(files.join("large")).unwrap().len(), 400_000);
}

// B-082, B-108, B-121: what nobody reads here and the registry has does not come here.
#[test]
fn a_pushed_image_takes_cached_layers_where_they_are() {
    with_registry("", |registry, _| {
        let proxy = Proxy::start(registry.host(), |_| Fault::Pass);
        let host = proxy.host();
        let (cache, app) = (format!("{host}/team/cache"), format!("{host}/team/app:1"));
        let flags = ["--cache-from", &cache, "--cache-to", &cache, "--push", "-t", &app];
        built_on(&Machine::new(), "one\n", &flags);
        // Each layer was compressed once: what the cache and the image have is the same.
        let before = proxy.asked().len();
        let machine = Machine::new();
        let said = built_on(&machine, "two\n", &flags);
        assert_eq!(count(&said, "CACHED"), 1, "{said}");
        assert!(said.contains("1 steps sent") && said.contains("1 were there"), "{said}");
        let asked = proxy.asked().split_off(before);
        assert_eq!(asked.iter().filter(|asked| gets_blob(asked)).count(), 0, "{asked:?}");
        // Two look-ups, whether the name is an image, and one for what explains the miss; whether the new step is there meanwhile. It is put
        // under its key and its place, and the image under its tag.
        let manifests = |method: &str| {
            asked.iter().filter(|asked| asked.method == method && asked.path.contains("/manifests/")).count()
        };
        assert_eq!((manifests("GET"), manifests("PUT")), (5, 3), "{asked:?}");
        check_app(&app, "two\n");
        // The store has the image, and fetches the layer when somebody wants it.
        assert_eq!(proxy.count(gets_blob), 3);
        machine.castoff(&["save", "-o", "saved.tar", &app]);
        assert_eq!(proxy.count(gets_blob), 4);
        // Into another repository it is mounted.
        let other = format!("{host}/other/app:1");
        let before = proxy.count(gets_blob);
        let machine = Machine::new();
        built_on(&machine, "two\n", &["--cache-from", &cache, "--push", "-t", &other]);
        assert_eq!(proxy.count(gets_blob), before);
        assert_eq!(
            proxy.count(|asked| asked.path.contains("/other/app/") && asked.path.contains("mount=")),
            2
        );
        check_app(&other, "two\n");
        drop(proxy);
        let said = machine.fails(&["save", "-o", "saved.tar", &other]);
        assert!(said.contains("fetching layer"), "{said}");
    });
}

// B-121: what a cache does not have after all is made again, also when only a registry wanted it.
#[test]
fn a_pushed_image_does_without_a_layer_that_is_gone() {
    with_registry("", |registry, _| {
        let far = Registry::start("");
        let broken = Proxy::start(registry.host(), |asked| {
            if gets_blob(asked) { Fault::status(404, "") } else { Fault::Pass }
        });
        let cache = |host: String| format!("{host}/team/cache");
        built_on(&Machine::new(), "one\n", &["--cache-to", &cache(registry.host())]);
        let name = format!("{}/app:1", far.host());
        let push =
            |from: &str| built_on(&Machine::new(), "one\n", &["--cache-from", from, "--push", "-t", &name]);
        let said = push(&cache(broken.host()));
        assert!(said.contains("the build goes on without that result"), "{said}");
        check_app(&name, "one\n");
        // From registry to registry it goes through here.
        let name = format!("{}/app:2", far.host());
        let said = built_on(
            &Machine::new(),
            "one\n",
            &["--cache-from", &cache(registry.host()), "--push", "-t", &name],
        );
        assert_eq!(count(&said, "CACHED"), 2, "{said}");
        check_app(&name, "one\n");
    });
}

// B-125, D-100: an image is a cache of its own layers when that was asked for.
#[test]
fn an_image_says_which_steps_made_its_layers() {
    with_registry("", |registry, _| {
        let name = |tag: &str| format!("{}/team/app:{tag}", registry.host());
        for (tag, flags) in [
            ("plain", &["--build-arg", "BUILDKIT_INLINE_CACHE=0"][..]),
            ("argument", &["--build-arg", "BUILDKIT_INLINE_CACHE=1"]),
            ("flag", &["--cache-to", "type=inline"]),
            ("both", &["--cache-to", "type=inline", "--platform", "linux/amd64,linux/arm64"]),
        ] {
            let said = built_on(&Machine::new(), "one\n", &[&["--push", "-t", &name(tag)], flags].concat());
            assert!(!said.contains("exporting cache"), "{said}");
            let from = format!("type=registry,ref={}", name(tag));
            let again = |data: &str| {
                let flags = ["--cache-from", &from, "-o", "type=tar,dest=out.tar", "--platform=linux/arm64"];
                // Which steps these are does not depend on the platform.
                count(&built_on(&Machine::new(), data, &flags), "CACHED")
            };
            let expected = if tag == "plain" { (0, 0) } else { (2, 1) };
            assert_eq!((again("one\n"), again("two\n")), expected, "{tag}");
        }
        // An image that stands on one says nothing of the other's steps, and takes its layer where it is.
        let machine = Machine::new();
        let flags = ["--cache-from", &name("flag"), "--push", "-t", &name("next")];
        built_on(&machine, "one\n", &flags);
        check_app(&name("next"), "one\n");
        let said = built_on(&Machine::new(), "one\n", &["--cache-from", &name("next")]);
        assert_eq!(count(&said, "CACHED"), 0, "{said}");
    });
}

/// Checks that a cache gives a machine what another left in its cache mount.
pub fn check_mounts(cache: &str) {
    let step = |name: &str| {
        format!(
            "FROM busybox AS build\nRUN --mount=type=cache,id=m,target=/m ls /m > /seen; echo x > /m/{name}\n\
             FROM scratch\nCOPY --from=build /seen /\n"
        )
    };
    let (first, other) = (Machine::new(), Machine::new());
    import_busybox(&first);
    if !runs_steps(&first) {
        return;
    }
    let cache = format!("{cache},mounts=m");
    first.build(&step("one"), &["--cache-to", &cache]);
    import_busybox(&other);
    let files = other.files(&step("two"), &["--cache-from", &cache, "--cache-to", &cache]);
    assert_eq!(fs::read_to_string(files.join("seen")).unwrap(), "one\n");
    let files = first.files(&step("three"), &["--no-cache", "--cache-from", &cache]);
    assert_eq!(fs::read_to_string(files.join("seen")).unwrap(), "");
}

// B-122, B-126
#[test]
fn a_cache_mount_travels_through_a_registry() {
    with_registry("", |registry, _| {
        check_mounts(&format!("type=registry,ref={}/team/cache", registry.host()));
    });
}
