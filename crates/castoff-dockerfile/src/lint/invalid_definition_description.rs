//! InvalidDefinitionDescription (D-341).

use crate::{InstructionKind, Spanned};

use super::file::{File, Findings, Place};
use super::options::is_check;
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    origin: Origin::BuildKit {
        url: Some("https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/"),
        experimental: true,
    },
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/InvalidDefinitionDescription.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        if let Some(name) = &stage.from.name {
            described("FROM", Place::from(&stage.from, index), name, findings);
        }
    }
    for (place, instruction) in file.instructions() {
        if let InstructionKind::Arg(declarations) = &instruction.kind
            && let [declaration] = &declarations[..]
        {
            described("ARG", place, &declaration.name, findings);
        }
    }
}

fn described(keyword: &str, place: Place<'_>, name: &Spanned<String>, findings: &mut Findings) {
    let mut comments = place.comments.iter().filter(|comment| !is_check(comment)).peekable();
    let describes = |comment: &String| {
        comment.strip_prefix(name.value.as_str()).is_some_and(|rest| rest.starts_with(' '))
    };
    if comments.peek().is_some() && !comments.any(describes) {
        let message =
            format!("Comment for {keyword} should follow the format: `# {} <description>`", name.value);
        findings.add(place, name.span, message);
    }
}
