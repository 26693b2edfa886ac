//! Executing a step whose look-up missed, and recording what came of it.

mod copy;
mod failed;
mod log;
mod mounts;
mod run;
mod workdir;

use castoff_graph::{Op, VertexId};
use castoff_oci::Digest;
use castoff_store::{CacheRecord, LayerId, RecordOutcome};

use crate::driver::{Messenger, Shared};
use crate::event::{Event, Fact};
use crate::lookup;
use crate::miss;
use crate::schedule::VertexResult;
use crate::step::StepError;

pub use failed::{EnteredStep, FailedProcess, KeptMount, enter};
pub use log::LogError;
pub use run::{RunEnvironment, hosts_file};

/// What an execution leaves besides its layer.
#[derive(Debug, Default)]
struct Trace {
    log: Option<Digest>,
    cpu_ms: Option<u64>,
    memory_bytes: Option<u64>,
    warnings: Vec<String>,
}

/// Executes a vertex and stores its record.
///
/// Two processes that need the same step execute it once: the second waits for the first and finds
/// its record. When locks do not work both execute it, and either result is right.
pub(crate) fn execute(
    shared: &Shared<'_>,
    id: VertexId,
    messenger: &Messenger,
) -> Result<VertexResult, StepError> {
    let vertex = shared.graph.vertex(id);
    let pending = shared.pending(id);
    let world = shared.world;
    let cancelled = || world.cancel.is_cancelled();
    let _alone = world.store.lock(&pending.key.0, &cancelled)?;
    if !vertex.ignore_cache
        && let Some(found) = lookup::stored(shared, id, pending.key, messenger)?
    {
        return Ok(found);
    }
    if cancelled() {
        return Err(StepError::Cancelled);
    }
    let step = shared.step(id);
    messenger.send(Event::Started { step });
    if let Some(reason) = pending.reason.as_ref().filter(|_| !vertex.ignore_cache) {
        messenger.send(Event::Note { step, text: format!("cache miss: {}", reason.text) });
    }
    let fact = Fact::Missed { key: pending.key, reason: pending.reason.clone() };
    messenger.send(Event::Fact { step, fact });
    let started_ms = (world.clock)();
    let (layer, trace) = perform(shared, id, messenger)?;
    for warning in &trace.warnings {
        lookup::warn(shared, id, warning.clone(), messenger);
    }
    let created_ms = (world.clock)();
    // A COPY has compared what it copied. A RUN sees the files of the context as they are while it runs,
    // and a file that is saved meanwhile must not end up under the key of the one before (B-071).
    let is_run = matches!(vertex.op, Op::Run(_));
    if !is_run || lookup::is_unchanged(shared, &vertex.op, pending, messenger)? {
        record(shared, id, &layer, &trace, started_ms, created_ms)?;
    } else {
        let text = "files that the step mounts changed while it ran: its result is not kept".to_owned();
        messenger.send(Event::Note { step, text });
    }
    let identity = lookup::identity(shared, id, pending.key);
    Ok(VertexResult { identity, layer: Some(layer), created_ms, cached: false })
}

/// Does the work of a vertex, and records nothing.
fn perform(shared: &Shared<'_>, id: VertexId, messenger: &Messenger) -> Result<(LayerId, Trace), StepError> {
    Ok(match &shared.graph.vertex(id).op {
        Op::Source(_) => unreachable!("sources are always found"),
        Op::Run(op) => run::run(shared, id, op, messenger)?,
        Op::Copy(op) => {
            let (layer, warnings) = copy::copy(shared, id, op, messenger)?;
            (layer, Trace { warnings, ..Trace::default() })
        }
        Op::Workdir(op) => (workdir::workdir(shared, op, messenger)?, Trace::default()),
    })
}

/// Does the work of a vertex that has a result once more, and records nothing. The layer is the caller's to discard.
pub(crate) fn again(shared: &Shared<'_>, id: VertexId, messenger: &Messenger) -> Result<LayerId, StepError> {
    let (layer, _) = perform(shared, id, messenger)?;
    Ok(layer)
}

fn record(
    shared: &Shared<'_>,
    id: VertexId,
    layer: &LayerId,
    trace: &Trace,
    started_ms: i64,
    created_ms: i64,
) -> Result<(), StepError> {
    let vertex = shared.graph.vertex(id);
    let pending = shared.pending(id);
    let store = &shared.world.store;
    let files = if pending.files.digests.is_empty() {
        None
    } else {
        Some(store.put_blob(&miss::file_list(&pending.files).to_bytes())?.digest)
    };
    let record = CacheRecord {
        recipe: serde_json::to_value(&pending.recipe).expect("a recipe is always JSON"),
        outcome: RecordOutcome::Layer(layer.clone()),
        name: vertex.name.clone(),
        stage: vertex.stage.clone().unwrap_or_default(),
        created_ms,
        started_ms,
        duration_ms: u64::try_from(created_ms - started_ms).unwrap_or_default(),
        cpu_ms: trace.cpu_ms,
        memory_bytes: trace.memory_bytes,
        log: trace.log,
        files,
        cache: None,
        warnings: trace.warnings.clone(),
    };
    store.put_record(pending.key.0, &record)?;
    if let Some(definition) = pending.definition {
        lookup::put_alias(shared.world, definition, pending.key, &vertex.name)?;
    }
    store.set_last_key(pending.slot, pending.key.0)?;
    Ok(())
}
