//! Fuzzing: building the targets with coverage, seeding their corpora, running them.
//!
//! The stable compiler has all that libFuzzer needs but the address sanitizer, which code without `unsafe`
//! has little use for. Findings, corpora and seeds are below `target/fuzz`, or below `CASTOFF_FUZZ`.

mod seeds;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{capture, repository, run};

/// A fuzz target: a binary of the package in `fuzz/`.
struct Target {
    name: &'static str,
    /// Longest input, in bytes.
    longest: usize,
    /// Whether inputs are made of the words of Dockerfiles.
    words: bool,
}

const TARGETS: &[Target] = &[
    Target { name: "lexer", longest: 4096, words: true },
    Target { name: "parser", longest: 4096, words: true },
    Target { name: "expansion", longest: 1024, words: true },
    Target { name: "ignore", longest: 512, words: true },
    Target { name: "lowering", longest: 4096, words: true },
    Target { name: "reference", longest: 256, words: false },
    Target { name: "tar", longest: 16384, words: false },
    Target { name: "packages", longest: 32768, words: false },
    Target { name: "images", longest: 4096, words: false },
];

/// What makes LLVM count the edges and compare the operands of every comparison.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// How long a target runs when nobody says, in seconds.
const SECONDS: u64 = 10;

/// Builds, then runs the named targets, or all, one after the other.
pub fn main(arguments: &[String]) -> Result<()> {
    let mut names = Vec::new();
    let mut seconds = SECONDS;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let value = arguments.next().context("--seconds needs a number")?;
                seconds = value.parse().with_context(|| format!("`{value}` is no number of seconds"))?;
            }
            name => names.push(target(name)?),
        }
    }
    let targets = if names.is_empty() { TARGETS.iter().collect() } else { names };
    smoke(&targets, seconds)
}

/// Runs every target for a moment.
pub fn all() -> Result<()> {
    smoke(&TARGETS.iter().collect::<Vec<_>>(), SECONDS)
}

fn target(name: &str) -> Result<&'static Target> {
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .with_context(|| format!("there is no fuzz target `{name}`; there are: {}", known()))
}

fn smoke(targets: &[&Target], seconds: u64) -> Result<()> {
    let binaries = build(targets)?;
    let place = place();
    for target in targets {
        println!("-- {} for {seconds} s", target.name);
        fuzz(target, &binaries.join(target.name), &place, seconds)?;
    }
    Ok(())
}

fn place() -> PathBuf {
    match std::env::var_os("CASTOFF_FUZZ") {
        Some(place) => PathBuf::from(place),
        None => target_directory().join("fuzz"),
    }
}

fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => repository().join(target),
        None => repository().join("target"),
    }
}

/// Builds the targets and returns the directory of their binaries.
fn build(targets: &[&Target]) -> Result<PathBuf> {
    let host = capture(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let directory = target_directory().join("fuzz/build");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(repository().join("fuzz/Cargo.toml"))
        // With a target named, build scripts are built without the flags.
        .args(["--target", host, "--target-dir"])
        .arg(&directory)
        .env("RUSTFLAGS", FLAGS.join(" "));
    for target in targets {
        cargo.args(["--bin", target.name]);
    }
    run(&mut cargo)?;
    Ok(directory.join(host).join("release"))
}

fn fuzz(target: &Target, binary: &Path, place: &Path, seconds: u64) -> Result<()> {
    let corpus = place.join("corpus").join(target.name);
    let seeds = place.join("seeds").join(target.name);
    let findings = place.join("findings").join(target.name);
    // What a target writes, and leaves behind when it is stopped.
    let scratch = place.join("scratch").join(format!("{}-{}", target.name, std::process::id()));
    for directory in [&corpus, &seeds, &findings, &scratch] {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
    }
    seeds::write(target.name, &seeds)?;
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(&findings);
    prefix.push("/");
    let mut command = Command::new(binary);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.longest))
        .args(["-timeout=5", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"])
        .arg(prefix);
    if target.words {
        let mut words = OsString::from("-dict=");
        words.push(repository().join("fuzz/dockerfile.dict"));
        command.arg(words);
    }
    // New inputs go to the first directory, the others are only read.
    command.arg(&corpus).arg(&seeds).env("TMPDIR", &scratch);
    let ran = run(&mut command);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    if let Err(error) = ran {
        bail!("{error}\nthe input is in {}; give it to the binary to see it again", findings.display());
    }
    Ok(())
}
