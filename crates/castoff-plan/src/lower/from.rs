//! FROM: what a stage starts with (D-119 to D-126).

use std::collections::BTreeMap;

use castoff_graph::{LocalName, Op, SourceOp, Vertex, VertexId};
use castoff_oci::{ImageConfig, Platform};

use crate::budget::ENTRY;
use crate::lint::invalid_base_image_platform;
use crate::names::StepNames;
use crate::paths;
use crate::place::{Checked, Place};
use crate::scope::Scope;
use crate::stage::{Root, StageInfo};
use crate::{ContextSource, NamedContext, Question};

use super::{Lowering, StageState};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns whether the FROM of a stage based on this is shown as a step.
pub(super) fn is_step(root: &Root) -> bool {
    match root {
        Root::Image(_) | Root::Directory(_) => true,
        Root::Stage(_) | Root::Scratch => false,
    }
}

/// Returns the state of a stage after its FROM line.
pub(super) fn base(
    plan: &mut Lowering<'_>,
    stage: &StageInfo<'_>,
    names: &mut StepNames,
) -> Checked<StageState> {
    let wanted = stage.platform.clone().unwrap_or_else(|| plan.survey.target_platform.clone());
    let mut state = match &stage.base {
        Root::Stage(index) => {
            let mut state =
                plan.stages[*index].clone().expect("the base of a needed stage is needed, and is above it");
            // One copy for the stage, and one for what the plan says of it.
            plan.budget.spend(2 * (state.size + state.scope.size()), stage.place())?;
            state.config.config.on_build = None;
            state
        }
        Root::Scratch => empty(plan, scratch_vertex, wanted),
        Root::Directory(key) => {
            // It takes a number in the count of steps, though its own name shows none.
            names.index += 1;
            empty(plan, |plan| directory_vertex(plan, key), wanted)
        }
        Root::Image(question) => image(plan, question, stage, names)?,
    };
    if state.config.os == "windows" {
        let word = &stage.syntax.from.image;
        let hint = "its layers, paths and variables follow other rules; build it on Windows".to_owned();
        let place = Place::new(word.span, stage.syntax.from.lines);
        return Err(place.error_with_hint("images for Windows cannot be built", Some(hint)));
    }
    add_default_path(&mut state);
    if plan.survey.options.shows_platforms() {
        names.platform = Some(state.platform.clone());
    }
    Ok(state)
}

/// Returns the state of a stage that a named context stands in for: its instructions are skipped and
/// its triggers do not run (D-126).
pub(super) fn replaced_stage(plan: &mut Lowering<'_>, root: &Root, stage: &StageInfo<'_>) -> StageState {
    let wanted = stage.platform.clone().unwrap_or_else(|| plan.survey.target_platform.clone());
    match root {
        Root::Directory(key) => empty(plan, |plan| directory_vertex(plan, key), wanted),
        Root::Scratch | Root::Stage(_) => empty(plan, scratch_vertex, wanted),
        Root::Image(question) => {
            let vertex = image_vertex(plan, question, None, None);
            let config = base_config(plan, question);
            let platform = config_platform(&config).unwrap_or(wanted);
            state_of_image(plan, question, vertex, config, platform)
        }
    }
}

/// Returns the state of a stage whose base is an error, for the stages that need it.
pub(super) fn unknown_base(plan: &mut Lowering<'_>, stage: &StageInfo<'_>) -> StageState {
    let wanted = stage.platform.clone().unwrap_or_else(|| plan.survey.target_platform.clone());
    let mut state = empty(plan, scratch_vertex, wanted);
    state.scope.blind();
    state
}

/// Returns the vertex of a root that is not a stage's own base: of `COPY --from` and `--mount from=`.
pub(super) fn root_vertex(plan: &mut Lowering<'_>, root: &Root) -> VertexId {
    match root {
        Root::Stage(index) => {
            plan.stages[*index].as_ref().expect("a named stage is needed, and is above this one").vertex
        }
        Root::Scratch => scratch_vertex(plan),
        Root::Directory(key) => directory_vertex(plan, key),
        Root::Image(question) => image_vertex(plan, question, None, None),
    }
}

/// Returns the vertex of the build context.
pub(super) fn context_vertex(plan: &mut Lowering<'_>) -> VertexId {
    let name = LocalName::Context;
    let source = match plan.survey.options.context {
        ContextSource::Local => SourceOp::Local(name),
        ContextSource::Tree { layer, .. } => SourceOp::Tree { name, layer },
        ContextSource::Empty => return scratch_vertex(plan),
    };
    plan.add_source(Op::Source(source), "[internal] load build context".to_owned())
}

/// Makes a config claim the platform the user asked for, whatever its base said (D-293).
pub(super) fn claim_platform(config: &mut ImageConfig, platform: &Platform) {
    let same = config.os == platform.os && config.architecture == platform.architecture;
    platform.os.clone_into(&mut config.os);
    platform.architecture.clone_into(&mut config.architecture);
    if platform.variant.is_some() || !same {
        config.variant.clone_from(&platform.variant);
    }
    if platform.os_version.is_some() || !same {
        config.os_version.clone_from(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        config.os_features.clone_from(&platform.os_features);
    }
}

fn image(
    plan: &mut Lowering<'_>,
    question: &Question,
    stage: &StageInfo<'_>,
    names: &mut StepNames,
) -> Checked<StageState> {
    let options = &plan.survey.options;
    let config = base_config(plan, question);
    let found = config_platform(&config);
    // When the user named no platform, that of the only image there is serves where it can run (D-123).
    let free = stage.platform.is_none() && options.platforms.is_empty();
    let runs_here = plan.answers.get(question).is_some_and(|image| image.runs_here);
    let platform = match &found {
        Some(found) if free && (runs_here || same_machine(found, &question.platform)) => found.clone(),
        _ => question.platform.clone(),
    };
    if let Some(found) = &found
        && !same_machine(found, &platform)
    {
        let word = &stage.syntax.from.image;
        let message = invalid_base_image_platform::message(&word.value, found, &platform);
        plan.warnings.extend(stage.warning(word, &invalid_base_image_platform::RULE, message));
    }
    if options.shows_platforms() {
        names.platform = Some(platform.clone());
    }
    let vertex = image_vertex(plan, question, Some(stage), Some(names));
    let state = state_of_image(plan, question, vertex, config, platform);
    plan.budget.spend(2 * (state.size + state.scope.size()), stage.place())?;
    Ok(state)
}

/// Returns the config that a stage based on an image starts from (D-124).
fn base_config(plan: &Lowering<'_>, question: &Question) -> ImageConfig {
    // Only a check goes on without.
    let mut config = plan.answers.get(question).map(|image| image.config.clone()).unwrap_or_default();
    config.created = None;
    config.config.on_build = None;
    config
}

/// Whether two platforms differ in their variants at most.
fn same_machine(one: &Platform, other: &Platform) -> bool {
    one.os == other.os && one.architecture == other.architecture
}

fn config_platform(config: &ImageConfig) -> Option<Platform> {
    let claimed = !config.os.is_empty() && !config.architecture.is_empty();
    claimed.then(|| Platform {
        os_version: config.os_version.clone(),
        os_features: config.os_features.clone(),
        ..Platform::normalised(&config.os, &config.architecture, config.variant.as_deref())
    })
}

/// Returns the vertex of an image. One without layers is the empty file system (D-121).
fn image_vertex(
    plan: &mut Lowering<'_>,
    question: &Question,
    stage: Option<&StageInfo<'_>>,
    names: Option<&mut StepNames>,
) -> VertexId {
    let Some(image) = plan.answers.get(question) else { return scratch_vertex(plan) };
    let pinned = match image.reference.digest() {
        Some(_) => image.reference.clone(),
        None => image.reference.with_digest(image.manifest),
    };
    let text = format!("FROM {pinned}");
    let name = match names {
        Some(names) => names.next(&Scope::default(), &text),
        None => text,
    };
    if image.config.rootfs.diff_ids.is_empty() && image.config.history.iter().all(|entry| entry.empty_layer) {
        return scratch_vertex(plan);
    }
    let op = Op::Source(SourceOp::Image {
        reference: image.reference.clone(),
        manifest: image.manifest,
        platform: image.platform.clone(),
    });
    let origin = stage.map(|stage| plan.origin(stage.place()));
    let stage = stage.and_then(|stage| stage.name.clone());
    plan.add(Vertex { op, name, stage, origin, ignore_cache: false })
}

fn scratch_vertex(plan: &mut Lowering<'_>) -> VertexId {
    plan.add_source(Op::Source(SourceOp::Scratch), "FROM scratch".to_owned())
}

fn directory_vertex(plan: &mut Lowering<'_>, key: &str) -> VertexId {
    let name = LocalName::Named(key.to_owned());
    match plan.survey.options.contexts.get(key) {
        Some(NamedContext::Tree { layer, .. }) => {
            let op = Op::Source(SourceOp::Tree { name, layer: *layer });
            plan.add_source(op, format!("[context {key}] load fetched tree"))
        }
        _ => {
            let op = Op::Source(SourceOp::Local(name));
            plan.add_source(op, format!("[context {key}] load from client"))
        }
    }
}

/// Returns the state of a stage on something without a config (D-120).
fn empty<'a>(
    plan: &mut Lowering<'a>,
    vertex: impl FnOnce(&mut Lowering<'a>) -> VertexId,
    platform: Platform,
) -> StageState {
    let mut config = ImageConfig::default();
    claim_platform(&mut config, &platform);
    config.config.working_dir = "/".to_owned();
    let mut state = state(vertex(plan), config, platform);
    add_default_path(&mut state);
    state
}

/// Returns the state of a stage on an image, whose variables may be unknown.
fn state_of_image(
    plan: &Lowering<'_>,
    question: &Question,
    vertex: VertexId,
    config: ImageConfig,
    platform: Platform,
) -> StageState {
    let mut state = state(vertex, config, platform);
    if plan.answers.get(question).is_none() {
        state.scope = Scope::of_unknown();
    }
    state
}

fn state(vertex: VertexId, mut config: ImageConfig, platform: Platform) -> StageState {
    if !config.config.working_dir.is_empty() {
        config.config.working_dir = paths::absolute("/", &config.config.working_dir);
    }
    let env = config.config.env.as_deref().unwrap_or_default();
    let scope = Scope::of_image(env);
    let mut env_places = BTreeMap::new();
    for (place, entry) in env.iter().enumerate() {
        let name = entry.split('=').next().unwrap_or_default();
        env_places.entry(name.to_owned()).or_insert(place);
    }
    let size =
        config.history.iter().map(|entry| ENTRY + entry.created_by.as_ref().map_or(0, String::len)).sum();
    StageState { vertex, config, history: Vec::new(), scope, env_places, size, platform, workdir_set: false }
}

/// Sets a variable of the config and of the stage: in place, or at the end (D-109).
pub(super) fn set_env(state: &mut StageState, name: &str, value: &str) {
    state.scope.set_env(name, value);
    let env = state.config.config.env.get_or_insert_default();
    let entry = format!("{name}={value}");
    state.size += entry.len() + ENTRY;
    match state.env_places.get(name) {
        Some(place) => env[*place] = entry,
        None => {
            state.env_places.insert(name.to_owned(), env.len());
            env.push(entry);
        }
    }
}

/// Adds PATH where the base has none (D-111).
fn add_default_path(state: &mut StageState) {
    if state.config.config.variable("PATH").is_none() {
        set_env(state, "PATH", DEFAULT_PATH);
    }
}
