//! COPY and ADD: a layer tar streamed straight from its sources. No file is created.

use castoff_graph::{CopyKind, CopyOp, CopySource, Op, SourceOp, VertexId};
use castoff_layer::{TarOptions, Timestamp};
use castoff_store::LayerId;

use crate::copy::{self, InlineFile, Owners, Seen, SourceTree, WriteOptions};
use crate::driver::{Messenger, Shared};
use crate::fetch::write_layer;
use crate::passwd;
use crate::step::StepError;

/// Most paths that a warning names.
const SHOWN: usize = 3;

/// Copies, and returns the layer with what the user should know of it.
pub(super) fn copy(
    shared: &Shared<'_>,
    id: VertexId,
    op: &CopyOp,
    messenger: &Messenger,
) -> Result<(LayerId, Vec<String>), StepError> {
    let pending = shared.pending(id);
    let parent = if op.link { Vec::new() } else { shared.layers(op.parent)? };
    let parent = shared.bodies.view(&parent, messenger)?;
    let owner = op.owner.as_ref().map(|owner| passwd::resolve_owner(&parent, owner)).transpose()?;
    let mut selections = pending.selections.iter();
    let mut sources = Vec::new();
    let mut inline = Vec::new();
    for source in &op.sources {
        match source {
            CopySource::Files { from, .. } => {
                let source = &shared.graph.vertex(*from).op;
                let local = matches!(source, Op::Source(SourceOp::Local(_)));
                sources.push(SourceTree {
                    view: shared.bodies.view(&shared.layers(*from)?, messenger)?,
                    selection: selections.next().expect("each source has a selection"),
                    owners: if local { Owners::Root } else { Owners::Kept },
                    seen: local
                        .then_some(Seen { digests: &pending.files.digests, began_ms: pending.began_ms }),
                    unpack: unpack(op.kind, source),
                });
            }
            CopySource::Inline { name, content } => {
                inline.push(InlineFile { name: name.clone(), content: content.clone() });
            }
        }
    }
    let epoch = shared.options.epoch;
    let options = WriteOptions {
        owner,
        chmod: op.chmod.as_ref(),
        link: op.link,
        parents: op.parents,
        mtime: Timestamp {
            seconds: epoch.unwrap_or_else(|| (shared.world.clock)().div_euclid(1000)),
            nanos: 0,
        },
    };
    let mut overwritten = Vec::new();
    let layer = write_layer(&shared.world.store, TarOptions::default(), |tar| {
        overwritten = copy::write(&parent, &sources, &inline, &op.destination, &options, tar)?.overwritten;
        Ok::<_, StepError>(())
    })?;
    let mut warnings = Vec::new();
    if !overwritten.is_empty() {
        let names = named(overwritten);
        warnings.push(format!("several sources have a file that becomes {names}: the last one is kept"));
    }
    let copied = pending.selections.iter().flat_map(|selection| &selection.not_excluded);
    let copied: Vec<String> = copied.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    if !copied.is_empty() {
        let names = named(copied);
        warnings.push(format!("--exclude names {names}, but leaves out only what is below a source"));
    }
    Ok((layer, warnings))
}

/// Returns paths for a message; of many only some.
fn named(paths: Vec<String>) -> String {
    let more = paths.len().saturating_sub(SHOWN);
    let shown: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`/{path}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Whether archives of a source are unpacked: each kind of source has its own rule (D-234, D-244).
fn unpack(kind: CopyKind, source: &Op) -> bool {
    match (kind, source) {
        (CopyKind::Copy, _) | (_, Op::Source(SourceOp::Git(_))) => false,
        (CopyKind::Add { unpack }, Op::Source(SourceOp::Http(_))) => unpack.unwrap_or(false),
        (CopyKind::Add { unpack }, _) => unpack.unwrap_or(true),
    }
}
