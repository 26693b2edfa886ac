//! `castoff check` without a store: what it prints, what it writes, and its exit code.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, run_as};

/// A directory with some files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn check(directory: &TempDir, words: &[&str]) -> Run {
    run_as("castoff", directory.path(), &[&["check"], words].concat())
}

const SOUND: &str = "FROM example.org/base:1\nRUN true\n";

#[test]
fn a_sound_file_is_said_to_be_one() {
    let directory = directory(&[("Dockerfile", SOUND)]);
    let expected = Run {
        code: Some(0),
        stdout: "Check complete, no warnings found.\n".to_owned(),
        stderr: String::new(),
    };
    for words in [&[][..], &["."], &["Dockerfile"], &["-f", "Dockerfile"], &["-f", "Dockerfile", "."]] {
        assert_eq!(check(&directory, words), expected, "{words:?}");
    }
    // Neither a store nor anything else was made.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

// B-160
#[test]
fn findings_are_shown_with_their_places() {
    let directory = directory(&[("Dockerfile", "FROM example.org/base as one\nRUN true\n")]);
    let run = check(&directory, &[]);
    let expected = "\
Check complete, 2 warnings have been found!

NOTE: UnpinnedBase
The base image example.org/base has no tag, which means whatever is latest
Dockerfile:1
--------------------
   1 | >>> FROM example.org/base as one
     |          ^^^^^^^^^^^^^^^^
   2 |     RUN true
   3 |     
--------------------
hint: name a version, and a digest as well if builds are to be the same forever

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM example.org/base as one
     |                           ^^
   2 |     RUN true
   3 |     
--------------------
hint: `castoff check --fix` puts it right
";
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(1), expected, ""));
    let run = check(&directory, &["--severity", "warning"]);
    assert!(run.stdout.starts_with("Check complete, 1 warning has been found!\n"), "{}", run.stdout);
    let run = check(&directory, &["--severity=error"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Check complete, no warnings found.\n"));
}

// D-026, D-027, D-028
#[test]
fn directives_are_honoured() {
    let skipping = "# check=skip=FromAsCasing\nFROM example.org/base:1 as one\n# check=skip=all\nENV a b\n";
    let directory = directory(&[("Dockerfile", skipping)]);
    assert_eq!(check(&directory, &[]).code, Some(0));
    let run = check(&directory, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=none"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("FromAsCasing") && !run.stdout.contains("LegacyKeyValue"), "{}", run.stdout);
    let run = check(&directory, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=nonsense"]);
    assert_eq!((run.code, run.stderr.contains("invalid check option")), (Some(1), true), "{}", run.stderr);
}

#[test]
fn several_files_are_checked_at_once() {
    let files = [
        ("a/Dockerfile", "FROM example.org/a:1 as a\n"),
        ("b.Dockerfile", "FROM example.org/b:1 as b\n"),
        ("c", SOUND),
    ];
    let directory = directory(&files);
    for words in [&["a", "b.Dockerfile", "c"][..], &["-f", "a/Dockerfile", "-f", "b.Dockerfile", "-f", "c"]] {
        let run = check(&directory, words);
        assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
        assert!(run.stdout.starts_with("Check complete, 2 warnings have been found!\n"), "{}", run.stdout);
        assert!(run.stdout.contains("\na/Dockerfile:1\n") && run.stdout.contains("\nb.Dockerfile:1\n"));
    }
    assert_eq!(check(&directory, &["absent"]).code, Some(1));
}

// B-160, D-344
#[test]
fn what_cannot_be_parsed_is_an_error() {
    let directory = directory(&[
        ("Dockerfile", "FROM example.org/a:1\nRUNN true\n"),
        ("b", "FROM example.org/b:1 as b\n"),
    ]);
    let run = check(&directory, &["Dockerfile", "b"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .contains("dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)")
    );
    assert!(run.stdout.starts_with("Check complete, 1 warning has been found!\n"), "{}", run.stdout);
    let run = check(&directory, &["."]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
}

// B-159: mistakes of all stages are told at once.
#[test]
fn all_mistakes_are_told_in_one_run() {
    let text = "FROM scratch AS a\nSTOPSIGNAL none\nEXPOSE x\nFROM scratch AS unneeded\nVOLUME $V\n\
                FROM example.org/b:1\nARG --x a\nCOPY --from=a --chmod=9 / /\n";
    let directory = directory(&[("Dockerfile", text)]);
    let run = check(&directory, &[]);
    assert_eq!(run.code, Some(1));
    for message in [
        "invalid signal: none",
        "invalid containerPort: x",
        "VOLUME specified can not be an empty string",
        "invalid chmod parameter: '9'",
    ] {
        assert!(run.stderr.contains(message), "{message}: {}", run.stderr);
    }
    // D-037
    assert!(run.stdout.contains("WARNING: FlagWithoutEffect"), "{}", run.stdout);
}

// D-340
#[test]
fn the_ignore_file_of_the_context_counts() {
    let files = [("Dockerfile", "FROM scratch\nCOPY docs /docs\n"), (".dockerignore", "docs\n")];
    let directory = directory(&files);
    for words in [&[][..], &["-f", "Dockerfile", "."]] {
        let run = check(&directory, words);
        assert!(run.stdout.contains("WARNING: CopyIgnoredFile - "), "{}", run.stdout);
    }
    // The context is not known.
    assert_eq!(check(&directory, &["-f", "Dockerfile"]).code, Some(0));
}

// B-161
#[test]
fn json_has_the_form_of_buildkit() {
    let directory = directory(&[
        ("Dockerfile", "FROM example.org/a:1\nRUN a \\\n  b\nCMD a \\\n b\n"),
        ("broken", "FROM\n"),
    ]);
    let run = check(&directory, &["--format=json"]);
    assert_eq!(run.code, Some(1));
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let warning = &found["warnings"][0];
    assert_eq!(warning["ruleName"], "JSONArgsRecommended");
    assert_eq!(warning["url"], "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
    assert!(warning["description"].is_string() && warning["detail"].is_string());
    let line = |line: u32| serde_json::json!({ "start": { "line": line }, "end": { "line": line } });
    assert_eq!(warning["location"]["ranges"], serde_json::json!([line(4), line(5)]));
    assert_eq!(found["sources"][0]["filename"], "Dockerfile");
    assert_eq!(found["sources"][0]["language"], "Dockerfile");
    assert!(found["buildError"].is_null());
    let run = check(&directory, &["--format=json", "Dockerfile", "broken"]);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(found["buildError"]["location"]["sourceIndex"], 1);
    let message = found["buildError"]["message"].as_str().unwrap();
    assert!(message.starts_with("dockerfile parse error on line 1: "), "{message}");
}

/// Checks what SARIF 2.1.0 demands of the parts that we write.
fn is_sarif(log: &Value) -> &Vec<Value> {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-2.1.0.json"));
    let run = &log["runs"][0];
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    assert_eq!(run["tool"]["driver"]["name"], "castoff");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let levels = ["note", "warning", "error"];
    for rule in rules {
        assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
        assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
        assert_eq!(rules.iter().filter(|other| other["id"] == rule["id"]).count(), 1);
    }
    let region = |region: &Value| {
        let number = |key: &str| region[key].as_u64().unwrap();
        assert!(number("startLine") >= 1 && number("startColumn") >= 1);
        assert!((number("startLine"), number("startColumn")) <= (number("endLine"), number("endColumn")));
    };
    let results = run["results"].as_array().unwrap();
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(levels.contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert!(!place["artifactLocation"]["uri"].as_str().unwrap().starts_with('/'));
        region(&place["region"]);
        for fix in result["fixes"].as_array().into_iter().flatten() {
            for change in fix["artifactChanges"].as_array().unwrap() {
                assert_eq!(change["artifactLocation"], place["artifactLocation"]);
                for replacement in change["replacements"].as_array().unwrap() {
                    region(&replacement["deletedRegion"]);
                    assert!(replacement["insertedContent"]["text"].is_string());
                }
            }
        }
    }
    results
}

#[test]
fn sarif_has_what_the_standard_demands() {
    let files =
        [("x y/Dockerfile", "FROM example.org/a as b\nENV A b\nMAINTAINER me\n"), ("broken", "FROM a b\n")];
    let directory = directory(&files);
    let run = check(&directory, &["--format=sarif", "x y", "broken"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    let log: Value = serde_json::from_str(&run.stdout).unwrap();
    crate::schemas::fits("sarif-schema-2.1.0.json", &log, &["runs", "0", "results", "0"], "message");
    let results = is_sarif(&log);
    let rules: Vec<&str> = results.iter().map(|one| one["ruleId"].as_str().unwrap()).collect();
    let expected =
        ["UnpinnedBase", "FromAsCasing", "LegacyKeyValueFormat", "MaintainerDeprecated", "DockerfileError"];
    assert_eq!(rules, expected);
    let place = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "x%20y/Dockerfile");
    let region = serde_json::json!({ "startLine": 1, "startColumn": 20, "endLine": 1, "endColumn": 22 });
    assert_eq!(place["region"], region);
    assert_eq!(
        results[1]["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"],
        "AS"
    );
    assert_eq!(results[4]["level"], "error");
    let run = check(&directory, &["--format=sarif", "--severity=error", "x y"]);
    assert!(is_sarif(&serde_json::from_str(&run.stdout).unwrap()).is_empty());
    assert_eq!(run.code, Some(0));
}

const UNTIDY: &str = "# Kept.\nFROM example.org/base:1   as Build # kept\n\nrun true\nENV A b\n";

#[test]
fn fixes_change_the_file_and_nothing_else_of_it() {
    // A word too many is an error, which is left alone.
    let directory = directory(&[("Dockerfile", UNTIDY)]);
    let path = directory.path().join("Dockerfile");
    let run = check(&directory, &["--fix"]);
    assert_eq!((run.code, fs::read_to_string(&path).unwrap().as_str()), (Some(1), UNTIDY));

    fs::write(&path, UNTIDY.replace(" # kept", "")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("Dockerfile", directory.path().join("link")).unwrap();
    let run = check(&directory, &["--diff"]);
    assert_eq!(run.code, Some(0));
    let expected = "\
--- a/Dockerfile
+++ b/Dockerfile
@@ -1,5 +1,5 @@
 # Kept.
-FROM example.org/base:1   as Build
+FROM example.org/base:1   AS build
 
-run true
-ENV A b
+RUN true
+ENV A=b
";
    assert_eq!(run.stdout, expected);
    assert!(fs::read_to_string(&path).unwrap().contains("run true"));

    let run = check(&directory, &["--fix", "link"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "Check complete, no warnings found.\n"));
    assert_eq!(run.stderr.lines().count(), 4, "{}", run.stderr);
    assert!(run.stderr.contains("fixed FromAsCasing: "), "{}", run.stderr);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "# Kept.\nFROM example.org/base:1   AS build\n\nRUN true\nENV A=b\n"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(directory.path().join("link").is_symlink());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);

    // Nothing is left to fix.
    assert_eq!(check(&directory, &["--diff"]).stdout, "");
    assert_eq!(check(&directory, &["--fix"]).stderr, "");
    assert_eq!(check(&directory, &["--fix", "--diff"]).code, Some(1));
}

#[test]
fn skipped_rules_are_not_fixed() {
    let text = "# check=skip=FromAsCasing\nFROM example.org/base:1 as b\nENV A b\n";
    let directory = directory(&[("Dockerfile", text)]);
    check(&directory, &["--fix"]);
    let fixed = fs::read_to_string(directory.path().join("Dockerfile")).unwrap();
    assert_eq!(fixed, text.replace("A b", "A=b"));
}

#[test]
fn rules_are_listed_and_explained() {
    let directory = directory(&[]);
    let list = check(&directory, &["--list"]).stdout;
    assert!(
        list.lines().any(|line| line.starts_with("StageNameCasing ") && line.contains(" yes ")),
        "{list}"
    );
    assert!(list.lines().any(|line| line.starts_with("UnpinnedBase ") && line.contains(" when named ")));
    let page = check(&directory, &["--explain", "unpinnedbase"]).stdout;
    assert!(page.starts_with("# UnpinnedBase\n") && page.contains("## Why"), "{page}");
    let run = check(&directory, &["--explain", "UnpinedBase"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("did you mean UnpinnedBase?"), "{}", run.stderr);
}
