//! Collection: least recently used first, nothing that a name or a living build keeps.
//!
//! What to remove is decided over the census by [`select`], which touches nothing. Then each victim is
//! renamed into `tmp/`, which takes it from everybody's sight at once, and only then removed.
//!
//! With no build running, the decision and the renames happen under the exclusive lock. Beside running
//! builds they do without: whatever was used since an hour before the oldest lease is spared, and a victim
//! that turns out to have been touched in the moment of its renaming is put back. A build that looks at just
//! that moment finds the thing absent, which is a miss and not a failure (D-319).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags};

use crate::Store;
use crate::alias::ALIASES;
use crate::census::{Census, Item, Node, Usage};
use crate::file::{Action, FileError, failed, is_absent};
use crate::lock::{Hold, try_hold};
use crate::remove::remove_tree;

/// What to remove. The default removes everything that nothing keeps, but for memos.
#[derive(Default)]
pub struct PruneOptions<'f> {
    /// Keep what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Stop as soon as the store has no more bytes than this.
    pub max_used_space: Option<u64>,
    /// Stop as soon as the file system has this many bytes free.
    pub min_free_space: Option<u64>,
    /// Stop as soon as the store has no more bytes than this, whatever the other limits say.
    pub reserved_space: u64,
    /// Also remove files that only save work, such as memos of file digests.
    pub internal: bool,
    /// Start only from what this says; what only they referred to goes with them.
    pub filter: Option<&'f dyn Fn(&Usage) -> bool>,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Each thing that is gone, in the order of its removal.
    pub removed: Vec<Usage>,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Whether builds were running, so that what they may use was spared.
    pub beside_builds: bool,
}

impl Store {
    /// Removes what nothing keeps, least recently used first.
    ///
    /// Never waits for a build, and no build waits for it longer than the choice takes. A [`crate::Lease`] of
    /// this very process counts as a running build.
    ///
    /// # Errors
    /// When a part of the store cannot be read, locked or removed; what was removed until then stays so.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<Pruned, FileError> {
        let exclusive = try_hold(&self.path("lock"), Hold::Exclusive)?;
        let census = Census::take(self)?;
        let order = select(&census, options, SystemTime::now(), self.free_space()?);
        let mut pruned = Pruned { beside_builds: exclusive.is_none(), ..Pruned::default() };
        let mut away = Vec::new();
        for index in order {
            let node = &census.nodes[index];
            if let Some(path) = self.take_away(node)? {
                pruned.bytes += node.size;
                pruned.removed.push(census.usage(index));
                away.push(path);
            }
        }
        drop(exclusive);
        for path in away {
            remove_tree(&path)?;
        }
        Ok(pruned)
    }

    /// Returns how many bytes are free on the disk of the store for who uses it.
    ///
    /// # Errors
    /// When the disk cannot be asked.
    pub fn free_space(&self) -> Result<u64, FileError> {
        let space = rustix::fs::statvfs(self.root()).map_err(failed(Action::Read, self.root()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Moves a victim out of sight, unless it is in use after all.
    fn take_away(&self, node: &Node) -> Result<Option<PathBuf>, FileError> {
        let of_mount = match &node.item {
            Item::CacheMount { .. } => match try_hold(&node.path.join("lock"), Hold::Exclusive)? {
                Some(lock) => Some(lock),
                None => return Ok(None),
            },
            _ => None,
        };
        let Some(away) = self.move_away(&node.path)? else { return Ok(None) };
        if of_mount.is_some() {
            self.remove_empty_mount(node);
            return Ok(Some(away));
        }
        let metadata = match fs::symlink_metadata(&away) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(failed(Action::Read, &away)(error)),
        };
        // A use sets the access time and nothing else; renaming a directory may set its other times.
        if metadata.accessed().is_ok_and(|accessed| accessed > node.last_used) {
            // Not over what somebody has put there since; in that case ours is not needed.
            match rustix::fs::renameat_with(CWD, &away, CWD, &node.path, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(None),
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed(Action::Rename, &node.path)(error)),
            }
        }
        if is_alias(&node.item)
            && let Some(of_diff) = node.path.parent()
        {
            // It goes with the last alias of the diff id.
            let _ = fs::remove_dir(of_diff);
        }
        Ok(Some(away))
    }

    /// Forgets the id of a cache mount that has no directory left.
    fn remove_empty_mount(&self, node: &Node) {
        let Some(of_id) = node.path.parent() else { return };
        let has_directories = crate::file::list(of_id)
            .is_ok_and(|entries| entries.iter().any(|(_, metadata)| metadata.is_dir()));
        if !has_directories {
            let _ = fs::remove_file(of_id.join("id"));
            let _ = fs::remove_dir(of_id);
        }
    }
}

fn is_alias(item: &Item) -> bool {
    matches!(item, Item::Internal(path) if path.starts_with(ALIASES))
}

/// Returns what to remove, in order: what refers before what is referred to, older before newer.
fn select(census: &Census, options: &PruneOptions<'_>, now: SystemTime, free: u64) -> Vec<usize> {
    let nodes = &census.nodes;
    let is_old = |node: &Node| match options.keep_duration {
        Some(keep) => now.duration_since(node.last_used).is_ok_and(|age| age >= keep),
        None => true,
    };
    let may_go = |node: &Node| !node.in_use && !node.named && is_old(node);
    let is_wanted = |index: usize| {
        let item = &nodes[index].item;
        // An alias that nothing refers to has no layer left.
        (options.internal || !matches!(item, Item::Internal(_)) || is_alias(item))
            && options.filter.is_none_or(|filter| filter(&census.usage(index)))
    };
    let mut referrers: Vec<usize> = nodes.iter().map(|node| node.referrers).collect();
    let mut candidates: BTreeSet<(SystemTime, usize)> = (0..nodes.len())
        .filter(|index| referrers[*index] == 0 && may_go(&nodes[*index]) && is_wanted(*index))
        .map(|index| (nodes[index].last_used, index))
        .collect();
    let mut total: u64 = nodes.iter().map(|node| node.size).sum();
    let mut freed = 0;
    let mut order = Vec::new();
    loop {
        let too_much = options.max_used_space.is_some_and(|limit| total > limit);
        let too_little_free = options.min_free_space.is_some_and(|limit| free.saturating_add(freed) < limit);
        let is_limited = options.max_used_space.is_some() || options.min_free_space.is_some();
        if total <= options.reserved_space && options.reserved_space > 0
            || is_limited && !too_much && !too_little_free
        {
            return order;
        }
        let Some((_, index)) = candidates.pop_first() else { return order };
        total -= nodes[index].size;
        freed += nodes[index].size;
        order.push(index);
        for referred in &nodes[index].references {
            referrers[*referred] -= 1;
            if referrers[*referred] == 0 && may_go(&nodes[*referred]) {
                candidates.insert((nodes[*referred].last_used, *referred));
            }
        }
    }
}
