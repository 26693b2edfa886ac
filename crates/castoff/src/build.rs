//! The story of a build, in the order in which it happens: text, syntax, plan, solve, export.

mod asking;
mod definition;
mod floating;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use castoff_dockerfile::lint::{self, LintOptions, Preset};
use castoff_dockerfile::{Diagnostic, Dockerfile, Severity};
use castoff_graph::{LocalName, VertexId};
use castoff_oci::{Digest, Platform, Reference};
use castoff_plan::{Plan, PlanOptions, Planner, Step};
use castoff_solver::export::image;
use castoff_solver::export::materials::Material;
use castoff_solver::export::set::{self, AssembleOptions, ImageSet};
use castoff_solver::fetch::FetchError;
use castoff_solver::shared_cache::{CacheExport, UploadQueue, Uploader};
use castoff_solver::{
    Bodies, Event, Guard, Outcome, SecretValue, SolveError, SolveOptions, Solved, StepError, StepId, World,
    import, solve,
};

use crate::agents;
use crate::args::{BuildRequest, PlanRequest, SecretSource, SecretSpec};
use crate::caches;
use crate::check;
use crate::context::{self, DockerfileText};
use crate::devices;
use crate::export::{self, Outputs};
use crate::history::Recorder;
use crate::ignored::ignored_sources;
use crate::lock::{Lock, LockError};
use crate::missing;
use crate::platforms;
use crate::prove::{self, Proof, Prover};
use crate::start::{self, StartFindings};
use crate::vcs::{self, Vcs};

pub(crate) use asking::Asking;
pub(crate) use definition::{Definition, offline_options, read};
pub(crate) use floating::{Floating, find as find_floating};

/// A build that was done.
#[derive(Debug)]
pub struct Built {
    /// The image or index, unless only files or nothing were asked for.
    pub images: Option<ImageSet>,
    /// Findings that did not stop the build.
    pub warnings: Vec<Diagnostic>,
    /// Whether the images can start.
    pub start: Vec<StartFindings>,
    /// What was found of secrets, when somebody looked.
    pub proof: Option<Proof>,
    /// The Dockerfile, for showing them.
    pub dockerfile: DockerfileText,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, or what the command line says about it, is wrong.
    #[error("the Dockerfile has errors")]
    Diagnostics {
        /// The Dockerfile.
        dockerfile: DockerfileText,
        /// What is wrong; at least one error.
        diagnostics: Vec<Diagnostic>,
    },
    /// A step failed.
    #[error("{error}")]
    Step {
        /// The Dockerfile.
        dockerfile: Box<DockerfileText>,
        /// Name of the step.
        name: String,
        /// Lines of the step in the Dockerfile, from 1.
        lines: Option<(u32, u32)>,
        /// Findings about the Dockerfile.
        warnings: Vec<Diagnostic>,
        /// Why.
        error: Box<StepError>,
        /// What may help, one line each.
        hints: Vec<String>,
    },
    /// The lock cannot be used.
    #[error("{0}")]
    Lock(#[from] LockError),
    /// The image cannot start, and it was required that it can.
    #[error("the image cannot start")]
    CannotStart(Vec<StartFindings>),
    /// A secret is in what the build would give away.
    #[error("a secret is in what the build gives away")]
    Leak(Box<Proof>),
    /// Something looks like a token, and it was required that nothing does.
    #[error("something looks like a secret")]
    LooksLikeSecrets(Box<Proof>),
    /// The build was interrupted.
    #[error("the build was interrupted")]
    Interrupted,
    /// Something around the build failed.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

macro_rules! other_from {
    ($($error:ty),*) => {
        $(impl From<$error> for BuildError {
            fn from(error: $error) -> BuildError {
                BuildError::Other(error.into())
            }
        })*
    };
}
other_from!(
    io::Error,
    castoff_store::FileError,
    context::ContextError,
    import::ImportError,
    image::AssembleError,
    StepError
);

/// A Dockerfile that was planned: what `castoff plan` shows and `castoff build` solves.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// Findings that do not stop the build.
    pub warnings: Vec<Diagnostic>,
    /// The first number for the solver's steps.
    pub next_step: u32,
    /// What tells this Dockerfile and context from others.
    pub scope: String,
    /// The same on whatever machine.
    pub shared_scope: String,
    /// When the build began, in milliseconds since 1970.
    pub started_ms: i64,
    /// What was fetched before there was a graph, the main context first.
    pub fetched: Vec<Material>,
    /// Who looks for secrets in the result, if anybody does.
    pub prover: Option<Arc<Prover>>,
    /// What names were pinned to.
    pub lock: Lock,
    /// Whether it is kept what a failed step leaves.
    pub keep_failed: bool,
    /// The repository that the context is in, if somebody wants to know.
    pub(crate) vcs: Option<Vcs>,
}

/// Builds what was asked for and makes the outputs. `recorder` learns what happens.
///
/// # Errors
/// The first thing that went wrong. Finished steps stay cached whatever happens.
pub fn build(
    request: &BuildRequest,
    world: &mut World,
    recorder: &mut Recorder,
    events: &mut dyn FnMut(Event),
) -> Result<Built, BuildError> {
    let recorder = RefCell::new(recorder);
    let events = &mut |event: Event| {
        recorder.borrow_mut().event(&event);
        events(event);
    };
    export::refuse_deletion(request)?;
    world.secrets = secrets(&request.secrets)?;
    world.agents = agents::load(&request.ssh)?;
    let (vcs, silence) = match vcs::look(request, world) {
        Ok(vcs) => (vcs, None),
        Err(error) => (None, Some(error)),
    };
    let mut wanted = Cow::Borrowed(&request.plan);
    if let Some(vcs) = &vcs {
        vcs.label(request.vcs.labels, wanted.to_mut());
    }
    let mut planned = plan(&wanted, world, events)?;
    planned.vcs = vcs;
    planned.keep_failed = true;
    if let Some(error) = silence {
        // What a repository would say is worth a word, and no failure.
        let text = format!("nothing is told of the repository of the context: {error}");
        caches::tell("[internal] repository", &text, &mut planned.next_step, events);
    }
    planned.prover = prove::prover(request, &world.secrets)?;
    world.guard = planned.prover.clone().map(|prover| prover as Arc<dyn Guard>);
    platforms::settle(&planned, world)?;
    devices::settle(&planned, &request.plan.entitlements.devices, world)?;
    world.shared_caches = caches::imports(request, world, &mut planned.next_step, events);
    let stop = Arc::default();
    let exports = caches::exports(request, world, &stop, &mut planned.next_step, events)?;
    let done = with_caches(request, planned, &exports, stop, world, &recorder, events);
    // What finished stays, whatever became of the rest. A build that wrote nothing does not wait for
    // what others have written to the disk.
    if done.as_ref().map_or(true, |(made, _)| made.outputs.wrote) {
        world.store.sync()?;
    }
    let (Made { outputs, start, proof }, Planned { warnings, dockerfile, .. }) = done?;
    Ok(Built { images: outputs.images, warnings, start, proof, dockerfile })
}

/// What came of a solve.
struct Made {
    outputs: Outputs,
    start: Vec<StartFindings>,
    proof: Option<Proof>,
}

/// Builds while steps that are done are uploaded, and waits for these whatever becomes of the build.
fn with_caches(
    request: &BuildRequest,
    planned: Planned,
    exports: &[CacheExport],
    stop: Arc<AtomicBool>,
    world: &World,
    recorder: &RefCell<&mut Recorder>,
    events: &mut dyn FnMut(Event),
) -> Result<(Made, Planned), BuildError> {
    let bodies = &Bodies::new(world);
    // The steps of the caches come last; their numbers are the first that nobody else took.
    let free = Cell::new(planned.next_step);
    let events = &mut |event: Event| {
        if let Event::Planned { step, .. } = &event {
            free.set(free.get().max(step.0 + 1));
        }
        events(event);
    };
    std::thread::scope(|scope| {
        let uploader = Uploader::start(scope, exports, world, bodies, stop);
        let made = attempts(request, planned, world, bodies, &uploader, recorder, events);
        let step = StepId(free.get());
        caches::begin_export(exports, step, events);
        let before = (world.clock)();
        let reports = uploader.finish(matches!(made, Err(BuildError::Interrupted)));
        let failed = caches::end_export(reports, (world.clock)() - before, step, events);
        caches::summary(world, StepId(free.get()), events);
        match (made, failed) {
            (Ok(_), Some(error)) => Err(error.into()),
            (made, _) => made,
        }
    })
}

/// Builds, and again when a shared cache did not give what it had promised: without that result.
fn attempts(
    request: &BuildRequest,
    mut planned: Planned,
    world: &World,
    bodies: &Bodies<'_>,
    uploader: &Uploader<'_>,
    recorder: &RefCell<&mut Recorder>,
    events: &mut dyn FnMut(Event),
) -> Result<(Made, Planned), BuildError> {
    loop {
        let refused = world.shared_caches.refusals();
        let mut used = planned.next_step;
        let counted = &mut |event: Event| {
            if let Event::Planned { step, .. } = &event {
                used = used.max(step.0 + 1);
            }
            events(event);
        };
        recorder.borrow_mut().solving(&planned, world);
        match solve_and_export(request, &planned, world, bodies, uploader, counted) {
            Err(error) if world.shared_caches.refusals() == refused || world.cancel.is_cancelled() => {
                return Err(error);
            }
            Err(error) => {
                let text = format!("{error:#}; the build goes on without that result");
                caches::tell(caches::STEP, &text, &mut used, events);
                planned.next_step = used;
            }
            Ok(made) => {
                recorder.borrow_mut().looked(&made.start, &planned);
                if let Some(images) = &made.outputs.images {
                    recorder.borrow_mut().made(images, &planned);
                }
                return Ok((made, planned));
            }
        }
    }
}

fn solve_and_export(
    request: &BuildRequest,
    planned: &Planned,
    world: &World,
    bodies: &Bodies<'_>,
    uploader: &Uploader<'_>,
    events: &mut dyn FnMut(Event),
) -> Result<Made, BuildError> {
    let uploads = Some(uploader.queue());
    let solved = solve_plan(planned, &roots(&planned.plan), world, bodies, uploads, events)?;
    // Before anything leaves this machine.
    let start = if request.makes_image() || request.require_startable {
        start::check_build(planned, &solved, world, bodies, request.require_startable)?
    } else {
        Vec::new()
    };
    if request.require_startable && start.iter().any(StartFindings::cannot_start) {
        return Err(BuildError::CannotStart(start));
    }
    let mut own =
        Internal { next: planned.next_step + planned.plan.graph.len() as u32, ..Internal::default() };
    let proof = match &planned.prover {
        Some(prover) => {
            let proof = own.work("looking for secrets in the result", events, |_| {
                let proof = prove::result(prover, request, planned, &solved, world, bodies)?;
                if !proof.leaks.is_empty() {
                    return Err(BuildError::Leak(Box::new(proof)).into());
                }
                if request.require_no_secrets && proof.has_tokens() {
                    return Err(BuildError::LooksLikeSecrets(Box::new(proof)).into());
                }
                Ok(proof)
            });
            Some(proof.map_err(|error| error.downcast().unwrap_or_else(BuildError::Other))?)
        }
        None => None,
    };
    let outputs = export::outputs(request, planned, &solved, world, bodies, StepId(own.next), events)?;
    Ok(Made { outputs, start, proof })
}

/// Reads, parses and plans a Dockerfile. The local directories it may use are put into `world`.
///
/// # Errors
/// When a file cannot be read, the Dockerfile is wrong, or a base image is not found.
pub fn plan(
    request: &PlanRequest,
    world: &mut World,
    events: &mut dyn FnMut(Event),
) -> Result<Planned, BuildError> {
    let started_ms = (world.clock)();
    let mut steps = Internal::default();
    let definition = definition::read(request, world, &mut steps, events)?;
    definition.refuse_errors(request)?;
    let options = options(request, &definition, world, &mut steps, events)?;
    let Definition { dockerfile, parsed, name, lock, .. } = definition;
    let mut warnings = parsed.diagnostics.clone();
    let scope = format!("{name}\n{}", dockerfile.name);
    let shared_scope = dockerfile.name.clone();
    let asking = Asking { world, dockerfile: &dockerfile, lock: &lock, pull: request.pull };
    let plan = lower(&parsed.dockerfile, options, &asking, &mut steps, events)?;
    asking.refuse_floating(&plan.graph)?;
    let options = LintOptions {
        stages: Some(plan.stages.iter().map(|stage| stage.index).collect()),
        target: request.target.clone(),
    };
    let mut findings = lint::lint(&parsed.dockerfile, &parsed.source, &options);
    findings.retain(|finding| !lock.answers(finding, &parsed.source));
    warnings.extend(lint::diagnostics(findings));
    warnings.extend(plan.warnings.iter().cloned());
    if let Some(ignore) = world.locals.get(&LocalName::Context).and_then(|local| local.ignore.as_ref()) {
        warnings.extend(ignored_sources(&plan.graph, &parsed.dockerfile, ignore));
    }
    apply_options(&parsed.dockerfile, request, &mut warnings, &dockerfile)?;
    tell(&warnings, events);
    let Internal { next, fetched } = steps;
    Ok(Planned {
        plan,
        dockerfile,
        warnings,
        next_step: next,
        scope,
        shared_scope,
        started_ms,
        fetched,
        prover: None,
        lock,
        keep_failed: false,
        vcs: None,
    })
}

/// Reports warnings as those of the step that read the file (B-151).
fn tell(warnings: &[Diagnostic], events: &mut dyn FnMut(Event)) {
    for warning in warnings {
        events(Event::Warning {
            step: Some(StepId(0)),
            rule: warning.rule.map(str::to_owned),
            text: warning.message.clone(),
            line: Some(warning.lines.0).filter(|line| *line > 0),
        });
    }
}

/// Returns what the planner is to know. The local directories it may use are put into `world`.
pub(crate) fn options(
    request: &PlanRequest,
    definition: &Definition,
    world: &mut World,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<PlanOptions, BuildError> {
    let context = definition.ignored(request, world, steps, events)?;
    let contexts = definition::named_contexts(request, world, &definition.lock, steps, events)?;
    let host = Platform::host();
    Ok(PlanOptions {
        source_name: definition.dockerfile.name.clone(),
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        platforms: request.platforms.clone(),
        multi_platform: request.multi_platform,
        context,
        contexts,
        pins: definition.lock.pins.clone(),
        no_cache: request.no_cache,
        no_cache_stages: request.no_cache_stages.clone(),
        network: request.network,
        extra_hosts: request.extra_hosts.clone(),
        shm_size: request.shm_size,
        ulimits: request.ulimits.clone(),
        entitlements: castoff_plan::Entitlements {
            network_host: request.entitlements.network_host,
            security_insecure: request.entitlements.security_insecure,
        },
        ..PlanOptions::new(host)
    })
}

/// Asks the planner and answers its questions until it is done.
fn lower(
    syntax: &Dockerfile,
    options: PlanOptions,
    asking: &Asking<'_>,
    steps: &mut Internal,
    events: &mut dyn FnMut(Event),
) -> Result<Plan, BuildError> {
    let mut planner = Planner::new(syntax, options);
    loop {
        match planner.step() {
            Step::Done(plan) => return Ok(*plan),
            Step::Failed(diagnostics) => {
                return Err(asking.diagnostics(diagnostics));
            }
            Step::Date(source) => {
                let seconds = steps.work("[internal] load SOURCE_DATE_EPOCH", events, |_| {
                    Ok(castoff_solver::fetch::date(asking.world, &source)?)
                })?;
                planner.provide_date(seconds);
            }
            Step::Resolve(questions) => {
                for question in questions {
                    let answer = asking.ask(&planner, &question, steps, events)?;
                    planner.provide(&question, answer);
                }
            }
        }
    }
}

/// Returns the file systems of a plan's images.
fn roots(plan: &Plan) -> Vec<VertexId> {
    plan.outputs.iter().map(|output| output.vertex).collect()
}

/// Solves the vertices of a plan. Steps that are done are put into `uploads`.
///
/// # Errors
/// The first step that failed, with its place.
pub fn solve_plan(
    planned: &Planned,
    roots: &[VertexId],
    world: &World,
    bodies: &Bodies<'_>,
    uploads: Option<UploadQueue>,
    events: &mut dyn FnMut(Event),
) -> Result<Solved, BuildError> {
    let options = SolveOptions {
        first_step: planned.next_step,
        scope: planned.scope.clone(),
        shared_scope: planned.shared_scope.clone(),
        epoch: planned.plan.outputs[0].epoch,
        keep_failed: planned.keep_failed,
        uploads,
    };
    solve(&planned.plan.graph, roots, world, bodies, &options, events).map_err(|error| match error {
        SolveError::Cancelled => BuildError::Interrupted,
        SolveError::Step { vertex, error } => {
            let vertex = planned.plan.graph.vertex(vertex);
            BuildError::Step {
                hints: step_hints(&error, &planned.lock),
                dockerfile: Box::new(planned.dockerfile.clone()),
                name: vertex.name.clone(),
                lines: vertex.origin.as_ref().map(|origin| (origin.first_line, origin.last_line)),
                warnings: planned.warnings.clone(),
                error,
            }
        }
    })
}

/// Returns what may help after a step failed.
fn step_hints(error: &StepError, lock: &Lock) -> Vec<String> {
    let mut hints = missing::hints(error);
    if let StepError::Fetch(FetchError::Checksum { url, .. }) = error
        && lock.pins.files.contains_key(url)
    {
        let name = &lock.pins.name;
        hints.push(format!("{name} says what it was; `castoff update --only {url}` takes what it is now"));
    }
    hints
}

/// Applies `# check=`: findings of skipped rules go, and with `error=true` the others fail (D-026,
/// D-029).
fn apply_options(
    syntax: &Dockerfile,
    request: &PlanRequest,
    warnings: &mut Vec<Diagnostic>,
    dockerfile: &DockerfileText,
) -> Result<(), BuildError> {
    let options = check::check_options(syntax, argument(request, "BUILDKIT_DOCKERFILE_CHECK"))?;
    warnings.retain(|finding| finding.rule.is_none_or(|rule| options.allows(rule, Preset::Build)));
    warnings.sort_by_key(|finding| (finding.lines, finding.span.start));
    let rules: std::collections::BTreeSet<&str> =
        warnings.iter().filter_map(|finding| finding.rule).collect();
    if options.error && !rules.is_empty() {
        let names = rules.into_iter().collect::<Vec<_>>().join(", ");
        let mut diagnostics = warnings.clone();
        diagnostics.push(Diagnostic {
            severity: Severity::Error,
            rule: None,
            message: format!("lint violation found for rules: {names}"),
            span: Default::default(),
            lines: (0, 0),
            hints: Vec::new(),
        });
        return Err(BuildError::Diagnostics { dockerfile: dockerfile.clone(), diagnostics });
    }
    Ok(())
}

/// Returns the value of a build argument.
pub(crate) fn argument<'r>(request: &'r PlanRequest, name: &str) -> Option<&'r str> {
    request.build_args.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// castoff is the frontend of the Dockerfile language itself; another language would need another
/// program (D-023, D-025).
fn refuse_foreign_frontend(
    syntax: &Dockerfile,
    request: &PlanRequest,
    dockerfile: &DockerfileText,
) -> Result<(), BuildError> {
    let given = argument(request, "BUILDKIT_SYNTAX");
    if given == Some("") {
        return Err(anyhow::anyhow!("the build argument BUILDKIT_SYNTAX is empty").into());
    }
    let directive = syntax.syntax.as_ref();
    let Some(name) = given.or(directive.map(|directive| directive.value.as_str())) else { return Ok(()) };
    if name == "dockerfile.v0" {
        return Ok(());
    }
    let own = name.parse::<Reference>().is_ok_and(|reference| {
        let repository = reference.repository();
        ["docker/dockerfile", "docker/dockerfile-upstream"]
            .iter()
            .any(|own| repository == *own || repository.ends_with(&format!("/{own}")))
    });
    if own {
        return Ok(());
    }
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        rule: None,
        message: format!(
            "the frontend `{name}` is not supported: castoff reads the Dockerfile language itself"
        ),
        span: directive.map(|directive| directive.span).unwrap_or_default(),
        lines: if given.is_none() { (1, 1) } else { (0, 0) },
        hints: vec![
            "if the file needs nothing of it: `--build-arg BUILDKIT_SYNTAX=dockerfile.v0`".to_owned(),
        ],
    };
    Err(BuildError::Diagnostics { dockerfile: dockerfile.clone(), diagnostics: vec![diagnostic] })
}

/// D-171.
const SECRET_LIMIT: u64 = 500 << 10;

pub(crate) fn secrets(specs: &[SecretSpec]) -> Result<BTreeMap<String, SecretValue>, BuildError> {
    let mut secrets = BTreeMap::new();
    for spec in specs {
        let value = match &spec.source {
            SecretSource::Variable(name) => {
                use std::os::unix::ffi::OsStringExt;
                std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default()
            }
            SecretSource::File(path) => {
                let error = |source| {
                    anyhow::Error::from(source).context(format!(
                        "secret `{}`: reading `{}`",
                        spec.id,
                        path.display()
                    ))
                };
                let mut value = Vec::new();
                let file = std::fs::File::open(path).map_err(error)?;
                file.take(SECRET_LIMIT + 1).read_to_end(&mut value).map_err(error)?;
                if value.len() as u64 > SECRET_LIMIT {
                    return Err(anyhow::anyhow!("secret `{}` is larger than 500 KiB", spec.id).into());
                }
                value
            }
        };
        secrets.insert(spec.id.clone(), SecretValue(value));
    }
    Ok(secrets)
}

/// Steps of the builder itself, numbered before those of the graph.
#[derive(Debug, Default)]
pub(crate) struct Internal {
    next: u32,
    /// What was fetched by them.
    fetched: Vec<Material>,
}

impl Internal {
    /// Does some work and reports it as a step.
    fn work<T>(
        &mut self,
        name: &str,
        events: &mut dyn FnMut(Event),
        work: impl FnOnce(&mut dyn FnMut(&str, u64)) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let step = StepId(self.next);
        self.next += 1;
        let digest = Digest::of(name.as_bytes());
        events(Event::Planned { step, name: name.to_owned(), digest, inputs: Vec::new() });
        events(Event::Started { step });
        let result = work(&mut |item, bytes| {
            let item = item.to_owned();
            events(Event::Status { step, item, current: bytes, total: None, done: true });
        });
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed { message: castoff_solver::chain(error.as_ref()) },
        };
        events(Event::Finished { step, outcome });
        result
    }
}

/// Returns the images of the result, under an index when that was asked for.
pub(crate) fn assemble(
    planned: &Planned,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    options: AssembleOptions,
) -> Result<ImageSet, BuildError> {
    let plan = &planned.plan;
    Ok(set::assemble(&plan.graph, &plan.outputs, solved, world, bodies, options)?)
}
