//! ExposeInvalidFormat (D-342).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};

pub(crate) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    description: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/ExposeInvalidFormat.md"),
};

/// Returns what is said of a port.
pub(crate) fn message(port: &str) -> String {
    format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'")
}
