//! What a layer means: tars in and out, trees on disk, views over stacks of layers, compression.
//!
//! The main types are [`Entry`], [`TarWriter`], [`Tree`] and [`View`]; the main functions [`read_tar`],
//! [`apply`], [`write_tree`], [`compress`] and [`decompress`]. A layer has two forms here: an
//! uncompressed tar with OCI whiteouts, and a directory in overlayfs's on-disk format.
//!
//! ```
//! use castoff_layer::{Entry, EntryKind, ReadOptions, TarOptions, TarWriter, Timestamp, read_tar};
//!
//! let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
//! let entry = Entry {
//!     path: b"etc/hostname".to_vec(),
//!     kind: EntryKind::File { size: 3 },
//!     mode: 0o644,
//!     uid: 0,
//!     gid: 0,
//!     mtime: Timestamp { seconds: 1_700_000_000, nanos: 0 },
//!     xattrs: Default::default(),
//! };
//! tar.append(&entry, &mut &b"box"[..])?;
//! let layer = tar.finish()?;
//! read_tar(&mut &layer[..], ReadOptions::default(), &mut |found, _data, _offset| {
//!     assert_eq!(found, entry);
//!     Ok(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Equal trees become equal bytes: nothing of the machine, the clock or the number of threads is in what
//! is written. What is read is taken as hostile.
//!
//! This crate deliberately touches nothing but the streams and directories it is given. It mounts
//! nothing, knows no store and no image.

mod apply;
mod compress;
mod entry;
mod erofs;
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
pub use compress::{CompressOptions, Compression, Decoder, compress, decoder, decompress, detect};
pub use entry::{Entry, EntryKind, Timestamp};
pub use erofs::ErofsError;
pub use index::{IndexError, TarIndex};
pub use rootfs::Rootfs;
pub use tar_header::{Field, is_tar};
pub use tar_read::{Limits, ReadOptions, TarReadError, Visit, read_tar};
pub use tar_write::{TarOptions, TarWriteError, TarWriter};
pub use tree::{TreeError, TreeOptions, TreeStats, read_tree, write_tree};
pub use view::{
    FileChanged, FileIdentity, LinkGroup, Node, OpenedFile, Resolved, Tree, TreeEntry, View, ViewError,
};
pub use xattr::{OWNER_XATTR, belongs_to_layer};
