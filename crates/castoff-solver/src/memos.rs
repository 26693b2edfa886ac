//! File digests remembered between builds, so that a file that did not change is not read again.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use castoff_layer::{Node, View};
use castoff_oci::Digest;
use castoff_store::{FileMemo, StatKey};

use crate::World;
use crate::bodies::lock;
use crate::copy::{self, CopyError, Selection};

/// The memos of one build, one per local directory, loaded when first needed.
#[derive(Default)]
pub(crate) struct Memos(Mutex<BTreeMap<PathBuf, FileMemo>>);

impl Memos {
    /// Writes what changed. A memo that cannot be written costs time later and nothing else.
    pub(crate) fn save(self) {
        let memos = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        for mut memo in memos.into_values() {
            let _costs_time_only = memo.save();
        }
    }

    /// Returns the digest of each regular file of a selection, by path, where `root` is the local directory
    /// that it is of.
    pub(crate) fn digests(
        &self,
        world: &World,
        root: &Path,
        view: &View,
        selection: &Selection,
    ) -> Result<BTreeMap<Vec<u8>, Digest>, CopyError> {
        let mut found = BTreeMap::new();
        let mut unknown: Vec<&Node> = Vec::new();
        {
            let mut memos = lock(&self.0);
            let memo = memos
                .entry(root.to_owned())
                .or_insert_with(|| world.store.file_memo(Digest::of(root.as_os_str().as_bytes())));
            for node in selection.regular_files() {
                let known = key(node).and_then(|stat| memo.get(&node.entry.path, &stat));
                match known {
                    Some(digest) => {
                        found.insert(node.entry.path.clone(), digest);
                    }
                    None => unknown.push(node),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let digests = copy::content_digests(view, &unknown)?;
        let mut memos = lock(&self.0);
        for (node, digest) in unknown.into_iter().zip(digests) {
            if let (Some(stat), Some(memo)) = (key(node), memos.get_mut(root)) {
                memo.insert(&node.entry.path, stat, digest);
            }
            found.insert(node.entry.path.clone(), digest);
        }
        Ok(found)
    }
}

/// Returns the digest of each regular file of a selection, by path.
pub(crate) fn digests(view: &View, selection: &Selection) -> Result<BTreeMap<Vec<u8>, Digest>, CopyError> {
    let nodes: Vec<&Node> = selection.regular_files().collect();
    let digests = copy::content_digests(view, &nodes)?;
    Ok(nodes.into_iter().map(|node| node.entry.path.clone()).zip(digests).collect())
}

fn key(node: &Node) -> Option<StatKey> {
    let file = node.identity.as_ref()?;
    Some(StatKey {
        dev: file.device,
        ino: file.inode,
        size: file.size,
        mtime_ns: file.mtime.nanoseconds(),
        ctime_ns: file.ctime.nanoseconds(),
        mode: node.entry.mode,
    })
}
