//! Looking a step up: its recipe, its key, the store's answer, and on a miss the reason.

use std::collections::BTreeMap;
use std::path::Path;

use castoff_graph::pattern::IgnorePatterns;
use castoff_graph::{
    CacheKey, CopyOp, CopySource, KeyRecipe, LocalName, Mount, Op, SourceOp, USUAL_MODE, VertexId,
};
use castoff_layer::{Node, View};
use castoff_oci::{Descriptor, DiffId, Digest, Hasher, ImageConfig, Manifest, Raw};
use castoff_store::{Reason, RecordOutcome};

use crate::bodies::SnapshotLayer;
use crate::copy::{self, Owners, SelectOptions, Selection};
use crate::driver::{Messenger, Shared};
use crate::event::Event;
use crate::fetch::{self, FetchError};
use crate::machine_root;
use crate::memos;
use crate::miss;
use crate::missing;
use crate::recipe::{Known, Read, ReadPart, reads, recipe};
use crate::schedule::VertexResult;
use crate::shared_cache;
use crate::step::StepError;
use crate::{LocalDirectory, World};

/// Documents of an image are small; more than this is an attack.
pub(crate) const DOCUMENT_LIMIT: u64 = 16 << 20;

/// What a look-up found out.
pub(crate) enum Answer {
    /// There is a result.
    Found(VertexResult),
    /// There is none; this is what the execution needs to know.
    Missed(Box<Pending>),
}

/// What a look-up leaves for the execution.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The key the result will be stored under.
    pub(crate) key: CacheKey,
    /// Its recipe.
    pub(crate) recipe: KeyRecipe,
    /// The key by definition, when it is another.
    pub(crate) definition: Option<CacheKey>,
    /// What was selected, one per read, in order.
    pub(crate) selections: Vec<Selection>,
    /// The files selected: for explaining a later miss, and for noticing a file of a local directory that
    /// changes before it is copied.
    pub(crate) files: ReadFiles,
    /// When they were first looked at, in milliseconds since 1970.
    pub(crate) began_ms: i64,
    /// What is read of local directories: its position among the selections, and the digest it had.
    pub(crate) local: Vec<(usize, Read, Digest)>,
    /// Where the key of the newest result of this step is remembered.
    pub(crate) slot: Digest,
    /// Why no result was found, when an earlier one is known.
    pub(crate) reason: Option<Reason>,
}

/// Files that were selected, by path.
#[derive(Debug, Default)]
pub(crate) struct ReadFiles {
    pub(crate) digests: BTreeMap<Vec<u8>, Digest>,
    /// Permission bits that are not the usual ones.
    pub(crate) modes: BTreeMap<Vec<u8>, u32>,
}

/// Looks a vertex up.
pub(crate) fn look_up(shared: &Shared<'_>, id: VertexId, messenger: &Messenger) -> Result<Answer, StepError> {
    let vertex = shared.graph.vertex(id);
    match &vertex.op {
        Op::Source(source) => Ok(Answer::Found(look_up_source(shared, id, source, messenger)?)),
        Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => look_up_step(shared, id, vertex.ignore_cache, messenger),
    }
}

/// Finds out what the execution of a step needs to know, whether there is a result or not.
pub(crate) fn look_afresh(
    shared: &Shared<'_>,
    id: VertexId,
    messenger: &Messenger,
) -> Result<Pending, StepError> {
    match look_up_step(shared, id, true, messenger)? {
        Answer::Missed(pending) => Ok(*pending),
        Answer::Found(_) => unreachable!("no result was asked for"),
    }
}

fn look_up_source(
    shared: &Shared<'_>,
    id: VertexId,
    source: &SourceOp,
    messenger: &Messenger,
) -> Result<VertexResult, StepError> {
    if let SourceOp::Http(http) = source {
        return fetch::http_vertex(shared, id, http, messenger);
    }
    if let SourceOp::Git(git) = source {
        return fetch::git_vertex(shared, id, git, messenger);
    }
    let mut identity = recipe(&Op::Source(source.clone()), None, &[]).key();
    let mut cached = false;
    match source {
        SourceOp::Scratch => {}
        SourceOp::Image { manifest, reference, .. } => {
            cached = true;
            for layer in image_layers(shared.world, manifest)? {
                let layer = shared.bodies.add_base(crate::BaseLayer {
                    descriptor: layer.descriptor,
                    diff_id: layer.diff_id,
                    reference: reference.clone(),
                    step: Some(shared.step(id)),
                });
                cached &= shared.bodies.is_present(&layer);
            }
        }
        SourceOp::Local(name) => {
            if shared.parents.contains(&id) {
                let local = local(shared.world, name)?;
                identity = CacheKey(machine_root::fingerprint(&local.path, shared.world.store.root())?);
            }
        }
        SourceOp::Tree { layer, .. } => {
            cached = true;
            if !shared.bodies.is_present(&castoff_store::LayerId::of_diff(*layer)) {
                return Err(FetchError::Gone(layer.0).into());
            }
        }
        SourceOp::Http(_) | SourceOp::Git(_) => unreachable!("handled above"),
    }
    Ok(VertexResult { identity, layer: None, created_ms: 0, cached })
}

fn look_up_step(
    shared: &Shared<'_>,
    id: VertexId,
    ignore_cache: bool,
    messenger: &Messenger,
) -> Result<Answer, StepError> {
    let vertex = shared.graph.vertex(id);
    let op = &vertex.op;
    let began_ms = (shared.world.clock)();
    let parent = op.parent().map(|parent| shared.result(parent).identity);
    let reads = reads(op);
    let is_local = |from: VertexId| matches!(shared.graph.vertex(from).op, Op::Source(SourceOp::Local(_)));
    let mut selections: Vec<Option<Selection>> = reads.iter().map(|_| None).collect();
    let mut files = ReadFiles::default();
    let mut local = Vec::new();

    let mut known = Vec::new();
    for (index, read) in reads.iter().enumerate() {
        known.push(if is_local(read.from) {
            let (digest, selection) = content(shared, op, read.from, &read.part, &mut files, messenger)?;
            selections[index] = Some(selection);
            local.push((index, read.clone(), digest));
            Known::Content(digest)
        } else {
            Known::Identity(shared.result(read.from).identity)
        });
    }
    // The times of what is fetched are part of its identity and of no content (D-315, D-316).
    let is_fetched = |from: VertexId| {
        matches!(shared.graph.vertex(from).op, Op::Source(SourceOp::Http(_) | SourceOp::Git(_)))
    };
    let reads_stages = reads.iter().any(|read| !is_local(read.from) && !is_fetched(read.from));
    let mut recipe_now = recipe(op, parent, &known);
    let mut key = recipe_now.key();
    let mut definition = None;
    if reads_stages {
        if !ignore_cache
            && let Some(target) = alias(shared.world, key)?
            && let Some(found) = stored(shared, id, target, messenger)?
        {
            remember(shared, id, target);
            shared.set_keys(id, target, Some(key));
            return Ok(Answer::Found(found));
        }
        if !ignore_cache
            && let Some((found, target)) = shared_cache::look_up(shared, id, key, &recipe_now, messenger)?
        {
            remember(shared, id, target);
            shared.set_keys(id, target, Some(key));
            return Ok(Answer::Found(found));
        }
        definition = Some(key);
        for (index, read) in reads.iter().enumerate() {
            if selections[index].is_none() {
                let (digest, selection) = content(shared, op, read.from, &read.part, &mut files, messenger)?;
                selections[index] = Some(selection);
                if !is_fetched(read.from) {
                    known[index] = Known::Content(digest);
                }
            }
        }
        recipe_now = recipe(op, parent, &known);
        key = recipe_now.key();
    }
    shared.set_keys(id, key, definition);
    let found = match ignore_cache {
        true => None,
        false => match stored(shared, id, key, messenger)? {
            Some(found) => Some(found),
            None => shared_cache::look_up(shared, id, key, &recipe_now, messenger)?.map(|(found, _)| found),
        },
    };
    if let Some(found) = found {
        if let Some(definition) = definition {
            put_alias(shared.world, definition, key, &vertex.name)?;
        }
        remember(shared, id, key);
        return Ok(Answer::Found(found));
    }
    for (index, read) in reads.iter().enumerate() {
        if selections[index].is_none() {
            let (_, selection) = content(shared, op, read.from, &read.part, &mut files, messenger)?;
            selections[index] = Some(selection);
        }
    }
    let slot = slot(shared, id, &shared.options.scope);
    let reason = match ignore_cache {
        true => Some(miss::not_asked()),
        false => miss::reason(shared, id, slot, &recipe_now, &files)?,
    };
    let selections = selections.into_iter().flatten().collect();
    Ok(Answer::Missed(Box::new(Pending {
        key,
        recipe: recipe_now,
        definition,
        selections,
        files,
        began_ms,
        local,
        slot,
        reason,
    })))
}

/// Returns what a vertex whose result has this key is known by downstream.
pub(crate) fn identity(shared: &Shared<'_>, id: VertexId, key: CacheKey) -> CacheKey {
    let op = &shared.graph.vertex(id).op;
    crate::recipe::identity(op, op.parent().map(|parent| shared.result(parent).identity), key)
}

/// Returns the stored result of a vertex by its key, if its layer still exists (D-319). What the user was warned of
/// when it was made is said again, as findings of the file are.
pub(crate) fn stored(
    shared: &Shared<'_>,
    id: VertexId,
    key: CacheKey,
    messenger: &Messenger,
) -> Result<Option<VertexResult>, StepError> {
    let store = &shared.world.store;
    let Some(record) = store.record(key.0)? else { return Ok(None) };
    let layer = match record.outcome {
        RecordOutcome::Layer(layer) if shared.bodies.is_present(&layer) => Some(layer),
        RecordOutcome::Empty => None,
        RecordOutcome::Layer(_) | RecordOutcome::Alias(_) | RecordOutcome::Blob(_) => return Ok(None),
    };
    store.touch_record(key.0);
    for warning in record.warnings {
        warn(shared, id, warning, messenger);
    }
    Ok(Some(VertexResult {
        identity: identity(shared, id, key),
        layer,
        created_ms: record.created_ms,
        cached: true,
    }))
}

/// Warns of what a step does, at its place in the file.
pub(crate) fn warn(shared: &Shared<'_>, id: VertexId, text: String, messenger: &Messenger) {
    let line = shared.graph.vertex(id).origin.as_ref().map(|origin| origin.first_line);
    messenger.send(Event::Warning { step: Some(shared.step(id)), rule: None, text, line });
}

/// Remembers what the step in this place came to, so that the next miss is explained by comparison with
/// it.
fn remember(shared: &Shared<'_>, id: VertexId, key: CacheKey) {
    let _costs_an_explanation_only =
        shared.world.store.set_last_key(slot(shared, id, &shared.options.scope), key.0);
}

/// Returns the key that a definition stands for, if it was met before.
pub(crate) fn alias(world: &World, definition: CacheKey) -> Result<Option<CacheKey>, StepError> {
    Ok(world.store.record(definition.0)?.and_then(|record| match record.outcome {
        RecordOutcome::Alias(target) => Some(CacheKey(target)),
        RecordOutcome::Layer(_) | RecordOutcome::Blob(_) | RecordOutcome::Empty => None,
    }))
}

/// Remembers that a definition stands for a key.
pub(crate) fn put_alias(
    world: &World,
    definition: CacheKey,
    key: CacheKey,
    name: &str,
) -> Result<(), StepError> {
    let record = fetch::record(world, name, serde_json::Value::Null, RecordOutcome::Alias(key.0));
    Ok(world.store.put_record(definition.0, &record)?)
}

/// Returns whether what a step reads of local directories is still what it was when it was looked up.
pub(crate) fn is_unchanged(
    shared: &Shared<'_>,
    op: &Op,
    pending: &Pending,
    messenger: &Messenger,
) -> Result<bool, StepError> {
    for (index, read, digest) in &pending.local {
        let (now, selection) =
            content(shared, op, read.from, &read.part, &mut ReadFiles::default(), messenger)?;
        // Equal bytes are not enough: they may have been others in between.
        if now != *digest || !selection.identities().eq(pending.selections[*index].identities()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Selects what a step reads of a vertex and returns its digest. Its files are added to `files`.
fn content(
    shared: &Shared<'_>,
    op: &Op,
    from: VertexId,
    part: &ReadPart,
    files: &mut ReadFiles,
    messenger: &Messenger,
) -> Result<(Digest, Selection), StepError> {
    let layers = shared.layers(from)?;
    let view = shared.bodies.view(&layers, messenger)?;
    let source = &shared.graph.vertex(from).op;
    let local = match source {
        Op::Source(SourceOp::Local(LocalName::Context)) => shared.world.locals.get(&LocalName::Context),
        Op::Source(SourceOp::Local(name)) => Some(local(shared.world, name)?),
        Op::Source(_) | Op::Run(_) | Op::Copy(_) | Op::Workdir(_) => None,
    };
    if let Some(local) = local {
        shared.memos.open(shared.world, &local.path);
    }
    let selected = select(op, part, &view, local, source);
    let mut selection = selected.map_err(|error| match error {
        StepError::Copy(error) => missing::explain(shared, op, from, local, &view, error, messenger).into(),
        error => error,
    })?;
    if let Op::Source(SourceOp::Http(http)) = source
        && http.name.is_none()
    {
        // It can be copied to a name, and not into a directory (D-236).
        selection.roots.iter_mut().for_each(|root| root.name.clear());
    }
    let found = match local {
        Some(local) => shared.memos.digests(&local.path, &view, &selection)?,
        None => memos::digests(&view, &selection)?,
    };
    let mut rest = found.iter();
    let mut file_digest = |node: &Node| -> Result<Digest, StepError> {
        let mode = node.entry.mode;
        if mode != USUAL_MODE {
            files.modes.insert(node.entry.path.clone(), mode);
        }
        Ok(*rest.next().expect("the digests are those of the selection, in its order"))
    };
    let owners = if local.is_some() { Owners::Root } else { Owners::Kept };
    let digest = copy::digest(&selection, &view, owners, &mut file_digest)?;
    let paths = selection.regular_files().map(|node| node.entry.path.clone());
    // Built at once and then joined: many single insertions into a tree cost more.
    files.digests.append(&mut paths.zip(found).collect());
    if let (Some(_), Op::Copy(_)) = (local, op) {
        messenger.send(Event::Status {
            step: shared.step(from),
            item: "transferring context".to_owned(),
            current: selection.bytes(),
            total: None,
            done: true,
        });
    }
    Ok((digest, selection))
}

fn select(
    op: &Op,
    part: &ReadPart,
    view: &View,
    local: Option<&LocalDirectory>,
    source: &Op,
) -> Result<Selection, StepError> {
    let none = IgnorePatterns::default();
    let ignore = local.and_then(|local| local.ignore.as_ref()).map(|file| &file.patterns);
    match (op, part) {
        (Op::Copy(copy), ReadPart::CopySource(index)) => {
            let pattern = copy_pattern(copy, *index);
            let exclude = IgnorePatterns::from_patterns(copy.exclude.iter().map(String::as_str))?;
            // The name of a fetched file may hold anything.
            let literal = matches!(source, Op::Source(SourceOp::Http(_)));
            let options = SelectOptions { parents: copy.parents, exclude: &exclude, ignore, literal };
            Ok(copy::select(view, pattern, &options)?)
        }
        (Op::Run(run), ReadPart::Mount(index)) => {
            let source = mount_source(&run.mounts[*index]);
            let options = SelectOptions { parents: false, exclude: &none, ignore, literal: true };
            Ok(copy::select(view, source, &options)?)
        }
        _ => unreachable!("the parts read were listed from the same operation"),
    }
}

fn copy_pattern(copy: &CopyOp, index: usize) -> &str {
    match &copy.sources[index] {
        CopySource::Files { pattern, .. } => pattern,
        CopySource::Inline { .. } => unreachable!("here-documents are not read from a vertex"),
    }
}

/// Returns the path that a mount shows of another vertex.
pub(crate) fn mount_source(mount: &Mount) -> &str {
    match mount {
        Mount::Bind { source, .. } => source,
        Mount::Cache { initial: Some((_, source)), .. } => source,
        Mount::Cache { .. } | Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => "/",
    }
}

/// The place of a step in its Dockerfile, independent of what it does.
pub(crate) fn slot(shared: &Shared<'_>, id: VertexId, scope: &str) -> Digest {
    let vertex = shared.graph.vertex(id);
    let ordinal =
        shared.graph.iter().take(id.0 as usize).filter(|(_, other)| other.stage == vertex.stage).count();
    let mut hasher = Hasher::new();
    hasher.field(scope.as_bytes());
    hasher.field(vertex.stage.as_deref().unwrap_or_default().as_bytes());
    hasher.field(&ordinal.to_le_bytes());
    hasher.finish()
}

/// A layer as an image's manifest and config describe it.
pub(crate) struct ImageLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
}

/// Returns the layers of an image whose documents are in the store, bottom to top.
pub(crate) fn image_layers(world: &World, manifest: &Digest) -> Result<Vec<ImageLayer>, StepError> {
    let (manifest, config) = image_documents(world, manifest)?;
    let layers = &manifest.value().layers;
    let diff_ids = &config.value().rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        return Err(StepError::LayerCount {
            manifest: manifest.digest(),
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let pairs = layers.iter().zip(diff_ids);
    Ok(pairs
        .map(|(descriptor, diff_id)| ImageLayer { descriptor: descriptor.clone(), diff_id: *diff_id })
        .collect())
}

/// Returns the manifest and config of an image in the store.
pub(crate) fn image_documents(
    world: &World,
    manifest: &Digest,
) -> Result<(Raw<Manifest>, Raw<ImageConfig>), StepError> {
    let read = |digest: &Digest| -> Result<Vec<u8>, StepError> {
        world.store.read_blob(digest, DOCUMENT_LIMIT)?.ok_or(StepError::MissingDocument { digest: *digest })
    };
    let invalid = |digest: Digest| move |source| StepError::Document { digest, source };
    let parsed: Raw<Manifest> = Raw::parse(read(manifest)?).map_err(invalid(*manifest))?;
    let config = parsed.value().config.digest;
    let config = Raw::parse(read(&config)?).map_err(invalid(config))?;
    Ok((parsed, config))
}

pub(crate) fn local<'w>(world: &'w World, name: &LocalName) -> Result<&'w LocalDirectory, StepError> {
    world.locals.get(name).ok_or_else(|| StepError::UnknownContext {
        name: match name {
            LocalName::Context => "context".to_owned(),
            LocalName::Named(name) => name.clone(),
        },
    })
}

/// Returns the layers of a local directory used as a file system. Of a context that there is none of, as when
/// only a Dockerfile was given, every path is missing (D-275).
pub(crate) fn local_layers(world: &World, name: &LocalName) -> Result<Vec<SnapshotLayer>, StepError> {
    if *name == LocalName::Context && !world.locals.contains_key(name) {
        return Ok(Vec::new());
    }
    let local = local(world, name)?;
    let mut layers = vec![SnapshotLayer::Directory(local.path.clone())];
    if local.path == Path::new("/") {
        layers.push(SnapshotLayer::Stored(machine_root::skeleton(world)?));
    }
    Ok(layers)
}
