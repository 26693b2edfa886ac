//! Where bytes live: blobs, layers, cache records, tags, cache mounts, locks and their collection.
//!
//! A [`Store`] is one directory of plain files, shared by any number of concurrent castoff processes:
//!
//! ```text
//! <root>/
//!   version                             format of everything below; refused when newer
//!   durable                             what of it survived the last sync, and in which boot
//!   lock                                flock: shared by builds, exclusive to a sweep or a prune
//!   blobs/sha256/<2 hex>/<64 hex>       immutable bytes, named by digest
//!   layers/<layer id>/fs/               directory body of a layer, immutable
//!   diffs/<layer id>.json               diff id and size of a layer
//!   aliases/<2 hex>/<diff>/<layer id>   other name of the layer with this diff id
//!   sizes/<layer id>                    bytes a directory body takes on disk
//!   variants/<2 hex>/<diff>.<name>.json compressed form of a layer
//!   indexes/<2 hex>/<diff>              index of a layer's tar
//!   erofs/<2 hex>/<diff>                image that shows a layer's tar
//!   records/<2 hex>/<key>.json          what a step was and gave
//!   slots/<2 hex>/<slot>.json           key that a step of some name had last
//!   builds/<time>-<random>.json         which steps a build had, and what became of them
//!   memos/<name>                        file digests of a tree, by stat
//!   passed/<2 hex>/<check>              a check that found nothing
//!   tags/<registry>/<repository>/:<tag>.json        names given by the user
//!   pulled/<registry>/<repository>/:<tag>.json      what a remote name was when last asked
//!   mounts/<digest of id>/<index>/      cache mounts
//!   locks/<name>                        single flight between processes
//!   leases/<kind>-<pid>-<random>        flock'd while its process lives
//!   tmp/<lease>/<number>                unfinished work of a lease
//! ```
//!
//! Everything is written below `tmp/` and renamed, so that a process may be killed at any moment. Locks
//! save work; none is needed for correctness. Nothing is synced while a build runs: [`Store::sync`] marks
//! what is durable, and the first open after another boot drops what is not. `docs/store.md` is the
//! specification.
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! use castoff_store::{Boot, Store};
//!
//! let store = Store::open(directory.path(), &Boot { boot_id: "b1".to_owned() }).unwrap();
//! let blob = store.put_blob(b"hello").unwrap();
//! assert_eq!(store.read_blob(&blob.digest, 1024).unwrap().as_deref(), Some(&b"hello"[..]));
//! ```
//!
//! This crate deliberately does nothing with steps and Dockerfiles but remember them, never reads the environment, and
//! never talks to a registry.

mod alias;
mod blob;
mod build;
mod cache_mount;
mod census;
mod file;
mod hashing;
mod layer;
mod lease;
mod lock;
mod memo;
mod open;
mod passed;
mod prune;
mod record;
mod remove;
mod sync;
mod tag;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

pub use blob::{Blob, BlobError, BlobWriter};
pub use build::{
    BUILDS_KEPT, BuildId, BuildImage, BuildOutcome, BuildRecord, BuildStage, BuildStep, Change, ChangeKind,
    FAILURES_KEPT, LeftState, Reason, StepAction, StepRead, Verdict,
};
pub use cache_mount::{CacheMount, CacheSharing};
pub use census::{Item, Usage};
pub use file::{Action, FileError};
pub use layer::{ActiveLayer, LayerDiff, LayerError, LayerId, LayerIdError};
pub use lease::{Lease, TemporaryDirectory};
pub use lock::{Lock, LockError};
pub use memo::{FileMemo, StatKey};
pub use open::OpenError;
pub use prune::{PruneOptions, Pruned};
pub use record::{CacheRecord, RecordOutcome};
pub use tag::Tag;

/// The version of the on-disk format that this crate writes; `docs/store.md` describes it.
pub const FORMAT_VERSION: u32 = 1;

/// An open store. Cheap to clone; clones share one lease on temporary files.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// The run of the machine that a store is opened in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Content of `/proc/sys/kernel/random/boot_id`, or another text that changes with every boot.
    pub boot_id: String,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    boot: Boot,
    /// Lease under which this handle's temporary files live; taken with the first of them.
    temporary: Mutex<Option<lease::Holder>>,
    counter: AtomicU64,
}

impl Store {
    /// Returns the absolute path of the store's directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.inner.root.join(relative)
    }
}
