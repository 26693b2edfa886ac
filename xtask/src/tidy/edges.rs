//! Which crate may depend on which, and the check of it over `cargo metadata`.

use std::collections::BTreeSet;

use serde_json::Value;

/// A crate of the workspace: its name, its floor, and what its production code may depend on.
struct Rule {
    name: &'static str,
    floor: u8,
    edges: &'static [&'static str],
}

/// The table of `ARCHITECTURE.md`. A new edge is a design change and is made here first.
const RULES: &[Rule] = &[
    Rule { name: "castoff-oci", floor: 0, edges: &[] },
    Rule { name: "castoff-dockerfile", floor: 0, edges: &[] },
    Rule { name: "castoff-graph", floor: 1, edges: &["castoff-oci"] },
    Rule { name: "castoff-layer", floor: 1, edges: &["castoff-oci"] },
    Rule { name: "castoff-store", floor: 1, edges: &["castoff-oci"] },
    Rule { name: "castoff-registry", floor: 1, edges: &["castoff-oci"] },
    Rule { name: "castoff-sandbox", floor: 1, edges: &[] },
    Rule { name: "castoff-ssh", floor: 1, edges: &[] },
    Rule {
        name: "castoff-inspect",
        floor: 2,
        edges: &["castoff-graph", "castoff-layer", "castoff-store", "castoff-oci"],
    },
    Rule { name: "castoff-plan", floor: 2, edges: &["castoff-dockerfile", "castoff-graph", "castoff-oci"] },
    Rule {
        name: "castoff-solver",
        floor: 2,
        edges: &[
            "castoff-graph",
            "castoff-layer",
            "castoff-store",
            "castoff-registry",
            "castoff-sandbox",
            "castoff-ssh",
            "castoff-oci",
        ],
    },
    Rule {
        name: "castoff",
        floor: 3,
        edges: &[
            "castoff-oci",
            "castoff-dockerfile",
            "castoff-graph",
            "castoff-layer",
            "castoff-store",
            "castoff-registry",
            "castoff-sandbox",
            "castoff-ssh",
            "castoff-inspect",
            "castoff-plan",
            "castoff-solver",
        ],
    },
];

/// Outside the floors: the test kit, which production code may not use, and this program.
const TESTKIT: &str = "castoff-testkit";
const XTASK: &str = "xtask";

/// Returns a complaint for every edge and every crate that is not in the table.
pub fn check(metadata: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages(metadata) {
        let name = text(package, "name");
        if name == TESTKIT {
            continue;
        }
        let rule = RULES.iter().find(|rule| rule.name == name);
        if rule.is_none() && name != XTASK {
            complaints.push(format!("crates/{name}: not in the table of crates"));
            continue;
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = text(dependency, "name");
            // Crates of the workspace are those without a registry.
            if !dependency["source"].is_null() {
                continue;
            }
            let for_tests = dependency["kind"] == "dev";
            if !allowed(rule, target, for_tests) {
                let tests = if for_tests { " in its tests" } else { "" };
                complaints.push(format!("crates/{name}: may not depend on {target}{tests}"));
            }
        }
    }
    complaints
}

/// Returns the names of the crates under `crates/`.
pub fn crate_names(metadata: &Value) -> BTreeSet<String> {
    packages(metadata).map(|package| text(package, "name").to_owned()).filter(|name| name != XTASK).collect()
}

fn allowed(rule: Option<&Rule>, target: &str, for_tests: bool) -> bool {
    // xtask drives the product through its command line only.
    let Some(rule) = rule else { return false };
    if rule.edges.contains(&target) {
        return true;
    }
    let lower = RULES.iter().any(|other| other.name == target && other.floor < rule.floor);
    for_tests && (target == TESTKIT || lower)
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(name: &str, target: &str, kind: Option<&str>) -> Vec<String> {
        check(&json!({"packages": [{"name": name, "dependencies": [
            {"name": target, "source": null, "kind": kind},
            {"name": "serde", "source": "registry", "kind": null},
        ]}]}))
    }

    #[test]
    fn edges_of_the_table_pass() {
        assert!(complaints("castoff-plan", "castoff-graph", None).is_empty());
        assert!(complaints("castoff", "castoff-solver", None).is_empty());
    }

    #[test]
    fn sideways_and_upward_edges_are_named() {
        assert_eq!(
            complaints("castoff-store", "castoff-layer", None),
            ["crates/castoff-store: may not depend on castoff-layer"]
        );
        assert_eq!(complaints("castoff-plan", "castoff-solver", None).len(), 1);
        assert_eq!(complaints("castoff-oci", "castoff", Some("dev")).len(), 1);
        assert_eq!(complaints("xtask", "castoff-oci", None).len(), 1);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        assert!(complaints("castoff-store", TESTKIT, Some("dev")).is_empty());
        assert_eq!(complaints("castoff-store", TESTKIT, None).len(), 1);
    }

    #[test]
    fn unknown_crates_are_named() {
        assert_eq!(
            complaints("castoff-utils", "castoff-oci", None),
            ["crates/castoff-utils: not in the table of crates"]
        );
    }
}
