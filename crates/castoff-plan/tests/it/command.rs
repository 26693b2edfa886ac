//! CMD, ENTRYPOINT, SHELL and HEALTHCHECK (sections 9 and 13).

use crate::build::{build, check, image};

fn config(instructions: &str) -> String {
    build(&format!("FROM scratch\n{instructions}\n"))
        .config()
        .replace(r#""Env":[],"#, "")
        .replace(r#","WorkingDir":"/""#, "")
        .replace(r#""WorkingDir":"/","#, "")
}

fn history(instructions: &str) -> String {
    build(&format!("FROM scratch\n{instructions}\n")).history()
}

#[test]
fn shell_form_has_the_shell_of_that_line_in_front() {
    // D-179, D-183.
    check(&config("CMD run $X"), r#"{"Cmd":["/bin/sh","-c","run $X"],"ArgsEscaped":true}"#);
    check(
        &config("CMD a\nSHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT b\n"),
        r#"{"Entrypoint":["/bin/bash","-ec","b"],"Cmd":["/bin/sh","-c","a"],"Shell":["/bin/bash","-ec"],"ArgsEscaped":true}"#,
    );
}

#[test]
fn exec_form_is_taken_as_given() {
    // D-179.
    check(&config("ENTRYPOINT [\"/app\", \"$X\"]"), r#"{"Entrypoint":["/app","$X"]}"#);
}

#[test]
fn last_one_wins() {
    // D-180.
    check(&config("CMD [\"a\"]\nCMD [\"b\"]"), r#"{"Cmd":["b"],"ArgsEscaped":true}"#);
    check(&config("ENTRYPOINT a\nENTRYPOINT [\"b\"]"), r#"{"Entrypoint":["b"]}"#);
    check(
        &config("HEALTHCHECK --retries=3 CMD a\nHEALTHCHECK CMD b"),
        r#"{"Healthcheck":{"Test":["CMD-SHELL","b"]}}"#,
    );
    check(&config("HEALTHCHECK CMD a\nHEALTHCHECK NONE"), r#"{"Healthcheck":{"Test":["NONE"]}}"#);
}

#[test]
fn entrypoint_clears_an_inherited_cmd_only() {
    // D-181.
    let mut base = image(&[]);
    base.config.cmd = Some(vec!["inherited".into()]);
    let config = |instructions: &str| {
        build(&format!("FROM base\n{instructions}")).image("base", base.clone()).config()
    };
    check(&config("ENTRYPOINT [\"e\"]\n"), r#"{"Env":[],"Entrypoint":["e"]}"#);
    check(
        &config("CMD [\"own\"]\nENTRYPOINT [\"e\"]\n"),
        r#"{"Env":[],"Entrypoint":["e"],"Cmd":["own"],"ArgsEscaped":true}"#,
    );
    check(
        &config("ENTRYPOINT [\"e\"]\nCMD [\"later\"]\n"),
        r#"{"Env":[],"Entrypoint":["e"],"Cmd":["later"],"ArgsEscaped":true}"#,
    );
    let stages = build("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nENTRYPOINT [\"e\"]\n")
        .plan()
        .outputs
        .remove(0)
        .config
        .config;
    assert_eq!((stages.cmd, stages.entrypoint), (None, Some(vec!["e".into()])));
}

#[test]
fn empty_lists() {
    // D-182.
    let mut base = image(&[]);
    base.config.entrypoint = Some(vec!["inherited".into()]);
    let config = |text: &str| build(text).image("base", base.clone()).config();
    check(&config("FROM base\nENTRYPOINT []\n"), r#"{"Env":[]}"#);
    check(&config("FROM scratch\nCMD []\n"), r#"{"Env":[],"WorkingDir":"/","ArgsEscaped":true}"#);
}

#[test]
fn history_quotes_words_as_go_does() {
    // D-295.
    check(&history(r#"CMD ["a", "b \"c\"", "\\", "\n\u0001"]"#), r#"-- CMD ["a" "b \"c\"" "\\" "\n\x01"]"#);
    check(&history("ENTRYPOINT run it"), r#"-- ENTRYPOINT ["/bin/sh" "-c" "run it"]"#);
    check(&history("SHELL [\"/bin/bash\", \"-c\"]"), "-- SHELL [/bin/bash -c]");
    check(&history("CMD []"), "-- CMD []");
}

#[test]
fn healthcheck_forms() {
    // D-186, D-264.
    check(
        &config("HEALTHCHECK --interval=5m --timeout=3s CMD curl $X"),
        r#"{"Healthcheck":{"Test":["CMD-SHELL","curl $X"],"Interval":300000000000,"Timeout":3000000000}}"#,
    );
    check(&config("HEALTHCHECK CMD [\"a\", \"b\"]"), r#"{"Healthcheck":{"Test":["CMD","a","b"]}}"#);
    check(&config("HEALTHCHECK NONE"), r#"{"Healthcheck":{"Test":["NONE"]}}"#);
}

#[test]
fn healthcheck_history_prints_go_durations() {
    // D-295.
    check(
        &history("HEALTHCHECK --interval=5m --timeout=3s CMD x"),
        r#"-- HEALTHCHECK &{["CMD-SHELL" "x"] "5m0s" "3s" "0s" "0s" '\x00'}"#,
    );
    check(
        &history(
            "HEALTHCHECK --interval=1h1s --timeout=1500ms --start-period=20ms --retries=3 CMD [\"x\",\"y\"]",
        ),
        r#"-- HEALTHCHECK &{["CMD" "x" "y"] "1h0m1s" "1.5s" "20ms" "0s" '\x03'}"#,
    );
    check(&history("HEALTHCHECK NONE"), r#"-- HEALTHCHECK &{["NONE"] "0s" "0s" "0s" "0s" '\x00'}"#);
}
