//! Which image a tag stands for: when registries are asked, and what is done without.

use std::fs;

use super::THREE;
use super::kit::{Machine, with_registry};

const ONE: &str = "FROM scratch\nCOPY one /\n";
const TWO: &str = "FROM scratch\nCOPY one two /\n";

// B-033, B-091
#[test]
fn a_policy_says_when_the_registry_is_asked() {
    with_registry("", |registry, machine| {
        let name = format!("{}/base:1", registry.host());
        let from = format!("FROM {name}\n");
        let has_two = |flags: &[&str]| machine.files(&from, flags).join("two").exists();
        registry.push("base:1", ONE, &[], &[]);
        let error = machine.build_fails(&from, &["--pull=never"]);
        assert!(error.contains("the store does not have it for linux/"), "{error}");
        assert!(error.contains(&format!("hint: `castoff pull {name}`")), "{error}");
        assert!(error.contains("Dockerfile:1"), "{error}");
        assert!(!has_two(&["--pull=missing"]));
        registry.push("base:1", TWO, &[], &[]);
        for flag in ["--pull=missing", "--pull=never", "--pull=false"] {
            assert!(!has_two(&[flag]), "{flag}");
        }
        assert!(has_two(&["--pull=newer"]));
        registry.push("base:1", ONE, &[], &[]);
        assert!(!has_two(&["--pull=always"]));
        // Without an answer, what is known is good enough for `newer`, and for `always` not.
        registry.kill();
        assert!(!has_two(&["--pull=newer"]));
        assert!(machine.build_fails(&from, &["--pull=always"]).contains(&name));
        let error = Machine::new().build_fails(&from, &["--pull=newer"]);
        assert!(error.contains("/v2/base/manifests/1"), "{error}");
    });
}

// B-091
#[test]
fn offline_no_registry_is_asked() {
    with_registry("", |registry, machine| {
        registry.push("base:1", THREE, &[], &[]);
        let name = format!("{}/base:1", registry.host());
        let from = format!("FROM {name}\n");
        let error = machine.build_fails(&from, &["--offline"]);
        assert!(error.contains("not asked, because castoff is offline"), "{error}");
        assert!(error.contains(&format!("hint: `castoff pull {name}` puts it into the store")), "{error}");
        // The documents are there then, the layers are not.
        machine.build(&format!("{from}ENV A=b\n"), &[]);
        machine.build(&format!("{from}ENV A=c\n"), &["--offline"]);
        let error = machine.build_fails(&from, &["--offline", "-o", "out"]);
        assert!(error.contains("not asked, because castoff is offline"), "{error}");
        let error = machine.fails(&["--offline", "pull", &name]);
        assert!(error.contains("not asked, because castoff is offline"), "{error}");
        machine.castoff(&["pull", &name]);
        assert!(machine.files(&from, &["--offline"]).join("three").exists());
        assert!(machine.files(&from, &["--offline", "--pull=newer"]).join("three").exists());
        let login = ["login", "--offline", "-u", "a", "--password-stdin", &registry.host()];
        assert!(machine.fails(&login).contains("castoff is offline"));
    });
}

#[test]
fn a_lock_keeps_a_moving_tag_where_it_was() {
    with_registry("", |registry, machine| {
        let name = format!("{}/base:1", registry.host());
        let from = format!("FROM {name} AS base\nFROM {name}\nCOPY --from=base /one /again\n");
        registry.push("base:1", ONE, &[], &[]);
        machine.write("context/Dockerfile", &from);
        // A build never writes one, and without one nothing is locked.
        machine.build(&from, &[]);
        let error = machine.build_fails(&from, &["--locked"]);
        assert!(error.contains("there is no castoff.lock, and `--locked` was given"), "{error}");
        assert!(error.contains("hint: `castoff update` writes a lock"), "{error}");
        let lock = machine.path("context/castoff.lock");
        assert!(!lock.exists());
        let said = machine.castoff(&["update", "--dry-run", "context"]);
        assert!(said.starts_with(&format!("{name}: sha256:")) && !lock.exists(), "{said}");
        assert_eq!(machine.castoff(&["update", "context"]), said);
        let first = fs::read_to_string(&lock).unwrap();
        assert!(first.contains(&format!("[[image]]\nname = \"{name}\"\ndigest = \"sha256:")), "{first}");
        assert_eq!(machine.castoff(&["update", "--check", "context"]), "");

        registry.push("base:1", TWO, &[], &[]);
        // On another machine, with whatever policy, it is what it was.
        let other = Machine::new();
        other.write("context/castoff.lock", &first);
        for flags in [&["--locked"][..], &["--pull"], &["--locked", "--pull=newer"]] {
            assert!(!other.files(&from, flags).join("two").exists(), "{flags:?}");
        }
        let shown = other.command(&["build", "--progress=plain", "context"]).output().unwrap();
        let shown = super::text(&shown.stderr);
        assert!(shown.contains("[internal] load castoff.lock"), "{shown}");
        assert!(shown.contains("(pinned by castoff.lock)"), "{shown}");
        assert!(other.files(&from, &["--no-lock"]).join("two").exists());

        let out = machine.command(&["update", "--check", "context"]).output().unwrap();
        let said = super::text(&out.stdout);
        assert_eq!(out.status.code(), Some(1));
        assert!(said.starts_with(&format!("{name}: sha256:")) && said.contains(" -> sha256:"), "{said}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), first);
        assert_eq!(machine.castoff(&["update", "context"]), said);
        assert!(machine.files(&from, &["--locked"]).join("two").exists());
        // What is not in it is refused at its line.
        let more = format!("FROM {name}\nCOPY --from=docker.io/library/none:1 /x /\n");
        let error = machine.build_fails(&more, &["--locked"]);
        assert!(error.contains("`none:1` is not in castoff.lock, and `--locked` was given"), "{error}");
        assert!(error.contains("Dockerfile:2") && error.contains("hint: `castoff update` adds"), "{error}");
    });
}

#[test]
fn one_name_is_updated_alone() {
    with_registry("", |registry, machine| {
        let name = |image: &str| format!("{}/{image}:1", registry.host());
        for image in ["a", "b"] {
            registry.push(&format!("{image}:1"), ONE, &[], &[]);
        }
        // An image that was built here is nobody else's, whatever the registry has of that name.
        let mine = name("mine");
        machine.build("FROM scratch\nLABEL a=b\n", &["-t", &mine]);
        registry.push("mine:1", ONE, &[], &[]);
        machine.write(
            "context/Dockerfile.web",
            format!("FROM {mine} AS mine\nFROM {} AS a\nFROM {}\n", name("a"), name("b")),
        );
        let update = ["update", "-f", "context/Dockerfile.web", "context"];
        let out = machine.command(&update).output().unwrap();
        let note = format!("note: `{mine}` is an image of this store alone");
        assert!(super::text(&out.stderr).contains(&note), "{}", super::text(&out.stderr));
        let lock = machine.path("context/Dockerfile.web.castoff.lock");
        assert!(!fs::read_to_string(&lock).unwrap().contains(&mine));
        // Once it is there, it can be found there.
        machine.castoff(&["push", &mine]);
        assert!(machine.castoff(&update).starts_with(&format!("{mine}: sha256:")));
        let first = fs::read_to_string(&lock).unwrap();
        for image in ["a", "b"] {
            registry.push(&format!("{image}:1"), TWO, &[], &[]);
        }
        let said = machine.castoff(&[&update[..], &["--only", &name("b")]].concat());
        assert_eq!(said.lines().count(), 1, "{said}");
        let second = fs::read_to_string(&lock).unwrap();
        let changed = first.lines().zip(second.lines()).filter(|(old, new)| old != new).count();
        assert_eq!((first.lines().count(), changed), (second.lines().count(), 1), "{first}{second}");
        let error = machine.fails(&[&update[..], &["--only", "other"]].concat());
        assert!(error.contains("`other` is no name that the Dockerfile uses"), "{error}");
        // What is not in use any more goes.
        machine.write("context/Dockerfile.web", format!("FROM {}\n", name("a")));
        let said = machine.castoff(&update);
        assert!(said.contains(&name("b")) && said.contains("(not in use)"), "{said}");
        assert!(!fs::read_to_string(&lock).unwrap().contains(&name("b")));
    });
}

#[test]
fn a_lock_pins_an_index_for_all_platforms() {
    with_registry("", |registry, machine| {
        machine.write("context/one", "one\n");
        let name = format!("{}/both:1", registry.host());
        machine.write("context/Dockerfile", ONE);
        let both = ["build", "--push", "-t", &name, "--platform", "linux/amd64,linux/arm64", "context"];
        machine.castoff(&both);
        let user = Machine::new();
        user.write("context/Dockerfile", format!("FROM {name}\n"));
        user.castoff(&["update", "context"]);
        let lock = fs::read_to_string(user.path("context/castoff.lock")).unwrap();
        assert_eq!(lock.matches("[[image]]").count(), 1, "{lock}");
        for platform in ["linux/amd64", "linux/arm64"] {
            user.castoff(&["build", "--locked", "--platform", platform, "-o", "out", "context"]);
        }
        // The rule has nothing to say of what the lock pins.
        let latest = format!("{}/both", registry.host());
        machine.castoff(&["build", "--push", "-t", &latest, "context"]);
        user.write("context/Dockerfile", format!("FROM {latest}\nUSER 1\n"));
        let found = user.command(&["check", "context"]).output().unwrap();
        assert!(super::text(&found.stdout).contains("UnpinnedBase"));
        user.castoff(&["update", "context"]);
        let found = user.command(&["check", "context"]).output().unwrap();
        assert!(!super::text(&found.stdout).contains("UnpinnedBase"));
    });
}
