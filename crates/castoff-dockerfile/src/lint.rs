//! Build checks that need nothing but the text (section 20).
//!
//! Each check is one file below `lint/`, which holds its [`Rule`] and its function; [`rules`] is the list.
//! Checks that need variables, the context or a registry belong to others; they have [`Rule`]s of the
//! same kind, and share [`CheckOptions`] and [`is_skipped_above`].

mod arg_shadows_env;
mod compiler_in_image;
mod consistent_instruction_casing;
mod copy_all_before_install;
mod duplicate_stage_name;
pub mod expose_proto_casing;
mod file;
pub mod flag_without_effect;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod missing_user;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod options;
mod package_cache_in_layer;
mod paths;
mod recursive_change_doubles_layer;
mod redundant_target_platform;
mod removed_in_later_layer;
mod reserved_stage_name;
mod rule;
mod secret_in_value;
mod secrets_used_in_arg_or_env;
mod shell;
mod shell_form_entrypoint;
mod stage_name_casing;
mod unpinned_base;

use std::collections::BTreeSet;

pub use options::{CheckError, CheckOptions, Preset, is_skipped_above};
pub use rule::{Finding, Level, Origin, Reach, Rule};

use crate::{Diagnostic, Dockerfile};
use file::{File, Findings};

/// A rule and what looks for it.
struct Check {
    rule: &'static Rule,
    run: fn(&File<'_>, &mut Findings),
}

/// The checks of this crate, by name.
const CHECKS: &[Check] = &[
    arg_shadows_env::CHECK,
    compiler_in_image::CHECK,
    consistent_instruction_casing::CHECK,
    copy_all_before_install::CHECK,
    duplicate_stage_name::CHECK,
    expose_proto_casing::CHECK,
    flag_without_effect::CHECK,
    from_as_casing::CHECK,
    from_platform_flag_const_disallowed::CHECK,
    invalid_definition_description::CHECK,
    json_args_recommended::CHECK,
    legacy_key_value_format::CHECK,
    maintainer_deprecated::CHECK,
    missing_user::CHECK,
    multiple_instructions_disallowed::CHECK,
    no_empty_continuation::CHECK,
    package_cache_in_layer::CHECK,
    recursive_change_doubles_layer::CHECK,
    redundant_target_platform::CHECK,
    removed_in_later_layer::CHECK,
    reserved_stage_name::CHECK,
    secret_in_value::CHECK,
    secrets_used_in_arg_or_env::CHECK,
    shell_form_entrypoint::CHECK,
    stage_name_casing::CHECK,
    unpinned_base::CHECK,
];

/// Returns the rules of this crate, by name.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    CHECKS.iter().map(|check| check.rule)
}

/// Which checks run, and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LintOptions {
    /// The stages that are looked at by the rules that look at stages; all when absent (D-322).
    pub stages: Option<BTreeSet<usize>>,
    /// Name of the stage that becomes the image; the last one when absent.
    pub target: Option<String>,
}

/// Runs the checks over a file. `source` is the text that its spans refer to
/// ([`Parsed::source`](crate::Parsed::source)).
///
/// Comments that skip a check for one instruction are honoured (D-027); what the whole file or the
/// caller skips is not: [`CheckOptions::allows`] tells.
pub fn lint(dockerfile: &Dockerfile, source: &str, options: &LintOptions) -> Vec<Finding> {
    let file = File::new(dockerfile, source, options);
    let mut findings = Findings::default();
    for check in CHECKS {
        findings.begin(check.rule);
        (check.run)(&file, &mut findings);
    }
    let mut found = findings.into_inner();
    if let Some(stages) = &options.stages {
        found.retain(|one| {
            let everywhere = one.rule.reach == Reach::File;
            everywhere || one.stage.is_none_or(|stage| stages.contains(&stage))
        });
    }
    found.sort_by_key(|one| (one.diagnostic.span.start, one.rule.name));
    found
}

/// Returns the findings without their rules.
pub fn diagnostics(findings: Vec<Finding>) -> impl Iterator<Item = Diagnostic> {
    findings.into_iter().map(|finding| finding.diagnostic)
}
