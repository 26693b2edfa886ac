//! How processes start, speak, end and are stopped.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use castoff_sandbox::Rlimit;

use crate::machine::{Mode, everywhere};

#[test]
fn the_status_is_that_of_the_process() {
    // D-141
    everywhere(|machine| {
        for (script, status) in
            [("exit 0", "code 0"), ("exit 7", "code 7"), ("kill -9 $$", "signal 9"), ("kill $$", "signal 15")]
        {
            assert_eq!(machine.run(&machine.script(script)).status, status, "{script}");
        }
    });
}

#[test]
fn both_outputs_arrive_in_full() {
    everywhere(|machine| {
        let outcome = machine.run(&machine.script("echo out; echo err >&2; head -c 300000 /dev/zero"));
        assert_eq!(outcome.stderr, "err\n");
        assert_eq!(outcome.stdout.len(), 300_004);
    });
}

#[test]
fn a_program_that_cannot_be_started_is_an_error_that_says_why() {
    everywhere(|machine| {
        for (program, said) in [
            ("/bin/nothing", "starting the program (/bin/nothing): No such file or directory"),
            ("nothing", "starting the program (nothing): executable file not found in $PATH"),
            ("/etc/passwd", "starting the program (/etc/passwd): Permission denied"),
        ] {
            let outcome = machine.run(&machine.spec(&[program]));
            assert!(outcome.error.starts_with(said), "{:?}: {outcome:?}", machine.mode);
        }
        assert_eq!(machine.run(&machine.spec(&["true"])).status, "code 0");
    });
}

#[test]
fn the_environment_is_what_was_given() {
    // D-136
    everywhere(|machine| {
        let mut spec = machine.spec(&["/bin/env"]);
        spec.env.push(("A".into(), "b c".into()));
        assert_eq!(machine.says_with(&spec), "PATH=/bin\nA=b c\n");
    });
}

#[test]
fn standard_input_is_empty_and_there_is_no_terminal() {
    // D-137
    everywhere(|machine| {
        assert_eq!(
            machine.says("cat; tty || true; cat /dev/tty 2>/dev/null || echo none"),
            "not a tty\nnone\n"
        );
    });
}

#[test]
fn the_working_directory_is_made_when_missing() {
    // D-137
    everywhere(|machine| {
        let mut spec = machine.script("pwd; stat -c %a .");
        spec.cwd = "/new/place".into();
        assert_eq!(machine.says_with(&spec), "/new/place\n755\n");
        assert_eq!(machine.upper(), ["new/", "new/place/"]);
    });
}

#[test]
fn files_are_made_with_mask_022() {
    // D-144
    everywhere(|machine| {
        assert_eq!(machine.says("touch /f; mkdir /d; stat -c %a /f /d"), "644\n755\n");
    });
}

#[test]
fn limits_are_set() {
    everywhere(|machine| {
        let mut spec = machine.script("ulimit -n; ulimit -Hn; ulimit -c");
        spec.rlimits = vec![
            Rlimit { name: "nofile".into(), soft: 100, hard: 200 },
            Rlimit { name: "core".into(), soft: 0, hard: 0 },
        ];
        assert_eq!(machine.says_with(&spec), "100\n200\n0\n");
        spec.rlimits = vec![Rlimit { name: "files".into(), soft: 1, hard: 1 }];
        assert_eq!(machine.run(&spec).error, "setting limits: there is no limit `files`");
    });
}

#[test]
fn a_timeout_kills_the_process() {
    everywhere(|machine| {
        let mut spec = machine.script("echo begun; sleep 1000");
        spec.timeout = Some(Duration::from_millis(300));
        let outcome = machine.run(&spec);
        assert_eq!((outcome.status.as_str(), outcome.stdout.as_str()), ("timed out", "begun\n"));
    });
}

#[test]
fn cancelling_kills_everything_that_was_started() {
    // D-142. A daemon with a session of its own holds the output open, so this ends only when it dies.
    everywhere(|machine| {
        let script = "setsid sh -c 'sleep 1000' & (trap '' TERM INT HUP; sleep 1000) & echo ready; wait";
        let outcome = machine.run_until(&machine.script(script), "ready");
        assert_eq!(outcome.status, "cancelled", "{:?}: {outcome:?}", machine.mode);
    });
}

#[test]
fn what_the_process_leaves_behind_dies_with_it() {
    // D-142
    everywhere(|machine| {
        let outcome = machine.run(&machine.script("setsid sleep 1000 & sleep 1000 & echo done; exit 3"));
        assert_eq!((outcome.status.as_str(), outcome.stdout.as_str()), ("code 3", "done\n"));
    });
}

#[test]
fn orphans_are_reaped() {
    everywhere(|machine| {
        let script = "sh -c 'true & true & true &'; i=0
            while grep -q '^State:.Z' /proc/[0-9]*/status && [ $i -lt 1000 ]; do i=$((i+1)); done
            grep -l '^State:.Z' /proc/[0-9]*/status || echo none";
        let outcome = machine.run(&machine.script(script));
        assert_eq!(outcome.stdout, "none\n", "{:?}: {outcome:?}", machine.mode);
    });
}

#[test]
fn killing_the_caller_kills_the_process() {
    everywhere(|machine| {
        // The process holds a pipe of ours, which closes when the last of it is gone.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut spec = machine.script("echo ready; sleep 1000");
        spec.output = castoff_sandbox::Output::Inherit;
        let path = machine.write(&spec);
        let mut command = machine.command(&["run", path.to_str().expect("temporary paths are text")]);
        let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("the child starts");
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(lines.next().is_none(), "{:?}", machine.mode);
    });
}

#[test]
fn users_and_groups_are_set() {
    everywhere(|machine| {
        let mut spec = machine.script("id -u; id -g; id -G; touch /tmp/mine; stat -c %u:%g /tmp/mine");
        (spec.uid, spec.gid, spec.groups) = (1000, 1001, vec![1001, 7]);
        let expected = match machine.mode {
            // There is one id, and the rest is pretended.
            Mode::Single => "0\n0\n0\n0:0\n",
            Mode::Root | Mode::Range => "1000\n1001\n1001 7\n1000:1001\n",
        };
        let said = machine.says_with(&spec);
        if machine.mode == Mode::Single {
            assert!(said.starts_with("0\n0\n"), "{said}");
            return;
        }
        assert_eq!(said, expected, "{:?}", machine.mode);
        let metadata = std::fs::metadata(machine.path("upper/tmp/mine")).expect("it was made");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), machine.outside_id(1000));
    });
}
