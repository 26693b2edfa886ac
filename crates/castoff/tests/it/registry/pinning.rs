//! Which image a tag stands for: when registries are asked, and what is done without.

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
