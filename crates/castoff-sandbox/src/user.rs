//! Entering a user namespace, so that everything after it sees itself as uid 0.
//!
//! ```text
//! castoff            the process that the user started: waits, passes signals on, returns the exit code
//!  +- castoff        the same program, forked: uid 0 of a new user and mount namespace; does the work
//! ```
//!
//! The outer process has to stay: the numbers of a user namespace are written from outside it, by
//! `newuidmap` and `newgidmap`, which have the right to map the user's subordinate ids.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::subid::{self, Range};
use crate::sys::{self, Fork};

/// What `main` knows about the user.
#[derive(Debug, Clone, Default)]
pub struct EnterOptions {
    /// The user's name for `/etc/subuid`, when `/etc/passwd` does not have it.
    pub user: Option<String>,
    /// Maps one id even where there are subordinate ids.
    pub single: bool,
}

/// Where the process is after [`enter_user_namespace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// Real root with the right to mount, in a mount namespace of its own.
    Root,
    /// Uid 0 of a new user namespace, with the right to mount.
    UserNamespace(IdMap),
    /// This is the outer process, and the inner one has ended. The caller ends with this code at once.
    Exited(i32),
    /// The process is what it was before: it may neither mount nor make a user namespace.
    Confined {
        /// Why.
        reason: String,
    },
}

/// Which ids a user namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMap {
    /// Those of the namespace outside, under the same numbers.
    Identity,
    /// The user as 0 and the user's subordinate ids from 1 on.
    Range,
    /// The user as 0 and no other.
    Single,
}

/// Why a user namespace could not be entered though the kernel allows it.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// A second process could not be started or talked to.
    #[error("preparing to enter a user namespace: {0}")]
    Process(#[source] io::Error),
    /// The inner process could not become uid 0.
    #[error("entering the user namespace: {0}")]
    Inner(#[source] io::Error),
    /// The map could not be written.
    #[error("mapping ids: {0}")]
    Map(String),
}

/// Takes root's place or makes a user namespace in which this process is uid 0.
///
/// To be called in `main` before any thread exists. As an ordinary user it forks: the inner process
/// returns `UserNamespace`, and the outer one waits for it, passes signals on and returns `Exited`.
/// Killing the outer process kills the inner one.
///
/// # Errors
/// When the kernel allows a user namespace and it could still not be set up.
pub fn enter_user_namespace(options: &EnterOptions) -> Result<Entered, EnterError> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        match sys::unshare(libc::CLONE_NEWNS).and_then(|()| make_private()) {
            Ok(()) => {
                return Ok(match own_map() {
                    // Root of somebody's user namespace, as in a rootless container: it may mount and give
                    // files away, but the kernel keeps `trusted` attributes from it.
                    Some(kind) => Entered::UserNamespace(kind),
                    None => Entered::Root,
                });
            }
            // Root of a container without CAP_SYS_ADMIN may still be allowed a user namespace.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => return Err(EnterError::Process(error)),
        }
    }
    let plan = Plan::of(is_root, options);
    let (release_read, release_write) = pipe()?;
    let (ready_read, ready_write) = pipe()?;
    let before = sys::block_forwarded();
    match sys::fork().map_err(EnterError::Process)? {
        Fork::Child => {
            drop(ready_read);
            drop(release_write);
            sys::restore_signals(&before);
            inner(&plan, &ready_write, &release_read)
        }
        Fork::Parent(pid) => {
            drop(ready_write);
            drop(release_read);
            let result = outer(pid, &plan, &ready_read, release_write);
            sys::restore_signals(&before);
            result
        }
    }
}

/// Returns which ids the user namespace of this process has; `None` for the machine's own.
fn own_map() -> Option<IdMap> {
    let map = subid::parse_map(&fs::read_to_string("/proc/self/uid_map").ok()?);
    let count = map.iter().map(|range| u64::from(range.count)).sum::<u64>();
    match count {
        1 => Some(IdMap::Single),
        // All but the one that means none.
        _ if count == u64::from(u32::MAX) => None,
        _ => Some(IdMap::Identity),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), EnterError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| EnterError::Process(error.into()))
}

fn make_private() -> io::Result<()> {
    let flags = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change(c"/", flags)?)
}

/// The map that is going to be written, decided before the fork so that both sides know it.
#[derive(Debug)]
struct Plan {
    kind: IdMap,
    users: Vec<Range>,
    groups: Vec<Range>,
    tools: Option<(PathBuf, PathBuf)>,
}

impl Plan {
    fn of(is_root: bool, options: &EnterOptions) -> Plan {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let single = |id| vec![Range { inside: 0, outside: id, count: 1 }];
        let alone = Plan { kind: IdMap::Single, users: single(uid), groups: single(gid), tools: None };
        if options.single || own_map() == Some(IdMap::Single) {
            return alone;
        }
        if is_root {
            let (users, groups) = (identity("uid_map"), identity("gid_map"));
            return Plan { kind: IdMap::Identity, users, groups, tools: None };
        }
        let name = subid::user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
        let name = name.or_else(|| options.user.clone());
        let ranges = |file: &str, own: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            subid::map_with(own, &subid::ranges(&text, name.as_deref(), uid))
        };
        let (users, groups) = (ranges("/etc/subuid", uid), ranges("/etc/subgid", gid));
        let tools = subid::tool("newuidmap").zip(subid::tool("newgidmap"));
        if users.len() < 2 || groups.len() < 2 || tools.is_none() {
            return alone;
        }
        Plan { kind: IdMap::Range, users, groups, tools }
    }
}

/// Returns the map by which a namespace below this one has the same ids.
fn identity(name: &str) -> Vec<Range> {
    let text = fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let same = |range: Range| Range { outside: range.inside, ..range };
    subid::parse_map(&text).into_iter().map(same).collect()
}

/// Returns the files of the maps by which a namespace below this one has the same ids, and their texts.
pub(crate) fn identity_maps() -> [(&'static str, String); 2] {
    ["uid_map", "gid_map"].map(|name| (name, subid::lines(&identity(name))))
}

/// The byte that says that the namespace is there; an error number takes four.
const READY: &[u8] = b"r";

/// The inner process: makes the namespace, is given its map, and goes on with `main`.
fn inner(plan: &Plan, ready: &OwnedFd, release: &OwnedFd) -> Result<Entered, EnterError> {
    if let Err(error) = sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) {
        let number = error.raw_os_error().unwrap_or(libc::EPERM);
        let _outer_is_gone = rustix::io::write(ready, &number.to_ne_bytes());
        sys::exit_now(0);
    }
    rustix::io::write(ready, READY).map_err(|error| EnterError::Process(error.into()))?;
    let mut answer = [0];
    let count = rustix::io::read(release, &mut answer).map_err(|error| EnterError::Process(error.into()))?;
    if count == 0 {
        // The outer process says what went wrong.
        sys::exit_now(0);
    }
    let kind = if answer == [MAPPED_ALONE] { IdMap::Single } else { plan.kind };
    become_root(kind).map_err(EnterError::Inner)?;
    sys::die_with_parent().map_err(EnterError::Inner)?;
    if is_closed(release) {
        // The outer process died before its death could be noticed.
        sys::exit_now(1);
    }
    make_private().map_err(EnterError::Inner)?;
    Ok(Entered::UserNamespace(kind))
}

fn become_root(kind: IdMap) -> io::Result<()> {
    match kind {
        // With one id mapped by the user alone the kernel forbids setgroups.
        IdMap::Single => sys::set_ids(0, 0),
        IdMap::Identity | IdMap::Range => sys::become_user(0, 0, &[]),
    }
}

fn is_closed(pipe: &OwnedFd) -> bool {
    let mut wait = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut wait, Some(&now)).is_ok_and(|_| !wait[0].revents().is_empty())
}

const MAPPED: u8 = b'm';
const MAPPED_ALONE: u8 = b's';

/// The outer process: writes the map and waits.
fn outer(pid: libc::pid_t, plan: &Plan, ready: &OwnedFd, release: OwnedFd) -> Result<Entered, EnterError> {
    let mut answer = [0; 4];
    let count = rustix::io::read(ready, &mut answer).map_err(|error| EnterError::Process(error.into()))?;
    if count == answer.len() {
        sys::wait_for(pid).map_err(EnterError::Process)?;
        let number = i32::from_ne_bytes(answer);
        return Ok(Entered::Confined { reason: refusal(number) });
    }
    if answer[..count] != *READY {
        sys::wait_for(pid).map_err(EnterError::Process)?;
        return Err(EnterError::Process(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    let word = match write_maps(pid, plan) {
        Ok(word) => word,
        Err(error) => {
            drop(release);
            sys::wait_for(pid).map_err(EnterError::Process)?;
            return match error {
                // A map that the kernel refuses, as to root without CAP_SETUID, is a lack of rights too.
                MapError::Refused(reason) => Ok(Entered::Confined { reason }),
                MapError::Failed(text) => Err(EnterError::Map(text)),
            };
        }
    };
    rustix::io::write(&release, &[word]).map_err(|error| EnterError::Process(error.into()))?;
    let code = sys::wait_and_forward(pid).map_err(EnterError::Process)?;
    drop(release);
    Ok(Entered::Exited(code))
}

enum MapError {
    Refused(String),
    Failed(String),
}

fn write_maps(pid: libc::pid_t, plan: &Plan) -> Result<u8, MapError> {
    if let Some((users, groups)) = &plan.tools {
        match run_tools(pid, plan, users, groups) {
            Ok(()) => return Ok(MAPPED),
            // Ranges that another tool refuses, for example without its setuid bit, are as good as none.
            Err(_refused) if nothing_is_mapped(pid) => {}
            Err(text) => return Err(MapError::Failed(text)),
        }
        write_alone(pid)?;
        return Ok(MAPPED_ALONE);
    }
    match plan.kind {
        IdMap::Single => write_alone(pid)?,
        IdMap::Identity | IdMap::Range => {
            for (file, ranges) in [("uid_map", &plan.users), ("gid_map", &plan.groups)] {
                if let Err(error) = fs::write(format!("/proc/{pid}/{file}"), subid::lines(ranges)) {
                    // Root without CAP_SETUID has no more than an ordinary user.
                    if nothing_is_mapped(pid) {
                        write_alone(pid)?;
                        return Ok(MAPPED_ALONE);
                    }
                    return Err(MapError::Refused(format!("writing {file}: {error}")));
                }
            }
        }
    }
    Ok(MAPPED)
}

/// `newuidmap` and `newgidmap` take a millisecond each, so they run side by side.
fn run_tools(pid: libc::pid_t, plan: &Plan, users: &Path, groups: &Path) -> Result<(), String> {
    let start = |tool: &Path, ranges: &[Range]| {
        let mut command = Command::new(tool);
        command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for range in ranges {
            for number in [range.inside, range.outside, range.count] {
                command.arg(number.to_string());
            }
        }
        command.spawn().map_err(|error| format!("{}: {error}", tool.display()))
    };
    let children = [start(users, &plan.users)?, start(groups, &plan.groups)?];
    let outputs: Vec<io::Result<Output>> =
        children.into_iter().map(std::process::Child::wait_with_output).collect();
    for output in outputs {
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
    }
    Ok(())
}

fn nothing_is_mapped(pid: libc::pid_t) -> bool {
    ["uid_map", "gid_map"]
        .iter()
        .all(|file| fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|text| text.is_empty()))
}

fn write_alone(pid: libc::pid_t) -> Result<(), MapError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in files {
        fs::write(format!("/proc/{pid}/{file}"), text)
            .map_err(|error| MapError::Refused(format!("writing {file}: {error}")))?;
    }
    Ok(())
}

/// Says why the kernel refuses a user namespace, from the switches that are known to do so.
pub(crate) fn refusal(number: i32) -> String {
    let error = io::Error::from_raw_os_error(number);
    let switch = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
    let is = |name: &str, value: &str| switch(name).is_some_and(|text| text.trim() == value);
    let cause = if number == libc::ENOSPC || is("user/max_user_namespaces", "0") {
        "the limit user.max_user_namespaces is reached"
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "kernel.unprivileged_userns_clone is 0"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "kernel.apparmor_restrict_unprivileged_userns is 1 and no AppArmor profile allows castoff one"
    } else if number == libc::EINVAL {
        "the kernel has none"
    } else {
        "a seccomp filter or security module forbids it, as container runtimes do by default"
    };
    format!("a user namespace is refused ({error}): {cause}")
}
