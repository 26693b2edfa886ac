//! CompilerInImage: a file of one stage whose image has the compiler in it.

use crate::InstructionKind;

use super::file::{File, Findings, Place};
use super::shell::{self, Words, program};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "CompilerInImage",
    description: "Compilers should stay in a stage that does not ship",
    origin: Origin::Castoff,
    level: Level::Note,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/CompilerInImage.md"),
};

/// Packages that are there to build.
const PACKAGES: &[&str] = &[
    "build-base",
    "build-essential",
    "cargo",
    "clang",
    "cmake",
    "g++",
    "gcc",
    "gcc-c++",
    "golang",
    "golang-go",
    "make",
    "maven",
    "musl-dev",
    "ninja-build",
    "rustc",
];

/// Images that are there to build, and the commands that do.
const BUILDERS: &[(&str, &[&str], &str)] = &[
    ("golang", &["go"], "build"),
    ("golang", &["go"], "install"),
    ("rust", &["cargo"], "build"),
    ("rust", &["cargo"], "install"),
    ("maven", &["mvn"], "package"),
    ("maven", &["mvn"], "install"),
    ("gradle", &["gradle", "gradlew"], "build"),
    ("gcc", &["gcc", "g++", "make", "cmake"], ""),
];

fn run(file: &File<'_>, findings: &mut Findings) {
    let [stage] = &file.dockerfile.stages[..] else { return };
    // Without a command the image is a toolbox or a result to be copied from.
    if !stage
        .instructions
        .iter()
        .any(|one| matches!(one.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_)))
    {
        return;
    }
    let hint = "build in a first stage, and COPY --from it into a second one that ships";
    for instruction in &stage.instructions {
        let InstructionKind::Run(run) = &instruction.kind else { continue };
        let commands = shell::commands(run);
        let place = Place::of(instruction, Some(0));
        if let Some(words) = commands.iter().find(|words| builds(&stage.from.image.value, words)) {
            let message = format!(
                "The image ships its compiler: `{}` runs in the only stage, which is based on {}",
                words[..words.len().min(2)].join(" "),
                stage.from.image.value
            );
            findings.add_with_hint(place, file.find(instruction, &words[0]), message, hint);
            return;
        }
        let installed = commands.iter().filter(|words| installs(words)).flat_map(shell::operands);
        let package = installed.into_iter().find(|word| PACKAGES.contains(word));
        if let Some(package) = package.filter(|_| !commands.iter().any(removes)) {
            let message = format!("The image ships the package {package}, which is there to build");
            findings.add_with_hint(place, file.find(instruction, package), message, hint);
            return;
        }
    }
}

fn builds(image: &str, words: &Words) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split([':', '@']).next().unwrap_or(name);
    BUILDERS.iter().any(|(builder, programs, command)| {
        name == *builder
            && programs.contains(&program(words))
            && (command.is_empty() || shell::operands(words).any(|word| word == *command))
    })
}

fn installs(words: &Words) -> bool {
    match program(words) {
        "apt-get" | "apt" | "dnf" | "microdnf" | "yum" => {
            shell::operands(words).any(|word| word == "install")
        }
        "apk" => shell::operands(words).any(|word| word == "add"),
        _ => false,
    }
}

/// Whether a command removes packages again, in the layer that has them.
fn removes(words: &Words) -> bool {
    matches!(program(words), "apt-get" | "apt" | "apk" | "dnf" | "microdnf" | "yum")
        && shell::operands(words)
            .any(|word| matches!(word, "remove" | "purge" | "autoremove" | "del" | "erase"))
}
