//! The start check: what it foretells happens when the image is run, and what starts raises nothing.

use super::kit::{Kit, with_steps, with_steps_as_each_user};

/// A Dockerfile whose image breaks when it is started, and what is said of it.
const BROKEN: &[(&str, &str)] = &[
    ("FROM busybox\nCMD [\"/app\"]\n", "`/app` is not in the image"),
    ("FROM busybox\nCMD [\"app\"]\n", "`app` is in no directory of PATH"),
    ("FROM busybox\nCMD node server.js\n", "`node` is in no directory of PATH"),
    ("FROM busybox\nCMD [\"sh /run.sh\"]\n", "`sh /run.sh`"),
    ("FROM scratch\nCMD echo hello\n", "the shell `/bin/sh` is not in the image"),
    (
        "FROM busybox\nCOPY --chmod=644 <<EOF /run\n#!/bin/sh\nEOF\nCMD [\"/run\"]\n",
        "`/run` may not be executed by anybody: its mode is 0644",
    ),
    (
        "FROM busybox\nCOPY --chmod=755 <<EOF /run\necho hello\nEOF\nCMD [\"/run\"]\n",
        "`/run` is neither a binary nor a script: `exec format error`",
    ),
    (
        "FROM busybox\nCOPY --chmod=755 <<EOF /run\n#!/bin/bash\nEOF\nCMD [\"/run\"]\n",
        "`/run` asks for the interpreter `/bin/bash`, which is not in the image",
    ),
    (
        "FROM busybox\nCOPY --chmod=755 <<EOF /run\n#!/usr/bin/env python3\nEOF\nRUN mkdir -p /usr/bin && ln -sf /bin/busybox /usr/bin/env\nCMD [\"/run\"]\n",
        "`/run` asks for `python3`, which is in no directory of PATH",
    ),
    (
        "FROM busybox\nRUN printf '#!/bin/sh\\r\\necho hello\\r\\n' > /run && chmod 755 /run\nCMD [\"/run\"]\n",
        "the first line of `/run` ends with a carriage return",
    ),
    ("FROM busybox\nCMD [\"sh\", \"/start.sh\"]\n", "`sh` is to run `/start.sh`, which is not in the image"),
    (
        "FROM busybox\nUSER nobody-here\nCMD [\"true\"]\n",
        "unable to find user nobody-here: no matching entries in passwd file",
    ),
    (
        "FROM busybox\nWORKDIR /a\nRUN rmdir /a && touch /a\nCMD [\"true\"]\n",
        "the working directory `/a` is no directory",
    ),
    ("FROM busybox\nRUN mkdir /app\nENTRYPOINT [\"/app\"]\n", "`/app` is no file and cannot be executed"),
];

/// Dockerfiles whose images start and end well.
const GOOD: &[&str] = &[
    "FROM busybox\nCMD [\"true\"]\n",
    "FROM busybox\nCMD true\n",
    "FROM busybox\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"exit 0\"]\n",
    "FROM busybox\nWORKDIR /made/when/needed\nCMD [\"sh\", \"-c\", \"test $(pwd) = /made/when/needed\"]\n",
    "FROM busybox\nCOPY --chmod=755 <<EOF /run\n#!/bin/sh\nexit 0\nEOF\nCMD [\"/run\"]\n",
    "FROM busybox\nCOPY --chmod=755 <<EOF /run\n#! /bin/busybox sh\nexit 0\nEOF\nWORKDIR /\nCMD [\"./run\", \"x\"]\n",
    "FROM busybox\nCOPY <<EOF /srv/start.sh\nexit 0\nEOF\nWORKDIR /srv\nCMD sh start.sh\n",
    "FROM busybox\nENV PATH=/opt:/bin\nRUN mkdir /opt; ln -s /bin/busybox /opt/true\nCMD [\"true\"]\n",
    "FROM busybox\nCMD test -e /nothing || exec true\n",
    "FROM busybox\nENV TZ=UTC\nHEALTHCHECK CMD test -e /ready || exit 1\nCMD [\"true\"]\n",
];

#[test]
fn what_is_foretold_happens() {
    with_steps_as_each_user(|kit| {
        for (dockerfile, expected) in BROKEN {
            kit.build(dockerfile, &["-t", "broken"]).succeeds().says("cannot start:").says(expected);
            let done = kit.castoff(&["run", "--rm", "broken"]);
            assert_ne!(done.code, Some(0), "{dockerfile}: {}", done.stderr);
            kit.castoff(&["startable", "broken"]).fails();
        }
    });
}

#[test]
fn what_starts_raises_nothing() {
    with_steps_as_each_user(|kit| {
        for dockerfile in GOOD {
            let done = kit.build(dockerfile, &["-t", "good", "--require", "startable"]).succeeds();
            done.never_says("the image");
            kit.castoff(&["run", "--rm", "good"]).succeeds();
            let done = kit.castoff(&["startable", "good"]).succeeds();
            assert_eq!(done.text(), "good: nothing keeps it from starting\n", "{dockerfile}");
        }
    });
}

/// A build that is required to be startable gives nothing away before it is known to be.
#[test]
fn a_build_can_require_that_its_image_starts() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nCMD [\"/app\"]\n";
        let flags = ["-t", "app", "-o", "type=oci,dest=app.tar", "--require", "startable"];
        let done = kit.build(dockerfile, &flags).fails();
        done.says("`/app` is not in the image").says("--require startable was given");
        assert!(!kit.path("app.tar").exists());
        kit.castoff(&["inspect", "app"]).fails();
        kit.build(dockerfile, &["--require", "reproducible"]).fails().says("reproducible");
    });
}

/// The line to add names the stage and the path.
#[test]
fn another_stage_that_has_what_is_missing_is_named() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS tools\nRUN mkdir -p /opt/bin && cp /bin/busybox /opt/bin/app\n\
                          ENV PATH=/opt/bin:/bin\nRUN true > /made\n\
                          FROM busybox\nCOPY --from=tools /made /made\nCMD [\"app\", \"true\"]\n";
        let done = kit.build(dockerfile, &["-t", "app"]).succeeds();
        done.says("`app` is in no directory of PATH").says("hint: COPY --from=tools /opt/bin/app /opt/bin/");
    });
}

#[test]
fn programs_are_told_in_json() {
    with_steps(|kit| {
        kit.build("FROM busybox\nHEALTHCHECK CMD curl localhost\nCMD [\"true\"]\n", &["-t", "app"])
            .succeeds()
            .says("the image may not work:");
        let done = kit.castoff(&["startable", "app", "--format", "json"]).succeeds();
        let answer: serde_json::Value = serde_json::from_str(done.text()).unwrap();
        let finding = &answer[0]["findings"][0];
        assert_eq!(answer[0]["canStart"], true);
        assert_eq!(finding["rule"], "healthcheck-missing");
        assert_eq!((&finding["certainty"], &finding["stopsStart"]), (&"certain".into(), &false.into()));
        assert_eq!(answer[0]["findings"].as_array().unwrap().len(), 1);
    });
}

/// What cannot be looked at is no reason to withhold an image.
#[test]
fn an_image_that_cannot_be_judged_is_built() {
    with_steps(|kit| {
        let strange = "FROM busybox\nRUN rm /etc/passwd && mkdir /etc/passwd\n";
        kit.build(&format!("{strange}CMD [\"true\"]\n"), &["-t", "app"]).succeeds().never_says("the image");
        let dockerfile = format!("{strange}USER app\nCMD [\"true\"]\n");
        let done = kit.build(&dockerfile, &["-t", "app"]).succeeds();
        done.says("the image may not work:")
            .says("it cannot be found out")
            .says("`/etc/passwd` is not a regular file");
        kit.build(&dockerfile, &["--require", "startable"])
            .fails()
            .says("`/etc/passwd` is not a regular file");
    });
}

/// What passed is not looked at again, and what is asked for as JSON lines stays that.
#[test]
fn other_outputs_are_left_alone() {
    with_steps(|kit: &Kit| {
        let dockerfile = "FROM busybox\nCMD [\"/app\"]\n";
        kit.build(dockerfile, &["--output", "type=local,dest=out"]).succeeds().never_says("cannot start");
        kit.build(dockerfile, &["--progress", "rawjson"]).succeeds().never_says("cannot start");
        kit.build(dockerfile, &["-q"]).succeeds().never_says("cannot start");
    });
}
