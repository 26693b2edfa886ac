//! The driver: threads that do what the schedule asks, and one loop that owns it.
//!
//! Workers never touch the schedule. They read the results of vertices that are done, do one action,
//! and send one message back. Events travel on the same channel, so that the outside sees everything
//! in one order.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use castoff_graph::{BuildGraph, CacheKey, Op, SourceOp, VertexId};
use castoff_oci::Hasher;
use castoff_store::{CacheRecord, FileError};
use crossbeam_channel::{Receiver, Sender};

use crate::bodies::{Bodies, SnapshotLayer};
use crate::event::{Event, Fact, Outcome, StepId};
use crate::lookup::Pending;
use crate::memos::Memos;
use crate::schedule::{Action, Limits, Message, Schedule, VertexResult};
use crate::shared_cache::{Upload, UploadQueue};
use crate::step::StepError;
use crate::{World, execute, lookup};

/// How a graph is solved.
#[derive(Debug, Clone)]
pub struct SolveOptions {
    /// The step number of vertex 0; those before are the caller's own.
    pub first_step: u32,
    /// What distinguishes this Dockerfile and context from others when an earlier result of the same
    /// step is looked for to explain a miss.
    pub scope: String,
    /// The same for shared caches: equal on all machines.
    pub shared_scope: String,
    /// SOURCE_DATE_EPOCH in seconds since 1970: the time of directories and here-documents that a COPY
    /// creates.
    pub epoch: Option<i64>,
    /// Whether what a step leaves that fails is kept and told ([`Fact::Left`]).
    pub keep_failed: bool,
    /// Where steps that are done are put, so that they get into shared caches.
    pub uploads: Option<UploadQueue>,
}

/// What became of the graph.
#[derive(Debug)]
pub struct Solved {
    results: Vec<Option<VertexResult>>,
    keys: Vec<Option<(CacheKey, Option<CacheKey>)>>,
}

/// Messages that may wait to be looked at. Steps that write faster than somebody reads are held up.
const BACKLOG: usize = 256;

/// Why a graph could not be solved.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A step failed.
    #[error("{}", error)]
    Step {
        /// Which.
        vertex: VertexId,
        /// Why.
        error: Box<StepError>,
    },
    /// The build was stopped.
    #[error("the build was stopped")]
    Cancelled,
}

impl Solved {
    /// Returns whether any step was executed.
    pub fn executed(&self) -> bool {
        self.results.iter().flatten().any(|result| result.layer.is_some() && !result.cached)
    }

    /// Returns the key of a step's result, and the one by definition when it has one.
    pub(crate) fn keys(&self, id: VertexId) -> Option<(CacheKey, Option<CacheKey>)> {
        self.keys[id.0 as usize]
    }

    /// Returns the record of a step.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self, id: VertexId, world: &World) -> Result<Option<CacheRecord>, FileError> {
        match self.keys(id) {
            Some((key, _)) => world.store.record(key.0),
            None => Ok(None),
        }
    }

    /// Forgets the result of a step: it is executed again when it is needed again.
    ///
    /// # Errors
    /// When the record cannot be removed.
    pub fn forget(&self, id: VertexId, world: &World) -> Result<(), FileError> {
        match self.keys(id) {
            Some((key, _)) => world.store.remove_record(key.0).map(drop),
            None => Ok(()),
        }
    }

    /// Returns the result of a vertex.
    pub fn result(&self, id: VertexId) -> Option<&VertexResult> {
        self.results[id.0 as usize].as_ref()
    }
}

/// Sends events from anywhere to the one loop.
#[derive(Debug, Clone)]
pub struct Messenger(Sender<Inbox>);

impl Messenger {
    /// Sends an event. When nobody listens any more the build is over and the event is of no use.
    pub fn send(&self, event: Event) {
        let _over = self.0.send(Inbox::Event(event));
    }

    /// Returns a messenger whose events are collected by `receive`.
    pub fn channel() -> (Messenger, EventReceiver) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Messenger(sender), EventReceiver(receiver))
    }
}

/// The other end of a [`Messenger`] outside of a solve, such as during an export.
#[derive(Debug)]
pub struct EventReceiver(Receiver<Inbox>);

impl EventReceiver {
    /// Calls `work` on another thread with the messenger's events going to `events`.
    pub fn serve<T: Send>(
        self,
        messenger: Messenger,
        events: &mut dyn FnMut(Event),
        work: impl FnOnce(&Messenger) -> T + Send,
    ) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || work(&messenger));
            for message in self.0 {
                if let Inbox::Event(event) = message {
                    events(event);
                }
            }
            thread.join().expect("the work does not panic")
        })
    }
}

#[derive(Debug)]
enum Inbox {
    Event(Event),
    Message(Message),
    Failed(VertexId, Box<StepError>),
}

/// What every worker sees.
pub(crate) struct Shared<'a> {
    pub(crate) graph: &'a BuildGraph,
    pub(crate) world: &'a World,
    pub(crate) bodies: &'a Bodies<'a>,
    pub(crate) options: &'a SolveOptions,
    pub(crate) memos: Memos,
    /// Vertices that serve as somebody's parent.
    pub(crate) parents: BTreeSet<VertexId>,
    results: Vec<OnceLock<VertexResult>>,
    pending: Vec<OnceLock<Pending>>,
    /// The key of each step's result, and the one by definition when it has one.
    keys: Vec<OnceLock<(CacheKey, Option<CacheKey>)>>,
}

impl<'a> Shared<'a> {
    /// Returns what workers see of a graph of which nothing is done.
    pub(crate) fn new(
        graph: &'a BuildGraph,
        needed: &[VertexId],
        world: &'a World,
        bodies: &'a Bodies<'a>,
        options: &'a SolveOptions,
    ) -> Shared<'a> {
        Shared {
            graph,
            world,
            bodies,
            options,
            memos: Memos::default(),
            parents: needed.iter().filter_map(|id| graph.vertex(*id).op.parent()).collect(),
            results: (0..graph.len()).map(|_| OnceLock::new()).collect(),
            pending: (0..graph.len()).map(|_| OnceLock::new()).collect(),
            keys: (0..graph.len()).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Makes known what a vertex came to.
    pub(crate) fn set_result(&self, id: VertexId, result: VertexResult) {
        let _first = self.results[id.0 as usize].set(result);
    }

    /// Makes known what the execution of a vertex needs.
    pub(crate) fn set_pending(&self, id: VertexId, pending: Pending) {
        let _once = self.pending[id.0 as usize].set(pending);
    }

    /// Returns the result of an input, which is done when its dependants are looked at.
    pub(crate) fn result(&self, id: VertexId) -> &VertexResult {
        self.results[id.0 as usize].get().expect("a vertex is looked at after its inputs")
    }

    /// Returns whether a vertex has a result already.
    pub(crate) fn is_done(&self, id: VertexId) -> bool {
        self.results[id.0 as usize].get().is_some()
    }

    pub(crate) fn pending(&self, id: VertexId) -> &Pending {
        self.pending[id.0 as usize].get().expect("a vertex is executed after its look-up missed")
    }

    /// Remembers the keys of a step, for who uploads it.
    pub(crate) fn set_keys(&self, id: VertexId, key: CacheKey, definition: Option<CacheKey>) {
        let _first = self.keys[id.0 as usize].set((key, definition));
    }

    /// Lets a step that is done get into shared caches.
    fn upload(&self, id: VertexId, result: &VertexResult, in_result: &BTreeSet<VertexId>) {
        let Some(queue) = &self.options.uploads else { return };
        let Some((key, definition)) = self.keys[id.0 as usize].get().copied() else { return };
        let Some(layer) = result.layer.clone() else { return };
        let is_local = |from: VertexId| matches!(self.graph.vertex(from).op, Op::Source(SourceOp::Local(_)));
        let reads = crate::recipe::reads(&self.graph.vertex(id).op);
        let stands_alone = reads.iter().all(|read| is_local(read.from));
        let in_result = in_result.contains(&id);
        let place = crate::shared_cache::place(self, id);
        queue.put(Upload { key, definition, place, layer, in_result, stands_alone });
    }

    pub(crate) fn step(&self, id: VertexId) -> StepId {
        StepId(self.options.first_step + id.0)
    }

    /// Returns the layers of a vertex that is done, bottom to top.
    pub(crate) fn layers(&self, id: VertexId) -> Result<Vec<SnapshotLayer>, StepError> {
        snapshot(self.graph, self.world, id, &|id| self.result(id).clone())
    }
}

/// Returns the layers of a vertex, bottom to top, from the results of it and those below it.
pub fn snapshot(
    graph: &BuildGraph,
    world: &World,
    id: VertexId,
    result: &dyn Fn(VertexId) -> VertexResult,
) -> Result<Vec<SnapshotLayer>, StepError> {
    let mut above = Vec::new();
    let mut current = id;
    let mut layers = loop {
        let op = &graph.vertex(current).op;
        match op {
            Op::Source(SourceOp::Scratch) => break Vec::new(),
            Op::Source(SourceOp::Image { manifest, .. }) => {
                break lookup::image_layers(world, manifest)?
                    .into_iter()
                    .map(|layer| SnapshotLayer::Stored(castoff_store::LayerId::of_diff(layer.diff_id)))
                    .collect();
            }
            Op::Source(SourceOp::Local(name)) => break lookup::local_layers(world, name)?,
            Op::Source(SourceOp::Tree { layer, .. }) => {
                break vec![SnapshotLayer::Stored(castoff_store::LayerId::of_diff(*layer))];
            }
            Op::Source(SourceOp::Http(_) | SourceOp::Git(_)) => {
                break result(current).layer.map(SnapshotLayer::Stored).into_iter().collect();
            }
            Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => {
                if let Some(layer) = result(current).layer {
                    above.push(SnapshotLayer::Stored(layer));
                }
                current = op.parent().expect("only sources have no parent");
            }
        }
    };
    above.reverse();
    layers.extend(above);
    Ok(layers)
}

/// Solves what `roots` need.
///
/// Finished results are in the store whatever happens; a failure leaves them cached.
///
/// # Errors
/// The first failure of a step, or that the build was stopped.
pub fn solve(
    graph: &BuildGraph,
    roots: &[VertexId],
    world: &World,
    bodies: &Bodies<'_>,
    options: &SolveOptions,
    events: &mut dyn FnMut(Event),
) -> Result<Solved, SolveError> {
    let needed = graph.needed(roots);
    let shared = Shared::new(graph, &needed, world, bodies, options);
    let in_result = stacks(graph, roots);
    announce(&shared, &needed, events);
    // Look-ups in shared caches wait for others, and not for a processor.
    let look_ups = if world.shared_caches.is_empty() { 4 } else { 16 };
    let limits = Limits { jobs: world.machine.jobs, look_ups: world.machine.jobs.max(look_ups) };
    let mut schedule = Schedule::new(graph, roots, limits);
    let refused = world.shared_caches.refusals();
    let (sender, receiver) = crossbeam_channel::bounded(BACKLOG);
    let first_error = std::thread::scope(|scope| {
        let mut first_error = None;
        let mut actions = schedule.start();
        loop {
            for action in actions.drain(..) {
                match action {
                    Action::LookUp(id) => spawn(scope, &shared, &sender, id, look_up),
                    Action::Execute(id) => spawn(scope, &shared, &sender, id, execute_vertex),
                    // When a cache was wrong the build is done again: the others may go on.
                    Action::Stop if world.shared_caches.refusals() > refused => {}
                    Action::Stop => world.cancel.cancel(),
                    // What never began has no end to speak of.
                    Action::Abandon(_) => {}
                }
            }
            if schedule.is_finished() {
                break;
            }
            let message = match receiver.recv().expect("the loop holds a sender itself") {
                Inbox::Event(event) => {
                    events(event);
                    continue;
                }
                Inbox::Failed(id, error) => {
                    let stopped = matches!(*error, StepError::Cancelled)
                        || first_error.is_some()
                        || world.shared_caches.refusals() > refused;
                    let outcome = if stopped {
                        Outcome::Cancelled
                    } else {
                        Outcome::Failed { message: crate::step::chain(&error) }
                    };
                    events(Event::Finished { step: shared.step(id), outcome });
                    first_error.get_or_insert((id, error));
                    Message::Failed(id)
                }
                Inbox::Message(message) => message,
            };
            if let Message::Found(id, result) | Message::Executed(id, result) = &message {
                shared.set_result(*id, result.clone());
                finish_event(&shared, *id, result, events);
                shared.upload(*id, result, &in_result);
            }
            actions = schedule.on(message);
            if world.cancel.is_cancelled() {
                actions.extend(schedule.on(Message::Cancel));
            }
        }
        drop(sender);
        // Until the last worker has said its last, so that none waits for room.
        for message in receiver {
            if let Inbox::Event(event) = message {
                events(event);
            }
        }
        first_error
    });
    shared.memos.save();
    match first_error {
        Some((_, error)) if matches!(*error, StepError::Cancelled) => Err(SolveError::Cancelled),
        Some((vertex, error)) => Err(SolveError::Step { vertex, error }),
        None if world.cancel.is_cancelled() => Err(SolveError::Cancelled),
        None => Ok(Solved {
            results: shared.results.into_iter().map(OnceLock::into_inner).collect(),
            keys: shared.keys.into_iter().map(OnceLock::into_inner).collect(),
        }),
    }
}

/// Returns the vertices whose layers are in one of the roots.
fn stacks(graph: &BuildGraph, roots: &[VertexId]) -> BTreeSet<VertexId> {
    let parent = |id: &VertexId| graph.vertex(*id).op.parent();
    roots.iter().flat_map(|root| std::iter::successors(Some(*root), parent)).collect()
}

/// Whether a vertex has no line of its own in progress output, as in BuildKit.
fn is_silent(op: &Op) -> bool {
    matches!(op, Op::Source(SourceOp::Scratch))
}

fn announce(shared: &Shared<'_>, needed: &[VertexId], events: &mut dyn FnMut(Event)) {
    let digest = |id: VertexId| {
        let mut hasher = Hasher::new();
        hasher.field(shared.options.scope.as_bytes());
        hasher.field(&id.0.to_le_bytes());
        hasher.field(shared.graph.vertex(id).name.as_bytes());
        hasher.finish()
    };
    for id in needed.iter().copied().filter(|id| !is_silent(&shared.graph.vertex(*id).op)) {
        let vertex = shared.graph.vertex(id);
        events(Event::Planned {
            step: shared.step(id),
            name: vertex.name.clone(),
            digest: digest(id),
            inputs: vertex.op.inputs().into_iter().map(digest).collect(),
        });
    }
}

fn finish_event(shared: &Shared<'_>, id: VertexId, result: &VertexResult, events: &mut dyn FnMut(Event)) {
    let op = &shared.graph.vertex(id).op;
    if !is_silent(op) {
        let key = shared.keys[id.0 as usize].get().map(|(key, _)| *key);
        let fact = Fact::Result { key, layer: result.layer.clone() };
        events(Event::Fact { step: shared.step(id), fact });
        let outcome = if result.cached { Outcome::Cached } else { Outcome::Done };
        events(Event::Finished { step: shared.step(id), outcome });
    }
}

type Worker = fn(&Shared<'_>, VertexId, &Messenger) -> Result<Message, StepError>;

fn spawn<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    shared: &'scope Shared<'_>,
    sender: &Sender<Inbox>,
    id: VertexId,
    worker: Worker,
) {
    let messenger = Messenger(sender.clone());
    scope.spawn(move || {
        let answer = match worker(shared, id, &messenger) {
            Ok(message) => Inbox::Message(message),
            Err(error) => Inbox::Failed(id, Box::new(error)),
        };
        let _over = messenger.0.send(answer);
    });
}

fn look_up(shared: &Shared<'_>, id: VertexId, messenger: &Messenger) -> Result<Message, StepError> {
    match lookup::look_up(shared, id, messenger)? {
        lookup::Answer::Found(result) => Ok(Message::Found(id, result)),
        lookup::Answer::Missed(pending) => {
            shared.set_pending(id, *pending);
            Ok(Message::Missed(id))
        }
    }
}

fn execute_vertex(shared: &Shared<'_>, id: VertexId, messenger: &Messenger) -> Result<Message, StepError> {
    let result = execute::execute(shared, id, messenger)?;
    Ok(Message::Executed(id, result))
}
