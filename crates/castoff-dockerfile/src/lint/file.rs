//! What checks look at, and where they put what they find.

use std::collections::BTreeMap;

use crate::fix::Edit;
use crate::lines::offset;
use crate::{Diagnostic, Dockerfile, From, Instruction, Severity, Span, Spanned, Stage};

use super::{Finding, LintOptions, Rule, is_skipped_above};

/// A file that is checked.
pub(super) struct File<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) source: &'a str,
    /// For each stage, the stage of this file that it is based on.
    bases: Vec<Option<usize>>,
    /// The stage that becomes the image.
    target: Option<usize>,
}

/// What a finding is about.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) lines: (u32, u32),
    pub(super) comments: &'a [String],
    pub(super) stage: Option<usize>,
}

impl<'a> File<'a> {
    pub(super) fn new(dockerfile: &'a Dockerfile, source: &'a str, options: &LintOptions) -> File<'a> {
        let stages = &dockerfile.stages;
        // The folded name is compared with the word as it is (D-117), and the latest one counts (D-114).
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut bases = Vec::with_capacity(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            bases.push(names.get(&stage.from.image.value).copied());
            if let Some(name) = &stage.from.name {
                names.insert(name.value.to_lowercase(), index);
            }
        }
        let target = match &options.target {
            Some(wanted) => names.get(&wanted.to_lowercase()).copied(),
            None => stages.len().checked_sub(1),
        };
        File { dockerfile, source, bases, target }
    }

    /// Returns the stages with their numbers.
    pub(super) fn stages(&self) -> impl Iterator<Item = (usize, &'a Stage)> {
        self.dockerfile.stages.iter().enumerate()
    }

    /// Returns the stage of this file that a stage is based on.
    pub(super) fn base(&self, stage: usize) -> Option<usize> {
        self.bases[stage]
    }

    /// Returns every instruction but FROM with its place, those before the first stage included.
    pub(super) fn instructions(&self) -> impl Iterator<Item = (Place<'a>, &'a Instruction)> {
        let global = self.dockerfile.global_args.iter().map(|one| (Place::of(one, None), one));
        global.chain(self.stages().flat_map(|(index, stage)| {
            stage.instructions.iter().map(move |one| (Place::of(one, Some(index)), one))
        }))
    }

    /// Returns the stages that the image is made of: the target and those it is based on, the first one
    /// first.
    pub(super) fn shipped(&self) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = self.target;
        while let Some(index) = next {
            chain.push(index);
            next = self.base(index);
        }
        chain.reverse();
        chain
    }

    /// Returns the place of the first occurrence of a text in an instruction, or of its keyword.
    pub(super) fn find(&self, instruction: &Instruction, text: &str) -> Span {
        let whole = self.source.get(instruction.span.range()).unwrap_or_default();
        match whole.find(text).filter(|_| !text.is_empty()) {
            Some(at) => {
                let start = instruction.span.start + offset(at);
                Span { start, end: start + offset(text.len()) }
            }
            None => instruction.keyword.span,
        }
    }

    /// Whether a word stands in the source as it is, so that replacing its place replaces the word.
    pub(super) fn is_verbatim(&self, word: &Spanned<String>) -> bool {
        self.source.get(word.span.range()) == Some(word.value.as_str())
    }
}

impl<'a> Place<'a> {
    pub(super) fn from(from: &'a From, stage: usize) -> Place<'a> {
        Place { lines: from.lines, comments: &from.comments, stage: Some(stage) }
    }

    pub(super) fn of(instruction: &'a Instruction, stage: Option<usize>) -> Place<'a> {
        Place { lines: instruction.lines, comments: &instruction.comments, stage }
    }
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    rule: Option<&'static Rule>,
    found: Vec<Finding>,
}

impl Findings {
    /// Says whose findings come next.
    pub(super) fn begin(&mut self, rule: &'static Rule) {
        self.rule = Some(rule);
    }

    /// Adds a finding, unless a comment above skips it.
    pub(super) fn add(&mut self, place: Place<'_>, span: Span, message: impl Into<String>) {
        self.add_fixable(place, span, message, Vec::new());
    }

    /// Adds a finding and what to do about it, unless a comment above skips it.
    pub(super) fn add_with_hint(
        &mut self,
        place: Place<'_>,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let before = self.found.len();
        self.add(place, span, message);
        if let Some(finding) = self.found.get_mut(before) {
            finding.diagnostic.hints.push(hint.into());
        }
    }

    /// Adds a finding and the change that puts it right.
    pub(super) fn add_fixable(
        &mut self,
        place: Place<'_>,
        span: Span,
        message: impl Into<String>,
        fix: Vec<Edit>,
    ) {
        let Some(rule) = self.rule else { return };
        if is_skipped_above(place.comments, rule.name) {
            return;
        }
        let diagnostic = Diagnostic {
            severity: Severity::Warning,
            rule: Some(rule.name),
            message: message.into(),
            span,
            lines: place.lines,
            hints: Vec::new(),
        };
        self.found.push(Finding { rule, diagnostic, stage: place.stage, fix });
    }

    pub(super) fn into_inner(self) -> Vec<Finding> {
        self.found
    }
}

/// Case of a word that has letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
    Mixed,
}

impl Case {
    pub(super) fn of(word: &str) -> Case {
        match (word.contains(|c: char| c.is_lowercase()), word.contains(|c: char| c.is_uppercase())) {
            (true, true) => Case::Mixed,
            (true, false) => Case::Lower,
            (false, _) => Case::Upper,
        }
    }
}
