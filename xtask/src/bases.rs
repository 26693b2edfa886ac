//! Base images for the examples: real ones where a registry offers them, stand-ins elsewhere.
//!
//! `debian:bookworm` is made of Debian packages by mmdebstrap and imported; every other stand-in is
//! built by castoff itself from `examples/bases/`. What the store already has is left alone.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::castoff::Castoff;
use crate::command::{capture, examples, is_ci, output_directory, which};
use crate::examples::EXAMPLES;

/// One image built from `examples/bases/DOCKERFILE`.
struct Base {
    name: &'static str,
    dockerfile: &'static str,
    arguments: &'static [&'static str],
    /// What it stands on, when that is a stand-in of this table.
    on: Option<&'static str>,
    /// Whether this machine's own Node goes into it.
    needs_node: bool,
}

/// Name of the Debian root below the output directory.
pub const DEBIAN_TAR: &str = "debian-bookworm.tar";

const DEBIAN: &[&str] = &["debian:bookworm-slim", "debian:bookworm"];
const BUILDPACK: &str = "buildpack-deps:bookworm";

/// In the order of their building.
const BASES: &[Base] = &[
    Base { name: BUILDPACK, dockerfile: "buildpack-deps", arguments: &[], on: None, needs_node: false },
    Base {
        name: "golang:1.19-bookworm",
        dockerfile: "golang",
        arguments: &[],
        on: Some(BUILDPACK),
        needs_node: false,
    },
    Base {
        name: "python:3.11-slim-bookworm",
        dockerfile: "python",
        arguments: &[],
        on: None,
        needs_node: false,
    },
    Base {
        name: "python:3.11-bookworm",
        dockerfile: "python",
        arguments: &["BASE=buildpack-deps:bookworm", "PACKAGES=python3-dev"],
        on: Some(BUILDPACK),
        needs_node: false,
    },
    Base { name: "node:20-bookworm-slim", dockerfile: "node", arguments: &[], on: None, needs_node: true },
    Base {
        name: "node:20-bookworm",
        dockerfile: "node",
        arguments: &["BASE=buildpack-deps:bookworm"],
        on: Some(BUILDPACK),
        needs_node: true,
    },
    Base { name: "nginx:1.22", dockerfile: "nginx", arguments: &[], on: None, needs_node: false },
    Base {
        name: "maven:3.8-eclipse-temurin-17",
        dockerfile: "maven",
        arguments: &[],
        on: None,
        needs_node: false,
    },
    Base {
        name: "eclipse-temurin:17-jre",
        dockerfile: "temurin-jre",
        arguments: &[],
        on: None,
        needs_node: false,
    },
];

/// Makes every base that the store lacks.
pub fn main() -> Result<()> {
    let castoff = Castoff::locate()?;
    let left_out = provide(&castoff)?;
    for (base, reason) in &left_out {
        let examples: Vec<&str> = EXAMPLES
            .iter()
            .filter(|example| example.bases.contains(base))
            .map(|example| example.name)
            .collect();
        println!("{base}: not to be had, which leaves out {}\n{reason}", examples.join(", "));
    }
    // Everything but Node comes from Debian, so on a machine that has apt nothing may be missing.
    if is_ci() && !left_out.is_empty() {
        bail!("{} base images are missing", left_out.len());
    }
    Ok(())
}

/// Makes what is missing, and returns the bases that could not be made, with the reasons.
pub fn provide(castoff: &Castoff) -> Result<Vec<(&'static str, String)>> {
    let mut missing = Vec::new();
    for name in DEBIAN.iter().copied().chain(BASES.iter().map(|base| base.name)) {
        if !castoff.has_image(name)? {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        println!("bases: all there");
        return Ok(Vec::new());
    }
    // One question tells whether there is a registry at all; then each real image is preferred.
    let registry = missing.iter().any(|name| DEBIAN.contains(name)) && castoff.pull(DEBIAN[0]).is_ok();
    if registry {
        missing.retain(|name| castoff.pull(name).is_err());
    }
    if missing.iter().any(|name| DEBIAN.contains(name)) {
        debian(castoff)?;
    }
    let machine = gather()?;
    let mut left_out: Vec<(&'static str, String)> = Vec::new();
    for base in BASES.iter().filter(|base| missing.contains(&base.name)) {
        let lacking = base.on.filter(|on| left_out.iter().any(|(name, _)| name == on));
        let result = match lacking {
            Some(on) => Err(anyhow::anyhow!("it stands on {on}")),
            None if base.needs_node && !machine.has_node => {
                Err(anyhow::anyhow!("this machine has no Node of major version 20 with npm"))
            }
            None => build(castoff, base, &machine.directory),
        };
        if let Err(error) = result {
            left_out.push((base.name, format!("{error:#}")));
        }
    }
    Ok(left_out)
}

fn build(castoff: &Castoff, base: &Base, machine: &Path) -> Result<()> {
    let directory = examples().join("bases");
    let mut context = OsString::from("machine=");
    context.push(machine);
    let mut arguments: Vec<OsString> = vec![
        "-t".into(),
        base.name.into(),
        "-f".into(),
        directory.join(format!("{}.Dockerfile", base.dockerfile)).into(),
        "--build-context".into(),
        context,
    ];
    for argument in base.arguments {
        arguments.extend(["--build-arg".into(), argument.into()]);
    }
    arguments.push(directory.into());
    let started = Instant::now();
    castoff.build(&arguments)?;
    println!("{}: built in {:.1} s", base.name, started.elapsed().as_secs_f64());
    Ok(())
}

/// Debian bookworm from packages, with this machine's package sources and certificate authorities.
fn debian(castoff: &Castoff) -> Result<()> {
    let started = Instant::now();
    let tar = output_directory().join(DEBIAN_TAR);
    if !tar.is_file() {
        if which("mmdebstrap").is_none() {
            bail!("mmdebstrap is needed to make `debian:bookworm` (apt-get install mmdebstrap)");
        }
        fs::create_dir_all(output_directory())?;
        let partial = tar.with_extension("partial.tar");
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=minbase", "--include=ca-certificates"]);
        // Devices come with the sandbox, and the resolver's addresses are this machine's own.
        command
            .args(["--skip=output/dev", "--customize-hook=rm -f \"$1/etc/resolv.conf\" \"$1/etc/hostname\""]);
        let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if bundle.is_file() {
            command.arg(format!("--customize-hook=copy-in {} /etc/ssl/certs", bundle.display()));
        }
        command.arg("bookworm").arg(&partial).args(debian_sources()?);
        capture(&mut command)?;
        fs::rename(&partial, &tar)?;
    }
    for name in DEBIAN {
        castoff.import(&tar, name)?;
    }
    println!("{}: made of packages in {:.1} s", DEBIAN.join(", "), started.elapsed().as_secs_f64());
    Ok(())
}

/// This machine's package sources for Debian bookworm; with none, mmdebstrap's own default is used.
fn debian_sources() -> Result<Vec<PathBuf>> {
    let directory = Path::new("/etc/apt/sources.list.d");
    let mut candidates = vec![PathBuf::from("/etc/apt/sources.list")];
    if directory.is_dir() {
        for entry in fs::read_dir(directory)? {
            candidates.push(entry?.path());
        }
    }
    candidates.sort();
    // Other vendors' sources need keys that the new root does not have.
    candidates.retain(|path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
            && fs::read_to_string(path).is_ok_and(|text| {
                let lines: Vec<&str> =
                    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
                let signed_elsewhere =
                    lines.iter().any(|line| line.contains("igned-") && !line.contains("debian-archive"));
                lines.iter().any(|line| line.contains("bookworm") && !line.contains("-bookworm"))
                    && !signed_elsewhere
            })
    });
    Ok(candidates)
}

/// What the stand-ins take from this machine.
struct Machine {
    directory: PathBuf,
    has_node: bool,
}

/// Gathers Node and the registry configuration into the named context `machine`.
fn gather() -> Result<Machine> {
    let directory = output_directory().join("machine");
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("cannot clear `{}`", directory.display()))?;
    }
    let node = directory.join("node");
    fs::create_dir_all(node.join("bin"))?;
    fs::create_dir_all(node.join("etc"))?;
    fs::create_dir_all(node.join("lib/node_modules"))?;
    fs::create_dir_all(directory.join("etc"))?;
    // pip reads one file for the whole machine; an empty one changes nothing.
    let pip = fs::read_to_string("/etc/pip.conf").unwrap_or_default();
    fs::write(directory.join("etc/pip.conf"), without_credentials(&pip))?;
    let has_node = match installed_node() {
        Some((program, npm)) => {
            fs::copy(&program, node.join("bin/node"))?;
            capture(Command::new("cp").arg("-a").arg(&npm).arg(node.join("lib/node_modules/npm")))?;
            true
        }
        None => false,
    };
    fs::write(node.join("etc/npmrc"), npm_configuration())?;
    Ok(Machine { directory, has_node })
}

/// Returns Node's binary and npm's directory when this machine has version 20.
fn installed_node() -> Option<(PathBuf, PathBuf)> {
    let program = fs::canonicalize(which("node")?).ok()?;
    let version = capture(Command::new(&program).arg("--version")).ok()?;
    let modules = capture(Command::new("npm").args(["root", "--global"])).ok()?;
    let npm = PathBuf::from(modules.trim()).join("npm");
    (version.starts_with("v20.") && npm.join("bin/npm-cli.js").is_file()).then_some((program, npm))
}

/// Returns the settings of npm that say where packages come from; credentials stay here.
fn npm_configuration() -> String {
    let mut settings = String::new();
    for key in ["registry", "cafile", "proxy", "https-proxy", "noproxy"] {
        let Ok(value) = capture(Command::new("npm").args(["config", "get", key])) else { continue };
        let value = value.trim();
        if !value.is_empty() && value != "null" && value != "undefined" {
            settings.push_str(&format!("{key}={value}\n"));
        }
    }
    without_credentials(&settings)
}

/// Drops every line that could carry a credential, such as an address with a user in it.
fn without_credentials(configuration: &str) -> String {
    let suspicious = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.contains('@') || ["token", "password", "_auth"].iter().any(|word| line.contains(word))
    };
    configuration.lines().filter(|line| !suspicious(line)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_of_an_example_is_in_the_table() {
        for example in EXAMPLES {
            for name in example.bases {
                assert!(BASES.iter().any(|base| base.name == *name), "{name} of {}", example.name);
            }
        }
    }

    #[test]
    fn what_a_base_stands_on_is_built_before_it() {
        for (index, base) in BASES.iter().enumerate() {
            assert!(base.on.is_none_or(|on| BASES[..index].iter().any(|other| other.name == on)));
        }
    }

    #[test]
    fn credentials_stay_on_the_machine() {
        let text = "[global]\ncert = /a\nindex-url = https://user:pass@host/\n//host/:_authToken=x\n";
        assert_eq!(without_credentials(text), "[global]\ncert = /a\n");
    }
}
