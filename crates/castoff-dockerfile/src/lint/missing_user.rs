//! MissingUser: an image whose program runs as root for want of a USER.

use crate::InstructionKind;

use super::file::{File, Findings, Place};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "MissingUser",
    description: "The image should not run its program as root without need",
    origin: Origin::Castoff,
    level: Level::Note,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/MissingUser.md"),
};

/// Images that are known to leave the user to root.
const ROOT: &[&str] = &[
    "almalinux",
    "alpine",
    "amazoncorretto",
    "amazonlinux",
    "archlinux",
    "bash",
    "buildpack-deps",
    "busybox",
    "caddy",
    "centos",
    "composer",
    "debian",
    "eclipse-temurin",
    "elixir",
    "erlang",
    "fedora",
    "gcc",
    "golang",
    "haskell",
    "httpd",
    "julia",
    "maven",
    "nginx",
    "node",
    "openjdk",
    "oraclelinux",
    "perl",
    "php",
    "pypy",
    "python",
    "rockylinux",
    "ruby",
    "rust",
    "scratch",
    "swift",
    "tomcat",
    "ubuntu",
];

fn run(file: &File<'_>, findings: &mut Findings) {
    let shipped = file.shipped();
    let (Some(first), Some(last)) = (shipped.first(), shipped.last()) else { return };
    let stages = &file.dockerfile.stages;
    let instructions = || shipped.iter().flat_map(|index| &stages[*index].instructions);
    let runs = instructions()
        .any(|one| matches!(one.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_)));
    let chosen = instructions().any(|one| matches!(one.kind, InstructionKind::User(_)));
    // Programs that become another user by themselves.
    let drops = ["gosu", "su-exec", "setpriv", "s6-"].iter().any(|word| file.source.contains(word));
    if !runs || chosen || drops || !is_root(&stages[*first].from.image.value) {
        return;
    }
    let from = &stages[*last].from;
    let message = "No USER is set, so that the program runs as root";
    let hint = "add a user in a RUN, and a USER line after the last step that needs root";
    findings.add_with_hint(Place::from(from, *last), from.image.span, message, hint);
}

/// Whether an image is one of the known ones. Those of somebody else may say USER themselves.
fn is_root(image: &str) -> bool {
    let name = ["docker.io/library/", "docker.io/", "library/"]
        .iter()
        .find_map(|prefix| image.strip_prefix(prefix))
        .unwrap_or(image);
    let (name, tag) = name.split_once([':', '@']).unwrap_or((name, ""));
    ROOT.contains(&name)
        && !tag.contains("nonroot")
        && !tag.contains("rootless")
        && !tag.contains("unprivileged")
}
