//! MultipleInstructionsDisallowed (D-333).

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    description: "Multiple instructions of the same type should not be used in the same stage",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/MultipleInstructionsDisallowed.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let mut found: Vec<_> = stage
                .instructions
                .iter()
                .filter(|one| one.keyword.value.eq_ignore_ascii_case(name))
                .collect();
            // The last one counts; the earlier ones are reported.
            found.pop();
            for earlier in found {
                let message = format!(
                    "Multiple {name} instructions should not be used in the same stage \
                     because only the last one will be used"
                );
                findings.add(Place::of(earlier, Some(index)), earlier.keyword.span, message);
            }
        }
    }
}
