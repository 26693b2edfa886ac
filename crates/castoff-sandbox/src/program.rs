//! The program that is started as the helper: this one, where no step can write to it.
//!
//! A step may run `/proc/self/exe` as an interpreter and so get hold of castoff's own file, which as
//! root, or as the user's uid 0, it might overwrite (CVE-2019-5736 of runc). So the helper is started from
//! a read-only mount of the file, which is attached nowhere: whatever leads to the file through a helper
//! leads through that mount.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, MemfdFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::mounts::RDONLY;
use crate::spec::ProcessSpec;
use crate::sys;

const OWN: &str = "/proc/self/exe";

/// What to start as the helper; valid as long as this lives.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    _file: Option<OwnedFd>,
}

/// Finds the program for a specification.
pub(crate) fn find(spec: &ProcessSpec) -> io::Result<Program> {
    if let Some(path) = &spec.helper {
        return Ok(Program { path: path.clone(), _file: None });
    }
    let file = match read_only_mount() {
        Ok(Some(mount)) => mount,
        // The file was replaced since it was started, or is out of this process's sight.
        Ok(None) => sealed_copy()?,
        // Without the right to mount there is no step that could do harm: it will not start.
        Err(_) => return Ok(Program { path: PathBuf::from(OWN), _file: None }),
    };
    Ok(Program { path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), _file: Some(file) })
}

fn read_only_mount() -> io::Result<Option<OwnedFd>> {
    // By name, because what `/proc/self/exe` leads to is in the mount namespace of the program's start.
    let name = std::fs::read_link(OWN)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match rustix::mount::open_tree(CWD, &name, flags) {
        Ok(mount) => mount,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (own, found) = (rustix::fs::statat(CWD, OWN, AtFlags::empty())?, rustix::fs::fstat(&mount)?);
    if (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino) {
        return Ok(None);
    }
    sys::set_mount_attributes(&mount, RDONLY)?;
    Ok(Some(mount))
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("castoff", flags)?);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    copy.rewind()?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}
