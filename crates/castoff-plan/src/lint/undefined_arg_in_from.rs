//! UndefinedArgInFrom (D-330).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};

pub(crate) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    description: "FROM command must use declared ARGs",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/UndefinedArgInFrom.md"),
};

/// Returns what is said of a name, and of the known name nearest to it.
pub(crate) fn message(name: &str, near: Option<&str>) -> String {
    let guess = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    format!("FROM argument '{name}' is not declared{guess}")
}
