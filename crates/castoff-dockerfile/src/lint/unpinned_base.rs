//! UnpinnedBase: a FROM without a tag, or with `latest`.

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "UnpinnedBase",
    description: "A base image should be named with a version",
    origin: Origin::Castoff,
    level: Level::Note,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/UnpinnedBase.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let word = &stage.from.image;
        if file.base(index).is_some() || word.value == "scratch" || word.value.contains(['$', '@', '"', '\''])
        {
            continue;
        }
        let name = word.value.rsplit('/').next().unwrap_or(&word.value);
        let message = match name.split_once(':') {
            None => format!("The base image {} has no tag, which means whatever is latest", word.value),
            Some((_, "latest")) => format!("The base image {} is whatever is latest", word.value),
            Some(_) => continue,
        };
        let hint = "name a version, and a digest as well if builds are to be the same forever";
        findings.add_with_hint(Place::from(&stage.from, index), word.span, message, hint);
    }
}
