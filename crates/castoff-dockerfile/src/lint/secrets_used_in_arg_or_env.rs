//! SecretsUsedInArgOrEnv (D-337).

use crate::{InstructionKind, Spanned};

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    description: "Sensitive data should not be used in the ARG or ENV commands",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/SecretsUsedInArgOrEnv.md"),
};

/// Parts of a name that say secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Parts of a name that say otherwise.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

fn run(file: &File<'_>, findings: &mut Findings) {
    for (place, instruction) in file.instructions() {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                declarations.iter().for_each(|one| name("ARG", &one.name, place, findings));
            }
            InstructionKind::Env(pairs) => {
                pairs.pairs.iter().for_each(|(key, _)| name("ENV", key, place, findings));
            }
            _ => {}
        }
    }
}

fn name(keyword: &str, name: &Spanned<String>, place: Place<'_>, findings: &mut Findings) {
    if is_secret(&name.value) {
        let shown = &name.value;
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {shown:?})");
        findings.add(place, name.span, message);
    }
}

/// Whether a part of the name, between underscores, is a word for a secret, and none says otherwise.
fn is_secret(name: &str) -> bool {
    let has =
        |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&SECRET) && !has(&HARMLESS)
}
