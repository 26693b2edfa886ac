//! What a layer means: tars in and out, trees on disk, views over stacks of layers, compression.
//!
//! The main types are [`Entry`], [`TarWriter`], [`Tree`] and [`View`]; the main functions [`read_tar`],
//! [`apply`], [`write_tree`], [`compress`] and [`decompress`]. A layer has two forms here: an
//! uncompressed tar with OCI whiteouts, and a directory in overlayfs's on-disk format.
//!
//! This crate deliberately touches nothing but the streams and directories it is given. It mounts
//! nothing, knows no store and no image.

mod apply;
mod compress;
mod entry;
mod index;
mod rootfs;
mod tar_header;
mod tar_pax;
mod tar_read;
mod tar_write;
mod tree;
mod view;
mod xattr;

pub use apply::{Applied, ApplyError, ApplyOptions, OpaqueXattr, Ownership, apply};
pub use compress::{CompressOptions, Compression, compress, decompress, detect};
pub use entry::{Entry, EntryKind, Timestamp};
pub use index::{IndexError, TarIndex};
pub use rootfs::Rootfs;
pub use tar_header::{Field, is_tar};
pub use tar_read::{Limits, ReadOptions, TarReadError, Visit, read_tar};
pub use tar_write::{TarOptions, TarWriteError, TarWriter};
pub use tree::{TreeError, TreeOptions, TreeStats, write_tree};
pub use view::{FileIdentity, LinkGroup, Node, Resolved, Tree, View, ViewError};
pub use xattr::{OWNER_XATTR, belongs_to_layer};
