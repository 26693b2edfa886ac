//! RUN: a process in a sandbox over the directories of its parent; what it changes becomes a layer.

use std::ffi::OsString;
use std::path::PathBuf;

use castoff_graph::{ExtraHost, NetworkMode, RunOp, SecurityMode, VertexId};
use castoff_layer::{OpaqueXattr, Ownership};
use castoff_sandbox::{Network, ProcessSpec, ProvidedFile, Rlimit, Status, Stdin, Stream};
use castoff_store::LayerId;

use super::log::Log;
use super::{Trace, failed, mounts};
use crate::driver::{Messenger, Shared};
use crate::event::{Event, Fact, OutputStream};
use crate::passwd;
use crate::process_root::ProcessRoot;
use crate::redact::Redactor;
use crate::step::StepError;
use crate::{DeviceGrant, HostFiles, World};

/// Docker's size of /dev/shm.
pub(super) const SHM_SIZE: u64 = 64 << 20;

/// Where ssh looks for its agent.
pub(super) const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

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
    /// Returns the specification of the process, without its root and mounts.
    pub fn spec(&self, world: &World) -> ProcessSpec {
        let text = |value: &String| OsString::from(value);
        ProcessSpec {
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
                    writable: true,
                },
                ProvidedFile {
                    target: PathBuf::from("/etc/hosts"),
                    content: hosts_file(&world.host, self.hostname, self.extra_hosts),
                    mode: 0o644,
                    writable: true,
                },
            ],
            shm_size: SHM_SIZE,
            fake_ids: world.machine.ownership == Ownership::Record,
            stdin: Stdin::Null,
            ..ProcessSpec::default()
        }
    }
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
    let root = ProcessRoot::prepare(world, shared.bodies, &layers, messenger)?;

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
    // What is optional and absent has no grant.
    let grants: Vec<&DeviceGrant> =
        op.devices.iter().filter_map(|request| world.devices.get(&request.name)).collect();
    for (name, value) in grants.iter().flat_map(|grant| &grant.env) {
        env.retain(|(existing, _)| existing != name);
        env.push((name.clone(), value.clone()));
    }
    // D-172
    if let Some(target) = &prepared.agent
        && !env.iter().any(|(name, _)| name == AGENT_VARIABLE)
    {
        env.push((AGENT_VARIABLE.to_owned(), target.clone()));
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
    let mut spec = environment.spec(world);
    spec.mounts = prepared.mounts;
    spec.mounts.extend(grants.iter().flat_map(|grant| grant.mounts.iter().cloned()));
    spec.groups.extend(grants.iter().flat_map(|grant| &grant.groups));
    spec.emulator = world.emulators.get(&op.platform.architecture).cloned();
    root.fill(&mut spec);
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
            writable: false,
        });
    }

    let step = shared.step(id);
    let mut log = Log::new(&world.store);
    let mut redactors =
        [Redactor::new(prepared.secrets.iter().cloned()), Redactor::new(prepared.secrets.iter().cloned())];
    let mut show = |stream: OutputStream, bytes: Vec<u8>| {
        if bytes.is_empty() {
            return;
        }
        log.add(&bytes);
        messenger.send(Event::Output { step, stream, bytes });
    };
    let began_ms = (world.clock)();
    let mut since_ms = Vec::new();
    if world.guard.is_some() {
        for (place, _) in &prepared.written {
            // What a step left that was stopped, or found to have leaked, is looked at now.
            since_ms.push(if prepared.caches[*place].doubt()? { i64::MIN } else { began_ms });
        }
    }
    let exit = castoff_sandbox::run(&spec, &world.cancel, &mut |stream, bytes| match stream {
        Stream::Stdout => show(OutputStream::Stdout, redactors[0].push(bytes)),
        Stream::Stderr => show(OutputStream::Stderr, redactors[1].push(bytes)),
    })?;
    let [mut stdout, mut stderr] = redactors;
    show(OutputStream::Stdout, stdout.finish());
    show(OutputStream::Stderr, stderr.finish());
    let log = log.finish();
    // Before anything refers to it: what is cached of a step that leaked would leak again.
    if let Some(guard) = world.guard.as_ref().filter(|_| !matches!(exit.status, Status::Cancelled)) {
        if let Ok(Some(digest)) = &log
            && let Some(mut file) = world.store.open_blob(digest)?
        {
            guard.log(&mut file)?;
        }
        for ((place, target), since_ms) in prepared.written.iter().zip(since_ms) {
            guard.cache_mount(prepared.caches[*place].path(), target, since_ms)?;
        }
        for (place, _) in &prepared.written {
            prepared.caches[*place].clear()?;
        }
    }
    if let Ok(Some(log)) = log {
        messenger.send(Event::Fact { step, fact: Fact::Log(log) });
    }
    match exit.status {
        Status::Code(0) => {}
        Status::Cancelled => return Err(StepError::Cancelled),
        status @ (Status::Code(_) | Status::Signal(_) | Status::TimedOut) => {
            drop(spec);
            if shared.options.keep_failed {
                failed::keep(shared, id, op, &ids, &layers, root, messenger);
            }
            return Err(StepError::Process { command: op.argv.join(" "), status });
        }
    }
    drop(spec);
    if let Some(queue) = &shared.options.uploads {
        queue.put_mounts(prepared.used);
    }
    let trace = Trace {
        log: log?,
        cpu_ms: Some((exit.usage.user + exit.usage.system).as_millis() as u64),
        memory_bytes: Some(exit.usage.max_rss),
        warnings: Vec::new(),
    };
    let layer = world.store.new_layer_id();
    root.keep(&layer)?;
    Ok((layer, trace))
}

#[cfg(test)]
mod tests {
    use castoff_graph::ExtraHost;

    use super::hosts_file;
    use crate::HostFiles;

    // D-140
    #[test]
    fn the_hosts_file_has_both_loopbacks_the_name_and_the_extra_hosts() {
        let host = HostFiles { gateway: "192.0.2.1".to_owned(), ipv6: true, ..HostFiles::default() };
        let extra = [("a", "192.0.2.7"), ("gate", "host-gateway")];
        let extra =
            extra.map(|(name, address)| ExtraHost { name: name.to_owned(), address: address.to_owned() });
        let text = |host: &HostFiles| String::from_utf8(hosts_file(host, "box", &extra)).unwrap();
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\tbox\n\
                        192.0.2.7\ta\n192.0.2.1\tgate\n";
        assert_eq!(text(&host), expected);
        let without = text(&HostFiles { ipv6: false, ..host.clone() });
        assert_eq!(without, expected.replace("::1\tlocalhost ip6-localhost ip6-loopback\n", ""));
    }
}
