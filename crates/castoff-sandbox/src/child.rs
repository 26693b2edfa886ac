//! The helper's side: namespaces, the root, and an init that reaps.
//!
//! ```text
//! castoff            reads output, kills the helper to stop everything
//!  +- helper         new mount, pid, ipc, uts (and net) namespaces; waits for the init
//!      +- init       pid 1: mounts, changes the root, reaps; its death kills all below
//!          +- process
//! ```
//!
//! Each asks for SIGKILL when the one above it dies, so killing castoff kills the process.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::mounts;
use crate::process;
use crate::root;
use crate::run::{HELPER_ARGUMENT, Report, Status, Usage};
use crate::spec::{Network, ProcessSpec, Stdin};
use crate::sys::{self, Fork};

/// What could not be done. Sent to the caller.
#[derive(Debug)]
pub(crate) struct Failure {
    step: String,
    message: String,
    errno: Option<i32>,
}

impl Failure {
    pub(crate) fn said(step: &str, message: String) -> Failure {
        Failure { step: step.to_owned(), message, errno: None }
    }

    pub(crate) fn kernel(step: &str, error: impl Into<io::Error>, detail: &str) -> Failure {
        let error = error.into();
        let step = if detail.is_empty() { step.to_owned() } else { format!("{step} ({detail})") };
        Failure { step, message: error.to_string(), errno: error.raw_os_error() }
    }

    pub(crate) fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.step, self.message)
    }
}

/// Says what was being done when something failed.
pub(crate) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::kernel(step, error, ""))
    }
}

/// Does the helper's work and ends the process, when this program was started as the helper. To be
/// called first in `main`.
pub fn child_main_if_requested() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != HELPER_ARGUMENT) {
        return;
    }
    let Ok(mut control) = control_socket() else { sys::exit_now(125) };
    if let Err(failure) = help(&mut control) {
        report_failure(&mut control, failure);
        sys::exit_now(125);
    }
    sys::exit_now(0);
}

/// The caller's socket is standard input, the one descriptor that is passed without a race. It is moved
/// out of the way of the process's own.
fn control_socket() -> io::Result<UnixStream> {
    let moved = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    Ok(UnixStream::from(moved))
}

fn report(control: &mut UnixStream, report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        // When the caller is gone, nobody wants to know.
        let _gone = control.write_all(&line);
    }
}

pub(crate) fn report_failure(control: &mut UnixStream, failure: Failure) {
    let Failure { step, message, errno } = failure;
    report(control, &Report::Failed { step, message, errno });
}

fn help(control: &mut UnixStream) -> Result<(), Failure> {
    sys::die_with_parent().step("tying the helper to its caller")?;
    sys::ignore_terminal_signals();
    let mut text = Vec::new();
    control.read_to_end(&mut text).step("reading the specification")?;
    let spec: ProcessSpec = serde_json::from_slice(&text)
        .map_err(|error| Failure::said("reading the specification", error.to_string()))?;
    let stdin = open_stdin(&spec)?;
    rustix::stdio::dup2_stdin(&stdin).step("setting standard input")?;
    drop(stdin);
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWPID;
    if spec.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    sys::unshare(flags).step("making namespaces")?;
    match sys::fork().step("starting the init")? {
        Fork::Child => {
            if let Err(failure) = init(&spec, control) {
                report_failure(control, failure);
            }
            sys::exit_now(0)
        }
        Fork::Parent(pid) => {
            // Output must reach its end when the process and its children are gone, not when we are.
            let _nobody_waits_for_ours = silence();
            sys::wait_for(pid).step("waiting for the init").map(drop)
        }
    }
}

/// Lets go of standard output and error.
fn silence() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

fn open_stdin(spec: &ProcessSpec) -> Result<OwnedFd, Failure> {
    let path = match spec.stdin {
        Stdin::Null => "/dev/null".to_owned(),
        Stdin::Inherit => {
            let caller = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
            format!("/proc/{caller}/fd/0")
        }
    };
    let file = std::fs::File::open(&path).or_else(|_| std::fs::File::open("/dev/null"));
    Ok(file.step("opening standard input")?.into())
}

/// Pid 1 of the new namespace.
fn init(spec: &ProcessSpec, control: &mut UnixStream) -> Result<(), Failure> {
    sys::die_with_parent().step("tying the init to the helper")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    mounts::make_private()?;
    let memory = mounts::tmpfs(None, 0o755, 0)?;
    let places = root::places(spec)?;
    let tree = root::mount_root(spec, &memory, &places)?;
    mounts::attach_root(&tree, &spec.upper)?;
    mounts::mount_all(spec, &tree, &memory)?;
    mounts::enter_root(&tree)?;
    drop(tree);
    drop(memory);
    if !spec.hostname.is_empty() {
        rustix::system::sethostname(spec.hostname.as_bytes()).step("setting the host name")?;
    }
    if spec.network == Network::None {
        sys::loopback_up().step("bringing the loopback interface up")?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    mounts::make_working_directory(&spec.cwd)?;
    match sys::fork().step("starting the process")? {
        Fork::Child => {
            let failure = process::start(spec);
            report_failure(control, failure);
            sys::exit_now(127)
        }
        Fork::Parent(pid) => {
            let _nobody_waits_for_ours = silence();
            let status = reap(pid)?;
            report(control, &Report::Ended { status, usage: usage() });
            Ok(())
        }
    }
}

/// Reaps everything until the process ends. What it leaves behind dies with this init.
fn reap(process: libc::pid_t) -> Result<Status, Failure> {
    loop {
        let (pid, status) = match sys::wait_any() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::kernel("waiting for the process", error, "")),
        };
        if pid != process {
            continue;
        }
        if libc::WIFEXITED(status) {
            return Ok(Status::Code(libc::WEXITSTATUS(status)));
        }
        if libc::WIFSIGNALED(status) {
            return Ok(Status::Signal(libc::WTERMSIG(status)));
        }
    }
}

fn usage() -> Usage {
    let raw = sys::children_usage();
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.max(0) as u64) + Duration::from_micros(value.tv_usec.max(0) as u64)
    };
    // Linux counts in kibibytes.
    Usage {
        user: time(raw.ru_utime),
        system: time(raw.ru_stime),
        max_rss: raw.ru_maxrss.max(0) as u64 * 1024,
    }
}
