//! Builds that do not succeed, and what is said then.

use super::kit::{Kit, with_steps, with_steps_as_each_user};

// D-141, D-343, B-005, B-153
#[test]
fn a_failing_step_is_shown_with_its_last_lines_and_its_place() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "# one\nFROM busybox\nRUN echo first\n\
            RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo line $i; done; exit 42\n\
            RUN echo never\n";
        let done = kit.build(dockerfile, &["-t", "broken"]).fails();
        let report = "------\n > [3/4] RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; \
            do echo line $i; done; exit 42:\n";
        let at = done.stderr.find(report).unwrap_or_else(|| panic!("{}", done.stderr)) + report.len();
        let (log, rest) = done.stderr[at..].split_once("------\n").unwrap();
        let lines: Vec<&str> = log.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(lines, ["6", "7", "8", "9", "10", "11", "12", "13", "14", "15"], "{}", done.stderr);
        assert!(rest.starts_with("Dockerfile:4\n--------------------\n   2 |     FROM busybox\n"), "{rest}");
        assert!(rest.contains("\n   4 | >>> RUN for"), "{rest}");
        assert!(
            rest.contains(
                "--------------------\nERROR: failed to build: failed to solve: process \"/bin/sh -c for i in"
            ),
            "{rest}"
        );
        let done = done.says("did not complete successfully: exit code: 42\n").never_says("echo first:");
        assert_eq!(done.executed(), ["RUN echo first"]);
        assert!(done.stdout.is_empty());
        kit.castoff(&["inspect", "broken"]).fails();
        // What was finished stays.
        let done = kit.build(dockerfile, &[]).fails();
        assert_eq!(done.cached(), ["RUN echo first"], "{}", done.stderr);
        assert_eq!(done.executed(), Vec::<&str>::new());
    });
}

// D-345: the step that runs beside the failing one is stopped, and says so.
#[test]
fn a_failure_stops_the_steps_beside_it() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS slow\n\
            RUN --mount=type=cache,id=m,target=/m touch /m/slow; sleep 1000\n\
            FROM busybox AS quick\n\
            RUN --mount=type=cache,id=m,target=/m tries=0; \
              until [ -e /m/slow ]; do tries=$((tries+1)); [ $tries -lt 200 ] || exit 9; sleep 0.05; done; exit 7\n\
            FROM scratch\nCOPY --from=slow / /\nCOPY --from=quick / /\n";
        let done = kit.build(dockerfile, &["--jobs", "2"]).fails().says("exit code: 7").says(" CANCELED");
        assert_eq!(done.stderr.matches("exit code: 7").count(), 2, "{}", done.stderr);
    });
}

// D-133, D-135
#[test]
fn a_program_that_does_not_exist_is_named() {
    with_steps(|kit| {
        kit.build("FROM busybox\nRUN [\"/no/such/program\"]\n", &[]).fails().says("/no/such/program");
        kit.build("FROM busybox\nRUN []\n", &[]).fails();
        kit.build("FROM scratch\nRUN true\n", &[]).fails().says("/bin/sh");
        kit.build("FROM busybox\nRUN\n", &[]).succeeds();
    });
}

// D-254
#[test]
fn a_user_that_does_not_exist_fails_where_it_is_needed() {
    with_steps(|kit| {
        kit.build("FROM busybox\nUSER nobody-knows\nLABEL a=b\n", &[]).succeeds();
        kit.build("FROM busybox\nUSER nobody-knows\nRUN true\n", &[]).fails().says("nobody-knows");
    });
}

// D-141
#[test]
fn a_step_ended_by_a_signal_fails() {
    with_steps(|kit| {
        kit.build("FROM busybox\nRUN kill -9 $$\n", &[]).fails().says("did not complete successfully");
    });
}

/// A Dockerfile that is wrong, and texts of which standard error must have all.
#[track_caller]
fn refused(dockerfile: &str, texts: &[&str]) {
    let done = Kit::new().build(dockerfile, &[]).fails();
    texts.iter().fold(done, |done, text| done.says(text));
}

// D-344, D-346
#[test]
fn a_wrong_dockerfile_is_shown_with_the_place() {
    refused("", &["the Dockerfile cannot be empty"]);
    refused("# only a comment\n", &["file with no instructions"]);
    refused("ARG A\n", &["no stages to build"]);
    refused(
        "FROM scratch\nCOPPY a b\n",
        &[
            "Dockerfile:2\n",
            "   2 | >>> COPPY a b\n     |     ^^^^^\n",
            "dockerfile parse error on line 2: unknown instruction: COPPY",
            "COPY",
        ],
    );
    refused(
        "FROM scratch\nCOPY --frm=x a b\n",
        &["   2 | >>> COPY --frm=x a b\n     |          ^^^^", "unknown flag", "from"],
    );
    refused("FROM scratch\nCOPY a\n", &["requires at least two arguments", ">>> COPY a\n"]);
    refused("FROM scratch\nRUN <<EOF\nno end\n", &["unterminated heredoc"]);
    refused("RUN true\n", &["no build stage in current context", "Dockerfile:1"]);
    refused(
        "FROM scratch\nCOPY --from=later / /\nFROM scratch AS later\nFROM scratch\nCOPY --from=0 / /\n",
        &["needs to be defined before current stage"],
    );
    refused("FROM scratch\nRUN --mount=type=bin,target=/a true\n", &["unsupported mount type", "bind", "^"]);
    refused("FROM scratch\nARG A\nENV B=\"${A:?must be set}\"\n", &["A: must be set", "^"]);
    refused("FROM scratch\nENV B=${A\n", &["missing '}'", "^"]);
    refused("FROM scratch\nONBUILD FROM x\n", &["isn't allowed"]);
    refused("FROM $NOTHING\n", &["should not be blank"]);
    refused("FROM scratch\nEXPOSE 99999999\n", &["Dockerfile:2"]);
}

// D-194
#[test]
fn a_missing_source_is_named_with_its_line() {
    let kit = Kit::new();
    kit.write("context/present", "");
    kit.build("FROM scratch\nCOPY present absent /\n", &[])
        .fails()
        .says("\"/absent\"")
        .says("not found")
        .says(">>> COPY present absent /");
    kit.write("context/Dockerfile.dockerignore", "present\n");
    kit.build("FROM scratch\nCOPY present /\n", &[])
        .fails()
        .says("CopyIgnoredFile")
        .says("\"/present\": not found")
        .says("hint: `/present` exists, but line 1 of Dockerfile.dockerignore excludes it");
}

// D-194
#[test]
fn what_was_meant_by_a_missing_source_is_guessed() {
    let kit = Kit::new();
    for file in ["README.md", "app/requirements.txt", "src/main.c", "hidden/only.txt"] {
        kit.write(&format!("context/{file}"), "");
    }
    kit.write("context/Dockerfile.dockerignore", "# what nobody needs\nhidden\n");
    let hint = |copy: &str, hint: &str| {
        let dockerfile = format!("FROM scratch AS made\nCOPY src /out/\nFROM scratch\n{copy}\n");
        kit.build(&dockerfile, &[]).fails().says("not found").says(hint);
    };
    hint("COPY readme.md /", "hint: `/README.md` exists; upper and lower case differ\n");
    hint("COPY src/mian.c /", "hint: did you mean `/src/main.c`?\n");
    hint("COPY requirements.txt /", "hint: that name exists as `/app/requirements.txt`\n");
    hint("COPY hidden/only.txt /", "hint: `/hidden/only.txt` exists, but line 2 of Dockerfile.dockerignore");
    let from_context = "hint: `/README.md` is in the build context, which is read without `--from`\n";
    hint("COPY --from=made README.md /", from_context);
    let from_stage = "hint: stage `made` has `/out/main.c`, which is read with `--from=made`\n";
    hint("COPY --from=made out /\nCOPY out/main.c /", from_stage);
    kit.build("FROM scratch\nCOPY only.txt /\n", &[]).fails().says("not found").never_says("hint: that name");
}

// B-004
#[test]
fn an_unknown_flag_fails_before_anything_is_read() {
    let kit = Kit::new();
    let done = kit.castoff(&["build", "--tagg", "x", "no-such-directory"]).fails();
    let done = done.says("--tagg").says("--tag").never_says("no-such-directory");
    assert!(done.stdout.is_empty());
}

#[test]
fn flags_that_are_not_supported_yet_say_so() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch\nLABEL a=b\n";
    for flags in
        [&["--cgroup-parent", "x"][..], &["--memory", "1g"], &["-o", "type=docker,dest=out,tar=false"]]
    {
        kit.build(dockerfile, flags).fails().says("not supported yet");
        assert!(!kit.path("out").exists(), "{flags:?}");
    }
}

// B-060
#[test]
fn a_context_that_does_not_exist_is_named() {
    let kit = Kit::new();
    kit.castoff(&["build", "nowhere"]).fails().says("nowhere").says("not found");
    kit.write("file", "");
    kit.castoff(&["build", "file"]).fails().says("file");
    kit.castoff(&["build", "context"]).fails().says("Dockerfile");
    kit.castoff(&["build", "-f", "absent.Dockerfile", "context"]).fails().says("absent.Dockerfile");
}
