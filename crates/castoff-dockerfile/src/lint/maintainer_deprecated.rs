//! MaintainerDeprecated (D-329).

use crate::InstructionKind;
use crate::fix::{AUTHORS, Edit};

use super::file::{Case, File, Findings};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    description: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/MaintainerDeprecated.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        let InstructionKind::Maintainer(name) = &instruction.kind else { continue };
        let message = "Maintainer instruction is deprecated in favor of using label";
        let keyword = &instruction.keyword;
        let fix = match as_label(&name.value) {
            Some(label) if file.is_verbatim(name) && file.is_verbatim(keyword) => {
                let text = if Case::of(&keyword.value) == Case::Lower { "label" } else { "LABEL" };
                vec![Edit::replace(keyword.span, text), Edit::replace(name.span, label)]
            }
            Some(_) | None => Vec::new(),
        };
        findings.add_fixable(place, keyword.span, message, fix);
    }
}

/// Returns the pair of a label that says the same; none for a name that a label would read otherwise.
fn as_label(name: &str) -> Option<String> {
    let plain = !name.contains(['"', '\'', '\\', '`', '$']);
    plain.then(|| format!("{AUTHORS}=\"{name}\""))
}
