//! Lowering: the needed stages, one instruction after another, become vertices, configs and history.

mod command;
mod copy;
mod device;
mod expose;
mod from;
mod healthcheck;
mod meta;
mod mount;
mod remote;
mod run;
mod signal;
mod sources;
mod unused;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use castoff_dockerfile::expand::{ExpandOptions, expand};
use castoff_dockerfile::lint::{Rule, is_skipped_above};
use castoff_dockerfile::{Diagnostic, Instruction, InstructionKind, Spanned, suggest};
use castoff_graph::{BuildGraph, ImageOutput, Op, Origin, PlannedHistory, Vertex, VertexId};
use castoff_oci::{ImageConfig, Platform};

use crate::budget::{Budget, ENTRY};
use crate::lint::undefined_var;
use crate::names::{StepNames, display, first_line};
use crate::place::{Checked, Place};
use crate::planner::Answers;
use crate::reach::Reached;
use crate::scope::{NOT_EXPORTED, Scope};
use crate::stage::{StageInfo, Survey};
use crate::{Plan, PlannedStage};

/// Lowers the needed stages for each platform, into one graph. All needed images are known.
///
/// # Errors
/// All errors, each once, and the warnings found beside them.
pub(crate) fn lower(targets: &[(Survey<'_>, Reached)], answers: &Answers) -> Result<Plan, Vec<Diagnostic>> {
    let mut plan = Plan {
        graph: BuildGraph::default(),
        outputs: Vec::new(),
        stages: Vec::new(),
        secrets: BTreeSet::new(),
        agents: BTreeSet::new(),
        warnings: Vec::new(),
    };
    let mut errors: Vec<Diagnostic> = Vec::new();
    for (survey, reached) in targets {
        let mut lowering = Lowering {
            survey,
            answers,
            graph: &mut plan.graph,
            stages: survey.stages.iter().map(|_| None).collect(),
            warnings: Vec::new(),
            errors: Vec::new(),
            secrets: BTreeSet::new(),
            agents: BTreeSet::new(),
            budget: Budget::default(),
        };
        let complete = lowering.stages(reached);
        if lowering.errors.is_empty() {
            lowering.warnings.extend(unused::build_args(survey, reached));
        }
        // What is wrong for several platforms is said once.
        let new = std::mem::take(&mut lowering.warnings);
        if plan.warnings.is_empty() {
            plan.warnings = new;
        } else {
            let mut known: BTreeMap<u32, Vec<Diagnostic>> = BTreeMap::new();
            for warning in &plan.warnings {
                known.entry(warning.span.start).or_default().push(warning.clone());
            }
            let is_new = |warning: &Diagnostic| {
                known.get(&warning.span.start).is_none_or(|known| !known.contains(warning))
            };
            plan.warnings.extend(new.into_iter().filter(is_new));
        }
        for error in std::mem::take(&mut lowering.errors) {
            if errors.len() < MOST_ERRORS && !errors.contains(&error) {
                errors.push(error);
            }
        }
        if !complete {
            break;
        }
        plan.secrets.append(&mut lowering.secrets);
        plan.agents.append(&mut lowering.agents);
        let (output, stages) = lowering.finish(plan.outputs.len());
        plan.outputs.push(output);
        plan.stages.extend(stages);
    }
    if !errors.is_empty() {
        errors.append(&mut plan.warnings);
        return Err(errors);
    }
    // Steps that are shared cannot have two times.
    if plan.outputs.iter().any(|output| output.epoch != plan.outputs[0].epoch) {
        plan.warnings.insert(0, Place::default().error("SOURCE_DATE_EPOCH differs between the platforms"));
        return Err(plan.warnings);
    }
    Ok(plan)
}

/// Most errors that are reported of one file.
const MOST_ERRORS: usize = 1000;

/// The plan for one platform in the making.
struct Lowering<'a> {
    survey: &'a Survey<'a>,
    answers: &'a Answers,
    /// The graph of all platforms.
    graph: &'a mut BuildGraph,
    /// The stages that are done, by index.
    stages: Vec<Option<StageState>>,
    warnings: Vec<Diagnostic>,
    errors: Vec<Diagnostic>,
    secrets: BTreeSet<String>,
    agents: BTreeSet<String>,
    budget: Budget,
}

/// A stage at some point of its instructions; at its end, what stages based on it start from (D-119).
#[derive(Debug, Clone)]
struct StageState {
    vertex: VertexId,
    config: ImageConfig,
    /// New history entries, those of base stages of this file included.
    history: Vec<PlannedHistory>,
    scope: Scope,
    /// Places of the variables in the config's list.
    env_places: BTreeMap<String, usize>,
    /// Bytes of the config and the history, roughly.
    size: usize,
    platform: Platform,
    /// Whether a WORKDIR of this file set the directory (D-332).
    workdir_set: bool,
}

/// A stage that is being lowered.
struct StageLowering<'a, 'b> {
    plan: &'b mut Lowering<'a>,
    index: usize,
    state: StageState,
    names: StepNames,
    ignore_cache: bool,
    /// Whether this stage had a CMD of its own (D-181).
    cmd_set: bool,
    /// Whether the instruction has used a variable of which it is not known whether it is set.
    is_uncertain: Cell<bool>,
}

/// An instruction and the place at which its findings are reported.
#[derive(Clone, Copy)]
struct Here<'i> {
    instruction: &'i Instruction,
    /// The FROM line, when the instruction is a trigger (D-271).
    trigger: Option<Place>,
}

impl<'a> Lowering<'a> {
    /// Lowers the needed stages and collects what is wrong with them. Returns `false` when so much is
    /// that the rest was left alone.
    fn stages(&mut self, reached: &Reached) -> bool {
        // A stage only needs stages above it, so the file's order is an order of the graph.
        for index in &reached.stages {
            let triggers = reached.triggers.get(index).map(Vec::as_slice).unwrap_or_default();
            let Some(state) = self.stage(*index, triggers) else { return false };
            self.stages[*index] = Some(state);
        }
        true
    }

    /// Notes an error. Returns `None` when nothing more is to be looked at.
    fn fail(&mut self, error: Diagnostic) -> Option<()> {
        self.errors.push(error);
        (self.errors.len() < MOST_ERRORS && !self.budget.is_spent()).then_some(())
    }

    /// Lowers a stage. An instruction with an error is left out, so that the errors of those after it are
    /// found as well. Returns `None` when nothing more is to be looked at.
    fn stage(&mut self, index: usize, triggers: &[Instruction]) -> Option<StageState> {
        let survey = self.survey;
        let stage = &survey.stages[index];
        self.warnings.extend(stage.warnings.iter().cloned());
        if let Some(root) = &stage.replaced {
            return Some(from::replaced_stage(self, root, stage));
        }
        let total = step_count(stage, triggers);
        let mut names = StepNames {
            platform: None,
            stage: (survey.stages.len() > 1).then(|| survey.stage_name(index)),
            total,
            index: 0,
        };
        let state = match from::base(self, stage, &mut names) {
            _ if stage.is_broken => from::unknown_base(self, stage),
            Ok(state) => state,
            Err(error) => {
                self.fail(error)?;
                return Some(from::unknown_base(self, stage));
            }
        };
        let ignore_cache = survey.options.ignores_cache(stage.name.as_deref());
        let mut lowering = StageLowering {
            plan: self,
            index,
            state,
            names,
            ignore_cache,
            cmd_set: false,
            is_uncertain: Cell::new(false),
        };
        let triggers = triggers.iter().map(|trigger| (trigger, Some(stage.place())));
        let own = stage.syntax.instructions.iter().map(|instruction| (instruction, None));
        let mut holes = stage.syntax.holes.iter().peekable();
        for (instruction, trigger) in triggers.chain(own) {
            // What an instruction would have set that could not be read is not to be missed below.
            let mut is_whole = true;
            while let Some(hole) = holes.next_if(|hole| trigger.is_none() && **hole < instruction.span.end) {
                lowering.state.scope.blind();
                is_whole &= *hole < instruction.span.start;
            }
            if !is_whole {
                continue;
            }
            lowering.is_uncertain.set(false);
            if let Err(error) = lowering.counted(Here { instruction, trigger }) {
                // What depends on a variable that nobody knows may be right.
                if !lowering.is_uncertain.get() || lowering.plan.budget.is_spent() {
                    lowering.plan.fail(error)?;
                }
                // What it would have set is not to be missed below.
                lowering.state.scope.open();
            }
        }
        if holes.next().is_some() {
            lowering.state.scope.blind();
        }
        Some(lowering.state)
    }

    /// Returns the image of the target and the stages; `number` is its place among the outputs.
    fn finish(self, number: usize) -> (ImageOutput, Vec<PlannedStage>) {
        let survey = self.survey;
        let stages: Vec<PlannedStage> = self
            .stages
            .iter()
            .enumerate()
            .filter_map(|(index, state)| {
                let state = state.as_ref()?;
                Some(PlannedStage {
                    name: survey.stage_name(index),
                    index,
                    output: number,
                    vertex: state.vertex,
                    config: state.config.clone(),
                    environment: state.scope.environment(),
                    arguments: state.scope.arguments(),
                })
            })
            .collect();
        let target = self.stages.into_iter().nth(survey.target).flatten();
        let StageState { vertex, mut config, history, platform, .. } =
            target.expect("the target is among the stages it needs");
        let platform = if survey.options.platforms.is_empty() {
            platform
        } else {
            from::claim_platform(&mut config, survey.target_platform);
            survey.target_platform.clone()
        };
        if !survey.options.labels.is_empty() {
            config.config.labels.get_or_insert_default().extend(survey.options.labels.iter().cloned());
        }
        (ImageOutput { platform, vertex, config, history, epoch: survey.epoch }, stages)
    }

    /// Adds a source of the graph, which no cache rule concerns.
    fn add_source(&mut self, op: Op, name: String) -> VertexId {
        self.add(Vertex { op, name, stage: None, origin: None, ignore_cache: false })
    }

    fn add(&mut self, vertex: Vertex) -> VertexId {
        self.graph.add(vertex).expect("inputs are added before the steps that read them")
    }

    fn origin(&self, place: Place) -> Origin {
        Origin {
            source: self.survey.options.source_name.clone(),
            first_line: place.lines.0,
            last_line: place.lines.1,
        }
    }
}

impl StageLowering<'_, '_> {
    /// Lowers an instruction and counts what it adds to the plan.
    fn counted(&mut self, here: Here<'_>) -> Checked<()> {
        let before = self.state.size;
        self.instruction(here)?;
        self.plan.budget.spend(self.state.size - before + ENTRY, here.place())
    }

    fn instruction(&mut self, here: Here<'_>) -> Checked<()> {
        match &here.instruction.kind {
            InstructionKind::Add(copy) => self.copy(here, copy, copy::Flavour::Add),
            InstructionKind::Arg(declarations) => self.arg(here, declarations),
            InstructionKind::Cmd(command) => {
                self.cmd(command);
                Ok(())
            }
            InstructionKind::Copy(copy) => self.copy(here, copy, copy::Flavour::Copy),
            InstructionKind::Entrypoint(command) => {
                self.entrypoint(command);
                Ok(())
            }
            InstructionKind::Env(pairs) => self.env(here, pairs),
            InstructionKind::Expose(words) => self.expose(here, words),
            InstructionKind::Healthcheck(healthcheck) => {
                self.healthcheck(healthcheck);
                Ok(())
            }
            InstructionKind::Label(pairs) => self.label(here, pairs),
            InstructionKind::Maintainer(name) => {
                self.maintainer(name);
                Ok(())
            }
            InstructionKind::OnBuild(_) => {
                self.onbuild(here);
                Ok(())
            }
            InstructionKind::Run(run) => self.run(here, run),
            InstructionKind::Shell(shell) => {
                self.shell(shell);
                Ok(())
            }
            InstructionKind::StopSignal(word) => self.stop_signal(here, word),
            InstructionKind::User(word) => self.user(here, word),
            InstructionKind::Volume(words) => self.volume(here, words),
            InstructionKind::Workdir(word) => self.workdir(here, word),
        }
    }

    /// Returns the value of a variable that an expansion asks for.
    fn variable(&self, name: &str) -> Option<String> {
        let value = self.state.scope.get(name).map(str::to_owned);
        if value.is_none() && self.state.scope.is_blind() {
            self.is_uncertain.set(true);
        }
        value
    }

    /// Expands a word with the stage's variables (D-060), and reports the names that are nowhere set.
    fn word(&mut self, here: Here<'_>, word: &Spanned<String>) -> Checked<String> {
        let place = here.at(word);
        let variable = |name: &str| self.variable(name);
        let escape = self.plan.survey.dockerfile.escape;
        let options = ExpandOptions { escape, variable: &variable, quotes: true };
        let expanded = expand(&word.value, &options).map_err(|error| place.error(error.to_string()))?;
        self.undefined(here, place, &expanded.unset);
        self.plan.budget.spend(expanded.text.len(), place)?;
        Ok(expanded.text)
    }

    /// Reports names that an instruction used and that the stage neither set nor declared (D-331).
    fn undefined(&mut self, here: Here<'_>, place: Place, unset: &[String]) {
        for name in unset {
            let scope = &self.state.scope;
            if scope.is_open() || scope.is_declared(name) || NOT_EXPORTED.contains(&name.as_str()) {
                continue;
            }
            // Whoever has so many findings has not misspelt a word.
            let guess = if self.plan.warnings.len() < 1000 { suggest(name, scope.names()) } else { None };
            let message = undefined_var::message(name, guess);
            self.warn(here, place, &undefined_var::RULE, message);
        }
    }

    /// Reports a finding of a build check, unless a comment above the instruction skips it (D-027).
    fn warn(&mut self, here: Here<'_>, place: Place, rule: &Rule, message: String) {
        if !is_skipped_above(&here.instruction.comments, rule.name) {
            self.plan.warnings.push(place.warning(rule, message));
        }
    }

    /// Adds the vertex of an instruction, which becomes the stage's file system.
    fn step(&mut self, here: Here<'_>, op: Op, name: String) -> VertexId {
        let vertex = Vertex {
            op,
            name,
            stage: Some(self.plan.survey.stage_name(self.index)),
            origin: Some(self.plan.origin(here.place())),
            ignore_cache: self.ignore_cache,
        };
        self.state.size += vertex.name.len() + ENTRY;
        self.state.vertex = self.plan.add(vertex);
        self.state.vertex
    }

    /// Returns the step name of an instruction, with variables shown as values except those masked.
    fn step_name(&mut self, here: Here<'_>, mark: &str, suffix: &str, masked: &[String]) -> String {
        let keyword = here.instruction.keyword.value.to_uppercase();
        let text = format!("{keyword} {}{suffix}", first_line(&here.instruction.text));
        let scope = &self.state.scope;
        let shown = display(text.trim_end(), self.plan.survey.dockerfile.escape, &|name| {
            if masked.iter().any(|secret| secret == name) {
                return Some("****".to_owned());
            }
            scope.get(name).map(str::to_owned)
        });
        let trigger = if here.trigger.is_some() { "ONBUILD " } else { "" };
        self.names.next(&self.state.scope, &format!("{trigger}{mark}{shown}"))
    }

    /// Records an instruction in the history; one that makes no layer has no vertex (D-294, D-299).
    fn record(&mut self, created_by: String, vertex: Option<VertexId>) {
        self.state.size += created_by.len() + ENTRY;
        self.state.history.push(PlannedHistory { created_by, vertex });
    }

    fn workdir_path(&self) -> &str {
        match self.state.config.config.working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }
}

impl Here<'_> {
    /// Returns the place of the whole instruction.
    fn place(&self) -> Place {
        self.trigger.unwrap_or_else(|| Place::new(self.instruction.span, self.instruction.lines))
    }

    /// Returns the place of a word of the instruction.
    fn at<T>(&self, word: &Spanned<T>) -> Place {
        self.trigger.unwrap_or_else(|| Place::new(word.span, self.instruction.lines))
    }
}

/// Returns how many steps a stage shows: its FROM unless it costs nothing, and its RUN, COPY, ADD and
/// WORKDIR (B-146).
fn step_count(stage: &StageInfo<'_>, triggers: &[Instruction]) -> usize {
    let instructions = triggers.iter().chain(&stage.syntax.instructions);
    let steps = instructions.filter(|instruction| {
        matches!(
            instruction.kind,
            InstructionKind::Run(_)
                | InstructionKind::Copy(_)
                | InstructionKind::Add(_)
                | InstructionKind::Workdir(_)
        )
    });
    usize::from(from::is_step(&stage.base)) + steps.count()
}
