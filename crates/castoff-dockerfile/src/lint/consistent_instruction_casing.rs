//! ConsistentInstructionCasing (D-326).

use crate::Spanned;
use crate::fix::Edit;

use super::file::{Case, File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    description: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/ConsistentInstructionCasing.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let froms = file.stages().map(|(index, stage)| (Place::from(&stage.from, index), &stage.from.keyword));
    let others = file.instructions().map(|(place, instruction)| (place, &instruction.keyword));
    let keywords: Vec<(Place<'_>, &Spanned<String>)> = froms.chain(others).collect();
    let count = |wanted| keywords.iter().filter(|(_, keyword)| Case::of(&keyword.value) == wanted).count();
    let (majority, name) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lowercase"),
        false => (Case::Upper, "uppercase"),
    };
    for (place, keyword) in keywords {
        let word = &keyword.value;
        if Case::of(word) == majority {
            continue;
        }
        let message = format!("Command '{word}' should match the case of the command majority ({name})");
        let text = match majority {
            Case::Lower => word.to_lowercase(),
            Case::Upper | Case::Mixed => word.to_uppercase(),
        };
        let fix =
            if file.is_verbatim(keyword) { vec![Edit::replace(keyword.span, text)] } else { Vec::new() };
        findings.add_fixable(place, keyword.span, message, fix);
    }
}
