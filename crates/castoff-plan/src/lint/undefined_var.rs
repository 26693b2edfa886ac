//! UndefinedVar (D-331).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};

pub(crate) const RULE: Rule = Rule {
    name: "UndefinedVar",
    description: "Variables should be defined before their use",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/undefined-var/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/UndefinedVar.md"),
};

/// Returns what is said of a name, and of the known name nearest to it.
pub(crate) fn message(name: &str, near: Option<&str>) -> String {
    let guess = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
    format!("Usage of undefined variable '${name}'{guess}")
}
