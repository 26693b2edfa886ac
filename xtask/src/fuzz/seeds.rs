//! First inputs for the fuzzer, taken from the examples and from the texts in tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{listed, repository, run};
use crate::rust::{Token, tokens};

/// Writes the seeds of a target. Names follow from content, so that doing it again changes nothing.
pub fn write(target: &str, directory: &Path) -> Result<()> {
    let seeds: BTreeSet<String> = match target {
        "lexer" | "parser" | "lowering" => dockerfiles()?,
        "expansion" => texts(&["crates/castoff-dockerfile/tests/it/expand.rs"])?
            .filter(|text| text.contains(['$', '\'', '"', '\\', '`']))
            .map(|text| format!("@{text}\na=value\nb=\nc=a/b/c\n"))
            .collect(),
        "ignore" => texts(&["crates/castoff-graph/src/pattern/tests.rs"])?
            .map(|text| format!("{text}\n!a\n\0a/b/{text}"))
            .collect(),
        "reference" => texts(&["crates/castoff-oci"])?.filter(|text| text.len() < 200).collect(),
        "tar" => return archives(directory),
        _ => BTreeSet::new(),
    };
    for (number, seed) in seeds.iter().enumerate() {
        let path = directory.join(format!("{number:04}"));
        std::fs::write(&path, seed).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The Dockerfiles of the examples, and the texts of tests that are instructions.
fn dockerfiles() -> Result<BTreeSet<String>> {
    let mut seeds = BTreeSet::new();
    for file in listed("examples")? {
        if file.ends_with("Dockerfile") {
            seeds.insert(read(&file)?);
        }
    }
    let tests = texts(&["crates/castoff-dockerfile/tests", "crates/castoff-plan/tests"])?;
    let begins = |text: &str| {
        let word = text.trim_start().split([' ', '\n']).next().unwrap_or_default();
        word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase()) || text.trim_start().starts_with('#')
    };
    seeds.extend(tests.filter(|text| begins(text)).map(|text| match text.contains("FROM") {
        true => text,
        false => format!("FROM x\n{text}"),
    }));
    Ok(seeds)
}

/// The string literals of files, or of the Rust files below directories.
fn texts(places: &[&str]) -> Result<impl Iterator<Item = String> + use<>> {
    let mut texts = Vec::new();
    for place in places {
        for file in listed(place)? {
            if file.ends_with(".rs") {
                texts.extend(tokens(&read(&file)?).into_iter().filter_map(|token| match token {
                    Token::Text(text) => Some(text),
                    Token::Comment(_) | Token::Word(_) | Token::Sign(_) => None,
                }));
            }
        }
    }
    Ok(texts.into_iter())
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(repository().join(file)).with_context(|| format!("cannot read `{file}`"))
}

/// A small directory in every form and compression.
fn archives(directory: &Path) -> Result<()> {
    for format in ["v7", "ustar", "gnu", "oldgnu", "pax"] {
        for compression in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
            let name = format!("{format}{compression}");
            // Its own directory is a small one with files in it.
            run(Command::new("tar")
                .args(["--create", "--format", format, "--file"])
                .arg(directory.join(name))
                .args(compression.split_terminator(' '))
                .args(["fuzz/Cargo.toml", "fuzz/targets/parser.rs", ".cargo"])
                .current_dir(repository()))?;
        }
    }
    Ok(())
}
