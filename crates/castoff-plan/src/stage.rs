//! The stages of a file before anything is resolved: what each is based on, what it is called, which
//! one is wanted, and every mistake that can be seen without knowing an image (section 7).

use std::collections::BTreeMap;

use castoff_dockerfile::lint::{Rule, is_skipped_above};
use castoff_dockerfile::{Diagnostic, Dockerfile, Instruction, InstructionKind, Spanned, Stage, suggest};
use castoff_oci::{Platform, Reference};

use crate::contexts;
use crate::cycles;
use crate::date;
use crate::globals::{BuildArgs, Globals};
use crate::lint::{invalid_default_arg_in_from, undefined_arg_in_from};
use crate::place::{Checked, Place};
use crate::suggest::{did_you_mean, known_stages};
use crate::{NamedContext, PlanOptions, Question};

/// What is known of a file before images are.
pub(crate) struct Survey<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) options: &'a PlanOptions,
    /// The platform that is built for.
    pub(crate) target_platform: &'a Platform,
    pub(crate) globals: Globals,
    pub(crate) stages: Vec<StageInfo<'a>>,
    /// Index of the wanted stage.
    pub(crate) target: usize,
    pub(crate) epoch: Option<i64>,
    /// The stages of each folded name, ascending.
    names: BTreeMap<String, Vec<usize>>,
}

/// Most errors that are reported of one file.
const MOST_ERRORS: usize = 1000;

/// A stage and what its FROM line means.
pub(crate) struct StageInfo<'a> {
    pub(crate) syntax: &'a Stage,
    /// The name in lower case (D-113).
    pub(crate) name: Option<String>,
    pub(crate) base: Root,
    /// `--platform`.
    pub(crate) platform: Option<Platform>,
    /// The named context that stands in for the whole stage (D-126).
    pub(crate) replaced: Option<Root>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Whether the FROM line is wrong, so that it is not known what the stage is based on.
    pub(crate) is_broken: bool,
}

/// Where a file system comes from, as FROM and `from=` name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    /// A stage of this file.
    Stage(usize),
    /// The empty file system.
    Scratch,
    /// A directory of the caller or a tree that was fetched, by the name of its context.
    Directory(String),
    /// An image.
    Image(Box<Question>),
}

/// What a `from=` of a stage leads to.
pub(crate) enum Source {
    /// A file system that exists before the stage.
    Root(Root),
    /// A stage that is not defined yet, or the stage itself (D-132).
    Later(usize),
}

impl<'a> Survey<'a> {
    /// Looks at all stages, for one of the platforms.
    ///
    /// # Errors
    /// All mistakes found, those of stages that the target does not need included (D-128).
    pub(crate) fn new(
        dockerfile: &'a Dockerfile,
        options: &'a PlanOptions,
        target_platform: &'a Platform,
    ) -> Result<Survey<'a>, Vec<Diagnostic>> {
        let (survey, errors) = Survey::look(dockerfile, options, target_platform)?;
        if errors.is_empty() { Ok(survey) } else { Err(errors) }
    }

    /// Looks at all stages, and returns what is wrong with them beside the rest.
    ///
    /// # Errors
    /// When the mistakes are such that nothing can be said of the rest.
    pub(crate) fn look(
        dockerfile: &'a Dockerfile,
        options: &'a PlanOptions,
        target_platform: &'a Platform,
    ) -> Result<(Survey<'a>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let one = |diagnostic| vec![diagnostic];
        if dockerfile.stages.is_empty() {
            return Err(one(Place::default().error("no stages to build")));
        }
        let globals = Globals::of(dockerfile, options, target_platform, BuildArgs::Used).map_err(one)?;
        let defaults = Globals::of(dockerfile, options, target_platform, BuildArgs::Ignored).ok();
        let epoch = date::epoch(&globals, dockerfile, options).map_err(one)?;
        let mut names: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            if let Some(name) = &stage.from.name {
                names.entry(name.value.to_lowercase()).or_default().push(index);
            }
        }
        let stages = Vec::new();
        let mut survey =
            Survey { dockerfile, options, target_platform, globals, stages, target: 0, epoch, names };
        let mut errors = Vec::new();
        for syntax in &dockerfile.stages {
            match survey.stage(syntax, defaults.as_ref()) {
                Ok(stage) => survey.stages.push(stage),
                Err(error) => {
                    errors.push(error);
                    if errors.len() == MOST_ERRORS {
                        return Err(errors);
                    }
                    // A placeholder keeps the numbers of the later stages right.
                    survey.stages.push(StageInfo::broken(syntax));
                }
            }
        }
        let target = survey.find_target();
        let (wrong, cyclic) = survey.check_sources();
        match target {
            Ok(target) => survey.target = target,
            Err(error) => {
                errors.push(error);
                errors.extend(wrong);
                return Err(errors);
            }
        }
        errors.extend(wrong);
        if cyclic || errors.len() >= MOST_ERRORS { Err(errors) } else { Ok((survey, errors)) }
    }

    /// Returns the name of a stage for messages and step names: its own or `stage-N`.
    pub(crate) fn stage_name(&self, index: usize) -> String {
        self.stages[index].name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }

    /// Returns what a `from=` in a stage leads to (D-189, D-151).
    pub(crate) fn source(&self, from: &SourceName<'_>, stage: usize) -> Checked<Source> {
        let place = from.place;
        if from.word.contains('$') || from.word.contains(['"', '\'']) {
            return Err(place.error_with_hint(
                match from.flag {
                    FromFlag::Copy => "variable expansion is not supported for --from",
                    FromFlag::Mount => "'from' doesn't support variable expansion",
                },
                Some("define a stage with `FROM image AS name`, where a global ARG may stand, and use its name".to_owned()),
            ));
        }
        if !from.word.is_empty() && from.word.bytes().all(|byte| byte.is_ascii_digit()) {
            let index = from.word.parse().ok().filter(|index: &usize| *index < self.dockerfile.stages.len());
            let Some(index) = index else {
                return Err(place.error(format!("invalid stage index {}", from.word)));
            };
            return Ok(if index < stage { Source::Root(Root::Stage(index)) } else { Source::Later(index) });
        }
        let folded = from.word.to_lowercase();
        if let Some(index) = self.named(&folded, stage) {
            return Ok(Source::Root(Root::Stage(index)));
        }
        if let Some(index) = self.names.get(&folded).and_then(|later| later.first()) {
            return Ok(Source::Later(*index));
        }
        if let Some((key, context)) = contexts::find(self.options, from.word, self.target_platform) {
            return Ok(Source::Root(context_root(key, context, self.target_platform)));
        }
        if from.word == "scratch" {
            return Ok(Source::Root(Root::Scratch));
        }
        let reference: Reference = from.word.parse().map_err(|error| {
            let hint = known_stages(from.word, self.names_before(stage));
            place.error_with_hint(format!("failed to parse stage name \"{}\": {error}", from.word), hint)
        })?;
        Ok(Source::Root(Root::Image(Box::new(Question {
            reference,
            platform: self.target_platform.clone(),
        }))))
    }

    /// Returns the latest stage of a folded name among the first ones (D-114).
    fn named(&self, name: &str, before: usize) -> Option<usize> {
        let known = self.names.get(name)?;
        known[..known.partition_point(|index| *index < before)].last().copied()
    }

    fn names_before(&self, before: usize) -> impl Iterator<Item = &str> {
        self.stages.iter().take(before).filter_map(|stage| stage.name.as_deref())
    }

    fn stage(&self, syntax: &'a Stage, defaults: Option<&Globals>) -> Checked<StageInfo<'a>> {
        let from = &syntax.from;
        let mut warnings = Vec::new();
        let platform = match &from.platform {
            Some(word) => Some(self.platform(word, syntax, &mut warnings)?),
            None => None,
        };
        let wanted = platform.clone().unwrap_or_else(|| self.target_platform.clone());
        let name = from.name.as_ref().map(|name| name.value.to_lowercase());
        let base = self.base(syntax, &wanted, &mut warnings)?;
        if let Some(defaults) = defaults {
            check_default(syntax, defaults, &mut warnings);
        }
        let replaced = name
            .as_deref()
            .and_then(|name| contexts::find(self.options, name, &wanted))
            .map(|(key, context)| context_root(key, context, &wanted));
        warnings.retain(|warning| warning.rule.is_none_or(|rule| !is_skipped_above(&from.comments, rule)));
        Ok(StageInfo { syntax, name, base, platform, replaced, warnings, is_broken: false })
    }

    fn base(&self, syntax: &Stage, wanted: &Platform, warnings: &mut Vec<Diagnostic>) -> Checked<Root> {
        let word = &syntax.from.image;
        let place = Place::new(word.span, syntax.from.lines);
        let expanded = self.globals.expand(word, place)?;
        self.undeclared(&expanded.unset, place, warnings);
        let image = expanded.text;
        if image.is_empty() {
            let hint = self.argument_hint(&expanded.unset);
            return Err(
                place.error_with_hint(format!("base name ({}) should not be blank", word.value), hint)
            );
        }
        if image == "scratch" {
            return Ok(Root::Scratch);
        }
        // The folded name is compared with the word as it is: `FROM Base` is never a stage (D-117).
        if let Some(index) = self.named(&image, self.stages.len()) {
            return Ok(Root::Stage(index));
        }
        if let Some((key, context)) = contexts::find(self.options, &image, wanted) {
            return Ok(context_root(key, context, wanted));
        }
        let reference: Reference = image.parse().map_err(|error| {
            let by_argument =
                expanded.unset.first().and_then(|name| did_you_mean(name, self.globals.names()));
            let hint = by_argument.or_else(|| known_stages(&image, self.names_before(self.stages.len())));
            place.error_with_hint(format!("failed to parse stage name \"{image}\": {error}"), hint)
        })?;
        Ok(Root::Image(Box::new(Question { reference, platform: wanted.clone() })))
    }

    fn platform(
        &self,
        word: &Spanned<String>,
        syntax: &Stage,
        warnings: &mut Vec<Diagnostic>,
    ) -> Checked<Platform> {
        let place = Place::new(word.span, syntax.from.lines);
        let expanded = self.globals.expand(word, place)?;
        self.undeclared(&expanded.unset, place, warnings);
        let hint = || self.argument_hint(&expanded.unset);
        if expanded.text.is_empty() {
            let message = format!("empty platform value from expression {}", word.value);
            return Err(place.error_with_hint(message, hint()));
        }
        expanded.text.parse().map_err(|error| {
            place.error_with_hint(format!("failed to parse platform {}: {error}", word.value), hint())
        })
    }

    /// Reports names that no global ARG declares and that are not predefined (D-330).
    fn undeclared(&self, unset: &[String], place: Place, warnings: &mut Vec<Diagnostic>) {
        for name in unset {
            if self.globals.knows(name) {
                continue;
            }
            let message = undefined_arg_in_from::message(name, suggest(name, self.globals.names()));
            warnings.push(place.warning(&undefined_arg_in_from::RULE, message));
        }
    }

    /// Returns a hint for a word that used names without a value: one of them may be misspelt.
    fn argument_hint(&self, unset: &[String]) -> Option<String> {
        let misspelt = unset.iter().find(|name| !self.globals.knows(name))?;
        did_you_mean(misspelt, self.globals.names())
    }

    /// Returns the index of the wanted stage (D-129).
    fn find_target(&self) -> Checked<usize> {
        let Some(target) = &self.options.target else { return Ok(self.stages.len() - 1) };
        self.named(&target.to_lowercase(), self.stages.len()).ok_or_else(|| {
            let hint = known_stages(target, self.names_before(self.stages.len()));
            Place::default().error_with_hint(format!("target stage \"{target}\" could not be found"), hint)
        })
    }

    /// Checks every `from=` of the file (D-128), and that no stages need each other (D-131). Also returns whether
    /// some do.
    fn check_sources(&self) -> (Vec<Diagnostic>, bool) {
        let mut errors = Vec::new();
        let mut edges: Vec<Vec<(usize, Place)>> = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let mut needs = Vec::new();
            if let Root::Stage(base) = stage.base {
                needs.push((base, Place::new(stage.syntax.from.image.span, stage.syntax.from.lines)));
            }
            for instruction in &stage.syntax.instructions {
                for from in froms(instruction) {
                    match self.source(&from, index) {
                        Ok(Source::Root(Root::Stage(other)) | Source::Later(other)) => {
                            needs.push((other, from.place))
                        }
                        Ok(Source::Root(_)) => {}
                        Err(error) => errors.push(error),
                    }
                    if errors.len() >= MOST_ERRORS {
                        return (errors, false);
                    }
                }
            }
            edges.push(needs);
        }
        let plain: Vec<Vec<usize>> =
            edges.iter().map(|needs| needs.iter().map(|(other, _)| *other).collect()).collect();
        let cycles = cycles::numbers(&plain);
        let mut cyclic = false;
        for (index, needs) in edges.iter().enumerate() {
            // An edge to a stage above cannot close a cycle without one to a stage below.
            let closing = needs.iter().find(|(other, _)| *other >= index && cycles[*other] == cycles[index]);
            if let Some((_, place)) = closing {
                let name = self.stage_name(index);
                errors.push(place.error(format!("circular dependency detected on stage: {name}")));
                cyclic = true;
            }
        }
        (errors, cyclic)
    }
}

impl<'a> StageInfo<'a> {
    fn broken(syntax: &'a Stage) -> StageInfo<'a> {
        StageInfo {
            syntax,
            name: syntax.from.name.as_ref().map(|name| name.value.to_lowercase()),
            base: Root::Scratch,
            platform: None,
            replaced: None,
            warnings: Vec::new(),
            is_broken: true,
        }
    }

    /// Returns the warning of a build check about a word of the FROM line, unless a comment above it
    /// skips the check (D-027).
    pub(crate) fn warning<T>(&self, word: &Spanned<T>, rule: &Rule, message: String) -> Option<Diagnostic> {
        let from = &self.syntax.from;
        let skipped = is_skipped_above(&from.comments, rule.name);
        (!skipped).then(|| Place::new(word.span, from.lines).warning(rule, message))
    }

    /// Returns the place of the FROM line.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.syntax.from.span, self.syntax.from.lines)
    }
}

fn context_root(key: &str, context: &NamedContext, platform: &Platform) -> Root {
    match context {
        NamedContext::Directory | NamedContext::Tree { .. } => Root::Directory(key.to_owned()),
        NamedContext::Image(reference) => {
            Root::Image(Box::new(Question { reference: reference.clone(), platform: platform.clone() }))
        }
        NamedContext::Scratch => Root::Scratch,
    }
}

/// Reports a FROM word that is no image name when only the defaults of the file count (D-338).
fn check_default(syntax: &Stage, defaults: &Globals, warnings: &mut Vec<Diagnostic>) {
    let word = &syntax.from.image;
    if !word.value.contains('$') {
        return;
    }
    let place = Place::new(word.span, syntax.from.lines);
    let valid = defaults.expand(word, place).is_ok_and(|expanded| expanded.text.parse::<Reference>().is_ok());
    if !valid {
        let message = invalid_default_arg_in_from::message(&word.value);
        warnings.push(place.warning(&invalid_default_arg_in_from::RULE, message));
    }
}

/// A `from=` as written.
pub(crate) struct SourceName<'a> {
    pub(crate) word: &'a str,
    pub(crate) flag: FromFlag,
    pub(crate) place: Place,
}

/// Which flag a `from=` belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromFlag {
    Copy,
    Mount,
}

/// Returns every `from=` of an instruction; those in ONBUILD count where the trigger runs.
pub(crate) fn froms(instruction: &Instruction) -> Vec<SourceName<'_>> {
    match &instruction.kind {
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
            let from = copy.from.iter().filter(|word| !word.value.is_empty());
            from.map(|word| SourceName {
                word: &word.value,
                flag: FromFlag::Copy,
                place: Place::new(word.span, instruction.lines),
            })
            .collect()
        }
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| {
                // The last one counts, as it does for every key of a mount.
                let (_, word) = mount.fields.iter().rev().find(|(key, _)| key == "from")?;
                let word = word.as_deref().filter(|word| !word.is_empty())?;
                Some(SourceName {
                    word,
                    flag: FromFlag::Mount,
                    place: Place::new(mount.span, instruction.lines),
                })
            })
            .collect(),
        InstructionKind::Arg(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Env(_)
        | InstructionKind::Expose(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Label(_)
        | InstructionKind::Maintainer(_)
        | InstructionKind::OnBuild(_)
        | InstructionKind::Shell(_)
        | InstructionKind::StopSignal(_)
        | InstructionKind::User(_)
        | InstructionKind::Volume(_)
        | InstructionKind::Workdir(_) => Vec::new(),
    }
}
