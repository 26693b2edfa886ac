//! `castoff update`: what the names of a Dockerfile stand for now, written beside it.

use std::collections::BTreeSet;
use std::io;

use anyhow::Context as _;
use castoff_solver::export::archive;

use super::Context;
use super::build::show;
use crate::args::{ContextArgs, PlanRequest, SecretSpec, UpdateArgs};
use crate::build::{self, Floating};
use crate::exit;
use crate::interrupt;
use crate::lock::{self, Lock};
use crate::report;

pub(super) fn update(args: &UpdateArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    if context.global.offline(context.environment)? {
        anyhow::bail!("what names stand for is asked over a network, and castoff is offline");
    }
    let flags = ContextArgs {
        file: args.file.clone(),
        target: args.target.clone(),
        build_arg: args.build_arg.clone(),
        build_context: args.build_context.clone(),
        platform: args.platform.clone(),
        lockfile: args.lockfile.clone(),
        ..ContextArgs::default()
    };
    let request = PlanRequest::of_context(&args.path, &flags, context.environment)?;
    let secrets = args.secret.iter().map(|text| SecretSpec::parse(text, context.environment));
    let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let mut session = context.session()?;
    let interrupted = interrupt::watch(&session.world.cancel)?;
    let world = &mut session.world;
    let found = show(mode, context, |events| {
        world.secrets = build::secrets(&secrets)?;
        build::find_floating(&request, &args.only, world, events)
    });
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let found = match found.result {
        Ok(found) => found,
        Err(error) => return Ok(report::failure(&error, &[], &mut io::stderr())),
    };
    session.world.store.sync()?;
    finish(args, &request, &found)
}

fn finish(args: &UpdateArgs, request: &PlanRequest, found: &Floating) -> anyhow::Result<u8> {
    let path = lock::place(&found.dockerfile, &request.lock).context(
        "the Dockerfile is no file that could have a lock beside it: `--lockfile` says where it is written",
    )?;
    let name = lock::shown(&path, &found.dockerfile, &request.lock);
    for image in &found.local {
        let image = image.familiar();
        super::remark(&format!("note: `{image}` is an image of this store alone, and stays unpinned"));
    }
    if let Some(error) = &found.broken {
        super::remark(&format!("note: {error}; it is written anew"));
    }
    let changes = changes(&found.before, &found.now);
    super::print(&changes)?;
    let is_current = changes.is_empty() && found.broken.is_none();
    if args.check {
        return Ok(if is_current { exit::SUCCESS } else { exit::FAILURE });
    }
    if is_current && path.exists() {
        super::remark(&format!("{name} is up to date"));
    } else if !args.dry_run {
        archive::write_file(&path, &mut found.now.text().as_bytes())
            .with_context(|| format!("writing `{name}`"))?;
        super::remark(&format!("wrote {name}"));
    }
    Ok(exit::SUCCESS)
}

/// Returns a line for each name that stands for something else now.
fn changes(before: &Lock, now: &Lock) -> String {
    let (before, now) = (before.entries(), now.entries());
    let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let lines = all.into_iter().filter_map(|name| match (before.get(name), now.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{name}: {old} -> {new}\n")),
        (None, Some(new)) => Some(format!("{name}: {new}\n")),
        (old, None) => Some(format!("{name}: {} -> (not in use)\n", old.map_or("", String::as_str))),
    });
    lines.collect()
}
