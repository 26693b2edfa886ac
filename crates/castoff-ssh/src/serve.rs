//! A socket that answers for an agent.
//!
//! ```text
//! step --- socket --- thread of the connection --- connection of its own to the running agent
//! ```
//!
//! Each connection has a thread, because a running agent may ask its owner and wait; and a connection of
//! its own to that agent, because OpenSSH binds sessions to connections. Every wait also ends when the
//! [`Served`] is dropped.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::agent::{Agent, Verdict};
use crate::wire::{FAILURE, LONGEST};

/// No more connections are served at once; a step that opens more is refused them.
const MOST_CONNECTIONS: usize = 64;

/// How long either side may take to accept bytes that it ought to be reading.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket that is being served. Dropping it ends that and waits until it has ended.
#[derive(Debug)]
pub struct Served {
    /// Its closing is what the threads see.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Answers for this agent on a new socket `name` in a directory. The socket's owner and mode are those
    /// of any new file; nothing removes it.
    ///
    /// # Errors
    /// When the socket cannot be made or a thread not be started.
    pub fn serve(self: &Arc<Agent>, directory: &Path, name: &str) -> io::Result<Served> {
        // The path of a socket has at most 107 bytes (unix(7)); that of a directory may have any number.
        let directory = File::open(directory)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
        // A connection may be gone between poll and accept.
        listener.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let agent = Arc::clone(self);
        let accept = move || accept(&agent, &listener, &stopped);
        let thread = std::thread::Builder::new().name("ssh agent".to_owned()).spawn(accept)?;
        Ok(Served { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn accept(agent: &Arc<Agent>, listener: &UnixListener, stopped: &UnixStream) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while wait(listener, stopped) {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(_) => {
                // There may be no descriptors left, and the connection stays ready.
                let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                let _stopped_is_seen_above = poll(&mut [PollFd::new(stopped, PollFlags::IN)], Some(&pause));
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MOST_CONNECTIONS {
            continue;
        }
        let Ok(stopped) = stopped.try_clone() else { continue };
        let agent = Arc::clone(agent);
        let talk = move || {
            // A connection that breaks is the client's affair.
            let _broken = Connection { agent: &agent, client, upstream: None, stopped }.talk();
        };
        let spawned = std::thread::Builder::new().name("ssh agent connection".to_owned()).spawn(talk);
        connections.extend(spawned);
    }
    for connection in connections {
        let _panicked = connection.join();
    }
}

/// Waits until there is something to read; false when the serving is over.
fn wait(readable: impl std::os::fd::AsFd, stopped: &UnixStream) -> bool {
    loop {
        let mut polls = [PollFd::new(&readable, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut polls, None) {
            Ok(_) => return polls[1].revents().is_empty(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

struct Connection<'a> {
    agent: &'a Agent,
    client: UnixStream,
    upstream: Option<UnixStream>,
    stopped: UnixStream,
}

impl Connection<'_> {
    fn talk(mut self) -> io::Result<()> {
        self.client.set_nonblocking(false)?;
        self.client.set_write_timeout(Some(PATIENCE))?;
        while let Some(request) = receive(&self.client, &self.stopped)? {
            let answer = match self.agent.decide(&request) {
                Verdict::Answer(answer) => answer,
                Verdict::Forward => match self.forward(&request) {
                    Ok(answer) => answer,
                    // The next request may find the agent again.
                    Err(_) => {
                        self.upstream = None;
                        vec![FAILURE]
                    }
                },
            };
            send(&self.client, &answer)?;
        }
        Ok(())
    }

    fn forward(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let upstream = match (&self.upstream, self.agent) {
            (Some(upstream), _) => upstream,
            (None, Agent::Forwarded(path)) => {
                let upstream = UnixStream::connect(path)?;
                upstream.set_write_timeout(Some(PATIENCE))?;
                self.upstream.insert(upstream)
            }
            (None, Agent::Keys(_)) => unreachable!("keys in memory answer for themselves"),
        };
        send(upstream, request)?;
        receive(upstream, &self.stopped)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

fn send(mut stream: &UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes)
}

/// Receives a message without its length; `None` when the other side or the serving has ended. Memory is
/// taken for what has come, not for what is announced.
fn receive(stream: &UnixStream, stopped: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = Vec::new();
    if !fill(stream, stopped, &mut length, 4)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if length == 0 || length > LONGEST {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut message = Vec::new();
    Ok(fill(stream, stopped, &mut message, length)?.then_some(message))
}

/// Reads until `buffer` has `length` bytes; false when there are no more.
fn fill(
    mut stream: &UnixStream,
    stopped: &UnixStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<bool> {
    let mut piece = [0; 4096];
    while buffer.len() < length {
        if !wait(stream, stopped) {
            return Ok(false);
        }
        let wanted = piece.len().min(length - buffer.len());
        match stream.read(&mut piece[..wanted]) {
            Ok(0) => return Ok(false),
            Ok(count) => buffer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
