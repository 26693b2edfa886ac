//! WORKDIR and the metadata instructions (sections 11 to 13 and 18).

use crate::build::{build, check, image};

fn config(instructions: &str) -> String {
    build(&format!("FROM scratch\n{instructions}\n"))
        .config()
        .replace(r#""Env":[],"#, "")
        .replace(r#"{"Env":[]}"#, "{}")
}

fn history(instructions: &str) -> String {
    build(&format!("FROM scratch\n{instructions}\n")).history()
}

#[test]
fn workdir_is_joined_and_cleaned() {
    // D-245, D-249. Live BuildKit cleans relative ones only: an absolute path is shown as it is written.
    for (instructions, meant) in [
        ("WORKDIR /a", "/a"),
        ("WORKDIR /a\nWORKDIR b/../c//", "/a/c"),
        ("WORKDIR /a/b\nWORKDIR ../..", "/"),
        ("WORKDIR /a b", "/a b"),
        ("ENV D=/x\nWORKDIR $D/y", "/x/y"),
        ("WORKDIR /a\nWORKDIR $NOTHING", "/a"),
        ("WORKDIR \"/q\"", "/q"),
        ("WORKDIR /w/", "/w/"),
        ("WORKDIR //w/./x/../y", "//w/./x/../y"),
        ("WORKDIR //w/./x/../y\nWORKDIR z/", "/w/y/z"),
        ("WORKDIR /w/\nWORKDIR $NOTHING", "/w/"),
    ] {
        let plan = build(&format!("FROM scratch\n{instructions}\n")).plan();
        assert_eq!(plan.outputs[0].config.config.working_dir, meant, "{instructions}");
    }
}

#[test]
fn workdir_makes_a_layer_unless_it_is_the_root() {
    // D-248, D-299.
    check(
        &history("WORKDIR /a\nWORKDIR /\nWORKDIR /a"),
        "
        v1 WORKDIR /a
        -- WORKDIR /
        v2 WORKDIR /a
        ",
    );
}

#[test]
fn workdir_belongs_to_the_user_and_has_the_epoch() {
    // D-247, D-249.
    check(
        &build("FROM scratch\nUSER u:g\nWORKDIR /a\n")
            .arg("SOURCE_DATE_EPOCH", "5")
            .graph_lines(&["v1", "user", "epoch"]),
        "
        v1 workdir on v0: /a
        user: u:g
        epoch: 5
        ",
    );
}

#[test]
fn relative_workdir_is_reported_once_per_chain() {
    // D-250, D-332.
    let text = "Relative workdir \"a\" can have unexpected results if the base image changes";
    check(
        &build("FROM alpine\nWORKDIR a\nWORKDIR b\n").warnings(),
        &format!("WorkdirRelativePath: {text} (line 2)"),
    );
    check(&build("FROM alpine AS x\nWORKDIR /a\nFROM x\nWORKDIR b\n").warnings(), "");
}

#[test]
fn workdir_of_the_base_is_where_relative_ones_start() {
    // D-245.
    let mut base = image(&[]);
    base.config.working_dir = "/base".into();
    let build = build("FROM base\nWORKDIR sub\n").image("base", base);
    assert_eq!(build.plan().outputs.remove(0).config.config.working_dir, "/base/sub");
}

#[test]
fn user_is_stored_verbatim() {
    // D-252.
    check(&config("ENV U=app\nUSER ${U}:1"), r#"{"User":"app:1","Env":["U=app"],"WorkingDir":"/"}"#);
    check(&history("USER x"), "-- USER x");
}

#[test]
fn labels_add_up_and_the_command_line_wins() {
    // D-256.
    let mut base = image(&[]);
    base.config.labels =
        Some([("a".to_owned(), "base".to_owned()), ("b".to_owned(), "base".to_owned())].into());
    let build = build("FROM base\nLABEL b=file c=\"x y\" d=file\nLABEL d=last\n").image("base", base).with(
        |options| {
            options.labels = vec![("c".into(), "given".into()), ("e".into(), "given".into())];
        },
    );
    check(
        &build.config(),
        r#"{"Env":[],"Labels":{"a":"base","b":"file","c":"given","d":"last","e":"given"}}"#,
    );
    check(&build.history(), "-- LABEL b=file c=x y d=file\n-- LABEL d=last");
}

#[test]
fn labels_of_a_copied_stage_stay_there() {
    // D-257.
    let build = build("FROM scratch AS a\nLABEL x=1\nCOPY f /f\nFROM scratch\nCOPY --from=a /f /f\n");
    assert_eq!(build.plan().outputs.remove(0).config.config.labels, None);
    check(&build.history(), "v3 COPY /f /f # buildkit");
}

#[test]
fn ports_are_normalised_and_sorted_as_text() {
    // D-258, D-260.
    check(
        &history("EXPOSE 80 53/UDP 8000-8002 443/tcp"),
        "-- EXPOSE [443/tcp 53/udp 80/tcp 8000/tcp 8001/tcp 8002/tcp]",
    );
    check(&config("EXPOSE 80"), r#"{"ExposedPorts":{"80/tcp":{}},"WorkingDir":"/"}"#);
    check(&history("EXPOSE 1/Sctp 0 65535/TCP"), "-- EXPOSE [0/tcp 1/sctp 65535/tcp]");
    // Ports and volumes are added to those of the base.
    let base = "FROM scratch AS a\nEXPOSE 1\nVOLUME /a\nFROM a\nEXPOSE 2\nEXPOSE 1/udp\nVOLUME /b\n";
    check(
        &build(base).config().replace(r#""Env":[],"#, ""),
        r#"{"ExposedPorts":{"1/tcp":{},"1/udp":{},"2/tcp":{}},"Volumes":{"/a":{},"/b":{}},"WorkingDir":"/"}"#,
    );
}

#[test]
fn ports_of_a_variable_are_split() {
    // D-082.
    check(history("ARG P=\"80 443\"\nEXPOSE $P").lines().last().unwrap_or(""), "-- EXPOSE [80/tcp 443/tcp]");
}

#[test]
fn host_ports_are_accepted_and_dropped() {
    // D-259, D-342.
    let build = build("FROM scratch\nEXPOSE 127.0.0.1:8080:80 [::1]:1:2/tcp 5:6/TCP\n");
    check(&build.history(), "-- EXPOSE [80/tcp 6/tcp 2/tcp]");
    let text =
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found";
    check(
        &build.warnings(),
        &format!(
            "{text} '127.0.0.1:8080:80' (line 2)\n{text} '5:6/TCP' (line 2)\n{text} '[::1]:1:2/tcp' (line 2)"
        ),
    );
    // Words without variables are checked without a plan.
    let build = crate::build::build("FROM scratch\nARG P=7/UDP\nEXPOSE 8/TCP $P\n");
    check(&build.history(), "-- ARG P=7/UDP\n-- EXPOSE [7/udp 8/tcp]");
    check(
        &build.warnings(),
        "ExposeProtoCasing: Defined protocol '7/UDP' in EXPOSE instruction should be lowercase (line 3)",
    );
}

#[test]
fn bad_ports_fail() {
    // D-258, D-259.
    for (word, message) in [
        ("/tcp", "invalid port: no port specified: /tcp<empty>"),
        ("80/icmp", "invalid proto: icmp"),
        ("65536", "invalid containerPort: 65536"),
        ("90-80", "invalid containerPort: 90-80"),
        ("+80", "invalid containerPort: +80"),
        ("x", "invalid containerPort: x"),
        ("host:1:2", "invalid IP address: host"),
        ("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
        ("x:80", "invalid hostPort: x"),
    ] {
        check(&build(&format!("FROM scratch\nEXPOSE {word}\n")).errors(), &format!("{message} @2 `{word}`"));
    }
    check(&history("EXPOSE 0-65535").split(' ').count().to_string(), "65538");
}

#[test]
fn volumes_add_up() {
    // D-261.
    check(
        &config("VOLUME /a /b\nVOLUME [\"/c d\"]"),
        r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}},"WorkingDir":"/"}"#,
    );
    check(&history("VOLUME /a /b"), "-- VOLUME [/a /b]");
    check(
        &build("FROM scratch\nVOLUME $X\n").errors(),
        "VOLUME specified can not be an empty string @2 `$X`",
    );
}

#[test]
fn stop_signals() {
    // D-262.
    for signal in ["9", "KILL", "sigterm", "SIGRTMIN+15", "rtmax-14"] {
        check(
            &config(&format!("STOPSIGNAL {signal}")),
            &format!(r#"{{"WorkingDir":"/","StopSignal":"{signal}"}}"#),
        );
    }
    for wrong in ["0", "-1", "SIGNOPE", "RTMIN+16", "SIG"] {
        check(
            &build(&format!("FROM scratch\nSTOPSIGNAL {wrong}\n")).errors(),
            &format!("invalid signal: {wrong} @2 `{wrong}`"),
        );
    }
}

#[test]
fn maintainer_is_the_author() {
    // D-263.
    let build = build("FROM scratch\nMAINTAINER Jane Doe <jane@example.invalid>\n");
    assert_eq!(
        build.plan().outputs.remove(0).config.author.as_deref(),
        Some("Jane Doe <jane@example.invalid>")
    );
    check(&build.history(), "-- MAINTAINER Jane Doe <jane@example.invalid>");
}

#[test]
fn every_instruction_but_from_and_onbuild_is_in_the_history() {
    // D-294, D-299.
    check(
        &build("FROM alpine\nARG A\nENV E=1\nRUN x\nONBUILD RUN y\nCOPY a /\nWORKDIR /w\nCMD [\"c\"]\n")
            .history(),
        "
        -- ARG A
        -- ENV E=1
        v1 RUN |1 A= /bin/sh -c x # buildkit
        v3 COPY a / # buildkit
        v4 WORKDIR /w
        -- CMD [\"c\"]
        ",
    );
}
