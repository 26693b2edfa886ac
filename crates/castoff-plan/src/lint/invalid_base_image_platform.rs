//! InvalidBaseImagePlatform (D-335).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule};
use castoff_oci::Platform;

pub(crate) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    description: "Base image platform does not match expected target platform",
    origin: Origin::BuildKit { url: None, experimental: false },
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../../docs/lints/InvalidBaseImagePlatform.md"),
};

/// Returns what is said of an image.
pub(crate) fn message(image: &str, found: &Platform, wanted: &Platform) -> String {
    format!(
        "Base image {image} was pulled with platform \"{found}\", expected \"{wanted}\" for current build"
    )
}
