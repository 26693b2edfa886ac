//! Everything a change must pass, in the order of what fails fastest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command::{capture, repository, run, which};
use crate::{e2e, tidy};

/// Debian packages that the tests and examples use.
const PACKAGES: &[&str] = &[
    "attr",
    "busybox-static",
    "crun",
    "docker-registry",
    "gcc",
    "git",
    "jq",
    "libc6-dev",
    "mmdebstrap",
    "skopeo",
    "tmux",
    "uidmap",
    "umoci",
    "xz-utils",
];

/// Runs all of it and stops at the first failure.
pub fn main() -> Result<()> {
    step("packages", packages)?;
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    step("tidy", tidy::main)?;
    step("tests", || {
        if which("cargo-nextest").is_some() {
            cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])?;
            // nextest runs no examples of the documentation.
            cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"])
        } else {
            cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])
        }
    })?;
    step("examples", || e2e::main(&[]))
}

fn step(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    body().with_context(|| format!("{name} failed"))?;
    println!("== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(Command::new("cargo").args(arguments).current_dir(repository()))
}

/// Installs what is missing, where apt is how this machine installs and we may.
fn packages() -> Result<()> {
    if which("apt-get").is_none() {
        println!("this machine has no apt; the tests need: {}", PACKAGES.join(", "));
        return Ok(());
    }
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if capture(Command::new("id").arg("-u"))?.trim() != "0" {
        println!("not installed, and only root may: {}", missing.join(", "));
        return Ok(());
    }
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    run(Command::new("apt-get")
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status.trim() == "install ok installed")
}
