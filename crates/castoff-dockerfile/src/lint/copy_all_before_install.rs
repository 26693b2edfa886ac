//! CopyAllBeforeInstall: a `COPY .` above the installation of dependencies.

use crate::{Instruction, InstructionKind, Run, Span, Stage};

use super::file::{File, Findings, Place};
use super::shell::{self, Words, program};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "CopyAllBeforeInstall",
    description: "Dependencies should be installed before the whole context is copied",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/CopyAllBeforeInstall.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (index, stage) in file.stages() {
        let Some((at, instruction, source)) = whole_context(stage) else { continue };
        let later = stage.instructions[at + 1..].iter().find_map(|later| match &later.kind {
            // What is installed again comes from the cache mount.
            InstructionKind::Run(run) if !has_cache(run) => {
                let commands = shell::commands(run);
                let install = commands.iter().find(|words| installs(words))?;
                Some((later.lines.0, install[..install.len().min(2)].join(" ")))
            }
            _ => None,
        });
        if let Some((line, command)) = later {
            let message = format!(
                "Every change in the context runs `{command}` in line {line} again, because everything is copied before"
            );
            let hint =
                "copy only the files that name the dependencies first, and the rest after installing them";
            findings.add_with_hint(Place::of(instruction, Some(index)), source, message, hint);
        }
    }
}

/// Returns the first COPY of the whole context, and the place of its source.
fn whole_context(stage: &Stage) -> Option<(usize, &Instruction, Span)> {
    stage.instructions.iter().enumerate().find_map(|(at, instruction)| {
        let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &instruction.kind else {
            return None;
        };
        let all = copy.sources.iter().find(|source| matches!(source.value.as_str(), "." | "./" | "/"))?;
        (copy.from.is_none() && copy.exclude.is_empty()).then_some((at, instruction, all.span))
    })
}

fn has_cache(run: &Run) -> bool {
    run.mounts.iter().flat_map(|mount| &mount.fields).any(|(key, value)| {
        key == "type" && value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("cache"))
    })
}

/// Whether a command installs what files other than the sources name, or what it names itself.
fn installs(words: &Words) -> bool {
    let operands: Vec<&str> = shell::operands(words).collect();
    let first = operands.first().copied().unwrap_or_default();
    let alone = operands.len() == 1;
    match program(words) {
        "npm" => alone && matches!(first, "ci" | "install" | "i"),
        "pnpm" => alone && matches!(first, "install" | "i"),
        "yarn" => words.len() == 1 || alone && first == "install",
        "pip" | "pip3" => first == "install" && shell::has_flag(words, &["-r", "--requirement"]),
        "poetry" | "composer" => alone && first == "install",
        "bundle" => first == "install",
        "uv" => alone && first == "sync",
        "go" => operands[..] == ["mod", "download"],
        "cargo" => alone && first == "fetch",
        "dotnet" => alone && first == "restore",
        "mvn" => alone && first.starts_with("dependency:"),
        "apt-get" | "apt" | "dnf" | "microdnf" | "yum" => first == "install" && named(&operands),
        "apk" => first == "add" && named(&operands),
        _ => false,
    }
}

/// Whether packages are named, and none by a path or a variable.
fn named(operands: &[&str]) -> bool {
    operands.len() > 1 && !operands.iter().any(|word| word.contains(['/', '$', '`']))
}
