//! Waiting for the process, and the end of what it leaves behind.

use std::fs;
use std::io;
use std::time::Duration;

use crate::child::Failure;
use crate::run::{Status, Usage};
use crate::sys;

/// Reaps everything until the process ends, as pid 1: what the process leaves behind dies with its
/// namespace.
pub(crate) fn as_init(process: libc::pid_t) -> Result<Status, Failure> {
    loop {
        let (pid, status) = match sys::wait_any(0) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::kernel("waiting for the process", error, "")),
        };
        if let Some(status) = ended(pid, status, process) {
            return Ok(status);
        }
    }
}

/// The same without a namespace of its own: as the subreaper of everything below it, which it kills
/// when the process ends or when it is asked to stop by SIGTERM. Signals must be held back.
///
/// Returns `None` when it was asked to stop.
pub(crate) fn as_subreaper(process: libc::pid_t) -> Option<Status> {
    let mut result = None;
    while result.is_none() {
        if sys::wait_for_signal() {
            break;
        }
        while let Ok((pid @ 1.., status)) = sys::wait_any(libc::WNOHANG) {
            result = result.or(ended(pid, status, process));
        }
    }
    kill_children();
    result
}

fn ended(pid: libc::pid_t, status: libc::c_int, process: libc::pid_t) -> Option<Status> {
    if pid != process {
        return None;
    }
    if libc::WIFEXITED(status) {
        return Some(Status::Code(libc::WEXITSTATUS(status)));
    }
    libc::WIFSIGNALED(status).then(|| Status::Signal(libc::WTERMSIG(status)))
}

/// Kills children until there are none: those of a killed child become ours, being its subreaper.
fn kill_children() {
    let own = std::process::id();
    loop {
        for pid in children_of(own) {
            // It is a child that was not waited for, so the number is still its.
            let _has_ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        if let Err(error) = sys::wait_any(0)
            && error.raw_os_error() == Some(libc::ECHILD)
        {
            return;
        }
        while let Ok((1.., _)) = sys::wait_any(libc::WNOHANG) {}
    }
}

/// Looks through /proc, because the list of a process's children is a kernel's build option.
fn children_of(parent: u32) -> Vec<rustix::process::Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // `pid (name) state ppid ...`; the name may have anything in it.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
        let stat = String::from_utf8_lossy(&stat);
        let Some((_, after)) = stat.rsplit_once(')') else { return false };
        after.split_whitespace().nth(1).and_then(|number| number.parse().ok()) == Some(parent)
    })
    .filter_map(rustix::process::Pid::from_raw)
    .collect()
}

/// Returns what the children that were waited for have used.
pub(crate) fn usage() -> Usage {
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
