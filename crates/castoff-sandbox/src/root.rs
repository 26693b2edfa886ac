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

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags};

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
    fn plain(lowers: &[PathBuf], userxattr: bool) -> Overlay<'_> {
        Overlay { lowers, writable: None, userxattr }
    }
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
        let view = plain(&lowers, spec.userxattr).mount(memory)?;
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
        return plain(&lowers, spec.userxattr).mount(memory);
    }
    let writable = Some((spec.upper.as_path(), spec.work.as_path()));
    Overlay { lowers: &lowers, writable, userxattr: spec.userxattr }.mount(memory)
}

/// Returns the places that the mounts and files of a specification need.
pub(crate) fn places(spec: &ProcessSpec) -> Result<Vec<(PathBuf, Place)>, Failure> {
    let mut places: Vec<(PathBuf, Place)> =
        ["/proc", "/sys", "/dev"].iter().map(|path| (PathBuf::from(path), Place::Directory)).collect();
    for mount in &spec.mounts {
        let place = match &mount.kind {
            MountKind::Bind { source, .. } | MountKind::Restricted { source, .. } => {
                place_of(source, &mount.target)?
            }
            MountKind::Overlay { lowers, source, .. } => {
                let found = lowers
                    .iter()
                    .map(|lower| lower.join(source))
                    .find(|path| path.symlink_metadata().is_ok());
                place_of(&found.unwrap_or_else(|| source.clone()), &mount.target)?
            }
            MountKind::Within { root, path, .. } => {
                let found = open_beneath(root, path).and_then(rustix::fs::fstat);
                // What cannot be opened is complained about when it is mounted.
                let kind = found.map_or(FileType::Directory, |stat| FileType::from_raw_mode(stat.st_mode));
                if kind == FileType::Directory { Place::Directory } else { Place::File }
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

fn place_of(source: &Path, target: &Path) -> Result<Place, Failure> {
    let metadata = source
        .metadata()
        .map_err(|error| Failure::kernel("looking at the source of a mount", error, &shown(target)))?;
    Ok(if metadata.is_dir() { Place::Directory } else { Place::File })
}

/// Returns a path by which overlayfs finds a directory of a detached mount.
fn in_memory(memory: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", memory.as_raw_fd()))
}

fn make_directory(memory: &OwnedFd, name: &str) -> Result<(), Failure> {
    rustix::fs::mkdirat(memory, name, Mode::from_raw_mode(0o755)).step("making a directory in memory")
}

/// An overlay to be mounted. `lowers` are top first.
pub(crate) struct Overlay<'a> {
    pub(crate) lowers: &'a [PathBuf],
    /// Upper and work directory; without them it is read-only and needs two lower directories.
    pub(crate) writable: Option<(&'a Path, &'a Path)>,
    pub(crate) userxattr: bool,
}

impl Overlay<'_> {
    /// Mounts it, detached.
    pub(crate) fn mount(&self, memory: &OwnedFd) -> Result<OwnedFd, Failure> {
        if self.lowers.len() > MOST_LOWERS {
            let count = self.lowers.len();
            let message = format!("{count} layers are more than the {MOST_LOWERS} that overlayfs takes");
            return Err(Failure::said("mounting an overlay", message));
        }
        let context =
            rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("opening overlayfs")?;
        match self.configure(&context) {
            Ok(true) => {}
            Ok(false) => return self.mount_by_text(memory),
            Err(error) => {
                return Err(Failure::kernel("mounting an overlay", error, &explanation(&context)));
            }
        }
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .step("mounting an overlay")
    }

    /// Returns false when the kernel does not take lower directories one at a time: before Linux 6.5.
    fn configure(&self, context: &OwnedFd) -> Result<bool, Errno> {
        let set = |key: &str, value: &OsStr| rustix::mount::fsconfig_set_string(context, key, value);
        for (index, lower) in self.lowers.iter().enumerate() {
            match set("lowerdir+", lower.as_os_str()) {
                Err(Errno::INVAL) if index == 0 => return Ok(false),
                other => other?,
            }
        }
        set("source", OsStr::new("castoff"))?;
        if let Some((upper, work)) = self.writable {
            set("upperdir", upper.as_os_str())?;
            set("workdir", work.as_os_str())?;
        }
        for (key, value) in self.options() {
            match value {
                Some(value) => set(key, OsStr::new(value))?,
                None => rustix::mount::fsconfig_set_flag(context, key)?,
            }
        }
        rustix::mount::fsconfig_create(context)?;
        Ok(true)
    }

    fn options(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let mut options = vec![("index", Some("off")), ("xino", Some("off"))];
        if self.writable.is_some() {
            // The upper directory is renamed into the store or thrown away; nothing of it is awaited.
            options.push(("volatile", None));
        }
        if self.userxattr {
            options.push(("userxattr", None));
        } else {
            // Distributions differ in these; with them on, an upper directory is not a plain delta.
            options.extend([("redirect_dir", Some("nofollow")), ("metacopy", Some("off"))]);
        }
        options
    }

    /// The old way: one text of at most a page, in which the number of a descriptor, seen from the
    /// directory of descriptors, is a short name that needs no escape. What it mounts is attached, so it
    /// is cloned and let go of.
    fn mount_by_text(&self, memory: &OwnedFd) -> Result<OwnedFd, Failure> {
        const STEP: &str = "mounting an overlay the old way";
        let mut open = Vec::new();
        let mut named = |path: &Path| -> Result<String, Failure> {
            let directory = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| Failure::kernel(STEP, error, &shown(path)))?;
            let name = directory.as_raw_fd().to_string();
            open.push(directory);
            Ok(name)
        };
        let lowers: Vec<String> = self.lowers.iter().map(|lower| named(lower)).collect::<Result<_, _>>()?;
        let mut text = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = self.writable {
            text += &format!(",upperdir={},workdir={}", named(upper)?, named(work)?);
        }
        for (key, value) in self.options() {
            text += &format!(",{key}{}", value.map(|value| format!("={value}")).unwrap_or_default());
        }
        let text = std::ffi::CString::new(text).expect("there is no NUL in numbers and option names");
        let place = in_memory(memory, "legacy");
        make_directory(memory, "legacy").or_else(|failure| match failure.errno() {
            Some(libc::EEXIST) => Ok(()),
            _ => Err(failure),
        })?;
        rustix::process::chdir("/proc/self/fd").step(STEP)?;
        let options = Some(text.as_c_str());
        let mounted = rustix::mount::mount("castoff", &place, "overlay", MountFlags::empty(), options);
        rustix::process::chdir("/").step(STEP)?;
        mounted.step(STEP)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, &place, flags).step(STEP)?;
        rustix::mount::unmount(&place, UnmountFlags::DETACH).step(STEP)?;
        Ok(tree)
    }
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
        add_missing(view, target, *place, &mut missing)
            .map_err(|error| Failure::kernel("finding a place for a mount", error, &shown(target)))?;
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

fn shown(path: &Path) -> String {
    path.display().to_string()
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
        made.map_err(|error| Failure::kernel("making a place for a mount", error, &shown(path)))?;
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

/// Opens a relative path in a directory, following links that stay in it. An absolute link, or one that
/// leads above it, is EXDEV.
pub(crate) fn open_beneath(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    if path.as_os_str().is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Opens a path inside a mounted tree, following links inside it.
pub(crate) fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
