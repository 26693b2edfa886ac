//! InvalidDefaultArgInFrom (D-338).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};

pub(crate) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    description: "Default value for global ARG results in an empty or invalid base image name",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/InvalidDefaultArgInFrom.md"),
};

/// Returns what is said of the word of a FROM line.
pub(crate) fn message(word: &str) -> String {
    format!("Default value for ARG {word} results in empty or invalid base image name")
}
