//! ShellFormEntrypoint: an ENTRYPOINT that ignores CMD, arguments and signals.

use crate::{Command, InstructionKind};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "ShellFormEntrypoint",
    description: "ENTRYPOINT should be in JSON form",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/ShellFormEntrypoint.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some(entrypoint) = stage.instructions.iter().rev().find_map(|one| match &one.kind {
            InstructionKind::Entrypoint(command) => Some((one, command)),
            _ => None,
        }) else {
            continue;
        };
        let (instruction, Command::Shell(text)) = entrypoint else { continue };
        let command = stage.instructions.iter().rev().find(|one| matches!(one.kind, InstructionKind::Cmd(_)));
        let shell = stage.instructions.iter().any(|one| matches!(one.kind, InstructionKind::Shell(_)));
        let message = match command {
            Some(command) => format!(
                "The CMD in line {} and the arguments of a run are ignored, because ENTRYPOINT is in shell form",
                command.lines.0
            ),
            // JSONArgsRecommended says it, except to whoever chose a shell.
            None if shell && !text.value.trim_start().starts_with("exec ") => {
                "The shell that ENTRYPOINT starts gets the signals, and ignores the arguments of a run"
                    .to_owned()
            }
            None => continue,
        };
        let hint = "write ENTRYPOINT [\"program\", \"argument\"]";
        findings.add_with_hint(Place::of(instruction, Some(index)), instruction.keyword.span, message, hint);
    }
}
