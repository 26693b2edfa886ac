//! Build checks that need variables, the graph or an image (section 20). Each is one file.

pub(crate) mod expose_invalid_format;
pub(crate) mod invalid_base_image_platform;
pub(crate) mod invalid_default_arg_in_from;
pub(crate) mod undefined_arg_in_from;
pub(crate) mod undefined_var;
pub(crate) mod workdir_relative_path;

use castoff_dockerfile::lint::Rule;

/// Returns the rules of this crate, by name.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter()
}

const RULES: &[Rule] = &[
    expose_invalid_format::RULE,
    invalid_base_image_platform::RULE,
    invalid_default_arg_in_from::RULE,
    undefined_arg_in_from::RULE,
    undefined_var::RULE,
    workdir_relative_path::RULE,
];
