//! `castoff copy`: images as they are, from one place to another.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use castoff_oci::{Descriptor, Digest, Platform, Reference};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind, LayoutExport};
use castoff_solver::export::pack::{self, Pack, PackOptions, PackSource};
use castoff_solver::export::push::{self as pushing, PushOptions};
use castoff_solver::transfer::{self, Place};
use castoff_solver::{Bodies, Event, Messenger, Outcome, StepId, World, import};

use super::Context;
use crate::args::{CopyArgs, OutputFile, PlaceSpec, fields};
use crate::exit;
use crate::image;
use crate::interrupt;
use crate::output_file::{to_file, write_output};

const STEP: StepId = StepId(0);

/// In a layout: what an image is called there (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub(super) fn copy(args: &CopyArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let (source, destination) = (PlaceSpec::parse(&args.source)?, PlaceSpec::parse(&args.destination)?);
    let platform = super::platform(args.platform.as_deref())?;
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let verify = |own: &Option<String>| -> anyhow::Result<bool> {
        own.as_deref().or(args.tls_verify.as_deref()).map_or(Ok(true), |text| Ok(fields::boolean(text)?))
    };
    let insecure = !verify(&args.dest_tls_verify)?;
    if let PlaceSpec::Registry(name) = &destination
        && name.digest().is_some()
    {
        anyhow::bail!("`{}`: a copy gets a tag, and the name has a digest", args.destination);
    }
    let mut session = context.session()?;
    if let (PlaceSpec::Registry(name), false) = (&source, verify(&args.src_tls_verify)?) {
        session.world.registry = session.world.registry.insecure(name.registry());
    }
    let world = &session.world;
    let bodies = Bodies::new(world);
    let interrupted = interrupt::watch(&world.cancel)?;
    let copied = super::build::show(mode, context, |events| {
        step(&format!("copying {} to {}", args.source, args.destination), STEP, events, |messenger| {
            let with = PackSource { bodies: &bodies, messenger };
            let pack = read(&source, platform.as_ref(), world, with)?;
            write(pack, &source, &destination, insecure, with)
        })
    })
    .result;
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let digest = copied?;
    world.store.sync()?;
    if let Some(path) = &args.digestfile {
        write_output(path, digest.to_string().as_bytes())
            .with_context(|| format!("writing `{}`", path.display()))?;
    }
    super::print(&format!("{digest}\n"))
}

/// Does work that is shown as a step.
pub(super) fn step<T: Send>(
    name: &str,
    step: StepId,
    events: &mut dyn FnMut(Event),
    work: impl FnOnce(&Messenger) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let digest = Digest::of(name.as_bytes());
    events(Event::Planned { step, digest, name: name.to_owned(), inputs: Vec::new() });
    events(Event::Started { step });
    let (messenger, receiver) = Messenger::channel();
    let result = receiver.serve(messenger, events, work);
    let outcome = match &result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed { message: castoff_solver::chain(error.as_ref()) },
    };
    events(Event::Finished { step, outcome });
    result
}

/// Reads the documents of the source; its blobs stay where they are. An archive is read into the store, because
/// it may come from a pipe.
fn read(
    source: &PlaceSpec,
    platform: Option<&Platform>,
    world: &World,
    with: PackSource<'_>,
) -> anyhow::Result<Pack> {
    let (place, root) = match source {
        PlaceSpec::Registry(name) => {
            (Place::Registry(name.clone()), transfer::find_in_registry(world, name)?)
        }
        PlaceSpec::Layout { directory, tag, digest } => {
            let root = transfer::find_in_layout(directory, tag.as_deref(), *digest)?;
            (Place::Layout(directory.clone()), root)
        }
        PlaceSpec::Archive { file, tag, .. } => (Place::Store, find_in_archive(world, file, tag.as_deref())?),
        PlaceSpec::Store(name) => {
            let mut named = image::find(&world.store, name, platform)?;
            if platform.is_some() {
                named.index = None;
            }
            let images = named.image_set(&world.store, with.bodies)?;
            return Ok(pack::pack(&images, &PackOptions { keep: true, ..PackOptions::default() }, with)?);
        }
    };
    Ok(transfer::gather(world, &place, &root, platform)?)
}

fn find_in_archive(world: &World, file: &Path, tag: Option<&str>) -> anyhow::Result<Descriptor> {
    let input = File::open(file).with_context(|| format!("opening `{}`", file.display()))?;
    let mut found = import::read_archive(&world.store, Box::new(input))?;
    if let Some(tag) = tag {
        let name: Option<Reference> = tag.parse().ok();
        found.retain(|image| {
            image.tags.iter().any(|known| known == tag)
                || name.as_ref().is_some_and(|name| image.names.contains(name))
        });
    }
    match &found[..] {
        [only] => Ok(only.descriptor.clone()),
        [] => anyhow::bail!("the archive `{}` has no image of that name", file.display()),
        several => {
            anyhow::bail!("the archive `{}` has {} images: name one", file.display(), several.len())
        }
    }
}

/// Writes to the destination, and returns the digest of what it has now.
fn write(
    mut pack: Pack,
    source: &PlaceSpec,
    destination: &PlaceSpec,
    insecure: bool,
    with: PackSource<'_>,
) -> anyhow::Result<Digest> {
    let digest = pack.root.digest;
    match destination {
        PlaceSpec::Registry(name) => {
            let names = std::slice::from_ref(name);
            let options = PushOptions { names, by_digest: false, insecure, step: STEP };
            pushing::push(&pack, with.bodies, with.messenger, &options)?;
        }
        PlaceSpec::Layout { digest: Some(_), .. } => {
            anyhow::bail!("a copy is written under a tag, and the destination has a digest")
        }
        PlaceSpec::Layout { directory, tag, digest: None } => {
            call(&mut pack, tag.as_deref());
            let export = LayoutExport { names: &[], source: with, keep_nameless: true };
            archive::write_layout(&pack, &export, directory)?;
        }
        PlaceSpec::Archive { kind, file, tag } => {
            let names = names(*kind, tag.as_deref(), source)?;
            if *kind == ArchiveKind::Oci {
                call(&mut pack, tag.as_deref());
            } else if pack.images.is_empty() {
                anyhow::bail!("an archive for docker has images only, and `{digest}` is something else");
            }
            let export =
                ArchiveExport { kind: *kind, names: &names, source: with, left_out: &BTreeSet::new() };
            let file = OutputFile::Path(file.clone());
            to_file(&file, &mut |to| Ok(archive::write_archive(&pack, &export, to)?))?;
        }
        PlaceSpec::Store(name) => {
            let name: Reference = name.parse()?;
            transfer::keep(&pack, &name, with, STEP)?;
        }
    }
    Ok(digest)
}

/// Gives what a layout has of a pack a name there.
fn call(pack: &mut Pack, tag: Option<&str>) {
    pack.root.annotations.clear();
    if let Some(tag) = tag {
        pack.root.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    }
}

/// Returns the names of an image in a Docker archive: the one given, or else that of the source.
fn names(kind: ArchiveKind, tag: Option<&str>, source: &PlaceSpec) -> anyhow::Result<Vec<Reference>> {
    if kind == ArchiveKind::Oci {
        return Ok(Vec::new());
    }
    if let Some(tag) = tag {
        return Ok(vec![tag.parse()?]);
    }
    let name: Option<Reference> = match source {
        PlaceSpec::Registry(name) => Some(name.clone()),
        PlaceSpec::Store(name) => name.parse().ok(),
        PlaceSpec::Layout { .. } | PlaceSpec::Archive { .. } => None,
    };
    Ok(name.into_iter().filter(|name| name.digest().is_none()).collect())
}
