//! `castoff push`: images of the store into registries.

use anyhow::Context as _;
use castoff_oci::{Descriptor, Digest, Reference};
use castoff_solver::export::pack::{self, PackOptions, PackSource};
use castoff_solver::export::push::{self as pushing, PushOptions};
use castoff_solver::export::set::ImageSet;
use castoff_solver::{Bodies, Event, StepId, World};

use super::Context;
use crate::args::{ImageAttributes, OutputSpec, PushArgs, fields};
use crate::exit;
use crate::image;
use crate::interrupt;
use crate::output_file::write_output;

/// What is pushed, and under which name.
struct Task {
    name: Reference,
    images: ImageSet,
}

pub(super) fn push(args: &PushArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let attributes = attributes(args)?;
    // What nobody asks to change keeps its digest.
    let keep = args.format.is_none() && args.compression.is_none() && !args.force_compression;
    let options = PackOptions { keep, ..crate::export::pack_options(&attributes) };
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let insecure = match args.tls_verify.as_deref() {
        None => false,
        Some(text) => !fields::boolean(text)?,
    };
    if args.digestfile.is_some() && (args.images.len() > 1 || args.all_tags) {
        anyhow::bail!("`--digestfile` holds one digest: give one image");
    }
    let session = context.session()?;
    let world = &session.world;
    let bodies = Bodies::new(world);
    let tasks = tasks(args, world, &bodies)?;
    let interrupted = interrupt::watch(&world.cancel)?;
    let pushed = super::build::show(mode, context, |events| {
        let pushed = tasks.iter().enumerate().map(|(place, task)| {
            let step = StepId(u32::try_from(place).unwrap_or(u32::MAX));
            run(task, &options, insecure, step, &bodies, events)
        });
        pushed.collect::<anyhow::Result<Vec<Descriptor>>>()
    })
    .result;
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let pushed = pushed?;
    if let (Some(path), Some(root)) = (&args.digestfile, pushed.first()) {
        write_output(path, root.digest.to_string().as_bytes())
            .with_context(|| format!("writing `{}`", path.display()))?;
    }
    for (task, root) in tasks.iter().zip(&pushed) {
        super::print(&line(&task.name, root, args.quiet))?;
    }
    Ok(exit::SUCCESS)
}

/// Returns what is said of a pushed image; the longer form is that of Docker.
fn line(name: &Reference, root: &Descriptor, quiet: bool) -> String {
    let (tag, digest, size): (&str, Digest, u64) = (name.tag().unwrap_or("latest"), root.digest, root.size);
    if quiet { format!("{name}@{digest}\n") } else { format!("{tag}: digest: {digest} size: {size}\n") }
}

/// Reads the flags as `--output` reads its attributes.
fn attributes(args: &PushArgs) -> anyhow::Result<ImageAttributes> {
    let mut text = "type=image".to_owned();
    if let Some(compression) = &args.compression {
        text.push_str(&format!(",compression={compression}"));
    }
    if let Some(level) = args.compression_level {
        text.push_str(&format!(",compression-level={level}"));
    }
    if args.force_compression {
        text.push_str(",force-compression=true");
    }
    match args.format.as_deref() {
        None => {}
        Some("oci") => text.push_str(",oci-mediatypes=true"),
        Some("docker" | "v2s2") => text.push_str(",oci-mediatypes=false"),
        Some(other) => anyhow::bail!("format `{other}` is unknown: oci or docker"),
    }
    let mut output = OutputSpec::parse(&text)?;
    Ok(output.image_mut().expect("an image output has attributes").clone())
}

/// Finds the images in the store.
fn tasks(args: &PushArgs, world: &World, bodies: &Bodies<'_>) -> anyhow::Result<Vec<Task>> {
    let mut names: Vec<Reference> = Vec::new();
    for text in &args.images {
        let name: Reference = text.parse()?;
        if name.digest().is_some() {
            anyhow::bail!("`{text}`: a push sets a tag, and the name has a digest");
        }
        if args.all_tags {
            if text.rsplit('/').next().is_some_and(|last| last.contains(':')) {
                anyhow::bail!("`{text}`: a tag cannot be used with `--all-tags`");
            }
            let tags = world.store.tags()?.into_iter().map(|tag| tag.reference);
            let before = names.len();
            names.extend(tags.filter(|tag| tag.name() == name.name() && tag.tag().is_some()));
            if names.len() == before {
                anyhow::bail!("there is no image `{text}` in the store");
            }
        } else {
            names.push(name);
        }
    }
    let platform = super::platform(args.platform.as_deref())?;
    let tasks = names.into_iter().map(|name| {
        let mut named = image::find(&world.store, &name.to_string(), platform.as_ref())?;
        if platform.is_some() {
            named.index = None;
        }
        let images = named.image_set(&world.store, bodies)?;
        Ok(Task { name, images })
    });
    tasks.collect()
}

/// Pushes one image as a step.
fn run(
    task: &Task,
    options: &PackOptions,
    insecure: bool,
    step: StepId,
    bodies: &Bodies<'_>,
    events: &mut dyn FnMut(Event),
) -> anyhow::Result<Descriptor> {
    let name = format!("pushing {}", task.name.familiar());
    let names = std::slice::from_ref(&task.name);
    super::copy::step(&name, step, events, |messenger| {
        let pack = pack::pack(&task.images, options, PackSource { bodies, messenger })?;
        let options = PushOptions { names, by_digest: false, insecure, step };
        pushing::push(&pack, bodies, messenger, &options)?;
        Ok(pack.root)
    })
}
