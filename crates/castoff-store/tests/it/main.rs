//! The store through its front door, on real directories.

mod aliases;
mod blobs;
mod builds;
mod cache_mounts;
mod layers;
mod locks;
mod memos;
mod opening;
mod pruning;
mod records;
mod tags;

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use castoff_oci::{Descriptor, Digest, MediaType, Reference};
use castoff_store::{Boot, CacheRecord, RecordOutcome, Store};
use tempfile::TempDir;

/// A store in a directory that goes with it.
struct Kit {
    store: Store,
    directory: TempDir,
}

impl Kit {
    fn new() -> Kit {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), "boot 1");
        Kit { store, directory }
    }

    /// Opens the same store as another process would.
    fn other(&self) -> Store {
        open(self.directory.path(), "boot 1")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Returns the files and empty directories below `tmp/` and `leases/`.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = below(&self.path("tmp"));
        found.extend(below(&self.path("leases")));
        found
    }
}

fn open(root: &Path, boot: &str) -> Store {
    Store::open(root, &Boot { boot_id: boot.to_owned() }).unwrap()
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let inside = below(&path);
        match inside.is_empty() {
            true => found.push(path),
            false => found.extend(inside),
        }
    }
    found
}

/// Makes a file or directory look as if it was written and last used some hours ago.
fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    let times = FileTimes::new().set_accessed(then).set_modified(then);
    File::open(path).unwrap().set_times(times).unwrap();
}

/// Makes everything in a store look as if it was written and last used some hours ago.
fn age_all(root: &Path, hours: u64) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age_all(&path, hours);
        }
        age(&path, hours);
    }
}

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn manifest_descriptor(digest: Digest) -> Descriptor {
    Descriptor::new(MediaType::OciManifest, digest, 1)
}

fn record(outcome: RecordOutcome) -> CacheRecord {
    CacheRecord {
        recipe: serde_json::json!({ "argv": ["true"] }),
        outcome,
        created_ms: 1_700_000_000_000,
        started_ms: 1_699_999_999_000,
        duration_ms: 1000,
        cpu_ms: Some(7),
        memory_bytes: None,
        log: None,
        files: None,
        cache: None,
        warnings: Vec::new(),
        stage: "build".to_owned(),
        name: "RUN true".to_owned(),
    }
}
