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
use crate::{Bodies, LocalDirectory, SnapshotLayer, World};

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
        let name = cache_id(shared, mount);
        let keys = keys(&name, op);
        let starts_anew = shared.graph.vertex(id).ignore_cache;
        if starts_anew {
            shared.world.store.reset_cache_mount(&name, &|| shared.world.cancel.is_cancelled())?;
        }
        let fill = |cache: &CacheMount| -> Result<(), StepError> {
            let of_user = cache_name(mount);
            let step = shared.step(id);
            let restored = !starts_anew && restore(shared.world, cache, &of_user, &keys, step, messenger)?;
            if restored { Ok(()) } else { initial_content(shared, mount, cache.path(), messenger) }
        };
        sources.insert(index, cache(shared.world, &mut prepared, mount, &name, &fill)?);
        if let Mount::Cache { id, target, writable: true, .. } = mount {
            prepared.used.push(UsedMount { name, id: id.clone(), target: target.clone(), keys });
        }
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
            Mount::Secret { .. } => secret(shared.world, &mut prepared, mount)?,
            Mount::Ssh { .. } => agent(shared.world, &mut prepared, mount)?,
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
    let local = match &shared.graph.vertex(from).op {
        Op::Source(SourceOp::Local(name)) => Some(local(shared.world, name)?),
        Op::Source(_) | Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => None,
    };
    bind_part(
        shared.world,
        shared.bodies,
        prepared,
        &Bound { layers: &layers, local, source, writable },
        messenger,
    )
}

/// What a bind mount shows.
pub(super) struct Bound<'a> {
    /// The file system that it is part of.
    pub(super) layers: &'a [SnapshotLayer],
    /// The directory that this is.
    pub(super) local: Option<&'a LocalDirectory>,
    /// The part.
    pub(super) source: &'a str,
    pub(super) writable: bool,
}

pub(super) fn bind_part(
    world: &World,
    bodies: &Bodies<'_>,
    prepared: &mut Prepared,
    bound: &Bound<'_>,
    messenger: &Messenger,
) -> Result<MountKind, StepError> {
    let Bound { layers, local, source, writable } = *bound;
    let view = bodies.view(layers, messenger)?;
    let resolved = view.resolve(source.as_bytes(), true)?;
    let Some(node) = &resolved.node else { return Err(StepError::MountSource { path: source.to_owned() }) };
    let is_directory = matches!(node.entry.kind, EntryKind::Directory { .. });
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&resolved.path));
    let lowers = match local {
        Some(local) => {
            let in_place = local.path.join(&path);
            if local.ignore.is_some() || belongs_to_another(&in_place)? {
                // Ignored files and foreign owners (D-272) must not be seen, so the rest is laid out once.
                let scratch = world.store.prepare_layer()?;
                tree::extract(&view, &resolved.path, scratch.fs(), local.ignore.as_ref(), true)?;
                let root = scratch.fs().to_owned();
                prepared._scratch.push(scratch);
                let source =
                    if is_directory { root } else { root.join(path.file_name().unwrap_or_default()) };
                return Ok(MountKind::Bind { source, writable });
            }
            vec![local.path.clone()]
        }
        None => bodies.lowers(layers, messenger)?,
    };
    let lowers = stacked(lowers);
    if let ([only], false) = (&lowers[..], writable) {
        return Ok(MountKind::Bind { source: only.join(&path), writable: false });
    }
    let scratch = world.store.prepare_layer()?;
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

/// Returns the name of a cache mount in the store. Those with different initial content are distinct even with equal ids
/// (D-160).
pub(super) fn cache_id(shared: &Shared<'_>, mount: &Mount) -> String {
    match mount {
        Mount::Cache { id, initial: Some((from, source)), .. } => {
            format!("{id}\n{}\n{source}", shared.result(*from).identity)
        }
        _ => cache_name(mount),
    }
}

fn initial_content(
    shared: &Shared<'_>,
    mount: &Mount,
    path: &Path,
    messenger: &Messenger,
) -> Result<(), StepError> {
    let Mount::Cache { initial: Some((from, source)), .. } = mount else { return Ok(()) };
    let view = shared.bodies.view(&shared.layers(*from)?, messenger)?;
    let resolved = view.resolve(source.as_bytes(), true)?;
    if resolved.node.is_none() {
        return Err(StepError::MountSource { path: source.clone() });
    }
    tree::extract(&view, &resolved.path, path, None, false)?;
    Ok(())
}

/// D-157 to D-163. A new one is filled by `fill`.
fn cache(
    world: &World,
    prepared: &mut Prepared,
    mount: &Mount,
    name: &str,
    fill: &dyn Fn(&CacheMount) -> Result<(), StepError>,
) -> Result<PathBuf, StepError> {
    let Mount::Cache { sharing, mode, uid, gid, .. } = mount else {
        unreachable!("only cache mounts are given")
    };
    let sharing = match sharing {
        Sharing::Shared => CacheSharing::Shared,
        Sharing::Private => CacheSharing::Private,
        Sharing::Locked => CacheSharing::Locked,
    };
    let mut cache = world.store.cache_mount(name, sharing, &|| world.cancel.is_cancelled())?;
    let path = cache.path().to_owned();
    if cache.created() {
        fill(&cache)?;
        own(&path, *uid, *gid, *mode)?;
        cache.initialised()?;
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
pub(super) fn secret(world: &World, prepared: &mut Prepared, mount: &Mount) -> Result<(), StepError> {
    let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else {
        unreachable!("only secret mounts are given")
    };
    let value = world.secrets.get(id);
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
pub(super) fn agent(world: &World, prepared: &mut Prepared, mount: &Mount) -> Result<(), StepError> {
    let Mount::Ssh { id, target, required, mode, uid, gid } = mount else {
        unreachable!("only ssh mounts are given")
    };
    if prepared.agent.is_none() {
        prepared.agent = Some(target.clone());
    }
    let Some(agent) = world.agents.get(id) else {
        return if *required { Err(StepError::AgentNotFound { id: id.clone() }) } else { Ok(()) };
    };
    let directory = world.store.temporary()?;
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
