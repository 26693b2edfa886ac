//! Build checks that need nothing but the text (section 20).
//!
//! Checks that need variables, the context or a registry belong to others; they share
//! [`CheckOptions`] and [`is_skipped_above`].

mod options;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

pub use options::{CheckError, CheckOptions, is_skipped_above};

use crate::lines::{Item, Lines, next_item, offset};
use crate::{
    Command, Diagnostic, Dockerfile, From, Instruction, InstructionKind, Severity, Span, Spanned, Stage,
};

/// Runs the checks over a file. `source` is the text that its spans refer to
/// ([`Parsed::source`](crate::Parsed::source)).
///
/// Comments that skip a check for one instruction are honoured (D-027); what the whole file or the
/// caller skips is not: [`CheckOptions::allows`] tells.
pub fn lint(dockerfile: &Dockerfile, source: &str) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    empty_continuations(dockerfile, source, &mut findings);
    casing(dockerfile, &mut findings);
    stage_names(dockerfile, &mut findings);
    for stage in &dockerfile.stages {
        from(&stage.from, &mut findings);
        repeated(stage, &mut findings);
        for instruction in &stage.instructions {
            single(instruction, &mut findings);
        }
    }
    shell_forms(dockerfile, &mut findings);
    for argument in &dockerfile.global_args {
        described(argument, &mut findings);
    }
    let mut diagnostics = findings.0;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    diagnostics
}

#[derive(Default)]
struct Findings(Vec<Diagnostic>);

/// What a finding is about.
struct Place<'a> {
    lines: (u32, u32),
    comments: &'a [String],
}

impl<'a> Place<'a> {
    fn from(from: &'a From) -> Place<'a> {
        Place { lines: from.lines, comments: &from.comments }
    }

    fn of(instruction: &'a Instruction) -> Place<'a> {
        Place { lines: instruction.lines, comments: &instruction.comments }
    }
}

impl Findings {
    fn add(&mut self, rule: &'static str, place: &Place<'_>, span: Span, message: String) {
        if is_skipped_above(place.comments, rule) {
            return;
        }
        let (severity, lines) = (Severity::Warning, place.lines);
        self.0.push(Diagnostic { severity, rule: Some(rule), message, span, lines, hints: Vec::new() });
    }
}

/// D-325.
fn empty_continuations(dockerfile: &Dockerfile, source: &str, findings: &mut Findings) {
    let mut lines = Lines::new(source);
    let stages = dockerfile.stages.iter().flat_map(|stage| {
        std::iter::once(Place::from(&stage.from)).chain(stage.instructions.iter().map(Place::of))
    });
    for place in dockerfile.global_args.iter().map(Place::of).chain(stages) {
        while lines.position().0 + 1 < place.lines.0 && lines.next().is_some() {}
        if let Some(Item::Logical(logical)) = next_item(&mut lines, dockerfile.escape)
            && let Some(blank) = logical.blank
        {
            let span = Span { start: offset(blank.start), end: offset(blank.end) };
            findings.add("NoEmptyContinuation", &place, span, "empty continuation line".to_owned());
        }
    }
}

/// Case of a word that has letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Mixed,
}

fn case(word: &str) -> Case {
    match (word.contains(|c: char| c.is_lowercase()), word.contains(|c: char| c.is_uppercase())) {
        (true, true) => Case::Mixed,
        (true, false) => Case::Lower,
        (false, _) => Case::Upper,
    }
}

/// D-326.
fn casing(dockerfile: &Dockerfile, findings: &mut Findings) {
    let mut keywords: Vec<(&Spanned<String>, Place<'_>)> = Vec::new();
    keywords.extend(dockerfile.global_args.iter().map(|arg| (&arg.keyword, Place::of(arg))));
    for stage in &dockerfile.stages {
        keywords.push((&stage.from.keyword, Place::from(&stage.from)));
        keywords.extend(stage.instructions.iter().map(|one| (&one.keyword, Place::of(one))));
    }
    let count = |wanted| keywords.iter().filter(|(keyword, _)| case(&keyword.value) == wanted).count();
    let (majority, name) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lowercase"),
        false => (Case::Upper, "uppercase"),
    };
    for (keyword, place) in &keywords {
        if case(&keyword.value) != majority {
            let word = &keyword.value;
            let message = format!("command '{word}' should match the case of the command majority ({name})");
            findings.add("ConsistentInstructionCasing", place, keyword.span, message);
        }
    }
}

/// D-323, D-327.
fn stage_names(dockerfile: &Dockerfile, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for stage in &dockerfile.stages {
        let Some(name) = &stage.from.name else { continue };
        let place = Place::from(&stage.from);
        let folded = name.value.to_lowercase();
        if folded != name.value {
            let message = format!("stage name '{}' should be lowercase", name.value);
            findings.add("StageNameCasing", &place, name.span, message);
        }
        if matches!(folded.as_str(), "scratch" | "context") {
            let message = format!("stage name should not use the same name as reserved stage '{folded}'");
            findings.add("ReservedStageName", &place, name.span, message);
        }
        if !seen.insert(folded) {
            let message = format!("duplicate stage name '{}', stage names should be unique", name.value);
            findings.add("DuplicateStageName", &place, name.span, message);
        }
    }
}

/// D-324, D-336, D-339, D-341.
fn from(from: &From, findings: &mut Findings) {
    let place = Place::from(from);
    if let Some(keyword) = &from.as_keyword
        && case(&from.keyword.value) != Case::Mixed
        && case(&keyword.value) != case(&from.keyword.value)
    {
        let message =
            format!("'{}' and '{}' keywords' casing do not match", keyword.value, from.keyword.value);
        findings.add("FromAsCasing", &place, keyword.span, message);
    }
    if let Some(platform) = &from.platform {
        match platform.value.as_str() {
            "$TARGETPLATFORM" | "${TARGETPLATFORM}" => {
                let message = format!(
                    "setting platform to predefined {} in FROM is redundant as this is the default behavior",
                    platform.value
                );
                findings.add("RedundantTargetPlatform", &place, platform.span, message);
            }
            value if !value.contains('$') && !is_named_after(from, value) => {
                let message = format!("FROM --platform flag should not use constant value \"{value}\"");
                findings.add("FromPlatformFlagConstDisallowed", &place, platform.span, message);
            }
            _ => {}
        }
    }
    if let Some(name) = &from.name {
        describes(&place, &name.value, name.span, findings);
    }
}

/// Whether a stage is named after its platform, so that the constant is meant.
fn is_named_after(from: &From, platform: &str) -> bool {
    let Some(name) = &from.name else { return false };
    let name = name.value.to_lowercase();
    platform.split('/').take(2).all(|part| name.contains(&part.to_lowercase()))
}

/// D-333: reported at the earlier one.
fn repeated(stage: &Stage, findings: &mut Findings) {
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let mut found: Vec<_> =
            stage.instructions.iter().filter(|one| one.keyword.value.eq_ignore_ascii_case(name)).collect();
        found.pop();
        for earlier in found {
            let message = format!(
                "multiple {name} instructions should not be used in the same stage \
                 because only the last one will be used"
            );
            let span = earlier.keyword.span;
            findings.add("MultipleInstructionsDisallowed", &Place::of(earlier), span, message);
        }
    }
}

/// Checks of one instruction alone: D-329, D-334, D-337, D-341.
fn single(instruction: &Instruction, findings: &mut Findings) {
    let place = Place::of(instruction);
    match &instruction.kind {
        InstructionKind::Maintainer(_) => {
            let message = "MAINTAINER instruction is deprecated in favor of using label".to_owned();
            findings.add("MaintainerDeprecated", &place, instruction.keyword.span, message);
        }
        InstructionKind::Env(pairs) => {
            legacy(instruction, "ENV", pairs.legacy, findings);
            for (name, _) in &pairs.pairs {
                secret("ENV", name, &place, findings);
            }
        }
        InstructionKind::Label(pairs) => legacy(instruction, "LABEL", pairs.legacy, findings),
        InstructionKind::Arg(declarations) => {
            for declaration in declarations {
                secret("ARG", &declaration.name, &place, findings);
            }
            described(instruction, findings);
        }
        InstructionKind::Add(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Expose(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::OnBuild(_)
        | InstructionKind::Run(_)
        | InstructionKind::Shell(_)
        | InstructionKind::StopSignal(_)
        | InstructionKind::User(_)
        | InstructionKind::Volume(_)
        | InstructionKind::Workdir(_) => {}
    }
}

fn legacy(instruction: &Instruction, name: &str, legacy: bool, findings: &mut Findings) {
    if legacy {
        let message =
            format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
        findings.add("LegacyKeyValueFormat", &Place::of(instruction), instruction.span, message);
    }
}

fn secret(keyword: &str, name: &Spanned<String>, place: &Place<'_>, findings: &mut Findings) {
    if secrets::is_secret(&name.value) {
        let name_shown = &name.value;
        let message =
            format!("do not use ARG or ENV instructions for sensitive data ({keyword} \"{name_shown}\")");
        findings.add("SecretsUsedInArgOrEnv", place, name.span, message);
    }
}

/// D-341 of an ARG that declares one name.
fn described(instruction: &Instruction, findings: &mut Findings) {
    if let InstructionKind::Arg(declarations) = &instruction.kind
        && let [declaration] = &declarations[..]
    {
        describes(&Place::of(instruction), &declaration.name.value, declaration.name.span, findings);
    }
}

fn describes(place: &Place<'_>, name: &str, span: Span, findings: &mut Findings) {
    let mut comments = place.comments.iter().filter(|comment| !options::is_check(comment)).peekable();
    if comments.peek().is_some()
        && !comments.any(|comment| comment.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))
    {
        let message = format!("comment should start with `{name} ` to describe it");
        findings.add("InvalidDefinitionDescription", place, span, message);
    }
}

/// D-328, D-185: a stage has the SHELL of the stage it is based on.
fn shell_forms(dockerfile: &Dockerfile, findings: &mut Findings) {
    let mut shells: BTreeMap<String, bool> = BTreeMap::new();
    for stage in &dockerfile.stages {
        let mut shell = shells.get(&stage.from.image.value).copied().unwrap_or(false);
        for instruction in &stage.instructions {
            shell |= matches!(instruction.kind, InstructionKind::Shell(_));
            let name = instruction.keyword.value.to_ascii_uppercase();
            if let InstructionKind::Cmd(Command::Shell(_)) | InstructionKind::Entrypoint(Command::Shell(_)) =
                &instruction.kind
                && !shell
            {
                let message = format!(
                    "JSON arguments recommended for {name} to prevent unintended behavior \
                     related to OS signals"
                );
                findings.add("JSONArgsRecommended", &Place::of(instruction), instruction.span, message);
            }
        }
        if let Some(name) = &stage.from.name {
            shells.insert(name.value.to_lowercase(), shell);
        }
    }
}
