//! `castoff save`, `load`, `import` and `pull`: images over the border of the store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use anyhow::Context as _;
use castoff_oci::{Platform, Reference};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind};
use castoff_solver::export::image::rfc3339;
use castoff_solver::export::pack::{self, PackOptions, PackSource};
use castoff_solver::{Bodies, Messenger, import as loading, resolve};

use super::Context;
use crate::args::{ImportArgs, LoadArgs, OutputFile, PullArgs, SaveArgs};
use crate::exit;
use crate::export::to_file;
use crate::image;

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
    let session = context.session()?;
    let reference: Reference = args.image.parse()?;
    let platform = super::platform(args.platform.as_deref())?.unwrap_or_else(Platform::host);
    let found = resolve(&session.world, &reference, &platform, true)?;
    let named = image::find(&session.world.store, &format!("{}@{}", reference.name(), found.manifest), None)?;
    let bodies = Bodies::new(&session.world);
    let image = named.image(&bodies)?;
    let (messenger, _events) = Messenger::channel();
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
    let descriptor = image.descriptor();
    session.world.store.set_tag(&reference, &descriptor)?;
    session.world.store.sync()?;
    if !args.quiet {
        super::remark(&format!("Digest: {}", found.reference.digest().unwrap_or(found.manifest)));
    }
    super::print(&format!("{reference}\n"))
}
