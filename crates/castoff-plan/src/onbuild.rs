//! ONBUILD triggers: which ones a stage runs, and their syntax (section 14).

use castoff_dockerfile::{Instruction, InstructionKind, parse_trigger};

use crate::place::{Checked, Place};
use crate::stage::StageInfo;

/// Returns the triggers of a base image, parsed. Errors are at the FROM line (D-271).
pub(crate) fn of_image(triggers: &[String], escape: char, from: Place) -> Checked<Vec<Instruction>> {
    triggers
        .iter()
        .map(|trigger| {
            parse_trigger(trigger, escape).map_err(|errors| {
                let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
                from.error(format!("ONBUILD trigger `{trigger}`: {}", messages.join("; ")))
            })
        })
        .collect()
}

/// Returns the triggers that a stage of the same file leaves to stages based on it. A stage does not
/// hand on the triggers of its own base (D-269).
pub(crate) fn of_stage(stage: &StageInfo<'_>) -> Vec<Instruction> {
    if stage.replaced.is_some() {
        return Vec::new();
    }
    let instructions = stage.syntax.instructions.iter();
    instructions
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::OnBuild(trigger) => Some((**trigger).clone()),
            _ => None,
        })
        .collect()
}
