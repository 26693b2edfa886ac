//! The planner: a state machine that asks for images and gives a plan.

use std::collections::{BTreeMap, BTreeSet};

use castoff_dockerfile::{Diagnostic, Dockerfile, Severity, Span};
use castoff_graph::{BuildGraph, ImageOutput, SourceOp, VertexId};
use castoff_oci::{Digest, ImageConfig, Platform, Reference};

use crate::PlanOptions;
use crate::check::Reaching;
use crate::contexts;
use crate::date;
use crate::lower;
use crate::reach::reach;
use crate::stage::{Root, Survey};
use crate::suggest::known_stages;

/// Lowers one Dockerfile, for one platform or several.
#[derive(Debug, Clone)]
pub struct Planner {
    pub(crate) dockerfile: Dockerfile,
    pub(crate) options: PlanOptions,
    pub(crate) answers: Answers,
}

/// What the planner says next.
#[derive(Debug, Clone)]
pub enum Step {
    /// It must know these images; answer each with [`Planner::provide`], then step again. Only images
    /// that the target needs are asked for (D-127), each once.
    Resolve(Vec<Question>),
    /// It must know the time of this source, which SOURCE_DATE_EPOCH stands for (D-103); answer with
    /// [`Planner::provide_date`], then step again.
    Date(Box<SourceOp>),
    /// The plan.
    Done(Box<Plan>),
    /// The file cannot be built: errors first, then the warnings found on the way.
    Failed(Vec<Diagnostic>),
}

/// An image that must be known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The image, as named.
    pub reference: Reference,
    /// The platform wanted of it.
    pub platform: Platform,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// The image, as shown in step names.
    pub reference: Reference,
    /// Digest of the manifest for the platform.
    pub manifest: Digest,
    /// The platform found, which may differ from the one wanted (D-123).
    pub platform: Platform,
    /// Whether the machine can run programs of that platform (D-123).
    pub runs_here: bool,
    /// The config.
    pub config: ImageConfig,
}

/// What is to be done for an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The operations of the stages that the target needs, for all platforms: what is the same for
    /// several is in it once (B-166, D-320).
    pub graph: BuildGraph,
    /// The image of the target stage for each platform, in the order asked for; at least one.
    pub outputs: Vec<ImageOutput>,
    /// The needed stages of each output in file order; the target is the one whose vertex is the
    /// output's.
    pub stages: Vec<PlannedStage>,
    /// Names of the secrets that steps use, whether or not they are required.
    pub secrets: BTreeSet<String>,
    /// Names of the ssh agents that steps use, whether or not they are required.
    pub agents: BTreeSet<String>,
    /// Findings of the build checks that need planning.
    pub warnings: Vec<Diagnostic>,
}

/// A stage that the target needs, as it is at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// Its name in lower case, or `stage-N`.
    pub name: String,
    /// Its place in the file, from 0.
    pub index: usize,
    /// The output that it is part of, by its place in [`Plan::outputs`].
    pub output: usize,
    /// Its file system.
    pub vertex: VertexId,
    /// Its config.
    pub config: ImageConfig,
    /// The variables that a RUN at its end would see, ARGs included.
    pub environment: Vec<(String, String)>,
    /// The arguments it declares, those of base stages included, in order.
    pub arguments: Vec<(String, Option<String>)>,
}

/// The images known so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    known: BTreeMap<Question, ResolvedImage>,
    /// Images that a check does without.
    unknown: BTreeSet<Question>,
}

impl Answers {
    pub(crate) fn get(&self, question: &Question) -> Option<&ResolvedImage> {
        self.known.get(question)
    }

    /// Whether there is nothing more to ask about an image.
    pub(crate) fn is_settled(&self, question: &Question) -> bool {
        self.known.contains_key(question) || self.unknown.contains(question)
    }

    pub(crate) fn leave_unknown(&mut self, question: &Question) {
        self.unknown.insert(question.clone());
    }

    /// Returns the answers that a plan can be made of.
    fn known(&self) -> Answers {
        Answers { known: self.known.clone(), unknown: BTreeSet::new() }
    }
}

impl Planner {
    /// Returns a planner of a file.
    pub fn new(dockerfile: &Dockerfile, mut options: PlanOptions) -> Planner {
        date::settle_contexts(dockerfile, &mut options);
        Planner { dockerfile: dockerfile.clone(), options, answers: Answers::default() }
    }

    /// Returns what must be known next, the plan, or why there is none. Calling it again without new
    /// answers gives the same.
    pub fn step(&mut self) -> Step {
        match date::source(&self.dockerfile, &self.options) {
            Ok(Some(source)) => return Step::Date(Box::new(source)),
            Ok(None) => {}
            Err(error) => return Step::Failed(vec![error]),
        }
        let answers = self.answers.known();
        let mut targets = Vec::new();
        let mut questions: Vec<Question> = Vec::new();
        let mut asked = BTreeSet::new();
        for platform in self.options.targets() {
            let survey = match Survey::new(&self.dockerfile, &self.options, platform) {
                Ok(survey) => survey,
                Err(errors) => return Step::Failed(self.mistakes(errors, Reaching::Target)),
            };
            let mut reached = match reach(&survey, vec![survey.target], &answers) {
                Ok(reached) => reached,
                Err(error) => return Step::Failed(vec![error]),
            };
            for question in std::mem::take(&mut reached.questions) {
                if asked.insert(question.clone()) {
                    questions.push(question);
                }
            }
            targets.push((survey, reached));
        }
        if !questions.is_empty() {
            return Step::Resolve(questions);
        }
        match lower::lower(&targets, &answers) {
            Ok(plan) => Step::Done(Box::new(plan)),
            Err(diagnostics) => Step::Failed(diagnostics),
        }
    }

    /// Returns errors that are known of a file, such as those of its syntax, and behind them the mistakes that are
    /// certain without knowing more: what hangs on a stage, an image or an instruction that is not known is left
    /// alone. Asks nothing.
    pub fn mistakes(&self, mut errors: Vec<Diagnostic>, reaching: Reaching) -> Vec<Diagnostic> {
        if !matches!(date::source(&self.dockerfile, &self.options), Ok(None)) {
            return errors;
        }
        let mut add = |new: Vec<Diagnostic>| {
            for error in new {
                if error.severity == Severity::Error && !errors.contains(&error) {
                    errors.push(error);
                }
            }
        };
        let mut answers = self.answers.clone();
        let mut targets = Vec::new();
        for platform in self.options.targets() {
            let survey = match Survey::look(&self.dockerfile, &self.options, platform) {
                Ok((survey, wrong)) => {
                    add(wrong);
                    survey
                }
                Err(wrong) => {
                    add(wrong);
                    return errors;
                }
            };
            let reached = loop {
                match reach(&survey, reaching.roots(&survey), &answers) {
                    Ok(reached) if reached.questions.is_empty() => break reached,
                    Ok(reached) => {
                        reached.questions.iter().for_each(|question| answers.leave_unknown(question));
                    }
                    Err(_) => return errors,
                }
            };
            targets.push((survey, reached));
        }
        add(lower::lower(&targets, &answers).err().unwrap_or_default());
        errors
    }

    /// Answers [`Step::Date`]: the time in seconds since 1970, if the source has one.
    pub fn provide_date(&mut self, seconds: Option<i64>) {
        date::settle(&mut self.options, seconds);
    }

    /// Answers a question. A second answer to the same question replaces the first.
    pub fn provide(&mut self, question: &Question, image: ResolvedImage) {
        self.answers.known.insert(question.clone(), image);
    }

    /// Returns the place that first asks for an image, span and lines, for reporting that it cannot be
    /// had, and a hint when a stage has nearly its name (D-346).
    pub fn asker(&self, question: &Question) -> Option<(Span, (u32, u32), Option<String>)> {
        let wanted = Root::Image(Box::new(question.clone()));
        let (survey, place) = self.options.targets().iter().find_map(|platform| {
            let survey = Survey::new(&self.dockerfile, &self.options, platform).ok()?;
            let place = survey.place_of(&wanted)?;
            Some((survey, place))
        })?;
        let names = survey.stages.iter().filter_map(|stage| stage.name.as_deref());
        Some((place.span, place.lines, known_stages(&contexts::short_name(&question.reference), names)))
    }
}
