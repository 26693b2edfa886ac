//! Generated documentation: the table of the language's rules in `docs/dockerfile.md`, whose last column
//! names the tests that prove each rule.
//!
//! Numbers and titles are written by hand in the table itself; tests cite the numbers (`D-123`) in the
//! comments above or inside them. A citation anywhere else counts for nothing.

mod citations;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use crate::command::{listed, repository};
use citations::Cited;

/// The document.
const DOCUMENT: &str = "docs/dockerfile.md";
/// Rules that no test proves yet, one a line. It may only become shorter, and not exist when it is empty.
const UNPROVED: &str = "xtask/unproved-rules.txt";
/// Number of the last rule.
const LAST: u16 = 349;
/// Tests named for one rule before the others are only counted.
const NAMED: usize = 4;

/// Writes what is generated.
pub fn main() -> Result<()> {
    let cited = cited()?;
    let document = generate(&read(DOCUMENT)?, &cited);
    write(DOCUMENT, &document)?;
    let unproved: Vec<String> =
        unproved()?.into_iter().filter(|rule| !cited.contains_key(rule)).map(shown).collect();
    if unproved.is_empty() {
        let path = repository().join(UNPROVED);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove `{UNPROVED}`"))?;
        }
    } else {
        write(UNPROVED, &(unproved.join("\n") + "\n"))?;
    }
    Ok(())
}

/// Returns what is wrong with the rules, their tests and the document.
pub fn check() -> Result<Vec<String>> {
    Ok(complaints(&read(DOCUMENT)?, &cited()?, &unproved()?))
}

fn complaints(document: &str, cited: &Cited, unproved: &BTreeSet<u16>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut rows: BTreeMap<u16, usize> = BTreeMap::new();
    for (rule, _) in document.lines().filter_map(row) {
        *rows.entry(rule).or_default() += 1;
    }
    for rule in 1..=LAST {
        match (rows.remove(&rule), cited.contains_key(&rule), unproved.contains(&rule)) {
            (Some(1), _, _) => {}
            _ => complaints.push(format!("{DOCUMENT}: {} is not in the table exactly once", shown(rule))),
        }
        match (cited.contains_key(&rule), unproved.contains(&rule)) {
            (false, false) => complaints.push(format!("{}: cited by no test", shown(rule))),
            (true, true) => {
                let advice = "proved now; `cargo xtask docs` takes it off the list";
                complaints.push(format!("{UNPROVED}: {} is {advice}", shown(rule)));
            }
            (true, false) | (false, true) => {}
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
            proof.push_str("not proved yet");
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

fn unproved() -> Result<BTreeSet<u16>> {
    if !repository().join(UNPROVED).exists() {
        return Ok(BTreeSet::new());
    }
    let mut rules = BTreeSet::new();
    for line in read(UNPROVED)?.lines() {
        match line.strip_prefix("D-").and_then(|number| number.parse().ok()) {
            Some(rule) => drop(rules.insert(rule)),
            None => bail!("{UNPROVED}: `{line}` is no rule"),
        }
    }
    Ok(rules)
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
        assert_eq!(complaints(&document, &cited, &BTreeSet::new()), [""; 0]);
    }

    #[test]
    fn rules_without_tests_and_tests_without_rules_are_named() {
        let mut cited = all_cited();
        cited.remove(&3);
        cited.insert(999, BTreeSet::from(["a::c".to_owned()]));
        let document = document(&cited);
        assert_eq!(
            complaints(&document, &cited, &BTreeSet::from([4])),
            [
                "D-003: cited by no test",
                "xtask/unproved-rules.txt: D-004 is proved now; `cargo xtask docs` takes it off the list",
                "D-999: cited by a::c, but there is no such rule",
            ]
        );
        assert_eq!(complaints(&document, &cited, &BTreeSet::from([3])).len(), 1);
    }

    #[test]
    fn stale_missing_and_doubled_rows_are_named() {
        let cited = all_cited();
        let good = document(&cited);
        let stale = good.replace("| D-007 | a title | `a::b` |", "| D-007 | a title | `a::x` |");
        assert_eq!(
            complaints(&stale, &cited, &BTreeSet::new()),
            ["docs/dockerfile.md: stale; `cargo xtask docs` makes it anew"]
        );
        let missing = good.replace("| D-007 | a title | `a::b` |\n", "");
        assert_eq!(
            complaints(&missing, &cited, &BTreeSet::new()),
            ["docs/dockerfile.md: D-007 is not in the table exactly once"]
        );
        let doubled = good.replace("| D-007 |", "| D-007 | a title | `a::x` |\n| D-007 |");
        assert_eq!(complaints(&doubled, &cited, &BTreeSet::new()).len(), 2);
        assert_eq!(generate(&doubled, &cited), good);
    }

    #[test]
    fn many_tests_are_counted() {
        let tests = (0..6).map(|number| format!("a::t{number}")).collect();
        let text = generate("| D-001 | t | |\n| D-002 | t | |\n", &Cited::from([(1, tests)]));
        assert_eq!(
            text,
            "| D-001 | t | `a::t0`, `a::t1`, `a::t2`, `a::t3`, and 2 more |\n| D-002 | t | not proved yet |\n"
        );
    }
}
