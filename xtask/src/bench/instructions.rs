//! Counts of instructions, which do not depend on how busy the machine is.
//!
//! Fixed work in `crates/*/benches/instructions.rs` runs below callgrind, and is compared with the numbers of
//! `xtask/bench/instructions.toml`. They are of one compiler and one kind of processor; with others they
//! are shown and not judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::directory;
use super::options::Options;
use crate::command::{capture, repository, run, which};

/// Crates that have work to count.
const CRATES: &[&str] = &["castoff-layer", "castoff-plan", "castoff-store"];

/// How much more than before is a regression.
const MOST: f64 = 1.10;

/// The content of `xtask/bench/instructions.toml`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// What `rustc --version` said.
    toolchain: String,
    /// The processor's architecture; valgrind shows every one of it about the same.
    architecture: String,
    /// What `valgrind --version` said.
    valgrind: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts, and fails on what has become dearer.
pub(super) fn main(options: &Options) -> Result<()> {
    ensure!(which("valgrind").is_some(), "valgrind is needed (cargo xtask setup)");
    let counted = Known {
        toolchain: capture(Command::new("rustc").arg("--version").current_dir(repository()))?
            .trim()
            .to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        valgrind: capture(Command::new("valgrind").arg("--version"))?.trim().to_owned(),
        instructions: count_all()?,
    };
    let path = repository().join("xtask/bench/instructions.toml");
    if options.bless {
        let head = "# Instructions of fixed work, counted by `cargo xtask bench instructions --bless`.\n";
        std::fs::write(&path, format!("{head}{}", written(&counted)))?;
        println!("{} numbers written", counted.instructions.len());
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).context("cannot read the numbers to compare with")?;
    let known: Known = toml::from_str(&text).context("`instructions.toml` is not understood")?;
    for (operation, count) in &counted.instructions {
        let before = known.instructions.get(operation);
        let ratio =
            before.map_or("new".to_owned(), |before| format!("{:.3}", *count as f64 / *before as f64));
        println!("{operation:<20}{count:>14}{ratio:>10}");
    }
    let complaints = complaints(&known, &counted);
    if !known.is_comparable(&counted) {
        println!(
            "not judged: the numbers are of {}, {}, {}; this is {}, {}, {}",
            known.toolchain,
            known.architecture,
            known.valgrind,
            counted.toolchain,
            counted.architecture,
            counted.valgrind
        );
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    ensure!(
        complaints.is_empty(),
        "{} operations are not as they were (--bless accepts them)",
        complaints.len()
    );
    Ok(())
}

impl Known {
    fn is_comparable(&self, other: &Known) -> bool {
        self.toolchain == other.toolchain
            && self.architecture == other.architecture
            && self.valgrind == other.valgrind
    }
}

/// Says what is dearer than before, and what is not in both.
fn complaints(known: &Known, counted: &Known) -> Vec<String> {
    let mut complaints = Vec::new();
    for (operation, before) in &known.instructions {
        match counted.instructions.get(operation) {
            None => complaints.push(format!("{operation}: is not measured any more")),
            Some(now) if *now as f64 > *before as f64 * MOST => complaints.push(format!(
                "{operation}: {:.1} % more instructions than before",
                (*now as f64 / *before as f64 - 1.0) * 100.0
            )),
            Some(_) => {}
        }
    }
    let new = counted.instructions.keys().filter(|operation| !known.instructions.contains_key(*operation));
    complaints.extend(new.map(|operation| format!("{operation}: there is no number to compare with")));
    complaints
}

fn written(known: &Known) -> String {
    let mut text = format!(
        "toolchain = \"{}\"\narchitecture = \"{}\"\nvalgrind = \"{}\"\n\n[instructions]\n",
        known.toolchain, known.architecture, known.valgrind
    );
    for (operation, count) in &known.instructions {
        text.push_str(&format!("{operation} = {count}\n"));
    }
    text
}

fn count_all() -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for binary in binaries()? {
        for operation in capture(&mut Command::new(&binary))?.lines() {
            counts.insert(operation.to_owned(), count(&binary, operation)?);
        }
    }
    Ok(counts)
}

/// Builds the programs that hold the work.
fn binaries() -> Result<Vec<PathBuf>> {
    let build = || {
        let mut cargo = Command::new("cargo");
        cargo.args(["bench", "--no-run", "--quiet", "--locked", "--bench", "instructions"]);
        for name in CRATES {
            cargo.args(["--package", name]);
        }
        cargo.current_dir(repository());
        cargo
    };
    // Once for people, to whom it speaks when something is wrong, and once for the names of files.
    run(&mut build())?;
    let messages = capture(build().arg("--message-format=json"))?;
    let mut binaries = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo did not print JSON")?;
        if let (Some(path), true) =
            (message["executable"].as_str(), message["target"]["name"] == "instructions")
        {
            binaries.push(PathBuf::from(path));
        }
    }
    binaries.sort();
    ensure!(binaries.len() == CRATES.len(), "cargo made {} programs", binaries.len());
    Ok(binaries)
}

/// Counts what one operation executes.
fn count(binary: &PathBuf, operation: &str) -> Result<u64> {
    std::fs::create_dir_all(directory())?;
    let out = directory().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--toggle-collect=instructions::measured"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(binary).arg(operation);
    // Addresses and hash seeds decide a little of what is executed; less without the user's environment.
    valgrind.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", directory());
    capture(&mut valgrind)?;
    let text = std::fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    match total {
        Some(0) | None => bail!("callgrind counted nothing of {operation}"),
        Some(total) => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(instructions: &[(&str, u64)]) -> Known {
        Known {
            toolchain: "rustc 1".to_owned(),
            architecture: "x86_64".to_owned(),
            valgrind: "valgrind-3".to_owned(),
            instructions: instructions.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn more_than_a_tenth_more_is_a_regression() {
        let before = known(&[("parse", 1000), ("gone", 1)]);
        assert_eq!(
            complaints(&before, &known(&[("parse", 1101), ("new", 5)])),
            [
                "gone: is not measured any more",
                "parse: 10.1 % more instructions than before",
                "new: there is no number to compare with"
            ]
        );
        assert!(complaints(&known(&[("parse", 1000)]), &known(&[("parse", 1100)])).is_empty());
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let numbers = known(&[("a-b", 12), ("c", 3)]);
        assert_eq!(toml::from_str::<Known>(&written(&numbers)).unwrap(), numbers);
    }
}
