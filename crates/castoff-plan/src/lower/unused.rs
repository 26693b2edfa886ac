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

/// Arguments that are for the builder, and that castoff obeys (D-025, D-028, D-100). Others of its prefix are none of
/// the Dockerfile's either.
const OBEYED: [&str; 7] = [
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
];

/// Returns warnings that name the build arguments without effect. They are about the command line, so
/// their place is none: lines (0, 0).
pub(super) fn build_args(survey: &Survey<'_>, reached: &Reached) -> Vec<Diagnostic> {
    let mut declared: BTreeSet<&str> = BTreeSet::new();
    for index in &reached.stages {
        let stage = &survey.stages[*index];
        let triggers = reached.triggers.get(index).map(Vec::as_slice).unwrap_or_default();
        declared.extend(triggers.iter().chain(&stage.syntax.instructions).flat_map(names));
    }
    let (mut unused, mut disobeyed): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (name, _) in &survey.options.build_args {
        let known = declared.contains(name.as_str())
            || survey.globals.declares(name)
            || PREDEFINED.contains(&name.as_str())
            || OBEYED.contains(&name.as_str())
            || super::run::is_proxy(name);
        let list = if name.starts_with("BUILDKIT_") { &mut disobeyed } else { &mut unused };
        if !known && !list.contains(&name.as_str()) {
            list.push(name);
        }
    }
    let warning = |message| Diagnostic {
        severity: castoff_dockerfile::Severity::Warning,
        ..Place::default().error(message)
    };
    let mut warnings = Vec::new();
    if !unused.is_empty() {
        warnings.push(warning(format!("one or more build-args [{}] were not consumed", unused.join(" "))));
    }
    if !disobeyed.is_empty() {
        warnings.push(warning(format!("the build-args [{}] have no effect in castoff", disobeyed.join(" "))));
    }
    warnings
}

fn names(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => {
            declarations.iter().map(|declaration| declaration.name.value.as_str()).collect()
        }
        _ => Vec::new(),
    }
}
