//! The bare work of a row: what a builder cannot do without, done by the plainest tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::builders::remove;
use super::measure::{self, Outcome};
use crate::command::{capture, repository};

/// A piece of bare work.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// What it is, for readers.
    pub(super) name: String,
    /// What a shell does, in an empty directory.
    pub(super) script: String,
}

/// The tool that does what a step does.
#[derive(Debug, Clone)]
pub(super) struct StepTool {
    binary: PathBuf,
    lower: PathBuf,
}

impl StepTool {
    /// Compiles it.
    pub(super) fn compile(directory: &Path, lower: &Path) -> Result<StepTool> {
        let binary = directory.join("step");
        let mut compiler = Command::new("gcc");
        compiler.args(["-O2", "-Wall", "-o"]).arg(&binary).arg(repository().join("xtask/bench/step.c"));
        capture(&mut compiler)?;
        Ok(StepTool { binary, lower: lower.to_owned() })
    }

    /// So many steps, one after another.
    pub(super) fn steps(&self, count: u64) -> Limit {
        Limit {
            name: format!("{count} x clone + overlay + pivot_root + exec"),
            script: format!("{} {count} {} .", quoted(&self.binary), quoted(&self.lower)),
        }
    }
}

impl Limit {
    fn new(name: &str, script: String) -> Limit {
        Limit { name: name.to_owned(), script }
    }

    /// The state of every file, looked at once.
    pub(super) fn walk(context: &Path) -> Limit {
        let script = format!("find {} -printf '%i %m %s %T@ %C@\\n' > /dev/null", quoted(context));
        Limit::new("stat walk (find)", script)
    }

    /// The files of a list as a tar, hashed.
    pub(super) fn tar_and_hash(directory: &Path, list: &Path) -> Limit {
        let script = format!(
            "tar --create --directory {} --files-from {} | openssl dgst -sha256 > /dev/null",
            quoted(directory),
            quoted(list)
        );
        Limit::new("tar | openssl sha256", script)
    }

    /// The files of a list, copied.
    pub(super) fn copy(directory: &Path, list: &Path) -> Limit {
        let script = format!(
            "out=$PWD && cd {} && xargs cp --archive --parents --target-directory \"$out\" < {}",
            quoted(directory),
            quoted(list)
        );
        Limit::new("cp --archive of the files", script)
    }

    /// A wait.
    pub(super) fn sleep(seconds: u32) -> Limit {
        Limit::new(&format!("sleep {seconds}"), format!("sleep {seconds}"))
    }

    /// Compressed layers, unpacked on top of each other.
    pub(super) fn extraction(layers: &[PathBuf]) -> Limit {
        let script: Vec<String> =
            layers.iter().map(|layer| format!("tar --extract --gzip --file {}", quoted(layer))).collect();
        Limit::new("tar --extract --gzip of each layer", script.join(" && "))
    }

    /// A file written to another, so many times.
    pub(super) fn write(seed: &Path, times: u64) -> Limit {
        let script = format!("for i in $(seq {times}); do busybox cat {} >> out; done", quoted(seed));
        Limit::new("the writing itself", script)
    }

    /// The same with one read for a digest.
    pub(super) fn write_and_hash(seed: &Path, times: u64) -> Limit {
        let script = format!(
            "{} && tar --create out | openssl dgst -sha256 > /dev/null",
            Limit::write(seed, times).script
        );
        Limit::new("the writing, and tar | openssl sha256", script)
    }

    /// The same with one read that is compressed as well as gzip does by default.
    pub(super) fn write_and_compress(seed: &Path, times: u64) -> Limit {
        let script = format!("{} && pigz -6 --stdout out > out.gz", Limit::write(seed, times).script);
        Limit::new("the writing, and pigz -6", script)
    }

    /// One after the other.
    pub(super) fn then(&self, other: &Limit) -> Limit {
        Limit {
            name: format!("{}, then {}", self.name, other.name),
            script: format!("{}\nset -e; mkdir then; cd then\n{}", self.script, other.script),
        }
    }

    /// Does the work in an empty directory, and takes the time.
    pub(super) fn measure(&self, place: &Path, log: &Path) -> Result<Outcome> {
        remove(place)?;
        std::fs::create_dir_all(place)?;
        measure::settle()?;
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &self.script]).current_dir(place);
        let outcome = measure::time(vec![shell], log)?;
        remove(place)?;
        Ok(outcome)
    }
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }

    #[test]
    fn work_is_done_in_an_empty_directory() {
        let place = std::env::temp_dir().join(format!("xtask-limits-{}", std::process::id()));
        let log = place.with_extension("log");
        let one = Limit::new("one", "mkdir a".to_owned());
        let both = one.then(&one);
        for _ in 0..2 {
            assert!(matches!(both.measure(&place, &log).unwrap(), Outcome::Done(_)));
        }
        let wrong = Limit::new("wrong", "false | cat".to_owned());
        assert!(matches!(wrong.measure(&place, &log).unwrap(), Outcome::Failed(_)));
        std::fs::remove_file(log).unwrap();
    }
}
