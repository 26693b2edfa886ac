//! Which platforms' programs can run here, and how (B-167, B-168).

use std::collections::BTreeMap;
use std::ffi::OsStr;

use castoff_dockerfile::{Diagnostic, Severity};
use castoff_graph::Op;
use castoff_oci::Platform;
use castoff_sandbox::{Emulator, Execution};
use castoff_solver::World;

use crate::build::{BuildError, Planned};

const HINT: &str = "install qemu-user-static, or register a handler with the flag F in binfmt_misc";

/// What runs the programs of a platform.
struct Ability {
    execution: Execution,
    /// What to do when nothing does.
    hint: Option<&'static str>,
}

/// Finds what runs the RUN steps of a plan and puts the emulators that are needed into `world`.
///
/// # Errors
/// When there is a step that nothing here can run, before any step has run.
pub(crate) fn settle(planned: &Planned, world: &mut World) -> Result<(), BuildError> {
    let mut known = BTreeMap::new();
    for (_, vertex) in planned.plan.graph.iter() {
        let Op::Run(run) = &vertex.op else { continue };
        let ability =
            known.entry(run.platform.clone()).or_insert_with(|| ability(&run.platform, &world.search_path));
        match &ability.execution {
            Execution::Native | Execution::Registered { .. } => {}
            Execution::Private(emulator) => {
                world.emulators.insert(emulator.architecture.clone(), emulator.clone());
            }
            Execution::Impossible { reason } => {
                let diagnostic = Diagnostic {
                    severity: Severity::Error,
                    rule: None,
                    message: format!("exec format error: {} cannot run here: {reason}", run.platform),
                    span: Default::default(),
                    lines: vertex
                        .origin
                        .as_ref()
                        .map(|origin| (origin.first_line, origin.last_line))
                        .unwrap_or_default(),
                    hints: ability.hint.into_iter().map(str::to_owned).collect(),
                };
                let dockerfile = planned.dockerfile.clone();
                return Err(BuildError::Diagnostics { dockerfile, diagnostics: vec![diagnostic] });
            }
        }
    }
    Ok(())
}

/// Returns the emulator for the programs of an image, if it needs one.
///
/// # Errors
/// When nothing here can run them.
pub(crate) fn emulator(platform: &Platform, search: &OsStr) -> anyhow::Result<Option<Emulator>> {
    let Ability { execution, hint } = ability(platform, search);
    match execution {
        Execution::Native | Execution::Registered { .. } => Ok(None),
        Execution::Private(emulator) => Ok(Some(emulator)),
        Execution::Impossible { reason } => {
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            anyhow::bail!("exec format error: {platform} cannot run here: {reason}{hint}")
        }
    }
}

/// Returns the platforms that castoff knows, whether their programs run here, and how or why not.
pub(crate) fn report(search: &OsStr) -> Vec<(Platform, bool, String)> {
    let amd64 = ["amd64/v2", "amd64/v3", "amd64/v4"].map(str::to_owned);
    let mut names: Vec<String> = castoff_sandbox::architectures().map(str::to_owned).collect();
    if Platform::host().architecture == "amd64" {
        names.splice(1..1, amd64);
    }
    let platforms = names.iter().map(|name| {
        format!("linux/{name}").parse::<Platform>().expect("architectures are named by plain words")
    });
    platforms
        .map(|platform| {
            let (ok, detail) = match ability(&platform, search).execution {
                Execution::Native => (true, "the processor".to_owned()),
                Execution::Registered { interpreter } => {
                    (true, format!("`{}`, registered on this machine", interpreter.display()))
                }
                Execution::Private(emulator) => {
                    (true, format!("`{}`, registered for each step alone", emulator.interpreter.display()))
                }
                Execution::Impossible { reason } => (false, reason),
            };
            (platform, ok, detail)
        })
        .collect()
}

fn ability(platform: &Platform, search: &OsStr) -> Ability {
    let own = Platform::host();
    let platform = &Platform::normalised(&platform.os, &platform.architecture, platform.variant.as_deref());
    if platform.os != own.os {
        let reason = format!("steps of `{}` need a machine of that system", platform.os);
        return Ability { execution: Execution::Impossible { reason }, hint: None };
    }
    if let ("amd64", "amd64", Some(variant)) =
        (own.architecture.as_str(), platform.architecture.as_str(), &platform.variant)
    {
        let level = castoff_sandbox::amd64_level();
        let wanted = variant.strip_prefix('v').and_then(|level| level.parse::<u32>().ok());
        if wanted.is_none_or(|wanted| wanted > level) {
            let reason = format!("this processor is amd64/v{level}");
            return Ability { execution: Execution::Impossible { reason }, hint: None };
        }
    }
    let execution = castoff_sandbox::execution(&platform.architecture, &own.architecture, search);
    Ability { execution, hint: Some(HINT) }
}
