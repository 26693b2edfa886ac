//! Checking a file without building it: every stage, and bases that may stay unknown (B-159, B-160).

use std::collections::BTreeSet;

use castoff_dockerfile::{Diagnostic, Severity};
use castoff_graph::BuildGraph;

use crate::date;
use crate::lower;
use crate::reach::reach;
use crate::stage::Survey;
use crate::{PlannedStage, Planner, Question};

/// What a check says next.
#[derive(Debug, Clone)]
pub enum CheckStep {
    /// These images would be good to know; answer each with [`Planner::provide`], or with
    /// [`Planner::leave_unknown`], then check again.
    Resolve(Vec<Question>),
    /// What was found.
    Done(Box<Examined>),
}

/// What part of a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaching {
    /// The target and what it needs.
    Target,
    /// Every stage.
    AllStages,
}

impl Reaching {
    /// Returns the stages that are looked at with all that they need.
    pub(crate) fn roots(self, survey: &Survey<'_>) -> Vec<usize> {
        match self {
            Reaching::Target => vec![survey.target],
            Reaching::AllStages => (0..survey.stages.len()).collect(),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Examined {
    /// Errors first, then findings of the build checks that need planning.
    pub diagnostics: Vec<Diagnostic>,
    /// The stages that were looked at.
    pub reached: BTreeSet<usize>,
    /// The operations of these stages, as far as they have no errors. Not to be solved: what is based on
    /// an image that stayed unknown is based on nothing here.
    pub graph: BuildGraph,
    /// The stages at their ends.
    pub stages: Vec<PlannedStage>,
}

impl Examined {
    /// Whether nothing stops a build.
    pub fn is_sound(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Error)
    }
}

impl Planner {
    /// Looks at the target or at every stage (D-322), and says all that a plan would say.
    pub fn check(&self, reaching: Reaching) -> CheckStep {
        // When the source was is of no interest, only whether it may be asked.
        if let Err(diagnostic) = date::source(&self.dockerfile, &self.options) {
            return CheckStep::Done(Box::new(Examined {
                diagnostics: vec![diagnostic],
                ..Examined::default()
            }));
        }
        let mut questions: Vec<Question> = Vec::new();
        let mut asked = BTreeSet::new();
        let mut targets = Vec::new();
        for platform in self.options.targets() {
            let survey = match Survey::new(&self.dockerfile, &self.options, platform) {
                Ok(survey) => survey,
                Err(errors) => {
                    let diagnostics = self.mistakes(errors, reaching);
                    return CheckStep::Done(Box::new(Examined { diagnostics, ..Examined::default() }));
                }
            };
            let mut reached = match reach(&survey, reaching.roots(&survey), &self.answers) {
                Ok(reached) => reached,
                Err(error) => {
                    let diagnostics = vec![error];
                    return CheckStep::Done(Box::new(Examined { diagnostics, ..Examined::default() }));
                }
            };
            for question in std::mem::take(&mut reached.questions) {
                if asked.insert(question.clone()) {
                    questions.push(question);
                }
            }
            targets.push((survey, reached));
        }
        if !questions.is_empty() {
            return CheckStep::Resolve(questions);
        }
        let reached = targets.iter().flat_map(|(_, reached)| reached.stages.iter().copied()).collect();
        CheckStep::Done(Box::new(match lower::lower(&targets, &self.answers) {
            Ok(plan) => {
                Examined { diagnostics: plan.warnings, reached, graph: plan.graph, stages: plan.stages }
            }
            Err(diagnostics) => Examined { diagnostics, reached, ..Examined::default() },
        }))
    }

    /// Says that an image cannot be known. Only a check goes on without; a plan asks again.
    pub fn leave_unknown(&mut self, question: &Question) {
        self.answers.leave_unknown(question);
    }
}
