//! The castoff binary under test, used as any user would: through its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{self, capture, run};

/// A binary and the store it works on.
pub struct Castoff {
    binary: PathBuf,
    root: PathBuf,
}

impl Castoff {
    /// Returns the binary that `CASTOFF` names, or builds the workspace's own.
    pub fn locate() -> Result<Castoff> {
        let binary = match std::env::var_os("CASTOFF") {
            Some(path) => PathBuf::from(path),
            None => {
                run(Command::new("cargo")
                    .args(["build", "--quiet", "--package", "castoff"])
                    .current_dir(command::repository()))?;
                let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
                command::repository().join(target).join("debug/castoff")
            }
        };
        if !binary.is_file() {
            bail!("there is no castoff binary at `{}`", binary.display());
        }
        let root = match std::env::var_os("CASTOFF_E2E_ROOT") {
            Some(path) => PathBuf::from(path),
            None => command::output_directory().join("store"),
        };
        std::fs::create_dir_all(&root).with_context(|| format!("cannot create `{}`", root.display()))?;
        Ok(Castoff { binary, root })
    }

    /// Returns the directory everything is kept in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts a command line on this store.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root).env("BUILDKIT_PROGRESS", "plain");
        command
    }

    /// Returns whether the store has an image of this name.
    pub fn has_image(&self, name: &str) -> Result<bool> {
        let listing = capture(self.command().arg("images"))?;
        Ok(lists_image(&listing, name))
    }

    /// Builds, and returns the progress as it would be read in a log.
    pub fn build(&self, arguments: &[OsString]) -> Result<String> {
        let mut command = self.command();
        command.args(["build", "--progress", "plain"]).args(arguments).stdin(Stdio::null());
        let shown = command::show(&command);
        let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
        let progress = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("`{shown}` failed ({})\n{}", output.status, command::tail(&progress, 40));
        }
        Ok(progress)
    }

    /// Names a file system in a tar file as an image.
    pub fn import(&self, tar: &Path, name: &str) -> Result<()> {
        capture(self.command().arg("import").arg(tar).arg(name)).map(drop)
    }

    /// Fetches an image from its registry.
    pub fn pull(&self, name: &str) -> Result<()> {
        capture(self.command().args(["pull", name])).map(drop)
    }
}

/// Returns the RUN steps that ran, rather than being taken from the cache, according to the progress.
pub fn executed(progress: &str) -> Vec<String> {
    let parts = || progress.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '));
    let mut steps = Vec::new();
    for (number, text) in parts() {
        let runs = text.starts_with('[') && text.contains("] RUN ");
        let cached = || parts().any(|(other, text)| other == number && text == "CACHED");
        if runs && !steps.contains(&text.to_owned()) && !cached() {
            steps.push(text.to_owned());
        }
    }
    steps
}

/// Whether a listing has the image, be it as `name:tag` or as two columns, with or without registry.
fn lists_image(listing: &str, image: &str) -> bool {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let is_name = |word: &str| word.trim_start_matches("docker.io/").trim_start_matches("library/") == name;
    listing.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let whole = words.iter().any(|word| {
            word.rsplit_once(':').is_some_and(|(word_name, word_tag)| is_name(word_name) && word_tag == tag)
        });
        whole || words.windows(2).any(|pair| is_name(pair[0]) && pair[1] == tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_ran_are_those_without_a_cached_line() {
        let progress = "#4 [a 1/2] RUN one\n#4 CACHED\n\n#5 [a 2/2] RUN two\n#5 0.1 CACHED?\n#5 DONE 0.1s\n\n#6 [b 1/1] COPY x y\n#6 DONE 0.0s\n";
        assert_eq!(executed(progress), ["[a 2/2] RUN two"]);
    }

    #[test]
    fn images_are_found_in_either_style_of_listing() {
        let listing = "NAME TAG SIZE\ndocker.io/library/debian bookworm-slim 80MB\nnode:20-bookworm 1GB\n";
        assert!(lists_image(listing, "debian:bookworm-slim"));
        assert!(lists_image(listing, "node:20-bookworm"));
        assert!(!lists_image(listing, "debian:bookworm"));
        assert!(!lists_image(listing, "node"));
    }
}
