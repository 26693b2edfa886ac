//! EROFS images as lower layers: mounted from plain files, with the file that has their data as a second
//! device (Linux 6.12, `CONFIG_EROFS_FS_BACKED_BY_FILE`).
//!
//! The mounts are in the process's own mount namespace, so they end with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::{Failure, Step};
use crate::mounts::{move_to, place_in};
use crate::root::{explanation, in_memory};
use crate::spec::{Lower, MountKind, ProcessSpec};

/// Returns whether this machine's root may use images of files in `store`, without trying one: the kernel
/// is new enough and knows the file system, and what the store is on is not stacked itself, because an
/// overlay over an image over a stacked file system is one more than the kernel takes
/// (`FILESYSTEM_MAX_STACK_DEPTH`, include/linux/fs.h).
///
/// # Errors
/// Why not, for people.
pub fn takes_images(store: &Path) -> Result<(), String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 12) {
        return Err(format!("Linux {release} is older than 6.12"));
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.trim() == "erofs") {
        return Err("the kernel does not know erofs, or its module is not loaded".to_owned());
    }
    let found = rustix::fs::statfs(store).map_err(|error| format!("{}: {error}", store.display()))?;
    if STACKED.contains(&(found.f_type as u64 & 0xffff_ffff)) {
        return Err("the store is on a file system that lies over another".to_owned());
    }
    Ok(())
}

/// Magic numbers of overlayfs and ecryptfs (linux/magic.h), and of FUSE, which may be stacked.
const STACKED: [u64; 3] = [0x794c_7630, 0xf15f, 0x6573_5546];

/// Returns whether the kernel takes an image, by making a file system of it that is mounted nowhere.
///
/// # Errors
/// Why not: `EPERM` in a user namespace, `ENODEV` or `ENOTBLK` from a kernel that cannot, `EINVAL` for an
/// image that is none.
pub fn can_mount(image: &Path, data: &Path) -> io::Result<()> {
    let context = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    Ok(configure(&context, image, data)?)
}

fn configure(context: &OwnedFd, image: &Path, data: &Path) -> Result<(), Errno> {
    rustix::mount::fsconfig_set_string(context, "source", image)?;
    rustix::mount::fsconfig_set_string(context, "device", data)?;
    rustix::mount::fsconfig_set_flag(context, "ro")?;
    rustix::mount::fsconfig_create(context)
}

/// Mounts every image that a specification names, each once, and returns the specification with
/// directories in their places.
pub(crate) fn mount_images<'a>(
    spec: &'a ProcessSpec,
    memory: &OwnedFd,
) -> Result<Cow<'a, ProcessSpec>, Failure> {
    let overlays = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Overlay { lowers, .. } => Some(lowers),
        MountKind::Bind { .. }
        | MountKind::Restricted { .. }
        | MountKind::Within { .. }
        | MountKind::Tmpfs { .. }
        | MountKind::Secret { .. } => None,
    });
    let mut mounted: BTreeMap<&Lower, PathBuf> = BTreeMap::new();
    for lower in spec.lowers.iter().chain(overlays.flatten()) {
        if let Lower::Erofs { image, data } = lower
            && !mounted.contains_key(lower)
        {
            let name = format!("image-{}", mounted.len());
            mount(image, data, memory, &name)?;
            mounted.insert(lower, in_memory(memory, &name));
        }
    }
    if mounted.is_empty() {
        return Ok(Cow::Borrowed(spec));
    }
    let replace = |lowers: &mut Vec<Lower>| {
        for lower in lowers {
            if let Some(path) = mounted.get(lower) {
                *lower = Lower::Directory(path.clone());
            }
        }
    };
    let mut changed = spec.clone();
    replace(&mut changed.lowers);
    for mount in &mut changed.mounts {
        if let MountKind::Overlay { lowers, .. } = &mut mount.kind {
            replace(lowers);
        }
    }
    Ok(Cow::Owned(changed))
}

fn mount(image: &Path, data: &Path, memory: &OwnedFd, name: &str) -> Result<(), Failure> {
    const STEP: &str = "mounting a layer's image";
    let context = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).step("opening erofs")?;
    configure(&context, image, data).map_err(|error| {
        Failure::kernel(STEP, error, &format!("{} {}", image.display(), explanation(&context)))
    })?;
    let mounted =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
            .step(STEP)?;
    move_to(&mounted, &place_in(memory, name)?).step(STEP)
}

/// Returns the directories of layers whose images are mounted.
pub(crate) fn directories(lowers: &[Lower]) -> Vec<PathBuf> {
    let path = |lower: &Lower| match lower {
        Lower::Directory(path) => path.clone(),
        Lower::Erofs { .. } => unreachable!("images are mounted before their directories are asked for"),
    };
    lowers.iter().map(path).collect()
}
