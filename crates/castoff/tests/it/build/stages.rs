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
