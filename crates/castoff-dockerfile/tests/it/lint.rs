//! Build checks over syntax (section 20).

use castoff_dockerfile::lint::{CheckOptions, is_skipped_above, lint};
use castoff_dockerfile::parse;

/// Returns `Rule line text`, one a line.
fn findings(source: &str) -> Vec<String> {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let options = CheckOptions::default();
    lint(&parsed.dockerfile, &parsed.source)
        .into_iter()
        .filter(|one| options.allows(one.rule.unwrap()))
        .map(|one| format!("{} {} {}", one.rule.unwrap(), one.lines.0, &parsed.source[one.span.range()]))
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
}

#[test]
fn blank_lines_inside_instructions() {
    // D-325
    check(
        "FROM x\nRUN a \\\n\n\n b\nRUN <<A\n\\\n\nA\nRUN c \\\n\n d\n",
        &["NoEmptyContinuation 2 ", "NoEmptyContinuation 10 "],
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
}

#[test]
fn platforms() {
    // D-336, D-339
    check("FROM --platform=$TARGETPLATFORM x", &["RedundantTargetPlatform 1 $TARGETPLATFORM"]);
    check("FROM --platform=$BUILDPLATFORM x", &[]);
    check("FROM --platform=linux/amd64 x AS b", &["FromPlatformFlagConstDisallowed 1 linux/amd64"]);
    check("FROM --platform=linux/amd64 x AS b-linux-amd64", &[]);
}

#[test]
fn secrets() {
    // D-337
    check(
        "FROM x\nARG GITHUB_TOKEN\nENV a=1 password=2",
        &["SecretsUsedInArgOrEnv 2 GITHUB_TOKEN", "SecretsUsedInArgOrEnv 3 password"],
    );
    check("FROM x\nARG TOKEN_FILE\nENV PUBLIC_KEY=1 MONKEY=2 TOKENS=3", &[]);
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
    assert!(!options.allows("A") && !options.allows("B") && options.allows("a") && options.error);
    assert!(!CheckOptions::parse("skip=all").unwrap().allows("A"));
    assert!(CheckOptions::parse("").unwrap().allows("A"));
    for text in ["skip", "foo=bar", "error=maybe", "skip=a;b", "error=true;skip=a;experimental=b;x=y", ";"] {
        assert!(CheckOptions::parse(text).is_err(), "{text}");
    }
}

#[test]
fn descriptions_are_checked_when_asked_for() {
    // D-341
    let parsed = parse(b"# v The version.\nARG v\n# wrong\nFROM x AS base\n# c\n# other Text.\nARG other\n");
    let found = lint(&parsed.dockerfile, &parsed.source);
    let rules: Vec<_> = found.iter().map(|one| (one.rule.unwrap(), one.lines.0)).collect();
    assert_eq!(rules, [("InvalidDefinitionDescription", 4)]);
    assert!(!CheckOptions::default().allows("InvalidDefinitionDescription"));
    assert!(CheckOptions::parse("experimental=all").unwrap().allows("InvalidDefinitionDescription"));
}
