//! The builders that castoff is compared with, run in their Debian root.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::cases::Case;
use super::options::PeerKind;
use super::world::{self, World};
use super::{Builder, Outcome};
use crate::command::{capture, show, tail};
use crate::peers::image::{Image, Reader};
use crate::peers::{Docker, buildah};

/// A peer at work.
pub(super) struct Peer<'w> {
    pub(super) kind: PeerKind,
    /// As the program prints it, such as `28.5.2`.
    pub(super) version: String,
    world: &'w World,
    reader: Mutex<Reader>,
    /// Ends with the peer.
    docker: Option<Docker>,
}

impl<'w> Peer<'w> {
    /// Finds out which version there is.
    pub(super) fn find(kind: PeerKind, world: &'w World) -> Result<Peer<'w>> {
        let version = world.version(kind.name())?;
        Ok(Peer { kind, version, world, reader: Mutex::default(), docker: None })
    }

    /// Starts what the peer needs.
    pub(super) fn start(&mut self) -> Result<()> {
        match self.kind {
            PeerKind::Docker => self.docker = Some(Docker::start(self.world)?),
            PeerKind::Buildah => buildah::prepare(self.world)?,
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = match &self.docker {
            Some(docker) => docker.command(self.world),
            None => buildah::command(self.world),
        };
        command.stdin(Stdio::null());
        command
    }
}

impl Peer<'_> {
    /// Returns false if there is one without layers, which docker cannot save and which takes the others
    /// with it.
    fn save(&self, cases: &[&Case], file: &Path) -> Result<bool> {
        let mut command = self.command();
        command.args(["save", "-o"]).arg(file).args(cases.iter().map(|case| case.image()));
        match capture(&mut command) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("empty export") => Ok(false),
            Err(error) => Err(error),
        }
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
                let mut command = buildah::build(self.world);
                command.stdin(Stdio::null());
                capture(command.args(["-t", name, "-f"]).arg(file).arg(context))?;
            }
        }
        Ok(())
    }

    fn build(&self, case: &Case) -> Result<Outcome> {
        let mut command = match self.kind {
            PeerKind::Docker => {
                let mut command = self.command();
                command.args(["buildx", "build", "--progress", "plain", "--provenance=false"]);
                command.args(["--network", "none"]);
                command
            }
            PeerKind::Buildah => {
                let mut command = buildah::build(self.world);
                command.arg("--pull=never").stdin(Stdio::null());
                command
            }
        };
        command.args(["-t", &case.image(), "-f"]).arg(case.dockerfile());
        let outcome = outcome(command.args(&case.arguments).arg(case.context()))?;
        match &outcome {
            // It is no answer that there is nobody to ask.
            Outcome::Failed(text) if text.contains("Cannot connect to the Docker daemon") => {
                bail!("docker's daemon died at `{}` or beside it: {text}", case.name)
            }
            _ => Ok(outcome),
        }
    }

    fn images(&self, cases: &[&Case]) -> Result<BTreeMap<String, Image>> {
        let file = world::directory().join("peer.tar");
        let mut images = BTreeMap::new();
        let mut reader = self.reader.lock().expect("no panic");
        match self.kind {
            PeerKind::Docker => {
                if self.save(cases, &file)? {
                    images = by_case(cases, reader.read(&file)?);
                } else {
                    for case in cases {
                        if self.save(&[case], &file)? {
                            images.extend(by_case(&[case], reader.read(&file)?));
                        }
                    }
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

    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn jobs(&self) -> usize {
        match self.kind {
            PeerKind::Docker => 3,
            PeerKind::Buildah => 2,
        }
    }
}

fn by_case(cases: &[&Case], mut images: BTreeMap<String, Image>) -> BTreeMap<String, Image> {
    cases.iter().filter_map(|case| Some((case.name.clone(), images.remove(&case.image())?))).collect()
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
