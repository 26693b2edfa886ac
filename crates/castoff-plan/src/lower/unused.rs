//! Build arguments that nothing declares (D-093).

use std::collections::BTreeSet;

use castoff_dockerfile::{Diagnostic, Instruction, InstructionKind};

use crate::place::Place;
use crate::reach::Reached;
use crate::stage::Survey;

/// Arguments that mean something without an ARG line (D-095, D-097, D-098, D-100, D-102).
const PREDEFINED: [&str; 12] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETOSVERSION",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "BUILDOSVERSION",
    "SOURCE_DATE_EPOCH",
];

/// Returns one warning that names the build arguments without effect. It is about the command line, so
/// its place is none: lines (0, 0).
pub(super) fn build_args(survey: &Survey<'_>, reached: &Reached) -> Option<Diagnostic> {
    let mut declared: BTreeSet<&str> = BTreeSet::new();
    for index in &reached.stages {
        let stage = &survey.stages[*index];
        let triggers = reached.triggers.get(index).map(Vec::as_slice).unwrap_or_default();
        declared.extend(triggers.iter().chain(&stage.syntax.instructions).flat_map(names));
    }
    let mut unused: Vec<&str> = Vec::new();
    for (name, _) in &survey.options.build_args {
        let known = declared.contains(name.as_str())
            || survey.globals.declares(name)
            || PREDEFINED.contains(&name.as_str())
            || name.starts_with("BUILDKIT_")
            || super::run::is_proxy(name);
        if !known && !unused.contains(&name.as_str()) {
            unused.push(name);
        }
    }
    if unused.is_empty() {
        return None;
    }
    let message = format!("one or more build-args [{}] were not consumed", unused.join(" "));
    Some(Diagnostic { severity: castoff_dockerfile::Severity::Warning, ..Place::default().error(message) })
}

fn names(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => {
            declarations.iter().map(|declaration| declaration.name.value.as_str()).collect()
        }
        _ => Vec::new(),
    }
}
