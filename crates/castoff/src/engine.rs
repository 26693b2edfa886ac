//! Loading an image into a running Docker or Podman: `--load` and `type=docker` without a place (B-103).
//!
//! A classic Docker takes an archive that lacks the layers it has, so only the others are sent. Docker with
//! containerd's store and Podman want every layer.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use castoff_oci::{ChainId, Digest, ImageConfig, Reference};
use castoff_registry::{Engine, EngineAddress, EngineKind};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind};
use castoff_solver::export::pack::{Pack, PackSource};
use castoff_solver::is_broken_pipe;
use serde_json::Value;

use crate::args::EngineChoice;

/// Finds the engine: the one of `context=`, or of `DOCKER_HOST`, `CONTAINER_HOST`, `DOCKER_CONTEXT`, docker's
/// current context, or the first socket that is there.
///
/// # Errors
/// When there is none, or its address is none that castoff can use.
pub fn find(context: Option<&str>, choice: &EngineChoice) -> anyhow::Result<Engine> {
    Ok(Engine::new(address(context, choice)?))
}

fn address(context: Option<&str>, choice: &EngineChoice) -> anyhow::Result<EngineAddress> {
    if let Some(context) = context.filter(|context| !context.is_empty()) {
        return named(context, choice);
    }
    if let Some(host) = choice.docker_host.as_deref().or(choice.container_host.as_deref()) {
        return Ok(EngineAddress::parse(host)?);
    }
    let current = || -> Option<String> {
        let bytes = std::fs::read(choice.docker_config.as_ref()?.join("config.json")).ok()?;
        let config: Value = serde_json::from_slice(&bytes).ok()?;
        Some(config.get("currentContext")?.as_str()?.to_owned())
    };
    if let Some(context) = choice.docker_context.clone().or_else(current).filter(|name| name != "default") {
        return named(&context, choice);
    }
    let of_user = |name: &str| choice.runtime_dir.as_ref().map(|directory| directory.join(name));
    let sockets = [
        Some(PathBuf::from("/var/run/docker.sock")),
        of_user("docker.sock"),
        of_user("podman/podman.sock"),
        Some(PathBuf::from("/run/podman/podman.sock")),
    ];
    let found = sockets.into_iter().flatten().find(|path| path.exists());
    found.map(EngineAddress::Unix).context(
        "there is no engine to load the image into: start Docker or Podman, or set DOCKER_HOST or CONTAINER_HOST; \
         without one, -o type=docker,dest=FILE writes an archive",
    )
}

/// Returns the address of a context of docker, or what is an address itself.
fn named(context: &str, choice: &EngineChoice) -> anyhow::Result<EngineAddress> {
    if context.contains("://") {
        return Ok(EngineAddress::parse(context)?);
    }
    if context == "default" {
        return address(None, &EngineChoice { docker_context: None, docker_config: None, ..choice.clone() });
    }
    let directory =
        choice.docker_config.as_ref().context("HOME is not set, so there are no contexts of docker")?;
    let path = directory.join("contexts/meta").join(Digest::of(context.as_bytes()).hex()).join("meta.json");
    let bytes = std::fs::read(&path).with_context(|| format!("docker has no context `{context}`"))?;
    let meta: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("reading `{}`", path.display()))?;
    let host = meta.pointer("/Endpoints/docker/Host").and_then(Value::as_str);
    Ok(EngineAddress::parse(host.with_context(|| format!("the context `{context}` names no engine"))?)?)
}

/// Loads a packed image into an engine.
///
/// # Errors
/// When a layer cannot be read, or the engine does not take the image.
pub fn load(engine: &Engine, pack: &Pack, names: &[Reference], source: PackSource<'_>) -> anyhow::Result<()> {
    let kind = engine.kind()?;
    if pack.root.media_type.is_index() && kind != EngineKind::DockerContainerd {
        bail!(
            "this engine's store takes single images and no index: build one platform, or use -o type=oci or --push"
        );
    }
    let left_out = if kind == EngineKind::Docker { known(pack, &engine.layers()?)? } else { BTreeSet::new() };
    match send(engine, pack, names, source, &left_out) {
        // What it had may be gone.
        Err(_) if !left_out.is_empty() => send(engine, pack, names, source, &BTreeSet::new()),
        sent => sent,
    }
}

/// Returns the blobs that hold layers an engine has. A layer is known together with all below it.
fn known(pack: &Pack, layers: &BTreeSet<ChainId>) -> anyhow::Result<BTreeSet<Digest>> {
    let (mut known, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for image in &pack.images {
        // Not the config of the store: a layer may be another one outside of it.
        let config: ImageConfig = serde_json::from_slice(&pack.documents[&image.config.digest].bytes)?;
        for (place, layer) in image.layers.iter().enumerate() {
            let below = config.rootfs.diff_ids.get(..=place).and_then(ChainId::of);
            let is_known = below.is_some_and(|chain| layers.contains(&chain));
            if is_known {
                known.insert(layer.digest)
            } else {
                needed.insert(layer.digest)
            };
        }
    }
    // One blob may be two layers of an image, of which the engine has one.
    known.retain(|digest| !needed.contains(digest));
    Ok(known)
}

fn send(
    engine: &Engine,
    pack: &Pack,
    names: &[Reference],
    source: PackSource<'_>,
    left_out: &BTreeSet<Digest>,
) -> anyhow::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || -> anyhow::Result<()> {
            let mut writer = BufWriter::with_capacity(256 << 10, writer);
            let export = ArchiveExport { kind: ArchiveKind::Docker, names, source, left_out };
            archive::write_archive(pack, &export, &mut writer)?;
            Ok(writer.flush()?)
        });
        let loaded = engine.load(&mut reader);
        // The producer stops at a broken pipe when the engine has refused, so it always ends.
        drop(reader);
        let produced = producer.join().expect("the producer does not panic");
        // A cut archive is refused, too; why it was cut is the reason then.
        match (loaded, produced) {
            (Ok(_), produced) => produced,
            (Err(_), Err(error)) if !is_broken_pipe(error.as_ref()) => Err(error),
            (Err(refused), _) => Err(refused.into()),
        }
    })
}
