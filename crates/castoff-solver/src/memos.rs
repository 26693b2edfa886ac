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

    /// Loads what is known of a local directory. To be called before the first of its files is looked at: a file
    /// is at rest if it is older than this moment.
    pub(crate) fn open(&self, world: &World, root: &Path) {
        let mut memos = lock(&self.0);
        if !memos.contains_key(root) {
            memos.insert(root.to_owned(), world.store.file_memo(Digest::of(root.as_os_str().as_bytes())));
        }
    }

    /// Returns the digest of each regular file of a selection, in order, where `root` is the local directory
    /// that it is of, which is open.
    pub(crate) fn digests(
        &self,
        root: &Path,
        view: &View,
        selection: &Selection,
    ) -> Result<Vec<Digest>, CopyError> {
        let nodes: Vec<&Node> = selection.regular_files().collect();
        let mut digests = vec![None; nodes.len()];
        if let Some(memo) = lock(&self.0).get(root) {
            for (node, digest) in nodes.iter().zip(&mut digests) {
                *digest = key(node).and_then(|stat| memo.get(&node.entry.path, &stat));
            }
        }
        let known = nodes.iter().zip(&digests);
        let unknown: Vec<&Node> =
            known.filter(|(_, digest)| digest.is_none()).map(|(node, _)| *node).collect();
        let mut read = copy::content_digests(view, &unknown)?.into_iter();
        let mut memos = lock(&self.0);
        let mut memo = memos.get_mut(root);
        let mut digest_of = |(node, known): (&Node, Option<Digest>)| {
            known.unwrap_or_else(|| {
                let digest = read.next().expect("each unknown file was read");
                if let (Some(stat), Some(memo)) = (key(node), &mut memo) {
                    memo.insert(&node.entry.path, stat, digest);
                }
                digest
            })
        };
        Ok(nodes.into_iter().zip(digests).map(&mut digest_of).collect())
    }
}

/// Returns the digest of each regular file of a selection, in order.
pub(crate) fn digests(view: &View, selection: &Selection) -> Result<Vec<Digest>, CopyError> {
    copy::content_digests(view, &selection.regular_files().collect::<Vec<_>>())
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
