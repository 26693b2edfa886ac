//! SOURCE_DATE_EPOCH: a number, or the time of something that is fetched (D-102, D-103).

use castoff_dockerfile::{Dockerfile, InstructionKind, Stage};
use castoff_graph::{Op, SourceOp};

use crate::globals::{BuildArgs, Globals};
use crate::lower;
use crate::place::{Checked, Place};
use crate::planner::Answers;
use crate::reach::reach;
use crate::stage::Survey;
use crate::{ContextSource, NamedContext, PlanOptions};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// Returns SOURCE_DATE_EPOCH of the build: the caller's, or that of a build argument or global ARG. What it
/// stands for has been looked up before, except that a directory of this machine has no time of its own.
pub(crate) fn epoch(
    globals: &Globals,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
) -> Checked<Option<i64>> {
    if options.epoch.is_some() {
        return Ok(options.epoch);
    }
    let Some(value) = value(globals, options) else { return Ok(None) };
    match (value.parse(), time_of_context(options, &value)) {
        (Ok(seconds), _) => Ok(Some(seconds)),
        (Err(_), Some(time)) => Ok(time),
        // Whether it is one, and when it was, is asked for before.
        (Err(_), None) if stage_of(dockerfile, &value).is_some() => Ok(None),
        (Err(_), None) => {
            let message = format!("invalid SOURCE_DATE_EPOCH: `{value}` is not a number of seconds");
            Err(place(dockerfile).error(message))
        }
    }
}

/// Replaces a SOURCE_DATE_EPOCH that stands for the time of a context by that time.
pub(crate) fn settle_contexts(dockerfile: &Dockerfile, options: &mut PlanOptions) {
    let found = globals(dockerfile, options).and_then(|globals| value(&globals, options));
    let Some(value) = found else { return };
    if value.parse::<i64>().is_err()
        && let Some(Some(time)) = time_of_context(options, &value)
    {
        settle(options, Some(time));
    }
}

/// Makes SOURCE_DATE_EPOCH a time, or nothing.
pub(crate) fn settle(options: &mut PlanOptions, seconds: Option<i64>) {
    let value = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    options.build_args.push((NAME.to_owned(), value));
}

/// Returns the source whose time SOURCE_DATE_EPOCH is, when it names a stage.
///
/// # Errors
/// When the stage is more than one remote source (D-103).
pub(crate) fn source(dockerfile: &Dockerfile, options: &PlanOptions) -> Checked<Option<SourceOp>> {
    if options.epoch.is_some() {
        return Ok(None);
    }
    let Some(globals) = globals(dockerfile, options) else { return Ok(None) };
    let Some(value) = value(&globals, options) else { return Ok(None) };
    if value.parse::<i64>().is_ok() || time_of_context(options, &value).is_some() {
        return Ok(None);
    }
    let Some(stage) = stage_of(dockerfile, &value) else { return Ok(None) };
    let refused = || {
        let place = Place::new(stage.from.span, stage.from.lines);
        place.error_with_hint(
            format!("invalid SOURCE_DATE_EPOCH: stage `{value}` is not the time of one remote source"),
            Some(
                "such a stage is `FROM scratch` with ARGs and one ADD of one URL or git repository"
                    .to_owned(),
            ),
        )
    };
    let others = stage.instructions.iter().filter(|other| !matches!(other.kind, InstructionKind::Arg(_)));
    let adds = others.map(|instruction| match &instruction.kind {
        InstructionKind::Add(add) => add.heredocs.is_empty() && add.sources.len() == 1,
        _ => false,
    });
    if stage.from.image.value != "scratch" || !adds.eq([true]) {
        return Err(refused());
    }
    // What the ADD means is found out by lowering the stage alone.
    let alone = PlanOptions { epoch: Some(0), target: Some(value.clone()), ..options.clone() };
    let survey = Survey::new(dockerfile, &alone, &options.targets()[0]);
    let survey = survey.map_err(|errors| errors.into_iter().next().unwrap_or_else(refused))?;
    let answers = Answers::default();
    let reached = reach(&survey, vec![survey.target], &answers)?;
    if !reached.questions.is_empty() {
        return Err(refused());
    }
    let plan = lower::lower(&[(survey, reached)], &answers)
        .map_err(|errors| errors.into_iter().next().unwrap_or_else(refused))?;
    let found = plan.graph.iter().find_map(|(_, vertex)| match &vertex.op {
        Op::Source(source @ (SourceOp::Http(_) | SourceOp::Git(_))) => Some(source.clone()),
        _ => None,
    });
    found.map(Some).ok_or_else(refused)
}

/// Returns the stage that a value names.
fn stage_of<'d>(dockerfile: &'d Dockerfile, value: &str) -> Option<&'d Stage> {
    let is_named = |name: &str| name.eq_ignore_ascii_case(value);
    let mut stages = dockerfile.stages.iter();
    stages.rfind(|stage| stage.from.name.as_ref().is_some_and(|name| is_named(&name.value)))
}

/// Returns the global arguments, unless nothing says anything of a time. What is wrong with them is told
/// elsewhere.
fn globals(dockerfile: &Dockerfile, options: &PlanOptions) -> Option<Globals> {
    let given = options.build_args.iter().any(|(name, _)| name == NAME);
    if !given && place(dockerfile) == Place::default() {
        return None;
    }
    Globals::of(dockerfile, options, &options.targets()[0], BuildArgs::Used).ok()
}

/// Returns the value that counts: of the build argument, else of the global ARG.
fn value(globals: &Globals, options: &PlanOptions) -> Option<String> {
    let given = options.build_args.iter().rev().find(|(name, _)| name == NAME);
    let value = given.map(|(_, value)| value.as_str()).or_else(|| globals.get(NAME));
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

/// Returns the time of the context that a value names, if it names one.
fn time_of_context(options: &PlanOptions, value: &str) -> Option<Option<i64>> {
    if value == "context" {
        return Some(match options.context {
            ContextSource::Tree { time, .. } => time,
            ContextSource::Local | ContextSource::Empty => None,
        });
    }
    match options.contexts.get(value)? {
        NamedContext::Tree { time, .. } => Some(*time),
        NamedContext::Directory => Some(None),
        NamedContext::Image(_) | NamedContext::Scratch => None,
    }
}

fn place(dockerfile: &Dockerfile) -> Place {
    dockerfile
        .global_args
        .iter()
        .find(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => declarations.iter().any(|arg| arg.name.value == NAME),
            _ => false,
        })
        .map_or_else(Place::default, |instruction| Place::new(instruction.span, instruction.lines))
}
