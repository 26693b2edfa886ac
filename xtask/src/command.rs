//! Running other programs: every call says what it runs and fails with what was said.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Returns the top of the repository.
pub fn repository() -> &'static Path {
    // The manifest's directory is `xtask`, which has a parent by construction.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

/// Returns the directory for what the commands here produce.
pub fn output_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => repository().join(target).join("e2e"),
        None => repository().join("target/e2e"),
    }
}

/// Returns the examples: the repository's own, or a copy of them that another user may read.
pub fn examples() -> PathBuf {
    match std::env::var_os("CASTOFF_E2E_EXAMPLES") {
        Some(copy) => PathBuf::from(copy),
        None => repository().join("examples"),
    }
}

/// Returns whether this is a run of continuous integration, where nothing may be left out silently.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Runs a command that speaks to the terminal itself, and fails if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command silently and returns what it printed on standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})\n{}", output.status, tail(&String::from_utf8_lossy(&output.stderr), 30));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program as a shell would.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Returns the files of the repository at or below a place that are tracked or could be.
pub fn listed(place: &str) -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", place];
    let list = capture(Command::new("git").args(arguments).current_dir(repository()))?;
    // A file that was deleted is listed until that is committed.
    Ok(list.lines().filter(|file| repository().join(file).is_file()).map(str::to_owned).collect())
}

/// Returns the last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Returns the command line, shortened, as a reader would type it.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
