//! ONBUILD (section 14).

use castoff_oci::ImageConfig;

use crate::build::{build, check, image};

fn with_triggers(triggers: &[&str]) -> ImageConfig {
    let mut config = image(&[]);
    config.config.on_build = Some(triggers.iter().map(|trigger| (*trigger).to_owned()).collect());
    config
}

#[test]
fn trigger_is_stored_raw_and_does_nothing_here() {
    // D-266, D-060.
    let build = build("FROM scratch\nENV A=1\nONBUILD COPY $A /x\nONBUILD RUN <<EOF\nhi\nEOF\n");
    assert_eq!(
        build.plan().outputs.remove(0).config.config.on_build,
        Some(vec!["COPY $A /x".to_owned(), "RUN <<EOF\nhi\nEOF".to_owned()])
    );
    check(&build.history(), "-- ENV A=1");
}

#[test]
fn triggers_of_an_image_run_first_and_are_consumed() {
    // D-268, D-269.
    let build =
        build("FROM base\nRUN own\n").image("base", with_triggers(&["ENV T=1", "RUN <<EOF\nhi\nEOF"]));
    check(
        &build.graph_lines(&["v", "name"]),
        r#"
        v0 image docker.io/library/base:latest@sha256:... linux/amd64
        name: [1/3] FROM docker.io/library/base:latest@sha256:...
        v1 run on v0: "/bin/sh" "-c" "hi\n"
        name: [2/3] ONBUILD RUN <<EOF (hi)
        v2 run on v1: "/bin/sh" "-c" "own"
        name: [3/3] RUN own
        "#,
    );
    check(&build.config(), r#"{"Env":["T=1"]}"#);
    check(
        &build.history(),
        "
        -- ENV T=1
        v1 RUN /bin/sh -c hi
         # buildkit
        v2 RUN /bin/sh -c own # buildkit
        ",
    );
}

#[test]
fn triggers_of_a_stage_run_in_the_next_but_not_twice() {
    // D-268, D-269.
    let build = build("FROM base AS a\nONBUILD RUN second\nFROM a AS b\nFROM b\nRUN own\n")
        .image("base", with_triggers(&["RUN first"]));
    check(
        &build.names(),
        "
        [a 1/2] FROM docker.io/library/base:latest@sha256:...
        [a 2/2] ONBUILD RUN first
        [b 1/1] ONBUILD RUN second
        [stage-2 1/1] RUN own
        ",
    );
    assert_eq!(build.plan().outputs.remove(0).config.config.on_build, None);
}

#[test]
fn trigger_can_make_stages_and_images_reachable() {
    // D-270: the planner asks again.
    let build = build("FROM tools AS deps\nRUN d\nFROM base\n")
        .image("base", with_triggers(&["COPY --from=deps /d /d", "RUN --mount=from=extra,target=/e x"]));
    check(
        &build.questions(),
        "
        docker.io/library/base:latest linux/amd64
        docker.io/library/extra:latest linux/amd64
        docker.io/library/tools:latest linux/amd64
        ",
    );
    check(
        &build.names(),
        "
        [deps 1/2] FROM docker.io/library/tools:latest@sha256:...
        [deps 2/2] RUN d
        [stage-1 1/3] FROM docker.io/library/base:latest@sha256:...
        [stage-1 2/3] ONBUILD COPY --from=deps /d /d
        FROM docker.io/library/extra:latest@sha256:...
        [stage-1 3/3] ONBUILD RUN --mount=from=extra,target=/e x
        ",
    );
}

#[test]
fn trigger_may_use_a_named_context() {
    // D-270.
    let build =
        build("FROM base\n").image("base", with_triggers(&["COPY --from=files f /"])).with(|options| {
            options.contexts.insert("files".into(), castoff_plan::NamedContext::Directory);
        });
    check(&build.questions(), "docker.io/library/base:latest linux/amd64");
    check(&build.graph_lines(&["v1", "v2"]), "v1 local context files\nv2 copy on v0: v1:f -> /");
}

#[test]
fn errors_of_triggers_are_at_the_from_line() {
    // D-271.
    let errors = |trigger: &str| {
        let build = build("# comment\nFROM base\nRUN x\n").image("base", with_triggers(&[trigger]));
        build.errors().lines().next().unwrap_or("").to_owned()
    };
    check(&errors("STOPSIGNAL nope"), "invalid signal: nope @2 `FROM base`");
    check(&errors("COPY --from=9 /a /b"), "invalid stage index 9 @2 `FROM base`");
    for broken in ["", "RUN a\nRUN b", "ONBUILD RUN x", "FROM x", "MAINTAINER x", "NOPE x"] {
        let error = errors(broken);
        assert!(error.starts_with("ONBUILD trigger `") || error.contains("trigger"), "{broken:?}: {error}");
        assert!(error.ends_with("@2 `FROM base`") || broken.contains('\n'), "{broken:?}: {error}");
    }
}

#[test]
fn trigger_that_copies_from_a_later_stage_fails() {
    // D-132, D-270.
    let build = build("FROM base AS a\nFROM alpine AS later\n")
        .target("a")
        .image("base", with_triggers(&["COPY --from=later /a /b"]));
    check(
        &build.errors(),
        "
        cannot copy from stage \"later\", it needs to be defined before current stage \"a\" @1 `FROM base AS a`
          hint: stages may only use stages above them
        ",
    );
}

#[test]
fn images_that_are_only_copied_from_run_no_triggers() {
    let build = build("FROM scratch\nCOPY --from=base /a /a\n").image("base", with_triggers(&["RUN x"]));
    check(
        &build.names(),
        "
        FROM scratch
        FROM docker.io/library/base:latest@sha256:...
        [1/1] COPY --from=base /a /a
        ",
    );
}
