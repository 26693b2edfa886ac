//! The castoff binary under test, used as any user would: through its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{self, capture, run};
use crate::dist;

/// A binary, the directory it works in, and who runs it.
pub struct Castoff {
    binary: PathBuf,
    directory: PathBuf,
    user: Option<String>,
}

impl Castoff {
    /// Returns the binary that `CASTOFF` names, or builds the workspace's own; it is run by the user
    /// that `CASTOFF_E2E_USER` names, or by whoever runs this.
    pub fn locate() -> Result<Castoff> {
        let user = std::env::var("CASTOFF_E2E_USER").ok().filter(|user| !user.is_empty());
        Castoff::locate_for(user)
    }

    /// The same for a user of this machine, which takes root, or for whoever runs this.
    pub fn locate_for(user: Option<String>) -> Result<Castoff> {
        let binary = locate_binary()?;
        let directory = match (std::env::var_os("CASTOFF_E2E_ROOT"), &user) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(user)) => command::output_directory().join(format!("as-{user}")),
            (None, None) => command::output_directory().join("as-self"),
        };
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(&directory))?;
        }
        Ok(Castoff { binary, directory, user })
    }

    /// The same with a directory of the caller's choice, for whoever runs this.
    pub fn locate_at(directory: &Path) -> Result<Castoff> {
        let binary = locate_binary()?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        Ok(Castoff { binary, directory: directory.to_owned(), user: None })
    }

    /// The same as it is shipped: the binary that `CASTOFF` names, or the workspace's own, optimised.
    pub fn release_at(directory: &Path, user: Option<String>) -> Result<Castoff> {
        let binary = locate(dist::build)?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(directory))?;
        }
        Ok(Castoff { binary, directory: directory.to_owned(), user })
    }

    /// The same program for the same user, in a directory and a store that are empty.
    pub fn elsewhere(&self, directory: &Path) -> Result<Castoff> {
        run(Command::new("rm").args(["--recursive", "--force"]).arg(directory))?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        if let Some(user) = &self.user {
            run(Command::new("chown").arg(user).arg(directory))?;
        }
        Ok(Castoff { binary: self.binary.clone(), directory: directory.to_owned(), user: self.user.clone() })
    }

    /// Returns the program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Returns a directory that castoff may write outputs to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the store.
    pub fn root(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Starts a command line on this store.
    pub fn command(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                // Unlike runuser and su, setpriv becomes the program: signals reach castoff itself.
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(&self.binary);
                // The environment is kept, but for what leads to another user's files.
                command.env_remove("HOME").env_remove("XDG_RUNTIME_DIR").env_remove("DOCKER_CONFIG");
                command
            }
            None => Command::new(&self.binary),
        };
        command.arg("--root").arg(self.root()).current_dir(&self.directory);
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

fn locate_binary() -> Result<PathBuf> {
    locate(|| {
        let build = ["build", "--quiet", "--package", "castoff"];
        run(Command::new("cargo").args(build).current_dir(command::repository()))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Ok(command::repository().join(target).join("debug/castoff"))
    })
}

/// Returns the binary that `CASTOFF` names, or the workspace's own, built.
fn locate(build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let binary = match std::env::var_os("CASTOFF") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    if !binary.is_file() {
        bail!("there is no castoff binary at `{}`", binary.display());
    }
    Ok(binary)
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
