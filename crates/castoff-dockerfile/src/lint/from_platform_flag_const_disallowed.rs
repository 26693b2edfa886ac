//! FromPlatformFlagConstDisallowed (D-339).

use crate::From;

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    description: "FROM --platform flag should not use a constant value",
    origin: Origin::buildkit(
        "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/",
    ),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/FromPlatformFlagConstDisallowed.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some(platform) = &stage.from.platform else { continue };
        let value = &platform.value;
        if !value.contains('$') && !is_named_after(&stage.from, value) {
            let message = format!("FROM --platform flag should not use constant value {value:?}");
            findings.add(Place::from(&stage.from, index), platform.span, message);
        }
    }
}

/// Whether a stage is named after its platform, so that the constant is meant. As in BuildKit, the operating
/// system or the architecture is enough (D-339).
fn is_named_after(from: &From, platform: &str) -> bool {
    let Some(name) = &from.name else { return false };
    let name = name.value.to_lowercase();
    platform.split('/').take(2).any(|part| name.contains(&part.to_lowercase()))
}
