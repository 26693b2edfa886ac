//! Passwords that castoff keeps itself.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::HTPASSWD;
use super::kit::{Machine, text, with_registry};

/// Logs in with a password on standard input, and returns the exit code and all that was said.
fn login(machine: &Machine, words: &[&str], password: &str) -> (Option<i32>, String) {
    let words = [&["login", "--password-stdin"], words].concat();
    let mut child = machine.command(&words).stdin(Stdio::piped()).spawn().unwrap();
    // It may end without having read it.
    let _unread = child.stdin.take().unwrap().write_all(password.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

// B-084, B-090
#[test]
fn a_password_is_tried_and_kept() {
    let passwords = Machine::new();
    let file = passwords.write("htpasswd", HTPASSWD);
    let settings = format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", file.display());
    with_registry(&settings, |registry, machine| {
        let host = registry.host();
        let name = format!("{host}/app:1");
        machine.write("context/file", "x");
        machine.build("FROM scratch\nCOPY file /\n", &["-t", &name]);
        let docker = r#"{"credHelpers":{"other.example":"none"},"auths":{}}"#;
        let config = machine.write(".docker/config.json", docker);
        let kept = machine.path(".config/castoff/auth.json");
        let (code, said) = login(machine, &["-u", "name", &host], "wrong\n");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("logging in to {host}")) && said.contains("status 401"), "{said}");
        assert!(!kept.exists());
        let (code, said) = login(machine, &["-u", "name", &format!("http://{host}/v2/")], "opensesame\n");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("Login Succeeded") && !said.contains("opensesame"), "{said}");
        assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        machine.castoff(&["push", &name]);
        assert_eq!(fs::read_to_string(config).unwrap(), docker);
        machine.castoff(&["logout", &host]);
        let error = machine.fails(&["push", &name]);
        assert!(error.contains("credentials are needed and none are configured"), "{error}");
        let output = machine.command(&["logout", &host]).output().unwrap();
        assert!(output.status.success() && text(&output.stderr).contains("keeps no credentials"));
        // A file that castoff did not write is not overwritten.
        fs::write(&kept, "not JSON").unwrap();
        let (code, said) = login(machine, &["-u", "name", &host], "opensesame");
        assert_eq!((code, fs::read_to_string(&kept).unwrap()), (Some(1), "not JSON".to_owned()), "{said}");
    });
}

#[test]
fn what_is_no_login_is_refused() {
    let machine = Machine::new();
    for (words, password, reason) in [
        (&["127.0.0.1:1"][..], "x", "who logs in?"),
        (&["-u", "a:b", "127.0.0.1:1"], "x", "without `:`"),
        (&["-u", "a", "127.0.0.1:1"], "", "a password are needed"),
        (&["-u", "a", "word"], "x", "`word` is no registry"),
        (&["-u", "a", "127.0.0.1:1"], "x", "://127.0.0.1:1/v2/: "),
    ] {
        let (code, said) = login(&machine, words, password);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason), "{words:?} {said}");
    }
    let error = machine.fails(&["login", "-u", "a", "127.0.0.1:1"]);
    assert!(error.contains("--password-stdin"), "{error}");
}

/// Returns both ends of a terminal: the user's, and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let path = ptsname(&user, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let program = rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (user, program)
}

// B-005
#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    for signal in [Signal::INT, Signal::TERM] {
        let machine = Machine::new();
        let (_user, program) = terminal();
        let echoes = || tcgetattr(&program).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echoes());
        let mut command = machine.command(&["login", "-u", "name", "127.0.0.1:1"]);
        let mut child = command.stdin(program.try_clone().unwrap()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while echoes() {
            assert!(Instant::now() < deadline, "nothing is asked");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(echoes());
    }
}
