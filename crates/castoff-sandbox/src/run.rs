//! The caller's side: starts the helper, delivers output, waits, kills.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::control::{self, Report};
use crate::program;
use crate::spec::{Output, ProcessSpec, Stdin};
use crate::terminal::Relay;

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
    let (control, theirs) = UnixStream::pair()?;
    let program = program::find(spec)?;
    let stdio = || match spec.output {
        Output::Pipe => Stdio::piped(),
        Output::Inherit => Stdio::inherit(),
        Output::Terminal => Stdio::null(),
    };
    // Without a hook between fork and exec the standard library uses posix_spawn, whose cost does not
    // grow with the memory of this process.
    let mut child = Command::new(&program.path)
        .arg(HELPER_ARGUMENT)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(stdio())
        .stderr(stdio())
        .spawn()?;
    let followed = send_spec(spec, &control).and_then(|()| {
        let mut following = Following {
            outputs: [
                child.stdout.take().map(|pipe| (Stream::Stdout, OwnedFd::from(pipe))),
                child.stderr.take().map(|pipe| (Stream::Stderr, OwnedFd::from(pipe))),
            ],
            control: Some(control),
            said: Vec::new(),
            relay: None,
            input: spec.stdin == Stdin::Inherit,
            stopped: None,
        };
        let deadline = spec.timeout.map(|timeout| Instant::now() + timeout);
        following.follow(&child, deadline, cancel, output)?;
        Ok((following.stopped, following.said))
    });
    if followed.is_err() {
        let _may_be_gone = stop(&child);
    }
    child.wait()?;
    let (stopped, said) = followed?;
    let mut usage = Usage::default();
    for line in said.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice(line).map_err(io::Error::other)? {
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

fn send_spec(spec: &ProcessSpec, control: &UnixStream) -> io::Result<()> {
    let input = rustix::stdio::stdin();
    // A terminal of its own is typed into by this side.
    let passed = spec.stdin == Stdin::Inherit && spec.output != Output::Terminal;
    control::send(control, b' ', passed.then_some(input))?;
    let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
    let mut writer = control;
    writer.write_all(&text)?;
    control.shutdown(Shutdown::Write)
}

/// Ends the helper, and with it everything below it. It was not waited for, so the number is its.
fn stop(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the kernel's ids are positive");
    Ok(rustix::process::kill_process(pid, Signal::TERM)?)
}

/// What there is to listen to while a process runs.
struct Following {
    outputs: [Option<(Stream, OwnedFd)>; 2],
    control: Option<UnixStream>,
    /// What came through the control socket.
    said: Vec<u8>,
    relay: Option<Relay>,
    /// Whether a terminal is typed into.
    input: bool,
    stopped: Option<Status>,
}

/// What a poll was about.
#[derive(Clone, Copy)]
enum Wait {
    Output(usize),
    Cancel,
    Control,
    Terminal,
    Input,
}

impl Following {
    /// Delivers output until all pipes and the control socket are closed.
    fn follow(
        &mut self,
        child: &Child,
        deadline: Option<Instant>,
        cancel: &Cancel,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while self.control.is_some() || self.relay.is_some() || self.outputs.iter().any(Option::is_some) {
            let left = deadline
                .filter(|_| self.stopped.is_none())
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            for wait in self.wait(left, cancel)? {
                match wait {
                    Wait::Output(index) => self.read_output(index, &mut buffer, output)?,
                    Wait::Cancel => {
                        self.stopped = Some(Status::Cancelled);
                        stop(child)?;
                    }
                    Wait::Control => self.read_control(&mut buffer)?,
                    Wait::Terminal => self.read_terminal(&mut buffer, output),
                    Wait::Input => self.relay.iter_mut().for_each(Relay::read_input),
                }
            }
            self.relay.iter_mut().for_each(Relay::resize);
            if self.stopped.is_none() && left.is_some_and(|left| left.is_zero()) {
                self.stopped = Some(Status::TimedOut);
                stop(child)?;
            }
        }
        Ok(())
    }

    /// Waits until something happens or the time is over.
    fn wait(&self, left: Option<Duration>, cancel: &Cancel) -> io::Result<Vec<Wait>> {
        let event = cancel.event();
        let stdin = rustix::stdio::stdin();
        let master = self.relay.as_ref().map(Relay::master);
        let mut waits = Vec::new();
        let mut polls = Vec::new();
        for (index, slot) in self.outputs.iter().enumerate() {
            if let Some((_, pipe)) = slot {
                waits.push(Wait::Output(index));
                polls.push(PollFd::new(pipe, PollFlags::IN));
            }
        }
        if self.stopped.is_none() {
            waits.push(Wait::Cancel);
            polls.push(PollFd::new(&event, PollFlags::IN));
        }
        if let Some(control) = &self.control {
            waits.push(Wait::Control);
            polls.push(PollFd::new(control, PollFlags::IN));
        }
        if let (Some(relay), Some(master)) = (&self.relay, &master) {
            waits.push(Wait::Terminal);
            let flags = if relay.wants_to_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            polls.push(PollFd::new(master, flags));
            if relay.wants_input() {
                waits.push(Wait::Input);
                polls.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        // The size of a terminal changes without a word to a library.
        let tick = self.relay.as_ref().map(|_| Duration::from_millis(500));
        let timeout = left.into_iter().chain(tick).min().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut polls, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polls.iter().map(|poll| !poll.revents().is_empty());
        Ok(waits.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(wait, _)| wait).collect())
    }

    fn read_output(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> io::Result<()> {
        let Some((stream, pipe)) = &self.outputs[index] else { return Ok(()) };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => self.outputs[index] = None,
            Ok(count) => output(*stream, &buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read_control(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(control) = &self.control else { return Ok(()) };
        let (count, master) = control::receive(control, buffer)?;
        self.said.extend_from_slice(&buffer[..count]);
        if count == 0 {
            self.control = None;
        }
        if let Some(master) = master {
            self.relay = Some(Relay::new(master, self.input)?);
        }
        Ok(())
    }

    fn read_terminal(&mut self, buffer: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) {
        let Some(relay) = &mut self.relay else { return };
        relay.write_pending();
        match rustix::io::read(relay.master(), &mut *buffer) {
            Ok(count @ 1..) => output(Stream::Stdout, &buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The last process that had the terminal open is gone.
            Ok(0) | Err(_) => self.relay = None,
        }
    }
}
