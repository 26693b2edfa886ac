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
