//! PackageCacheInLayer: a cache of a package manager, in a stage that ships.

use crate::{InstructionKind, Run};

use super::file::{File, Findings, Place};
use super::shell::{self, Words, program};
use super::{Check, Level, Origin, Reach, Rule};

pub(super) const CHECK: Check = Check { rule: &RULE, run };

const RULE: Rule = Rule {
    name: "PackageCacheInLayer",
    description: "Package managers should leave no caches in the image",
    origin: Origin::Castoff,
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/PackageCacheInLayer.md"),
};

fn run(file: &File<'_>, findings: &mut Findings) {
    let mut configured = false;
    for index in file.shipped() {
        for instruction in &file.dockerfile.stages[index].instructions {
            match &instruction.kind {
                InstructionKind::Env(pairs) => {
                    configured |= pairs.pairs.iter().any(|(name, _)| name.value == "PIP_NO_CACHE_DIR");
                }
                InstructionKind::Run(run) => {
                    let commands = shell::commands(run);
                    let left = MANAGERS.iter().filter(|manager| !(manager.pip && configured));
                    for manager in left {
                        if let Some(words) = leaves(manager, run, &instruction.text, &commands) {
                            let place = Place::of(instruction, Some(index));
                            let span = file.find(instruction, program(words));
                            let message = format!(
                                "The cache of {} stays in the layer ({})",
                                program(words),
                                manager.directory
                            );
                            findings.add_with_hint(place, span, message, manager.hint);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A package manager and its cache.
struct Manager {
    /// Whether a command fills the cache.
    fills: fn(&Words) -> bool,
    /// Whether a command empties it, apart from those that name its directory.
    empties: fn(&Words) -> bool,
    /// Where it is.
    directory: &'static str,
    /// Words of which a step that empties or mounts the cache has one.
    traces: &'static [&'static str],
    /// Whether PIP_NO_CACHE_DIR switches it off.
    pip: bool,
    hint: &'static str,
}

const MANAGERS: &[Manager] = &[
    Manager {
        fills: |words| {
            matches!(program(words), "apt-get" | "apt" | "aptitude")
                && shell::operands(words).any(|word| word == "update")
        },
        empties: |words| shell::operands(words).any(|word| matches!(word, "dist-clean" | "distclean")),
        directory: "/var/lib/apt/lists",
        traces: &["/var/lib/apt", "/var/lib/*"],
        pip: false,
        hint: "end the same RUN with `rm -rf /var/lib/apt/lists/*`, or mount a cache there",
    },
    Manager {
        fills: |words| {
            let updates = shell::operands(words).any(|word| word == "update")
                || shell::has_flag(words, &["-U", "--update", "--update-cache"]);
            program(words) == "apk" && updates && !shell::has_flag(words, &["--no-cache"])
        },
        empties: |words| program(words) == "apk" && shell::operands(words).take(2).eq(["cache", "clean"]),
        directory: "/var/cache/apk",
        traces: &["/var/cache/apk", "/etc/apk/cache", "/var/cache/*"],
        pip: false,
        hint: "use `apk add --no-cache`",
    },
    Manager {
        fills: |words| {
            matches!(program(words), "dnf" | "microdnf" | "yum")
                && shell::operands(words)
                    .any(|word| matches!(word, "install" | "update" | "upgrade" | "groupinstall"))
        },
        empties: |words| {
            matches!(program(words), "dnf" | "microdnf" | "yum")
                && shell::operands(words).any(|word| word == "clean")
        },
        directory: "/var/cache",
        traces: &["/var/cache"],
        pip: false,
        hint: "end the same RUN with `dnf clean all` or `yum clean all`, or mount a cache at /var/cache",
    },
    Manager {
        fills: |words| {
            let module = matches!(program(words), "python" | "python3")
                && words
                    .get(1..4)
                    .is_some_and(|words| words[0] == "-m" && words[1] == "pip" && words[2] == "install");
            let plain =
                matches!(program(words), "pip" | "pip3") && shell::operands(words).next() == Some("install");
            (module || plain) && !shell::has_flag(words, &["--no-cache-dir", "--help"])
        },
        empties: |words| shell::operands(words).any(|word| word == "purge"),
        directory: "~/.cache/pip",
        traces: &[".cache", "pip-cache", "PIP_NO_CACHE_DIR"],
        pip: true,
        hint: "use `pip install --no-cache-dir`, or mount a cache at /root/.cache/pip",
    },
    Manager {
        fills: |words| {
            program(words) == "npm" && matches!(shell::operands(words).next(), Some("ci" | "install" | "i"))
        },
        empties: |words| program(words) == "npm" && shell::operands(words).take(2).eq(["cache", "clean"]),
        directory: "~/.npm",
        traces: &[".npm", "npm_config_cache", "NPM_CONFIG_CACHE", "--cache"],
        pip: false,
        hint: "end the same RUN with `npm cache clean --force`, or mount a cache at /root/.npm",
    },
];

/// Returns the command that fills a cache which the step leaves behind.
fn leaves<'c>(manager: &Manager, run: &Run, text: &str, commands: &'c [Words]) -> Option<&'c Words> {
    let words = commands.iter().find(|words| (manager.fills)(words))?;
    let emptied = commands.iter().any(|words| (manager.empties)(words))
        || manager.traces.iter().any(|trace| text.contains(trace))
        || run.heredocs.iter().any(|one| manager.traces.iter().any(|trace| one.body.contains(trace)));
    (!emptied).then_some(words)
}
