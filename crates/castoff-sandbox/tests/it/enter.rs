//! Becoming uid 0 (B-196).

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use castoff_sandbox::Output;
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Mode, everywhere, says};

#[test]
fn root_of_a_user_namespace_is_not_real_root() {
    everywhere(|machine| {
        if machine.mode != Mode::Root {
            return;
        }
        let inside = |arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(arguments).arg(machine.command(&[]).get_program()).arg("enter");
            says(&mut command)
        };
        assert_eq!(inside(&["--map-root-user", "--mount"]), "UserNamespace(Single)\n");
        assert_eq!(inside(&["--mount"]), "Root\n");
    });
}

#[test]
fn root_without_the_right_to_mount_makes_a_namespace_of_its_own() {
    everywhere(|machine| {
        if machine.mode != Mode::Root {
            return;
        }
        for (lost, expected) in [
            ("-sys_admin", "UserNamespace(Identity)\n"),
            ("-sys_admin,-setuid,-setgid", "UserNamespace(Single)\n"),
        ] {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", lost, "--inh-caps", lost, "--"]);
            command.arg(machine.command(&[]).get_program()).arg("enter");
            assert_eq!(says(&mut command), expected, "{lost}");
        }
    });
}

#[test]
fn signals_reach_the_process_that_works() {
    everywhere(|machine| {
        let mut spec = machine.script("echo ready; sleep 1000");
        spec.output = Output::Inherit;
        let path = machine.write(&spec);
        let mut command = machine.command(&["run", path.to_str().expect("temporary paths are text")]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("ids are small")).expect("ids are positive");
        kill_process(pid, Signal::TERM).expect("it is ours");
        let status = child.wait().expect("it is ours");
        // The outer process of a user namespace says it as a shell does.
        let said = (status.code(), status.signal());
        let expected = if machine.mode == Mode::Root { (None, Some(15)) } else { (Some(143), None) };
        assert_eq!(said, expected, "{:?}", machine.mode);
        assert!(lines.next().is_none(), "{:?}", machine.mode);
    });
}
