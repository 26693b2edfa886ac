//! What this machine allows, found out by trying: for `castoff info`.
//!
//! Each trial runs in a child process that is thrown away with everything it mounted.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use crate::mounts;
use crate::root::Overlay;
use crate::sys::{self, Fork};
use crate::user::{Entered, IdMap};

/// What a machine allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Each ability, in an order for people.
    pub abilities: Vec<Ability>,
}

/// One thing that a machine allows or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// A short name that does not change.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, or why it is not there and what to do.
    pub detail: String,
}

/// Tries out what this process may do. `directory` is an empty directory on the file system that layers
/// will be on. The calling process must have one thread.
pub fn probe(directory: &Path, entered: &Entered) -> Machine {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let may_mount = matches!(entered, Entered::Root | Entered::UserNamespace(_));
    let mut abilities = vec![
        Ability { name: "kernel", ok: true, detail: format!("Linux {}", release.trim()) },
        mode(entered),
        subordinate_ids(),
        id_tools(),
        user_namespaces(),
    ];
    let trial = |name, trial: &dyn Fn() -> Result<String, String>| {
        let result = if may_mount { in_child(trial) } else { Err("mounts are not allowed".to_owned()) };
        let ok = result.is_ok();
        Ability { name, ok, detail: result.unwrap_or_else(|reason| reason) }
    };
    let userxattr = !matches!(entered, Entered::Root);
    abilities.push(trial("overlayfs", &|| try_overlay(directory, userxattr)));
    abilities.push(trial("proc", &try_proc));
    abilities.push(trial("network none", &try_network));
    abilities
        .push(trial("pid namespace", &|| unshared(libc::CLONE_NEWPID, "processes of a step die with it")));
    abilities.push(cgroups());
    abilities.push(erofs(entered, directory));
    Machine { abilities }
}

fn mode(entered: &Entered) -> Ability {
    let (ok, detail) = match entered {
        Entered::Root => (true, "root: steps run in namespaces, all owners are real".to_owned()),
        Entered::UserNamespace(IdMap::Range) => {
            (true, "ordinary user with subordinate ids: steps run in namespaces, all owners are real inside".to_owned())
        }
        Entered::UserNamespace(IdMap::Identity) => {
            (true, "root of a container: steps run in a user namespace with the container's ids".to_owned())
        }
        Entered::UserNamespace(IdMap::Single) => (
            true,
            "ordinary user with one id: every file of a step belongs to root; steps cannot become another user, \
             and changes of owner are pretended and lost. Subordinate ids lift this: see docs/rootless.md"
                .to_owned(),
        ),
        Entered::Confined { reason } => {
            (false, format!("no namespaces ({reason}): Dockerfiles with RUN cannot be built, others can"))
        }
        Entered::Exited(_) => (false, "outside".to_owned()),
    };
    Ability { name: "mode", ok, detail }
}

fn subordinate_ids() -> Ability {
    let count = |path: &str| {
        fs::read_to_string(path).map_or(0, |text| text.lines().filter(|line| !line.trim().is_empty()).count())
    };
    let (users, groups) = (count("/etc/subuid"), count("/etc/subgid"));
    let ok = users > 0 && groups > 0;
    let detail = if ok {
        format!("{users} ranges in /etc/subuid, {groups} in /etc/subgid")
    } else {
        "no ranges in /etc/subuid and /etc/subgid: give a user some with `usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 USER`"
            .to_owned()
    };
    Ability { name: "subordinate ids", ok, detail }
}

fn id_tools() -> Ability {
    let found = |name: &str| {
        ["/usr/local/bin", "/usr/bin", "/bin"]
            .iter()
            .map(|at| Path::new(at).join(name))
            .find(|path| path.exists())
    };
    let (users, groups) = (found("newuidmap"), found("newgidmap"));
    let ok = users.is_some() && groups.is_some();
    let detail = match users {
        Some(path) if ok => path.display().to_string(),
        _ => "newuidmap and newgidmap are missing: install the package uidmap (or shadow-utils)".to_owned(),
    };
    Ability { name: "newuidmap", ok, detail }
}

fn user_namespaces() -> Ability {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let most = number("/proc/sys/user/max_user_namespaces");
    let (ok, detail) = if most == Some(0) {
        (false, "forbidden by user.max_user_namespaces=0".to_owned())
    } else if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        (false, "forbidden to ordinary users by kernel.unprivileged_userns_clone=0".to_owned())
    } else if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        (false, "restricted by kernel.apparmor_restrict_unprivileged_userns=1: castoff needs a profile that allows `userns`".to_owned())
    } else {
        (true, most.map_or_else(|| "allowed".to_owned(), |most| format!("allowed, at most {most}")))
    };
    Ability { name: "user namespaces", ok, detail }
}

/// Mounts an overlay and does what goes wrong where overlayfs keeps its marks in the wrong place: removes
/// a lower directory and makes it anew.
fn try_overlay(directory: &Path, userxattr: bool) -> Result<String, String> {
    let said = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| directory.join(name));
    for path in [&lower.join("a/b"), &upper, &work] {
        fs::create_dir_all(path).map_err(said("making directories"))?;
    }
    let writable = Some((upper.as_path(), work.as_path()));
    let mount = mounts::memory()
        .and_then(|memory| Overlay { lowers: &[lower], writable, userxattr }.mount(&memory))
        .map_err(|failure| failure.to_string())?;
    rustix::mount::move_mount(
        &mount,
        c"",
        rustix::fs::CWD,
        directory,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|error| said("attaching it")(error.into()))?;
    fs::remove_dir_all(directory.join("a")).map_err(said("removing a directory of a lower layer"))?;
    fs::create_dir(directory.join("a")).map_err(said("making it anew"))?;
    if fs::read_dir(directory.join("a")).map_err(said("reading it"))?.next().is_some() {
        return Err("a directory that was made anew shows what was removed".to_owned());
    }
    Ok(if userxattr {
        "works, with marks in user.overlay.*"
    } else {
        "works, with marks in trusted.overlay.*"
    }
    .to_owned())
}

fn try_proc() -> Result<String, String> {
    sys::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS).map_err(|error| error.to_string())?;
    // Mounting shows the namespace of the mounter, which is a child's.
    match sys::fork().map_err(|error| error.to_string())? {
        Fork::Child => {
            let mounted = (|| -> Result<(), rustix::io::Errno> {
                let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
                rustix::mount::fsconfig_create(&context)?;
                rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
                    .map(drop)
            })();
            sys::exit_now(i32::from(mounted.is_err()))
        }
        Fork::Parent(pid) => match sys::wait_for(pid) {
            Ok(0) => Ok("each step has its own /proc".to_owned()),
            _ => {
                Err("a new /proc is refused, because the outer one is partly hidden: steps see the outer one"
                    .to_owned())
            }
        },
    }
}

fn try_network() -> Result<String, String> {
    sys::unshare(libc::CLONE_NEWNET).and_then(|()| sys::loopback_up()).map_err(|error| error.to_string())?;
    Ok("RUN --network=none has a loopback of its own; otherwise steps use this machine's network".to_owned())
}

fn unshared(flags: libc::c_int, good: &str) -> Result<String, String> {
    sys::unshare(flags).map_err(|error| error.to_string())?;
    Ok(good.to_owned())
}

fn cgroups() -> Ability {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let detail = if unified {
        "version 2; castoff sets no limits yet"
    } else {
        "version 1 or none; castoff sets no limits yet"
    };
    Ability { name: "cgroups", ok: unified, detail: detail.to_owned() }
}

fn erofs(entered: &Entered, directory: &Path) -> Ability {
    let (ok, detail) = match crate::images::takes_images(directory) {
        Err(reason) => (false, format!("{reason}: layers are unpacked")),
        Ok(()) if *entered != Entered::Root => {
            let reason = "known to the kernel, but not mountable in a user namespace: layers are unpacked";
            (false, reason.to_owned())
        }
        Ok(()) => (true, "layers are mounted and not unpacked".to_owned()),
    };
    Ability { name: "erofs", ok, detail }
}

/// Runs a trial in a child and returns what it said.
fn in_child(trial: &dyn Fn() -> Result<String, String>) -> Result<String, String> {
    let (mut read, mut write) = io::pipe().map_err(|error| error.to_string())?;
    match sys::fork().map_err(|error| error.to_string())? {
        Fork::Child => {
            drop(read);
            // Mounts of the trial end with this namespace.
            let result = sys::unshare(libc::CLONE_NEWNS).map_err(|error| error.to_string()).and_then(|()| {
                crate::mounts::make_private().map_err(|failure| failure.to_string())?;
                trial()
            });
            let (code, text) = match result {
                Ok(text) => (0, text),
                Err(text) => (1, text),
            };
            let _gone = io::Write::write_all(&mut write, text.as_bytes());
            sys::exit_now(code)
        }
        Fork::Parent(pid) => {
            drop(write);
            let mut text = String::new();
            let _ends_early = io::Read::read_to_string(&mut read, &mut text);
            match sys::wait_for(pid) {
                Ok(0) => Ok(text),
                _ => Err(text),
            }
        }
    }
}
