//! RemovedInLaterLayer: `rm` of what an earlier layer of the image adds.

use crate::InstructionKind;

use super::file::{File, Findings, Place};
use super::paths::{Directory, Placed, is_within};
use super::shell::{self, Words, program};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "RemovedInLaterLayer",
    description: "What a layer adds cannot be taken out of the image by a later one",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/RemovedInLaterLayer.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut directory = Directory::unknown();
    let mut added = Placed::default();
    for index in file.shipped() {
        for instruction in &file.dockerfile.stages[index].instructions {
            match &instruction.kind {
                InstructionKind::Workdir(word) => directory.enter(&word.value),
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
                    added.copy(copy, &directory, instruction.lines.0);
                }
                InstructionKind::Run(run) => {
                    let commands = shell::commands(run);
                    for word in
                        commands.iter().filter(|words| program(words) == "rm").flat_map(shell::operands)
                    {
                        let found = removed(word, &directory)
                            .and_then(|path| added.line_of(|added| path.covers(added)));
                        if let Some(line) = found {
                            let message = format!(
                                "`{word}` is hidden but still in the image: line {line} adds it in a layer of its own"
                            );
                            let hint = "remove it in the step that adds it, or bring it in with RUN --mount=type=bind";
                            let span = file.find(instruction, word);
                            findings.add_with_hint(Place::of(instruction, Some(index)), span, message, hint);
                            break;
                        }
                    }
                    added.add(downloads(&commands, &directory), instruction.lines.0);
                }
                _ => {}
            }
        }
    }
}

/// What an argument of `rm` names.
struct Removed {
    path: String,
    /// Whether only what is below is meant.
    content: bool,
}

impl Removed {
    fn covers(&self, added: &str) -> bool {
        is_within(added, &self.path) && !(self.content && added == self.path)
    }
}

fn removed(word: &str, directory: &Directory) -> Option<Removed> {
    let (written, content) = match word.strip_suffix("/*") {
        Some("") => ("/", true),
        Some(written) => (written, true),
        None => (word, false),
    };
    Some(Removed { path: directory.resolve(written)?, content })
}

/// Returns the files that commands download to a place they name, and that no command removes.
fn downloads<'c>(commands: &'c [Words], directory: &'c Directory) -> impl Iterator<Item = String> + 'c {
    let gone = |path: &str| {
        let removals = commands.iter().filter(|words| matches!(program(words), "rm" | "mv"));
        removals
            .flat_map(shell::operands)
            .any(|word| removed(word, directory).is_none_or(|removed| removed.covers(path)))
    };
    // After a `cd` relative paths lead elsewhere.
    let moved = commands.iter().any(|words| program(words) == "cd");
    let named = commands.iter().filter_map(move |words| {
        let flag = match program(words) {
            "curl" => "-o",
            "wget" => "-O",
            _ => return None,
        };
        let at = words.iter().position(|word| word == flag)?;
        let path = words.get(at + 1).filter(|path| path.starts_with('/') || !moved)?;
        directory.resolve(path)
    });
    named.filter(move |path| !gone(path) && !path.starts_with("/dev/"))
}
