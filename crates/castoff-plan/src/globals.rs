//! Global arguments: the predefined ones and the ARGs before the first FROM (sections 6.1 and 6.2).

use std::collections::{BTreeMap, BTreeSet};

use castoff_dockerfile::expand::{ExpandOptions, Expanded, expand};
use castoff_dockerfile::{Dockerfile, InstructionKind, Spanned};
use castoff_oci::Platform;

use crate::PlanOptions;
use crate::budget::{Budget, ENTRY};
use crate::place::{Checked, Place};

/// The arguments that FROM sees, and that a stage gets by redeclaring them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals {
    values: BTreeMap<String, String>,
    declared: BTreeSet<String>,
    escape: Option<char>,
}

/// Whose values the arguments have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildArgs {
    /// Those of the command line first.
    Used,
    /// Only the defaults of the file, for the check of defaults.
    Ignored,
}

impl Globals {
    /// Returns the global arguments of a build for a platform.
    pub(crate) fn of(
        dockerfile: &Dockerfile,
        options: &PlanOptions,
        platform: &Platform,
        build_args: BuildArgs,
    ) -> Checked<Globals> {
        let given = |name: &str| match build_args {
            BuildArgs::Used => options.build_arg(name).map(str::to_owned),
            BuildArgs::Ignored => None,
        };
        let last_name = dockerfile.stages.last().and_then(|stage| stage.from.name.as_ref());
        let target = options
            .target
            .clone()
            .or_else(|| last_name.map(|name| name.value.to_lowercase()))
            .unwrap_or_else(|| "default".to_owned());
        let mut globals = Globals { escape: Some(dockerfile.escape), ..Globals::default() };
        let predefined = platform_arguments("BUILD", &options.build_platform)
            .into_iter()
            .chain(platform_arguments("TARGET", platform))
            .chain([("TARGETSTAGE".to_owned(), target)]);
        for (name, value) in predefined {
            let value = given(&name).unwrap_or(value);
            globals.values.insert(name, value);
        }
        let mut budget = Budget::default();
        for instruction in &dockerfile.global_args {
            let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
            for declaration in declarations {
                let name = &declaration.name.value;
                let value = match (given(name), &declaration.default) {
                    (Some(value), _) => Some(value),
                    (None, Some(default)) => {
                        let place = Place::new(default.span, instruction.lines);
                        Some(globals.expand(default, place)?.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    budget
                        .spend(value.len() + ENTRY, Place::new(declaration.name.span, instruction.lines))?;
                    globals.values.insert(name.clone(), value);
                }
                globals.declared.insert(name.clone());
            }
        }
        Ok(globals)
    }

    /// Returns the value of an argument.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns the names that FROM may use: predefined or declared, with or without a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.declared).map(String::as_str)
    }

    /// Returns whether FROM may use a name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.declared.contains(name)
    }

    /// Returns whether an ARG line of the file declares a name.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// Expands a word of a FROM line or a global default.
    pub(crate) fn expand(&self, word: &Spanned<String>, place: Place) -> Checked<Expanded> {
        let options = ExpandOptions {
            escape: self.escape.unwrap_or('\\'),
            variable: &|name| self.get(name).map(str::to_owned),
            quotes: true,
        };
        expand(&word.value, &options).map_err(|error| place.error(error.to_string()))
    }
}

/// Returns the five arguments that describe a platform; what does not apply is empty (D-097).
fn platform_arguments(prefix: &str, platform: &Platform) -> [(String, String); 5] {
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", optional(&platform.os_version)),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", optional(&platform.variant)),
    ]
    .map(|(name, value)| (format!("{prefix}{name}"), value))
}

/// Returns SOURCE_DATE_EPOCH of the build: the caller's, or that of a build argument or global ARG
/// (D-102). The values that stand for a time of something else are known for local contexts only.
pub(crate) fn epoch(
    globals: &Globals,
    dockerfile: &Dockerfile,
    options: &PlanOptions,
) -> Checked<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if options.epoch.is_some() {
        return Ok(options.epoch);
    }
    let given =
        options.build_args.iter().rev().find(|(name, _)| name == NAME).map(|(_, value)| value.as_str());
    let Some(value) = given.or_else(|| globals.get(NAME)).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let place = dockerfile
        .global_args
        .iter()
        .find(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => declarations.iter().any(|arg| arg.name.value == NAME),
            _ => false,
        })
        .map_or_else(Place::default, |instruction| Place::new(instruction.span, instruction.lines));
    let names_stage = dockerfile
        .stages
        .iter()
        .filter_map(|stage| stage.from.name.as_ref())
        .any(|name| name.value.eq_ignore_ascii_case(value));
    match value.parse() {
        Ok(seconds) => Ok(Some(seconds)),
        // A local context has no time of its own.
        Err(_) if value == "context" => Ok(None),
        Err(_) if names_stage || options.contexts.contains_key(value) => {
            Err(place.error(format!("SOURCE_DATE_EPOCH taken from `{value}` is not supported yet")))
        }
        Err(_) => {
            Err(place.error(format!("invalid SOURCE_DATE_EPOCH: `{value}` is not a number of seconds")))
        }
    }
}
