//! The record of a build: what the events of a build tell, put together with its plan and its images, for
//! `castoff builds`, `log`, `why`, `explain` and `report`.

use std::collections::BTreeMap;
use std::path::Path;

use castoff_graph::remote::redacted;
use castoff_graph::{
    BuildGraph, CopyKind, CopyOp, CopySource, LocalName, Mount, Op, RunOp, SourceOp, VertexId,
};
use castoff_oci::{Digest, Platform};
use castoff_solver::export::set::ImageSet;
use castoff_solver::{Event, Fact, Outcome, StepId, World};
use castoff_store::{
    BuildImage, BuildOutcome, BuildRecord, BuildStage, BuildStep, FileError, LayerId, LeftState, Reason,
    StepAction, StepRead, Store, Verdict,
};
use serde_json::Value;

use crate::args::{BuildRequest, RecordedRequest};
use crate::build::{BuildError, Planned};
use crate::start::{self, StartFindings};

/// Text of a longer Dockerfile is not kept.
const SOURCE_LIMIT: usize = 1_000_000;

/// Listens to a build.
#[derive(Debug)]
pub struct Recorder {
    clock: fn() -> i64,
    started_ms: i64,
    heard: BTreeMap<StepId, Heard>,
    dockerfile: String,
    source: Option<String>,
    context: Option<String>,
    target: Option<String>,
    names: Vec<String>,
    request: Option<Value>,
    /// The number of the graph's first step, and its steps as far as they are known without solving it.
    planned: Option<(u32, Vec<BuildStep>)>,
    images: Vec<BuildImage>,
    stages: Vec<BuildStage>,
    secrets: Option<Value>,
    start: Option<Value>,
}

/// A RUN that failed and left something.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its name in progress.
    pub name: String,
    /// Its place in the Dockerfile, such as `Dockerfile:3`.
    pub place: Option<String>,
    /// Why, in one line.
    pub message: String,
    /// Blob with what it printed.
    pub log: Option<Digest>,
    /// What it left.
    pub left: LeftState,
}

/// What was heard of a step.
#[derive(Debug, Default)]
struct Heard {
    name: String,
    started_ms: Option<i64>,
    ended_ms: Option<i64>,
    verdict: Option<Verdict>,
    message: Option<String>,
    key: Option<Digest>,
    cache: Option<String>,
    reason: Option<Reason>,
    layer: Option<LayerId>,
    log: Option<Digest>,
    left: Option<LeftState>,
}

impl Recorder {
    /// Returns who listens to a build that begins now. Relative paths of the request start from `directory`.
    pub fn new(request: &BuildRequest, directory: &Path, clock: fn() -> i64) -> Recorder {
        Recorder {
            clock,
            started_ms: clock(),
            heard: BTreeMap::new(),
            dockerfile: String::new(),
            source: None,
            context: None,
            target: request.plan.target.clone(),
            names: request.tags.iter().map(castoff_oci::Reference::familiar).collect(),
            request: serde_json::to_value(RecordedRequest::of(request, directory)).ok(),
            planned: None,
            images: Vec::new(),
            stages: Vec::new(),
            secrets: None,
            start: None,
        }
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        let now = (self.clock)();
        match event {
            Event::Planned { step, name, .. } => self.heard(*step).name.clone_from(name),
            Event::Started { step } => self.heard(*step).started_ms = Some(now),
            Event::Finished { step, outcome } => {
                let heard = self.heard(*step);
                heard.ended_ms = Some(now);
                heard.started_ms.get_or_insert(now);
                heard.verdict = Some(match outcome {
                    Outcome::Done => Verdict::Executed,
                    Outcome::Cached => Verdict::Cached,
                    Outcome::Failed { message } => {
                        heard.message = Some(message.clone());
                        Verdict::Failed
                    }
                    Outcome::Cancelled => Verdict::Cancelled,
                });
            }
            Event::Fact { step, fact } => {
                let heard = self.heard(*step);
                match fact {
                    Fact::Missed { key, reason } => {
                        (heard.key, heard.reason) = (Some(key.0), reason.clone());
                    }
                    Fact::FoundIn { cache } => heard.cache = Some(cache.clone()),
                    Fact::Log(digest) => heard.log = Some(*digest),
                    Fact::Left(left) => heard.left = Some((**left).clone()),
                    Fact::Result { key, layer } => {
                        heard.key = key.map(|key| key.0).or(heard.key);
                        heard.layer.clone_from(layer);
                    }
                }
            }
            Event::Output { .. } | Event::Status { .. } | Event::Note { .. } | Event::Warning { .. } => {}
        }
    }

    fn heard(&mut self, step: StepId) -> &mut Heard {
        self.heard.entry(step).or_default()
    }

    /// Takes note of the plan that is solved now. Of several, the last counts.
    pub(crate) fn solving(&mut self, planned: &Planned, world: &World) {
        let plan = &planned.plan;
        self.dockerfile.clone_from(&planned.dockerfile.name);
        self.source = source(planned, world);
        self.context = match world.locals.get(&LocalName::Context) {
            Some(local) => local.path.to_str().map(str::to_owned),
            None => None,
        };
        self.planned = Some((planned.next_step, steps(&plan.graph)));
        let platform = |output: usize| plan.outputs[output].platform.to_string();
        self.stages = plan
            .stages
            .iter()
            .map(|stage| BuildStage {
                name: stage.name.clone(),
                platform: platform(stage.output),
                root: place(stage.vertex),
            })
            .collect();
    }

    /// Takes note of what was found of the result: about secrets, and whether it can start.
    pub(crate) fn looked(&mut self, start: &[StartFindings], planned: &Planned) {
        self.secrets = planned.prover.as_ref().and_then(|prover| prover.statement());
        self.start = (!start.is_empty()).then(|| start::to_json(start));
    }

    /// Takes note of what came out.
    pub(crate) fn made(&mut self, images: &ImageSet, planned: &Planned) {
        let outputs = planned.plan.outputs.iter().zip(images.images());
        self.images = outputs
            .map(|(output, image)| BuildImage {
                platform: output.platform.to_string(),
                manifest: image.manifest.digest(),
                config: image.config.digest(),
                root: place(output.vertex),
                history: output.history.iter().map(|entry| entry.vertex.map(place)).collect(),
            })
            .collect();
    }

    /// Returns what a step left that failed, when it is kept.
    pub fn failure(&self) -> Option<Failure> {
        let (id, heard) = self.heard.iter().find(|(_, heard)| heard.left.is_some())?;
        let (first, steps) = self.planned.as_ref()?;
        let lines = id.0.checked_sub(*first).and_then(|place| steps.get(place as usize)?.lines);
        Some(Failure {
            name: heard.name.clone(),
            place: lines.map(|(line, _)| format!("{}:{line}", self.dockerfile)),
            message: heard.message.clone().unwrap_or_default(),
            log: heard.log,
            left: heard.left.clone()?,
        })
    }

    /// Puts the record of the build into the store. `numbers` are those that progress shows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep<T>(
        self,
        done: &Result<T, BuildError>,
        numbers: &BTreeMap<StepId, u32>,
        store: &Store,
    ) -> Result<(), FileError> {
        let (outcome, message) = match done {
            Ok(_) => (BuildOutcome::Done, None),
            Err(BuildError::Interrupted) => (BuildOutcome::Interrupted, None),
            Err(error) => (BuildOutcome::Failed, Some(castoff_solver::chain(error))),
        };
        let ended_ms = (self.clock)();
        // A build that never came to its steps leaves none, so that the last build is one that did something.
        let Some((first, mut steps)) = self.planned else { return Ok(()) };
        let count = steps.len() as u32;
        let mut others = Vec::new();
        for (id, heard) in self.heard {
            let number = numbers.get(&id).copied();
            match id.0.checked_sub(first).filter(|place| *place < count) {
                Some(place) => heard.tell(number, &mut steps[place as usize], store),
                None => {
                    let mut step = step(heard.name.clone(), StepAction::Internal);
                    heard.tell(number, &mut step, store);
                    others.push(step);
                }
            }
        }
        steps.extend(others);
        store.put_build(&BuildRecord {
            started_ms: self.started_ms,
            ended_ms,
            outcome,
            message,
            dockerfile: self.dockerfile,
            source: self.source,
            context: self.context,
            target: self.target,
            request: self.request,
            names: self.names,
            images: self.images,
            stages: self.stages,
            secrets: self.secrets,
            start: self.start,
            steps,
        })?;
        Ok(())
    }
}

impl Heard {
    /// Puts what was heard into the record of the step.
    fn tell(self, number: Option<u32>, step: &mut BuildStep, store: &Store) {
        let diff = self.layer.as_ref().and_then(|layer| store.layer_diff(layer));
        step.number = number;
        step.verdict = self.verdict.unwrap_or(Verdict::NotReached);
        step.key = self.key;
        step.cache = self.cache;
        step.reason = self.reason;
        step.message = self.message;
        step.started_ms = self.started_ms;
        step.ended_ms = self.ended_ms;
        step.layer = self.layer;
        step.diff_id = diff.map(|diff| diff.diff_id);
        step.bytes = diff.map(|diff| diff.size);
        step.log = self.log;
        step.left = self.left;
    }
}

/// Returns the text of the Dockerfile without secrets and without the credentials of addresses. With secrets that
/// nobody looks for there is none.
fn source(planned: &Planned, world: &World) -> Option<String> {
    let bytes = &planned.dockerfile.bytes;
    let bytes = match &planned.prover {
        _ if bytes.len() > SOURCE_LIMIT => return None,
        Some(prover) => prover.redact(bytes),
        None if world.secrets.is_empty() => bytes.clone(),
        None => return None,
    };
    String::from_utf8(bytes).ok().map(|text| redacted(&text))
}

pub(crate) fn place(vertex: VertexId) -> usize {
    vertex.0 as usize
}

/// Returns the steps of a graph, before anything became of them.
pub(crate) fn steps(graph: &BuildGraph) -> Vec<BuildStep> {
    let steps = graph.iter().map(|(_, vertex)| BuildStep {
        stage: vertex.stage.clone(),
        platform: platform(&vertex.op).map(Platform::to_string),
        lines: vertex.origin.as_ref().map(|origin| (origin.first_line, origin.last_line)),
        parent: vertex.op.parent().map(place),
        inputs: vertex.op.inputs().into_iter().map(place).collect(),
        ..step(vertex.name.clone(), action(&vertex.op))
    });
    steps.collect()
}

fn step(name: String, action: StepAction) -> BuildStep {
    BuildStep {
        number: None,
        name,
        stage: None,
        platform: None,
        lines: None,
        action,
        parent: None,
        inputs: Vec::new(),
        verdict: Verdict::NotReached,
        key: None,
        cache: None,
        reason: None,
        message: None,
        started_ms: None,
        ended_ms: None,
        layer: None,
        diff_id: None,
        bytes: None,
        log: None,
        left: None,
    }
}

fn platform(op: &Op) -> Option<&Platform> {
    match op {
        Op::Source(SourceOp::Image { platform, .. }) => Some(platform),
        Op::Run(run) => Some(&run.platform),
        Op::Source(_) | Op::Copy(_) | Op::Workdir(_) => None,
    }
}

fn action(op: &Op) -> StepAction {
    match op {
        Op::Source(SourceOp::Scratch) => StepAction::Scratch,
        Op::Source(SourceOp::Image { reference, manifest, .. }) => {
            StepAction::Image { reference: reference.familiar(), manifest: *manifest }
        }
        Op::Source(SourceOp::Local(name) | SourceOp::Tree { name, .. }) => StepAction::Local {
            name: match name {
                LocalName::Context => None,
                LocalName::Named(name) => Some(name.clone()),
            },
        },
        Op::Source(SourceOp::Http(source)) => StepAction::Fetched { address: redacted(&source.url) },
        Op::Source(SourceOp::Git(source)) => StepAction::Fetched { address: redacted(&source.remote) },
        Op::Run(run) => StepAction::Run { mounts: mounts(run) },
        Op::Copy(copy) => StepAction::Copy {
            sources: sources(copy),
            destination: copy.destination.clone(),
            parents: copy.parents,
            unpack: matches!(copy.kind, CopyKind::Add { unpack } if unpack != Some(false)),
            link: copy.link,
        },
        Op::Workdir(workdir) => StepAction::Workdir { path: workdir.path.clone() },
    }
}

fn mounts(run: &RunOp) -> Vec<StepRead> {
    let read = |mount: &Mount| {
        let (from, path) = match mount {
            Mount::Bind { from, source, .. } => (*from, source),
            Mount::Cache { initial: Some((from, source)), .. } => (*from, source),
            Mount::Cache { .. } | Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => {
                return None;
            }
        };
        Some(StepRead {
            from: Some(place(from)),
            path: path.clone(),
            target: mount.target().map(str::to_owned),
        })
    };
    run.mounts.iter().filter_map(read).collect()
}

fn sources(copy: &CopyOp) -> Vec<StepRead> {
    let read = |source: &CopySource| match source {
        CopySource::Files { from, pattern } => {
            StepRead { from: Some(place(*from)), path: pattern.clone(), target: None }
        }
        CopySource::Inline { name, .. } => StepRead { from: None, path: name.clone(), target: None },
    };
    copy.sources.iter().map(read).collect()
}
