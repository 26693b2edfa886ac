//! The docker engine on a socket of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::World;
use crate::command::capture;
use crate::server::Server;

const START_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// An engine, which ends with this.
pub(crate) struct Docker {
    directory: PathBuf,
    server: Server,
}

impl Docker {
    /// Starts the engine and waits until it answers.
    pub(crate) fn start(world: &World) -> Result<Docker> {
        let directory = world.directory.join("docker");
        std::fs::create_dir_all(&directory)?;
        let mut command = world.command("dockerd");
        command.arg("--data-root").arg(directory.join("data"));
        command.arg("--exec-root").arg(directory.join("exec"));
        command.arg("--pidfile").arg(directory.join("pid"));
        command.arg("--config-file").arg(directory.join("none.json"));
        std::fs::write(directory.join("none.json"), "{}")?;
        let address = format!("unix://{}", directory.join("socket").display());
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "-H", &address]);
        let mut docker = Docker { server: Server::start(&mut command, &directory.join("log"))?, directory };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match capture(docker.command(world).arg("version")) {
                Ok(_) => return Ok(docker),
                Err(error) if Instant::now() > deadline || docker.server.has_ended()? => {
                    bail!("dockerd does not answer: {error:#}\n{}", docker.server.last_words())
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Returns the number of the engine's process, which started containerd.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Starts a command line of the client, with BuildKit as the builder.
    pub(crate) fn command(&self, world: &World) -> Command {
        let mut command = world.command("docker");
        command.env("DOCKER_BUILDKIT", "1");
        command.arg("-H").arg(format!("unix://{}", self.directory.join("socket").display()));
        command
    }
}
