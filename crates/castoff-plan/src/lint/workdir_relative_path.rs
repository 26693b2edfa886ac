//! WorkdirRelativePath (D-332).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};

pub(crate) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    description: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/WorkdirRelativePath.md"),
};

/// Returns what is said of a directory.
pub(crate) fn message(directory: &str) -> String {
    format!("Relative workdir {directory:?} can have unexpected results if the base image changes")
}
