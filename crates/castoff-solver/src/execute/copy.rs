//! COPY and ADD: a layer tar streamed straight from its sources. No file is created.

use castoff_graph::{CopyKind, CopyOp, CopySource, Op, SourceOp};
use castoff_layer::{TarOptions, TarWriter, Timestamp};
use castoff_oci::DiffId;
use castoff_store::{LayerDiff, LayerId};

use crate::copy::{self, InlineFile, Owners, SourceTree, WriteOptions};
use crate::driver::{Messenger, Shared};
use crate::lookup::Pending;
use crate::passwd;
use crate::step::StepError;

pub(super) fn copy(
    shared: &Shared<'_>,
    op: &CopyOp,
    pending: &Pending,
    messenger: &Messenger,
) -> Result<LayerId, StepError> {
    let parent = if op.link { Vec::new() } else { shared.layers(op.parent)? };
    let parent = shared.bodies.view(&parent, messenger)?;
    let owner = op.owner.as_ref().map(|owner| passwd::resolve_owner(&parent, owner)).transpose()?;
    let mut selections = pending.selections.iter();
    let mut sources = Vec::new();
    let mut inline = Vec::new();
    for source in &op.sources {
        match source {
            CopySource::Files { from, .. } => {
                let local = matches!(shared.graph.vertex(*from).op, Op::Source(SourceOp::Local(_)));
                sources.push(SourceTree {
                    view: shared.bodies.view(&shared.layers(*from)?, messenger)?,
                    selection: selections.next().expect("each source has a selection"),
                    owners: if local { Owners::Root } else { Owners::Kept },
                    digests: local.then_some(&pending.files),
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
        unpack: match op.kind {
            CopyKind::Copy => false,
            CopyKind::Add { unpack } => unpack.unwrap_or(true),
        },
        mtime: Timestamp {
            seconds: epoch.unwrap_or_else(|| (shared.world.clock)().div_euclid(1000)),
            nanos: 0,
        },
    };
    let writer = shared.world.store.blob_writer()?;
    let mut tar =
        TarWriter::new(std::io::BufWriter::with_capacity(256 * 1024, writer), TarOptions::default());
    copy::write(&parent, &sources, &inline, &op.destination, &options, &mut tar)?;
    let buffered = tar.finish()?;
    let writer = buffered.into_inner().map_err(|error| StepError::Tar(error.into_error().into()))?;
    let blob = writer.finish(None)?;
    let id = LayerId::of_diff(DiffId(blob.digest));
    shared.world.store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
    Ok(id)
}
