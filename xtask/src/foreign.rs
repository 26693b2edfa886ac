//! A busybox of another architecture, for the tests of RUN by an emulator.
//!
//! It is Debian's package, fetched with lists of packages of its own: the machine's are left as they are,
//! and so is what dpkg knows of architectures.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{capture, output_directory, which};

/// Name of the program below the output directory.
const BUSYBOX: &str = "busybox-arm64";

/// Fetches it, where it is missing.
pub fn main() -> Result<()> {
    let output = output_directory();
    let busybox = output.join(BUSYBOX);
    if busybox.is_file() {
        return Ok(());
    }
    if which("apt-get").is_none() {
        println!("this machine has no apt: the tests of foreign architectures have no programs");
        return Ok(());
    }
    let work = output.join("foreign");
    let lists = work.join("lists");
    for directory in [lists.join("partial"), work.join("archives/partial")] {
        fs::create_dir_all(&directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "-o", "APT::Architectures::=arm64", "-o", "Debug::NoLocking=true"]);
        command.arg("-o").arg(format!("Dir::State::Lists={}", lists.display()));
        command.arg("-o").arg(format!("Dir::Cache={}", work.display()));
        // apt's own user cannot write here.
        if capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        capture(command.args(words).current_dir(&work)).map(drop)
    };
    apt(&["update"])?;
    apt(&["download", "busybox-static:arm64"])?;
    let is_package = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let entries = fs::read_dir(&work)?.flatten().map(|entry| entry.path());
    let Some(package) = entries.filter(is_package).last() else { bail!("apt-get downloaded nothing") };
    let root = work.join("root");
    capture(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root))?;
    let program = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let program = program.iter().find(|path| path.is_file()).context("the package has no busybox")?;
    // By a rename, so that a test sees all of it or nothing.
    let partial = output.join(format!("{BUSYBOX}.part"));
    fs::copy(program, &partial)?;
    fs::rename(&partial, &busybox)?;
    fs::remove_dir_all(&work).context("cannot remove what was downloaded")
}
