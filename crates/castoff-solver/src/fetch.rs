//! Fetching what is neither an image nor on this machine: files over HTTP and trees of git repositories
//! (sections 10.9 and B-060 to B-076).
//!
//! Whatever is fetched becomes a layer of the store, known by what it is and not by where it came from. The
//! next build that asks for the same fetches nothing, or asks only whether it is still the same.

pub mod archive;
mod error;
pub mod git;
pub mod http;
mod layer;

use castoff_graph::remote::{GitSource, HttpSource};
use castoff_graph::{CacheKey, SourceOp, VertexId};
use castoff_oci::DiffId;
use castoff_store::{CacheRecord, LayerId, RecordOutcome};

use crate::World;
use crate::driver::{Messenger, Shared};
use crate::event::Event;
use crate::lookup;
use crate::recipe::http_recipe;
use crate::schedule::VertexResult;
use crate::step::StepError;

pub use error::FetchError;
pub(crate) use layer::write_layer;

/// Is told how many bytes have come, and how many there are in all if that is known.
pub type Progress<'a> = dyn FnMut(u64, Option<u64>) + 'a;

/// Fetches the file of a vertex, unless what the store has is still what is there.
pub(crate) fn http_vertex(
    shared: &Shared<'_>,
    id: VertexId,
    source: &HttpSource,
    messenger: &Messenger,
) -> Result<VertexResult, StepError> {
    let world = shared.world;
    let step = shared.step(id);
    let name = &shared.graph.vertex(id).name;
    messenger.send(Event::Started { step });
    let started_ms = (world.clock)();
    let mut progress = |current, total| {
        let done = Some(current) == total;
        messenger.send(Event::Status { step, item: source.file().to_owned(), current, total, done });
    };
    let content = http::content(world, source, &mut progress)?;
    let recipe = http_recipe(&content.blob, source.file(), content.last_modified);
    let key = recipe.key();
    if let Some(found) = lookup::stored(shared, id, key, messenger)? {
        return Ok(VertexResult { cached: !content.downloaded, ..found });
    }
    let layer = http::layer(world, source, &content)?;
    let recipe = serde_json::to_value(&recipe).expect("a recipe is always JSON");
    let record =
        CacheRecord { started_ms, ..record(world, name, recipe, RecordOutcome::Layer(layer.clone())) };
    world.store.put_record(key.0, &record)?;
    Ok(fetched(key, layer, record.created_ms))
}

/// Fetches the tree of a vertex, unless the store has its commit.
pub(crate) fn git_vertex(
    shared: &Shared<'_>,
    id: VertexId,
    source: &GitSource,
    messenger: &Messenger,
) -> Result<VertexResult, StepError> {
    messenger.send(Event::Started { step: shared.step(id) });
    let tree = git::tree_with_default_agent(shared.world, source)?;
    let (identity, cached) = (tree.recipe.key(), !tree.fetched);
    Ok(VertexResult { identity, layer: Some(tree.layer), created_ms: tree.created_ms, cached })
}

/// Returns the time of a source, in seconds since 1970: that of its commit, or what the server says (D-102).
///
/// # Errors
/// When it cannot be fetched.
pub fn date(world: &World, source: &SourceOp) -> Result<Option<i64>, FetchError> {
    match source {
        SourceOp::Http(source) => Ok(http::content(world, source, &mut |_, _| {})?.last_modified),
        SourceOp::Git(source) => Ok(Some(git::tree_with_default_agent(world, source)?.time)),
        SourceOp::Scratch | SourceOp::Image { .. } | SourceOp::Local(_) | SourceOp::Tree { .. } => Ok(None),
    }
}

/// Fetches a file over HTTP into a layer that holds it alone.
///
/// # Errors
/// When it cannot be had.
pub fn http_layer(
    world: &World,
    source: &HttpSource,
    content: &http::HttpContent,
) -> Result<Option<DiffId>, FetchError> {
    Ok(http::layer(world, source, content)?.diff_id())
}

fn fetched(identity: CacheKey, layer: LayerId, created_ms: i64) -> VertexResult {
    VertexResult { identity, layer: Some(layer), created_ms, cached: false }
}

/// Returns the record of something that was not run.
pub(crate) fn record(
    world: &World,
    name: &str,
    recipe: serde_json::Value,
    outcome: RecordOutcome,
) -> CacheRecord {
    let now = (world.clock)();
    CacheRecord {
        recipe,
        outcome,
        name: name.to_owned(),
        stage: String::new(),
        created_ms: now,
        started_ms: now,
        duration_ms: 0,
        cpu_ms: None,
        memory_bytes: None,
        log: None,
        files: None,
        cache: None,
        warnings: Vec::new(),
    }
}
