//! The last steps in the process itself: limits, rights, identity, and the program.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::child::{Failure, Step};
use crate::emulation::Emulation;
use crate::mounts::c_string;
use crate::spec::{Output, ProcessSpec};
use crate::{capability, seccomp, shell, sys, terminal};

/// Docker's names of resource limits.
const LIMITS: [(&str, libc::__rlimit_resource_t); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Becomes the program. Returns only when that fails.
pub(crate) fn start(
    spec: &ProcessSpec,
    own_terminal: Option<&OwnedFd>,
    emulation: Option<&Emulation>,
) -> Failure {
    match prepare(spec, own_terminal, emulation) {
        Ok(()) => {}
        Err(failure) => return failure,
    }
    if spec.builtin_shell {
        sys::exit_now(shell::run(spec))
    }
    execute(&spec.argv, &spec.env)
}

fn prepare(
    spec: &ProcessSpec,
    own_terminal: Option<&OwnedFd>,
    emulation: Option<&Emulation>,
) -> Result<(), Failure> {
    sys::die_with_parent().step("tying the process to its init")?;
    sys::reset_signals();
    if spec.output != Output::Inherit {
        // With the caller's terminal its session is kept, so that the terminal's keys work.
        rustix::process::setsid().step("making a session")?;
    }
    if let Some(own_terminal) = own_terminal {
        terminal::take(own_terminal).step("taking the terminal")?;
    }
    for limit in &spec.rlimits {
        let number = LIMITS.iter().find(|(name, _)| *name == limit.name).map(|(_, number)| *number);
        let Some(number) = number else {
            return Err(Failure::said("setting limits", format!("there is no limit `{}`", limit.name)));
        };
        let value = |value: i64| u64::try_from(value).unwrap_or(libc::RLIM_INFINITY);
        sys::set_limit(number, value(limit.soft), value(limit.hard))
            .map_err(|error| Failure::kernel("setting limits", error, &limit.name))?;
    }
    // Entered with the rights of the user below, but looked up now, while still allowed everywhere.
    rustix::process::chdir(&spec.cwd).step("entering the working directory")?;
    if let Some(emulation) = emulation {
        // Gives all capabilities, so those below are dropped after it.
        emulation.enter()?;
    }
    let capabilities = if spec.privileged { None } else { Some(capability::default_set()) };
    if let Some(set) = capabilities {
        capability::bound(set).step("dropping capabilities")?;
        // Loading needs CAP_SYS_ADMIN, which is still there; so `no_new_privs` stays off as Docker leaves
        // it, and sudo and su work.
        load(&seccomp::default_filter())?;
    }
    if spec.fake_ids {
        if let Some(set) = capabilities {
            sys::set_capabilities(set).step("setting capabilities")?;
        }
        // Last, because it answers the calls above.
        return load_without_rights(&seccomp::fake_ids_filter());
    }
    sys::become_user(spec.uid, spec.gid, &spec.groups).map_err(|error| {
        Failure::kernel("becoming the user", error, &format!("{}:{}", spec.uid, spec.gid))
    })?;
    if let (0, Some(set)) = (spec.uid, capabilities) {
        sys::set_capabilities(set).step("setting capabilities")?;
    }
    Ok(())
}

fn load(filter: &[libc::sock_filter]) -> Result<(), Failure> {
    match sys::load_filter(filter) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            sys::no_new_privileges().step("giving up privileges")?;
            sys::load_filter(filter).step("loading a seccomp filter")
        }
        other => other.step("loading a seccomp filter"),
    }
}

/// Loads a filter after the right to load filters was given up.
fn load_without_rights(filter: &[libc::sock_filter]) -> Result<(), Failure> {
    sys::no_new_privileges().step("giving up privileges")?;
    sys::load_filter(filter).step("loading a seccomp filter")
}

/// Replaces this process by a program, which is searched in the `PATH` of `env` when it has no slash. Returns only when
/// that fails.
pub(crate) fn execute(argv: &[OsString], env: &[(OsString, OsString)]) -> Failure {
    match search(argv, env) {
        Ok(never) => never,
        Err(failure) => failure,
    }
}

fn search(words: &[OsString], variables: &[(OsString, OsString)]) -> Result<Failure, Failure> {
    let argv: Vec<CString> =
        words.iter().map(|argument| c_string(argument.as_bytes())).collect::<Result<_, _>>()?;
    let env: Vec<CString> = variables
        .iter()
        .map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    let Some(program) = words.first() else {
        return Err(Failure::said("starting the program", "there is no command".to_owned()));
    };
    let shown = program.to_string_lossy().into_owned();
    let failed = |error: io::Error| Failure::kernel("starting the program", error, &shown);
    if program.as_bytes().contains(&b'/') {
        return Ok(failed(sys::execute(&argv[0], &argv, &env)));
    }
    let path = variables.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = c_string(&[directory, b"/", program.as_bytes()].concat())?;
        let error = sys::execute(&candidate, &argv, &env);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // Found and not allowed: another directory may still have it.
            Some(libc::EACCES) => worst = error,
            _ => return Ok(failed(error)),
        }
    }
    if worst.raw_os_error() == Some(libc::ENOENT) {
        let message = "executable file not found in $PATH".to_owned();
        return Ok(Failure::said(&format!("starting the program ({shown})"), message));
    }
    Ok(failed(worst))
}
