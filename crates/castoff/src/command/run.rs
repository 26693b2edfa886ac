//! `castoff run`: a command in an image, or in a stage of what a directory builds.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use castoff_oci::{ContainerConfig, ImageConfig, Platform};
use castoff_sandbox::{MountKind, MountSpec, Network, Output, ProcessSpec, Status, Stdin};
use castoff_solver::{
    Bodies, Messenger, ProcessRoot, PullPolicy, RunEnvironment, SnapshotLayer, World, passwd, snapshot,
};

use super::Context;
use crate::args::{ContextArgs, PlanRequest, RunArgs};
use crate::build;
use crate::devices;
use crate::exit;
use crate::image;
use crate::platforms;
use crate::report;

/// Docker's exit codes for commands that cannot be started.
const CANNOT_RUN: u8 = 125;

pub(super) fn run(args: &RunArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let (subject, command) = args.words.split_first().context("an image or directory is needed")?;
    let subject = subject.to_string_lossy();
    let mut session = context.session()?;
    let is_directory = args.target.is_some()
        || args.file.is_some()
        || Path::new(&*subject).is_dir() && subject.contains(['.', '/']);
    if is_directory {
        let subject = match stage(args, &subject, context, &mut session.world)? {
            Ok(found) => found,
            Err(code) => return Ok(code),
        };
        let bodies = Bodies::new(&session.world);
        return start(args, command, &subject, &session.world, &bodies);
    }
    let platform = super::platform(args.platform.as_deref())?;
    let named = match image::find(&session.world.store, &subject, platform.as_ref()) {
        Ok(named) => named,
        Err(missing) => fetch(&session.world, &subject, platform).map_err(|error| error.context(missing))?,
    };
    let bodies = Bodies::new(&session.world);
    let layers = named
        .image(&bodies)?
        .layers
        .into_iter()
        .map(|layer| SnapshotLayer::Stored(layer.id))
        .collect::<Vec<_>>();
    let subject = Subject { layers, config: named.config.value().clone(), environment: Vec::new() };
    start(args, command, &subject, &session.world, &bodies)
}

/// An image that the store does not have is asked of its registry.
pub(super) fn fetch(world: &World, name: &str, platform: Option<Platform>) -> anyhow::Result<image::Named> {
    let reference = name.parse()?;
    let platform = platform.unwrap_or_else(Platform::host);
    let found = castoff_solver::resolve(world, &reference, &platform, PullPolicy::Missing)?;
    image::find(&world.store, &format!("{}@{}", reference.name(), found.manifest), None)
}

/// What a command runs in.
struct Subject {
    layers: Vec<SnapshotLayer>,
    config: ImageConfig,
    /// Variables beside those of the config.
    environment: Vec<(String, String)>,
}

/// Builds a stage; or the exit code of the failure.
fn stage(
    args: &RunArgs,
    directory: &str,
    context: &Context<'_>,
    world: &mut World,
) -> anyhow::Result<Result<Subject, u8>> {
    let flags = ContextArgs {
        file: args.file.clone(),
        target: args.target.clone(),
        build_arg: args.build_arg.clone(),
        build_context: args.build_context.clone(),
        platform: args.platform.clone().into_iter().collect(),
        ..ContextArgs::default()
    };
    let mut request = PlanRequest::of_context(directory, &flags, context.environment)?;
    // One command runs, of one image.
    request.platforms.truncate(1);
    request.multi_platform = false;
    let planned = match build::plan(&request, world, &mut |_| {}) {
        Ok(planned) => planned,
        Err(error) => return Ok(Err(report::failure(&error, &[], &mut io::stderr()))),
    };
    let ready = platforms::settle(&planned, world)
        .and_then(|()| devices::settle(&planned, &request.entitlements.devices, world));
    if let Err(error) = ready {
        return Ok(Err(report::failure(&error, &[], &mut io::stderr())));
    }
    let bodies = Bodies::new(world);
    let [output] = &planned.plan.outputs[..] else { unreachable!("one platform was asked for") };
    let vertex = output.vertex;
    let mut tails = crate::progress::Tails::default();
    let start = std::time::Instant::now();
    let mut events = |event| tails.event(start.elapsed(), &event);
    let solved = match build::solve_plan(&planned, &[vertex], world, &bodies, None, &mut events) {
        Ok(solved) => solved,
        Err(error) => return Ok(Err(report::failure(&error, &tails.failed(), &mut io::stderr()))),
    };
    let result = |id| solved.result(id).expect("what the stage needs is solved").clone();
    let layers = snapshot(&planned.plan.graph, world, vertex, &result)?;
    let environment = planned
        .plan
        .stages
        .iter()
        .find(|stage| stage.vertex == vertex)
        .map(|stage| stage.environment.clone())
        .unwrap_or_default();
    Ok(Ok(Subject { layers, config: output.config.clone(), environment }))
}

fn start(
    args: &RunArgs,
    command: &[OsString],
    subject: &Subject,
    world: &World,
    bodies: &Bodies<'_>,
) -> anyhow::Result<u8> {
    let (layers, config) = (&subject.layers, &subject.config.config);
    let emulator = platforms::emulator(&subject.config.platform(), &world.search_path)?;
    let (messenger, _events) = Messenger::channel();
    let view = bodies.view(layers, &messenger)?;
    let user = args.user.as_deref().unwrap_or(&config.user);
    let ids = passwd::resolve_user(&view, user)?;
    let argv = argv(args, command, config)?;
    let workdir = args.workdir.clone().unwrap_or_else(|| {
        if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() }
    });
    let network = match args.network.as_deref() {
        None | Some("host" | "default" | "bridge") => Network::Host,
        Some("none") => Network::None,
        Some(other) => anyhow::bail!("network `{other}` is not supported yet: host or none"),
    };
    let root = ProcessRoot::prepare(world, bodies, layers, &messenger)?;
    let run = RunEnvironment {
        argv: &argv,
        env: variables(args, config, &subject.environment, &ids.home),
        workdir: &workdir,
        hostname: "castoff",
        extra_hosts: &[],
        ids: &ids,
        network,
    };
    let mut spec = run.spec(world);
    spec.output = if args.tty { Output::Terminal } else { Output::Inherit };
    spec.stdin = if args.interactive || args.tty { Stdin::Inherit } else { Stdin::Null };
    spec.mounts = args.volume.iter().map(|text| volume(text)).collect::<anyhow::Result<_>>()?;
    spec.emulator = emulator;
    root.fill(&mut spec);
    attended(&spec, world)
}

/// Runs a process with this one's streams, and returns the exit code for it.
pub(super) fn attended(spec: &ProcessSpec, world: &World) -> anyhow::Result<u8> {
    // What a terminal of its own shows goes to ours; when that is gone, nobody looks.
    let mut show = |_, bytes: &[u8]| {
        let mut stdout = io::stdout().lock();
        let _gone = io::Write::write_all(&mut stdout, bytes).and_then(|()| io::Write::flush(&mut stdout));
    };
    let interrupted = crate::interrupt::watch(&world.cancel)?;
    let exit = match castoff_sandbox::run(spec, &world.cancel, &mut show) {
        Ok(exit) => exit,
        Err(error) => {
            super::complain(&error.to_string());
            return Ok(CANNOT_RUN);
        }
    };
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    Ok(match exit.status {
        Status::Code(code) => u8::try_from(code).unwrap_or(exit::FAILURE),
        Status::Signal(signal) => u8::try_from(128 + signal).unwrap_or(exit::FAILURE),
        Status::Cancelled | Status::TimedOut => exit::INTERRUPTED,
    })
}

/// `--entrypoint` replaces both of the image's; words after the image replace CMD (as in docker run).
fn argv(args: &RunArgs, command: &[OsString], config: &ContainerConfig) -> anyhow::Result<Vec<String>> {
    let given: Vec<String> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut argv = match args.entrypoint.as_deref() {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    if !given.is_empty() {
        argv.extend(given);
    } else if args.entrypoint.is_none() {
        argv.extend(config.cmd.clone().unwrap_or_default());
    }
    if argv.is_empty() {
        anyhow::bail!("the image names no command: give one after it");
    }
    Ok(argv)
}

pub(super) fn variables(
    args: &RunArgs,
    config: &ContainerConfig,
    environment: &[(String, String)],
    home: &str,
) -> Vec<(String, String)> {
    let split =
        |entry: &String| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut variables: Vec<(String, String)> =
        config.env.iter().flatten().filter_map(split).chain(environment.iter().cloned()).collect();
    variables.extend([("HOME".to_owned(), home.to_owned()), ("HOSTNAME".to_owned(), "castoff".to_owned())]);
    if args.tty {
        variables.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    for text in &args.env {
        match text.split_once('=') {
            Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
            None => variables.extend(std::env::var(text).ok().map(|value| (text.clone(), value))),
        }
    }
    // The last of equal names counts.
    let mut seen = std::collections::BTreeSet::new();
    variables.reverse();
    variables.retain(|(name, _)| seen.insert(name.clone()));
    variables.reverse();
    variables
}

/// Reads `SOURCE:TARGET[:ro|rw]`.
fn volume(text: &str) -> anyhow::Result<MountSpec> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, writable) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, true),
        [source, target, "ro"] => (source, target, false),
        _ => anyhow::bail!("volume `{text}`: expected SOURCE:TARGET[:ro]"),
    };
    if !target.starts_with('/') {
        anyhow::bail!("volume `{text}`: the target must be an absolute path");
    }
    let source = std::fs::canonicalize(source).with_context(|| format!("volume `{text}`"))?;
    Ok(MountSpec { target: PathBuf::from(target), kind: MountKind::Bind { source, writable } })
}
