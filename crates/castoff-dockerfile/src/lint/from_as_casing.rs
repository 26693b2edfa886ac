//! FromAsCasing (D-324).

use crate::fix::Edit;

use super::file::{Case, File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "FromAsCasing",
    description: "The 'as' keyword should match the case of the 'from' keyword",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/from-as-casing/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/FromAsCasing.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let (from, wanted) = (&stage.from, Case::of(&stage.from.keyword.value));
        let Some(keyword) = &from.as_keyword else { continue };
        if wanted == Case::Mixed || Case::of(&keyword.value) == wanted {
            continue;
        }
        let message =
            format!("'{}' and '{}' keywords' casing do not match", keyword.value, from.keyword.value);
        let text = if wanted == Case::Lower { "as" } else { "AS" };
        let fix =
            if file.is_verbatim(keyword) { vec![Edit::replace(keyword.span, text)] } else { Vec::new() };
        findings.add_fixable(Place::from(from, index), keyword.span, message, fix);
    }
}
