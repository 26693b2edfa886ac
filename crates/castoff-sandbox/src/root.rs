//! The root of the process: an overlay of the given directories, with places for every mount.
//!
//! A mount needs something to be mounted on. What is missing is not made in the upper directory, where
//! it would have to be found and removed again (D-139), but in one more lower directory in memory that
//! exists as long as the process. The directories above it repeat the metadata of those they are merged
//! with, because of a merged directory the topmost decides.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::{Failure, Step};
use crate::spec::{MountKind, ProcessSpec};

/// The kernel takes this many lower directories (`OVL_MAX_STACK`, fs/overlayfs/super.c).
const MOST_LOWERS: usize = 500;

/// A place that a mount needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Directory,
    File,
}

/// Mounts the root, detached, with every place that `places` names.
pub(crate) fn mount_root(
    spec: &ProcessSpec,
    memory: &OwnedFd,
    places: &[(PathBuf, Place)],
) -> Result<OwnedFd, Failure> {
    make_directory(memory, "empty")?;
    make_directory(memory, "stub")?;
    let empty = in_memory(memory, "empty");
    let stub = in_memory(memory, "stub");
    let missing = {
        // Looked at through a read-only overlay, for which two lower directories are needed.
        let mut lowers = vec![stub.clone()];
        lowers.extend(spec.lowers.iter().cloned());
        if spec.lowers.is_empty() {
            lowers.push(empty.clone());
        }
        let view = overlay(&lowers, None, spec.userxattr)?;
        missing_places(&view, places)?
    };
    let mut lowers = Vec::new();
    if !missing.is_empty() {
        make_stub(memory, &missing)?;
        lowers.push(stub);
    }
    lowers.extend(spec.lowers.iter().cloned());
    if lowers.is_empty() {
        lowers.push(empty);
    }
    if spec.readonly_root {
        if lowers.len() == 1 {
            lowers.push(in_memory(memory, "empty"));
        }
        return overlay(&lowers, None, spec.userxattr);
    }
    overlay(&lowers, Some((&spec.upper, &spec.work)), spec.userxattr)
}

/// Returns the places that the mounts and files of a specification need.
pub(crate) fn places(spec: &ProcessSpec) -> Result<Vec<(PathBuf, Place)>, Failure> {
    let mut places: Vec<(PathBuf, Place)> =
        ["/proc", "/sys", "/dev"].iter().map(|path| (PathBuf::from(path), Place::Directory)).collect();
    for mount in &spec.mounts {
        let place = match &mount.kind {
            MountKind::Bind { source, .. } => place_of(source)?,
            MountKind::Overlay { lowers, source, .. } => {
                let found = lowers
                    .iter()
                    .map(|lower| lower.join(source))
                    .find(|path| path.symlink_metadata().is_ok());
                place_of(&found.unwrap_or_else(|| source.clone()))?
            }
            MountKind::Tmpfs { .. } => Place::Directory,
            MountKind::Secret { .. } => Place::File,
        };
        places.push((mount.target.clone(), place));
    }
    places.extend(spec.files.iter().map(|file| (file.target.clone(), Place::File)));
    // What the process finds in /dev, /proc and /sys is mounted over these later.
    places.retain(|(path, _)| {
        let inside = |top: &str| path.starts_with(top) && path != Path::new(top);
        !(inside("/dev") || inside("/proc") || inside("/sys"))
    });
    Ok(places)
}

fn place_of(source: &Path) -> Result<Place, Failure> {
    let metadata = source.metadata().step("looking at the source of a mount")?;
    Ok(if metadata.is_dir() { Place::Directory } else { Place::File })
}

/// Returns a path by which overlayfs finds a directory of a detached mount.
fn in_memory(memory: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", memory.as_raw_fd()))
}

fn make_directory(memory: &OwnedFd, name: &str) -> Result<(), Failure> {
    rustix::fs::mkdirat(memory, name, Mode::from_raw_mode(0o755)).step("making a directory in memory")
}

/// Mounts an overlay, detached. `lowers` are top first.
pub(crate) fn overlay(
    lowers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    userxattr: bool,
) -> Result<OwnedFd, Failure> {
    if lowers.len() > MOST_LOWERS {
        return Err(Failure::said(
            "mounting the root",
            format!("{} layers are more than the {MOST_LOWERS} that overlayfs takes", lowers.len()),
        ));
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("opening overlayfs")?;
    let set = |key: &str, value: &OsStr| rustix::mount::fsconfig_set_string(&context, key, value);
    let configured = (|| -> Result<(), Errno> {
        set("source", OsStr::new("castoff"))?;
        add_lowers(&context, lowers)?;
        if let Some((upper, work)) = writable {
            set("upperdir", upper.as_os_str())?;
            set("workdir", work.as_os_str())?;
            // The upper directory is renamed into the store or thrown away; nothing of it is awaited.
            rustix::mount::fsconfig_set_flag(&context, "volatile")?;
        }
        if userxattr {
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        } else {
            // Distributions differ in these; with them on, an upper directory is not a plain delta.
            set("redirect_dir", OsStr::new("nofollow"))?;
            set("metacopy", OsStr::new("off"))?;
        }
        set("index", OsStr::new("off"))?;
        set("xino", OsStr::new("off"))?;
        rustix::mount::fsconfig_create(&context)
    })();
    if let Err(error) = configured {
        return Err(Failure::kernel("mounting an overlay", error, &explanation(&context)));
    }
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .step("mounting an overlay")
}

/// `lowerdir+` (Linux 6.5) takes one directory at a time; before that all are one text, in which a
/// colon or comma in a path has to be escaped.
fn add_lowers(context: &OwnedFd, lowers: &[PathBuf]) -> Result<(), Errno> {
    for (index, lower) in lowers.iter().enumerate() {
        match rustix::mount::fsconfig_set_string(context, "lowerdir+", lower.as_os_str()) {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => {
                let mut text = Vec::new();
                for lower in lowers {
                    if !text.is_empty() {
                        text.push(b':');
                    }
                    for byte in lower.as_os_str().as_bytes() {
                        if matches!(byte, b':' | b',' | b'\\') {
                            text.push(b'\\');
                        }
                        text.push(*byte);
                    }
                }
                return rustix::mount::fsconfig_set_string(context, "lowerdir", OsStr::from_bytes(&text));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns what the kernel wrote about a failed configuration (Linux 6.5 for overlayfs).
fn explanation(context: &OwnedFd) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = rustix::io::read(context, &mut buffer[..]) {
        text.extend_from_slice(&buffer[..count]);
        text.push(b' ');
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// What the stub directory gets, by canonical path.
type Missing = BTreeMap<PathBuf, Stub>;

enum Stub {
    /// Repeats a directory that is there.
    Copy(Box<Stat>),
    Made(Place),
}

fn missing_places(view: &OwnedFd, places: &[(PathBuf, Place)]) -> Result<Missing, Failure> {
    let mut missing = Missing::new();
    for (target, place) in places {
        add_missing(view, target, *place, &mut missing).map_err(|error| {
            Failure::kernel("finding a place for a mount", error, &target.display().to_string())
        })?;
    }
    Ok(missing)
}

/// Walks down to `target`, following links inside the view, and notes what has to be made.
fn add_missing(view: &OwnedFd, target: &Path, place: Place, missing: &mut Missing) -> Result<(), Errno> {
    let mut open: Vec<Vec<u8>> = components(target.as_os_str().as_bytes());
    open.reverse();
    let mut canonical = PathBuf::new();
    let mut links = 0;
    let mut needed: Missing = Missing::new();
    let mut made = false;
    while let Some(name) = open.pop() {
        if name == b".." {
            canonical.pop();
            continue;
        }
        let path = canonical.join(OsStr::from_bytes(&name));
        let last = open.is_empty();
        let stat = rustix::fs::openat2(
            view,
            &path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .and_then(|found| {
            let stat = rustix::fs::fstat(&found)?;
            let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            let target = if link { Some(rustix::fs::readlinkat(&found, c"", Vec::new())?) } else { None };
            Ok((stat, target))
        });
        match stat {
            Ok((_, Some(link))) => {
                links += 1;
                if links > 40 {
                    return Err(Errno::LOOP);
                }
                let link = link.into_bytes();
                if link.starts_with(b"/") {
                    canonical = PathBuf::new();
                }
                open.extend(components(&link).into_iter().rev());
            }
            Ok((stat, None)) => {
                needed.insert(path.clone(), Stub::Copy(Box::new(stat)));
                canonical = path;
            }
            Err(Errno::NOENT) => {
                let kind = if last { place } else { Place::Directory };
                if !matches!(missing.get(&path), Some(Stub::Made(_))) {
                    needed.insert(path.clone(), Stub::Made(kind));
                }
                made = true;
                canonical = path;
            }
            Err(error) => return Err(error),
        }
    }
    if made {
        for (path, stub) in needed {
            missing.entry(path).or_insert(stub);
        }
    }
    Ok(())
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

fn make_stub(memory: &OwnedFd, missing: &Missing) -> Result<(), Failure> {
    let stub = rustix::fs::openat(memory, "stub", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step("opening a directory in memory")?;
    for (path, kind) in missing {
        let made = match kind {
            Stub::Copy(stat) => copy_directory(&stub, path, stat),
            Stub::Made(Place::Directory) => rustix::fs::mkdirat(&stub, path, Mode::from_raw_mode(0o755)),
            Stub::Made(Place::File) => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&stub, path, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        made.map_err(|error| {
            Failure::kernel("making a place for a mount", error, &path.display().to_string())
        })?;
    }
    // Making entries changed the times of the directories above them.
    for (path, kind) in missing {
        if let Stub::Copy(stat) = kind {
            let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
            let times = Timestamps { last_access: time, last_modification: time };
            let _only_a_time = rustix::fs::utimensat(&stub, path, &times, AtFlags::empty());
        }
    }
    Ok(())
}

fn copy_directory(stub: &OwnedFd, path: &Path, stat: &Stat) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    rustix::fs::mkdirat(stub, path, Mode::from_raw_mode(0o755))?;
    // An owner without a number in this user namespace cannot be repeated.
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let _owner = rustix::fs::chownat(stub, path, Some(uid), Some(gid), AtFlags::empty());
    rustix::fs::chmodat(stub, path, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())
}

/// Opens a path inside a mounted tree, following links inside it.
pub(crate) fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
