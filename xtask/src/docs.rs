//! Generated documentation: the table of the language's rules in `docs/dockerfile.md`, whose last column
//! names the tests that prove each rule.
//!
//! Numbers and titles are written by hand in the table itself; tests cite the numbers (`D-123`) in the
//! comments above or inside them. A citation anywhere else counts for nothing.

mod citations;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::command::{listed, repository};
use citations::Cited;

/// The document.
const DOCUMENT: &str = "docs/dockerfile.md";
/// Number of the last rule.
const LAST: u16 = 349;
/// Tests named for one rule before the others are only counted.
const NAMED: usize = 4;

/// Writes what is generated.
pub fn main() -> Result<()> {
    let cited = cited()?;
    let document = generate(&read(DOCUMENT)?, &cited);
    write(DOCUMENT, &document)?;
    Ok(())
}

/// Returns what is wrong with the rules, their tests and the document.
pub fn check() -> Result<Vec<String>> {
    Ok(complaints(&read(DOCUMENT)?, &cited()?))
}

fn complaints(document: &str, cited: &Cited) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut rows: BTreeMap<u16, usize> = BTreeMap::new();
    for (rule, _) in document.lines().filter_map(row) {
        *rows.entry(rule).or_default() += 1;
    }
    for rule in 1..=LAST {
        if rows.remove(&rule) != Some(1) {
            complaints.push(format!("{DOCUMENT}: {} is not in the table exactly once", shown(rule)));
        }
        if !cited.contains_key(&rule) {
            complaints.push(format!("{}: cited by no test", shown(rule)));
        }
    }
    complaints.extend(rows.keys().map(|rule| format!("{DOCUMENT}: there is no {}", shown(*rule))));
    for (rule, tests) in cited.range(LAST + 1..) {
        let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
        complaints.push(format!(
            "{}: cited by {}, but there is no such rule",
            shown(*rule),
            tests.join(", ")
        ));
    }
    if generate(document, cited) != document {
        complaints.push(format!("{DOCUMENT}: stale; `cargo xtask docs` makes it anew"));
    }
    complaints
}

fn shown(rule: u16) -> String {
    format!("D-{rule:03}")
}

/// Splits a row of the table into its number and its title.
fn row(line: &str) -> Option<(u16, &str)> {
    let (number, rest) = line.strip_prefix("| D-")?.split_once(" | ")?;
    let (title, _) = rest.split_once(" | ")?;
    Some((number.parse().ok()?, title))
}

/// Returns the document with the last column of each row made anew. Of rows that are there twice, as a
/// merge may leave them, the first stays.
fn generate(document: &str, cited: &Cited) -> String {
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    for line in document.lines() {
        let Some((rule, title)) = row(line) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        if !seen.insert(rule) {
            continue;
        }
        let tests: Vec<String> =
            cited.get(&rule).into_iter().flatten().map(|test| format!("`{test}`")).collect();
        let mut proof = tests.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        if tests.len() > NAMED {
            let _ = write!(proof, ", and {} more", tests.len() - NAMED);
        }
        if proof.is_empty() {
            proof.push_str("nothing");
        }
        let _ = writeln!(text, "| {} | {title} | {proof} |", shown(rule));
    }
    text
}

/// Finds the tests that cite each rule.
fn cited() -> Result<Cited> {
    let mut cited = Cited::new();
    for file in listed("crates")?.into_iter().chain(listed("xtask/differential")?) {
        if file.ends_with(".rs") {
            citations::of_rust(&file, &read(&file)?, &mut cited);
        } else if file.starts_with("xtask/") && file.ends_with(".toml") {
            citations::of_cases(&file, &read(&file)?, &mut cited);
        }
    }
    Ok(cited)
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(repository().join(file)).with_context(|| format!("cannot read `{file}`"))
}

fn write(file: &str, text: &str) -> Result<()> {
    std::fs::write(repository().join(file), text).with_context(|| format!("cannot write `{file}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(cited: &Cited) -> String {
        let rows: String = (1..=LAST).map(|rule| format!("| {} | a title | x |\n", shown(rule))).collect();
        generate(&format!("# Rules\n\n{rows}"), cited)
    }

    fn all_cited() -> Cited {
        (1..=LAST).map(|rule| (rule, BTreeSet::from(["a::b".to_owned()]))).collect()
    }

    #[test]
    fn a_document_that_was_generated_is_in_order() {
        let cited = all_cited();
        let document = document(&cited);
        assert!(document.contains("\n| D-007 | a title | `a::b` |\n"), "{document}");
        assert_eq!(complaints(&document, &cited), [""; 0]);
    }

    #[test]
    fn rules_without_tests_and_tests_without_rules_are_named() {
        let mut cited = all_cited();
        cited.remove(&3);
        cited.insert(999, BTreeSet::from(["a::c".to_owned()]));
        let document = document(&cited);
        assert_eq!(
            complaints(&document, &cited),
            ["D-003: cited by no test", "D-999: cited by a::c, but there is no such rule",]
        );
    }

    #[test]
    fn stale_missing_and_doubled_rows_are_named() {
        let cited = all_cited();
        let good = document(&cited);
        let stale = good.replace("| D-007 | a title | `a::b` |", "| D-007 | a title | `a::x` |");
        assert_eq!(
            complaints(&stale, &cited),
            ["docs/dockerfile.md: stale; `cargo xtask docs` makes it anew"]
        );
        let missing = good.replace("| D-007 | a title | `a::b` |\n", "");
        assert_eq!(
            complaints(&missing, &cited),
            ["docs/dockerfile.md: D-007 is not in the table exactly once"]
        );
        let doubled = good.replace("| D-007 |", "| D-007 | a title | `a::x` |\n| D-007 |");
        assert_eq!(complaints(&doubled, &cited).len(), 2);
        assert_eq!(generate(&doubled, &cited), good);
    }

    #[test]
    fn many_tests_are_counted() {
        let tests = (0..6).map(|number| format!("a::t{number}")).collect();
        let text = generate("| D-001 | t | |\n| D-002 | t | |\n", &Cited::from([(1, tests)]));
        assert_eq!(
            text,
            "| D-001 | t | `a::t0`, `a::t1`, `a::t2`, `a::t3`, and 2 more |\n| D-002 | t | nothing |\n"
        );
    }
}
