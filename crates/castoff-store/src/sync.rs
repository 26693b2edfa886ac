//! What survives a power cut, and how the store knows.
//!
//! `durable` holds a time and the boot in which the store was last opened. Whatever was written before that
//! time was on disk when the mark was; of the rest nobody knows, once the machine has gone down. The time is
//! the file system's own, taken from a file that it has just written, so that the clocks compare.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::file::{Action, FileError, failed, files_below, list, read_json, write_durable, written};
use crate::lock::{Hold, hold};
use crate::remove::remove_tree;
use crate::{Boot, LockError, Store};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    boot_id: String,
    seconds: u64,
    nanos: u32,
}

impl Mark {
    fn time(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(self.seconds, self.nanos))
    }
}

impl Store {
    /// Makes everything that is in the store now survive a power cut. The only call that waits for the disk.
    ///
    /// # Errors
    /// When the file system cannot be synced or the mark cannot be written; nothing is lost by it while the
    /// machine runs.
    pub fn sync(&self) -> Result<(), FileError> {
        let temporary = self.temporary_path()?;
        let marker = File::create(&temporary).map_err(failed(Action::Write, &temporary))?;
        let metadata = marker.metadata().map_err(failed(Action::Read, &temporary))?;
        let time = written(&metadata).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        rustix::fs::syncfs(&marker).map_err(failed(Action::Sync, self.root()))?;
        let boot_id = self.inner.boot.boot_id.clone();
        let mark = Mark { boot_id, seconds: time.as_secs(), nanos: time.subsec_nanos() };
        write_mark(&temporary, self.root(), &mark)
    }
}

/// Drops what may not have survived, when the machine was started anew since the store was last opened.
pub(crate) fn settle_boot(root: &Path, boot: &Boot) -> Result<(), FileError> {
    let path = root.join("durable");
    let is_settled = |mark: &Option<Mark>| mark.as_ref().is_some_and(|mark| mark.boot_id == boot.boot_id);
    if is_settled(&read_json(&path)?) {
        return Ok(());
    }
    let _exclusive = match hold(&root.join("lock"), Hold::Exclusive, &|| false) {
        Ok(file) => file,
        Err(LockError::File(error)) => return Err(error),
        Err(LockError::Cancelled) => unreachable!("nothing cancels this wait"),
    };
    // Another process may have done it while this one waited.
    let mark = read_json(&path)?;
    if is_settled(&mark) {
        return Ok(());
    }
    // A mark that is not there, or that has no sense, vouches for nothing.
    let mark = mark.filter(|mark: &Mark| mark.time().is_some());
    let mark = mark.unwrap_or(Mark { boot_id: String::new(), seconds: 0, nanos: 0 });
    sweep(root, mark.time().unwrap_or(SystemTime::UNIX_EPOCH))?;
    // The time stays: the removals themselves may be lost by the next power cut, and are then done again.
    let temporary = root.join("tmp").join(format!("mark-{}", crate::file::random_name()));
    fs::create_dir_all(root.join("tmp")).map_err(failed(Action::Create, root))?;
    write_mark(&temporary, root, &Mark { boot_id: boot.boot_id.clone(), ..mark })
}

fn write_mark(temporary: &Path, root: &Path, mark: &Mark) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(mark).expect("a mark has string keys only");
    write_durable(temporary, &root.join("durable"), &bytes)
}

/// Removes all that was written at or after `mark`.
fn sweep(root: &Path, mark: SystemTime) -> Result<(), FileError> {
    for directory in [
        "blobs",
        "diffs",
        crate::alias::ALIASES,
        "sizes",
        "variants",
        "indexes",
        "erofs",
        "records",
        "slots",
        crate::build::BUILDS,
        "memos",
        crate::passed::PASSED,
        "tags",
        "pulled",
    ] {
        for (path, metadata) in files_below(&root.join(directory))? {
            if written(&metadata) >= mark {
                remove_tree(&path)?;
            }
        }
    }
    for (path, metadata) in list(&root.join("layers"))? {
        if written(&metadata) >= mark {
            // First out of sight, so that a sweep that is killed leaves no half of a layer.
            let away = root.join("tmp").join(format!("swept-{}", crate::file::random_name()));
            crate::file::move_into_place(&path, &away)?;
            remove_tree(&away)?;
        }
    }
    // The content of a cache mount is the tools' business, which cope with their own interruptions; but a
    // first content that is not durable is made again.
    for (id, _) in list(&root.join("mounts"))? {
        for (mount, metadata) in list(&id)? {
            let initialised = mount.join("initialised");
            if metadata.is_dir()
                && fs::symlink_metadata(&initialised).is_ok_and(|metadata| written(&metadata) >= mark)
            {
                remove_tree(&initialised)?;
            }
        }
    }
    Ok(())
}
