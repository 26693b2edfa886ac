//! FlagWithoutEffect: a flag that changes nothing where it stands (D-037), as far as the text alone tells;
//! the planner sees the others.

use super::file::{File, Findings};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

/// The rule, for the planner, which shares it.
pub const RULE: Rule = Rule {
    name: "FlagWithoutEffect",
    description: "A flag should stand where it changes something",
    origin: Origin::CastoffAlways,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/FlagWithoutEffect.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        for flag in &instruction.ignored_flags {
            let keyword = instruction.keyword.value.to_uppercase();
            let (keyword, hint) = match keyword.as_str() {
                "HEALTHCHECK" => ("HEALTHCHECK NONE", "drop the flag"),
                keyword => (keyword, "drop the flag; a value that starts with `--` needs quotes"),
            };
            let message = message(&flag.value, &format!("{keyword} has no flags"));
            findings.add_with_hint(place, flag.span, message, hint);
        }
    }
}

/// Returns what is said of a flag.
pub fn message(flag: &str, reason: &str) -> String {
    let flag = flag.split('=').next().unwrap_or_default();
    format!("{flag} has no effect: {reason}")
}
