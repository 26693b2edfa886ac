//! The helper's side: namespaces, the root, and an init that reaps.
//!
//! ```text
//! castoff            reads output; ends the helper by SIGTERM to stop everything
//!  +- helper         makes mount, ipc, uts (and net) namespaces; waits for the init
//!      +- init       pid 1 of a new namespace: mounts, changes the root, reaps; its death kills all below
//!          +- process
//! ```
//!
//! Each asks for a signal when the one above it dies, so killing castoff kills the process.
//!
//! Where the kernel refuses a /proc for a new pid namespace (B-201) there is none, and the helper itself
//! does the init's work, as the subreaper of all below it, which it kills one by one.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::{self, Report};
use crate::emulation::{self, Emulation, TRIAL_ARGUMENT};
use crate::mounts;
use crate::process;
use crate::reap;
use crate::root;
use crate::run::HELPER_ARGUMENT;
use crate::spec::{Network, Output, ProcessSpec};
use crate::sys::{self, Fork};
use crate::terminal;

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
    match arguments.next() {
        Some(first) if first == HELPER_ARGUMENT => {}
        Some(first) if first == TRIAL_ARGUMENT => emulation::trial_main(arguments),
        Some(_) | None => return,
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
    sys::helper_signals();
    sys::on_death_of_parent(libc::SIGTERM).step("tying the helper to its caller")?;
    if is_closed(&*control) {
        // The caller died before its death could be noticed.
        return Ok(());
    }
    sys::close_on_exec();
    let spec = receive_spec(control)?;
    let emulation = spec.emulator.as_ref().map(Emulation::prepare).transpose()?;
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if spec.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    sys::unshare(flags).step("making namespaces")?;
    mounts::make_private()?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let (lifeline, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
    match sys::fork_init() {
        Ok(Fork::Child) => {
            drop(held);
            let code = init(&spec, control, &lifeline, emulation.as_ref()).unwrap_or_else(|failure| {
                report_failure(control, failure);
                0
            });
            sys::exit_now(code)
        }
        Ok(Fork::Parent(pid)) => {
            drop(lifeline);
            let status = sys::wait_for(pid).step("waiting for the init")?;
            if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NO_PROC {
                return without_init(&spec, control, emulation.as_ref());
            }
            Ok(())
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            without_init(&spec, control, emulation.as_ref())
        }
        Err(error) => Err(Failure::kernel("starting the init", error, "")),
    }
}

fn receive_spec(control: &mut UnixStream) -> Result<ProcessSpec, Failure> {
    let (_, stdin) = control::receive(&*control, &mut [0]).step("reading the specification")?;
    let mut text = Vec::new();
    control.read_to_end(&mut text).step("reading the specification")?;
    let spec = serde_json::from_slice(&text)
        .map_err(|error| Failure::said("reading the specification", error.to_string()))?;
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => OwnedFd::from(std::fs::File::open("/dev/null").step("opening standard input")?),
    };
    rustix::stdio::dup2_stdin(&stdin).step("setting standard input")?;
    Ok(spec)
}

/// Returns whether the other end of a socket or pipe is closed for good.
fn is_closed(end: impl AsFd) -> bool {
    let mut wait = [PollFd::new(&end, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut wait, Some(&now)).is_ok_and(|_| wait[0].revents().contains(PollFlags::HUP))
}

/// What the init exits with when it was refused a /proc. It reports everything else itself.
const NO_PROC: i32 = 3;

/// Pid 1 of the new namespace. `lifeline` closes when the helper dies.
fn init(
    spec: &ProcessSpec,
    control: &mut UnixStream,
    lifeline: &OwnedFd,
    emulation: Option<&Emulation>,
) -> Result<i32, Failure> {
    sys::die_with_parent().step("tying the init to the helper")?;
    if is_closed(lifeline) {
        return Ok(0);
    }
    let Some(proc) = mounts::proc()? else { return Ok(NO_PROC) };
    let process = start(spec, control, Some(proc), emulation)?;
    let status = reap::as_init(process)?;
    report(control, &Report::Ended { status, usage: reap::usage() });
    Ok(0)
}

/// The helper in the init's place, among the machine's processes.
fn without_init(
    spec: &ProcessSpec,
    control: &mut UnixStream,
    emulation: Option<&Emulation>,
) -> Result<(), Failure> {
    sys::hold_signals();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .step("becoming the parent of orphans")?;
    let process = start(spec, control, None, emulation)?;
    if let Some(status) = reap::as_subreaper(process) {
        report(control, &Report::Ended { status, usage: reap::usage() });
    }
    Ok(())
}

/// Makes the root, enters it and starts the process in it; returns its id.
fn start(
    spec: &ProcessSpec,
    control: &mut UnixStream,
    proc: Option<OwnedFd>,
    emulation: Option<&Emulation>,
) -> Result<libc::pid_t, Failure> {
    let memory = mounts::memory()?;
    let places = root::places(spec)?;
    let tree = root::mount_root(spec, &memory, &places)?;
    mounts::attach_root(&tree, &memory)?;
    mounts::mount_all(spec, &tree, &memory, proc)?;
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
    let mut own_terminal = None;
    if spec.output == Output::Terminal {
        let (master, terminal) = terminal::make(spec.uid).step("making a terminal")?;
        control::send(&*control, b' ', Some(master.as_fd())).step("handing over the terminal")?;
        own_terminal = Some(terminal);
    }
    // It knows the secrets, and the process may be root.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .step("closing the init to the process")?;
    match sys::fork().step("starting the process")? {
        Fork::Child => {
            let failure = process::start(spec, own_terminal.as_ref(), emulation);
            report_failure(control, failure);
            sys::exit_now(127)
        }
        Fork::Parent(pid) => Ok(pid),
    }
}
