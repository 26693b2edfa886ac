//! The real program, run with an empty environment: standard output, standard error and the exit code.

mod browser;
mod build;
mod check;
mod command_line;
mod registry;
mod schemas;
#[path = "../../../castoff-registry/tests/it/server.rs"]
#[allow(dead_code, reason = "the tests of the registry client use the rest of it")]
mod server;

use std::path::Path;
use std::process::{Command, Stdio};

/// What a run of the program gave.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program under a name, in a directory, with nothing in its environment but a home.
fn run_as(name: &str, directory: &Path, words: &[&str]) -> Run {
    let program = directory.join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_castoff"), &program).expect("a fresh directory");
    let output = Command::new(&program)
        .args(words)
        .env_clear()
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    std::fs::remove_file(&program).expect("the link was just made");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn run(words: &[&str]) -> Run {
    let directory = tempfile::tempdir().expect("a temporary directory");
    run_as("castoff", directory.path(), words)
}
