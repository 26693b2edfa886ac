//! Doing steps once more that have results, so that these can be compared with what the steps give now.
//!
//! Every step is done on the recorded results of those before it, and not on what these give now: what differs
//! is its own doing. Nothing of it is recorded, so that later builds find what they found before.

use std::sync::Arc;

use castoff_graph::{BuildGraph, CacheKey, Op, SourceOp, VertexId};
use castoff_layer::View;
use castoff_oci::Digest;
use castoff_store::LayerId;

use crate::driver::{Messenger, Shared, SolveOptions};
use crate::schedule::VertexResult;
use crate::step::StepError;
use crate::{Bodies, SnapshotLayer, World, execute, lookup, miss};

/// What is recorded of a step that a build had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The key of its result.
    pub key: Digest,
    /// The layer that it added; `None` when it added none.
    pub layer: Option<LayerId>,
}

/// Why a build cannot be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RepeatError {
    /// A step is another one than it was.
    #[error("the step is not what it was: {reason}")]
    Changed {
        /// Which.
        vertex: VertexId,
        /// What of it, in a few words.
        reason: String,
    },
    /// A result is no longer there to be compared with.
    #[error("the result of the step is no longer in the store")]
    Gone {
        /// Which.
        vertex: VertexId,
    },
    /// A step could not be looked at.
    #[error("{error}")]
    Step {
        /// Which.
        vertex: VertexId,
        /// Why.
        error: Box<StepError>,
    },
}

/// A build of which every step is known to be what it was.
pub struct Repetition<'a> {
    shared: Shared<'a>,
    needed: Vec<VertexId>,
}

impl<'a> Repetition<'a> {
    /// Looks whether what `roots` need is still what it was, and has the results that are recorded of it. No step is
    /// executed; images that the graph names are fetched when their files are needed.
    ///
    /// # Errors
    /// When a step is not what it was, its result is gone, or something of it cannot be read.
    pub fn prepare(
        graph: &'a BuildGraph,
        roots: &[VertexId],
        world: &'a World,
        bodies: &'a Bodies<'a>,
        options: &'a SolveOptions,
        recorded: &dyn Fn(VertexId) -> Option<Recorded>,
        messenger: &Messenger,
    ) -> Result<Repetition<'a>, RepeatError> {
        let needed = graph.needed(roots);
        let shared = Shared::new(graph, &needed, world, bodies, options);
        for vertex in needed.iter().copied() {
            let result = match graph.vertex(vertex).op {
                Op::Source(_) => source(&shared, vertex, messenger)?,
                Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => {
                    let recorded = recorded(vertex).ok_or(RepeatError::Gone { vertex })?;
                    step(&shared, vertex, recorded, messenger)?
                }
            };
            shared.set_result(vertex, result);
        }
        Ok(Repetition { shared, needed })
    }

    /// Returns the steps that can be done once more, inputs first.
    pub fn steps(&self) -> impl Iterator<Item = VertexId> {
        self.needed.iter().copied().filter(|id| !matches!(self.shared.graph.vertex(*id).op, Op::Source(_)))
    }

    /// Does a step once more, and returns the layer that it gives now; [`castoff_store::Store::discard_layer`]
    /// is for the caller to do.
    ///
    /// # Errors
    /// When the step fails, or the files that it reads change meanwhile.
    pub fn execute(&self, id: VertexId, messenger: &Messenger) -> Result<LayerId, StepError> {
        execute::again(&self.shared, id, messenger)
    }

    /// Returns the file system that a step left, and that which it leaves with another layer. What both have below
    /// their own layer are the same trees.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn views(
        &self,
        id: VertexId,
        again: &LayerId,
        messenger: &Messenger,
    ) -> Result<(View, View), StepError> {
        let shared = &self.shared;
        let parent = shared.graph.vertex(id).op.parent();
        // The machine's own root is not walked: of it only the layers are compared.
        let parent = parent.filter(|parent| !self.is_on_machine(*parent));
        let below = match parent {
            Some(parent) => shared.bodies.view(&shared.layers(parent)?, messenger)?,
            None => View::empty(),
        };
        let with = |layer: Option<&LayerId>| -> Result<View, StepError> {
            let layers: Vec<SnapshotLayer> = layer.cloned().map(SnapshotLayer::Stored).into_iter().collect();
            let own = shared.bodies.view(&layers, messenger)?;
            Ok(View::new(below.trees().chain(own.trees()).map(Arc::clone).collect()))
        };
        Ok((with(shared.result(id).layer.as_ref())?, with(Some(again))?))
    }

    /// Returns the file system that a step left.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn view(&self, id: VertexId, messenger: &Messenger) -> Result<View, StepError> {
        Ok(self.shared.bodies.view(&self.shared.layers(id)?, messenger)?)
    }

    fn is_on_machine(&self, id: VertexId) -> bool {
        let graph = self.shared.graph;
        let parent = |id: &VertexId| graph.vertex(*id).op.parent();
        std::iter::successors(Some(id), parent)
            .any(|id| matches!(graph.vertex(id).op, Op::Source(SourceOp::Local(_))))
    }
}

fn source(shared: &Shared<'_>, vertex: VertexId, messenger: &Messenger) -> Result<VertexResult, RepeatError> {
    match lookup::look_up(shared, vertex, messenger) {
        Ok(lookup::Answer::Found(result)) => Ok(result),
        Ok(lookup::Answer::Missed(_)) => unreachable!("sources are always found"),
        Err(error) => Err(RepeatError::Step { vertex, error: Box::new(error) }),
    }
}

fn step(
    shared: &Shared<'_>,
    vertex: VertexId,
    recorded: Recorded,
    messenger: &Messenger,
) -> Result<VertexResult, RepeatError> {
    let failed = |error| RepeatError::Step { vertex, error: Box::new(error) };
    let pending = lookup::look_afresh(shared, vertex, messenger).map_err(failed)?;
    let key = CacheKey(recorded.key);
    // A COPY of a stage is found by what that stage is, whatever this has become since.
    let is_alias = match pending.definition {
        Some(definition) => lookup::alias(shared.world, definition).map_err(failed)? == Some(key),
        None => false,
    };
    if pending.key != key && !is_alias {
        let reason = miss::since(shared, vertex, key, &pending.recipe, &pending.files).map_err(failed)?;
        let reason =
            reason.map_or_else(|| "nothing is known of what it was".to_owned(), |reason| reason.text);
        return Err(RepeatError::Changed { vertex, reason });
    }
    if recorded.layer.as_ref().is_some_and(|layer| !shared.bodies.is_present(layer)) {
        return Err(RepeatError::Gone { vertex });
    }
    shared.set_pending(vertex, pending);
    let identity = lookup::identity(shared, vertex, key);
    Ok(VertexResult { identity, layer: recorded.layer, created_ms: 0, cached: true })
}
