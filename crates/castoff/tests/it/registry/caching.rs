//! Shared caches in registries. No step of these builds runs a program.

use std::fs;

use super::kit::{Machine, text, with_registry};

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
