//! Everything that is mounted into the root: /proc, /sys, /dev, the caller's mounts and files.

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, StatxFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::child::{Failure, Step};
use crate::root::{Overlay, open_beneath, open_inside};
use crate::spec::{MountKind, MountSpec, ProcessSpec};
use crate::sys;

/// MOUNT_ATTR_* of linux/mount.h.
pub(crate) const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;

/// Device nodes that a step has, bound from the machine because a user namespace cannot make them.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links in /dev.
const DEVICE_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// What container runtimes hide of /proc and /sys (runtime-spec, "maskedPaths" of Docker's default).
const MASKED: [&str; 12] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
];

/// What they make read-only.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// Mounts a file system in memory, detached.
pub(crate) fn tmpfs(size: Option<u64>, mode: u32, attributes: u64) -> Result<OwnedFd, Failure> {
    let mut options = vec![("mode", format!("{mode:o}"))];
    if let Some(size) = size {
        options.push(("size", size.to_string()));
    }
    file_system("tmpfs", &options, attributes)
}

fn file_system(kind: &str, options: &[(&str, String)], attributes: u64) -> Result<OwnedFd, Failure> {
    let mounted = (|| -> Result<OwnedFd, Errno> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", kind)?;
        for (key, value) in options {
            rustix::mount::fsconfig_set_string(&context, *key, value.as_str())?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as _);
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })();
    mounted.map_err(|error| Failure::kernel("mounting a file system", error, kind))
}

/// Returns a detached copy of the mount that shows `path`, with what is mounted below it.
fn clone_tree(path: &Path) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags)
}

fn clone_at(directory: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(directory, name, flags)
}

/// Puts a detached mount onto a path inside the root.
fn attach(root: &OwnedFd, mount: &OwnedFd, target: &Path) -> Result<(), Errno> {
    move_to(mount, &open_inside(root, target, OFlags::PATH)?)
}

/// Mounts everything below an attached root. `proc` is a new /proc for the namespace; without it the
/// outer one is shown.
pub(crate) fn mount_all(
    spec: &ProcessSpec,
    root: &OwnedFd,
    memory: &OwnedFd,
    proc: Option<OwnedFd>,
) -> Result<(), Failure> {
    let put = |mount: &OwnedFd, target: &str| {
        attach(root, mount, Path::new(target)).map_err(|error| Failure::kernel("mounting", error, target))
    };
    let proc = match proc {
        Some(proc) => proc,
        None => clone_tree(Path::new("/proc")).step("showing the outer /proc")?,
    };
    put(&proc, "/proc")?;
    sysfs(spec, root)?;
    devices(spec, root)?;
    for (index, mount) in spec.mounts.iter().enumerate() {
        let made = mounted(mount, index, root, memory, spec.userxattr)?;
        place_inside(root, &mount.target, &made);
        attach(root, &made, &mount.target)
            .map_err(|error| Failure::kernel("mounting", error, &mount.target.display().to_string()))?;
    }
    for (index, file) in spec.files.iter().enumerate() {
        let made = memory_file(memory, &format!("file-{index}"), &file.content, file.mode, (0, 0))?;
        if !file.writable {
            sys::set_mount_attributes(&made, RDONLY).step("making a file read-only")?;
        }
        place_inside(root, &file.target, &made);
        attach(root, &made, &file.target)
            .map_err(|error| Failure::kernel("providing", error, &file.target.display().to_string()))?;
    }
    if !spec.privileged {
        mask(root)?;
    }
    Ok(())
}

/// Makes a place inside an earlier mount, whose content the root's own places cannot cover. Failing is
/// left to the mount that follows.
fn place_inside(root: &OwnedFd, target: &Path, mount: &OwnedFd) {
    if open_inside(root, target, OFlags::PATH).is_ok() {
        return;
    }
    let is_directory = rustix::fs::fstat(mount)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let mut made = PathBuf::from("/");
    let names: Vec<_> =
        target.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    for (index, name) in names.iter().enumerate() {
        let Ok(parent) = open_inside(root, &made, OFlags::PATH | OFlags::DIRECTORY) else { return };
        let last = index + 1 == names.len();
        let _exists_or_fails_later = if last && !is_directory {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name.as_os_str(), flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755))
        };
        made.push(name);
    }
}

fn mounted(
    mount: &MountSpec,
    index: usize,
    root: &OwnedFd,
    memory: &OwnedFd,
    userxattr: bool,
) -> Result<OwnedFd, Failure> {
    let named = |error| Failure::kernel("mounting", error, &mount.target.display().to_string());
    match &mount.kind {
        MountKind::Bind { source, writable } => {
            let tree = clone_tree(source).map_err(named)?;
            if !writable {
                sys::set_mount_attributes(&tree, RDONLY).step("making a mount read-only")?;
            }
            Ok(tree)
        }
        MountKind::Restricted { source, writable, no_suid, no_devices, no_execution } => {
            let tree = clone_tree(source).map_err(named)?;
            let attributes =
                [(!writable, RDONLY), (*no_suid, NOSUID), (*no_devices, NODEV), (*no_execution, NOEXEC)];
            let attributes = attributes.iter().filter(|(set, _)| *set).fold(0, |all, (_, one)| all | one);
            if attributes != 0 {
                sys::set_mount_attributes(&tree, attributes).step("restricting a mount")?;
            }
            Ok(tree)
        }
        MountKind::Within { root, path, writable } => {
            // What is opened is what is mounted, whatever becomes of the path meanwhile.
            let shown = path.display().to_string();
            let place = open_beneath(root, path).map_err(|error| match error {
                Errno::XDEV => {
                    let message = format!("`{shown}` leads out of its directory");
                    Failure::said("opening the source of a mount", message)
                }
                error => Failure::kernel("opening the source of a mount", error, &shown),
            })?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = rustix::mount::open_tree(&place, c"", flags).map_err(named)?;
            if !writable {
                sys::set_mount_attributes(&tree, RDONLY).step("making a mount read-only")?;
            }
            Ok(tree)
        }
        MountKind::Overlay { lowers, upper, work, source, writable } => {
            let writable_in = Some((upper.as_path(), work.as_path()));
            let whole = Overlay { lowers, writable: writable_in, userxattr }.mount(memory)?;
            if !writable {
                sys::set_mount_attributes(&whole, RDONLY).step("making a mount read-only")?;
            }
            if source.as_os_str().is_empty() {
                return Ok(whole);
            }
            // Part of a mount can be cloned only while the mount is attached somewhere.
            let place = place_in(memory, "overlay")?;
            move_to(&whole, &place).map_err(named)?;
            let part = open_inside(&whole, source, OFlags::PATH).map_err(named)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            rustix::mount::open_tree(&part, c"", flags).map_err(named)
        }
        MountKind::Tmpfs { size } => {
            let covered = open_inside(root, &mount.target, OFlags::PATH).and_then(rustix::fs::fstat);
            let mode = covered.map_or(0o755, |stat| stat.st_mode & 0o7777);
            tmpfs(*size, mode, NOSUID | NODEV)
        }
        MountKind::Secret { content, mode, uid, gid } => {
            let name = format!("secret-{index}");
            let file = memory_file(memory, &name, content.as_bytes(), *mode, (*uid, *gid))?;
            sys::set_mount_attributes(&file, RDONLY | NOSUID | NODEV | NOEXEC)
                .step("making a secret read-only")?;
            Ok(file)
        }
    }
}

/// Makes a file in memory and returns a detached mount of it.
fn memory_file(
    memory: &OwnedFd,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: (u32, u32),
) -> Result<OwnedFd, Failure> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(memory, name, flags, Mode::from_raw_mode(0o600))
        .step("making a file in memory")?;
    // With one mapped id there is no other owner.
    let _owner = rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).step("making a file in memory")?;
    std::fs::File::from(file).write_all(content).step("writing a file in memory")?;
    clone_at(memory, name).step("showing a file in memory")
}

/// Mounts a /proc for this process's namespace, detached. `None` when the kernel refuses: it does in a
/// user namespace when the outer /proc is partly hidden, as it is in containers.
pub(crate) fn proc() -> Result<Option<OwnedFd>, Failure> {
    match file_system("proc", &[], NOSUID | NODEV | NOEXEC) {
        Ok(mount) => Ok(Some(mount)),
        Err(error) if error.errno() == Some(libc::EPERM) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Mounts the binfmt_misc of this process's user namespace, detached.
pub(crate) fn binfmt_misc() -> Result<OwnedFd, Failure> {
    const STEP: &str = "mounting binfmt_misc in a user namespace";
    file_system("binfmt_misc", &[], NOSUID | NODEV | NOEXEC).map_err(|error| match error.errno() {
        Some(libc::EPERM) => Failure::said(STEP, "the kernel refuses it: that needs Linux 6.7".to_owned()),
        Some(libc::ENODEV) => Failure::said(STEP, "the kernel has no binfmt_misc".to_owned()),
        _ => error,
    })
}

/// A new /sys shows the devices of the network namespace it is made in and nothing that is mounted in
/// the machine's. Only the owner of that namespace may make one; others are shown the machine's.
fn sysfs(spec: &ProcessSpec, root: &OwnedFd) -> Result<(), Failure> {
    let protect = |mount: &OwnedFd| match spec.privileged {
        true => Ok(()),
        false => sys::set_mount_attributes(mount, RDONLY).step("making /sys read-only"),
    };
    let put = |mount: &OwnedFd, target: &str| {
        attach(root, mount, Path::new(target)).map_err(|error| Failure::kernel("mounting", error, target))
    };
    if let Ok(sys) = file_system("sysfs", &[], NOSUID | NODEV | NOEXEC) {
        protect(&sys)?;
        put(&sys, "/sys")?;
        // Programs look for their limits there.
        if let Ok(groups) = clone_tree(Path::new("/sys/fs/cgroup")) {
            protect(&groups)?;
            put(&groups, "/sys/fs/cgroup")?;
        }
    } else if let Ok(sys) = clone_tree(Path::new("/sys")) {
        protect(&sys)?;
        put(&sys, "/sys")?;
    }
    Ok(())
}

fn devices(spec: &ProcessSpec, root: &OwnedFd) -> Result<(), Failure> {
    let device = tmpfs(Some(64 << 10 << 4), 0o755, NOSUID)?;
    for directory in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&device, directory, Mode::from_raw_mode(0o755)).step("filling /dev")?;
    }
    for (name, target) in DEVICE_LINKS {
        rustix::fs::symlinkat(target, &device, name).step("filling /dev")?;
    }
    for name in DEVICES {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&device, name, flags, Mode::from_raw_mode(0o666)).step("filling /dev")?;
    }
    attach(root, &device, Path::new("/dev")).map_err(|error| Failure::kernel("mounting", error, "/dev"))?;
    for name in DEVICES {
        let node = clone_tree(&Path::new("/dev").join(name))
            .map_err(|error| Failure::kernel("showing a device", error, name))?;
        let path = format!("/dev/{name}");
        attach(root, &node, Path::new(&path)).map_err(|error| Failure::kernel("mounting", error, &path))?;
    }
    if spec.privileged {
        loop_devices(root, &device)?;
    }
    let mut mounts = vec![
        ("/dev/pts", terminals()?),
        ("/dev/shm", tmpfs(Some(spec.shm_size), 0o1777, NOSUID | NODEV | NOEXEC)?),
    ];
    // Some kernels are built without message queues.
    if let Ok(queue) = file_system("mqueue", &[], NOSUID | NODEV | NOEXEC) {
        mounts.push(("/dev/mqueue", queue));
    }
    for (path, mount) in &mounts {
        attach(root, mount, Path::new(path)).map_err(|error| Failure::kernel("mounting", error, path))?;
    }
    Ok(())
}

/// Lets a step with all rights mount images, as other builders do; any other device it may make itself.
fn loop_devices(root: &OwnedFd, device: &OwnedFd) -> Result<(), Failure> {
    let names =
        std::iter::once("loop-control".to_owned()).chain((0..8).map(|number| format!("loop{number}")));
    for name in names {
        // Machines have as many as they like.
        let Ok(node) = clone_tree(&Path::new("/dev").join(&name)) else { continue };
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(device, &name, flags, Mode::from_raw_mode(0o600)).step("filling /dev")?;
        let path = format!("/dev/{name}");
        attach(root, &node, Path::new(&path)).map_err(|error| Failure::kernel("mounting", error, &path))?;
    }
    Ok(())
}

/// Terminals of the process's own, of the group `tty` where its customary number is mapped.
fn terminals() -> Result<OwnedFd, Failure> {
    let mut options =
        vec![("ptmxmode", "0666".to_owned()), ("mode", "0620".to_owned()), ("gid", "5".to_owned())];
    file_system("devpts", &options, NOSUID | NOEXEC).or_else(|_unmapped| {
        options.pop();
        file_system("devpts", &options, NOSUID | NOEXEC)
    })
}

/// Hides and protects parts of /proc and /sys. What a kernel does not have needs no hiding.
fn mask(root: &OwnedFd) -> Result<(), Failure> {
    for path in MASKED {
        let Ok(place) = open_inside(root, Path::new(path), OFlags::PATH) else { continue };
        let stat = rustix::fs::fstat(&place).step("looking at what is to be hidden")?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            tmpfs(Some(4096), 0o755, RDONLY | NOSUID | NODEV | NOEXEC)?
        } else {
            clone_tree(Path::new("/dev/null")).step("hiding a file")?
        };
        attach(root, &cover, Path::new(path)).map_err(|error| Failure::kernel("hiding", error, path))?;
    }
    for path in READ_ONLY {
        let Ok(place) = open_inside(root, Path::new(path), OFlags::PATH) else { continue };
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&place, c"", flags)
            .map_err(|error| Failure::kernel("protecting", error, path))?;
        sys::set_mount_attributes(&tree, RDONLY).step("protecting a part of /proc")?;
        attach(root, &tree, Path::new(path)).map_err(|error| Failure::kernel("protecting", error, path))?;
    }
    Ok(())
}

/// Makes the attached root the root of this process and lets go of the old one.
///
/// `pivot_root` leaves the old root, with what is mounted over it, stacked over the new one. A path does
/// not see that at its beginning, but `/..` does, so what it leads to is the proof that nothing is left.
pub(crate) fn enter_root(root: &OwnedFd) -> Result<(), Failure> {
    const STACKED: usize = 8;
    let own = mount_id(root, c"").step("looking at the root")?;
    rustix::process::fchdir(root).step("entering the root")?;
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    for _ in 0..STACKED {
        rustix::mount::unmount(".", UnmountFlags::DETACH).step("leaving the old root")?;
        if mount_id(CWD, c"/..").step("looking at the root")? == own {
            return rustix::process::chdir("/").step("entering the root");
        }
    }
    Err(Failure::said("leaving the old root", "more is mounted over it than castoff did".to_owned()))
}

fn mount_id(directory: impl AsFd, path: &CStr) -> Result<u64, Errno> {
    let found = rustix::fs::statx(directory, path, AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    // Linux 5.8; without it nothing could be proven.
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 { Err(Errno::NOSYS) } else { Ok(found.stx_mnt_id) }
}

/// Makes the working directory and those above it when they are missing (D-137).
pub(crate) fn make_working_directory(path: &Path) -> Result<(), Failure> {
    let mut made = PathBuf::from("/");
    for part in path.components() {
        made.push(part);
        match rustix::fs::mkdirat(CWD, &made, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::ROFS) if made.exists() => {}
            Err(error) => {
                return Err(Failure::kernel(
                    "making the working directory",
                    error,
                    &made.display().to_string(),
                ));
            }
        }
    }
    Ok(())
}

/// Attaches the root where nobody else sees it.
pub(crate) fn attach_root(root: &OwnedFd, memory: &OwnedFd) -> Result<(), Failure> {
    move_to(root, &place_in(memory, "root")?).step("attaching the root")
}

/// Makes the file system in memory that holds places, files and, for the time of their making, mounts.
///
/// It is attached, because older kernels neither clone nor mount in what is not; over the machine's
/// root, because there is always one, and a mount over it hides nothing from paths that begin at it.
pub(crate) fn memory() -> Result<OwnedFd, Failure> {
    let memory = tmpfs(None, 0o755, 0)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&memory, c"", CWD, c"/", flags).step("attaching a file system in memory")?;
    Ok(memory)
}

/// Makes a directory to attach something to; the same one for each of that name.
fn place_in(memory: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    match rustix::fs::mkdirat(memory, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Failure::kernel("making a directory in memory", error, name)),
    }
    open_inside(memory, Path::new(name), OFlags::PATH).step("opening a directory in memory")
}

fn move_to(mount: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", place, c"", flags)
}

/// Keeps everything that is mounted from here on to this namespace.
pub(crate) fn make_private() -> Result<(), Failure> {
    let flags = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", flags).step("keeping mounts private")
}

/// Returns a text for the kernel.
pub(crate) fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| {
        Failure::said("starting the program", "an argument or variable has a NUL byte in it".to_owned())
    })
}
