//! The same example twice: in another directory, with other times, in a store of its own, one step at a time.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Setting;
use crate::castoff::Castoff;
use crate::command::{capture, examples, run};
use crate::examples::Example;

/// An instant that no file of an example has.
const EPOCH: &str = "SOURCE_DATE_EPOCH=1600000000";

/// Builds an example in two places and compares the archives byte by byte (B-108, B-170, B-173).
pub(super) fn reproduces(castoff: &Castoff, example: &Example, setting: &Setting) -> Result<()> {
    let elsewhere = castoff.elsewhere(&castoff.directory().join("elsewhere"))?;
    for base in example.bases {
        let archive = elsewhere.directory().join("base.tar");
        capture(castoff.command().args(["save", "-o"]).arg(&archive).arg(base))?;
        capture(elsewhere.command().args(["load", "-i"]).arg(&archive))?;
        fs::remove_file(&archive)?;
    }
    let copy = elsewhere.directory().join("some/where");
    fs::create_dir_all(&copy)?;
    // Without --archive: the times are those of the copy.
    run(Command::new("cp").arg("--recursive").arg(examples().join(example.name)).arg(&copy))?;
    run(Command::new("chmod").args(["--recursive", "a+rX"]).arg(elsewhere.directory()))?;
    let first = archive(castoff, setting, example, &examples().join(example.name), "8")?;
    let second = archive(&elsewhere, setting, example, &copy.join(example.name), "1")?;
    let equal = fs::read(&first)? == fs::read(&second)?;
    ensure!(equal, "the archives differ:\n{}\n{}", parts(&first)?, parts(&second)?);
    fs::remove_file(&first)?;
    run(Command::new("rm").args(["--recursive", "--force"]).arg(elsewhere.directory()))
}

fn archive(
    castoff: &Castoff,
    setting: &Setting,
    example: &Example,
    context: &Path,
    jobs: &str,
) -> Result<PathBuf> {
    let archive = castoff.directory().join(format!("{}-reproduced.tar", example.name));
    let output = format!("type=oci,rewrite-timestamp=true,dest={}", archive.display());
    let extra = ["-o", &output, "--build-arg", EPOCH, "--jobs", jobs];
    let mut arguments = setting.arguments(example, &extra, true);
    let place =
        arguments.iter().position(|argument| argument == &OsString::from(examples().join(example.name)));
    arguments[place.context("the example is built from its directory")?] = context.into();
    castoff.build(&arguments)?;
    Ok(archive)
}

/// Returns the names in an archive, which are digests.
fn parts(archive: &Path) -> Result<String> {
    capture(Command::new("tar").arg("-tvf").arg(archive))
}
