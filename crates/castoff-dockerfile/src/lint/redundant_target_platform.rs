//! RedundantTargetPlatform (D-336).

use crate::fix::Edit;
use crate::{InstructionKind, Span, Spanned};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    description: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/RedundantTargetPlatform.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some(platform) = &stage.from.platform else { continue };
        if matches!(platform.value.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                platform.value
            );
            let fix = without_flag(file, platform);
            findings.add_fixable(Place::from(&stage.from, index), platform.span, message, fix);
        }
    }
}

/// Returns the edit that removes the flag and the blanks after it, unless the file gives the argument
/// another meaning.
fn without_flag(file: &File<'_>, platform: &Spanned<String>) -> Vec<Edit> {
    const FLAG: &str = "--platform=";
    let redefined = file.dockerfile.global_args.iter().any(|one| match &one.kind {
        InstructionKind::Arg(declarations) => declarations
            .iter()
            .any(|declaration| declaration.name.value == "TARGETPLATFORM" && declaration.default.is_some()),
        _ => false,
    });
    let (before, after) = file.source.split_at(platform.span.end as usize);
    let value = platform.span.start as usize;
    if redefined || !file.is_verbatim(platform) || !before[..value].ends_with(FLAG) {
        return Vec::new();
    }
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    let start = platform.span.start - FLAG.len() as u32;
    vec![Edit::replace(Span { start, end: platform.span.end + blanks as u32 }, "")]
}
