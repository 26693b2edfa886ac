//! Build checks over syntax (section 20).

use castoff_dockerfile::lint::{CheckOptions, Finding, LintOptions, Preset, is_skipped_above, lint, rules};
use castoff_dockerfile::parse;

fn run(source: &str, options: &LintOptions) -> (Vec<Finding>, String) {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    (lint(&parsed.dockerfile, &parsed.source, options), parsed.source)
}

/// Returns `Rule line text` of BuildKit's rules, one a line.
fn findings(source: &str) -> Vec<String> {
    let (found, text) = run(source, &LintOptions::default());
    let options = CheckOptions::default();
    found
        .into_iter()
        .filter(|one| options.allows(one.rule.name, Preset::Build))
        .map(|one| {
            let finding = &one.diagnostic;
            format!("{} {} {}", one.rule.name, finding.lines.0, &text[finding.span.range()])
        })
        .collect()
}

#[track_caller]
fn check(source: &str, expected: &[&str]) {
    assert_eq!(findings(source), expected, "{source}");
}

#[test]
fn stage_names() {
    // D-323, D-327
    check("FROM x AS Base", &["StageNameCasing 1 Base"]);
    check("FROM x AS a\nFROM x AS b\nFROM x AS a", &["DuplicateStageName 3 a"]);
    check(
        "FROM x AS scratch\nFROM x AS context",
        &["ReservedStageName 1 scratch", "ReservedStageName 2 context"],
    );
}

#[test]
fn casing() {
    // D-324, D-326
    check("FROM x as y", &["FromAsCasing 1 as"]);
    check("from x AS y", &["FromAsCasing 1 AS"]);
    check(
        "FROM x\nRun a\nrun b",
        &["ConsistentInstructionCasing 2 Run", "ConsistentInstructionCasing 3 run"],
    );
    check("from x\nrun a\nRUN b", &["ConsistentInstructionCasing 3 RUN"]);
    check("from x\nrun a", &[]);
    // As many of the one as of the other count as upper.
    check("FROM x\nrun a", &["ConsistentInstructionCasing 2 run"]);
}

#[test]
fn blank_lines_inside_instructions() {
    // D-325: the line is the last one of the instruction, as BuildKit says it.
    check(
        "FROM x\nRUN a \\\n\n\n b\nRUN <<A\n\\\n\nA\nRUN c \\\n\n d\n",
        &["NoEmptyContinuation 5 ", "NoEmptyContinuation 12 "],
    );
    check("FROM x\nRUN a \\\n# c\n b", &[]);
}

#[test]
fn shell_forms() {
    // D-328, D-185
    check("FROM x\nCMD a", &["JSONArgsRecommended 2 CMD a"]);
    check("FROM x\nENTRYPOINT a\nCMD [\"b\"]", &["JSONArgsRecommended 2 ENTRYPOINT a"]);
    check(
        "FROM x AS y\nSHELL [\"z\"]\nCMD a\nFROM y\nCMD b\nFROM x\nCMD c",
        &["JSONArgsRecommended 7 CMD c"],
    );
}

#[test]
fn old_forms() {
    // D-329, D-334
    check("FROM x\nMAINTAINER a", &["MaintainerDeprecated 2 MAINTAINER"]);
    check(
        "FROM x\nENV a b\nLABEL c d\nENV e=f",
        &["LegacyKeyValueFormat 2 ENV a b", "LegacyKeyValueFormat 3 LABEL c d"],
    );
}

#[test]
fn repeated_commands() {
    // D-333
    check("FROM x\nCMD []\nCMD []\nFROM x\nCMD []", &["MultipleInstructionsDisallowed 2 CMD"]);
    check("FROM x\nHEALTHCHECK NONE\nHEALTHCHECK CMD a", &["MultipleInstructionsDisallowed 2 HEALTHCHECK"]);
    check(
        "FROM x\nENTRYPOINT []\nENTRYPOINT []\nENTRYPOINT []",
        &["MultipleInstructionsDisallowed 2 ENTRYPOINT", "MultipleInstructionsDisallowed 3 ENTRYPOINT"],
    );
}

#[test]
fn platforms() {
    // D-336, D-339
    check("FROM --platform=$TARGETPLATFORM x", &["RedundantTargetPlatform 1 $TARGETPLATFORM"]);
    check("FROM --platform=$BUILDPLATFORM x", &[]);
    check("FROM --platform=linux/amd64 x AS b", &["FromPlatformFlagConstDisallowed 1 linux/amd64"]);
    check("FROM --platform=linux/amd64 x AS b-linux-amd64", &[]);
    check("FROM --platform=linux/amd64 x AS on-linux", &[]);
    check("FROM --platform=linux/amd64 x AS amd64", &[]);
    check("FROM --platform=linux/amd64 x AS arm64", &["FromPlatformFlagConstDisallowed 1 linux/amd64"]);
    check("FROM --platform=linux/$A x AS b", &[]);
}

#[test]
fn secrets() {
    // D-337
    check(
        "FROM x\nARG GITHUB_TOKEN\nENV a=1 password=2",
        &["SecretsUsedInArgOrEnv 2 GITHUB_TOKEN", "SecretsUsedInArgOrEnv 3 password"],
    );
    check("FROM x\nARG TOKEN_FILE\nENV PUBLIC_KEY=1 MONKEY=2 TOKENS=3 KEY_Version=4", &[]);
    for part in [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ] {
        let upper = part.to_uppercase();
        for name in [part.to_owned(), format!("A_{upper}"), format!("{upper}_B"), format!("a_{part}_b")] {
            check(&format!("FROM x\nENV {name}=1"), &[&format!("SecretsUsedInArgOrEnv 2 {name}")]);
        }
        check(&format!("FROM x\nENV x{part}=1"), &[]);
    }
}

#[test]
fn checks_are_skipped_by_a_comment_above() {
    // D-027
    check("\n# check=skip=StageNameCasing\n# x\nFROM x AS A\nFROM x AS B", &["StageNameCasing 5 B"]);
    check(
        "FROM x\n# check=skip=JSONArgsRecommended\nCMD a\nENTRYPOINT b",
        &["JSONArgsRecommended 4 ENTRYPOINT b"],
    );
    assert!(is_skipped_above(&["Check = skip=all".to_owned()], "X"));
    assert!(!is_skipped_above(&["check=skip".to_owned(), "check=skip=x".to_owned()], "X"));
}

#[test]
fn check_options_are_read() {
    // D-026
    let options = CheckOptions::parse("skip=A,B;error=true ignored").unwrap();
    let allows = |options: &CheckOptions, rule: &str| options.allows(rule, Preset::Build);
    assert!(!allows(&options, "A") && !allows(&options, "B") && allows(&options, "a") && options.error);
    assert!(!allows(&CheckOptions::parse("skip=all").unwrap(), "A"));
    assert!(allows(&CheckOptions::parse("").unwrap(), "A"));
    for text in ["skip", "foo=bar", "error=maybe", "skip=a;b", "error=true;skip=a;experimental=b;x=y", ";"] {
        assert!(CheckOptions::parse(text).is_err(), "{text}");
    }
}

#[test]
fn descriptions_are_checked_when_asked_for() {
    // D-341
    let (found, _) = run(
        "# v The version.\nARG v\n# wrong\nFROM x AS base\n# c\n# other Text.\nARG other\n",
        &LintOptions::default(),
    );
    let found: Vec<_> = found.iter().filter(|one| one.rule.name == "InvalidDefinitionDescription").collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].diagnostic.message,
        "Comment for FROM should follow the format: `# base <description>`"
    );
    let rule = "InvalidDefinitionDescription";
    for preset in [Preset::Build, Preset::All] {
        assert!(!CheckOptions::default().allows(rule, preset));
        assert!(CheckOptions::parse("experimental=all").unwrap().allows(rule, preset));
        assert!(CheckOptions::parse(&format!("experimental={rule}")).unwrap().allows(rule, preset));
    }
}

#[test]
fn rules_of_our_own_run_in_builds_when_they_are_named() {
    // D-026: a file must not fail where it does not fail with BuildKit.
    let rule = "UnpinnedBase";
    assert!(CheckOptions::default().allows(rule, Preset::All));
    assert!(!CheckOptions::default().allows(rule, Preset::Build));
    assert!(!CheckOptions::parse("experimental=all").unwrap().allows(rule, Preset::Build));
    assert!(CheckOptions::parse("experimental=UnpinnedBase").unwrap().allows(rule, Preset::Build));
    assert!(!CheckOptions::parse("skip=UnpinnedBase").unwrap().allows(rule, Preset::All));
    assert!(!CheckOptions::parse("skip=all").unwrap().allows(rule, Preset::All));
}

#[test]
fn rules_about_stages_look_at_those_that_are_built() {
    // D-322
    let source = "FROM x AS A\nCMD a\nFROM y\nCMD b\nCMD c\n";
    let only = |stages: &[usize]| {
        let stages = Some(stages.iter().copied().collect());
        let (found, _) = run(source, &LintOptions { stages, target: None });
        let found = found.iter().filter(|one| one.rule.url().is_some());
        found.map(|one| format!("{} {}", one.rule.name, one.diagnostic.lines.0)).collect::<Vec<_>>()
    };
    assert_eq!(only(&[0]), ["StageNameCasing 1", "JSONArgsRecommended 2"]);
    assert_eq!(
        only(&[1]),
        [
            "StageNameCasing 1",
            "JSONArgsRecommended 4",
            "MultipleInstructionsDisallowed 4",
            "JSONArgsRecommended 5"
        ]
    );
}

/// Compares the texts of a file's findings.
#[track_caller]
fn says(source: &str, expected: &[&str]) {
    let (found, _) = run(source, &LintOptions::default());
    let found = found.iter().filter(|one| one.rule.url().is_some());
    let found: Vec<_> = found.map(|one| one.diagnostic.message.as_str()).collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn texts_are_those_of_buildkit() {
    // D-323 to D-329, D-333, D-334, D-336, D-337, D-339, D-342
    says("FROM x AS B", &["Stage name 'B' should be lowercase"]);
    says("FROM x as b", &["'as' and 'FROM' keywords' casing do not match"]);
    says("FROM x\nRUN a \\\n\n b", &["Empty continuation line"]);
    says("FROM x\nrUN a", &["Command 'rUN' should match the case of the command majority (uppercase)"]);
    says("FROM x AS b\nFROM x AS b", &["Duplicate stage name \"b\", stage names should be unique"]);
    says("FROM x AS scratch", &["Stage name should not use the same name as reserved stage \"scratch\""]);
    says(
        "FROM x\nCMD a",
        &["JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"],
    );
    says("FROM x\nMAINTAINER a", &["Maintainer instruction is deprecated in favor of using label"]);
    says(
        "FROM x\nCMD []\nCMD []",
        &[
            "Multiple CMD instructions should not be used in the same stage because only the last one will be \
           used",
        ],
    );
    says("FROM x\nENV a b", &["\"ENV key=value\" should be used instead of legacy \"ENV key value\" format"]);
    says(
        "FROM --platform=${TARGETPLATFORM} x",
        &["Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default \
           behavior"],
    );
    says("FROM x\nARG TOKEN", &["Do not use ARG or ENV instructions for sensitive data (ARG \"TOKEN\")"]);
    says(
        "FROM --platform=linux/arm64 x",
        &["FROM --platform flag should not use constant value \"linux/arm64\""],
    );
    says(
        "FROM x\nEXPOSE 80/TCP 81/tcp",
        &["Defined protocol '80/TCP' in EXPOSE instruction should be lowercase"],
    );
}

#[test]
fn each_rule_has_a_page_of_its_name() {
    let rules: Vec<_> = rules().collect();
    for rule in &rules {
        assert!(rule.page.starts_with(&format!("# {}\n\n", rule.name)), "{}", rule.name);
        for heading in ["## Why", "## Instead of", "## Write", "## Skip"] {
            assert!(rule.page.contains(heading), "{}: {heading}", rule.name);
        }
    }
    assert!(rules.is_sorted_by_key(|rule| rule.name.to_lowercase()));
}
