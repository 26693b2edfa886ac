//! Step names (B-145 to B-147, D-083).

use crate::build::{build, check};

#[test]
fn stages_and_steps_are_numbered() {
    // B-146: WORKDIR counts, metadata does not, a stage base and scratch do not.
    check(
        &build(
            "FROM alpine AS base\nENV A=1\nWORKDIR /w\nFROM base AS builder\nRUN make\nCOPY a b\n\
             FROM scratch\nCOPY --from=builder /w/b /b\n",
        )
        .names(),
        "
        [base 1/2] FROM docker.io/library/alpine:latest@sha256:...
        [base 2/2] WORKDIR /w
        [builder 1/2] RUN make
        [internal] load build context
        [builder 2/2] COPY a b
        FROM scratch
        [stage-2 1/1] COPY --from=builder /w/b /b
        ",
    );
}

#[test]
fn numbers_are_padded_to_the_width_of_the_total() {
    // B-146.
    let steps: String = (0..9).map(|number| format!("RUN {number}\n")).collect();
    let names = build(&format!("FROM alpine\n{steps}")).names();
    check(
        &names.lines().take(2).map(|line| line.to_owned() + "\n").collect::<String>(),
        "[ 1/10] FROM docker.io/library/alpine:latest@sha256:...\n[ 2/10] RUN 0",
    );
    check(names.lines().last().unwrap_or(""), "[10/10] RUN 8");
}

#[test]
fn single_stage_shows_no_name() {
    // B-146.
    check(
        &build("FROM alpine AS named\nRUN x\n").names(),
        "[1/2] FROM docker.io/library/alpine:latest@sha256:...\n[2/2] RUN x",
    );
}

#[test]
fn keyword_is_upper_case_and_lines_are_joined() {
    check(
        build("FROM alpine\nrun a && \\\n    b\n").names().lines().last().unwrap_or(""),
        "[2/2] RUN a &&     b",
    );
}

#[test]
fn set_variables_are_shown_by_value() {
    // D-083: quotes and escapes are kept, single quotes protect.
    let shown = |command: &str| {
        let names = build(&format!("FROM alpine\nENV A=1\nRUN {command}\n")).names();
        names.lines().last().unwrap_or("").trim_start_matches("[2/2] RUN ").to_owned()
    };
    check(&shown("echo $A ${A} $B ${B} \"$A\""), "echo 1 1 $B ${B} \"1\"");
    check(&shown("echo '$A' \\$A"), "echo '$A' \\$A");
    check(&shown("echo ${A:-x} $$ $1 $"), "echo ${A:-x} $$ $1 $");
    check(&shown("echo \"it's $A\""), "echo \"it's 1\"");
}

#[test]
fn platform_is_shown_in_builds_for_several() {
    // B-146.
    let build = build(
        "FROM --platform=linux/arm64 alpine AS cross\nARG TARGETARCH\nRUN a\nFROM alpine\nCOPY --from=cross /x /x\n",
    )
    .with(|options| options.multi_platform = true);
    check(
        &build.names(),
        "
        [linux/arm64 cross 1/2] FROM docker.io/library/alpine:latest@sha256:...
        [linux/arm64->amd64 cross 2/2] RUN a
        [linux/amd64 stage-1 1/2] FROM docker.io/library/alpine:latest@sha256:...
        [linux/amd64 stage-1 2/2] COPY --from=cross /x /x
        ",
    );
}

#[test]
fn linked_copies_and_triggers_are_marked() {
    // B-146.
    check(
        build("FROM alpine\nCOPY --link a b\n").names().lines().last().unwrap_or(""),
        "[2/2] LINK COPY --link a b",
    );
    check(
        &build("FROM alpine AS a\nONBUILD RUN x\nFROM a\nRUN y\n").names(),
        "
        [a 1/1] FROM docker.io/library/alpine:latest@sha256:...
        [stage-1 1/2] ONBUILD RUN x
        [stage-1 2/2] RUN y
        ",
    );
}

#[test]
fn vertices_say_where_they_were_written() {
    // D-015.
    let plan = build("FROM alpine\n\nRUN <<EOF\nx\nEOF\n").plan();
    let (_, last) = plan.graph.iter().last().expect("a RUN");
    let origin = last.origin.clone().expect("an origin");
    assert_eq!((origin.source.as_str(), origin.first_line, origin.last_line), ("Dockerfile", 3, 5));
    assert_eq!(last.stage.as_deref(), Some("stage-0"));
}
