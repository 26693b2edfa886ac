//! RecursiveChangeDoublesLayer: `chown -R` or `chmod -R` of what an earlier layer copies.

use crate::InstructionKind;

use super::file::{File, Findings, Place};
use super::paths::{Directory, Placed, is_within};
use super::shell::{self, Words, program};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "RecursiveChangeDoublesLayer",
    description: "Owner and mode should be set where files are copied",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/RecursiveChangeDoublesLayer.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut directory = Directory::unknown();
    let mut copied = Placed::default();
    for index in file.shipped() {
        for instruction in &file.dockerfile.stages[index].instructions {
            match &instruction.kind {
                InstructionKind::Workdir(word) => directory.enter(&word.value),
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
                    copied.copy(copy, &directory, instruction.lines.0);
                }
                InstructionKind::Run(run) => {
                    let commands = shell::commands(run);
                    let moved = commands.iter().any(|words| program(words) == "cd");
                    let changes = commands.iter().filter(|words| is_recursive(words)).flat_map(|words| {
                        // The owner or mode comes first.
                        shell::operands(words).skip(1).map(move |path| (program(words), path))
                    });
                    let found = changes.filter(|(_, path)| path.starts_with('/') || !moved).find_map(
                        |(change, path)| {
                            let parent = directory.resolve(path)?;
                            let line = copied.line_of(|copied| is_within(copied, &parent))?;
                            Some((change, path, line))
                        },
                    );
                    if let Some((change, path, line)) = found {
                        let message = format!(
                            "`{change} -R {path}` stores what line {line} copies a second time in the image"
                        );
                        let hint = format!("use COPY --{change}=... in line {line}");
                        let span = file.find(instruction, change);
                        findings.add_with_hint(Place::of(instruction, Some(index)), span, message, hint);
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_recursive(words: &Words) -> bool {
    let recursive = |word: &String| {
        word == "--recursive" || word.starts_with('-') && !word.starts_with("--") && word.contains('R')
    };
    matches!(program(words), "chown" | "chmod")
        && words.iter().any(recursive)
        && !shell::has_flag(words, &["--reference"])
}
