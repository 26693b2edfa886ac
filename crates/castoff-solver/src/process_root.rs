//! The root of a process: the directories of a snapshot, and where its changes go.
//!
//! Shared by RUN steps, which keep the changes as a layer, and `castoff run`, which does not.

use std::path::{Path, PathBuf};

use castoff_sandbox::{MountKind, MountSpec, ProcessSpec};
use castoff_store::{ActiveLayer, LayerId};

use crate::World;
use crate::bodies::{Bodies, SnapshotLayer};
use crate::driver::Messenger;
use crate::machine_root::{self, SystemDirectory};
use crate::step::StepError;

/// A root that is ready. Dropped before it is kept, it leaves nothing.
pub struct ProcessRoot {
    /// Top first.
    lowers: Vec<PathBuf>,
    upper: ActiveLayer,
    /// The machine's system directories, when the snapshot stands on the machine's own root, each with an
    /// upper directory of its own.
    system: Vec<(SystemDirectory, ActiveLayer)>,
}

impl ProcessRoot {
    /// Prepares the root of a snapshot's process; `layers` are bottom to top.
    ///
    /// # Errors
    /// When a layer cannot be had as a directory, or the store not be written.
    pub fn prepare(
        world: &World,
        bodies: &Bodies<'_>,
        layers: &[SnapshotLayer],
        messenger: &Messenger,
    ) -> Result<ProcessRoot, StepError> {
        let machine = SnapshotLayer::Directory(PathBuf::from("/"));
        let (on_machine, stored) = match layers.split_first() {
            Some((first, rest)) if *first == machine => (true, rest),
            _ => (false, layers),
        };
        let mut system = Vec::new();
        let lowers = if on_machine {
            // Parts of these directories are mounted apart.
            let directories = stacked(bodies.directories(stored, messenger)?);
            for directory in machine_root::system_directories(&directories, world.store.root()) {
                system.push((directory, world.store.prepare_layer()?));
            }
            directories
        } else {
            stacked(bodies.lowers(stored, messenger)?)
        };
        Ok(ProcessRoot { lowers, upper: world.store.prepare_layer()?, system })
    }

    /// Puts the root into the specification of its process, before other mounts.
    pub fn fill(&self, spec: &mut ProcessSpec) {
        spec.lowers.clone_from(&self.lowers);
        spec.upper = self.upper.fs().to_owned();
        spec.work = self.upper.work().to_owned();
        let mount = |(directory, upper): &(SystemDirectory, ActiveLayer)| MountSpec {
            target: Path::new("/").join(directory.name),
            kind: MountKind::Overlay {
                lowers: directory.lowers.clone(),
                upper: upper.fs().to_owned(),
                work: upper.work().to_owned(),
                source: PathBuf::new(),
                writable: true,
            },
        };
        spec.mounts.splice(0..0, self.system.iter().map(mount));
    }

    /// Keeps what the process changed as a layer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn keep(self, id: &LayerId) -> Result<(), StepError> {
        for (directory, upper) in &self.system {
            let error = |source| StepError::Machine { path: upper.fs().to_owned(), source };
            if std::fs::read_dir(upper.fs()).map_err(error)?.next().is_some() {
                std::fs::rename(upper.fs(), self.upper.fs().join(directory.name)).map_err(error)?;
            }
        }
        self.upper.commit(id)?;
        Ok(())
    }
}

/// Returns a mount of a whole snapshot, bottom to top, and what takes what is written to it, which must live as long and
/// is then thrown away.
///
/// # Errors
/// When a layer cannot be had as a directory, or the store not be written.
pub fn whole(
    world: &World,
    bodies: &Bodies<'_>,
    layers: &[SnapshotLayer],
    messenger: &Messenger,
) -> Result<(MountKind, ActiveLayer), StepError> {
    let lowers = stacked(bodies.lowers(layers, messenger)?);
    let scratch = world.store.prepare_layer()?;
    let kind = match lowers.is_empty() {
        true => MountKind::Bind { source: scratch.fs().to_owned(), writable: true },
        false => MountKind::Overlay {
            lowers,
            upper: scratch.fs().to_owned(),
            work: scratch.work().to_owned(),
            source: PathBuf::new(),
            writable: true,
        },
    };
    Ok((kind, scratch))
}

/// Returns directories top first, of equal ones only the topmost: overlayfs takes each once, and what a
/// layer does twice it does the last time.
pub(crate) fn stacked(mut directories: Vec<PathBuf>) -> Vec<PathBuf> {
    directories.reverse();
    let mut seen = std::collections::BTreeSet::new();
    directories.retain(|directory| seen.insert(directory.clone()));
    directories
}
