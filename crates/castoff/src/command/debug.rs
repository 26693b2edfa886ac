//! `castoff debug`: a shell in an image that may have none, or the tools of another image beside it.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use castoff_oci::{ImageConfig, Platform};
use castoff_sandbox::{MountSpec, Network, Output, Stdin};
use castoff_solver::{Bodies, Messenger, ProcessRoot, RunEnvironment, SnapshotLayer, World, passwd, whole};

use super::Context;
use super::run::{attended, fetch, variables};
use super::shell::shell_of;
use crate::args::{DebugArgs, RunArgs};
use crate::image;
use crate::platforms;

/// Where the tools see the image.
const IMAGE: &str = "/image";

pub(super) fn debug(args: &DebugArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let world = &session.world;
    let platform = super::platform(args.platform.as_deref())?;
    let bodies = Bodies::new(world);
    let (messenger, _events) = Messenger::channel();
    let (layers, config) = find(&args.image, platform, world, &bodies)?;
    // With tools of another image, that is the root, and the image a mount.
    let (root_layers, root_config) = match &args.toolbox {
        Some(name) => find(name, None, world, &bodies)?,
        None => (layers.clone(), config.clone()),
    };
    let emulator = platforms::emulator(&root_config.platform(), &world.search_path)?;
    let view = bodies.view(&root_layers, &messenger)?;
    let ids = passwd::resolve_user(&view, args.user.as_deref().unwrap_or("0"))?;
    let root = ProcessRoot::prepare(world, &bodies, &root_layers, &messenger)?;
    let workdir = match (&args.toolbox, root_config.config.working_dir.as_str()) {
        (Some(_), _) => IMAGE,
        (None, "") => "/",
        (None, directory) => directory,
    };
    let is_terminal = io::stdin().is_terminal() && context.environment.stdout_is_terminal;
    let flags = RunArgs { tty: is_terminal, ..RunArgs::default() };
    let run = RunEnvironment {
        argv: &[],
        env: variables(&flags, &root_config.config, &[], &ids.home),
        workdir,
        hostname: "castoff",
        extra_hosts: &[],
        ids: &ids,
        network: Network::Host,
    };
    let mut spec = run.spec(world);
    spec.emulator = emulator;
    spec.output = if is_terminal { Output::Terminal } else { Output::Inherit };
    spec.stdin = Stdin::Inherit;
    root.fill(&mut spec);
    let _scratch = match args.toolbox {
        Some(_) => {
            let (kind, scratch) = whole(world, &bodies, &layers, &messenger)?;
            spec.mounts.push(MountSpec { target: PathBuf::from(IMAGE), kind });
            Some(scratch)
        }
        None => None,
    };
    let found = if args.builtin_shell { None } else { shell_of(None, &view) };
    if args.command.is_empty() {
        if args.toolbox.is_some() {
            super::remark(&format!("note: the image is at {IMAGE}"));
        }
        if found.is_none() {
            super::remark("note: this is castoff's own shell, with few commands: `help` lists them");
        }
        super::remark("note: what is changed here is thrown away; `exit` leaves");
    }
    spec.builtin_shell = args.builtin_shell || args.command.is_empty() && found.is_none();
    spec.argv = match &args.command[..] {
        [] => found.into_iter().map(OsString::from).collect(),
        command => command.to_vec(),
    };
    attended(&spec, world)
}

/// Finds an image, in the store or in its registry.
fn find(
    name: &str,
    platform: Option<Platform>,
    world: &World,
    bodies: &Bodies<'_>,
) -> anyhow::Result<(Vec<SnapshotLayer>, ImageConfig)> {
    let named = match image::find(&world.store, name, platform.as_ref()) {
        Ok(named) => named,
        Err(missing) => fetch(world, name, platform).map_err(|error| error.context(missing))?,
    };
    let layers = named.image(bodies)?.layers.into_iter().map(|layer| SnapshotLayer::Stored(layer.id));
    Ok((layers.collect(), named.config.value().clone()))
}
