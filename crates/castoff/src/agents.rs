//! `--ssh` made real: sockets are looked at and keys are read before anything is built (B-140).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use castoff_ssh::{Agent, Key};

use crate::args::SshSpec;

/// No private key is longer; a path that is no key may be anything.
const KEY_LIMIT: u64 = 64 << 10;

/// Returns the agents by their ids.
///
/// # Errors
/// When a socket or key cannot be used.
pub(crate) fn load(specs: &[SshSpec]) -> anyhow::Result<BTreeMap<String, Arc<Agent>>> {
    let mut agents = BTreeMap::new();
    for spec in specs {
        let agent = agent(spec).with_context(|| format!("ssh agent `{}`", spec.id))?;
        agents.insert(spec.id.clone(), Arc::new(agent));
    }
    Ok(agents)
}

fn agent(spec: &SshSpec) -> anyhow::Result<Agent> {
    let mut sockets = Vec::new();
    let mut keys = Vec::new();
    for path in &spec.paths {
        let used = || format!("using `{}`", path.display());
        let path = std::path::absolute(path).with_context(used)?;
        if path.metadata().with_context(used)?.file_type().is_socket() {
            sockets.push(path);
        } else {
            keys.push(key(&path).with_context(used)?);
        }
    }
    match (sockets.len(), keys.is_empty()) {
        (0, _) => Ok(Agent::Keys(keys)),
        (1, true) => Ok(Agent::Forwarded(sockets.remove(0))),
        (_, true) => bail!("only one socket can be forwarded under one id"),
        (_, false) => bail!("a socket and keys cannot be used together under one id"),
    }
}

fn key(path: &Path) -> anyhow::Result<Key> {
    let mut text = Vec::new();
    File::open(path)?.take(KEY_LIMIT).read_to_end(&mut text)?;
    Ok(Key::parse(&text, &path.display().to_string())?)
}
