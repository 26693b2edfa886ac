//! `castoff run`.

use super::kit::{Done, with_steps, with_steps_as_each_user};

#[test]
fn the_exit_code_is_the_commands() {
    with_steps_as_each_user(|kit| {
        for code in [0, 1, 42, 255] {
            let done = kit.castoff(&["run", "busybox", "sh", "-c", &format!("exit {code}")]);
            assert_eq!(done.code, Some(code), "{}", done.stderr);
        }
        let done = kit.castoff(&["run", "busybox", "sh", "-c", "kill -9 $$"]);
        assert_eq!(done.code, Some(137), "{}", done.stderr);
        let done = kit.castoff(&["run", "busybox", "/no/such/program"]);
        assert!(matches!(done.code, Some(125..=127)), "{done:?}");
        let done = kit.castoff(&["run", "busybox", "sh", "-c", "echo out; echo err >&2"]).succeeds();
        assert_eq!((done.text(), done.stderr.as_str()), ("out\n", "err\n"));
        kit.castoff(&["run", "busybox"]).fails().says("command");
    });
}

#[test]
fn flags_change_what_runs() {
    with_steps_as_each_user(|kit| {
        let dockerfile =
            "FROM busybox\nENV A=image\nWORKDIR /w\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\n";
        kit.build(dockerfile, &["-t", "app"]).succeeds();
        let says = |words: &[&str], expected: &str| {
            let done = kit.castoff(&[&["run", "--rm"], words].concat()).succeeds();
            assert_eq!(done.text(), expected, "{words:?}");
        };
        says(&["app"], "entry cmd\n");
        says(&["app", "-n", "words"], "entry -n words\n");
        says(&["--entrypoint", "pwd", "app"], "/w\n");
        says(&["-w", "/tmp", "--entrypoint", "pwd", "app"], "/tmp\n");
        let show = "echo $A $B $(id -u):$(id -g)";
        says(&["-e", "B=flag", "--entrypoint", "sh", "app", "-c", show], "image flag 0:0\n");
        says(&["-e", "A=flag", "--entrypoint", "sh", "app", "-c", show], "flag 0:0\n");
        if kit.user.has_many_ids() {
            says(&["-u", "app", "--entrypoint", "sh", "app", "-c", show], "image 1000:1000\n");
            says(&["-u", "7:8", "--entrypoint", "sh", "app", "-c", show], "image 7:8\n");
        }
        kit.write("shared/file", "volume\n");
        kit.own_all();
        says(&["-v", "shared:/v", "busybox", "sh", "-c", "cat /v/file; echo new > /v/new"], "volume\n");
        assert_eq!(kit.read("shared/new"), "new\n");
        let done = kit.castoff(&["run", "-v", "shared:/v:ro", "busybox", "touch", "/v/denied"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        says(&["--network", "none", "busybox", "sh", "-c", "ip -o link | wc -l"], "1\n");
        // Nothing is kept.
        says(&["busybox", "touch", "/kept"], "");
        says(&["busybox", "sh", "-c", "ls /kept 2>/dev/null || echo gone"], "gone\n");
    });
}

#[test]
fn standard_input_is_given_when_asked() {
    with_steps(|kit| {
        let done = kit.castoff_reading(&["run", "-i", "busybox", "cat"], b"given").succeeds();
        assert_eq!(done.text(), "given");
        let done = kit.castoff_reading(&["run", "busybox", "cat"], b"not given").succeeds();
        assert_eq!(done.text(), "");
    });
}

#[test]
fn a_stage_of_a_directory_is_run() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS build\nARG A=1\nRUN echo built $A > /built\n\
            FROM build AS test\nENV E=env\nWORKDIR /w\nRUN echo test > t\n\
            FROM scratch\nCOPY --from=build /built /\n";
        kit.write("context/Dockerfile", dockerfile);
        let says = |words: &[&str], expected: &str| {
            let done: Done = kit.castoff(&[&["run"], words].concat()).succeeds();
            assert_eq!(done.text(), expected, "{words:?}");
        };
        says(
            &["--target", "test", "context", "sh", "-c", "cat /built t; echo $E $A"],
            "built 1\ntest\nenv 1\n",
        );
        says(&["--target", "build", "--build-arg", "A=2", "./context", "cat", "/built"], "built 2\n");
        let done = kit.castoff(&["run", "--target", "tset", "context", "true"]);
        assert_eq!(done.code, Some(1));
        kit.write("context/Dockerfile", "FROM busybox\nRUN echo said; exit 3\n");
        let done = kit.castoff(&["run", "./context", "true"]).fails();
        let done = done.says("exit code: 3").says("said");
        assert!(done.stdout.is_empty());
    });
}
