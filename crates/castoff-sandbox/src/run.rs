//! The caller's side: starts the helper, delivers output, waits, kills.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::spec::{Output, ProcessSpec};

/// The hidden argument that makes this program the helper.
pub(crate) const HELPER_ARGUMENT: &str = "__sandbox";

/// Which output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// What it and its children used.
    pub usage: Usage,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It was stopped by [`Cancel`].
    Cancelled,
    /// It ran out of time.
    TimedOut,
}

/// What a process and its children used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident memory of one process in bytes.
    pub max_rss: u64,
}

/// Why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The helper could not be started or talked to.
    #[error("starting the sandbox: {0}")]
    Helper(#[from] io::Error),
    /// The sandbox could not be set up, or the program not be started.
    #[error("{step}: {message}")]
    Setup {
        /// What was being done.
        step: String,
        /// Why it failed.
        message: String,
        /// The kernel's error number, if it was the kernel's.
        errno: Option<i32>,
    },
    /// The helper died without a word.
    #[error("the sandbox ended without a result")]
    Lost,
}

/// What the helper says, one JSON document per line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something could not be done.
    Failed { step: String, message: String, errno: Option<i32> },
    /// The process ended.
    Ended { status: Status, usage: Usage },
}

/// Runs a process and waits until it and all it started are gone.
///
/// Output is delivered as it comes, in pieces of any size. The process tree dies with the calling
/// thread.
///
/// # Errors
/// When the sandbox cannot be set up or the program not be started. A process that fails is no error.
pub fn run(
    spec: &ProcessSpec,
    cancel: &Cancel,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Exit, RunError> {
    if cancel.is_cancelled() {
        return Ok(Exit { status: Status::Cancelled, usage: Usage::default() });
    }
    let (mut control, theirs) = UnixStream::pair()?;
    let program = spec.helper.clone().unwrap_or_else(|| "/proc/self/exe".into());
    let stdio = || match spec.output {
        Output::Pipe => Stdio::piped(),
        Output::Inherit => Stdio::inherit(),
    };
    // Without a hook between fork and exec the standard library uses posix_spawn, whose cost does not
    // grow with the memory of this process.
    let mut child = Command::new(program)
        .arg(HELPER_ARGUMENT)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(stdio())
        .stderr(stdio())
        .spawn()?;
    let sent = serde_json::to_vec(spec)
        .map_err(io::Error::other)
        .and_then(|text| control.write_all(&text))
        .and_then(|()| control.shutdown(Shutdown::Write));
    let ended = sent.and_then(|()| {
        let outputs = [
            child.stdout.take().map(|pipe| (Stream::Stdout, OwnedFd::from(pipe))),
            child.stderr.take().map(|pipe| (Stream::Stderr, OwnedFd::from(pipe))),
        ];
        let deadline = spec.timeout.map(|timeout| Instant::now() + timeout);
        follow(&mut child, outputs, &control, deadline, cancel, output)
    });
    if ended.is_err() {
        let _may_be_gone = child.kill();
    }
    child.wait()?;
    let stopped = ended?;
    let mut said = String::new();
    control.read_to_string(&mut said)?;
    let mut usage = Usage::default();
    for line in said.lines() {
        match serde_json::from_str(line).map_err(io::Error::other)? {
            Report::Failed { .. } if stopped.is_some() => {}
            Report::Failed { step, message, errno } => return Err(RunError::Setup { step, message, errno }),
            Report::Ended { status, usage: used } => {
                usage = used;
                if stopped.is_none() {
                    return Ok(Exit { status, usage });
                }
            }
        }
    }
    match stopped {
        Some(status) => Ok(Exit { status, usage }),
        None => Err(RunError::Lost),
    }
}

/// Delivers output until all pipes and the control socket are closed. Returns how the process was
/// stopped, if it was.
fn follow(
    child: &mut std::process::Child,
    mut outputs: [Option<(Stream, OwnedFd)>; 2],
    control: &UnixStream,
    deadline: Option<Instant>,
    cancel: &Cancel,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<Option<Status>> {
    let mut buffer = vec![0; 64 << 10];
    let mut stopped = None;
    let mut control_open = true;
    while control_open || outputs.iter().any(Option::is_some) {
        let mut waits = Vec::new();
        for (_, pipe) in outputs.iter().flatten() {
            waits.push(PollFd::new(pipe, PollFlags::IN));
        }
        let pipes = waits.len();
        let event = cancel.event();
        if stopped.is_none() {
            waits.push(PollFd::new(&event, PollFlags::IN));
        }
        // Only its end is of interest here; what it says is read afterwards.
        let control_fd = control.as_fd();
        if control_open {
            waits.push(PollFd::new(&control_fd, PollFlags::RDHUP));
        }
        let left = deadline
            .filter(|_| stopped.is_none())
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        drop(waits);
        let mut at = 0;
        for slot in &mut outputs {
            let Some((stream, pipe)) = slot else { continue };
            if ready[at] {
                match rustix::io::read(&*pipe, &mut buffer[..]) {
                    Ok(0) => *slot = None,
                    Ok(count) => output(*stream, &buffer[..count]),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            at += 1;
        }
        let mut at = pipes;
        if stopped.is_none() {
            if ready[at] {
                stopped = Some(Status::Cancelled);
            } else if left.is_some_and(|left| left.is_zero()) {
                stopped = Some(Status::TimedOut);
            }
            if stopped.is_some() {
                // The rest of the tree dies with the helper.
                child.kill()?;
            }
            at += 1;
        }
        if control_open && ready[at] {
            control_open = false;
        }
    }
    Ok(stopped)
}
