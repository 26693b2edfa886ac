//! Where the peers run: a mount and process namespace of their own, a directory below `target`, and a
//! Debian root that holds them.
//!
//! Everything that is mounted or started in there ends with it, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{capture, output_directory, run, which};

const MARK: &str = "CASTOFF_PEERS_ENTERED";

/// Packages of the peers' root.
const PACKAGES: &str =
    "buildah,ca-certificates,crun,docker-buildx,docker-cli,docker.io,netavark,runc,xz-utils";

/// What all peers share.
pub(crate) struct World {
    /// The Debian root.
    pub(crate) root: PathBuf,
    /// Where everything is written that this run makes.
    pub(crate) directory: PathBuf,
    /// Seconds since the epoch; whatever is newer was made by this run.
    pub(crate) started: i64,
    /// Held while the directory is used.
    _lock: File,
}

/// Returns the directory of everything that a command writes, by the name of the command.
pub(crate) fn directory(command: &str) -> PathBuf {
    output_directory().with_file_name(command).join("work")
}

/// Returns whether this process is in the namespaces.
pub(crate) fn is_entered() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs a command of this program again with the same arguments, in namespaces.
pub(crate) fn enter(command: &str, arguments: &[String]) -> Result<()> {
    if capture(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("`{command}` starts a daemon and makes mounts, for which it has to be root");
    }
    let status = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .arg(command)
        .args(arguments)
        .env(MARK, "1")
        .status()
        .context("cannot start `unshare`")?;
    ensure!(status.success(), "`{command}` found something wrong, or could not be done");
    Ok(())
}

impl World {
    /// Clears the directory, makes the Debian root if there is none, and mounts what it needs.
    pub(crate) fn prepare(command: &str, suite: &str) -> Result<World> {
        let directory = directory(command);
        std::fs::create_dir_all(&directory)?;
        let lock = File::create(directory.with_file_name("lock"))?;
        lock.try_lock().with_context(|| format!("another run uses `{}`", directory.display()))?;
        run(Command::new("rm").args(["--recursive", "--force", "--one-file-system"]).arg(&directory))?;
        std::fs::create_dir_all(&directory)?;
        // The differential test had it first; all commands share one.
        let root = output_directory().with_file_name("differential").join(format!("debian-{suite}"));
        if !root.join("usr/bin/buildah").exists() {
            make_root(&root, suite)?;
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let inside = root.join(directory.strip_prefix("/").context("the target directory is absolute")?);
        std::fs::create_dir_all(&inside)?;
        // runc changes its root with pivot_root(2), which wants the present one to be a mount.
        mount("--bind", &root, &root)?;
        for kernel in ["proc", "sys", "dev"] {
            mount("--rbind", Path::new("/").join(kernel).as_path(), &root.join(kernel))?;
        }
        mount("--bind", &directory, &inside)?;
        Ok(World { root, directory, _lock: lock, started: i64::try_from(started)? })
    }

    /// Starts a command line in the Debian root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command
    }

    /// Returns the version of a program of the root as it prints it, such as `28.5.2`.
    pub(crate) fn version(&self, program: &str) -> Result<String> {
        let printed = capture(self.command(program).arg("--version"))?;
        let version = printed
            .split_whitespace()
            .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
            .with_context(|| format!("no version in `{}`", printed.trim()))?;
        Ok(version.split(['+', ',']).next().unwrap_or_default().to_owned())
    }
}

fn mount(how: &str, from: &Path, to: &Path) -> Result<()> {
    run(Command::new("mount").arg(how).arg(from).arg(to))
}

fn make_root(root: &Path, suite: &str) -> Result<()> {
    ensure!(which("mmdebstrap").is_some(), "mmdebstrap is needed (cargo xtask setup)");
    println!("making a Debian {suite} with docker and buildah");
    run(Command::new("rm").args(["--recursive", "--force", "--one-file-system"]).arg(root))?;
    let partial = root.with_extension("partial");
    run(Command::new("rm").args(["--recursive", "--force", "--one-file-system"]).arg(&partial))?;
    std::fs::create_dir_all(root.parent().context("the root lies in a directory")?)?;
    capture(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            // A mirror that stands still serves lists whose time is over.
            .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .arg(suite)
            .arg(&partial),
    )?;
    std::fs::rename(&partial, root)?;
    Ok(())
}
