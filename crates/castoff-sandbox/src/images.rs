//! EROFS images as directories: mounted from plain files, with the file that has their data as a second
//! device (Linux 6.12, `CONFIG_EROFS_FS_BACKED_BY_FILE`).
//!
//! The mounts are made once in this process's own mount namespace, which every process that it runs gets a
//! copy of, so that all of them share what the kernel caches. They end with the namespace.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use crate::mounts::tmpfs;

/// The images that a process has mounted. Dropped, they are unmounted.
#[derive(Debug)]
pub struct ImageMounts {
    directory: PathBuf,
}

impl ImageMounts {
    /// Makes a place for mounts over an empty directory. Needs to be in a mount namespace of its own:
    /// [`enter_user_namespace`](crate::enter_user_namespace) makes one for root.
    ///
    /// # Errors
    /// When the process may not mount.
    pub fn over(directory: &Path) -> io::Result<ImageMounts> {
        let memory = tmpfs(None, 0o700, 0).map_err(|failure| match failure.errno() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(failure.to_string()),
        })?;
        attach(&memory, directory)?;
        Ok(ImageMounts { directory: directory.to_owned() })
    }

    /// Mounts an image read-only and returns where. `name` is a file name that no other image has; `data` is
    /// the image's one extra device.
    ///
    /// # Errors
    /// `EPERM` in a user namespace, `ENODEV` or `ENOTBLK` from a kernel that cannot, `EINVAL` for an image
    /// that is none.
    pub fn mount(&self, name: &str, image: &Path, data: &Path) -> io::Result<PathBuf> {
        let context = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", image)?;
        rustix::mount::fsconfig_set_string(&context, "device", data)?;
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let mounted = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let place = self.directory.join(name);
        std::fs::create_dir(&place)?;
        attach(&mounted, &place)?;
        Ok(place)
    }
}

impl Drop for ImageMounts {
    fn drop(&mut self) {
        // The namespace ends with the process if this fails.
        let _gone = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
    }
}

fn attach(mount: &OwnedFd, place: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", CWD, place, flags)?)
}

/// Magic numbers of overlayfs and ecryptfs (linux/magic.h), and of FUSE, which may be stacked.
const STACKED: [u64; 3] = [0x794c_7630, 0xf15f, 0x6573_5546];

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
