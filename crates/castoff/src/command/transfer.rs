//! `castoff save`, `load`, `import` and `pull`: images over the border of the store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use anyhow::Context as _;
use castoff_oci::{Digest, Platform, Reference};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind};
use castoff_solver::export::image::rfc3339;
use castoff_solver::export::pack::{self, PackOptions, PackSource};
use castoff_solver::transfer::{self, Place};
use castoff_solver::{Bodies, Messenger, PullPolicy, StepId, World, import as loading, resolve};

use super::Context;
use super::copy::step;
use crate::args::{ImportArgs, LoadArgs, OutputFile, PullArgs, SaveArgs, fields};
use crate::exit;
use crate::image;
use crate::interrupt;
use crate::output_file::to_file;

pub(super) fn save(args: &SaveArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let kind = match args.format.as_deref() {
        None | Some("docker" | "docker-archive") => ArchiveKind::Docker,
        Some("oci" | "oci-archive") => ArchiveKind::Oci,
        Some(other) => anyhow::bail!("format `{other}` is unknown: docker or oci"),
    };
    let [name] = &args.images[..] else {
        anyhow::bail!("saving several images at once is not supported yet")
    };
    if args.output.is_none() && context.environment.stdout_is_terminal {
        anyhow::bail!("refusing to write an archive to a terminal: give -o FILE or redirect standard output");
    }
    let platform = super::platform(args.platform.as_deref())?;
    let mut named = image::find(&session.world.store, name, platform.as_ref())?;
    if platform.is_some() {
        named.index = None;
    }
    let bodies = Bodies::new(&session.world);
    let images = named.image_set(&session.world.store, &bodies)?;
    let names: Vec<Reference> = named.reference.iter().filter(|name| name.tag().is_some()).cloned().collect();
    let (messenger, _events) = Messenger::channel();
    let source = PackSource { bodies: &bodies, messenger: &messenger };
    // Readers of OCI archives know OCI's types alone.
    let options = PackOptions { keep: kind == ArchiveKind::Docker, ..PackOptions::default() };
    let pack = pack::pack(&images, &options, source)?;
    let export = ArchiveExport { kind, names: &names, source, left_out: &BTreeSet::new() };
    let dest = args.output.clone().map_or(OutputFile::Stdout, OutputFile::Path);
    to_file(&dest, &mut |to| Ok(archive::write_archive(&pack, &export, to)?))?;
    Ok(exit::SUCCESS)
}

pub(super) fn load(args: &LoadArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let store = &session.world.store;
    let loaded = match &args.input {
        Some(path) if path.is_dir() => loading::load_layout(store, path)?,
        Some(path) => loading::load_archive(store, open(&path.to_string_lossy())?)?,
        None => loading::load_archive(store, open("-")?)?,
    };
    store.sync()?;
    for image in &loaded {
        for name in &image.names {
            super::print(&format!("Loaded image: {}\n", name.familiar()))?;
        }
        if image.names.is_empty() {
            super::print(&format!("Loaded image ID: {}\n", image.descriptor.digest))?;
        }
    }
    Ok(exit::SUCCESS)
}

fn open(path: &str) -> anyhow::Result<Box<dyn Read + Send>> {
    if path == "-" {
        if io::stdin().is_terminal() {
            anyhow::bail!(
                "refusing to read an archive from a terminal: give a file or redirect standard input"
            );
        }
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path).with_context(|| format!("opening `{path}`"))?))
}

pub(super) fn import(args: &ImportArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    if !args.change.is_empty() {
        anyhow::bail!("`--change` is not supported yet");
    }
    let Some(name) = &args.name else { anyhow::bail!("importing without a name is not supported yet") };
    let name: Reference = name.parse()?;
    let platform = super::platform(args.platform.as_deref())?.unwrap_or_else(Platform::host);
    let session = context.session()?;
    let created = rfc3339((session.world.clock)());
    loading::import_rootfs(&session.world.store, open(&args.file)?, &name, &platform, &created)?;
    session.world.store.sync()?;
    let image = image::find(&session.world.store, &name.to_string(), None)?;
    super::print(&format!("{}\n", image.config.digest()))
}

pub(super) fn pull(args: &PullArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let platform = super::platform(args.platform.as_deref())?.unwrap_or_else(Platform::host);
    let names =
        args.images.iter().map(|text| Ok(text.parse()?)).collect::<anyhow::Result<Vec<Reference>>>()?;
    let mut session = context.session()?;
    if let Some(text) = &args.tls_verify
        && !fields::boolean(text)?
    {
        for name in &names {
            session.world.registry = session.world.registry.insecure(name.registry());
        }
    }
    let world = &session.world;
    let names = if args.all_tags { every_tag(args, &names, world)? } else { names };
    let interrupted = interrupt::watch(&world.cancel)?;
    let pulled = super::build::show(mode, context, |events| {
        let pulled = names.iter().enumerate().map(|(place, name)| {
            let number = StepId(u32::try_from(place).unwrap_or(u32::MAX));
            step(&format!("pulling {}", name.familiar()), number, events, |messenger| {
                if args.all_platforms {
                    pull_all(name, world, number, messenger)
                } else {
                    pull_one(name, &platform, world, messenger)
                }
            })
        });
        pulled.collect::<anyhow::Result<Vec<Digest>>>()
    })
    .result;
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let pulled = pulled?;
    world.store.sync()?;
    for (name, digest) in names.iter().zip(pulled) {
        if !args.quiet {
            super::remark(&format!("Digest: {digest}"));
        }
        super::print(&format!("{name}\n"))?;
    }
    Ok(exit::SUCCESS)
}

/// Returns the names with every tag that their registries have of them.
fn every_tag(args: &PullArgs, names: &[Reference], world: &World) -> anyhow::Result<Vec<Reference>> {
    let mut found = Vec::new();
    for (text, name) in args.images.iter().zip(names) {
        if name.digest().is_some() || text.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            anyhow::bail!("`{text}`: neither tag nor digest can be used with `--all-tags`");
        }
        let mut tags = world.registry.tags(name).with_context(|| text.clone())?;
        tags.sort();
        for tag in tags {
            found.push(format!("{}:{tag}", name.name()).parse()?);
        }
    }
    Ok(found)
}

/// Pulls all that a name stands for, and returns the digest that its registry knows it by.
fn pull_all(name: &Reference, world: &World, step: StepId, messenger: &Messenger) -> anyhow::Result<Digest> {
    let bodies = Bodies::new(world);
    let root = transfer::find_in_registry(world, name)?;
    let pack = transfer::gather(world, &Place::Registry(name.clone()), &root, None)?;
    transfer::keep(&pack, name, PackSource { bodies: &bodies, messenger }, step)?;
    if name.digest().is_none() {
        world.store.set_pulled(name, &root)?;
    }
    Ok(root.digest)
}

/// Pulls the image for one platform, and returns the digest that its registry knows the name by.
fn pull_one(
    name: &Reference,
    platform: &Platform,
    world: &World,
    messenger: &Messenger,
) -> anyhow::Result<Digest> {
    let found = resolve(world, name, platform, PullPolicy::Always)?;
    let named = image::find(&world.store, &format!("{}@{}", name.name(), found.manifest), None)?;
    let bodies = Bodies::new(world);
    let image = named.image(&bodies)?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = image
            .layers
            .iter()
            .filter_map(|layer| bodies.base(&layer.id))
            .map(|base| {
                let (bodies, messenger) = (&bodies, messenger.clone());
                scope.spawn(move || bodies.fetch(&base, &messenger))
            })
            .collect();
        for thread in threads {
            thread.join().expect("a download does not panic")?;
        }
        Ok(())
    })?;
    world.store.set_tag(name, &image.descriptor())?;
    Ok(found.reference.digest().unwrap_or(found.manifest))
}
