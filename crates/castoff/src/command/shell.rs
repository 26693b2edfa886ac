//! `castoff shell`: a shell in what a failed step left, and `build --on-error=shell`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::Context as _;
use castoff_inspect::builds::find_build;
use castoff_layer::{EntryKind, View};
use castoff_oci::Platform;
use castoff_sandbox::{Cancel, Output, Stdin};
use castoff_solver::{Bodies, FailedProcess, Messenger, World, enter};
use castoff_store::{BuildRecord, LeftState, Store};

use super::Context;
use super::builds::first_line;
use super::run::attended;
use crate::agents;
use crate::args::{Environment, SecretSpec, ShellArgs, SshSpec};
use crate::build;
use crate::bundle::{self, Opened};
use crate::history::Failure;
use crate::platforms;

/// Lines of the end of a bundle's log that are shown.
const LOG_LINES: usize = 10;

/// Shells that images have, the more comfortable first.
const SHELLS: [&str; 5] = ["/bin/bash", "/bin/ash", "/bin/sh", "/usr/bin/sh", "/busybox/sh"];

pub(super) fn shell(args: &ShellArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let secrets = args.secret.iter().map(|text| Ok(SecretSpec::parse(text, context.environment)?));
    let secrets = build::secrets(&secrets.collect::<anyhow::Result<Vec<_>>>()?)?;
    let ssh = args.ssh.iter().map(|text| Ok(SshSpec::parse(text, context.environment)?));
    let agents = agents::load(&ssh.collect::<anyhow::Result<Vec<_>>>()?)?;
    let mut session = context.session()?;
    (session.world.secrets, session.world.agents) = (secrets, agents);
    let how = How { command: &args.command, builtin: args.builtin_shell };
    let world = &session.world;
    let bodies = Bodies::new(world);
    let path = Path::new(&args.subject);
    // What is named like a file is one, whatever builds there are.
    if args.subject.contains(['/', '.']) || path.is_file() {
        let Opened { failure, log, notes } = bundle::read(path, world, &bodies)?;
        if how.command.is_empty() {
            log.lines().rev().take(LOG_LINES).collect::<Vec<_>>().into_iter().rev().for_each(|line| {
                super::remark(&format!("> {}", first_line(line)));
            });
            notes.iter().for_each(|note| super::remark(&format!("note: {}", first_line(note))));
        }
        return stand(&failure, how, context.environment, world, &bodies);
    }
    let failure = find(&world.store, &args.subject)?;
    stand(&failure, how, context.environment, world, &bodies)
}

/// Goes where a build failed, after it was said why. The world is the build's, secrets included.
pub(super) fn on_error(
    failure: Option<&Failure>,
    environment: &Environment,
    world: &mut World,
) -> anyhow::Result<()> {
    let Some(failure) = failure else {
        super::remark(
            "note: --on-error=shell: there is nothing to stand in, because no RUN failed or what it left is not kept",
        );
        return Ok(());
    };
    if !io::stdin().is_terminal() || !environment.stdout_is_terminal {
        super::remark(
            "note: --on-error=shell needs a terminal on standard input and output: the build fails as usual",
        );
        return Ok(());
    }
    // The failure has stopped the build's own.
    world.cancel = Cancel::new().context("preparing to be interrupted")?;
    stand(failure, How { command: &[], builtin: false }, environment, world, &Bodies::new(world))?;
    Ok(())
}

/// Writes what a step left that failed to a file. `is_proven` is whether somebody looked for the secrets of the build in it.
pub(super) fn save(
    failure: Option<&Failure>,
    path: &Path,
    is_proven: bool,
    world: &World,
) -> anyhow::Result<()> {
    let Some(failure) = failure else {
        super::remark(&format!(
            "note: nothing is written to `{}`, because no RUN failed or what it left is not kept",
            path.display()
        ));
        return Ok(());
    };
    if !is_proven && !world.secrets.is_empty() {
        super::remark(&format!(
            "note: nothing is written to `{}`: the build was given secrets, and with --prove=false nobody looks for them",
            path.display()
        ));
        return Ok(());
    }
    bundle::write(failure, world, &Bodies::new(world), path)?;
    super::remark(&format!(
        "note: `castoff shell {}` goes where the step failed, on any machine",
        path.display()
    ));
    Ok(())
}

/// Finds what a failed step left: of the newest build that failed so, or of one that is named.
fn find(store: &Store, subject: &str) -> anyhow::Result<Failure> {
    if subject != "@last" {
        let (_, record) = find_build(store, subject)?;
        return failure(&record)
            .with_context(|| format!("build `{subject}` has no failed RUN that left something"));
    }
    for id in store.build_ids()?.into_iter().rev() {
        if let Some(found) = store.build(&id)?.and_then(|record| failure(&record)) {
            return Ok(found);
        }
    }
    anyhow::bail!("no build that is remembered has a failed RUN that left something")
}

fn failure(record: &BuildRecord) -> Option<Failure> {
    let step = record.steps.iter().find(|step| step.left.is_some())?;
    Some(Failure {
        name: step.name.clone(),
        place: step.lines.map(|(line, _)| format!("{}:{line}", record.dockerfile)),
        message: step.message.clone().unwrap_or_default(),
        log: step.log,
        left: step.left.clone()?,
    })
}

/// What is run.
struct How<'a> {
    /// A command instead of a shell.
    command: &'a [OsString],
    /// Whether castoff's own shell is wanted, whatever there is.
    builtin: bool,
}

/// Starts a shell or a command in what a step left, and returns its exit code.
fn stand(
    failure: &Failure,
    how: How<'_>,
    environment: &Environment,
    world: &World,
    bodies: &Bodies<'_>,
) -> anyhow::Result<u8> {
    let left: &LeftState = &failure.left;
    let process: FailedProcess = serde_json::from_value(left.process.clone())
        .context("what is recorded of the failed step is not understood")?;
    if !left.lowers.iter().chain([&left.upper]).all(|layer| bodies.is_present(layer)) {
        anyhow::bail!(
            "what `{}` left is no longer in the store, which keeps it of the last {} builds that failed: build it again",
            first_line(&failure.name),
            castoff_store::FAILURES_KEPT
        );
    }
    let (messenger, _events) = Messenger::channel();
    let mut entered = enter(left, &process, world, bodies, &messenger)?;
    if let Ok(platform) = process.platform.parse::<Platform>() {
        entered.spec.emulator = platforms::emulator(&platform, &world.search_path)?;
    }
    let found = if how.builtin { None } else { shell_of(Some(&process), &entered.view) };
    if how.command.is_empty() {
        let place =
            failure.place.as_ref().map(|place| format!(" ({})", first_line(place))).unwrap_or_default();
        super::remark(&format!("{}{place}", first_line(&failure.name)));
        super::remark(&format!("  {}", first_line(&failure.message)));
        super::remark(&format!("  it ran: {}", first_line(&process.argv.join(" "))));
        for note in &entered.notes {
            super::remark(&format!("note: {}", first_line(note)));
        }
        if found.is_none() {
            super::remark("note: this is castoff's own shell, with few commands: `help` lists them");
        }
        super::remark("note: what is changed here is thrown away, but in cache mounts; `exit` leaves");
    }
    let spec = &mut entered.spec;
    spec.builtin_shell = how.builtin || how.command.is_empty() && found.is_none();
    spec.argv = match how.command {
        [] => found.into_iter().map(OsString::from).collect(),
        command => command.to_vec(),
    };
    spec.stdin = Stdin::Inherit;
    let is_terminal = io::stdin().is_terminal() && environment.stdout_is_terminal;
    spec.output = if is_terminal { Output::Terminal } else { Output::Inherit };
    if is_terminal && !spec.env.iter().any(|(name, _)| name == "TERM") {
        let terminal = environment.filled("TERM").unwrap_or("xterm");
        spec.env.push(("TERM".into(), terminal.into()));
    }
    attended(spec, world)
}

/// Returns a shell that is there: that of the step itself, if it is one, or a usual one.
pub(super) fn shell_of(process: Option<&FailedProcess>, view: &View) -> Option<String> {
    let own = process.and_then(|process| process.argv.first()).filter(|program| {
        let name = Path::new(program.as_str()).file_name().unwrap_or_default().to_string_lossy();
        program.starts_with('/') && name.ends_with("sh")
    });
    for path in own.map(String::as_str).into_iter().chain(SHELLS) {
        // What cannot be looked at is no shell.
        let Ok(resolved) = view.resolve(path.as_bytes(), true) else { continue };
        let node = resolved.node;
        let is_program = node.is_some_and(|node| {
            matches!(node.entry.kind, EntryKind::File { .. } | EntryKind::Hardlink { .. })
                && node.entry.mode & 0o111 != 0
        });
        if is_program {
            return Some(path.to_owned());
        }
    }
    None
}
