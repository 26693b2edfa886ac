//! Stages: what ships, what is built, and what runs beside what.

use super::kit::{Kit, with_steps, with_steps_as_each_user};

// D-189, D-209
#[test]
fn only_what_is_copied_ships() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS build\n\
            RUN mkdir /out && echo product > /out/app && chmod 755 /out/app && echo scrap > /scrap\n\
            FROM scratch\n\
            COPY --from=build /out/app /app\n\
            ENTRYPOINT [\"/app\"]\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.paths(), ["app"]);
        assert_eq!(files.text("app"), "product\n");
        assert_eq!(files.look("app"), "-0755 0:0");
        kit.build(dockerfile, &["-t", "app"]).succeeds();
        assert_eq!(kit.history("app"), ["COPY /out/app /app # buildkit", "ENTRYPOINT [\"/app\"]"]);
    });
}

// D-130: each stage waits for the other, so one after the other would never end.
#[test]
fn independent_stages_run_at_once() {
    with_steps_as_each_user(|kit| {
        let stage = |mine: &str, other: &str| {
            format!(
                "FROM busybox AS {mine}\n\
                 RUN --mount=type=cache,id=meet,target=/meet touch /meet/{mine}; tries=0; \
                 until [ -e /meet/{other} ]; do tries=$((tries+1)); [ $tries -lt 200 ] || exit 9; sleep 0.05; done; \
                 touch /{mine}\n"
            )
        };
        let dockerfile = stage("left", "right")
            + &stage("right", "left")
            + "FROM scratch\nCOPY --from=left /left /\nCOPY --from=right /right /\n";
        assert_eq!(kit.files(&dockerfile, &["--jobs", "2"]).paths(), ["left", "right"]);
    });
}

// D-128
#[test]
fn a_stage_that_nobody_needs_is_not_built() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS needed\nRUN echo yes > /answer\n\
            FROM not-an-image-that-exists AS unknown\n\
            FROM busybox AS broken\nRUN false\n\
            FROM scratch\nCOPY --from=needed /answer /\n";
        let done = kit.build(dockerfile, &[]).succeeds();
        assert_eq!(done.executed(), ["COPY --from=needed /answer /", "RUN echo yes > /answer"]);
    });
}

// D-320
#[test]
fn equal_steps_of_two_stages_run_once() {
    with_steps(|kit| {
        let stage = |name: &str| {
            format!(
                "FROM busybox AS {name}\n\
                 RUN --mount=type=cache,id=log,target=/log echo ran >> /log/runs; echo same > /result\n"
            )
        };
        let dockerfile = stage("one")
            + &stage("two")
            + "FROM busybox\nCOPY --from=one /result /one\nCOPY --from=two /result /two\n\
               RUN --mount=type=cache,id=log,target=/log cp /log/runs /runs\n";
        let files = kit.files(&dockerfile, &[]);
        assert_eq!(files.text("runs"), "ran\n");
        assert_eq!(files.text("one"), files.text("two"));
    });
}

// D-129
#[test]
fn the_target_is_built_and_nothing_after_it() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS Base\nRUN touch /base\n\
            FROM base AS test\nRUN touch /test\n\
            FROM base\nRUN false\n";
        let files = kit.files(dockerfile, &["--target", "TEST"]);
        assert_eq!((files.look("base"), files.look("test")), ("-0644 0:0".into(), "-0644 0:0".into()));
        kit.build(dockerfile, &["--target", "tset"])
            .fails()
            .says("target stage \"tset\" could not be found")
            .says("test");
        kit.build(dockerfile, &["--target", "1"]).fails().says("target stage \"1\" could not be found");
    });
}

// D-119
#[test]
fn a_stage_begins_with_all_of_its_base_stage() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS base\nARG A=arg\nENV E=env\nWORKDIR /work\nUSER app\n\
            SHELL [\"/bin/sh\", \"-ec\"]\n\
            FROM base\nUSER root\nRUN false; true\n";
        kit.build(dockerfile, &[]).fails().says("process \"/bin/sh -ec false; true\"");
        let dockerfile =
            dockerfile.replace("USER root\nRUN false; true", "RUN echo $A $E $(pwd) $(id -un) > /tmp/all");
        assert_eq!(kit.files(&dockerfile, &[]).text("tmp/all"), "arg env /work app\n");
    });
}

// D-191: neither the directory of the stage that copies nor that of the one that is copied from counts.
#[test]
fn paths_of_another_stage_begin_at_its_root() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS made\nWORKDIR /jobs\nRUN echo inner > name && echo outer > /name && mkdir -p /jobs/jobs && echo deep > jobs/name\n\
            FROM scratch\nWORKDIR /here\nCOPY --from=made name relative\nCOPY --from=made /name absolute\n\
            COPY --from=made jobs/name ./jobs/\nCOPY --from=made ../../name up\nCOPY --from=0 job?/na* matched\n";
        let files = kit.files(dockerfile, &[]);
        for (path, content) in [
            ("here/relative", "outer\n"),
            ("here/absolute", "outer\n"),
            ("here/jobs/name", "inner\n"),
            ("here/up", "outer\n"),
            ("here/matched", "inner\n"),
        ] {
            assert_eq!(files.text(path), content, "{path}");
        }
    });
}

// D-255
#[test]
fn a_stage_begins_as_the_user_of_its_base_image() {
    with_steps(|kit| {
        kit.build("FROM busybox\nUSER app:extra\n", &["-t", "with-user"]).succeeds();
        let dockerfile = "FROM with-user\nRUN id -un > /tmp/name && id -gn >> /tmp/name\nWORKDIR /made\n\
            COPY Dockerfile /copied\nUSER root\nRUN id -un >> /tmp/name\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("tmp/name"), "app\nextra\nroot\n");
        assert_eq!(
            (files.look("made"), files.look("copied")),
            ("d0755 1000:2000".into(), "-0644 0:0".into())
        );
        kit.build("FROM with-user\nLABEL a=b\n", &["-t", "app"]).succeeds();
        assert_eq!(kit.inspect("app")["Config"]["User"], "app:extra");
    });
}

// D-273, D-291
#[test]
fn a_dockerfile_that_is_ignored_is_read_and_not_copied() {
    let kit = Kit::new();
    kit.write("context/.dockerignore", "Dockerfile\n.dockerignore\n");
    kit.write("context/kept", "");
    assert_eq!(kit.files("FROM scratch\nCOPY . /\n", &[]).paths(), ["kept"]);
    kit.build("FROM scratch\nCOPY Dockerfile /\n", &[]).fails().says("Dockerfile");
    kit.build("FROM scratch\nCOPY .dockerignore /\n", &[]).fails().says(".dockerignore");
    // Everything else is ignored with them, and still both are read.
    kit.write("context/.dockerignore", "*\n");
    kit.write("context/other.Dockerfile", "FROM scratch\nCOPY . /all/\n");
    let done = kit.castoff(&["build", "-o", "-", "-f", "context/other.Dockerfile", "context"]).succeeds();
    assert_eq!(super::kit::Files::read(&done.stdout).paths(), ["all"]);
}

// D-189, D-190
#[test]
fn stages_are_copied_from_by_number() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN echo zero > /zero\nFROM busybox\nRUN echo one > /one\n\
            FROM scratch\nCOPY --from=0 /zero /\nCOPY --from=1 /one /\n";
        assert_eq!(kit.files(dockerfile, &[]).paths(), ["one", "zero"]);
    });
    Kit::new().build("FROM scratch\nCOPY --from=3 / /\n", &[]).fails().says("invalid stage index").says("^");
}
