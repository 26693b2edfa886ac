//! `--call` and `--check`: answers instead of images (B-159 to B-165).

use serde_json::{Value, json};

use super::kit::Kit;

const DOCKERFILE: &str = "\
# MODE How fast.
ARG MODE=fast
FROM busybox AS build
ARG MODE
ARG LEVEL=1
RUN --mount=type=secret,id=token,required=true --mount=type=ssh,id=git false
# app What ships.
FROM scratch AS app
COPY --from=build /a /b
";

fn text(stdout: &[u8]) -> &str {
    std::str::from_utf8(stdout).unwrap()
}

fn json(stdout: &[u8]) -> Value {
    serde_json::from_slice(stdout).unwrap()
}

// B-160
#[test]
fn a_check_shows_what_docker_shows() {
    let kit = Kit::new();
    let done = kit.build("FROM busybox as a\nFROM scratch\n", &["--check"]).fails();
    let expected = "\
Check complete, 1 warning has been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM busybox as a
     |                  ^^
   2 |     FROM scratch
   3 |     
--------------------
";
    assert_eq!(text(&done.stdout), expected);
    for flags in [&["--call=check,ignorestatus=true"][..], &["--print=lint,ignorestatus=1"]] {
        let done = kit.build("FROM busybox as a\nFROM scratch\n", flags).succeeds();
        assert_eq!(text(&done.stdout), expected);
    }
    let done = kit.build("FROM scratch\nCOPY . .\n", &["--check"]).succeeds();
    assert_eq!(text(&done.stdout), "Check complete, no warnings found.\n");
    // Two findings; every stage is looked at, and with a target only what it needs (D-322).
    let two = "FROM busybox AS a\nCMD a\nFROM busybox AS b\nCMD b\n";
    let done = kit.build(two, &["--call=lint"]).fails();
    assert!(text(&done.stdout).starts_with("Check complete, 2 warnings have been found!\n"));
    let done = kit.build(two, &["--check", "--target=a"]).fails();
    assert!(text(&done.stdout).starts_with("Check complete, 1 warning has been found!\n"));
}

// D-331, D-335: a check knows the base image where there is one.
#[test]
fn a_check_resolves_bases() {
    let kit = Kit::new();
    let done = kit.build("FROM busybox\nLABEL a=$NOPE\n", &["--check"]).fails();
    assert!(text(&done.stdout).contains("Usage of undefined variable '$NOPE'"));
}

#[test]
fn castoff_check_knows_bases_when_it_may_look_them_up() {
    let kit = Kit::new();
    kit.write("context/Dockerfile", "# check=skip=UnpinnedBase\nFROM busybox\nLABEL a=$NOPE\n");
    let found = |flags: &[&str]| kit.castoff(&[&["check"], flags, &["context"]].concat());
    found(&[]).succeeds();
    let done = found(&["--resolve"]).fails();
    assert!(text(&done.stdout).contains("Usage of undefined variable '$NOPE'"), "{}", text(&done.stdout));
}

// Nothing is executed, so that nothing has to be granted (B-159).
#[test]
fn calls_need_no_entitlements() {
    let kit = Kit::new();
    let file = "FROM busybox\nRUN --security=insecure --network=host true\n";
    kit.build(file, &["--check"]).succeeds();
    kit.build(file, &["--call=outline"]).succeeds();
}

// D-026: castoff's own rules fail nothing that does not fail with docker.
#[test]
fn rules_of_our_own_run_when_they_are_named() {
    let kit = Kit::new();
    let file = "FROM busybox\nCOPY . .\nRUN apk add curl\n";
    kit.build(file, &["--check"]).succeeds();
    kit.build(&format!("# check=experimental=all\n{file}"), &["--check"]).succeeds();
    let named = format!("# check=experimental=CopyAllBeforeInstall\n{file}");
    let done = kit.build(&named, &["--check"]).fails();
    assert!(text(&done.stdout).contains("WARNING: CopyAllBeforeInstall\n"));
}

// B-160, B-161
#[test]
fn a_broken_file_fails_a_check() {
    let kit = Kit::new();
    let done = kit.build("FROM busybox\nRUNN a\n", &["--check"]).fails();
    assert!(done.stdout.is_empty());
    done.says("dockerfile parse error on line 2: unknown instruction: RUNN");
    kit.build("FROM busybox\nRUNN a\n", &["--call=check,ignorestatus=true"]).succeeds();
    let done = kit.build("FROM busybox\nRUNN a\n", &["--call=check,format=json"]).fails();
    let found = json(&done.stdout);
    assert_eq!(found["warnings"], json!([]));
    let line = json!({ "start": { "line": 2 }, "end": { "line": 2 } });
    assert_eq!(found["buildError"]["location"], json!({ "ranges": [line] }));
}

// B-162
#[test]
fn an_outline_lists_what_a_target_takes() {
    let kit = Kit::new();
    let done = kit.build(DOCKERFILE, &["--call=outline", "--build-arg", "LEVEL=2"]).succeeds();
    let expected = "\
TARGET:      app
DESCRIPTION: What ships.

BUILD ARG   VALUE   DESCRIPTION
MODE        fast    How fast.
LEVEL       2

SECRET   REQUIRED
token    true

SSH   REQUIRED
git

";
    assert_eq!(text(&done.stdout), expected);
    let done = kit.build(DOCKERFILE, &["--call=outline,format=json", "--target=build"]).succeeds();
    let found = json(&done.stdout);
    assert_eq!(found["name"], "build");
    assert_eq!(found["args"][0]["name"], "MODE");
    assert_eq!(found["secrets"][0]["required"], true);
    assert_eq!(found["secrets"][0]["location"]["ranges"][0]["start"]["line"], 6);
    assert!(found["sources"][0].is_string());
    kit.build(DOCKERFILE, &["--call=outline", "--target=biuld"]).fails().says("did you mean `build`?");
}

// B-163
#[test]
fn targets_are_listed() {
    let kit = Kit::new();
    let done = kit.build(DOCKERFILE, &["--call=targets"]).succeeds();
    assert_eq!(text(&done.stdout), "TARGET        DESCRIPTION\nbuild\napp (default) What ships.\n");
    let done = kit.build(DOCKERFILE, &["--call=targets,format=json"]).succeeds();
    let targets = &json(&done.stdout)["targets"];
    assert_eq!(targets[0]["name"], "build");
    assert_eq!(targets[0]["base"], "busybox");
    assert!(targets[0]["default"].is_null());
    assert_eq!(targets[1]["default"], true);
    assert_eq!(targets[1]["location"]["ranges"][0]["start"]["line"], 8);
}

// B-164
#[test]
fn calls_are_described_and_others_refused() {
    let kit = Kit::new();
    let done = kit.build("FROM scratch\n", &["--call=subrequests.describe"]).succeeds();
    let list = text(&done.stdout);
    for name in ["lint", "outline", "targets", "subrequests.describe"] {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{list}");
    }
    let done = kit.build("FROM scratch\n", &["--call=subrequests.describe,format=json"]).succeeds();
    assert_eq!(json(&done.stdout)[0]["name"], "frontend.lint");
    kit.build("FROM scratch\n", &["--call=target"])
        .fails()
        .says("no such call")
        .says("did you mean targets?");
    kit.build("FROM scratch\n", &["--check", "--call=outline"]).fails().says("cannot be used together");
    // A build, asked for by name (B-017).
    kit.build("FROM scratch\nLABEL a=b\n", &["--call=build", "-t", "x"]).succeeds();
    kit.inspect("x");
}

// B-115
#[test]
fn a_metadata_file_holds_the_answer() {
    let kit = Kit::new();
    kit.build("FROM busybox as a\n", &["--check", "--metadata-file", "facts.json", "-t", "x"]).fails();
    let facts: Value = serde_json::from_str(&kit.read("facts.json")).unwrap();
    assert_eq!(facts["result.json"]["warnings"][0]["ruleName"], "FromAsCasing");
    assert!(facts["result.txt"].as_str().unwrap().contains("WARNING: FromAsCasing"));
    assert_eq!(facts["result.statuscode"], "1");
    // Nothing was built (B-159).
    kit.castoff(&["inspect", "x"]).fails();
}

// B-151, B-165, D-029
#[test]
fn builds_show_findings_and_fail_when_told_to() {
    let kit = Kit::new();
    let done = kit.build("FROM busybox as a\nLABEL a=b\n", &["--progress=plain", "-t", "x"]).succeeds();
    let text = "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)";
    let done = done.says(&format!("#1 WARN: {text}\n"));
    let summary = format!("\n 1 warning found (use docker --debug to expand):\n - {text}\n");
    assert_eq!(done.stderr.matches(&summary).count(), 1, "{}", done.stderr);
    let done = kit.build("# check=error=true\nFROM busybox as a\nRUN false\n", &[]).fails();
    done.says("lint violation found for rules: FromAsCasing");
}
