//! What the rest of the build knows about a source that does not exist.
//!
//! All of it is for hints: nothing is fetched for it, and whatever cannot be read helps nobody.

use castoff_graph::{LocalName, Op, SourceOp, VertexId};
use castoff_layer::View;

use crate::LocalDirectory;
use crate::bodies::SnapshotLayer;
use crate::copy::{CopyError, Elsewhere, MissingFacts, same_names};
use crate::driver::{Messenger, Shared};

/// Completes the facts of an error that says that a source of `from` does not exist.
pub(crate) fn explain(
    shared: &Shared<'_>,
    op: &Op,
    from: VertexId,
    local: Option<&LocalDirectory>,
    view: &View,
    error: CopyError,
    messenger: &Messenger,
) -> CopyError {
    let CopyError::NotFound { path, mut facts } = error else { return error };
    let ignore = local.and_then(|local| local.ignore.as_ref());
    if facts.ignored_by_line.is_some() {
        facts.ignore_file = ignore.map(|file| file.name.clone());
        return CopyError::NotFound { path, facts };
    }
    let wanted = path.trim_start_matches('/').as_bytes();
    facts.elsewhere = other_roots(shared, op, from, wanted, messenger);
    let MissingFacts { other_case, similar, elsewhere, .. } = facts.as_ref();
    if other_case.is_none() && similar.is_none() && elsewhere.is_empty() {
        let found = same_names(view, wanted, ignore.map(|file| &file.patterns));
        facts.elsewhere.extend(found.into_iter().map(Elsewhere::Path));
    }
    CopyError::NotFound { path, facts }
}

/// Looks for the path in the build context and in the stages that are built so far.
fn other_roots(
    shared: &Shared<'_>,
    op: &Op,
    from: VertexId,
    path: &[u8],
    messenger: &Messenger,
) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    let reads_context =
        matches!(&shared.graph.vertex(from).op, Op::Source(SourceOp::Local(LocalName::Context)));
    if !reads_context && context_has(shared, path, messenger) {
        found.push(Elsewhere::Context);
    }
    // What the stage itself has is no answer, nor what was looked at in vain.
    let stage_of = |id: VertexId| shared.graph.vertex(id).stage.as_ref();
    let known = [op.inputs().first().copied().and_then(stage_of), stage_of(from)];
    let mut stages: Vec<(&str, VertexId)> = Vec::new();
    for (id, vertex) in shared.graph.iter() {
        if id == from || !shared.is_done(id) {
            continue;
        }
        match (&vertex.op, &vertex.stage) {
            (Op::Run(_) | Op::Copy(_) | Op::Workdir(_), Some(stage)) if !known.contains(&Some(stage)) => {
                // The last vertex of a stage is what it is like.
                stages.retain(|(name, _)| name != stage);
                stages.push((stage, id));
            }
            _ => {}
        }
    }
    for (stage, id) in stages {
        let layers = shared.layers(id).unwrap_or_default();
        let present = layers.iter().all(|layer| match layer {
            SnapshotLayer::Stored(layer) => shared.bodies.is_present(layer),
            SnapshotLayer::Directory(_) => true,
        });
        if present && shared.bodies.view(&layers, messenger).is_ok_and(|view| exists(&view, path)) {
            found.push(Elsewhere::Stage(stage.to_owned()));
        }
    }
    found
}

fn context_has(shared: &Shared<'_>, path: &[u8], messenger: &Messenger) -> bool {
    let Some(context) = shared.world.locals.get(&LocalName::Context) else { return false };
    if context.ignore.as_ref().is_some_and(|file| file.patterns.matches(path)) {
        return false;
    }
    let layers = [SnapshotLayer::Directory(context.path.clone())];
    shared.bodies.view(&layers, messenger).is_ok_and(|view| exists(&view, path))
}

fn exists(view: &View, path: &[u8]) -> bool {
    view.resolve(path, true).is_ok_and(|resolved| resolved.node.is_some())
}
