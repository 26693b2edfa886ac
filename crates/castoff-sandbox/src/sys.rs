//! System calls that rustix does not offer, or offers as unsafe. Each is one call and its check.
#![expect(unsafe_code, reason = "raw system calls; each block argues for itself")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What `fork` returned.
pub(crate) enum Fork {
    /// This is the child.
    Child,
    /// This is the parent; the child has this id.
    Parent(libc::pid_t),
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks. The caller is the helper, which never has a second thread, so the child may allocate.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the helper is single-threaded from its first instruction on, so no lock is held by a
    // thread that the child does not have.
    let pid = unsafe { libc::fork() };
    match check(i64::from(pid))? {
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent(pid)),
    }
}

/// Forks a child that is pid 1 of a new namespace.
pub(crate) fn fork_init() -> io::Result<Fork> {
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: without a stack of its own and without CLONE_VM the child goes on with a copy of this
    // process, as after fork; the helper is single-threaded, so no lock is held by another thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match check(pid)? {
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent(pid as libc::pid_t)),
    }
}

/// Lets no descriptor but the first three survive an exec.
pub(crate) fn close_on_exec() {
    // SAFETY: takes numbers; descriptors stay open in this process. Before Linux 5.11 it fails, and what
    // the caller left open on purpose stays open.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Leaves the namespaces in `flags` for new ones.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a number, touches no memory of ours.
    check(i64::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Asks for SIGKILL when the parent dies.
pub(crate) fn die_with_parent() -> io::Result<()> {
    on_death_of_parent(libc::SIGKILL)
}

/// Asks for a signal when the parent dies.
pub(crate) fn on_death_of_parent(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory of ours.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })).map(drop)
}

/// Removes a capability from the bounding set.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    check(i64::from(result)).map(drop)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes `set` the effective and permitted capabilities of this thread, and none inheritable.
pub(crate) fn set_capabilities(set: u64) -> io::Result<()> {
    // _LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two words of each set.
    let header = CapabilityHeader { version: 0x2008_0522, pid: 0 };
    let word = |at: u32| CapabilityData {
        effective: (set >> at) as u32,
        permitted: (set >> at) as u32,
        inheritable: 0,
    };
    let data = [word(0), word(32)];
    // SAFETY: both pointers are to live values of the layout that version 3 of the call defines.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(result).map(drop)
}

/// Loads a seccomp filter for this thread and its children.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let description = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the description and the instructions it points to live until the call returns; the kernel
    // copies them and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const description) };
    check(result).map(drop)
}

/// Keeps this process from gaining rights by an exec.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory of ours.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })).map(drop)
}

/// Sets supplementary groups, group and user, for good.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and length are those of a live slice of gid_t.
    check(i64::from(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }))?;
    // SAFETY: take numbers, touch no memory of ours.
    check(i64::from(unsafe { libc::setresgid(gid, gid, gid) }))?;
    // SAFETY: as above.
    check(i64::from(unsafe { libc::setresuid(uid, uid, uid) })).map(drop)
}

/// Sets group and user, for good, where supplementary groups cannot be set.
pub(crate) fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: take numbers, touch no memory of ours.
    check(i64::from(unsafe { libc::setresgid(gid, gid, gid) }))?;
    // SAFETY: as above.
    check(i64::from(unsafe { libc::setresuid(uid, uid, uid) })).map(drop)
}

/// Sets attributes of the mount that `mount` is, and of all below it.
pub(crate) fn set_mount_attributes(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let change = MountAttributes { set: attributes, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a NUL-terminated constant, and the structure is live, of the layout of
    // `struct mount_attr` (Linux 5.12), with its size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<MountAttributes>(),
        )
    };
    check(result).map(drop)
}

/// Waits for any child; returns its id and wait status. With `WNOHANG` the id is 0 when none has ended.
pub(crate) fn wait_any(options: libc::c_int) -> io::Result<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, options) };
    check(i64::from(pid))?;
    Ok((pid, status))
}

/// Waits for one child; returns its wait status.
pub(crate) fn wait_for(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a live integer.
        let result = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        match check(i64::from(result)) {
            Ok(_) => return Ok(status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Replaces this process. Returns only when that fails.
pub(crate) fn execute(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| {
        let mut pointers: Vec<*const libc::c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: the program is NUL-terminated; both arrays end with a null pointer and their other
    // elements point to texts that live in the caller.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process without running anything of the standard library's.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns; open files are the kernel's to close.
    unsafe { libc::_exit(code) }
}

/// Sets a resource limit.
pub(crate) fn set_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a live structure; an unknown resource is refused by the kernel.
    check(i64::from(unsafe { libc::setrlimit(resource, &raw const limit) })).map(drop)
}

/// Returns what all children that ended have used.
pub(crate) fn children_usage() -> libc::rusage {
    // SAFETY: all-zero is a valid rusage, which is numbers only, and the pointer is to that live value.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    }
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all-zero is a valid ifreq; the name is NUL-terminated by the zeroes after it; the ioctl
    // reads the flags that were just written and writes nothing beyond the structure.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        check(i64::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))).map(drop)
    }
}

/// Gives every signal its default meaning and lets all through, as a program expects at its start.
pub(crate) fn reset_signals() {
    // SAFETY: restoring default dispositions and an empty mask is allowed at any time; the set is
    // initialised by sigemptyset before it is used.
    unsafe {
        for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD]
        {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Leaves a terminal's keys to others.
pub(crate) fn ignore_keys() {
    // SAFETY: setting dispositions to this constant is allowed at any time.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Prepares the helper: it leaves a terminal's signals to the process, and SIGTERM ends it.
pub(crate) fn helper_signals() {
    // SAFETY: setting dispositions to one of the two constants is allowed at any time.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        for signal in [libc::SIGTERM, libc::SIGCHLD] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Holds back SIGTERM and the signals about children, to be waited for.
pub(crate) fn hold_signals() {
    let set = signal_set(&[libc::SIGTERM, libc::SIGCHLD]);
    // SAFETY: the pointer is to a live, initialised set.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for one of the signals of [`hold_signals`]; returns whether it was SIGTERM.
pub(crate) fn wait_for_signal() -> bool {
    let set = signal_set(&[libc::SIGTERM, libc::SIGCHLD]);
    // SAFETY: the pointer is to a live, initialised set, and no information is asked for.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) == libc::SIGTERM }
}

/// Signals that a waiting process passes on to the one that works.
const FORWARDED: [libc::c_int; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
];

/// A set of blocked signals.
pub(crate) struct SignalMask(libc::sigset_t);

fn signal_set(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: all-zero is a valid sigset_t, and the pointer is to that live value.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// Holds back the signals to be passed on, and those about children. Returns what was held back before.
pub(crate) fn block_forwarded() -> SignalMask {
    let set = signal_set(&[&FORWARDED[..], &[libc::SIGCHLD]].concat());
    let mut before = signal_set(&[]);
    // SAFETY: both pointers are to live, initialised sets.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
    SignalMask(before)
}

/// Undoes [`block_forwarded`].
pub(crate) fn restore_signals(before: &SignalMask) {
    // SAFETY: the pointer is to a live, initialised set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const before.0, std::ptr::null_mut()) };
}

/// Waits for a child, passing signals on, and returns its exit code in the shell's way. Signals must be
/// held back by [`block_forwarded`].
pub(crate) fn wait_and_forward(pid: libc::pid_t) -> io::Result<i32> {
    let set = signal_set(&[&FORWARDED[..], &[libc::SIGCHLD]].concat());
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live integer.
        let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if check(i64::from(ended))? == i64::from(pid) {
            return Ok(match libc::WIFEXITED(status) {
                true => libc::WEXITSTATUS(status),
                false => 128 + libc::WTERMSIG(status),
            });
        }
        // SAFETY: all-zero is a valid siginfo_t; both pointers are to live values.
        let (signal, code) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigwaitinfo(&raw const set, &raw mut info);
            (signal, info.si_code)
        };
        // What the terminal sends, it sends to the child as well; what a process sends, it sent to us.
        let sent_by_a_process = code <= 0;
        if signal > 0 && signal != libc::SIGCHLD && sent_by_a_process {
            // SAFETY: takes numbers; the child was not waited for yet, so the id is still its.
            unsafe { libc::kill(pid, signal) };
        }
    }
}
