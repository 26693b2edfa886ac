//! The mounts of a RUN step: what the planner asked for, turned into paths and bytes (section 8).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use castoff_graph::{Mount, Op, RunOp, Sharing, SourceOp, VertexId};
use castoff_layer::EntryKind;
use castoff_sandbox::{MountKind, MountSpec, SecretBytes};
use castoff_ssh::Served;
use castoff_store::{ActiveLayer, CacheMount, CacheSharing, TemporaryDirectory};

use crate::driver::{Messenger, Shared};
use crate::export::tree;
use crate::lookup::{local, mount_source};
use crate::process_root::stacked;
use crate::shared_cache::mount::{UsedMount, keys, restore};
use crate::step::StepError;

/// Mounts that are ready, and what must live as long as they do.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<MountSpec>,
    /// Variables set by secrets.
    pub(super) env: Vec<(String, String)>,
    /// Values to keep out of the log.
    pub(super) secrets: Vec<Vec<u8>>,
    /// Where the first of the step's ssh agents is.
    pub(super) agent: Option<String>,
    pub(super) caches: Vec<CacheMount>,
    /// Those that the step may write to, by their places, and where it sees them.
    pub(super) written: Vec<(usize, String)>,
    /// The same for shared caches.
    pub(super) used: Vec<UsedMount>,
    /// Ends before the directories of the sockets go.
    _agents: Vec<(Served, TemporaryDirectory)>,
    _scratch: Vec<ActiveLayer>,
}

pub(super) fn prepare(
    shared: &Shared<'_>,
    id: VertexId,
    op: &RunOp,
    messenger: &Messenger,
) -> Result<Prepared, StepError> {
    let mut prepared = Prepared::default();
    // Caches are locked in the order of their names, so that two steps never wait for each other.
    let mut caches: Vec<(usize, &Mount)> =
        op.mounts.iter().enumerate().filter(|(_, mount)| matches!(mount, Mount::Cache { .. })).collect();
    caches.sort_by_key(|(_, mount)| cache_name(mount));
    let mut sources = BTreeMap::new();
    for (index, mount) in caches {
        sources.insert(index, cache(shared, &mut prepared, (id, op), mount, messenger)?);
    }
    for (index, mount) in op.mounts.iter().enumerate() {
        match mount {
            Mount::Bind { target, from, writable, .. } => {
                let kind = bind(shared, &mut prepared, *from, mount_source(mount), *writable, messenger)?;
                prepared.mounts.push(MountSpec { target: PathBuf::from(target), kind });
            }
            Mount::Cache { target, source: path, writable, .. } => {
                let root = sources.remove(&index).expect("every cache was taken above");
                let place = prepared.caches.iter().position(|cache| cache.path() == root);
                prepared.written.extend(place.filter(|_| *writable).map(|place| (place, target.clone())));
                let path = PathBuf::from(path.trim_start_matches('/'));
                let kind = MountKind::Within { root, path, writable: *writable };
                prepared.mounts.push(MountSpec { target: PathBuf::from(target), kind });
            }
            Mount::Tmpfs { target, size } => prepared
                .mounts
                .push(MountSpec { target: PathBuf::from(target), kind: MountKind::Tmpfs { size: *size } }),
            Mount::Secret { .. } => secret(shared, &mut prepared, mount)?,
            Mount::Ssh { .. } => agent(shared, &mut prepared, mount)?,
        }
    }
    Ok(prepared)
}

fn cache_name(mount: &Mount) -> String {
    match mount {
        Mount::Cache { id, .. } => id.clone(),
        Mount::Bind { .. } | Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => String::new(),
    }
}

/// D-154, D-155: shows part of another vertex's file system, or of a local directory in place when
/// nothing of it is ignored and it is the builder's own.
fn bind(
    shared: &Shared<'_>,
    prepared: &mut Prepared,
    from: VertexId,
    source: &str,
    writable: bool,
    messenger: &Messenger,
) -> Result<MountKind, StepError> {
    let layers = shared.layers(from)?;
    let view = shared.bodies.view(&layers, messenger)?;
    let resolved = view.resolve(source.as_bytes(), true)?;
    let Some(node) = &resolved.node else { return Err(StepError::MountSource { path: source.to_owned() }) };
    let is_directory = matches!(node.entry.kind, EntryKind::Directory { .. });
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&resolved.path));
    let lowers = match &shared.graph.vertex(from).op {
        Op::Source(SourceOp::Local(name)) => {
            let local = local(shared.world, name)?;
            let in_place = local.path.join(&path);
            if local.ignore.is_some() || belongs_to_another(&in_place)? {
                // Ignored files and foreign owners (D-272) must not be seen, so the rest is laid out once.
                let scratch = shared.world.store.prepare_layer()?;
                tree::extract(&view, &resolved.path, scratch.fs(), local.ignore.as_ref(), true)?;
                let root = scratch.fs().to_owned();
                prepared._scratch.push(scratch);
                let source =
                    if is_directory { root } else { root.join(path.file_name().unwrap_or_default()) };
                return Ok(if writable && is_directory {
                    MountKind::Bind { source, writable: true }
                } else {
                    MountKind::Bind { source, writable }
                });
            }
            vec![local.path.clone()]
        }
        Op::Source(_) | Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => {
            shared.bodies.lowers(&layers, messenger)?
        }
    };
    let lowers = stacked(lowers);
    if let ([only], false) = (&lowers[..], writable) {
        return Ok(MountKind::Bind { source: only.join(&path), writable: false });
    }
    let scratch = shared.world.store.prepare_layer()?;
    if lowers.is_empty() {
        // The empty file system.
        let source = scratch.fs().to_owned();
        prepared._scratch.push(scratch);
        return Ok(MountKind::Bind { source, writable });
    }
    let kind = MountKind::Overlay {
        lowers,
        upper: scratch.fs().to_owned(),
        work: scratch.work().to_owned(),
        source: path,
        writable,
    };
    prepared._scratch.push(scratch);
    Ok(kind)
}

/// Whether what is mounted would not seem to be root's, as when root builds in somebody's checkout. What
/// is at the top speaks for what is below.
fn belongs_to_another(path: &Path) -> Result<bool, StepError> {
    let error = |source| StepError::Machine { path: path.to_owned(), source };
    Ok(path.symlink_metadata().map_err(error)?.uid() != 0)
}

/// D-157 to D-163.
fn cache(
    shared: &Shared<'_>,
    prepared: &mut Prepared,
    (id, op): (VertexId, &RunOp),
    mount: &Mount,
    messenger: &Messenger,
) -> Result<PathBuf, StepError> {
    let Mount::Cache { target, id: of_user, sharing, initial, mode, uid, gid, writable, .. } = mount else {
        unreachable!("only cache mounts are given")
    };
    let store = &shared.world.store;
    let sharing = match sharing {
        Sharing::Shared => CacheSharing::Shared,
        Sharing::Private => CacheSharing::Private,
        Sharing::Locked => CacheSharing::Locked,
    };
    // Caches with different initial content are distinct even with equal ids (D-160).
    let name = match initial {
        Some((from, source)) => format!("{of_user}\n{}\n{source}", shared.result(*from).identity),
        None => of_user.clone(),
    };
    let keys = keys(&name, op);
    let starts_anew = shared.graph.vertex(id).ignore_cache;
    let cancelled = || shared.world.cancel.is_cancelled();
    if starts_anew {
        store.reset_cache_mount(&name, &cancelled)?;
    }
    let mut cache = store.cache_mount(&name, sharing, &cancelled)?;
    let path = cache.path().to_owned();
    if cache.created() {
        let restored =
            !starts_anew && restore(shared.world, &cache, of_user, &keys, shared.step(id), messenger)?;
        if let Some((from, source)) = initial.as_ref().filter(|_| !restored) {
            let view = shared.bodies.view(&shared.layers(*from)?, messenger)?;
            let resolved = view.resolve(source.as_bytes(), true)?;
            if resolved.node.is_none() {
                return Err(StepError::MountSource { path: source.clone() });
            }
            tree::extract(&view, &resolved.path, &path, None, false)?;
        }
        own(&path, *uid, *gid, *mode)?;
        cache.initialised()?;
    }
    if *writable {
        prepared.used.push(UsedMount { name, id: of_user.clone(), target: target.clone(), keys });
    }
    prepared.caches.push(cache);
    Ok(path)
}

fn own(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), StepError> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let error = |source| StepError::Machine { path: path.to_owned(), source };
    // With one mapped id there is nobody else to own it.
    if let Err(source) = chown(path, Some(uid), Some(gid))
        && (uid, gid) == (0, 0)
    {
        return Err(error(source));
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(error)
}

/// D-166 to D-171.
fn secret(shared: &Shared<'_>, prepared: &mut Prepared, mount: &Mount) -> Result<(), StepError> {
    let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else {
        unreachable!("only secret mounts are given")
    };
    let value = shared.world.secrets.get(id);
    if value.is_none() && *required {
        return Err(StepError::SecretNotFound { id: id.clone() });
    }
    if let Some(name) = env {
        let text = value.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default();
        prepared.env.push((name.clone(), text));
    }
    let Some(value) = value else { return Ok(()) };
    prepared.secrets.push(value.0.clone());
    if let Some(target) = target {
        prepared.mounts.push(MountSpec {
            target: PathBuf::from(target),
            kind: MountKind::Secret {
                content: SecretBytes::new(value.0.clone()),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            },
        });
    }
    Ok(())
}

/// D-172, D-173: a socket on which castoff answers, bound into the step.
fn agent(shared: &Shared<'_>, prepared: &mut Prepared, mount: &Mount) -> Result<(), StepError> {
    let Mount::Ssh { id, target, required, mode, uid, gid } = mount else {
        unreachable!("only ssh mounts are given")
    };
    if prepared.agent.is_none() {
        prepared.agent = Some(target.clone());
    }
    let Some(agent) = shared.world.agents.get(id) else {
        return if *required { Err(StepError::AgentNotFound { id: id.clone() }) } else { Ok(()) };
    };
    let directory = shared.world.store.temporary()?;
    let error = |source| StepError::Agent { id: id.clone(), source };
    let served = agent.serve(directory.path(), "agent").map_err(error)?;
    let source = directory.path().join("agent");
    own(&source, *uid, *gid, *mode)?;
    prepared._agents.push((served, directory));
    prepared
        .mounts
        .push(MountSpec { target: PathBuf::from(target), kind: MountKind::Bind { source, writable: false } });
    Ok(())
}
