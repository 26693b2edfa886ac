//! RUN: a process in a sandbox over the directories of its parent; what it changes becomes a layer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use castoff_graph::{ExtraHost, NetworkMode, RunOp, SecurityMode, VertexId};
use castoff_layer::{OpaqueXattr, Ownership};
use castoff_sandbox::{
    MountKind, MountSpec, Network, ProcessSpec, ProvidedFile, Rlimit, Status, Stdin, Stream,
};
use castoff_store::{ActiveLayer, LayerId};

use super::{Trace, mounts};
use crate::driver::{Messenger, Shared};
use crate::event::{Event, OutputStream};
use crate::passwd;
use crate::redact::Redactor;
use crate::step::StepError;
use crate::{HostFiles, SnapshotLayer, World, machine_root};

/// Docker's size of /dev/shm.
const SHM_SIZE: u64 = 64 << 20;

/// Logs above this size are cut in the record; what is shown is not.
const LOG_LIMIT: usize = 64 << 20;

/// What a process in a sandbox is given besides its file system; shared by RUN and `castoff run`.
#[derive(Debug, Clone)]
pub struct RunEnvironment<'a> {
    /// Arguments.
    pub argv: &'a [String],
    /// Variables in order.
    pub env: Vec<(String, String)>,
    /// Absolute working directory.
    pub workdir: &'a str,
    /// Host name.
    pub hostname: &'a str,
    /// Extra lines of the hosts file.
    pub extra_hosts: &'a [ExtraHost],
    /// Numbers of the user.
    pub ids: &'a passwd::Ids,
    /// Whether the process is on the machine's network.
    pub network: Network,
}

impl RunEnvironment<'_> {
    /// Returns the specification of the process, without mounts.
    pub fn spec(&self, world: &World, lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf) -> ProcessSpec {
        let text = |value: &String| OsString::from(value);
        ProcessSpec {
            lowers,
            upper,
            work,
            userxattr: world.machine.opaque == OpaqueXattr::User,
            argv: self.argv.iter().map(text).collect(),
            env: self.env.iter().map(|(name, value)| (text(name), text(value))).collect(),
            cwd: PathBuf::from(self.workdir),
            uid: self.ids.uid,
            gid: self.ids.gid,
            groups: self.ids.groups.clone(),
            hostname: self.hostname.to_owned(),
            network: self.network,
            files: vec![
                ProvidedFile {
                    target: PathBuf::from("/etc/resolv.conf"),
                    content: world.host.resolv_conf.clone(),
                    mode: 0o644,
                },
                ProvidedFile {
                    target: PathBuf::from("/etc/hosts"),
                    content: hosts_file(&world.host, self.hostname, self.extra_hosts),
                    mode: 0o644,
                },
            ],
            shm_size: SHM_SIZE,
            fake_ids: world.machine.ownership == Ownership::Record,
            stdin: Stdin::Null,
            ..ProcessSpec::default()
        }
    }
}

/// The machine's system directories under a step, each with an upper directory of its own.
#[derive(Default)]
struct SystemMounts(Vec<(machine_root::SystemDirectory, ActiveLayer)>);

impl SystemMounts {
    fn prepare(world: &World, above: &[PathBuf]) -> Result<SystemMounts, StepError> {
        let directories = machine_root::system_directories(above, world.store.root());
        let mounts = directories
            .into_iter()
            .map(|directory| Ok((directory, world.store.prepare_layer()?)))
            .collect::<Result<_, StepError>>()?;
        Ok(SystemMounts(mounts))
    }

    fn mounts(&self) -> Vec<MountSpec> {
        let mount = |(directory, upper): &(machine_root::SystemDirectory, ActiveLayer)| MountSpec {
            target: Path::new("/").join(directory.name),
            kind: MountKind::Overlay {
                lowers: directory.lowers.clone(),
                upper: upper.fs().to_owned(),
                work: upper.work().to_owned(),
                source: PathBuf::new(),
                writable: true,
            },
        };
        self.0.iter().map(mount).collect()
    }

    /// Moves what was changed in each directory to its place in the layer.
    fn merge_into(&self, layer: &Path) -> Result<(), StepError> {
        for (directory, upper) in &self.0 {
            let error = |source| StepError::Machine { path: upper.fs().to_owned(), source };
            if std::fs::read_dir(upper.fs()).map_err(error)?.next().is_some() {
                std::fs::rename(upper.fs(), layer.join(directory.name)).map_err(error)?;
            }
        }
        Ok(())
    }
}

/// Drops all but the topmost of equal directories: overlayfs takes each once, and what a layer does twice
/// it does the last time.
pub fn deduplicate(lowers: &mut Vec<PathBuf>) {
    let mut seen = std::collections::BTreeSet::new();
    lowers.retain(|lower| seen.insert(lower.clone()));
}

/// Returns the content of /etc/hosts for a process (D-140).
pub fn hosts_file(host: &HostFiles, hostname: &str, extra: &[ExtraHost]) -> Vec<u8> {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if host.ipv6 {
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    }
    text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    for line in extra {
        let address = if line.address == "host-gateway" { &host.gateway } else { &line.address };
        text.push_str(&format!("{address}\t{}\n", line.name));
    }
    text.into_bytes()
}

pub(super) fn run(
    shared: &Shared<'_>,
    id: VertexId,
    op: &RunOp,
    messenger: &Messenger,
) -> Result<(LayerId, Trace), StepError> {
    let world = shared.world;
    let layers = shared.layers(op.parent)?;
    let view = shared.bodies.view(&layers, messenger)?;
    let ids = passwd::resolve_user(&view, &op.user)?;
    let on_machine = layers.first() == Some(&SnapshotLayer::Directory(PathBuf::from("/")));
    let stored = if on_machine { &layers[1..] } else { &layers[..] };
    let mut lowers = shared.bodies.directories(stored, messenger)?;
    lowers.reverse();
    deduplicate(&mut lowers);
    let system = if on_machine { SystemMounts::prepare(world, &lowers)? } else { SystemMounts::default() };
    let active = world.store.prepare_layer()?;

    let mut env = op.env.clone();
    for (name, value) in &op.proxies {
        if !env.iter().any(|(existing, _)| existing == name) {
            env.push((name.clone(), value.clone()));
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), ids.home.clone()));
    }
    let prepared = mounts::prepare(shared, id, op, messenger)?;
    for (name, value) in &prepared.env {
        env.retain(|(existing, _)| existing != name);
        env.push((name.clone(), value.clone()));
    }
    let environment = RunEnvironment {
        argv: &op.argv,
        env,
        workdir: &op.workdir,
        hostname: &op.hostname,
        extra_hosts: &op.extra_hosts,
        ids: &ids,
        network: match op.network {
            NetworkMode::Default | NetworkMode::Host => Network::Host,
            NetworkMode::None => Network::None,
        },
    };
    let mut spec = environment.spec(world, lowers, active.fs().to_owned(), active.work().to_owned());
    spec.mounts = system.mounts();
    spec.mounts.extend(prepared.mounts);
    spec.privileged = op.security == SecurityMode::Insecure;
    spec.shm_size = op.shm_size.unwrap_or(SHM_SIZE);
    spec.rlimits = op
        .ulimits
        .iter()
        .map(|limit| Rlimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
        .collect();
    if let Some(script) = &op.script {
        spec.files.push(ProvidedFile {
            target: PathBuf::from(&script.path),
            content: script.content.clone(),
            mode: 0o755,
        });
    }

    let step = shared.step(id);
    let mut log = Vec::new();
    let mut redactors =
        [Redactor::new(prepared.secrets.iter().cloned()), Redactor::new(prepared.secrets.iter().cloned())];
    let mut show = |stream: OutputStream, bytes: Vec<u8>| {
        if bytes.is_empty() {
            return;
        }
        let room = LOG_LIMIT.saturating_sub(log.len());
        log.extend_from_slice(&bytes[..bytes.len().min(room)]);
        messenger.send(Event::Output { step, stream, bytes });
    };
    let exit = castoff_sandbox::run(&spec, &world.cancel, &mut |stream, bytes| match stream {
        Stream::Stdout => show(OutputStream::Stdout, redactors[0].push(bytes)),
        Stream::Stderr => show(OutputStream::Stderr, redactors[1].push(bytes)),
    })?;
    let [mut stdout, mut stderr] = redactors;
    show(OutputStream::Stdout, stdout.finish());
    show(OutputStream::Stderr, stderr.finish());

    let trace = Trace {
        log: if log.is_empty() { None } else { Some(world.store.put_blob(&log)?.digest) },
        cpu_ms: Some((exit.usage.user + exit.usage.system).as_millis() as u64),
        memory_bytes: Some(exit.usage.max_rss),
    };
    match exit.status {
        Status::Code(0) => {}
        Status::Cancelled => return Err(StepError::Cancelled),
        status @ (Status::Code(_) | Status::Signal(_) | Status::TimedOut) => {
            return Err(StepError::Process { command: op.argv.join(" "), status });
        }
    }
    drop(spec);
    system.merge_into(active.fs())?;
    let layer = world.store.new_layer_id();
    active.commit(&layer)?;
    Ok((layer, trace))
}
