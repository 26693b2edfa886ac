//! Everything a change must pass, in the order of what fails fastest.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::castoff::Castoff;
use crate::command::{capture, output_directory, repository, run, which};
use crate::examples::EXAMPLES;
use crate::{bases, bench, differential, e2e, foreign, fuzz, stores, tidy};

/// Who builds the examples without privileges.
pub const USER: &str = "castoff-test";

/// Debian packages that the tests and examples use.
const PACKAGES: &[&str] = &[
    "attr",
    "busybox-static",
    "bzip2",
    "chromium",
    "crun",
    "curl",
    "docker-registry",
    "docker.io",
    "g++",
    "gcc",
    "git",
    "golang-github-opencontainers-image-spec-dev",
    "jq",
    "libc6-dev",
    "mmdebstrap",
    "openssh-client",
    "openssl",
    "pigz",
    "python3-jsonschema",
    "python3-pip",
    "qemu-user-static",
    "skopeo",
    "time",
    "tmux",
    "uidmap",
    "umoci",
    "valgrind",
    "xz-utils",
    "zstd",
];

/// Runs all of it and stops at the first failure.
pub fn main() -> Result<()> {
    step("packages", packages)?;
    step("user", user)?;
    step("foreign programs", foreign::main)?;
    step("stores", stores::main)?;
    step("format", || {
        cargo(&["fmt", "--all", "--check"])?;
        cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"])
    })?;
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
    step("instructions", || bench::main(&["instructions".to_owned()]))?;
    step("fuzz targets", fuzz::all)?;
    step("examples", || e2e::main(&[]))?;
    step("examples without privileges", unprivileged)?;
    step("differential", compare)
}

/// A part of the differential test that takes minutes; the whole of it runs by its own command.
fn compare() -> Result<()> {
    if !is_root()? {
        println!("nobody here is root: castoff is compared with no other builder");
        return Ok(());
    }
    let part = ["--every", "4", "--generated", "20"];
    differential::main(&part.map(str::to_owned))
}

/// Makes the ordinary user whom tests and examples run as, where that takes no question.
pub fn user() -> Result<()> {
    if is_root()? && capture(Command::new("id").arg(USER)).is_err() {
        // useradd gives a new user subordinate ids of their own.
        run(Command::new("useradd").args(["--create-home", USER]))?;
    }
    Ok(())
}

/// The same examples by a user who is nobody special, less the one that only takes long.
pub fn unprivileged() -> Result<()> {
    if !is_root()? {
        println!("nobody here is root: the examples ran without privileges already");
        return Ok(());
    }
    // A copy, because the repository may be in a directory that is closed to others; not in /tmp, which
    // may be memory.
    let place = Path::new("/var/tmp").join(format!("castoff-e2e-{USER}"));
    clear(&place)?;
    std::fs::create_dir_all(&place).with_context(|| format!("cannot create `{}`", place.display()))?;
    let binary = place.join("castoff");
    std::fs::copy(Castoff::locate()?.binary(), &binary).context("cannot copy castoff")?;
    run(Command::new("cp")
        .args(["--archive", "--no-preserve=ownership"])
        .arg(repository().join("examples"))
        .arg(&place))?;
    let output = place.join("target/e2e");
    std::fs::create_dir_all(&output).with_context(|| format!("cannot create `{}`", output.display()))?;
    let debian = output_directory().join(bases::DEBIAN_TAR);
    if debian.is_file() {
        std::fs::copy(&debian, output.join(bases::DEBIAN_TAR)).context("cannot copy the Debian root")?;
    }
    run(Command::new("chmod").args(["--recursive", "a+rX"]).arg(&place))?;
    let names = EXAMPLES.iter().map(|example| example.name).filter(|name| *name != "rust-self");
    let outcome = run(Command::new(std::env::current_exe()?)
        .arg("e2e")
        .args(names)
        .env("CASTOFF", &binary)
        .env("CARGO_TARGET_DIR", place.join("target"))
        .env("CASTOFF_E2E_EXAMPLES", place.join("examples"))
        .env("CASTOFF_E2E_ROOT", place.join("work"))
        .env("CASTOFF_E2E_USER", USER));
    clear(&place)?;
    outcome
}

fn clear(place: &Path) -> Result<()> {
    run(Command::new("rm").args(["--recursive", "--force"]).arg(place))
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

/// Installs what is missing, asking sudo where we are not root.
pub fn setup() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let root = is_root()?;
    let apt = || if root { Command::new("apt-get") } else { with_sudo("apt-get") };
    run(apt().args(["update", "--quiet"]))?;
    run(apt()
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Installs what is missing if that needs no question; says what is missing otherwise.
fn packages() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() || is_root()? {
        return setup();
    }
    println!("not installed (`cargo xtask setup` does it): {}", missing.join(", "));
    Ok(())
}

fn missing() -> Result<Vec<&'static str>> {
    if which("apt-get").is_none() {
        println!("this machine has no apt; the tests need: {}", PACKAGES.join(", "));
        return Ok(Vec::new());
    }
    Ok(PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect())
}

fn is_root() -> Result<bool> {
    Ok(capture(Command::new("id").arg("-u"))?.trim() == "0")
}

fn with_sudo(program: &str) -> Command {
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

fn is_installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status.trim() == "install ok installed")
}
