//! WORKDIR: a layer with the directories that are missing (section 11).

use castoff_graph::WorkdirOp;
use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp};
use castoff_oci::DiffId;
use castoff_store::{LayerDiff, LayerId};

use crate::driver::{Messenger, Shared};
use crate::passwd;
use crate::step::StepError;

pub(super) fn workdir(
    shared: &Shared<'_>,
    op: &WorkdirOp,
    messenger: &Messenger,
) -> Result<LayerId, StepError> {
    let parent = shared.bodies.view(&shared.layers(op.parent)?, messenger)?;
    let resolved = parent.resolve(op.path.as_bytes(), true)?;
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    match &resolved.node {
        Some(node) if matches!(node.entry.kind, EntryKind::Directory { .. }) => {}
        Some(_) => return Err(StepError::NotADirectory { path: op.path.clone() }),
        None => {
            let (uid, gid) = passwd::resolve_maker(&parent, &op.user)?;
            let seconds = op.epoch.unwrap_or_else(|| (shared.world.clock)().div_euclid(1000));
            let mut path = Vec::new();
            for component in resolved.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
                // Parents that exist are in the layer with their own metadata, because a directory of
                // an upper layer hides that of the lower ones.
                let entry = match parent.lookup(&path)? {
                    Some(node) => parent.complete(&node)?,
                    None => Entry {
                        path: path.clone(),
                        kind: EntryKind::Directory { opaque: false },
                        mode: 0o755,
                        uid,
                        gid,
                        mtime: Timestamp { seconds, nanos: 0 },
                        xattrs: Default::default(),
                    },
                };
                tar.append(&entry, &mut std::io::empty())?;
            }
        }
    }
    let blob = shared.world.store.put_blob(&tar.finish()?)?;
    let id = LayerId::of_diff(DiffId(blob.digest));
    shared.world.store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
    Ok(id)
}
