//! Builds for several platforms: one graph, in which what is the same is once (B-166, B-169, D-321).

use castoff_plan::NamedContext;

use crate::build::{build, check, image};

const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM golang AS tools
RUN install linter
FROM --platform=$BUILDPLATFORM golang AS build
WORKDIR /src
COPY go.mod .
RUN fetch
ARG TARGETOS TARGETARCH
COPY . .
RUN compile
FROM alpine
COPY --from=tools /linter /bin/linter
COPY --from=build /src/app /bin/app
";

#[test]
fn steps_of_the_build_platform_are_shared() {
    // B-166, B-169, D-122, D-320, D-321: what names no target argument is in the graph once; `RUN
    // compile` has the arguments in its environment, and so it is there for each platform.
    let build = build(CROSS).platforms(&["linux/amd64", "linux/arm64"]);
    check(
        &build.graph_lines(&["v", "output"]),
        "
        v0 image docker.io/library/golang:latest@sha256:... linux/amd64
        v1 run on v0: \"/bin/sh\" \"-c\" \"install linter\"
        v2 workdir on v0: /src
        v3 local context
        v4 copy on v2: v3:go.mod -> /src/
        v5 run on v4: \"/bin/sh\" \"-c\" \"fetch\"
        v6 copy on v5: v3:. -> /src/
        v7 run on v6: \"/bin/sh\" \"-c\" \"compile\"
        v8 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v9 copy on v8: v1:/linter -> /bin/linter
        v10 copy on v9: v7:/src/app -> /bin/app
        v11 run on v6: \"/bin/sh\" \"-c\" \"compile\"
        v12 image docker.io/library/alpine:latest@sha256:... linux/arm64
        v13 copy on v12: v1:/linter -> /bin/linter
        v14 copy on v13: v11:/src/app -> /bin/app
        output linux/amd64: v10
        output linux/arm64: v14
        ",
    );
    check(
        &build.graph_lines(&["env: TARGET"]),
        "
        env: TARGETOS=linux
        env: TARGETARCH=amd64
        env: TARGETOS=linux
        env: TARGETARCH=arm64
        ",
    );
}

#[test]
fn the_printed_graph_says_which_platforms_need_a_step() {
    // B-166.
    let source =
        "FROM --platform=$BUILDPLATFORM alpine AS a\nRUN x\nFROM scratch\nCOPY --from=a x /\nRUN y\n";
    check(
        &build(source).platforms(&["linux/amd64", "linux/arm64"]).graph_lines(&["v", "for"]),
        "
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        for: linux/amd64, linux/arm64
        v1 run on v0: \"/bin/sh\" \"-c\" \"x\"
        for: linux/amd64, linux/arm64
        v2 scratch
        for: linux/amd64, linux/arm64
        v3 copy on v2: v1:x -> /
        for: linux/amd64, linux/arm64
        v4 run on v3: \"/bin/sh\" \"-c\" \"y\"
        for: linux/amd64
        v5 run on v3: \"/bin/sh\" \"-c\" \"y\"
        for: linux/arm64
        ",
    );
}

#[test]
fn steps_say_for_which_platform_they_are() {
    // B-146: a stage that builds for another platform than its own says so.
    check(
        &build(CROSS).platforms(&["linux/arm64", "linux/arm/v7"]).names(),
        "
        [linux/amd64 tools 1/2] FROM docker.io/library/golang:latest@sha256:...
        [linux/amd64 tools 2/2] RUN install linter
        [linux/amd64 build 2/6] WORKDIR /src
        [internal] load build context
        [linux/amd64 build 3/6] COPY go.mod .
        [linux/amd64 build 4/6] RUN fetch
        [linux/amd64->arm64 build 5/6] COPY . .
        [linux/amd64->arm64 build 6/6] RUN compile
        [linux/arm64 stage-2 1/3] FROM docker.io/library/alpine:latest@sha256:...
        [linux/arm64 stage-2 2/3] COPY --from=tools /linter /bin/linter
        [linux/arm64 stage-2 3/3] COPY --from=build /src/app /bin/app
        [linux/amd64->arm/v7 build 6/6] RUN compile
        [linux/arm/v7 stage-2 1/3] FROM docker.io/library/alpine:latest@sha256:...
        [linux/arm/v7 stage-2 2/3] COPY --from=tools /linter /bin/linter
        [linux/arm/v7 stage-2 3/3] COPY --from=build /src/app /bin/app
        ",
    );
    // One platform is not shown, whichever it is.
    let names = build("FROM alpine\nRUN x\n").platforms(&["linux/arm64"]).names();
    check(names.lines().last().unwrap_or(""), "[2/2] RUN x");
}

#[test]
fn each_image_is_asked_for_once_per_platform() {
    // B-166, D-125.
    check(
        &build(CROSS).platforms(&["linux/arm64", "linux/amd64"]).questions(),
        "
        docker.io/library/alpine:latest linux/arm64
        docker.io/library/golang:latest linux/amd64
        docker.io/library/alpine:latest linux/amd64
        ",
    );
}

#[test]
fn outputs_are_in_the_order_asked_for() {
    // B-166, D-293.
    let plan =
        build("FROM scratch\nCOPY a /\n").platforms(&["linux/s390x", "linux/arm/v6", "linux/386"]).plan();
    let outputs: Vec<String> = plan
        .outputs
        .iter()
        .map(|output| {
            let config = &output.config;
            let variant = config.variant.as_deref().unwrap_or("-");
            format!("{} {} {} {variant}", output.platform, config.os, config.architecture)
        })
        .collect();
    assert_eq!(outputs, ["linux/s390x linux s390x -", "linux/arm/v6 linux arm v6", "linux/386 linux 386 -"]);
    // D-321: a copy executes nothing, and so the same files are the same for all of them.
    assert!(plan.outputs.iter().all(|output| output.vertex == plan.outputs[0].vertex));
    let stages: Vec<(usize, usize)> = plan.stages.iter().map(|stage| (stage.output, stage.index)).collect();
    assert_eq!(stages, [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn runs_of_different_platforms_are_different_steps() {
    // D-321.
    let plan = build("FROM scratch\nRUN x\n").platforms(&["linux/amd64", "linux/arm64"]).plan();
    assert_ne!(plan.outputs[0].vertex, plan.outputs[1].vertex);
}

#[test]
fn platform_arguments_differ_and_stages_may_depend_on_them() {
    // D-097, D-115: the base of the last stage is another for each platform.
    let source = "\
FROM alpine AS base-amd64
FROM alpine AS base-arm64
RUN only-here
FROM base-$TARGETARCH
ARG TARGETPLATFORM
ARG BUILDPLATFORM
LABEL for=$TARGETPLATFORM by=$BUILDPLATFORM
";
    let build = build(source).platforms(&["linux/amd64", "linux/arm64"]);
    check(
        &build.graph_lines(&["v", "output"]),
        "
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v1 image docker.io/library/alpine:latest@sha256:... linux/arm64
        v2 run on v1: \"/bin/sh\" \"-c\" \"only-here\"
        output linux/amd64: v0
        output linux/arm64: v2
        ",
    );
    let labels: Vec<String> = build
        .plan()
        .outputs
        .into_iter()
        .map(|output| serde_json::to_string(&output.config.config.labels).expect("labels are JSON"))
        .collect();
    assert_eq!(
        labels,
        [r#"{"by":"linux/amd64","for":"linux/amd64"}"#, r#"{"by":"linux/amd64","for":"linux/arm64"}"#]
    );
}

#[test]
fn a_named_context_may_be_for_one_platform() {
    // D-126: the other platform has the one for all.
    let build = build("FROM base\n").platforms(&["linux/amd64", "linux/arm64"]).with(|options| {
        options.contexts.insert("base::linux/arm64".into(), NamedContext::Directory);
        options.contexts.insert("base".into(), NamedContext::Scratch);
    });
    check(
        &build.graph_lines(&["v", "output"]),
        "
        v0 scratch
        v1 local context base::linux/arm64
        output linux/amd64: v0
        output linux/arm64: v1
        ",
    );
}

#[test]
fn a_finding_of_all_platforms_is_said_once() {
    let twice =
        build("FROM alpine\nRUN echo $NOPE\nLABEL a=$NOPE\n").platforms(&["linux/amd64", "linux/arm64"]);
    check(&twice.warnings(), "UndefinedVar: Usage of undefined variable '$NOPE' (line 3)");
    // D-335: a base that lies about its platform is found for the platform that is betrayed.
    let lying = build("FROM odd\n").image("odd", image(&[])).platforms(&["linux/amd64", "linux/arm64"]);
    check(
        &lying.warnings(),
        "InvalidBaseImagePlatform: Base image odd was pulled with platform \"linux/amd64\", expected \"linux/arm64\" \
         for current build (line 1)",
    );
}

#[test]
fn a_mistake_of_one_platform_fails_all() {
    // B-166: the stage exists for one of them only.
    let build = build("FROM alpine AS base-amd64\nFROM base-${TARGETARCH}:-\n")
        .platforms(&["linux/amd64", "linux/arm64"]);
    assert!(build.errors().contains("failed to parse stage name"), "{}", build.errors());
}

#[test]
fn a_time_that_differs_between_platforms_is_refused() {
    // D-102.
    let source = "ARG SOURCE_DATE_EPOCH=1${TARGETVARIANT:+0}\nFROM scratch\nCOPY a /\n";
    check(
        &build(source).platforms(&["linux/amd64", "linux/arm/v7"]).errors(),
        "SOURCE_DATE_EPOCH differs between the platforms @0 ``",
    );
}
