//! RUN without its mounts (section 8).

use castoff_graph::{ExtraHost, NetworkMode, Ulimit};

use crate::build::{build, check};

#[test]
fn shell_form_is_one_argument_of_the_shell() {
    // D-133, D-134.
    check(
        &build("FROM alpine\nRUN echo  \"$HOME\"  'x'\n").graph_lines(&["v1"]),
        r#"v1 run on v0: "/bin/sh" "-c" "echo  \"$HOME\"  'x'""#,
    );
}

#[test]
fn exec_form_is_taken_as_given() {
    // D-133.
    check(
        &build("FROM alpine\nENV A=1\nRUN [\"echo\", \"$A\", \"a b\"]\n").graph_lines(&["v1"]),
        r#"v1 run on v0: "echo" "$A" "a b""#,
    );
}

#[test]
fn empty_exec_form_fails() {
    // D-135.
    check(&build("FROM alpine\nRUN []\n").errors(), "RUN has no command: the list is empty @2 `RUN []`");
}

#[test]
fn step_has_the_stage_user_and_directory() {
    // D-137.
    check(
        &build("FROM alpine\nWORKDIR /a\nUSER u:g\nRUN x\n").graph_lines(&["workdir:", "user"]),
        "workdir: /a\nuser: u:g",
    );
    check(&build("FROM alpine\nRUN x\n").graph_lines(&["workdir:", "user"]), "workdir: /");
}

#[test]
fn history_shows_the_arguments_in_scope() {
    // D-296, D-297: each name once at its first place; ENV overrides; unset ones are empty.
    let build = build("FROM alpine\nARG A=1 B\nARG C=3\nARG A=2\nENV C=env\nRUN make\n");
    check(
        &build.history(),
        "
        -- ARG A=1 B
        -- ARG C=3
        -- ARG A=2
        -- ENV C=env
        v1 RUN |3 A=2 B= C=env /bin/sh -c make # buildkit
        ",
    );
}

#[test]
fn script_without_shebang_is_given_to_the_shell() {
    // D-056, D-058, D-059.
    let build = build("FROM alpine\nENV A=1\nRUN <<EOF\necho $A\necho b\nEOF\n");
    check(&build.graph_lines(&["v1", "script"]), r#"v1 run on v0: "/bin/sh" "-c" "echo $A\necho b\n""#);
    check(build.names().lines().last().unwrap_or(""), "[2/2] RUN <<EOF (echo 1...)");
    let step =
        |text: &str| crate::build::build(&format!("FROM alpine\nENV A=1\n{text}")).graph_lines(&["v1"]);
    check(&step("RUN <<'EOF'\necho $A \\$A\nEOF\n"), r#"v1 run on v0: "/bin/sh" "-c" "echo $A \\$A\n""#);
    check(&step("SHELL [\"bash\", \"-ec\"]\nRUN <<EOF\nx\nEOF\n"), r#"v1 run on v0: "bash" "-ec" "x\n""#);
    check(
        &step("RUN cat <<EOF <<'END'\n$A\nEOF\n$A\nEND\n"),
        r#"v1 run on v0: "/bin/sh" "-c" "cat <<EOF <<'END'\n$A\nEOF\n$A\nEND""#,
    );
}

#[test]
fn script_with_shebang_is_a_file() {
    // D-056.
    check(
        &build("FROM alpine\nRUN <<EOF\n#!/usr/bin/env python\nprint(1)\nEOF\n")
            .graph_lines(&["v1", "script"]),
        r##"
        v1 run on v0: "/bin/sh" "-c" "/dev/pipes/EOF"
        script: /dev/pipes/EOF "#!/usr/bin/env python\nprint(1)\n"
        "##,
    );
}

#[test]
fn script_file_cannot_leave_its_directory() {
    check(
        build("FROM alpine\nRUN <<../x\n#!/bin/sh\n../x\n").errors().lines().next().unwrap_or(""),
        "the delimiter `../x` cannot be the name of a script file @2 `RUN <<../x",
    );
}

#[test]
fn heredoc_with_a_command_is_left_to_the_shell() {
    // D-057.
    check(
        &build("FROM alpine\nRUN cat <<A | tr a b && cat <<B\none\nA\ntwo\nB\n").graph_lines(&["v1"]),
        r#"v1 run on v0: "/bin/sh" "-c" "cat <<A | tr a b && cat <<B\none\nA\ntwo\nB""#,
    );
}

#[test]
fn network_modes() {
    // D-175, D-176.
    let network = |flag: &str, mode: NetworkMode| {
        build(&format!("FROM alpine\nRUN {flag} x\n"))
            .with(|options| options.network = mode)
            .graph_lines(&["network"])
    };
    check(&network("", NetworkMode::Default), "");
    check(&network("--network=none", NetworkMode::Default), "network: none");
    check(&network("--network=default", NetworkMode::None), "network: none");
    check(&network("", NetworkMode::Host), "network: host");
    check(
        &build("FROM alpine\nRUN --network=host x\n").errors(),
        "network.host is not allowed @2 `host`\n  hint: grant it with `--allow network.host`",
    );
    let granted =
        build("FROM alpine\nRUN --network=host x\n").with(|options| options.entitlements.network_host = true);
    check(&granted.graph_lines(&["network"]), "network: host");
    check(
        &build("FROM alpine\nRUN --network=nome x\n").errors(),
        "invalid network mode \"nome\" @2 `nome`\n  hint: did you mean `none`?",
    );
}

#[test]
fn security_modes() {
    // D-177.
    check(
        &build("FROM alpine\nRUN --security=insecure x\n").errors(),
        "security.insecure is not allowed @2 `insecure`\n  hint: grant it with `--allow security.insecure`",
    );
    let granted = build("FROM alpine\nRUN --security=insecure x\n")
        .with(|options| options.entitlements.security_insecure = true);
    check(&granted.graph_lines(&["security"]), "security: insecure");
    check(
        &build("FROM alpine\nRUN --security=other x\n").errors(),
        "security \"other\" is not valid @2 `other`",
    );
}

#[test]
fn devices_are_asked_for_by_name() {
    // D-178, D-061: not expanded.
    let devices =
        |flags: &str| build(&format!("FROM alpine\nENV V=v\nRUN {flags} x\n")).graph_lines(&["device"]);
    check(&devices("--device=vendor.com/gpu"), "device: vendor.com/gpu");
    check(&devices("--device=vendor.com/gpu=a,required"), "device: vendor.com/gpu=a required");
    check(&devices("--device=required=true,name=vendor.com/gpu=*"), "device: vendor.com/gpu=* required");
    check(&devices("--device=name=gpu,required=false --device=$V"), "device: gpu\ndevice: $V");
    let errors = |flag: &str| build(&format!("FROM alpine\nRUN {flag} x\n")).errors();
    check(&errors("--device=required"), "a device needs a name @2 `required`");
    check(
        &errors("--device=gpu,required=maybe"),
        "invalid value for required: maybe @2 `gpu,required=maybe`",
    );
    check(&errors("--device=gpu,size=1"), "unexpected key 'size' in 'size=1' @2 `gpu,size=1`");
}

#[test]
fn machine_settings_of_the_caller_are_in_every_step() {
    // B-009, B-038, B-041, D-138.
    let build = build("FROM alpine\nRUN x\n").arg("BUILDKIT_SANDBOX_HOSTNAME", "box").with(|options| {
        options.extra_hosts = vec![ExtraHost { name: "db".into(), address: "10.0.0.1".into() }];
        options.shm_size = Some(1024);
        options.ulimits = vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }];
    });
    check(
        &build.graph_lines(&["hostname", "host", "shm", "ulimit"]),
        "
        hostname: box
        host: db 10.0.0.1
        shm: 1024
        ulimit: nofile=1:2
        ",
    );
}

#[test]
fn no_cache_marks_steps_of_the_stages_meant() {
    // D-318, B-027: an unknown name is no mistake.
    let source = "FROM alpine AS Build\nRUN a\nFROM alpine\nRUN b\nCOPY --from=build /a /\n";
    let ignored = |build: crate::build::Build| {
        let plan = build.plan();
        let ignored = plan.graph.iter().filter(|(_, vertex)| vertex.ignore_cache);
        ignored.map(|(_, vertex)| vertex.name.clone() + "\n").collect::<String>()
    };
    check(&ignored(build(source)), "");
    let all = ignored(build(source).with(|options| options.no_cache = true));
    check(&all, "[build 2/2] RUN a\n[stage-1 2/3] RUN b\n[stage-1 3/3] COPY --from=build /a /");
    let some =
        ignored(build(source).with(|options| options.no_cache_stages = vec!["BUILD".into(), "none".into()]));
    check(&some, "[build 2/2] RUN a");
}
