//! `castoff index`, also `castoff imagetools`: indexes made of what registries have, and a look at that.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use castoff_oci::{Descriptor, Digest, Index, Platform, Reference};
use castoff_solver::export::annotate::{Annotation, AnnotationLevel};
use castoff_solver::export::archive;
use castoff_solver::export::push::{self as pushing, PushOptions};
use castoff_solver::transfer::{self, CombineOptions, Part, Place};
use castoff_solver::{Bodies, StepId, World};
use serde_json::{Value, json};

use super::Context;
use super::copy::step;
use crate::args::{AnnotationError, IndexCreateArgs, IndexInspectArgs, PlaceSpec, annotation, fields};
use crate::exit;
use crate::interrupt;

const STEP: StepId = StepId(0);

/// A source is a name, a digest or a descriptor; more than this is none.
const LIMIT: u64 = 1 << 20;

/// What goes into an index, as it was written.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// An image or index somewhere.
    Place(PlaceSpec),
    /// One of the repository that all other names are of.
    Digest(Digest),
    /// The same, with its platform and annotations.
    Descriptor(Box<Descriptor>),
}

pub(super) fn create(args: &IndexCreateArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let mut sources = args.file.iter().map(|path| from_file(path)).collect::<anyhow::Result<Vec<_>>>()?;
    sources.extend(args.sources.iter().map(|text| parse(text)).collect::<anyhow::Result<Vec<_>>>()?);
    let tags = args.tag.iter().map(|text| tag(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let annotations = annotations(&args.annotation)?;
    let platforms = args.platform.iter().flat_map(|list| list.split(','));
    let platforms =
        platforms.map(|text| Ok(text.trim().parse()?)).collect::<anyhow::Result<Vec<Platform>>>()?;
    let prefer_index = args.prefer_index.as_deref().map_or(Ok(true), fields::boolean)?;
    let insecure = !args.tls_verify.as_deref().map_or(Ok(true), fields::boolean)?;
    let mode = super::progress_mode(false, args.progress.as_deref(), context)?;
    if args.append {
        let [only] = &tags[..] else {
            bail!("`--append` adds to what one name stands for: give one `--tag`")
        };
        sources.insert(0, Source::Place(PlaceSpec::Registry(only.clone())));
    }
    if sources.is_empty() {
        bail!("there are no sources: name images, or give `--file`");
    }
    if tags.is_empty() && !args.dry_run {
        bail!("an index needs a name: give `--tag`, or `--dry-run` to see it");
    }
    let repository = repository(&sources, &tags)?;
    let mut session = context.session()?;
    if insecure {
        let named = sources.iter().filter_map(|source| match source {
            Source::Place(PlaceSpec::Registry(name)) => Some(name),
            _ => None,
        });
        for name in named.chain(&tags) {
            session.world.registry = session.world.registry.insecure(name.registry());
        }
    }
    let world = &session.world;
    let bodies = Bodies::new(world);
    let interrupted = interrupt::watch(&world.cancel)?;
    let options = CombineOptions { annotations: &annotations, prefer_index, platforms: &platforms };
    let made = super::build::show(mode, context, |events| {
        let names: Vec<String> = tags.iter().map(Reference::to_string).collect();
        step(&format!("[internal] creating index {}", names.join(", ")), STEP, events, |messenger| {
            let parts = sources.iter().map(|source| find(source, repository.as_ref(), world));
            let parts = parts.collect::<anyhow::Result<Vec<Part>>>()?;
            let pack = transfer::combine(world, &parts, options)?;
            if !args.dry_run {
                let options = PushOptions { names: &tags, by_digest: false, insecure, step: STEP };
                pushing::push(&pack, &bodies, messenger, &options)?;
            }
            Ok(pack)
        })
    });
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    let pack = made.result?;
    let root = &pack.root;
    if args.dry_run {
        return raw(&pack.documents[&root.digest].bytes);
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = tags.iter().map(Reference::to_string).collect();
        let facts = json!({
            "containerimage.descriptor": root,
            "containerimage.digest": root.digest.to_string(),
            "image.name": names.join(","),
        });
        archive::write_file(path, &mut format!("{facts:#}\n").as_bytes())
            .with_context(|| format!("writing `{}`", path.display()))?;
    }
    super::print(&format!("{}\n", root.digest))
}

/// Reads a source as buildx does: a digest, a descriptor, or a name.
fn parse(text: &str) -> anyhow::Result<Source> {
    let text = text.trim();
    if text.starts_with('{') {
        let descriptor =
            serde_json::from_str(text).with_context(|| format!("`{text}` is not a descriptor"))?;
        return Ok(Source::Descriptor(Box::new(descriptor)));
    }
    if let Ok(digest) = text.parse() {
        return Ok(Source::Digest(digest));
    }
    match PlaceSpec::parse(text)? {
        place @ (PlaceSpec::Registry(_) | PlaceSpec::Layout { .. }) => Ok(Source::Place(place)),
        PlaceSpec::Archive { .. } | PlaceSpec::Store(_) => {
            bail!("`{text}`: an index is made of what registries and layouts have; push or copy it first")
        }
    }
}

fn from_file(path: &Path) -> anyhow::Result<Source> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    file.take(LIMIT).read_to_string(&mut text).with_context(|| format!("reading `{}`", path.display()))?;
    parse(&text).with_context(|| format!("`{}`", path.display()))
}

fn tag(text: &str) -> anyhow::Result<Reference> {
    let name: Reference = text.parse().with_context(|| format!("`{text}`"))?;
    if name.digest().is_some() {
        bail!("`{text}`: an index gets a tag, and the name has a digest");
    }
    Ok(name)
}

/// Without a level, an annotation is of the index.
fn annotations(texts: &[String]) -> Result<Vec<Annotation>, AnnotationError> {
    let mut found = Vec::new();
    for text in texts {
        let name = text.split('=').next().unwrap_or_default();
        for mut annotation in annotation::flag(text)? {
            if !name.contains(':') {
                annotation.level = AnnotationLevel::Index;
            }
            found.push(annotation);
        }
    }
    Ok(found)
}

/// Returns the repository that bare digests are of: the only one that is named.
fn repository(sources: &[Source], tags: &[Reference]) -> anyhow::Result<Option<Reference>> {
    let bare = sources.iter().any(|source| !matches!(source, Source::Place(_)));
    let named = sources.iter().filter_map(|source| match source {
        Source::Place(PlaceSpec::Registry(name)) => Some(name),
        _ => None,
    });
    let mut all: Vec<&Reference> = tags.iter().chain(named).collect();
    all.sort_by_key(|name| name.name());
    all.dedup_by_key(|name| name.name());
    match (bare, &all[..]) {
        (false, _) => Ok(None),
        (true, [only]) => Ok(Some((*only).clone())),
        (true, []) => {
            bail!("no repository is named that the digest could be of: give `--tag` or a whole name")
        }
        (true, _) => bail!("several repositories are named that the digest could be of: give its whole name"),
    }
}

/// Finds what a source is.
fn find(source: &Source, repository: Option<&Reference>, world: &World) -> anyhow::Result<Part> {
    let by_digest = |digest: Digest| -> anyhow::Result<Part> {
        let repository = repository.expect("bare digests were refused without one");
        let name = repository.with_digest(digest);
        Ok(Part { root: transfer::find_in_registry(world, &name)?, place: Place::Registry(name) })
    };
    match source {
        Source::Place(place) => at(place, world),
        Source::Digest(digest) => by_digest(*digest),
        Source::Descriptor(descriptor) => {
            let found = by_digest(descriptor.digest)?;
            if found.root.media_type != descriptor.media_type || found.root.size != descriptor.size {
                bail!("the registry has `{}` with another type or size", descriptor.digest);
            }
            Ok(Part { root: (**descriptor).clone(), ..found })
        }
    }
}

fn at(place: &PlaceSpec, world: &World) -> anyhow::Result<Part> {
    match place {
        PlaceSpec::Registry(name) => {
            Ok(Part { root: transfer::find_in_registry(world, name)?, place: Place::Registry(name.clone()) })
        }
        PlaceSpec::Layout { directory, tag, digest } => {
            let mut root = transfer::find_in_layout(directory, tag.as_deref(), *digest)?;
            // What it is called there is no fact about it.
            root.annotations.clear();
            Ok(Part { root, place: Place::Layout(directory.clone()) })
        }
        PlaceSpec::Archive { .. } | PlaceSpec::Store(_) => bail!("an index is of a registry or a layout"),
    }
}

pub(super) fn inspect(args: &IndexInspectArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let Source::Place(place) = parse(&args.name)? else { bail!("`{}` names no repository", args.name) };
    let mut session = context.session()?;
    let verified = args.tls_verify.as_deref().map_or(Ok(true), fields::boolean)?;
    let name = match &place {
        PlaceSpec::Registry(name) => {
            if !verified {
                session.world.registry = session.world.registry.insecure(name.registry());
            }
            name.to_string()
        }
        _ => args.name.clone(),
    };
    let world = &session.world;
    let Part { place, root } = at(&place, world)?;
    let document = transfer::document(world, &place, &root)?;
    if args.raw {
        return raw(&document);
    }
    let Some(format) = &args.format else { return super::print(&text(&name, &root, &document)?) };
    // What Go's template of buildx has besides is not known here.
    let field = format.split('.').nth(1).unwrap_or_default();
    let field: String = field.chars().take_while(char::is_ascii_alphanumeric).collect();
    let value = match field.as_str() {
        "Name" => json!(name),
        "Manifest" => manifest(&root, &document)?,
        "Image" => image(world, &place, &root, &document)?,
        _ => bail!(
            "format `{format}` is not supported yet: a path that begins with .Name, .Manifest or .Image"
        ),
    };
    super::print(&format!("{}\n", super::images::part(&json!({ field: value }), format)?))
}

/// Returns what buildx calls the manifest: the document with its digest and size.
fn manifest(root: &Descriptor, document: &[u8]) -> anyhow::Result<Value> {
    let mut value: Value = serde_json::from_slice(document)?;
    value["mediaType"] = json!(root.media_type);
    value["digest"] = json!(root.digest);
    value["size"] = json!(root.size);
    Ok(value)
}

/// Returns the config of an image, or those of an index by platform.
fn image(world: &World, place: &Place, root: &Descriptor, document: &[u8]) -> anyhow::Result<Value> {
    let config = |manifest: &Descriptor| -> anyhow::Result<Value> {
        match transfer::config_of(world, place, manifest)? {
            Some(config) => Ok(serde_json::from_slice(config.bytes())?),
            None => Ok(Value::Null),
        }
    };
    if !root.media_type.is_index() {
        return config(root);
    }
    let index: Index = serde_json::from_slice(document)?;
    let mut images = serde_json::Map::new();
    for entry in &index.manifests {
        if let Some(platform) = entry.platform.as_ref().filter(|platform| platform.os != "unknown") {
            images.insert(platform.to_string(), config(entry)?);
        }
    }
    Ok(Value::Object(images))
}

/// Returns what buildx shows of an index or image.
fn text(name: &str, root: &Descriptor, document: &[u8]) -> anyhow::Result<String> {
    let mut text = format!("Name:      {name}\nMediaType: {}\nDigest:    {}\n", root.media_type, root.digest);
    if !root.media_type.is_index() {
        return Ok(text);
    }
    let index: Index = serde_json::from_slice(document)?;
    let repository = name.split('@').next().unwrap_or(name);
    text.push_str("\nManifests:\n");
    let entries = index.manifests.iter().map(|entry| {
        let mut fields = vec![
            ("Name", format!("{repository}@{}", entry.digest)),
            ("MediaType", entry.media_type.to_string()),
        ];
        if let Some(platform) = &entry.platform {
            fields.push(("Platform", platform.to_string()));
            fields.extend(platform.os_version.clone().map(|version| ("OSVersion", version)));
            if !platform.os_features.is_empty() {
                fields.push(("OSFeatures", platform.os_features.join(", ")));
            }
        }
        if !entry.urls.is_empty() {
            fields.push(("URLs", entry.urls.join(", ")));
        }
        let width = if entry.annotations.is_empty() { 11 } else { 13 };
        let line = |(key, value): (&str, String)| format!("  {:width$}{value}\n", format!("{key}:"));
        let mut text: String = fields.into_iter().map(line).collect();
        if !entry.annotations.is_empty() {
            text.push_str("  Annotations:\n");
            let longest = entry.annotations.keys().map(String::len).max().unwrap_or_default() + 2;
            for (key, value) in &entry.annotations {
                text.push_str(&format!("    {:longest$}{value}\n", format!("{key}:")));
            }
        }
        text
    });
    text.push_str(&entries.collect::<Vec<_>>().join("\n"));
    Ok(text)
}

/// Writes a document as it is.
fn raw(bytes: &[u8]) -> anyhow::Result<u8> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::SUCCESS),
    }
}
