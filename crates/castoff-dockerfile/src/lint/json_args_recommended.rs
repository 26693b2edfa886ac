//! JSONArgsRecommended (D-328).

use crate::fix::{Edit, plain_words};
use crate::{Command, InstructionKind, Stage};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    description: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/JSONArgsRecommended.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut shells: Vec<bool> = Vec::new();
    for (index, stage) in file.stages() {
        // A stage has the SHELL of the stage it is based on (D-185).
        let mut shell = file.base(index).is_some_and(|base| shells[base]);
        let entrypoint = has_entrypoint(stage);
        for instruction in &stage.instructions {
            shell |= matches!(instruction.kind, InstructionKind::Shell(_));
            let (InstructionKind::Cmd(Command::Shell(text))
            | InstructionKind::Entrypoint(Command::Shell(text))) = &instruction.kind
            else {
                continue;
            };
            if shell {
                continue;
            }
            let name = instruction.keyword.value.to_ascii_uppercase();
            let message = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            );
            // An ENTRYPOINT in JSON form takes arguments that it did not take before, and gets those of CMD
            // as they are.
            let fix = match instruction.kind {
                InstructionKind::Cmd(_) if file.is_verbatim(text) && !entrypoint => {
                    exec_form(&text.value).map(|exec| Edit::replace(text.span, exec)).into_iter().collect()
                }
                _ => Vec::new(),
            };
            findings.add_fixable(Place::of(instruction, Some(index)), instruction.span, message, fix);
        }
        shells.push(shell);
    }
}

fn has_entrypoint(stage: &Stage) -> bool {
    stage.instructions.iter().any(|one| matches!(one.kind, InstructionKind::Entrypoint(_)))
}

/// Returns a command in JSON form when no shell is needed to understand it: plain words, the first of
/// which is a program and no builtin.
fn exec_form(text: &str) -> Option<String> {
    let words = plain_words(text)?;
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", quoted.join(", ")))
}
