//! ArgShadowsEnv: an ARG below an ENV of its name (D-092).

use std::collections::BTreeMap;

use crate::InstructionKind;

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "ArgShadowsEnv",
    description: "An ARG should not have the name of an ENV above it",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/ArgShadowsEnv.md"),
};

/// How far bases are followed.
const DEPTH: usize = 32;

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut stages: Vec<BTreeMap<&str, u32>> = Vec::new();
    for (index, stage) in file.stages() {
        let mut variables: BTreeMap<&str, u32> = BTreeMap::new();
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Env(pairs) => {
                    let line = instruction.lines.0;
                    variables.extend(pairs.pairs.iter().map(|(name, _)| (name.value.as_str(), line)));
                }
                InstructionKind::Arg(declarations) => {
                    for name in declarations.iter().map(|declaration| &declaration.name) {
                        let name_text = name.value.as_str();
                        let inherited = || {
                            let bases = std::iter::successors(file.base(index), |base| file.base(*base));
                            bases.take(DEPTH).find_map(|base| stages[base].get(name_text))
                        };
                        let Some(line) = variables.get(name_text).or_else(inherited) else { continue };
                        let message = format!(
                            "From here on instructions see the argument {0} and not the variable of line {line}, which \
                             the image keeps",
                            name.value
                        );
                        let hint = "declare the ARG above the ENV, or give it another name";
                        findings.add_with_hint(Place::of(instruction, Some(index)), name.span, message, hint);
                    }
                }
                _ => {}
            }
        }
        stages.push(variables);
    }
}
