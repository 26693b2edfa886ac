//! What a build is made from: the Dockerfile and the contexts, wherever they are (B-044, B-045, B-060 to
//! B-076).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use castoff_dockerfile::Parsed;
use castoff_graph::LocalName;
use castoff_graph::pattern::IgnorePatterns;
use castoff_graph::remote::{GitReference, GitSource, HttpSource, redacted};
use castoff_oci::{DiffId, Digest, Platform, Reference};
use castoff_plan::{ContextSource, NamedContext, PlanOptions, Planner, Reaching};
use castoff_solver::export::materials::Material;
use castoff_solver::fetch::{archive, git, http, http_layer};
use castoff_solver::{Event, World, import};

use super::{BuildError, Internal, argument, refuse_foreign_frontend};
use crate::args::{ContextSpec, FileSpec, LockUse, NamedContextSource, PlanRequest, fields};
use crate::context::{self, DEFAULT_NAMES, DOCKERFILE_LIMIT, DockerfileText};
use crate::lock::{self, Lock};

/// A Dockerfile that was read, and the main context.
pub(crate) struct Definition {
    /// The file.
    pub(crate) dockerfile: DockerfileText,
    /// The file, parsed; it may have errors.
    pub(crate) parsed: Parsed,
    /// What names stand for, as somebody wrote it down.
    pub(crate) lock: Lock,
    /// The context as the user named it, without credentials.
    pub(super) name: String,
    context: Context,
}

/// The main context, got hold of.
enum Context {
    Directory(PathBuf),
    Tree {
        layer: DiffId,
        time: Option<i64>,
    },
    /// There is none but the Dockerfile, whose text this is.
    Dockerfile(DockerfileText),
    /// The Dockerfile, which is all there is.
    OnlyFile(DockerfileText, DiffId),
}

/// Gets hold of the main context and the Dockerfile, and parses that.
///
/// # Errors
/// When something of it cannot be had.
pub(crate) fn read(
    request: &PlanRequest,
    world: &World,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<Definition, BuildError> {
    let context = main_context(request, world, steps, events)?;
    let dockerfile = steps.work("[internal] load build definition from Dockerfile", events, |note| {
        let found = dockerfile(request, world, &context)?;
        note("transferring dockerfile", found.bytes.len() as u64);
        Ok(found)
    })?;
    if let Some(FileSpec::Http(address)) = &request.file {
        steps.fetched.push(Material::of_http(address, &Digest::of(&dockerfile.bytes)));
    }
    let parsed = castoff_dockerfile::parse(&dockerfile.bytes);
    refuse_foreign_frontend(&parsed.dockerfile, request, &dockerfile)?;
    let lock = lock(request, world, &context, &dockerfile)?;
    if !lock.pins.name.is_empty() {
        steps.work(&format!("[internal] load {}", lock.pins.name), events, |_| Ok(()))?;
    }
    let name = match (&context, &request.context) {
        (Context::Directory(path), _) => path.display().to_string(),
        (_, ContextSpec::Git(address) | ContextSpec::Http(address)) => redacted(address),
        (_, ContextSpec::Stdin | ContextSpec::Directory(_)) => String::new(),
    };
    Ok(Definition { dockerfile, parsed, lock, name, context })
}

/// Reads the lock beside the Dockerfile: on this machine, or in the tree that is the context.
fn lock(
    request: &PlanRequest,
    world: &World,
    context: &Context,
    dockerfile: &DockerfileText,
) -> Result<Lock, BuildError> {
    let spec = &request.lock;
    let Context::Tree { layer, .. } = context else { return Ok(lock::load(dockerfile, spec)?) };
    if spec.choice == LockUse::Never || spec.file.is_some() || !is_inside(request, dockerfile) {
        return Ok(lock::load(dockerfile, spec)?);
    }
    let path = Path::new(&dockerfile.name);
    let beside = lock::beside(&path.file_name().unwrap_or_default().to_string_lossy());
    let name = path.with_file_name(beside).display().to_string();
    let view = archive::view(world, *layer).map_err(anyhow::Error::from)?;
    Ok(match archive::read(&view, &name, lock::LIMIT).map_err(anyhow::Error::from)? {
        Some(bytes) => lock::of_bytes(name, None, bytes, spec)?,
        None => lock::missing(name, spec)?,
    })
}

/// Whether the Dockerfile is one of the files of a context that is no directory.
fn is_inside(request: &PlanRequest, dockerfile: &DockerfileText) -> bool {
    dockerfile.path.is_none() && !matches!(request.file, Some(FileSpec::Stdin | FileSpec::Http(_)))
}

impl Definition {
    /// Stops at a file that has errors of syntax. What is wrong beside these is said with them, as far as it is certain
    /// without fetching anything.
    pub(crate) fn refuse_errors(&self, request: &PlanRequest) -> Result<(), BuildError> {
        if !self.parsed.has_errors() {
            return Ok(());
        }
        let mut diagnostics = self.parsed.diagnostics.clone();
        if !self.parsed.torn {
            let planner = Planner::new(&self.parsed.dockerfile, offline_options(request));
            diagnostics = planner.mistakes(diagnostics, Reaching::Target);
        }
        Err(BuildError::Diagnostics { dockerfile: self.dockerfile.clone(), diagnostics })
    }

    /// Returns where the files of the context are that its ignore file leaves. A directory is put into the
    /// world.
    pub(super) fn ignored(
        &self,
        request: &PlanRequest,
        world: &mut World,
        steps: &mut Internal,
        events: &mut dyn FnMut(Event),
    ) -> Result<ContextSource, BuildError> {
        let mut source = match &self.context {
            Context::Directory(_) => ContextSource::Local,
            Context::Tree { layer, time } => ContextSource::Tree { layer: *layer, time: *time },
            Context::OnlyFile(_, layer) => ContextSource::Tree { layer: *layer, time: None },
            Context::Dockerfile(_) => ContextSource::Empty,
        };
        steps.work("[internal] load .dockerignore", events, |_| {
            match (&self.context, &mut source) {
                (Context::Directory(path), _) => {
                    let local = context::main_context(path, &self.dockerfile)?;
                    world.locals.insert(LocalName::Context, local);
                }
                (_, ContextSource::Tree { layer, .. }) if request.filter_context => {
                    *layer = filtered(request, world, *layer, &self.dockerfile)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(source)
    }
}

/// Returns what the planner is to know of a file that is not going to be built: nothing is read for it. What a named
/// context has is not known, only that it stands in for something.
pub(crate) fn offline_options(request: &PlanRequest) -> PlanOptions {
    let contexts = request.contexts.iter().map(|context| (context.name.clone(), NamedContext::Scratch));
    crate::call::entitled(PlanOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        platforms: request.platforms.clone(),
        contexts: contexts.collect(),
        ..PlanOptions::new(Platform::host())
    })
}

fn main_context(
    request: &PlanRequest,
    world: &World,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<Context, BuildError> {
    match &request.context {
        ContextSpec::Directory(path) => Ok(Context::Directory(context::directory(&path.to_string_lossy())?)),
        ContextSpec::Stdin => match standard_input(world)? {
            Input::Archive(blob) => Ok(steps.work("[internal] load remote build context", events, |_| {
                Ok(Context::Tree { layer: archive::tree(world, &blob)?, time: None })
            })?),
            Input::Text(bytes) => Ok(Context::Dockerfile(only_dockerfile(request, "Dockerfile", bytes)?)),
        },
        ContextSpec::Git(address) => {
            let name = format!("[internal] load git source {}", redacted(address));
            // What the lock is in cannot be pinned by it.
            let (layer, time, material) =
                steps.work(&name, events, |_| git_tree(request, world, address, &Lock::default()))?;
            steps.fetched.push(material);
            Ok(Context::Tree { layer, time: Some(time) })
        }
        ContextSpec::Http(address) => {
            let (context, material) = steps.work("[internal] load remote build context", events, |note| {
                let (source, content) = download(world, address, &Lock::default(), note)?;
                let material = Material::of_http(address, &content.blob);
                if has_archive(world, &content.blob)? {
                    let (layer, time) = unpacked(world, &content)?;
                    return Ok((Context::Tree { layer, time }, material));
                }
                let bytes = text(world, &content.blob)?;
                let text = only_dockerfile(request, &redacted(address), bytes)?;
                Ok((Context::OnlyFile(text, file_layer(world, &source, &content)?), material))
            })?;
            steps.fetched.push(material);
            Ok(context)
        }
    }
}

/// The text is the Dockerfile, so there cannot be another (B-044).
fn only_dockerfile(request: &PlanRequest, name: &str, bytes: Vec<u8>) -> anyhow::Result<DockerfileText> {
    if request.file.is_some() {
        anyhow::bail!("ambiguous Dockerfile source: the context is a Dockerfile, and `--file` names another");
    }
    Ok(DockerfileText { name: name.to_owned(), path: None, bytes })
}

/// Returns the layer of a tree, the time of its commit, and which that is.
fn git_tree(
    request: &PlanRequest,
    world: &World,
    address: &str,
    lock: &Lock,
) -> anyhow::Result<(DiffId, i64, Material)> {
    let mut source = git_source(request, address)?;
    if !lock.pins.pin_tree(&mut source) && lock.required && source.floats() {
        anyhow::bail!("`{}` is not in {}, and `--locked` was given", redacted(address), lock.pins.name);
    }
    // B-067: the caller's own agent, because the caller named the repository.
    let access = git::GitAccess { agent: world.git.agent.as_deref() };
    let tree = git::tree(world, &source, access)?;
    let material = Material::of_git(&source.remote, source.reference.as_deref(), &tree.commit);
    Ok((tree.layer.diff_id().context("the tree has no digest")?, tree.time, material))
}

/// Returns what an address of a repository on the command line means.
pub(crate) fn git_source(request: &PlanRequest, address: &str) -> anyhow::Result<GitSource> {
    let parsed = GitReference::parse_context(address)
        .with_context(|| format!("`{}` is not a git repository", redacted(address)))?;
    let mut reference = parsed.with_context(|| format!("`{}`", redacted(address)))?;
    // D-276: what the address says counts more.
    let keeps = argument(request, "BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    if reference.keep_git_dir.is_none() && keeps.is_some_and(|value| fields::boolean(value) == Ok(true)) {
        reference.keep_git_dir = Some(true);
    }
    Ok(reference.into_source()?)
}

fn download(
    world: &World,
    address: &str,
    lock: &Lock,
    note: &mut dyn FnMut(&str, u64),
) -> anyhow::Result<(HttpSource, http::HttpContent)> {
    // B-075: under this name when it is a file.
    let mut source = HttpSource { name: Some("context".to_owned()), ..HttpSource::new(address) };
    if !lock.pins.pin_file(&mut source) && lock.required && source.floats() {
        anyhow::bail!("`{}` is not in {}, and `--locked` was given", redacted(address), lock.pins.name);
    }
    let content = http::content(world, &source, &mut |current, total| {
        if total == Some(current) {
            note("transferring context", current);
        }
    })?;
    Ok((source, content))
}

fn has_archive(world: &World, blob: &Digest) -> anyhow::Result<bool> {
    let mut head = Vec::with_capacity(archive::HEAD);
    let file = world.store.open_blob(blob)?.context("the download is not in the store any more")?;
    file.take(archive::HEAD as u64).read_to_end(&mut head)?;
    Ok(archive::is_archive(&head))
}

fn unpacked(world: &World, content: &http::HttpContent) -> anyhow::Result<(DiffId, Option<i64>)> {
    let layer = archive::tree(world, &content.blob)?;
    let time = match content.last_modified {
        Some(time) => Some(time),
        None => archive::newest(world, layer)?,
    };
    Ok((layer, time))
}

fn file_layer(world: &World, source: &HttpSource, content: &http::HttpContent) -> anyhow::Result<DiffId> {
    http_layer(world, source, content)?.context("the layer has no digest")
}

fn text(world: &World, blob: &Digest) -> anyhow::Result<Vec<u8>> {
    let bytes = world.store.read_blob(blob, DOCKERFILE_LIMIT)?;
    bytes.context("the download is not in the store any more")
}

/// What standard input is (B-061).
enum Input {
    Archive(Digest),
    Text(Vec<u8>),
}

fn standard_input(world: &World) -> Result<Input, BuildError> {
    let mut stdin = io::stdin().lock();
    let mut head = Vec::with_capacity(archive::HEAD);
    stdin.by_ref().take(archive::HEAD as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(anyhow::anyhow!("standard input is empty: neither an archive nor a Dockerfile").into());
    }
    if !archive::is_archive(&head) {
        let text = context::dockerfile_from(&mut head.as_slice().chain(stdin))?;
        return Ok(Input::Text(text.bytes));
    }
    let mut writer = world.store.blob_writer().map_err(anyhow::Error::from)?;
    writer.write_all(&head)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => writer.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if world.cancel.is_cancelled() {
            return Err(BuildError::Interrupted);
        }
    }
    Ok(Input::Archive(writer.finish(None).map_err(anyhow::Error::from)?.digest))
}

/// Finds and reads the Dockerfile (B-045).
fn dockerfile(request: &PlanRequest, world: &World, context: &Context) -> anyhow::Result<DockerfileText> {
    let named = match (&request.file, context) {
        (_, Context::Dockerfile(text) | Context::OnlyFile(text, _)) => return Ok(text.clone()),
        (Some(FileSpec::Stdin), _) => {
            return Ok(context::dockerfile_from(&mut io::stdin().lock())?);
        }
        (Some(FileSpec::Http(address)), _) => {
            let content = http::content(world, &HttpSource::new(address), &mut |_, _| {})?;
            let bytes = text(world, &content.blob)?;
            return Ok(DockerfileText { name: redacted(address), path: None, bytes });
        }
        (Some(FileSpec::Path(path)), _) => Some(path.as_path()),
        (None, _) => None,
    };
    match context {
        Context::Tree { layer, .. } if !named.is_some_and(Path::is_absolute) => {
            let view = archive::view(world, *layer)?;
            let names = match named {
                Some(path) => vec![path.to_string_lossy().into_owned()],
                None => DEFAULT_NAMES.iter().map(|name| (*name).to_owned()).collect(),
            };
            for name in &names {
                if let Some(bytes) = archive::read(&view, name, DOCKERFILE_LIMIT)? {
                    return Ok(DockerfileText { name: name.clone(), path: None, bytes });
                }
            }
            Err(context::ContextError::NoDockerfile(names[0].clone()).into())
        }
        Context::Directory(directory) => Ok(context::dockerfile(named, Some(directory))?),
        _ => Ok(context::dockerfile(named, None)?),
    }
}

/// Applies the ignore file of a tree: the one named after the Dockerfile if it is there, else that of the
/// root (D-278, D-279).
fn filtered(
    request: &PlanRequest,
    world: &World,
    layer: DiffId,
    dockerfile: &DockerfileText,
) -> anyhow::Result<DiffId> {
    let view = archive::view(world, layer)?;
    let beside = is_inside(request, dockerfile).then(|| format!("{}.dockerignore", dockerfile.name));
    let names = beside.into_iter().chain([".dockerignore".to_owned(), ".containerignore".to_owned()]);
    for name in names {
        let Some(bytes) = archive::read(&view, &name, DOCKERFILE_LIMIT)? else { continue };
        let patterns =
            IgnorePatterns::parse(&bytes).map_err(|source| context::ContextError::Ignore { name, source })?;
        return Ok(archive::filtered(world, layer, &patterns)?);
    }
    Ok(layer)
}

/// Gets hold of the named contexts.
pub(super) fn named_contexts(
    request: &PlanRequest,
    world: &mut World,
    lock: &Lock,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<BTreeMap<String, NamedContext>, BuildError> {
    let mut contexts = BTreeMap::new();
    for spec in &request.contexts {
        let name = &spec.name;
        let context = match &spec.source {
            NamedContextSource::Directory(path) => {
                let path = context::directory(&path.to_string_lossy())?;
                let local = context::named_context(&path)?;
                world.locals.insert(LocalName::Named(name.clone()), local);
                NamedContext::Directory
            }
            NamedContextSource::Image(reference) if reference.familiar() == "scratch:latest" => {
                NamedContext::Scratch
            }
            NamedContextSource::Image(reference) => NamedContext::Image(reference.clone()),
            NamedContextSource::OciLayout { path, tag, digest } => {
                NamedContext::Image(layout(world, path, tag.as_deref(), *digest)?)
            }
            NamedContextSource::Git(address) => {
                let step = format!("[context {name}] load git source {}", redacted(address));
                let (layer, time, material) =
                    steps.work(&step, events, |_| git_tree(request, world, address, lock))?;
                steps.fetched.push(material);
                NamedContext::Tree { layer, time: Some(time) }
            }
            NamedContextSource::Http(address) => {
                let step = format!("[context {name}] load {}", redacted(address));
                let (context, material) = steps.work(&step, events, |note| {
                    let (source, content) = download(world, address, lock, note)?;
                    let material = Material::of_http(address, &content.blob);
                    if has_archive(world, &content.blob)? {
                        let (layer, time) = unpacked(world, &content)?;
                        return Ok((NamedContext::Tree { layer, time }, material));
                    }
                    let layer = file_layer(world, &source, &content)?;
                    Ok((NamedContext::Tree { layer, time: content.last_modified }, material))
                })?;
                steps.fetched.push(material);
                context
            }
        };
        contexts.insert(name.clone(), context);
    }
    Ok(contexts)
}

/// Loads an OCI layout into the store and returns a name that leads to its image there (B-073).
fn layout(
    world: &World,
    path: &Path,
    tag: Option<&str>,
    digest: Option<Digest>,
) -> Result<Reference, BuildError> {
    let found = import::find_in_layout(&world.store, path, tag, digest)?;
    // Found by its digest alone; the name is only shown.
    let name: Reference = "oci-layout/image".parse().map_err(anyhow::Error::from)?;
    Ok(name.with_digest(found))
}
