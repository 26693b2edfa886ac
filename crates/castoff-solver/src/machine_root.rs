//! A directory of the machine as a base: `FROM name` with `--build-context name=/path`.
//!
//! The directory is used where it is, through a read-only overlay, and mounts below it are not
//! crossed. When it is the machine's own root, what changes by itself or belongs to its users is
//! hidden: what the identity does not cover, the step does not see.
//!
//! The machine's root cannot itself be a lower directory: the store lies below it, and overlayfs
//! refuses layers that contain each other; in a user namespace it also has mounts that cannot be left
//! out. So its system directories are mounted one by one, each as an overlay of its own, and the
//! changes are put together again after the step.
//!
//! The identity of such a base is a digest over the metadata of its files, times included, and not
//! over their content: reading a whole machine would cost minutes. This is the one place where a
//! time is in a key (`docs/cache-keys.md`).

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp};
use castoff_oci::{DiffId, Digest, Hasher};
use castoff_store::{LayerDiff, LayerId};

use crate::World;
use crate::step::StepError;

/// Directories that a step finds empty, with their modes.
const EMPTY: [(&str, u32); 20] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/mail", 0o755),
    ("var/opt", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Top-level directories of the machine that a step sees and the identity covers.
const SYSTEM: [&str; 9] = ["bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr"];

/// Returns the layer that is put above the machine's root: empty directories over what is hidden, and
/// the links of the top level.
pub(crate) fn skeleton(world: &World) -> Result<LayerId, StepError> {
    let mut entries: Vec<Entry> = EMPTY.iter().map(|(path, mode)| directory(path, *mode, true)).collect();
    for name in SYSTEM {
        let path = Path::new("/").join(name);
        if let Ok(target) = path.read_link() {
            let mut link = directory(name, 0o777, false);
            link.kind = EntryKind::Symlink { target: target.as_os_str().as_bytes().to_vec() };
            entries.push(link);
        } else if path.is_dir() {
            entries.push(directory(name, 0o755, false));
        }
    }
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    for entry in &entries {
        tar.append(entry, &mut io::empty())?;
    }
    let bytes = tar.finish()?;
    let blob = world.store.put_blob(&bytes)?;
    let id = LayerId::of_diff(DiffId(blob.digest));
    world.store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
    Ok(id)
}

/// A system directory of the machine, mounted with what steps have changed in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SystemDirectory {
    /// Its name at the top level.
    pub(crate) name: &'static str,
    /// The directories it is stacked of, top first.
    pub(crate) lowers: Vec<PathBuf>,
}

/// Returns the system directories as a step on top of `above` (top first) sees them.
pub(crate) fn system_directories(above: &[PathBuf], store: &Path) -> Vec<SystemDirectory> {
    let mut found = Vec::new();
    for name in SYSTEM {
        let own = Path::new("/").join(name);
        if own.is_symlink() || !own.is_dir() || store.starts_with(&own) {
            continue;
        }
        let changed =
            above.iter().map(|layer| layer.join(name)).filter(|path| path.is_dir() && !path.is_symlink());
        found.push(SystemDirectory { name, lowers: changed.chain([own]).collect() });
    }
    found
}

fn directory(path: &str, mode: u32, opaque: bool) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind: EntryKind::Directory { opaque },
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Default::default(),
    }
}

/// Returns the identity of a directory as a base: a digest over path, type, mode, owner, size, inode
/// and times of everything in it that a step would see. `store` is left out.
pub(crate) fn fingerprint(root: &Path, store: &Path) -> Result<Digest, StepError> {
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-directory-base-1");
    hasher.field(root.as_os_str().as_bytes());
    let starts: Vec<PathBuf> = if root == Path::new("/") {
        SYSTEM.iter().map(|name| root.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect()
    } else {
        vec![root.to_owned()]
    };
    let device = root.metadata().map_err(|source| machine(root, source))?.dev();
    let mut open = starts;
    open.reverse();
    while let Some(path) = open.pop() {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // Gone since its directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(machine(&path, source)),
        };
        hasher.field(path.as_os_str().as_bytes());
        let numbers = [
            u64::from(metadata.mode()),
            u64::from(metadata.uid()),
            u64::from(metadata.gid()),
            metadata.ino(),
            if metadata.is_dir() { 0 } else { metadata.size() },
            metadata.mtime() as u64,
            metadata.mtime_nsec() as u64,
            metadata.ctime() as u64,
            metadata.ctime_nsec() as u64,
        ];
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        if !metadata.is_dir() || metadata.dev() != device || path == store {
            continue;
        }
        let mut names: Vec<PathBuf> = match fs::read_dir(&path) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(|source| machine(&path, source))?,
            // What castoff may not read, its steps may not read either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(source) => return Err(machine(&path, source)),
        };
        names.sort_unstable_by(|left, right| right.cmp(left));
        open.append(&mut names);
    }
    Ok(hasher.finish())
}

fn machine(path: &Path, source: io::Error) -> StepError {
    StepError::Machine { path: path.to_owned(), source }
}
