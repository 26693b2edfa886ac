//! Rules over the text of one file.

use std::collections::BTreeSet;

/// Above this a file has a second noun in it.
const LINES: usize = 800;

/// Checks one Rust file or manifest: ASCII, size, and a header on every module.
pub fn check_source(path: &str, bytes: &[u8]) -> Vec<String> {
    let mut complaints = Vec::new();
    let text = String::from_utf8_lossy(bytes);
    for (number, line) in text.lines().enumerate() {
        if !line.is_ascii() {
            complaints.push(format!("{path}:{}: not ASCII", number + 1));
        }
    }
    if !path.ends_with(".rs") {
        return complaints;
    }
    let lines = text.lines().count();
    if lines > LINES {
        complaints.push(format!("{path}: {lines} lines, more than {LINES}"));
    }
    // A file of tests is explained by the names of its tests; its binary's main file by a header.
    let named_by_its_tests =
        path.ends_with("/tests.rs") || path.contains("/tests/") && !path.ends_with("/main.rs");
    if !named_by_its_tests && !text.trim_start().starts_with("//!") {
        complaints.push(format!("{path}: no `//!` header"));
    }
    complaints
}

/// Checks that every outside dependency of the workspace stands under a comment with its reason.
/// Neighbours may share one: a run of dependencies without a blank line belongs to the comment above it.
pub fn check_reasons(manifest: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside = false;
    let mut explained = false;
    for (number, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            explained = false;
        } else if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if inside && !explained && line.contains('=') {
            let name = line.split('=').next().unwrap_or_default().trim();
            complaints
                .push(format!("Cargo.toml:{}: `{name}` has no reason in a comment above it", number + 1));
        }
    }
    complaints
}

/// Checks that the map names every crate, and none that does not exist.
pub fn check_map(map: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let named: BTreeSet<&str> = map
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
        .map(|word| word.trim_matches('-'))
        .filter(|word| *word == "castoff" || word.starts_with("castoff-"))
        .collect();
    let missing = crates
        .iter()
        .filter(|name| !named.contains(name.as_str()))
        .map(|name| format!("ARCHITECTURE.md: does not name {name}"));
    let unknown = named
        .iter()
        .filter(|name| !crates.contains(**name))
        .map(|name| format!("ARCHITECTURE.md: names {name}, which does not exist"));
    missing.chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_needs_a_header_ascii_and_a_bound() {
        assert!(check_source("a.rs", b"//! One idea.\n").is_empty());
        assert_eq!(check_source("a.rs", b"fn main() {}\n"), ["a.rs: no `//!` header"]);
        assert!(check_source("crates/a/tests/it/b.rs", b"use a::B;\n").is_empty());
        assert_eq!(check_source("a.rs", b"//! A.\n// \xc3\xa9\n"), ["a.rs:2: not ASCII"]);
        let long = format!("//! A.\n{}", "\n".repeat(LINES));
        assert_eq!(check_source("a.rs", long.as_bytes()), ["a.rs: 801 lines, more than 800"]);
        assert!(check_source("Cargo.toml", b"[package]\n").is_empty());
    }

    #[test]
    fn a_dependency_needs_a_reason() {
        let manifest = "[workspace]\nresolver = \"3\"\n[workspace.dependencies]\n# Both for tests.\na = \"1\"\nb = \"1\"\n\nc = \"1\"\n[profile.dev]\ndebug = 1\n";
        assert_eq!(check_reasons(manifest), ["Cargo.toml:8: `c` has no reason in a comment above it"]);
    }

    #[test]
    fn the_map_and_the_crates_agree() {
        let crates = BTreeSet::from(["castoff".to_owned(), "castoff-oci".to_owned()]);
        assert!(check_map("`castoff` uses castoff-oci.", &crates).is_empty());
        assert_eq!(
            check_map("castoff, castoff-gone", &crates),
            [
                "ARCHITECTURE.md: does not name castoff-oci",
                "ARCHITECTURE.md: names castoff-gone, which does not exist"
            ]
        );
    }
}
