//! The build checks of all crates in one list.

use castoff_dockerfile::lint::Rule;

use crate::ignored;

/// Returns every rule, by name.
pub fn rules() -> Vec<&'static Rule> {
    let mut rules: Vec<&'static Rule> = castoff_dockerfile::lint::rules()
        .chain(castoff_plan::lint::rules())
        .chain([&ignored::RULE])
        .collect();
    rules.sort_by_key(|rule| rule.name);
    rules
}

/// Returns the rule of a name.
pub fn find(name: &str) -> Option<&'static Rule> {
    rules().into_iter().find(|rule| rule.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_rule_has_a_page_and_each_page_a_rule() {
        let rules = rules();
        let names: BTreeSet<String> = rules.iter().map(|rule| format!("{}.md", rule.name)).collect();
        assert_eq!(names.len(), rules.len(), "no name is used twice");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lints");
        let pages: BTreeSet<String> = std::fs::read_dir(directory)
            .expect("the pages are there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, pages);
        for rule in rules {
            assert!(rule.page.starts_with(&format!("# {}\n", rule.name)), "{}", rule.name);
        }
    }

    // D-323 to D-342
    #[test]
    fn every_rule_of_buildkit_exists() {
        for name in [
            "ConsistentInstructionCasing",
            "CopyIgnoredFile",
            "DuplicateStageName",
            "ExposeInvalidFormat",
            "ExposeProtoCasing",
            "FromAsCasing",
            "FromPlatformFlagConstDisallowed",
            "InvalidBaseImagePlatform",
            "InvalidDefaultArgInFrom",
            "InvalidDefinitionDescription",
            "JSONArgsRecommended",
            "LegacyKeyValueFormat",
            "MaintainerDeprecated",
            "MultipleInstructionsDisallowed",
            "NoEmptyContinuation",
            "RedundantTargetPlatform",
            "ReservedStageName",
            "SecretsUsedInArgOrEnv",
            "StageNameCasing",
            "UndefinedArgInFrom",
            "UndefinedVar",
            "WorkdirRelativePath",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
