//! `castoff builds` and `castoff log`.

use std::io::{self, Read, Write as _};

use anyhow::Context as _;
use castoff_inspect::builds::{find_build, find_step};
use castoff_oci::Digest;
use castoff_solver::export::image::rfc3339;
use castoff_store::{BuildId, BuildOutcome, BuildRecord, BuildStep, StepAction, StepRead, Store, Verdict};
use serde_json::{Value, json};

use super::Context;
use crate::args::{BuildsArgs, LogArgs, ReportFormat};
use crate::exit;
use crate::table::{self, Table};

pub(super) fn builds(args: &BuildsArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let store = &session.world.store;
    if let Some(name) = &args.build {
        let (id, build) = find_build(store, name)?;
        return super::print(&match args.format {
            ReportFormat::Json => format!("{:#}\n", whole_json(&id, &build)),
            ReportFormat::Text => steps_text(&build),
        });
    }
    let mut all = Vec::new();
    for id in store.build_ids()?.into_iter().rev() {
        all.extend(store.build(&id)?.map(|build| (id, build)));
    }
    super::print(&match args.format {
        ReportFormat::Json => {
            let all: Value = all.iter().map(|(id, build)| build_json(id, build)).collect();
            format!("{all:#}\n")
        }
        ReportFormat::Text => {
            let now = (session.world.clock)();
            let mut table = Table::new(&["BUILD", "CREATED", "TOOK", "STATUS", "STEPS", "CACHED", "IMAGE"]);
            for (id, build) in &all {
                let steps = build.steps.iter().filter(|step| is_work(step));
                let cached = steps.clone().filter(|step| step.verdict == Verdict::Cached).count();
                table.row([
                    id.to_string(),
                    table::ago(Some(&rfc3339(build.started_ms)), now),
                    seconds(build.ended_ms - build.started_ms),
                    outcome(build.outcome).to_owned(),
                    steps.count().to_string(),
                    cached.to_string(),
                    image(build),
                ]);
            }
            table.to_string()
        }
    })
}

/// Whether a step is an instruction that does something, as `castoff builds` counts them.
pub(super) fn is_work(step: &BuildStep) -> bool {
    matches!(step.action, StepAction::Run { .. } | StepAction::Copy { .. } | StepAction::Workdir { .. })
}

/// Returns the first name of the result, else the beginning of its id.
fn image(build: &BuildRecord) -> String {
    match (build.names.first(), build.images.first()) {
        (Some(name), Some(_)) => name.clone(),
        (_, Some(image)) => image.config.hex()[..12].to_owned(),
        (_, None) => "-".to_owned(),
    }
}

fn steps_text(build: &BuildRecord) -> String {
    let mut table = Table::new(&["STEP", "STATUS", "TOOK", "SIZE", "LINE", "NAME"]);
    for step in shown(build) {
        table.row([
            step.number.map(|number| format!("#{number}")).unwrap_or_default(),
            verdict(step.verdict).to_owned(),
            took(step).map(seconds).unwrap_or_default(),
            step.bytes.filter(|_| step.layer.is_some()).map(table::bytes).unwrap_or_default(),
            step.lines.map(|(first, _)| first.to_string()).unwrap_or_default(),
            first_line(&step.name),
        ]);
    }
    table.to_string()
}

/// Returns the steps in the order of their numbers; those that nothing was shown of, last.
fn shown(build: &BuildRecord) -> Vec<&BuildStep> {
    let mut steps: Vec<&BuildStep> = build.steps.iter().filter(|step| step.number.is_some()).collect();
    steps.sort_by_key(|step| step.number);
    steps.extend(build.steps.iter().filter(|step| step.number.is_none() && is_work(step)));
    steps
}

/// Returns how long a step took in its build.
pub(super) fn took(step: &BuildStep) -> Option<i64> {
    (step.verdict != Verdict::Cached).then(|| Some(step.ended_ms? - step.started_ms?)).flatten()
}

/// Returns a duration as progress shows it.
pub(super) fn seconds(milliseconds: i64) -> String {
    format!("{:.1}s", milliseconds as f64 / 1000.0)
}

pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn outcome(outcome: BuildOutcome) -> &'static str {
    match outcome {
        BuildOutcome::Done => "done",
        BuildOutcome::Failed => "failed",
        BuildOutcome::Interrupted => "interrupted",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Executed => "executed",
        Verdict::Cached => "cached",
        Verdict::Failed => "failed",
        Verdict::Cancelled => "cancelled",
        Verdict::NotReached => "not reached",
    }
}

/// Returns what programs are told of a build (`docs/explain.md`).
fn build_json(id: &BuildId, build: &BuildRecord) -> Value {
    let images = build.images.iter().map(|image| {
        json!({
            "platform": image.platform,
            "manifest": image.manifest.to_string(),
            "config": image.config.to_string(),
            "step": image.root,
        })
    });
    json!({
        "build": id.as_str(),
        "startedAt": rfc3339(build.started_ms),
        "endedAt": rfc3339(build.ended_ms),
        "outcome": outcome(build.outcome),
        "message": build.message,
        "dockerfile": build.dockerfile,
        "context": build.context,
        "target": build.target,
        "names": build.names,
        "images": images.collect::<Vec<_>>(),
    })
}

pub(super) fn whole_json(id: &BuildId, build: &BuildRecord) -> Value {
    let mut whole = build_json(id, build);
    let stage = |stage: &castoff_store::BuildStage| json!({ "name": stage.name, "platform": stage.platform, "step": stage.root });
    whole["stages"] = build.stages.iter().map(stage).collect();
    whole["steps"] = (0..build.steps.len()).map(|place| step_json(build, place)).collect();
    whole
}

/// Returns what programs are told of a step (`docs/explain.md`).
pub(super) fn step_json(build: &BuildRecord, place: usize) -> Value {
    let step = &build.steps[place];
    let reason = step.reason.as_ref().map(|reason| {
        let change = |change: &castoff_store::Change| {
            json!({
                "kind": match change.kind {
                    castoff_store::ChangeKind::File => "file",
                    castoff_store::ChangeKind::Parent => "parent",
                    castoff_store::ChangeKind::Part => "part",
                },
                "name": change.name,
                "before": change.before,
                "after": change.after,
            })
        };
        json!({
            "text": reason.text,
            "earlier": reason.earlier.map(|key| key.hex()),
            "changes": reason.changes.iter().map(change).collect::<Vec<_>>(),
            "leftOut": reason.left_out,
        })
    });
    json!({
        "index": place,
        "number": step.number,
        "name": step.name,
        "stage": step.stage,
        "platform": step.platform,
        "lines": step.lines,
        "action": action_json(&step.action),
        "parent": step.parent,
        "inputs": step.inputs,
        "verdict": verdict(step.verdict),
        "key": step.key.map(|key| key.hex()),
        "cache": step.cache,
        "reason": reason,
        "message": step.message,
        "startedAt": step.started_ms.map(rfc3339),
        "endedAt": step.ended_ms.map(rfc3339),
        "layer": step.layer.as_ref().map(ToString::to_string),
        "diffId": step.diff_id.map(|diff| diff.0.to_string()),
        "bytes": step.bytes,
        "log": step.log.map(|digest| digest.to_string()),
    })
}

fn action_json(action: &StepAction) -> Value {
    let reads = |reads: &[StepRead]| -> Value {
        let read = |read: &StepRead| json!({ "step": read.from, "path": read.path, "target": read.target });
        reads.iter().map(read).collect()
    };
    match action {
        StepAction::Scratch => json!({ "kind": "scratch" }),
        StepAction::Image { reference, manifest } => {
            json!({ "kind": "image", "reference": reference, "manifest": manifest.to_string() })
        }
        StepAction::Local { name } => json!({ "kind": "local", "name": name }),
        StepAction::Fetched { address } => json!({ "kind": "fetched", "address": address }),
        StepAction::Run { mounts } => json!({ "kind": "run", "mounts": reads(mounts) }),
        StepAction::Copy { sources, destination, .. } => {
            json!({ "kind": "copy", "sources": reads(sources), "destination": destination })
        }
        StepAction::Workdir { path } => json!({ "kind": "workdir", "path": path }),
        StepAction::Internal => json!({ "kind": "internal" }),
    }
}

/// A log may be a quarter of a gigabyte; as JSON no more than this of it is shown.
const JSON_LIMIT: u64 = 64 << 20;

pub(super) fn log(args: &LogArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let store = &session.world.store;
    let (id, build) = find_build(store, args.build.as_deref().unwrap_or("@last"))?;
    let (place, _) = find_step(&build, &args.step)?;
    let step = &build.steps[place];
    let Log { digest, cache } = log_of(store, step)?;
    let file = match digest {
        Some(digest) => Some(store.open_blob(&digest)?.with_context(|| match cache {
            Some(cache) => format!("the step was executed elsewhere, and its log is not in {cache}"),
            None => "the log of this step is not in the store any more".to_owned(),
        })?),
        None => None,
    };
    if args.format == ReportFormat::Json {
        let mut text = Vec::new();
        let mut size = 0;
        if let Some(file) = file {
            size = file.metadata()?.len();
            file.take(JSON_LIMIT).read_to_end(&mut text)?;
        }
        let log = json!({
            "build": id.as_str(),
            "step": step_json(&build, place),
            "bytes": size,
            "cut": size > JSON_LIMIT,
            "log": String::from_utf8_lossy(&text),
        });
        return super::print(&format!("{log:#}\n"));
    }
    let Some(mut file) = file else {
        super::remark(&format!("{}: it printed nothing", first_line(&step.name)));
        return Ok(exit::SUCCESS);
    };
    let mut stdout = io::stdout().lock();
    match io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::SUCCESS),
    }
}

/// Where a log is.
struct Log {
    /// Its blob; `None` when nothing was printed.
    digest: Option<Digest>,
    /// The shared cache that the step came from.
    cache: Option<String>,
}

/// Returns the log of a step: that of this build, else that of the execution that the result is from.
fn log_of(store: &Store, step: &BuildStep) -> anyhow::Result<Log> {
    match (step.verdict, step.key) {
        (Verdict::Cached, Some(key)) if is_work(step) => {
            let record = store.record(key)?;
            let record = record.context("the record of this step is not in the store any more")?;
            Ok(Log { digest: record.log, cache: record.cache })
        }
        _ => Ok(Log { digest: step.log, cache: None }),
    }
}
