//! Unpacking a tar into a directory: as a lower directory of an overlay, or as plain files.
//!
//! Every name is resolved by the kernel inside the root, so an entry that goes through a link of an
//! earlier one stays inside (B-218, B-219). What stands in the way of an entry is removed, never
//! followed.

mod unpacker;

use std::io::{self, Read};
use std::path::Path;

use crate::apply::unpacker::Unpacker;
use crate::rootfs::Rootfs;
use crate::tar_read::{ReadOptions, TarReadError, walk};

/// How a tar is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyOptions {
    /// The attribute that marks opaque directories.
    pub opaque: OpaqueXattr,
    /// What becomes of owners.
    pub ownership: Ownership,
    /// Whether whiteouts become overlayfs's marks, in a directory that was empty. Without it they remove
    /// what was there before, and the root keeps its own metadata.
    pub overlay: bool,
    /// Bounds and whiteout names.
    pub read: ReadOptions,
}

/// The attribute in which overlayfs keeps its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueXattr {
    /// `trusted.overlay.*`: mounts made by root.
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, made in a user namespace (Linux 5.11).
    User,
}

/// What becomes of the owners of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Files are owned by whom the layer says.
    Keep,
    /// Only one id is mapped: the owner of files and directories is remembered in
    /// [`OWNER_XATTR`](crate::OWNER_XATTR), that of links is lost.
    Record,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries.
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// Device nodes that this process may not make.
    pub skipped_devices: Vec<Vec<u8>>,
    /// Extended attributes that are no part of a layer, or that the file system, the kind of file or the
    /// process's rights do not allow.
    pub skipped_xattrs: u64,
    /// Directories that the tar has things in but no entry for. They were made with mode 0755, owned by
    /// root, and hide the metadata that they have in lower layers.
    pub implied: Vec<Vec<u8>>,
}

/// Why a tar could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The archive was refused or could not be read.
    #[error(transparent)]
    Tar(#[from] TarReadError),
    /// An entry could not be made.
    #[error("entry `{}`: {action} failed", path.escape_ascii())]
    Entry {
        /// Which entry.
        path: Vec<u8>,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A hard link to something that is not in the same root, or cannot be linked to.
    #[error("entry `{}` is a hard link to `{}`, which is no file of this layer", path.escape_ascii(), target.escape_ascii())]
    Link {
        /// Which entry.
        path: Vec<u8>,
        /// What it links to.
        target: Vec<u8>,
    },
    /// The root could not be opened.
    #[error("directory cannot be opened")]
    Root(#[source] io::Error),
}

impl OpaqueXattr {
    /// Returns the full name of the attribute that marks an opaque directory.
    pub fn opaque_name(self) -> &'static str {
        match self {
            OpaqueXattr::Trusted => "trusted.overlay.opaque",
            OpaqueXattr::User => "user.overlay.opaque",
        }
    }
}

impl Default for ApplyOptions {
    fn default() -> ApplyOptions {
        ApplyOptions {
            opaque: OpaqueXattr::Trusted,
            ownership: Ownership::Keep,
            overlay: true,
            read: ReadOptions::default(),
        }
    }
}

/// Unpacks an uncompressed tar into `root`, which the caller keeps others out of.
///
/// Whiteouts speak of lower layers only: one beside an entry of the same name in the same tar changes
/// nothing but that a directory becomes opaque.
///
/// # Errors
/// When the archive is refused, or an entry cannot be made. What was unpacked before stays.
pub fn apply(tar: &mut dyn Read, root: &Path, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let root = Rootfs::open(root).map_err(|error| ApplyError::Root(error.into()))?;
    let mut unpacker = Unpacker::new(&root, options);
    walk(tar, options.read, &mut |entry, data, _| unpacker.entry(&entry, data))?;
    unpacker.finish()
}
