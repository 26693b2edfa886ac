//! What a RUN that failed leaves: kept, and entered again by somebody who wants to look around.
//!
//! Nothing of it has the value of a secret: variables that secrets and proxies set are left out, and what the step wrote is
//! kept only where the [`Guard`](crate::Guard) finds nothing in it.

use std::path::PathBuf;

use castoff_graph::{ExtraHost, Mount, NetworkMode, Op, RunOp, SecurityMode, SourceOp, VertexId};
use castoff_layer::View;
use castoff_oci::Platform;
use castoff_sandbox::{MountKind, MountSpec, Network, ProcessSpec, ProvidedFile, Rlimit};
use castoff_store::{CacheSharing, LayerId, LeftState};
use serde::{Deserialize, Serialize};

use super::mounts::{self, Bound, Prepared};
use super::run::{AGENT_VARIABLE, RunEnvironment, SHM_SIZE};
use crate::driver::{Messenger, Shared};
use crate::event::{Event, Fact};
use crate::lookup::{local, mount_source};
use crate::passwd::Ids;
use crate::process_root::ProcessRoot;
use crate::step::StepError;
use crate::{Bodies, SnapshotLayer, World};

/// How the process of a step was started. Serialized into the record of its build and into bundles (`docs/failed-steps.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedProcess {
    /// Arguments.
    pub argv: Vec<String>,
    /// Variables in order, without those that secrets and proxies set.
    pub env: Vec<(String, String)>,
    /// Absolute working directory.
    pub workdir: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Host name.
    pub hostname: String,
    /// Whether it was without network.
    pub no_network: bool,
    /// Whether it had all rights (`security=insecure`).
    pub privileged: bool,
    /// Further hosts and their addresses.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Limits: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Devices that it asked for, which it is not given again.
    pub devices: Vec<String>,
    /// The script of a here-document: its path and its text.
    pub script: Option<(String, String)>,
    /// The platform of its programs.
    pub platform: String,
    /// Its mounts, in order.
    pub mounts: Vec<KeptMount>,
}

/// A mount of a process that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum KeptMount {
    /// Part of the file system of another step or image.
    Bind {
        /// Where it appears.
        target: String,
        /// Its layers, bottom to top.
        layers: Vec<LayerId>,
        /// Absolute path in it.
        source: String,
        /// Whether it could be written to.
        writable: bool,
    },
    /// Part of a directory of the machine: a context.
    Local {
        /// Where it appears.
        target: String,
        /// The directory.
        directory: PathBuf,
        /// Absolute path in it.
        source: String,
        /// Whether it could be written to.
        writable: bool,
    },
    /// A cache mount.
    Cache {
        /// Where it appears.
        target: String,
        /// Its name in the store.
        id: String,
        /// Absolute path in it.
        source: String,
        /// Whether it could be written to.
        writable: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its id.
        id: String,
        /// Where its file appears.
        target: Option<String>,
        /// The variable that has it.
        env: Option<String>,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// An ssh agent.
    Ssh {
        /// Its id.
        id: String,
        /// Where its socket appears.
        target: String,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

impl KeptMount {
    /// Returns where it appears, if it does.
    pub fn target(&self) -> Option<&str> {
        match self {
            KeptMount::Bind { target, .. }
            | KeptMount::Local { target, .. }
            | KeptMount::Cache { target, .. }
            | KeptMount::Tmpfs { target, .. }
            | KeptMount::Ssh { target, .. } => Some(target),
            KeptMount::Secret { target, .. } => target.as_deref(),
        }
    }
}

/// A process that is ready to be started in what a failed step left, and what must live as long as it does.
pub struct EnteredStep {
    /// The process; its arguments, input and output are the caller's to set.
    pub spec: ProcessSpec,
    /// What is seen of the root.
    pub view: View,
    /// What is not as it was for the step, one line each.
    pub notes: Vec<String>,
    _root: ProcessRoot,
    _prepared: Prepared,
}

/// Bytes that have to be free on the disk for what a step leaves to stay on it.
const SPARE: u64 = 256 << 20;

/// Keeps what a step left that failed, and tells of it. What stands on the machine's own root is not kept, and neither is
/// that in which a secret is, or what may have filled the disk. That it is not kept is nothing that the step failed of.
pub(super) fn keep(
    shared: &Shared<'_>,
    id: VertexId,
    op: &RunOp,
    ids: &Ids,
    layers: &[SnapshotLayer],
    root: ProcessRoot,
    messenger: &Messenger,
) {
    let fact = match kept(shared, op, ids, layers, root) {
        Ok(Ok(left)) => Some(left),
        Ok(Err(why)) => {
            tell(shared, id, &why, messenger);
            None
        }
        Err(error) => {
            tell(shared, id, &crate::step::chain(&error), messenger);
            None
        }
    };
    if let Some(left) = fact {
        let fact = Fact::Left(Box::new(left));
        messenger.send(Event::Fact { step: shared.step(id), fact });
    }
}

fn tell(shared: &Shared<'_>, id: VertexId, why: &str, messenger: &Messenger) {
    let text = format!("what the step left is not kept: {why}");
    messenger.send(Event::Note { step: shared.step(id), text });
}

/// Returns what was kept, or why nothing is.
fn kept(
    shared: &Shared<'_>,
    op: &RunOp,
    ids: &Ids,
    layers: &[SnapshotLayer],
    root: ProcessRoot,
) -> Result<Result<LeftState, String>, StepError> {
    let on_machine = || Ok(Err("it stands on the machine's own root".to_owned()));
    let Some(lowers) = stored(layers) else { return on_machine() };
    let world = shared.world;
    if world.store.free_space()? < SPARE {
        return Ok(Err(format!("the disk has less than {} MiB left", SPARE >> 20)));
    }
    let mut mounts = Vec::with_capacity(op.mounts.len());
    for mount in &op.mounts {
        match kept_mount(shared, mount)? {
            Some(mount) => mounts.push(mount),
            None => return on_machine(),
        }
    }
    let process = FailedProcess {
        argv: op.argv.clone(),
        env: op.env.clone(),
        workdir: op.workdir.clone(),
        uid: ids.uid,
        gid: ids.gid,
        groups: ids.groups.clone(),
        home: ids.home.clone(),
        hostname: op.hostname.clone(),
        no_network: op.network == NetworkMode::None,
        privileged: op.security == SecurityMode::Insecure,
        extra_hosts: op.extra_hosts.iter().map(|host| (host.name.clone(), host.address.clone())).collect(),
        shm_size: op.shm_size,
        ulimits: op.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
        devices: op.devices.iter().map(|device| device.name.clone()).collect(),
        script: op
            .script
            .as_ref()
            .map(|script| (script.path.clone(), String::from_utf8_lossy(&script.content).into_owned())),
        platform: op.platform.to_string(),
        mounts,
    };
    let upper = world.store.new_layer_id();
    root.keep(&upper)?;
    if let Some(guard) = &world.guard
        && let Err(error) = guard.layer(shared.bodies, &upper)
    {
        world.store.discard_layer(&upper)?;
        return Ok(Err(crate::step::chain(&error)));
    }
    let process = serde_json::to_value(&process).expect("a process is always JSON");
    Ok(Ok(LeftState { lowers, upper, process }))
}

/// Returns the names of layers, unless one is a directory of the machine.
fn stored(layers: &[SnapshotLayer]) -> Option<Vec<LayerId>> {
    let stored = |layer: &SnapshotLayer| match layer {
        SnapshotLayer::Stored(id) => Some(id.clone()),
        SnapshotLayer::Directory(_) => None,
    };
    layers.iter().map(stored).collect()
}

fn kept_mount(shared: &Shared<'_>, mount: &Mount) -> Result<Option<KeptMount>, StepError> {
    Ok(Some(match mount {
        Mount::Bind { target, from, writable, .. } => {
            let (target, source) = (target.clone(), mount_source(mount).to_owned());
            if let Op::Source(SourceOp::Local(name)) = &shared.graph.vertex(*from).op {
                let directory = local(shared.world, name)?.path.clone();
                KeptMount::Local { target, directory, source, writable: *writable }
            } else {
                let Some(layers) = stored(&shared.layers(*from)?) else { return Ok(None) };
                KeptMount::Bind { target, layers, source, writable: *writable }
            }
        }
        Mount::Cache { target, source, writable, .. } => KeptMount::Cache {
            target: target.clone(),
            id: mounts::cache_id(shared, mount),
            source: source.clone(),
            writable: *writable,
        },
        Mount::Tmpfs { target, size } => KeptMount::Tmpfs { target: target.clone(), size: *size },
        Mount::Secret { id, target, env, mode, uid, gid, .. } => KeptMount::Secret {
            id: id.clone(),
            target: target.clone(),
            env: env.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
        },
        Mount::Ssh { id, target, mode, uid, gid, .. } => {
            KeptMount::Ssh { id: id.clone(), target: target.clone(), mode: *mode, uid: *uid, gid: *gid }
        }
    }))
}

/// Prepares a process in what a failed step left, with its user, variables and mounts. What it changes is thrown away, but in
/// cache mounts.
///
/// # Errors
/// When a layer is gone, or something cannot be mounted.
pub fn enter(
    left: &LeftState,
    process: &FailedProcess,
    world: &World,
    bodies: &Bodies<'_>,
    messenger: &Messenger,
) -> Result<EnteredStep, StepError> {
    let mut notes = Vec::new();
    let mut layers = snapshot(&left.lowers);
    layers.push(SnapshotLayer::Stored(left.upper.clone()));
    let view = bodies.view(&layers, messenger)?;
    let root = ProcessRoot::prepare(world, bodies, &layers, messenger)?;
    let mut prepared = Prepared::default();
    for mount in &process.mounts {
        again(mount, world, bodies, &mut prepared, &mut notes, messenger)?;
    }
    if !process.devices.is_empty() {
        notes.push(format!("its devices are not there: {}", process.devices.join(", ")));
    }
    let mut env = process.env.clone();
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), process.home.clone()));
    }
    for (name, value) in &prepared.env {
        env.retain(|(existing, _)| existing != name);
        env.push((name.clone(), value.clone()));
    }
    if let Some(target) = &prepared.agent
        && !env.iter().any(|(name, _)| name == AGENT_VARIABLE)
    {
        env.push((AGENT_VARIABLE.to_owned(), target.clone()));
    }
    let ids = Ids {
        uid: process.uid,
        gid: process.gid,
        groups: process.groups.clone(),
        home: process.home.clone(),
    };
    let extra_hosts: Vec<ExtraHost> = process
        .extra_hosts
        .iter()
        .map(|(name, address)| ExtraHost { name: name.clone(), address: address.clone() })
        .collect();
    let environment = RunEnvironment {
        argv: &process.argv,
        env,
        workdir: &process.workdir,
        hostname: &process.hostname,
        extra_hosts: &extra_hosts,
        ids: &ids,
        network: if process.no_network { Network::None } else { Network::Host },
    };
    let mut spec = environment.spec(world);
    spec.mounts.append(&mut prepared.mounts);
    let platform: Option<Platform> = process.platform.parse().ok();
    spec.emulator = platform.and_then(|platform| world.emulators.get(&platform.architecture).cloned());
    root.fill(&mut spec);
    spec.privileged = process.privileged;
    spec.shm_size = process.shm_size.unwrap_or(SHM_SIZE);
    let limit =
        |(name, soft, hard): &(String, i64, i64)| Rlimit { name: name.clone(), soft: *soft, hard: *hard };
    spec.rlimits = process.ulimits.iter().map(limit).collect();
    if let Some((path, text)) = &process.script {
        spec.files.push(ProvidedFile {
            target: PathBuf::from(path),
            content: text.clone().into_bytes(),
            mode: 0o755,
            writable: false,
        });
    }
    Ok(EnteredStep { spec, view, notes, _root: root, _prepared: prepared })
}

fn snapshot(layers: &[LayerId]) -> Vec<SnapshotLayer> {
    layers.iter().cloned().map(SnapshotLayer::Stored).collect()
}

/// Makes a mount again, as far as what it showed is still there.
fn again(
    mount: &KeptMount,
    world: &World,
    bodies: &Bodies<'_>,
    prepared: &mut Prepared,
    notes: &mut Vec<String>,
    messenger: &Messenger,
) -> Result<(), StepError> {
    match mount {
        KeptMount::Bind { target, layers, source, writable } => {
            if !layers.iter().all(|layer| bodies.is_present(layer)) {
                notes.push(format!("what was mounted at `{target}` is no longer in the store"));
                return Ok(());
            }
            let layers = snapshot(layers);
            let bound = Bound { layers: &layers, local: None, source, writable: *writable };
            let kind = mounts::bind_part(world, bodies, prepared, &bound, messenger)?;
            prepared.mounts.push(MountSpec { target: PathBuf::from(target), kind });
        }
        KeptMount::Local { target, directory, source, .. } => {
            let path = PathBuf::from(source.trim_start_matches('/'));
            if !directory.join(&path).exists() {
                notes.push(format!(
                    "`{}` is not there any more, which was mounted at `{target}`",
                    directory.display()
                ));
                return Ok(());
            }
            notes.push(format!("`{target}` shows the context as it is now, ignored files too"));
            // Read-only, because what a step wrote there was never the context's.
            let kind = MountKind::Within { root: directory.clone(), path, writable: false };
            prepared.mounts.push(MountSpec { target: PathBuf::from(target), kind });
        }
        KeptMount::Cache { target, id, source, writable } => {
            let cache = world.store.cache_mount(id, CacheSharing::Shared, &|| world.cancel.is_cancelled())?;
            if cache.created() {
                // Its first content is for a build to give, so it stays as new as it is.
                notes.push(format!("the cache that was mounted at `{target}` is not there any more"));
                return Ok(());
            }
            let root = cache.path().to_owned();
            prepared.caches.push(cache);
            let path = PathBuf::from(source.trim_start_matches('/'));
            let kind = MountKind::Within { root, path, writable: *writable };
            prepared.mounts.push(MountSpec { target: PathBuf::from(target), kind });
        }
        KeptMount::Tmpfs { target, size } => prepared
            .mounts
            .push(MountSpec { target: PathBuf::from(target), kind: MountKind::Tmpfs { size: *size } }),
        KeptMount::Secret { id, target, env, mode, uid, gid } => {
            if !world.secrets.contains_key(id) {
                notes.push(format!("the secret `{id}` is not there: `--secret id={id},...` gives it"));
                return Ok(());
            }
            let as_it_was = Mount::Secret {
                id: id.clone(),
                target: target.clone(),
                env: env.clone(),
                required: false,
                mode: *mode,
                uid: *uid,
                gid: *gid,
            };
            mounts::secret(world, prepared, &as_it_was)?;
        }
        KeptMount::Ssh { id, target, mode, uid, gid } => {
            if !world.agents.contains_key(id) {
                notes.push(format!("the ssh agent `{id}` is not there: `--ssh {id}` forwards one"));
                return Ok(());
            }
            let as_it_was = Mount::Ssh {
                id: id.clone(),
                target: target.clone(),
                required: false,
                mode: *mode,
                uid: *uid,
                gid: *gid,
            };
            mounts::agent(world, prepared, &as_it_was)?;
        }
    }
    Ok(())
}
