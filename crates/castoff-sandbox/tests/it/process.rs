//! How processes start, speak, end and are stopped.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use castoff_sandbox::{Output, Rlimit, Stdin};

use crate::machine::{Machine, Mode, everywhere, in_containers};

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
        spec.timeout = Some(Duration::from_secs(1));
        let outcome = machine.run(&spec);
        assert_eq!((outcome.status.as_str(), outcome.stdout.as_str()), ("timed out", "begun\n"));
    });
}

/// A daemon with a session of its own holds the output open, so a run ends only when that dies.
const DAEMONS: &str = "setsid sh -c 'sleep 1000' & (trap '' TERM INT HUP; sleep 1000) &";

#[test]
fn cancelling_kills_everything_that_was_started() {
    // D-142
    let check = |machine: &Machine| {
        let outcome = machine.run_until(&machine.script(&format!("{DAEMONS} echo ready; wait")), "ready");
        assert_eq!(outcome.status, "cancelled", "{:?}: {outcome:?}", machine.mode);
    };
    everywhere(check);
    in_containers(check);
}

#[test]
fn what_the_process_leaves_behind_dies_with_it() {
    // D-142
    let check = |machine: &Machine| {
        let outcome = machine.run(&machine.script(&format!("{DAEMONS} echo done; exit 3")));
        assert_eq!((outcome.status.as_str(), outcome.stdout.as_str()), ("code 3", "done\n"), "{outcome:?}");
    };
    everywhere(check);
    in_containers(check);
}

#[test]
fn orphans_are_reaped() {
    everywhere(|machine| {
        // A process that ends while it is looked at is an error of grep's and no zombie.
        let script = "sh -c 'true & true & true &'; i=0
            while z=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null); [ -n \"$z\" ] && [ $i -lt 1000 ]
            do i=$((i+1)); done; echo \"${z:-none}\"";
        let outcome = machine.run(&machine.script(script));
        assert_eq!(outcome.stdout, "none\n", "{:?}: {outcome:?}", machine.mode);
    });
}

#[test]
fn killing_the_caller_kills_the_process() {
    let check = |machine: &Machine| {
        // The process holds a pipe of ours, which closes when the last of it is gone.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut spec = machine.script(&format!("{DAEMONS} echo ready; sleep 1000"));
        spec.output = Output::Inherit;
        let path = machine.write(&spec);
        let mut command = machine.command(&["run", path.to_str().expect("temporary paths are text")]);
        let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("the child starts");
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(lines.next().is_none(), "{:?}", machine.mode);
    };
    everywhere(check);
    in_containers(check);
}

#[test]
fn a_container_that_hides_parts_of_proc_is_enough() {
    // B-201
    in_containers(|machine| {
        assert_eq!(machine.says("readlink /proc/self >/dev/null && cat /data/file"), "lower\n");
        assert_eq!(machine.run(&machine.script("kill -9 $$")).status, "signal 9");
        let outcome = machine.run(&machine.script("echo x > /proc/sys/kernel/hostname || echo refused"));
        assert_eq!(outcome.stdout, "refused\n", "{outcome:?}");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn a_process_can_have_a_terminal() {
    everywhere(|machine| {
        let mut spec = machine.script("tty; test -t 0 && test -t 2 && echo yes; echo tty > /dev/tty; exit 5");
        spec.output = Output::Terminal;
        let outcome = machine.run(&spec);
        assert_eq!(outcome.status, "code 5", "{:?}: {outcome:?}", machine.mode);
        assert_eq!(outcome.stdout, "/dev/pts/0\r\nyes\r\ntty\r\n", "{:?}", machine.mode);
    });
}

#[test]
fn a_terminal_is_typed_into() {
    everywhere(|machine| {
        let mut spec = machine.spec(&["/bin/sh"]);
        (spec.output, spec.stdin) = (Output::Terminal, Stdin::Inherit);
        let outcome = machine.run_typing(&spec, "echo a$((1+1))b\nexit 4\n");
        assert_eq!(outcome.status, "code 4", "{:?}: {outcome:?}", machine.mode);
        assert!(outcome.stdout.contains("a2b"), "{outcome:?}");
    });
}

#[test]
fn standard_input_can_be_the_callers() {
    everywhere(|machine| {
        let mut spec = machine.spec(&["/bin/cat"]);
        spec.stdin = Stdin::Inherit;
        assert_eq!(machine.run_typing(&spec, "typed\n").stdout, "typed\n");
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
        machine.is_owned("tmp/mine", 1000);
    });
}
