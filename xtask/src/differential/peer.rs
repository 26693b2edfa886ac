//! The builders that castoff is compared with, run in their Debian root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cases::Case;
use super::image::{Image, Reader};
use super::options::PeerKind;
use super::world::{self, World};
use super::{Builder, Outcome};
use crate::command::{capture, show, tail};
use crate::server::Server;

const START_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// A peer at work.
pub(super) struct Peer<'w> {
    pub(super) kind: PeerKind,
    /// As the program prints it, such as `28.5.2`.
    pub(super) version: String,
    world: &'w World,
    reader: Mutex<Reader>,
    /// Ends with the peer.
    _daemon: Option<Server>,
}

impl<'w> Peer<'w> {
    /// Starts what the peer needs.
    pub(super) fn start(kind: PeerKind, world: &'w World) -> Result<Peer<'w>> {
        let printed = capture(world.command(kind.name()).arg("--version"))?;
        let version = printed
            .split_whitespace()
            .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
            .with_context(|| format!("no version in `{}`", printed.trim()))?;
        let version = version.split(['+', ',']).next().unwrap_or_default().to_owned();
        let daemon = match kind {
            PeerKind::Docker => Some(start_dockerd(world)?),
            PeerKind::Buildah => {
                let directory = world::directory().join("buildah");
                std::fs::create_dir_all(&directory)?;
                // Its own defaults are more than some machines grant.
                let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
                std::fs::write(directory.join("containers.conf"), limits)?;
                None
            }
        };
        println!("{} {version} of Debian", kind.name());
        Ok(Peer { kind, version, world, reader: Mutex::default(), _daemon: daemon })
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn command(&self) -> Command {
        let mut command = self.world.command(self.kind.name());
        match self.kind {
            PeerKind::Docker => command.env("DOCKER_BUILDKIT", "1").arg("-H").arg(address()),
            PeerKind::Buildah => {
                let root = world::directory().join("buildah");
                command.env("CONTAINERS_CONF", root.join("containers.conf"));
                command.arg("--root").arg(root.join("root")).arg("--runroot").arg(root.join("run"))
            }
        };
        command.stdin(Stdio::null());
        command
    }
}

impl Builder for Peer<'_> {
    fn import(&self, tar: &Path, name: &str) -> Result<()> {
        match self.kind {
            PeerKind::Docker => {
                capture(self.command().arg("import").arg(tar).arg(name))?;
            }
            PeerKind::Buildah => {
                // `buildah from` wants to set up a network.
                let file = tar.with_file_name("base.Dockerfile");
                let name_of_tar = tar.file_name().unwrap_or_default().to_string_lossy();
                std::fs::write(&file, format!("FROM scratch\nADD {name_of_tar} /\n"))?;
                let context = tar.parent().unwrap_or(tar);
                let mut command = self.command();
                command.args([
                    "build",
                    "--format",
                    "docker",
                    "--isolation",
                    "chroot",
                    "--network",
                    "host",
                    "--identity-label=false",
                    "-t",
                    name,
                ]);
                capture(command.arg("-f").arg(file).arg(context))?;
            }
        }
        Ok(())
    }

    fn build(&self, case: &Case) -> Result<Outcome> {
        let mut command = self.command();
        match self.kind {
            PeerKind::Docker => {
                command.args([
                    "buildx",
                    "build",
                    "--progress",
                    "plain",
                    "--provenance=false",
                    "--network",
                    "none",
                ]);
            }
            PeerKind::Buildah => {
                command.args([
                    "build",
                    "--format",
                    "docker",
                    "--isolation",
                    "chroot",
                    "--network",
                    "host",
                    "--pull=never",
                    "--identity-label=false",
                ]);
            }
        }
        command.args(["-t", &case.image(), "-f"]).arg(case.dockerfile());
        outcome(command.args(&case.arguments).arg(case.context()))
    }

    fn images(&self, cases: &[&Case]) -> Result<BTreeMap<String, Image>> {
        let file = world::directory().join("peer.tar");
        let mut images = BTreeMap::new();
        let mut reader = self.reader.lock().expect("no panic");
        match self.kind {
            PeerKind::Docker => {
                let mut command = self.command();
                command.args(["save", "-o"]).arg(&file);
                capture(command.args(cases.iter().map(|case| case.image())))?;
                let mut read = reader.read(&file)?;
                for case in cases {
                    images.extend(read.remove(&case.image()).map(|image| (case.name.clone(), image)));
                }
            }
            PeerKind::Buildah => {
                for case in cases {
                    // It writes no archive over another.
                    if file.exists() {
                        std::fs::remove_file(&file)?;
                    }
                    let to = format!("docker-archive:{}:{}:latest", file.display(), case.image());
                    let mut command = self.command();
                    capture(command.args(["push", "--quiet", "--disable-compression", &case.image(), &to]))?;
                    images.extend(reader.read(&file)?.into_values().map(|image| (case.name.clone(), image)));
                }
            }
        }
        Ok(images)
    }

    fn jobs(&self) -> usize {
        match self.kind {
            PeerKind::Docker => 3,
            PeerKind::Buildah => 2,
        }
    }
}

/// Runs a build.
pub(super) fn outcome(command: &mut Command) -> Result<Outcome> {
    let output = command.output().with_context(|| format!("cannot start `{}`", show(command)))?;
    Ok(match output.status.code() {
        Some(0) => Outcome::Built,
        Some(_) => Outcome::Failed(tail(&String::from_utf8_lossy(&output.stderr), 12)),
        None => bail!("`{}` was killed\n{}", show(command), String::from_utf8_lossy(&output.stderr)),
    })
}

fn docker_directory() -> PathBuf {
    world::directory().join("docker")
}

fn address() -> String {
    format!("unix://{}", docker_directory().join("socket").display())
}

/// Starts the engine on a socket of its own and waits until it answers.
fn start_dockerd(world: &World) -> Result<Server> {
    let directory = docker_directory();
    std::fs::create_dir_all(&directory)?;
    let mut command = world.command("dockerd");
    command.arg("--data-root").arg(directory.join("data"));
    command.arg("--exec-root").arg(directory.join("exec"));
    command.arg("--pidfile").arg(directory.join("pid"));
    command.arg("--config-file").arg(directory.join("none.json"));
    std::fs::write(directory.join("none.json"), "{}")?;
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "-H", &address()]);
    let mut server = Server::start(&mut command, &directory.join("log"))?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let asked = capture(world.command("docker").args(["-H", &address(), "version"]));
        match asked {
            Ok(_) => return Ok(server),
            Err(error) if Instant::now() > deadline || server.has_ended()? => {
                bail!("dockerd does not answer: {error:#}\n{}", server.last_words())
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
