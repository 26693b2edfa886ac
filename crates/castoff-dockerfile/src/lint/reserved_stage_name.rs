//! ReservedStageName (D-327).

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "ReservedStageName",
    description: "Reserved words should not be used as stage names",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/ReservedStageName.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some(name) = &stage.from.name else { continue };
        let folded = name.value.to_lowercase();
        if matches!(folded.as_str(), "scratch" | "context") {
            let message = format!("Stage name should not use the same name as reserved stage {folded:?}");
            findings.add(Place::from(&stage.from, index), name.span, message);
        }
    }
}
