//! DuplicateStageName (D-327).

use std::collections::BTreeSet;

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "DuplicateStageName",
    description: "Stage names should be unique",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/DuplicateStageName.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, stage) in file.stages() {
        let Some(name) = &stage.from.name else { continue };
        let folded = name.value.to_lowercase();
        if seen.contains(&folded) {
            let message = format!("Duplicate stage name {folded:?}, stage names should be unique");
            findings.add(Place::from(&stage.from, index), name.span, message);
        }
        seen.insert(folded);
    }
}
