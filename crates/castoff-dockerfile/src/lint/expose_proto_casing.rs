//! ExposeProtoCasing (D-342), of words without variables; the planner sees the others.

use crate::InstructionKind;
use crate::fix::Edit;

use super::file::{File, Findings};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

/// The rule, for the planner, which shares it.
pub const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    description: "Protocol in EXPOSE instruction should be lowercase",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/ExposeProtoCasing.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        let InstructionKind::Expose(words) = &instruction.kind else { continue };
        for word in words.iter().filter(|word| is_literal(&word.value)) {
            let Some((port, protocol)) = word.value.rsplit_once('/') else { continue };
            let folded = protocol.to_lowercase();
            // Another protocol is an error, which says enough.
            if folded != protocol && matches!(folded.as_str(), "tcp" | "udp" | "sctp") {
                let fix = match file.is_verbatim(word) {
                    true => vec![Edit::replace(word.span, format!("{port}/{folded}"))],
                    false => Vec::new(),
                };
                findings.add_fixable(place, word.span, message(&word.value), fix);
            }
        }
    }
}

/// Whether a word is the same after expansion.
pub fn is_literal(word: &str) -> bool {
    !word.contains(['$', '"', '\'', '\\', '`'])
}

/// Returns what is said of a port.
pub fn message(port: &str) -> String {
    format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase")
}
