//! StageNameCasing (D-323).

use crate::fix::Edit;
use crate::{InstructionKind, Span, Spanned};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "StageNameCasing",
    description: "Stage names should be lowercase",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"),
    level: Level::Warning,
    reach: Reach::File,
    page: include_str!("../../../../docs/lints/StageNameCasing.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some(name) = &stage.from.name else { continue };
        let folded = name.value.to_lowercase();
        if folded != name.value {
            let message = format!("Stage name '{}' should be lowercase", name.value);
            let fix = rename(file, index, name, &folded);
            findings.add_fixable(Place::from(&stage.from, index), name.span, message, fix);
        }
    }
}

/// Returns the edits of the name and of every `from=` that is spelt like it. FROM lines name a stage in
/// lower case or not at all (D-117), and triggers run in another file.
fn rename(file: &File<'_>, defined: usize, name: &Spanned<String>, folded: &str) -> Vec<Edit> {
    if !file.is_verbatim(name) {
        return Vec::new();
    }
    let mut edits = vec![Edit::replace(name.span, folded)];
    for (_, stage) in file.stages().filter(|(index, _)| *index > defined) {
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
                    let uses = copy.from.iter().filter(|from| from.value == name.value);
                    edits.extend(
                        uses.filter(|from| file.is_verbatim(from))
                            .map(|from| Edit::replace(from.span, folded)),
                    );
                }
                InstructionKind::Run(run) => edits.extend(
                    run.mounts
                        .iter()
                        .filter_map(|mount| mount_source(file, mount.span, &name.value))
                        .map(|span| Edit::replace(span, folded)),
                ),
                _ => {}
            }
        }
    }
    edits
}

/// Returns the place of a `from=` field that has this value.
fn mount_source(file: &File<'_>, mount: Span, name: &str) -> Option<Span> {
    let text = file.source.get(mount.range())?;
    let mut start = mount.start;
    for field in text.split(',') {
        if field.strip_prefix("from=") == Some(name) {
            let start = start + "from=".len() as u32;
            return Some(Span { start, end: start + name.len() as u32 });
        }
        start += field.len() as u32 + 1;
    }
    None
}
