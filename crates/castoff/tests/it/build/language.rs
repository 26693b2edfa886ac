//! What the program makes of a file as a whole: frontends, checks, and what people know from other builders.

use super::kit::{Done, Files, Kit, with_steps};

// D-023, D-025
#[test]
fn castoff_is_the_frontend() {
    let kit = Kit::new();
    let with = |first: &str, flags: &[&str]| kit.build(&format!("{first}\nFROM scratch\nLABEL a=b\n"), flags);
    for own in [
        "docker/dockerfile",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile-upstream:master",
        "registry.example/mirror/docker/dockerfile:1",
    ] {
        with(&format!("# syntax={own} and options"), &[]).succeeds();
    }
    let refused = with("# syntax=example/other:1", &[]).fails();
    refused.says("the frontend `example/other:1` is not supported").says("Dockerfile:1");
    let built_in = ["--build-arg", "BUILDKIT_SYNTAX=dockerfile.v0"];
    with("# syntax=example/other:1", &built_in).succeeds();
    let other = ["--build-arg", "BUILDKIT_SYNTAX=example/another"];
    with("# syntax=docker/dockerfile:1", &other).fails().says("`example/another`");
    with("", &["--build-arg", "BUILDKIT_SYNTAX="]).fails().says("BUILDKIT_SYNTAX");
}

// D-028, D-029
#[test]
fn a_check_that_fires_can_fail_the_build() {
    let kit = Kit::new();
    let text = "FROM scratch as a\nMAINTAINER me\n";
    let errors = |done: Done| done.fails().says("lint violation found for rules:");
    kit.build(text, &[]).succeeds().says("MaintainerDeprecated");
    errors(kit.build(&format!("# check=error=true\n{text}"), &[])).says("FromAsCasing, MaintainerDeprecated");
    let skip = format!("# check=error=true;skip=FromAsCasing,MaintainerDeprecated\n{text}");
    kit.build(&skip, &[]).succeeds().never_says("MaintainerDeprecated");
    // The argument replaces the directive, and what it skips is not skipped then.
    let argument = |value: &str| format!("BUILDKIT_DOCKERFILE_CHECK={value}");
    kit.build(&format!("# check=error=true\n{text}"), &["--build-arg", &argument("skip=FromAsCasing")])
        .succeeds()
        .says("MaintainerDeprecated")
        .never_says("FromAsCasing");
    errors(kit.build(&skip, &["--build-arg", &argument("error=true")]));
}

// D-037
#[test]
fn flags_without_effect_are_said_and_fail_strict_builds() {
    let kit = Kit::new();
    kit.write("context/file", "");
    let text = "FROM scratch\nARG --required A=1\nADD --keep-git-dir=true file /$A\nSTOPSIGNAL --x 9\nHEALTHCHECK --timeout=1s NONE\n";
    let done = kit.build(text, &[]).succeeds();
    done.says("FlagWithoutEffect: --required has no effect: ARG has no flags (line 2)")
        .says("FlagWithoutEffect: --keep-git-dir has no effect: no source is a git repository (line 3)")
        .says("FlagWithoutEffect: --x has no effect: STOPSIGNAL has no flags (line 4)")
        .says("FlagWithoutEffect: --timeout has no effect: HEALTHCHECK NONE has no flags (line 5)");
    let strict = |check: &str| kit.build(&format!("# check={check}\n{text}"), &[]);
    strict("error=true").fails().says("lint violation found for rules: FlagWithoutEffect");
    strict("error=true;skip=FlagWithoutEffect").succeeds().never_says("FlagWithoutEffect");
    // Elsewhere they are errors.
    kit.build("FROM scratch\nENV --x A=1\n", &[]).fails().says("unknown flag: --x");
}

// D-094
#[test]
fn a_build_argument_without_a_value_is_the_callers() {
    let kit = Kit::new();
    kit.write(
        "context/Dockerfile",
        "FROM scratch\nARG GIVEN=default\nARG OTHER=default\nCOPY <<f /\n$GIVEN $OTHER\nf\n",
    );
    let words = ["build", "-o", "type=tar,dest=-", "--build-arg", "GIVEN", "--build-arg", "OTHER", "context"];
    let mut command = kit.command(words);
    command.env("GIVEN", "from outside").env_remove("OTHER");
    let done = Done::of(command).succeeds();
    assert_eq!(Files::read(&done.stdout).text("f"), "from outside default\n");
}

// D-273, D-291
#[test]
fn the_dockerfile_is_read_even_where_it_is_ignored() {
    let kit = Kit::new();
    kit.write("context/.dockerignore", "Dockerfile\n.dockerignore\nhidden\n");
    kit.write("context/hidden", "");
    kit.write("context/seen", "");
    assert_eq!(kit.files("FROM scratch\nCOPY . /\n", &[]).paths(), ["seen"]);
    for name in ["Dockerfile", ".dockerignore", "hidden"] {
        kit.build(&format!("FROM scratch\nCOPY {name} /\n"), &[]).fails().says("not found");
    }
}

// D-275
#[test]
fn a_dockerfile_alone_has_an_empty_context() {
    let kit = Kit::new();
    let build = |text: &str| kit.castoff_reading(&["build", "-o", "type=tar,dest=-", "-"], text.as_bytes());
    build("FROM scratch\nCOPY file /\n").fails().says("\"/file\"").says("not found");
    build("FROM scratch\nCOPY nothing* /x/\n").succeeds();
    let done = build("FROM scratch AS a\nCOPY <<f /\nx\nf\nFROM scratch\nCOPY --from=a /f /g\n").succeeds();
    assert_eq!(Files::read(&done.stdout).text("g"), "x\n");
}

// D-313
#[test]
fn an_owners_number_is_looked_up_in_the_image() {
    let kit = Kit::new();
    kit.write("context/file", "");
    let text = "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=app:staff file /\n";
    let owner = |uid: u32, gid: u32| {
        kit.write("context/passwd", format!("app:x:{uid}:1::/:/bin/sh\n"));
        kit.write("context/group", format!("staff:x:{gid}:\n"));
        kit.files(text, &[]).look("file")
    };
    assert_eq!(owner(1000, 50), "-0644 1000:50");
    assert_eq!(owner(1001, 50), "-0644 1001:50");
    assert_eq!(owner(1001, 51), "-0644 1001:51");
}

// D-317
#[test]
fn a_working_directory_is_keyed_by_path_owner_and_time() {
    let kit = Kit::new();
    let executed = |before: &str, path: &str, flags: &[&str]| {
        let done = kit.build(&format!("FROM scratch\n{before}WORKDIR {path}\n"), flags).succeeds();
        done.executed().into_iter().any(|step| step.starts_with("WORKDIR"))
    };
    assert!(executed("", "/a", &[]));
    assert!(!executed("", "/a", &[]));
    // Neither the words nor other metadata count.
    assert!(!executed("LABEL a=b\n", "/b/../a/", &[]));
    assert!(executed("", "/b", &[]));
    assert!(executed("USER 7\n", "/a", &[]));
    assert!(executed("COPY <<f /f\nf\n", "/a", &[]));
    let time = |seconds: &str| executed("", "/a", &["--build-arg", &format!("SOURCE_DATE_EPOCH={seconds}")]);
    assert!(time("5"));
    assert!(!time("5"));
    assert!(time("6"));
}

// D-347
#[test]
fn users_of_the_classic_builder_find_what_is_documented() {
    with_steps(|kit| {
        let text = "FROM busybox AS never\nRUN exit 3\n\
            FROM busybox\nVOLUME /data\nRUN mkdir /data && echo kept > /data/file\nCOPY nothing* /x/\nLABEL a=1\nRUN echo > /last\n";
        let files = kit.files(text, &[]);
        assert_eq!(files.text("data/file"), "kept\n");
        let done = kit.build(&text.replace("a=1", "a=2"), &[]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new());
        let done = kit.build("FROM busybox\nRUN exit 7\n", &[]);
        done.fails().says("did not complete successfully: exit code: 7");
    });
}

// D-348
#[test]
fn users_of_kaniko_find_what_is_documented() {
    with_steps(|kit| {
        let text = "FROM busybox AS never\nRUN exit 3\n\
            FROM busybox\nRUN --mount=type=tmpfs,target=/scratch mkdir -p /var/run && echo x > /scratch/f && cp /scratch/f /var/run/f\n";
        let files = kit.files(text, &[]);
        assert_eq!(files.text("var/run/f"), "x\n");
        assert!(!files.paths().iter().any(|path| path.starts_with("scratch/")));
    });
}

// D-349
#[test]
fn users_of_buildah_find_what_is_documented() {
    let kit = Kit::new();
    kit.write("context/Containerfile", "FROM scratch\nCOPY . /\n");
    kit.write("context/.containerignore", "Containerfile\n.containerignore\n.dockerignore\nhidden\n");
    kit.write("context/hidden", "");
    kit.write("context/seen", "");
    let build =
        |flags: &[&str]| kit.castoff(&[&["build", "-o", "type=tar,dest=-"], flags, &["context"]].concat());
    let paths = |done: Done| Files::read(&done.succeeds().stdout).paths().join(" ");
    assert_eq!(paths(build(&[])), "seen");
    // What Docker looks for comes first.
    kit.write("context/.dockerignore", "Containerfile\n.containerignore\n.dockerignore\nseen\n");
    assert_eq!(paths(build(&[])), "hidden");
    kit.write("context/more.in", "#define X\nFROM scratch\nLABEL a=b\n");
    build(&["-f", "context/more.in"]).succeeds();
    // Of several files the last one counts, as for Docker.
    let both = ["-f", "context/Containerfile", "-f", "context/more.in", "-t", "last"];
    kit.castoff(&[&["build"], &both[..], &["context"]].concat()).succeeds();
    assert_eq!(kit.inspect("last")["Config"]["Labels"], serde_json::json!({"a": "b"}));
    build(&["--volume", "/a:/b"]).fails().says("--volume");
}

// D-128, D-344: what is wrong with the words of one line does not hide what is wrong with another.
#[test]
fn mistakes_of_syntax_do_not_hide_others() {
    let kit = Kit::new();
    let dockerfile =
        "FROM busybox AS a\nRUNN x\nSTOPSIGNAL none\nENV A\nEXPOSE $A\nFROM a\nCOPY --from=7 x /\nEXPOSE y\n";
    let done = kit.build(dockerfile, &[]).fails();
    let errors: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with("ERROR: ")).collect();
    let expected = [
        "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
        "dockerfile parse error on line 4: ENV must have two arguments",
        "invalid stage index 7",
        "invalid signal: none",
        "invalid containerPort: y",
    ];
    let expected = expected.map(|error| format!("ERROR: failed to build: failed to solve: {error}"));
    assert_eq!(errors, expected, "{}", done.stderr);
    // A line that may have been a FROM, or that takes others with it, is all that is certain.
    for broken in
        ["FROM busybox AS a\nFORM b AS c\nSTOPSIGNAL none\n", "FROM busybox\nRUN <<E\nSTOPSIGNAL none\n"]
    {
        kit.build(broken, &[]).fails().never_says("signal");
    }
    kit.build(
        "FROM busybox\nARG\nEXPOSE $P\nFROM other\nSTOPSIGNAL none\n",
        &["--build-context", "other=context"],
    )
    .fails()
    .never_says("containerPort");
}
