//! Questions of the planner about images, answered by the lock, the store and registries.

use castoff_dockerfile::{Diagnostic, Severity};
use castoff_graph::remote::redacted;
use castoff_graph::{BuildGraph, Op, SourceOp};
use castoff_oci::{Platform, Reference};
use castoff_plan::{Pins, Planner, Question, ResolvedImage};
use castoff_solver::{Event, PullPolicy, ResolveError, World, resolve};

use super::{BuildError, Internal};
use crate::context::DockerfileText;
use crate::lock::Lock;

/// Who is asked about images, and what is known of them before.
pub(crate) struct Asking<'a> {
    /// The store and the registries.
    pub(crate) world: &'a World,
    /// The file whose images are asked about.
    pub(crate) dockerfile: &'a DockerfileText,
    /// What names were pinned to.
    pub(crate) lock: &'a Lock,
    /// When registries are asked.
    pub(crate) pull: PullPolicy,
}

impl Asking<'_> {
    /// Resolves an image, by the digest that the lock has for it.
    pub(crate) fn ask(
        &self,
        planner: &Planner,
        question: &Question,
        steps: &mut Internal,
        events: &mut dyn FnMut(Event),
    ) -> Result<ResolvedImage, BuildError> {
        let (name, lock) = (&question.reference, self.lock);
        let pinned = lock.image(name);
        if lock.required && pinned.is_none() && name.digest().is_none() {
            return Err(self.not_locked(planner, question));
        }
        let reference = pinned.map_or_else(|| name.clone(), |digest| name.with_digest(digest));
        let by = pinned.map(|_| format!(" (pinned by {})", lock.pins.name)).unwrap_or_default();
        let work = format!("[internal] load metadata for {reference}{by}");
        let found = steps.work(&work, events, |_| {
            resolve(self.world, &reference, &question.platform, self.pull).map_err(anyhow::Error::from)
        });
        let found = found.map_err(|error| {
            let unasked = error.downcast_ref::<ResolveError>().is_some_and(ResolveError::is_unasked);
            let fetch = unasked.then(|| how_to_fetch(&reference, &question.platform));
            let message = castoff_solver::chain(error.as_ref());
            self.at_asker(planner, question, message, fetch).unwrap_or(BuildError::Other(error))
        })?;
        let config = &found.config;
        let claimed = Platform::normalised(&config.os, &config.architecture, config.variant.as_deref());
        Ok(ResolvedImage {
            reference: found.reference,
            manifest: found.manifest,
            platform: found.platform,
            runs_here: claimed == question.platform
                || crate::platforms::emulator(&claimed, &self.world.search_path).is_ok(),
            config: found.config,
        })
    }

    /// Returns an error shown at the line that names the image.
    fn at_asker(
        &self,
        planner: &Planner,
        question: &Question,
        message: String,
        hint: Option<String>,
    ) -> Option<BuildError> {
        let (span, lines, near) = planner.asker(question)?;
        let hints = near.into_iter().chain(hint).collect();
        let error = Diagnostic { severity: Severity::Error, rule: None, message, span, lines, hints };
        Some(self.diagnostics(vec![error]))
    }

    pub(super) fn diagnostics(&self, diagnostics: Vec<Diagnostic>) -> BuildError {
        BuildError::Diagnostics { dockerfile: self.dockerfile.clone(), diagnostics }
    }

    fn not_locked(&self, planner: &Planner, question: &Question) -> BuildError {
        let message = self.not_in_lock(&question.reference.familiar());
        self.at_asker(planner, question, message.clone(), Some(UPDATE.to_owned()))
            .unwrap_or_else(|| BuildError::Other(anyhow::anyhow!(message)))
    }

    fn not_in_lock(&self, name: &str) -> String {
        format!("`{name}` is not in {}, and `--locked` was given", self.lock.pins.name)
    }

    /// With `--locked`, refuses files and trees that may be others tomorrow.
    pub(super) fn refuse_floating(&self, graph: &BuildGraph) -> Result<(), BuildError> {
        if !self.lock.required {
            return Ok(());
        }
        let name = |op: &Op| match op {
            Op::Source(SourceOp::Http(source)) if source.floats() => Some(redacted(&source.url)),
            Op::Source(SourceOp::Git(source)) if source.floats() => {
                let (remote, reference) = Pins::commit_key(source);
                Some(format!("{remote}#{reference}"))
            }
            _ => None,
        };
        let floating = graph.iter().filter_map(|(_, vertex)| Some((name(&vertex.op)?, &vertex.origin)));
        let errors: Vec<Diagnostic> = floating
            .map(|(name, origin)| Diagnostic {
                severity: Severity::Error,
                rule: None,
                message: self.not_in_lock(&name),
                span: Default::default(),
                lines: origin.as_ref().map_or((0, 0), |origin| (origin.first_line, origin.last_line)),
                hints: vec![UPDATE.to_owned()],
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(self.diagnostics(errors)) }
    }
}

/// How something gets into the lock.
const UPDATE: &str = "`castoff update` adds what is missing";

/// Returns how an image gets into the store.
fn how_to_fetch(reference: &Reference, platform: &Platform) -> String {
    let platform = match *platform == Platform::host() {
        true => String::new(),
        false => format!("--platform {platform} "),
    };
    let name = reference.familiar();
    format!("`castoff pull {platform}{name}` puts it into the store, where and when there is a network")
}
