//! What the target needs: stages, triggers, and the images that must be known to go on (D-127, D-128).

use std::collections::{BTreeMap, BTreeSet};

use castoff_dockerfile::Instruction;

use crate::Question;
use crate::onbuild;
use crate::place::{Checked, Place};
use crate::planner::Answers;
use crate::stage::{Root, Source, SourceName, Survey, froms};

/// The part of a file that the target needs, as far as it is known.
pub(crate) struct Reached {
    /// Needed stages.
    pub(crate) stages: BTreeSet<usize>,
    /// Triggers that needed stages run, by stage.
    pub(crate) triggers: BTreeMap<usize, Vec<Instruction>>,
    /// Needed images that are not known yet, each once.
    pub(crate) questions: Vec<Question>,
    /// The same, for looking them up.
    asked: BTreeSet<Question>,
    /// How many triggers there are in all.
    trigger_count: usize,
}

/// Most triggers that the stages of a file may run.
const MOST_TRIGGERS: usize = 100_000;

/// Follows FROM, `from=` and triggers from some stages.
///
/// # Errors
/// When a trigger makes no sense.
pub(crate) fn reach(survey: &Survey<'_>, roots: Vec<usize>, answers: &Answers) -> Checked<Reached> {
    let mut reached = Reached {
        stages: BTreeSet::new(),
        triggers: BTreeMap::new(),
        questions: Vec::new(),
        asked: BTreeSet::new(),
        trigger_count: 0,
    };
    let mut open = roots;
    while let Some(index) = open.pop() {
        if !reached.stages.insert(index) {
            continue;
        }
        let stage = &survey.stages[index];
        if let Some(root) = &stage.replaced {
            reached.need(root, answers, &mut open);
            continue;
        }
        reached.need(&stage.base, answers, &mut open);
        let triggers = match &stage.base {
            Root::Stage(base) => onbuild::of_stage(&survey.stages[*base]),
            Root::Image(question) => {
                let config = answers.get(question).map(|image| &image.config.config);
                let triggers = config.and_then(|config| config.on_build.as_deref()).unwrap_or_default();
                onbuild::of_image(triggers, survey.dockerfile.escape, stage.place())?
            }
            Root::Scratch | Root::Directory(_) => Vec::new(),
        };
        reached.trigger_count += triggers.len();
        if reached.trigger_count > MOST_TRIGGERS {
            return Err(stage.place().error(format!("more than {MOST_TRIGGERS} triggers would run")));
        }
        for trigger in &triggers {
            for from in froms(trigger) {
                let from = SourceName { place: stage.place(), ..from };
                reached.need_source(survey.source(&from, index)?, answers, &mut open);
            }
        }
        for from in stage.syntax.instructions.iter().flat_map(froms) {
            // One that makes no sense is among the mistakes of the survey.
            if let Ok(source) = survey.source(&from, index) {
                reached.need_source(source, answers, &mut open);
            }
        }
        reached.triggers.insert(index, triggers);
    }
    Ok(reached)
}

impl Reached {
    fn need_source(&mut self, source: Source, answers: &Answers, open: &mut Vec<usize>) {
        match source {
            Source::Root(root) => self.need(&root, answers, open),
            // Lowering refuses it with the place of the instruction.
            Source::Later(_) => {}
        }
    }

    fn need(&mut self, root: &Root, answers: &Answers, open: &mut Vec<usize>) {
        match root {
            Root::Stage(index) => open.push(*index),
            Root::Image(question) => {
                if !answers.is_settled(question) && self.asked.insert(question.as_ref().clone()) {
                    self.questions.push(question.as_ref().clone());
                }
            }
            Root::Scratch | Root::Directory(_) => {}
        }
    }
}

impl Survey<'_> {
    /// Returns the place of the first FROM or `from=` that names a root.
    pub(crate) fn place_of(&self, wanted: &Root) -> Option<Place> {
        self.stages.iter().enumerate().find_map(|(index, stage)| {
            if stage.replaced.as_ref().unwrap_or(&stage.base) == wanted {
                let from = &stage.syntax.from;
                return Some(Place::new(from.image.span, from.lines));
            }
            let mut sources = stage.syntax.instructions.iter().flat_map(froms);
            sources.find_map(|from| match self.source(&from, index) {
                Ok(Source::Root(root)) if root == *wanted => Some(from.place),
                _ => None,
            })
        })
    }
}
