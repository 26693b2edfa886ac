//! Whether steps give the same again: each is done once more on what it stood on then, and what it gives is compared with
//! what is recorded, path by path.

mod choice;
mod hints;

use std::sync::Arc;

use castoff_graph::{BuildGraph, Mount, Op, RunOp, VertexId};
use castoff_inspect::diff::{Aspect, Comparison, PathChange};
use castoff_layer::{View, ViewError};
use castoff_oci::Digest;
use castoff_solver::repeat::{Recorded, RepeatError, Repetition};
use castoff_solver::{Bodies, Event, Messenger, Outcome, SolveOptions, StepError, StepId, World};
use castoff_store::{BuildRecord, FileError, StepAction, Verdict};

use crate::args::{RecordedRequest, RequestError};
use crate::build::{self, BuildError, Planned};
use crate::devices;
use crate::history;
use crate::platforms;

pub use choice::{Share, choose};

/// How steps are verified.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Whether modification times of files count, as far as layers have them.
    pub times: bool,
    /// Docker's `config.json`, whose proxies steps get.
    pub docker_config: Option<Vec<u8>>,
}

/// What came of doing a step once more.
#[derive(Debug)]
pub struct VerifiedStep {
    /// The step, by its place in the record of its build.
    pub place: usize,
    /// What came of it.
    pub result: StepResult,
}

/// How a step came out, compared with what is recorded of it.
#[derive(Debug)]
pub enum StepResult {
    /// As it did then.
    Same,
    /// Other than then.
    Differs {
        /// What is not the same, in the order of the paths.
        differences: Vec<Difference>,
        /// What is certain about the cause, one line each.
        hints: Vec<String>,
    },
    /// It failed, for this reason.
    Fails(String),
}

/// A path that a step does not leave as it did.
#[derive(Debug)]
pub struct Difference {
    /// What is different; before is what is recorded.
    pub change: PathChange,
    /// Of a file with another content: the first byte that is another, from 0.
    pub offset: Option<u64>,
    /// Whether the image has the recorded path; `None` when that is not known.
    pub in_image: Option<bool>,
}

/// Why a build cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was made by a castoff that did not remember.
    #[error("the record of the build does not say what was asked for: build it again")]
    NoRequest,
    /// What is recorded is not understood.
    #[error("what the record of the build says was asked for is not understood: {0}")]
    Request(#[from] RequestError),
    /// Something came from standard input.
    #[error("its {0} came from standard input, and is not there any more")]
    Consumed(&'static str),
    /// The plan is another one now.
    #[error("it would be another build now: {0}")]
    OtherPlan(String),
    /// A step reads something else now.
    #[error("`{name}` is not what it was: {reason}")]
    Changed {
        /// The step.
        name: String,
        /// What of it.
        reason: String,
    },
    /// A result is gone.
    #[error("the result of `{0}` is no longer in the store: there is nothing to compare with")]
    Gone(String),
    /// A secret was not given.
    #[error("`{name}` was given the secret `{id}`: give it again with `--secret id={id},...`")]
    Secret {
        /// The step.
        name: String,
        /// The secret.
        id: String,
    },
    /// An ssh agent was not given.
    #[error("`{name}` was given the ssh agent `{id}`: give it again with `--ssh {id}`")]
    Agent {
        /// The step.
        name: String,
        /// The agent.
        id: String,
    },
    /// It cannot be planned or prepared.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// A step cannot be looked at.
    #[error("{0}")]
    Step(#[from] StepError),
    /// A file system cannot be read.
    #[error("{0}")]
    View(#[from] ViewError),
    /// The store failed.
    #[error("using the store: {0}")]
    File(#[from] FileError),
}

/// Returns what was asked of a build.
///
/// # Errors
/// When the record does not say it.
pub fn request(record: &BuildRecord) -> Result<RecordedRequest, VerifyError> {
    let request = record.request.clone().ok_or(VerifyError::NoRequest)?;
    let request: RecordedRequest = serde_json::from_value(request).map_err(|_| VerifyError::NoRequest)?;
    match request.consumed() {
        Some(what) => Err(VerifyError::Consumed(what)),
        None => Ok(request),
    }
}

/// Returns the steps of a build that can be done once more, each with the key of its result.
pub fn steps(record: &BuildRecord) -> impl Iterator<Item = (usize, Digest)> {
    record.steps.iter().enumerate().filter_map(|(place, step)| {
        let works = matches!(
            step.action,
            StepAction::Run { .. } | StepAction::Copy { .. } | StepAction::Workdir { .. }
        );
        let has_result = matches!(step.verdict, Verdict::Executed | Verdict::Cached);
        step.key.filter(|_| works && has_result).map(|key| (place, key))
    })
}

/// Does steps of a build once more: those whose places are `wanted`, of what `root` needs, or of the whole build.
///
/// # Errors
/// When the build cannot be repeated, or was interrupted. What was compared until then is lost.
pub fn build(
    record: &BuildRecord,
    root: Option<usize>,
    wanted: &(dyn Fn(usize) -> bool + Sync),
    options: &VerifyOptions,
    world: &mut World,
    first_step: u32,
    events: &mut dyn FnMut(Event),
) -> Result<Vec<VerifiedStep>, VerifyError> {
    let asked = request(record)?;
    let mut plan = asked.plan()?;
    if let Some(config) = &options.docker_config {
        plan.add_proxies(config);
    }
    world.locals.clear();
    let planned = build::plan(&plan, world, &mut |_| {})?;
    same_plan(record, &planned.plan.graph)?;
    platforms::settle(&planned, world)?;
    devices::settle(&planned, &plan.entitlements.devices, world)?;
    let world = &*world;
    let solve = SolveOptions {
        first_step,
        scope: planned.scope.clone(),
        shared_scope: planned.shared_scope.clone(),
        epoch: planned.plan.outputs[0].epoch,
        keep_failed: false,
        uploads: None,
    };
    let roots: Vec<VertexId> = match root {
        Some(root) => vec![VertexId(root as u32)],
        None => planned.plan.outputs.iter().map(|output| output.vertex).collect(),
    };
    let (messenger, receiver) = Messenger::channel();
    let work = Work { record, asked: &asked, planned: &planned, options, solve: &solve, world };
    receiver.serve(messenger, events, |messenger| work.done(&roots, root, wanted, messenger))
}

/// Refuses a plan that is not the one that is recorded.
fn same_plan(record: &BuildRecord, graph: &BuildGraph) -> Result<(), VerifyError> {
    let now = history::steps(graph);
    let before = record.steps.iter().take_while(|step| step.action != StepAction::Internal);
    let before: Vec<_> = before.collect();
    for (before, now) in before.iter().zip(&now) {
        if let (
            StepAction::Image { reference, manifest },
            StepAction::Image { reference: name, manifest: other },
        ) = (&before.action, &now.action)
            && bare(reference) == bare(name)
            && manifest != other
        {
            return Err(VerifyError::OtherPlan(format!(
                "the image `{}` was {manifest}, and is {other}; castoff.lock pins it",
                bare(name)
            )));
        }
        let same = before.name == now.name
            && before.action == now.action
            && before.inputs == now.inputs
            && before.platform == now.platform;
        if !same {
            let text = format!("the step `{}` is `{}`", before.name, now.name);
            return Err(VerifyError::OtherPlan(if before.name == now.name {
                format!("the step `{}` reads or does something else", now.name)
            } else {
                text
            }));
        }
    }
    match before.len() == now.len() {
        true => Ok(()),
        false => Err(VerifyError::OtherPlan(format!("it has {} steps, and had {}", now.len(), before.len()))),
    }
}

/// Returns the name of an image without its digest.
fn bare(reference: &str) -> &str {
    reference.split('@').next().unwrap_or_default()
}

struct Work<'a> {
    record: &'a BuildRecord,
    asked: &'a RecordedRequest,
    planned: &'a Planned,
    options: &'a VerifyOptions,
    solve: &'a SolveOptions,
    world: &'a World,
}

impl Work<'_> {
    fn done(
        &self,
        roots: &[VertexId],
        root: Option<usize>,
        wanted: &(dyn Fn(usize) -> bool + Sync),
        messenger: &Messenger,
    ) -> Result<Vec<VerifiedStep>, VerifyError> {
        let (world, graph) = (self.world, &self.planned.plan.graph);
        for id in graph.needed(roots) {
            let name = graph.vertex(id).name.clone();
            let digest = Digest::of(name.as_bytes());
            messenger.send(Event::Planned { step: self.step(id), name, digest, inputs: Vec::new() });
        }
        let bodies = Bodies::new(world);
        let recorded = |id: VertexId| {
            let step = &self.record.steps[history::place(id)];
            Some(Recorded { key: step.key?, layer: step.layer.clone() })
        };
        let prepared = Repetition::prepare(graph, roots, world, &bodies, self.solve, &recorded, messenger);
        let repetition = prepared.map_err(|error| self.told(error))?;
        let chosen: Vec<VertexId> = repetition.steps().filter(|id| wanted(history::place(*id))).collect();
        for id in &chosen {
            if let Op::Run(run) = &graph.vertex(*id).op {
                self.is_given(&graph.vertex(*id).name, run)?;
            }
        }
        let image = match root {
            Some(root) => Some(repetition.view(VertexId(root as u32), messenger)?),
            None => None,
        };
        let mut done = Vec::new();
        for id in chosen {
            if world.cancel.is_cancelled() {
                return Err(BuildError::Interrupted.into());
            }
            let step = self.step(id);
            messenger.send(Event::Started { step });
            let result = match repetition.execute(id, messenger) {
                Ok(layer) => {
                    let image = image.as_ref().filter(|_| root.is_some_and(|root| self.is_below(id, root)));
                    let compared = self.compared(&repetition, id, &layer, image, messenger);
                    // It is nobody's, whatever the comparison came to.
                    world.store.discard_layer(&layer)?;
                    compared?
                }
                Err(StepError::Cancelled) => return Err(BuildError::Interrupted.into()),
                Err(error) => StepResult::Fails(castoff_solver::chain(&error)),
            };
            let outcome = match &result {
                StepResult::Same | StepResult::Differs { .. } => Outcome::Done,
                StepResult::Fails(message) => Outcome::Failed { message: message.clone() },
            };
            messenger.send(Event::Finished { step, outcome });
            done.push(VerifiedStep { place: history::place(id), result });
        }
        Ok(done)
    }

    fn step(&self, id: VertexId) -> StepId {
        StepId(self.solve.first_step + id.0)
    }

    /// Whether a root stands on a step.
    fn is_below(&self, id: VertexId, root: usize) -> bool {
        let parent = |place: &usize| self.record.steps[*place].parent;
        std::iter::successors(Some(root), parent).any(|place| place == history::place(id))
    }

    fn told(&self, error: RepeatError) -> VerifyError {
        let name = |id: VertexId| self.planned.plan.graph.vertex(id).name.clone();
        match error {
            RepeatError::Changed { vertex, reason } => VerifyError::Changed { name: name(vertex), reason },
            RepeatError::Gone { vertex } => VerifyError::Gone(name(vertex)),
            RepeatError::Step { error, .. } => VerifyError::Step(*error),
        }
    }

    /// What a step was given in the build it must be given again: without, it would be another step.
    fn is_given(&self, name: &str, run: &RunOp) -> Result<(), VerifyError> {
        for mount in &run.mounts {
            match mount {
                Mount::Secret { id, .. }
                    if self.asked.secrets.contains(id) && !self.world.secrets.contains_key(id) =>
                {
                    return Err(VerifyError::Secret { name: name.to_owned(), id: id.clone() });
                }
                Mount::Ssh { id, .. }
                    if self.asked.ssh.contains(id) && !self.world.agents.contains_key(id) =>
                {
                    return Err(VerifyError::Agent { name: name.to_owned(), id: id.clone() });
                }
                Mount::Bind { .. }
                | Mount::Cache { .. }
                | Mount::Tmpfs { .. }
                | Mount::Secret { .. }
                | Mount::Ssh { .. } => {}
            }
        }
        Ok(())
    }

    fn compared(
        &self,
        repetition: &Repetition<'_>,
        id: VertexId,
        again: &castoff_store::LayerId,
        image: Option<&View>,
        messenger: &Messenger,
    ) -> Result<StepResult, VerifyError> {
        let (before, after) = repetition.views(id, again, messenger)?;
        let comparison = Comparison { before: &before, after: &after, times: self.options.times };
        let mut changes = Vec::new();
        comparison.run(&mut |change| changes.extend(self.counted(change)))?;
        let mut differences = Vec::new();
        for change in changes {
            let offset = match change.aspects.contains(&Aspect::Content) {
                true => comparison.first_difference(&change.path)?,
                false => None,
            };
            let in_image = match image {
                Some(image) if change.before.is_some() => Some(is_same(image, &before, &change.path)?),
                _ => None,
            };
            differences.push(Difference { change, offset, in_image });
        }
        if differences.is_empty() {
            return Ok(StepResult::Same);
        }
        differences.sort_by(|one, other| one.change.path.cmp(&other.change.path));
        let op = &self.planned.plan.graph.vertex(id).op;
        let epoch = self.planned.plan.outputs[0].epoch;
        let hints = hints::hints(&differences, op, epoch, self.asked.rewritten_to.is_some());
        Ok(StepResult::Differs { differences, hints })
    }

    /// Leaves out of a change what layers do not have of it: parts of a second, and times after that to which the image's
    /// were set.
    fn counted(&self, mut change: PathChange) -> Option<PathChange> {
        if let (Some(before), Some(after)) = (&change.before, &change.after) {
            let latest = self.asked.rewritten_to.unwrap_or(i64::MAX);
            if before.mtime.seconds.min(latest) == after.mtime.seconds.min(latest) {
                change.aspects.retain(|aspect| *aspect != Aspect::Time);
            }
            if change.aspects.is_empty() {
                return None;
            }
        }
        Some(change)
    }
}

/// Whether the image has a path from the very layer that a step's file system has it from.
fn is_same(image: &View, own: &View, path: &[u8]) -> Result<bool, VerifyError> {
    let tree = |view: &View| -> Result<Option<Arc<castoff_layer::Tree>>, ViewError> {
        let index = view.lookup(path)?.and_then(|node| view.tree_of(&node));
        Ok(index.and_then(|index| view.trees().nth(index)).cloned())
    };
    Ok(match (tree(image)?, tree(own)?) {
        (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
        _ => false,
    })
}
