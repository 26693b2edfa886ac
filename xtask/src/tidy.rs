//! The shape of the workspace, checked: crate edges, headers, sizes, documents.
//!
//! Every rule is a function from text to complaints, so that the rules have tests of their own; this
//! file reads the files and prints what the rules say.

mod edges;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{capture, repository};
use crate::docs;

/// Checks everything and prints a list of what is wrong.
pub fn main() -> Result<()> {
    let metadata = metadata()?;
    let mut complaints = edges::check(&metadata);
    for file in sources()? {
        let shown = file.strip_prefix(repository()).unwrap_or(&file).display().to_string();
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read `{shown}`"))?;
        complaints.extend(text::check_source(&shown, &bytes));
    }
    complaints.extend(docs::check()?);
    complaints.extend(text::check_reasons(&read("Cargo.toml")?));
    if capture(&mut fuzz_metadata()).is_err() {
        complaints
            .push("fuzz/Cargo.lock: stale; `cargo update --workspace` in `fuzz` makes it anew".to_owned());
    }
    match read("ARCHITECTURE.md") {
        Ok(map) => complaints.extend(text::check_map(&map, &edges::crate_names(&metadata))),
        Err(_) => complaints.push("ARCHITECTURE.md: missing".to_owned()),
    }
    if complaints.is_empty() {
        println!("tidy");
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    bail!("tidy: {} complaints", complaints.len());
}

fn metadata() -> Result<Value> {
    let text = capture(
        Command::new("cargo")
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(repository()),
    )?;
    serde_json::from_str(&text).context("`cargo metadata` did not print JSON")
}

/// Fails when the lock file of the fuzz targets does not fit the manifests.
fn fuzz_metadata() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path", "fuzz/Cargo.toml"])
        .current_dir(repository());
    cargo
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(repository().join(path)).with_context(|| format!("cannot read `{path}`"))
}

/// Every Rust file and manifest of ours, in order.
fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for top in ["crates", "fuzz", "xtask"] {
        collect(&repository().join(top), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            || path.file_name().is_some_and(|name| name == "Cargo.toml")
        {
            files.push(path);
        }
    }
    Ok(())
}
