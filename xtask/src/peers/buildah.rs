//! buildah with a store of its own.

use std::process::Command;

use anyhow::Result;

use super::World;

/// Writes its configuration.
pub(crate) fn prepare(world: &World) -> Result<()> {
    let directory = world.directory.join("buildah");
    std::fs::create_dir_all(&directory)?;
    // Its own defaults are more than some machines grant.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    std::fs::write(directory.join("containers.conf"), limits)?;
    Ok(())
}

/// Starts a command line on its store.
pub(crate) fn command(world: &World) -> Command {
    let directory = world.directory.join("buildah");
    let mut command = world.command("buildah");
    command.env("CONTAINERS_CONF", directory.join("containers.conf"));
    command.arg("--root").arg(directory.join("root")).arg("--runroot").arg(directory.join("run"));
    command
}

/// Starts a build in docker's format, isolated as far as a container without privileges allows.
pub(crate) fn build(world: &World) -> Command {
    let mut command = command(world);
    command.args(["build", "--format", "docker", "--isolation", "chroot", "--network", "host"]);
    command.arg("--identity-label=false");
    command
}
