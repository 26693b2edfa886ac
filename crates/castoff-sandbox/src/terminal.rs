//! A terminal for the process, relayed to and from the user's.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// Makes a terminal in the /dev/pts of this mount namespace; returns its master and the terminal.
pub(crate) fn make(uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let master = OwnedFd::from(options.open("/dev/pts/ptmx")?);
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    // With one mapped id there is no other owner.
    let _owner = rustix::fs::fchown(&terminal, Some(rustix::fs::Uid::from_raw(uid)), None);
    Ok((master, terminal))
}

/// Makes a terminal this process's own: its controlling terminal and its three streams.
pub(crate) fn take(terminal: &OwnedFd) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(terminal)?;
    rustix::stdio::dup2_stdin(terminal)?;
    rustix::stdio::dup2_stdout(terminal)?;
    rustix::stdio::dup2_stderr(terminal)?;
    Ok(())
}

/// End of input, as typed.
const END_OF_INPUT: u8 = 4;

/// The caller's side: what the user types goes to the master, keys included, and the user's terminal
/// is as it was when this is dropped.
pub(crate) struct Relay {
    master: OwnedFd,
    /// What was typed and not yet taken.
    pending: Vec<u8>,
    input_open: bool,
    saved: Option<Termios>,
    size: Option<(u16, u16)>,
}

impl Relay {
    /// Starts relaying; standard input is left alone unless `input`.
    pub(crate) fn new(master: OwnedFd, input: bool) -> io::Result<Relay> {
        // Neither side may wait for the other: a process that does not read is still shown.
        rustix::io::ioctl_fionbio(&master, true)?;
        let mut saved = None;
        if input && io::stdin().is_terminal() {
            let mode = rustix::termios::tcgetattr(rustix::stdio::stdin())?;
            let mut raw = mode.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
            saved = Some(mode);
        }
        let mut relay = Relay { master, pending: Vec::new(), input_open: input, saved, size: None };
        relay.resize();
        Ok(relay)
    }

    pub(crate) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Returns whether the user's input is to be waited for.
    pub(crate) fn wants_input(&self) -> bool {
        self.input_open && self.pending.is_empty()
    }

    /// Returns whether the master is to be waited for until it takes input.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Gives the process's terminal the size of the user's.
    pub(crate) fn resize(&mut self) {
        let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) else { return };
        let Winsize { ws_row, ws_col, .. } = size;
        if self.size != Some((ws_row, ws_col)) {
            self.size = Some((ws_row, ws_col));
            // A terminal that is gone has no size.
            let _gone = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// Takes what the user typed.
    pub(crate) fn read_input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(count @ 1..) => self.pending.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => {
                self.input_open = false;
                self.pending.push(END_OF_INPUT);
            }
        }
        self.write_pending();
    }

    /// Passes on what the master takes.
    pub(crate) fn write_pending(&mut self) {
        match rustix::io::write(&self.master, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The process is gone.
            Err(_) => self.pending.clear(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}
