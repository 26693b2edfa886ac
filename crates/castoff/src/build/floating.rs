//! What the floating inputs of a Dockerfile stand for now: what `castoff update` writes down.

use std::collections::BTreeSet;

use anyhow::Context as _;
use castoff_dockerfile::Severity;
use castoff_graph::remote::{GitSource, HttpSource, redacted};
use castoff_graph::{Op, SourceOp};
use castoff_oci::{Digest, ImageConfig, Reference};
use castoff_plan::{Pins, Planner, Question, Reaching, ResolvedImage};
use castoff_solver::fetch::{git, http};
use castoff_solver::transfer::{self, Place};
use castoff_solver::{Event, PullPolicy, World};

use super::definition::git_source;
use super::{Asking, BuildError, Internal};
use crate::args::{LockSpec, LockUse, NamedContextSource, PlanRequest};
use crate::call::entitled;
use crate::check;
use crate::context::DockerfileText;
use crate::lock::{self, Lock, LockError};

/// What was found.
pub(crate) struct Floating {
    /// The Dockerfile.
    pub(crate) dockerfile: DockerfileText,
    /// What was written down before.
    pub(crate) before: Lock,
    /// What is to be written down.
    pub(crate) now: Lock,
    /// Images that this store alone has, which nobody else could find by a digest.
    pub(crate) local: BTreeSet<Reference>,
    /// Whether what was written down before cannot be read.
    pub(crate) broken: Option<LockError>,
}

/// Looks at all stages, or at the target and what it needs, and asks what the names there stand for. With names
/// in `only`, the others stay as they were.
///
/// # Errors
/// When the Dockerfile is wrong, something cannot be had, or `only` has a name that is not in use.
pub(crate) fn find(
    request: &PlanRequest,
    only: &[String],
    world: &mut World,
    events: &mut dyn FnMut(Event),
) -> Result<Floating, BuildError> {
    // What is written down is what is in doubt.
    let fresh = LockSpec { choice: LockUse::Never, ..request.lock.clone() };
    let request = &PlanRequest { lock: fresh, ..request.clone() };
    let mut steps = Internal::default();
    let definition = super::read(request, world, &mut steps, events)?;
    definition.refuse_errors(request)?;
    let (before, mut broken) = before(&definition.dockerfile, request)?;
    if let Some(error) = broken.take_if(|_| !only.is_empty()) {
        return Err(error.into());
    }
    let options = entitled(super::options(request, &definition, world, &mut steps, events)?);
    let world = &*world;
    let now = if only.is_empty() { Lock::default() } else { before.clone() };
    let mut search = Search {
        world,
        dockerfile: &definition.dockerfile,
        only,
        before: &before,
        now,
        local: BTreeSet::new(),
        unused: only.iter().map(String::as_str).collect(),
        steps,
        events,
    };
    search.contexts(request)?;
    let planner = Planner::new(&definition.parsed.dockerfile, options);
    let reaching = if request.target.is_some() { Reaching::Target } else { Reaching::AllStages };
    let examined = check::examine(planner, reaching, &mut |planner, question| {
        search.image(planner, question).map(Some)
    })?;
    if examined.diagnostics.iter().any(|found| found.severity == Severity::Error) {
        let dockerfile = definition.dockerfile.clone();
        return Err(BuildError::Diagnostics { dockerfile, diagnostics: examined.diagnostics });
    }
    for (_, vertex) in examined.graph.iter() {
        match &vertex.op {
            Op::Source(SourceOp::Http(source)) => search.file(source)?,
            Op::Source(SourceOp::Git(source)) => search.tree(source)?,
            _ => {}
        }
    }
    if let Some(name) = search.unused.first() {
        return Err(
            anyhow::anyhow!("`{name}` is no name that the Dockerfile uses and that may change").into()
        );
    }
    let Search { now, local, .. } = search;
    Ok(Floating { now, local, before, broken, dockerfile: definition.dockerfile })
}

/// Returns what was written down before, and what is wrong with it if it cannot be read.
fn before(
    dockerfile: &DockerfileText,
    request: &PlanRequest,
) -> Result<(Lock, Option<LockError>), BuildError> {
    let spec = LockSpec { choice: LockUse::WhereThere, ..request.lock.clone() };
    match lock::load(dockerfile, &spec) {
        Ok(lock) => Ok((lock, None)),
        Err(LockError::Missing { .. }) => Ok((Lock::default(), None)),
        Err(error @ LockError::Malformed { .. }) => Ok((Lock::default(), Some(error))),
        Err(error) => Err(error.into()),
    }
}

struct Search<'a> {
    world: &'a World,
    dockerfile: &'a DockerfileText,
    only: &'a [String],
    before: &'a Lock,
    now: Lock,
    local: BTreeSet<Reference>,
    /// Names of `only` that were not met.
    unused: BTreeSet<&'a str>,
    steps: Internal,
    events: &'a mut dyn FnMut(Event),
}

impl Search<'_> {
    /// Whether something that has these names is to be looked at.
    fn selects(&mut self, fits: impl Fn(&str) -> bool) -> bool {
        let chosen: Vec<&str> = self.only.iter().map(String::as_str).filter(|name| fits(name)).collect();
        self.unused.retain(|name| !chosen.contains(name));
        self.only.is_empty() || !chosen.is_empty()
    }

    fn image(&mut self, planner: &Planner, question: &Question) -> Result<ResolvedImage, BuildError> {
        let name = &question.reference;
        let floats = name.digest().is_none();
        let selected =
            floats && self.selects(|text| text.parse::<Reference>().is_ok_and(|only| only == *name));
        let store = &self.world.store;
        let is_local = floats && store.tag_entry(name)?.is_some() && store.pulled(name)?.is_none();
        // What was found for one platform is so for all.
        let known = self.only.is_empty() && self.now.images.contains_key(name);
        let nothing = Lock::default();
        let lock = match (selected, known) {
            (true, false) => &nothing,
            (true, true) => &self.now,
            (false, _) => self.before,
        };
        let pull = if selected && !is_local && !known { PullPolicy::Always } else { PullPolicy::Missing };
        let asking = Asking { world: self.world, dockerfile: self.dockerfile, lock, pull };
        let found = asking.ask(planner, question, &mut self.steps, self.events)?;
        let digest = match is_local && selected {
            true => self.published(question, &found.config),
            false => found.reference.digest(),
        };
        match digest.filter(|_| selected) {
            Some(digest) => {
                self.now.images.insert(name.clone(), digest);
            }
            None if is_local => {
                self.local.insert(name.clone());
            }
            None => {}
        }
        Ok(found)
    }

    /// Returns the digest by which the registry knows an image that was made here, if it has just that image. It may
    /// have somebody else's of the same name.
    fn published(&self, question: &Question, config: &ImageConfig) -> Option<Digest> {
        let (world, name) = (self.world, &question.reference);
        let place = Place::Registry(name.clone());
        let root = transfer::find_in_registry(world, name).ok()?;
        let image = transfer::gather(world, &place, &root, Some(&question.platform)).ok()?.root;
        let there = transfer::config_of(world, &place, &image).ok()??;
        (there.value() == config).then_some(root.digest)
    }

    fn file(&mut self, source: &HttpSource) -> Result<(), BuildError> {
        let key = Pins::file_key(source);
        if !source.floats() || !self.selects(|text| text == key) {
            return Ok(());
        }
        let world = self.world;
        let content = self.steps.work(&format!("[internal] load {key}"), self.events, |_| {
            Ok(http::content(world, source, &mut |_, _| {})?)
        })?;
        self.now.pins.files.insert(key, content.blob);
        Ok(())
    }

    fn tree(&mut self, source: &GitSource) -> Result<(), BuildError> {
        let key = Pins::commit_key(source);
        let full = format!("{}#{}", key.0, key.1);
        if !source.floats() || !self.selects(|text| text == key.0 || text == full) {
            return Ok(());
        }
        let world = self.world;
        // The caller's own agent, because nothing is built here that could be given one.
        let access = git::GitAccess { agent: world.git.agent.as_deref() };
        let commit = self.steps.work(&format!("[internal] load git source {full}"), self.events, |_| {
            Ok(git::find_commit(world, source, access)?)
        })?;
        self.now.pins.commits.insert(key, commit);
        Ok(())
    }

    /// Named contexts that are fetched; images among them are asked for by the planner.
    fn contexts(&mut self, request: &PlanRequest) -> Result<(), BuildError> {
        for named in &request.contexts {
            match &named.source {
                NamedContextSource::Git(address) => {
                    let source = git_source(request, address).with_context(|| redacted(address))?;
                    self.tree(&source)?;
                }
                NamedContextSource::Http(address) => self.file(&HttpSource::new(address))?,
                NamedContextSource::Directory(_)
                | NamedContextSource::Image(_)
                | NamedContextSource::OciLayout { .. } => {}
            }
        }
        Ok(())
    }
}
