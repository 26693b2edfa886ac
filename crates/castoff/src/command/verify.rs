//! `castoff verify`.

mod json;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use castoff_inspect::diff::PathChange;
use castoff_oci::Digest;
use castoff_solver::{Event, World};
use castoff_store::{BuildId, BuildOutcome, BuildRecord};

use super::Context;
use super::build::{docker_config, show};
use crate::agents;
use crate::args::{ReportFormat, SecretSpec, SshSpec, VerifyArgs, fields};
use crate::build::{self, BuildError};
use crate::exit;
use crate::image;
use crate::interrupt;
use crate::report;
use crate::verify::{
    self, Share, StepResult, VerifiedStep, VerifyError, VerifyOptions, choose, request, steps,
};

pub(super) fn verify(args: &VerifyArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    match verified(args, context) {
        Ok(code) => Ok(code),
        Err(error) => {
            match error.downcast_ref::<VerifyError>() {
                Some(VerifyError::Build(BuildError::Interrupted)) => return Ok(exit::INTERRUPTED),
                Some(VerifyError::Build(error)) => {
                    report::failure(error, &[], &mut std::io::stderr());
                }
                _ => super::complain(&castoff_solver::chain(error.as_ref())),
            }
            Ok(exit::TROUBLE)
        }
    }
}

/// What was found out.
struct Verdict {
    /// The image that was named.
    image: Option<String>,
    builds: Vec<VerifiedBuild>,
    /// Builds that could not be repeated, and why.
    left_out: Vec<(BuildId, String)>,
    /// The number that the steps were chosen by.
    seed: Option<u64>,
    /// Whether times counted.
    times: bool,
    /// Whether the image says when it was built, so that its id is another each time.
    has_times: bool,
}

/// A build whose steps were done again.
struct VerifiedBuild {
    id: BuildId,
    record: BuildRecord,
    steps: Vec<VerifiedStep>,
}

impl Verdict {
    fn steps(&self) -> impl Iterator<Item = &VerifiedStep> {
        self.builds.iter().flat_map(|build| &build.steps)
    }

    fn is_reproducible(&self) -> bool {
        !self.has_times && self.steps().all(|step| matches!(step.result, StepResult::Same))
    }
}

/// A build to verify: which steps of what it needs for an image, or of all.
struct Subject {
    id: BuildId,
    record: BuildRecord,
    root: Option<usize>,
}

fn verified(args: &VerifyArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let share = args.cache.as_deref().map(Share::parse).transpose()?;
    let times = args.times.as_deref().map(fields::boolean).transpose()?.unwrap_or(share.is_none());
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let secrets = args.secret.iter().map(|text| Ok(SecretSpec::parse(text, context.environment)?));
    let secrets = build::secrets(&secrets.collect::<anyhow::Result<Vec<_>>>()?)?;
    let ssh = args.ssh.iter().map(|text| Ok(SshSpec::parse(text, context.environment)?));
    let agents = agents::load(&ssh.collect::<anyhow::Result<Vec<_>>>()?)?;
    let mut session = context.session()?;
    let world = &mut session.world;
    (world.secrets, world.agents) = (secrets, agents);
    let subjects = match &args.image {
        Some(name) => vec![subject(name, args, world)?],
        None => remembered(world)?,
    };
    let seed = share.map(|_| args.seed.unwrap_or_else(|| (world.clock)().unsigned_abs()));
    let mut wanted: BTreeSet<Digest> =
        subjects.iter().flat_map(|subject| steps(&subject.record)).map(|(_, key)| key).collect();
    if let (Some(share), Some(seed)) = (share, seed) {
        wanted = choose(&wanted, share, seed);
    }
    let options = VerifyOptions { times, docker_config: docker_config(context) };
    let interrupted = interrupt::watch(&world.cancel)?;
    let is_audit = args.image.is_none();
    let mut verdict = Verdict {
        image: args.image.clone(),
        builds: Vec::new(),
        left_out: Vec::new(),
        seed,
        times,
        has_times: false,
    };
    let shown =
        show(mode, context, |events| all(subjects, wanted, &options, world, is_audit, &mut verdict, events));
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    shown.result?;
    if verdict.steps().next().is_none() && !verdict.left_out.is_empty() {
        for (id, reason) in &verdict.left_out {
            super::remark(&format!("build {id}: {reason}"));
        }
        anyhow::bail!("no build that is remembered can be repeated here");
    }
    // Without an epoch an image says when its steps ran.
    verdict.has_times =
        times && share.is_none() && verdict.builds.iter().any(|build| says_when(&build.record, &build.steps));
    super::print(&match args.format {
        ReportFormat::Text => text::text(&verdict),
        ReportFormat::Json => format!("{:#}\n", json::json(&verdict)),
    })?;
    Ok(if verdict.is_reproducible() { exit::SUCCESS } else { exit::FAILURE })
}

fn says_when(record: &BuildRecord, steps: &[VerifiedStep]) -> bool {
    let has_epoch = request(record).is_ok_and(|request| request.has_epoch());
    !steps.is_empty() && !has_epoch
}

/// Finds the newest build that an image came out of.
fn subject(name: &str, args: &VerifyArgs, world: &World) -> anyhow::Result<Subject> {
    let platform = super::platform(args.platform.as_deref())?;
    let named = image::find(&world.store, name, platform.as_ref())?;
    match world.store.build_of_image(named.manifest.digest(), named.config.digest())? {
        Some((id, record, image)) => Ok(Subject { id, record, root: Some(image.root) }),
        None => anyhow::bail!(
            "no build that is remembered made `{name}`: only what was built here can be built again"
        ),
    }
}

/// Returns every build that is remembered, the newest first.
fn remembered(world: &World) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for id in world.store.build_ids()?.into_iter().rev() {
        let Some(record) = world.store.build(&id)? else { continue };
        if record.outcome == BuildOutcome::Done && steps(&record).next().is_some() {
            subjects.push(Subject { id, record, root: None });
        }
    }
    if subjects.is_empty() {
        anyhow::bail!("no build is remembered in this store: `castoff build` leaves a record of each");
    }
    Ok(subjects)
}

/// Verifies steps with the wanted keys, each once. In an audit, builds that cannot be repeated are left out.
fn all(
    subjects: Vec<Subject>,
    mut wanted: BTreeSet<Digest>,
    options: &VerifyOptions,
    world: &mut World,
    is_audit: bool,
    verdict: &mut Verdict,
    events: &mut dyn FnMut(Event),
) -> Result<(), VerifyError> {
    let mut first_step = 0;
    for Subject { id, record, root } in subjects {
        let places: BTreeSet<usize> =
            steps(&record).filter(|(_, key)| wanted.contains(key)).map(|(place, _)| place).collect();
        if places.is_empty() {
            continue;
        }
        let is_wanted = |place| places.contains(&place);
        match verify::build(&record, root, &is_wanted, options, world, first_step, events) {
            Ok(done) => {
                for step in &done {
                    if let Some(key) = record.steps[step.place].key {
                        wanted.remove(&key);
                    }
                }
                first_step += record.steps.len() as u32;
                verdict.builds.push(VerifiedBuild { id, record, steps: done });
            }
            Err(VerifyError::Build(BuildError::Interrupted)) => {
                return Err(BuildError::Interrupted.into());
            }
            Err(error) if is_audit => {
                first_step += record.steps.len() as u32;
                verdict.left_out.push((id, castoff_solver::chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns a path of an image as it is shown.
fn shown_path(change: &PathChange) -> impl fmt::Display {
    super::builds::first_line(&format!("/{}", String::from_utf8_lossy(&change.path)))
}
