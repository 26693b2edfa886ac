//! What is done again, what is not, and what is said about it.

use super::kit::{Done, Kit, walk, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS build\n\
    ARG LEVEL=1\n\
    WORKDIR /work\n\
    COPY data dir/ .\n\
    RUN cat data > /result\n\
    RUN echo $LEVEL >> /result\n\
    FROM scratch\n\
    COPY --from=build /result /\n";

const STEPS: [&str; 5] = [
    "COPY --from=build /result /",
    "COPY data dir/ .",
    "RUN cat data > /result",
    "RUN echo 1 >> /result",
    "WORKDIR /work",
];

fn prepared(kit: &Kit) -> Done {
    kit.write("context/data", "one\n");
    kit.write("context/dir/more", "more\n");
    kit.build(DOCKERFILE, &["-t", "result"]).succeeds()
}

/// What is said about a step's miss.
#[track_caller]
fn reason(done: &Done, step: &str) -> String {
    let said = done.step(step);
    let note = said.iter().find_map(|line| line.strip_prefix("cache miss: "));
    note.unwrap_or_else(|| panic!("no reason for `{step}` in:\n{}", done.stderr)).to_owned()
}

// B-152, D-303
#[test]
fn a_second_build_does_nothing_and_gives_the_same_image() {
    with_steps_as_each_user(|kit| {
        let first = prepared(kit);
        assert_eq!(first.executed().len(), 5);
        assert_eq!(first.cached(), Vec::<&str>::new());
        let id = kit.inspect("result")["Id"].clone();
        let second = kit.build(DOCKERFILE, &["-t", "result"]).succeeds();
        assert_eq!(second.cached().len(), 5, "{}", second.stderr);
        assert_eq!(second.executed(), Vec::<&str>::new());
        assert!(!second.stderr.contains("cache miss"), "{}", second.stderr);
        assert_eq!(kit.inspect("result")["Id"], id);
        // Places, comments, case and names of stages do not matter (D-304).
        let rewritten = DOCKERFILE.replace("RUN", "# a comment\n\nrun").replace("build", "other");
        let third = kit.build(&rewritten, &["-t", "result"]).succeeds();
        assert_eq!(third.executed(), Vec::<&str>::new(), "{}", third.stderr);
        assert_eq!(kit.inspect("result")["Id"], id);
    });
}

// D-312: no time is in a key.
#[test]
fn a_touched_file_changes_nothing() {
    with_steps(|kit| {
        prepared(kit);
        kit.write("context/data", "one\n");
        let done = kit.build(DOCKERFILE, &[]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
    });
}

// D-311, B-217
#[test]
fn a_changed_file_is_named_as_the_reason() {
    with_steps(|kit| {
        prepared(kit);
        kit.write("context/data", "two\n");
        let done = kit.build(DOCKERFILE, &[]).succeeds();
        assert_eq!(done.cached(), ["WORKDIR /work"]);
        let said = reason(&done, "COPY data dir/ .");
        assert_eq!(said, "file data changed");
        let said = reason(&done, "RUN cat data > /result");
        assert_eq!(said, "parent step changed: [build 3/5] COPY data dir/ .");
        // Back to the first state, everything is known.
        kit.write("context/data", "one\n");
        let done = kit.build(DOCKERFILE, &[]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
        // An added file is named, too.
        kit.write("context/dir/added", "");
        let done = kit.build(DOCKERFILE, &[]).succeeds();
        let said = reason(&done, "COPY data dir/ .");
        assert!(said.contains("added"), "{said}");
    });
}

// D-307, D-308
#[test]
fn a_changed_argument_is_named_as_the_reason() {
    with_steps(|kit| {
        prepared(kit);
        let done = kit.build(DOCKERFILE, &["--build-arg", "LEVEL=2"]).succeeds();
        // The argument is declared above both RUNs, and above a COPY that does not use it.
        assert_eq!(done.cached(), ["COPY data dir/ .", "WORKDIR /work"]);
        assert!(reason(&done, "RUN cat data > /result").contains("LEVEL"), "{}", done.stderr);
    });
}

// D-307 to D-309: what a step is known by, and what not.
#[test]
fn a_step_is_known_by_all_that_it_can_see() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS files\nCOPY <<a <<b /d/\n1\na\n2\nb\n\
            FROM busybox\nARG A=1\nENV E=1\nWORKDIR /w\nUSER 0\n\
            RUN --mount=type=cache,id=c,target=/c --mount=from=files,source=/d,target=/d \
                --mount=type=secret,id=s,target=/s --mount=type=tmpfs,target=/t true\n";
        let runs = |dockerfile: &str, flags: &[&str]| {
            let done = kit.build(dockerfile, flags).succeeds();
            done.executed().iter().any(|step| step.starts_with("RUN"))
        };
        assert!(runs(dockerfile, &[]));
        assert!(!runs(dockerfile, &[]));
        for (old, new) in [
            ("true", "true "),
            ("true", "true && true"),
            ("ARG A=1", "ARG A=2"),
            ("ARG A=1", "ARG A=1 B"),
            ("ENV E=1", "ENV E=2"),
            ("ENV E=1", "ENV E=1 F=1"),
            ("WORKDIR /w", "WORKDIR /x"),
            ("USER 0", "USER 1"),
            ("USER 0", "SHELL [\"/bin/sh\", \"-ec\"]"),
            ("USER 0", "COPY <<n /n\nx\nn"),
            ("RUN", "RUN --network=none"),
            ("source=/d", "source=/d/a"),
            ("target=/d ", "target=/e "),
            ("target=/d ", "target=/d,rw "),
            ("id=s,target=/s", "id=s,target=/s2"),
            ("id=s,target=/s", "id=s2,target=/s"),
            ("id=s,target=/s", "id=s,target=/s,mode=0440"),
            ("id=s,target=/s", "id=s,target=/s,uid=1"),
            ("type=tmpfs,target=/t", "type=tmpfs,target=/u"),
            ("1\na\n", "3\na\n"),
        ] {
            let same_shown = new == "true " || new == "ARG A=1 B";
            assert_eq!(runs(&dockerfile.replace(old, new), &[]), !same_shown, "{new}");
        }
        for flags in [
            &["--add-host", "db:10.0.0.1"][..],
            &["--shm-size", "8m"],
            &["--ulimit", "nofile=99:99"],
            &["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box"],
            &["--build-arg", "A=9"],
        ] {
            assert!(runs(dockerfile, flags), "{flags:?}");
            assert!(!runs(dockerfile, flags), "{flags:?}");
        }
        // The address of a host, values of secrets, proxies, and what is in a cache do not count.
        kit.write("secret", "value");
        kit.build("FROM busybox\nRUN --mount=type=cache,id=c,target=/c touch /c/x\n", &[]).succeeds();
        assert!(!runs(dockerfile, &["--add-host", "db:10.0.0.2"]));
        assert!(!runs(dockerfile, &["--secret", "id=s,src=secret"]));
        assert!(!runs(dockerfile, &["--build-arg", "HTTPS_PROXY=http://p.invalid"]));
        assert!(!runs(dockerfile, &[]));
        for changed in ["id=other,target=/c", "id=c,sharing=locked,target=/c"] {
            assert!(!runs(&dockerfile.replace("id=c,target=/c", changed), &[]), "{changed}");
        }
    });
}

// D-304: the changed RUN gives the same files, so what only reads them is known.
#[test]
fn equal_content_of_another_step_is_a_hit() {
    with_steps(|kit| {
        prepared(kit);
        let done = kit.build(&DOCKERFILE.replace("cat data >", "cat < data >"), &[]).succeeds();
        assert_eq!(
            done.cached(),
            ["COPY --from=build /result /", "COPY data dir/ .", "WORKDIR /work"],
            "{}",
            done.stderr
        );
    });
}

// D-306
#[test]
fn metadata_does_not_invalidate_what_follows() {
    with_steps(|kit| {
        prepared(kit);
        let metadata = "LABEL new=1\nEXPOSE 1\nCMD [\"x\"]\nENTRYPOINT [\"x\"]\nVOLUME /v\nSTOPSIGNAL 9\n\
            HEALTHCHECK NONE\nMAINTAINER me\nONBUILD RUN false\nSHELL [\"none\"]\nSHELL [\"/bin/sh\", \"-c\"]\n\
            USER app\nUSER root\n";
        let changed = DOCKERFILE.replace("RUN cat", &format!("{metadata}RUN cat"));
        let changed =
            changed.replace("FROM scratch\n", "FROM scratch\nUSER app\nENV A=1\nARG B=2\nSHELL [\"x\"]\n");
        let done = kit.build(&changed, &[]).succeeds();
        // The user is named now, and is the same.
        assert_eq!(done.executed(), ["RUN cat data > /result", "RUN echo 1 >> /result"], "{}", done.stderr);
        let done = kit.build(&changed.replace("USER app\nUSER root\n", ""), &[]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
    });
}

// B-026, B-027, D-318
#[test]
fn the_cache_is_ignored_when_asked() {
    with_steps(|kit| {
        prepared(kit);
        let done = kit.build(DOCKERFILE, &["--no-cache"]).succeeds();
        assert_eq!(done.executed(), STEPS, "{}", done.stderr);
        let done = kit.build(DOCKERFILE, &["--no-cache-filter", "BUILD"]).succeeds();
        assert_eq!(done.executed(), STEPS[1..], "{}", done.stderr);
        // What they gave is used after that.
        assert_eq!(kit.build(DOCKERFILE, &[]).succeeds().executed(), Vec::<&str>::new());
        let done = kit.build(DOCKERFILE, &["--no-cache", "--no-cache-filter", "build"]).fails();
        assert!(done.stderr.contains("--no-cache-filter"), "{}", done.stderr);
    });
}

// D-314
#[test]
fn only_the_files_that_match_count() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch\nCOPY *.txt /\n";
    kit.write("context/a.txt", "a");
    kit.build(dockerfile, &[]).succeeds();
    kit.write("context/unrelated", "");
    assert_eq!(kit.build(dockerfile, &[]).succeeds().cached(), ["COPY *.txt /"]);
    kit.write("context/b.txt", "b");
    assert_eq!(kit.build(dockerfile, &[]).succeeds().executed(), ["COPY *.txt /"]);
}

// D-277
#[test]
fn a_directory_that_becomes_a_file_is_noticed() {
    let kit = Kit::new();
    kit.write("context/thing/inner", "x");
    let dockerfile = "FROM scratch\nCOPY . /\n";
    assert!(kit.files(dockerfile, &[]).paths().contains(&"thing/inner"));
    std::fs::remove_dir_all(kit.path("context/thing")).unwrap();
    kit.write("context/thing", "a file");
    let files = kit.files(dockerfile, &[]);
    assert_eq!(files.text("thing"), "a file");
    std::fs::remove_file(kit.path("context/thing")).unwrap();
    kit.write("context/thing/inner", "y");
    assert_eq!(kit.files(dockerfile, &[]).text("thing/inner"), "y");
}

// D-319
#[test]
fn a_lost_layer_is_made_again() {
    with_steps(|kit| {
        prepared(kit);
        let before = kit.inspect("result")["Id"].clone();
        for entry in std::fs::read_dir(kit.path("store/layers")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::remove_dir_all(path).unwrap();
        }
        // The base image has to stay: there is no registry to get it from.
        walk(&kit.path("store/blobs"), &mut |path| {
            if path.is_file() && !kit.is_of_base_image(path) {
                std::fs::remove_file(path).unwrap();
            }
        });
        kit.build(DOCKERFILE, &["-t", "result"]).succeeds();
        let done = kit.build(DOCKERFILE, &["-t", "result"]).succeeds();
        assert_eq!(done.cached().len(), 5, "{}", done.stderr);
        assert_ne!(kit.inspect("result")["Id"], before, "times differ");
        kit.castoff(&["save", "-o", "saved", "result"]).succeeds();
    });
}
