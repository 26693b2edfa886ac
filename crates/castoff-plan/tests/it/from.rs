//! FROM, stages, platforms and named contexts (section 7).

use castoff_plan::NamedContext;

use crate::build::{build, check, image};

#[test]
fn scratch_has_no_layers_and_the_default_path() {
    // D-120, D-111.
    let build = build("FROM scratch\nCOPY a /a\n");
    check(
        &build.graph(),
        "
        v0 scratch
            name: FROM scratch
        v1 local context
            name: [internal] load build context
        v2 copy on v0: v1:a -> /a
            name: [1/1] COPY a /a
        output linux/amd64: v2
        ",
    );
    let config = build.plan().outputs.remove(0).config;
    assert_eq!(config.config.working_dir, "/");
    assert_eq!(
        config.config.variable("PATH"),
        Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    );
    assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "amd64"));
}

#[test]
fn image_is_pinned_and_shown_with_its_digest() {
    // B-147, D-116.
    check(
        &build("FROM alpine\n").graph(),
        "
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
            name: [1/1] FROM docker.io/library/alpine:latest@sha256:...
        output linux/amd64: v0
        ",
    );
}

#[test]
fn image_without_layers_is_like_scratch_but_keeps_its_config() {
    // D-121.
    let mut empty = image(&["A=1"]);
    empty.rootfs.diff_ids.clear();
    let build = build("FROM empty\nCOPY a /\n").image("empty", empty);
    check(&build.graph_lines(&["v0"]), "v0 scratch");
    assert!(build.config().contains("A=1"));
}

#[test]
fn same_image_in_two_stages_is_one_vertex_and_one_question() {
    // D-125, D-320.
    let build = build("FROM alpine AS a\nRUN one\nFROM alpine:latest\nRUN two\nCOPY --from=a /x /x\n");
    check(&build.questions(), "docker.io/library/alpine:latest linux/amd64");
    check(
        &build.graph_lines(&["v"]),
        r#"
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v1 run on v0: "/bin/sh" "-c" "one"
        v2 run on v0: "/bin/sh" "-c" "two"
        v3 copy on v2: v1:/x -> /x
        "#,
    );
}

#[test]
fn equal_steps_of_two_stages_are_one_vertex() {
    // D-320.
    let build = build(
        "FROM alpine AS a\nRUN make\nFROM alpine AS b\nRUN make\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
    );
    check(
        &build.graph_lines(&["v"]),
        r#"
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v1 run on v0: "/bin/sh" "-c" "make"
        v2 scratch
        v3 copy on v2: v1:/a -> /
        v4 copy on v3: v1:/b -> /
        "#,
    );
}

#[test]
fn stage_based_on_a_stage_starts_where_that_ended() {
    // D-119.
    let build = build(
        "FROM alpine AS base\nENV A=1\nARG B=2\nWORKDIR /w\nUSER u\nSHELL [\"/bin/bash\", \"-c\"]\n\
         FROM base\nRUN make\n",
    );
    check(
        &build.graph_lines(&["v2", "env", "workdir:", "user"]),
        r#"
        v2 run on v1: "/bin/bash" "-c" "make"
        env: A=1
        env: B=2
        workdir: /w
        user: u
        "#,
    );
    check(
        &build.history(),
        "
        -- ENV A=1
        -- ARG B=2
        v1 WORKDIR /w
        -- USER u
        -- SHELL [/bin/bash -c]
        v2 RUN |1 B=2 /bin/bash -c make # buildkit
        ",
    );
}

#[test]
fn stage_name_is_compared_folded_but_the_word_is_not() {
    // D-117: `FROM Base` never matches a stage.
    check(
        &build("FROM alpine AS Base\nFROM base\nRUN x\n").graph_lines(&["v1"]),
        r#"v1 run on v0: "/bin/sh" "-c" "x""#,
    );
    let errors = build("FROM alpine AS Base\nFROM Base\n").errors();
    assert!(errors.starts_with("failed to parse stage name \"Base\": invalid reference format"), "{errors}");
    assert!(errors.contains("hint: did you mean `base`?"), "{errors}");
}

#[test]
fn stage_cannot_be_its_own_base() {
    // D-117: the image is meant.
    check(&build("FROM golang AS golang\n").questions(), "docker.io/library/golang:latest linux/amd64");
}

#[test]
fn number_in_from_is_an_image() {
    // D-118.
    check(&build("FROM alpine\nFROM 0\n").questions(), "docker.io/library/0:latest linux/amd64");
}

#[test]
fn repeated_stage_name_means_the_latest_above() {
    // D-114.
    let build =
        build("FROM alpine AS a\nFROM busybox AS a\nFROM scratch\nCOPY --from=a /x /\nFROM debian AS a\n")
            .target("");
    let build = build.with(|options| options.target = None);
    check(&build.questions(), "docker.io/library/debian:latest linux/amd64");
    let build = crate::build::build(
        "FROM alpine AS a\nFROM busybox AS a\nFROM scratch AS last\nCOPY --from=a /x /\n",
    );
    check(&build.questions(), "docker.io/library/busybox:latest linux/amd64");
}

#[test]
fn only_needed_stages_are_lowered_and_asked_for() {
    // D-127, D-128.
    let build = build("FROM one AS a\nRUN a\nFROM two AS b\nRUN b\nFROM three\nCOPY --from=b /b /\n");
    check(
        &build.questions(),
        "
        docker.io/library/three:latest linux/amd64
        docker.io/library/two:latest linux/amd64
        ",
    );
    let stages: Vec<String> = build.plan().stages.into_iter().map(|stage| stage.name).collect();
    assert_eq!(stages, ["b", "stage-2"]);
}

#[test]
fn target_is_found_in_any_case_and_later_stages_are_left_out() {
    // D-129.
    let build = build("FROM one AS first\nRUN a\nFROM two\nRUN b\n").target("FIRST");
    check(&build.questions(), "docker.io/library/one:latest linux/amd64");
    check(&build.names(), "[first 1/2] FROM docker.io/library/one:latest@sha256:...\n[first 2/2] RUN a");
}

#[test]
fn unknown_target_fails_with_a_suggestion() {
    // D-129, D-346. A number is no name.
    check(
        &build("FROM one AS builder\n").target("bulder").errors(),
        "target stage \"bulder\" could not be found @0 ``\n  hint: did you mean `builder`?",
    );
    check(
        &build("FROM one AS builder\n").target("0").errors(),
        "target stage \"0\" could not be found @0 ``\n  hint: the stages are `builder`",
    );
}

#[test]
fn from_sees_global_arguments_and_the_platform_ones() {
    // D-085, D-086, D-097, D-115.
    let source = "ARG TAG=3\nARG NAME=app-$TARGETARCH\nFROM --platform=$BUILDPLATFORM $NAME:${TAG}\n";
    check(&build(source).questions(), "docker.io/library/app-amd64:3 linux/amd64");
    let build = build(source).arg("TAG", "4").on("linux/arm64").platforms(&["linux/amd64"]);
    check(&build.questions(), "docker.io/library/app-amd64:4 linux/arm64");
}

#[test]
fn platform_arguments_can_be_overridden_without_changing_the_target() {
    // D-099.
    let build = build("FROM app-$TARGETOS\n").arg("TARGETOS", "freebsd");
    check(&build.questions(), "docker.io/library/app-freebsd:latest linux/amd64");
}

#[test]
fn target_stage_argument_names_the_target() {
    // D-098.
    let source = "FROM alpine AS one\nARG TARGETSTAGE\nRUN x\nFROM one AS two\n";
    check(&build(source).graph_lines(&["env"]), "env: TARGETSTAGE=two");
    check(&build(source).target("one").graph_lines(&["env"]), "env: TARGETSTAGE=one");
    check(&build("FROM alpine\nARG TARGETSTAGE\nRUN x\n").graph_lines(&["env"]), "env: TARGETSTAGE=default");
}

#[test]
fn blank_and_malformed_from_words_fail_even_where_not_needed() {
    // D-115, D-116, D-128, D-346.
    check(
        &build("ARG IMAGE\nFROM $IMAGE AS a\nFROM scratch\n").errors(),
        "base name ($IMAGE) should not be blank @2 `$IMAGE`",
    );
    check(
        &build("FROM --platform=$P alpine AS a\nFROM scratch\n").errors(),
        "empty platform value from expression $P @1 `$P`",
    );
    check(
        &build("FROM a:b:c AS a\nFROM scratch\n").errors(),
        "failed to parse stage name \"a:b:c\": invalid reference format: `a:b` is not a repository name @1 `a:b:c`",
    );
    check(
        &build("ARG PLATFORM=linux/amd64\nFROM --platform=$PLATFROM alpine\n").errors(),
        "empty platform value from expression $PLATFROM @2 `$PLATFROM`\n  hint: did you mean `PLATFORM`?",
    );
    let errors = build("FROM --platform=linux alpine\nFROM --platform=a/b/c/d alpine\n").errors();
    assert!(errors.starts_with("failed to parse platform a/b/c/d"), "{errors}");
}

#[test]
fn misspelt_argument_in_from_is_suggested() {
    // D-116, D-330.
    check(
        &build("ARG VERSION=1\nFROM $VERSON\n").errors(),
        "base name ($VERSON) should not be blank @2 `$VERSON`\n  hint: did you mean `VERSION`?",
    );
    check(
        &build("ARG VERSION=1\nFROM alpine$VERSON\n").warnings(),
        "UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?) (line 2)",
    );
}

#[test]
fn declared_argument_without_value_is_no_finding() {
    // D-330.
    check(&build("ARG SUFFIX\nFROM alpine${SUFFIX}\n").warnings(), "");
}

#[test]
fn default_that_makes_no_image_name_is_reported() {
    // D-338.
    check(
        &build("ARG IMAGE\nFROM $IMAGE\n").arg("IMAGE", "alpine").warnings(),
        "InvalidDefaultArgInFrom: Default value for ARG $IMAGE results in empty or invalid base image name (line 2)",
    );
}

#[test]
fn checks_are_skipped_by_a_comment_above() {
    // D-027.
    let source = "ARG X\n# check=skip=UndefinedArgInFrom\nFROM alpine$NOPE\n# check=skip=UndefinedVar\nENV A=$B\nENV A=$C\n";
    check(&build(source).warnings(), "UndefinedVar: Usage of undefined variable '$C' (line 6)");
}

#[test]
fn base_of_another_platform_is_used_with_a_warning() {
    // D-123, D-335, D-293.
    let mut arm = image(&[]);
    arm.architecture = "arm64".into();
    let arm = |from: &str| build(&format!("FROM {from}\nRUN x\n")).image("arm", arm.clone());
    let warning = "InvalidBaseImagePlatform: Base image arm was pulled with platform \"linux/arm64\", expected \
                   \"linux/amd64\" for current build (line 1)";
    let own = "platform: linux/amd64\noutput linux/amd64: v1";
    // The user named no platform, and the machine can run this one.
    let free = arm("arm").emulating("arm64");
    check(&free.graph_lines(&["output", "platform"]), "platform: linux/arm64\noutput linux/arm64: v1");
    check(&free.warnings(), "");
    assert_eq!(free.plan().outputs.remove(0).config.architecture, "arm64");
    // It can not.
    let alien = arm("arm").emulating("s390x");
    check(&alien.graph_lines(&["output", "platform"]), own);
    check(&alien.warnings(), warning);
    // The user named one, of the build or of the stage.
    let explicit = arm("arm").emulating("arm64").platforms(&["linux/amd64"]);
    check(&explicit.graph_lines(&["output", "platform"]), own);
    check(&explicit.warnings(), warning);
    assert_eq!(explicit.plan().outputs.remove(0).config.architecture, "amd64");
    let explicit = arm("--platform=linux/amd64 arm").emulating("arm64");
    check(&explicit.graph_lines(&["output", "platform"]), own);
    check(&explicit.warnings(), warning);
}

#[test]
fn base_config_is_inherited_but_not_its_creation_time() {
    // D-124, D-292.
    let mut base = image(&["A=1"]);
    base.created = Some("2020-01-01T00:00:00Z".into());
    base.author = Some("me".into());
    base.config.cmd = Some(vec!["sh".into()]);
    base.config.working_dir = "/srv/".into();
    base.config.user = "app".into();
    let build = build("FROM base\n").image("base", base.clone());
    check(&build.config(), r#"{"User":"app","Env":["A=1"],"Cmd":["sh"],"WorkingDir":"/srv"}"#);
    let config = build.plan().outputs.remove(0).config;
    assert_eq!((config.created, config.author), (None, Some("me".into())));
    // D-292: all that castoff does not know is kept.
    let written = serde_json::json!({
        "architecture": "amd64", "os": "linux", "variant": "v2", "own.field": [1],
        "config": {
            "Env": ["PATH=/bin"], "Entrypoint": ["e"], "Cmd": ["c"], "Labels": {"l": "1"}, "Volumes": {"/v": {}},
            "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["NONE"]}, "StopSignal": "9",
            "Shell": ["s"], "WorkingDir": "/w", "User": "u", "OwnField": {"x": "y"},
        },
        "rootfs": {"type": "layers", "diff_ids": base.rootfs.diff_ids},
        "history": [{"created_by": "base"}],
    });
    let base = serde_json::from_value(written.clone()).expect("a config");
    let build = crate::build::build("FROM base\n").image("base", base);
    let config = build.plan().outputs.remove(0).config;
    assert_eq!(serde_json::to_value(config).expect("JSON"), written);
}

#[test]
fn named_context_replaces_an_image_by_its_normalised_name() {
    // D-126, B-076.
    let source = "FROM docker.io/library/alpine:latest\nRUN x\n";
    let directory = |name: &'static str| {
        build(source).with(|options| drop(options.contexts.insert(name.into(), NamedContext::Directory)))
    };
    for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
        let build = directory(name);
        check(&build.questions(), "");
        check(
            &build.graph_lines(&["v"]),
            &format!("v0 local context {name}\nv1 run on v0: \"/bin/sh\" \"-c\" \"x\""),
        );
    }
    check(&directory("alpine").names(), "[context alpine] load from client\n[2/2] RUN x");
    check(&directory("alpine:3").questions(), "docker.io/library/alpine:latest linux/amd64");
}

#[test]
fn named_context_for_a_platform_takes_precedence() {
    // D-126.
    let build = build("FROM alpine\n").with(|options| {
        options.contexts.insert("alpine".into(), NamedContext::Scratch);
        options
            .contexts
            .insert("alpine::linux/amd64".into(), NamedContext::Image("other".parse().expect("a name")));
        options.contexts.insert("alpine::linux/arm64".into(), NamedContext::Directory);
    });
    check(&build.questions(), "docker.io/library/other:latest linux/amd64");
}

#[test]
fn named_context_replaces_a_whole_stage() {
    // D-126: its instructions are skipped, and its base is not asked for.
    let build =
        build("FROM alpine AS deps\nRUN install\nFROM scratch\nCOPY --from=deps /d /d\n").with(|options| {
            options.contexts.insert("deps".into(), NamedContext::Directory);
        });
    check(&build.questions(), "");
    check(
        &build.graph_lines(&["v"]),
        "
        v0 local context deps
        v1 scratch
        v2 copy on v1: v0:/d -> /d
        ",
    );
}

#[test]
fn scratch_cannot_be_replaced() {
    // D-120.
    let build = build("FROM scratch\nCOPY a /\n").with(|options| {
        options.contexts.insert("scratch".into(), NamedContext::Directory);
    });
    check(&build.graph_lines(&["v0"]), "v0 scratch");
    // But it may stand for an image.
    let build = crate::build::build("FROM base\nCOPY a /\n").with(|options| {
        options.contexts.insert("base".into(), NamedContext::Scratch);
    });
    check(&build.questions(), "");
    check(&build.graph_lines(&["v0"]), "v0 scratch");
}

#[test]
fn named_context_image_gives_its_config() {
    // B-076.
    let build = build("FROM base\n")
        .with(|options| {
            options.contexts.insert("base".into(), NamedContext::Image("real:1".parse().expect("a name")));
        })
        .image("real:1", image(&["FROM_REAL=1"]));
    assert!(build.config().contains("FROM_REAL=1"));
}

#[test]
fn cycles_and_forward_references_fail() {
    // D-131, D-132, D-190.
    check(
        &build("FROM alpine AS a\nCOPY --from=b /x /\nFROM alpine AS b\nCOPY --from=a /y /\n").errors(),
        "circular dependency detected on stage: a @2 `b`",
    );
    check(
        &build("FROM alpine AS a\nCOPY --from=a /x /\n").errors(),
        "circular dependency detected on stage: a @2 `a`",
    );
    check(
        &build("FROM alpine AS a\nCOPY --from=b /x /\nFROM alpine AS b\n").target("a").errors(),
        "
        cannot copy from stage \"b\", it needs to be defined before current stage \"a\" @2 `b`
          hint: stages may only use stages above them
        ",
    );
    check(
        &build("FROM alpine AS a\nRUN --mount=from=1,target=/x y\nFROM alpine AS b\n").target("a").errors(),
        "
        cannot mount from stage \"1\", it needs to be defined before current stage \"a\" @2 `from=1,target=/x`
          hint: stages may only use stages above them
        ",
    );
}

/// D-081, D-251: what is different in Windows images is not done halfway.
#[test]
fn images_for_windows_are_refused() {
    let mut windows = image(&[]);
    windows.os = "windows".to_owned();
    let refused = build("FROM win\nWORKDIR c:\\x\n").image("win", windows);
    assert_eq!(
        refused.errors(),
        "images for Windows cannot be built @1 `win`\n  \
         hint: its layers, paths and variables follow other rules; build it on Windows\n"
    );
    let scratch = build("FROM --platform=windows/amd64 scratch\n").errors();
    assert!(scratch.starts_with("images for Windows cannot be built @1 `scratch`\n"), "{scratch}");
}
