//! Layers that change nothing, as those of many a RUN: lower directories that nobody needs.
//!
//! Each lower directory costs every later step: the kernel opens it at each mount and asks it at each look-up.
//! An image still has a layer for each of them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use castoff_store::LayerId;

use super::{Bodies, SnapshotLayer, lock};

/// What the directory body of a layer is to those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Body {
    /// Mode and owner of the root, which those of the topmost lower directory are.
    root: (u32, u32, u32),
    /// Whether there is nothing else in it.
    vacant: bool,
}

impl Bodies<'_> {
    /// Leaves out of a snapshot, bottom to top, what makes no difference to what is seen of it: empty
    /// directories whose root is like that of the directory they lie on.
    pub(crate) fn without_vacant(&self, layers: &[SnapshotLayer]) -> Vec<SnapshotLayer> {
        let mut below = None;
        let mut kept = Vec::with_capacity(layers.len());
        for layer in layers {
            let body = match layer {
                SnapshotLayer::Stored(id) => self.body(id),
                SnapshotLayer::Directory(_) => None,
            };
            let changes_nothing =
                matches!((body, below), (Some(Body { root, vacant: true }), Some(under)) if root == under);
            below = body.map(|body| body.root);
            if !changes_nothing {
                kept.push(layer.clone());
            }
        }
        kept
    }

    /// Returns what is known of a layer's directory body, if it has one. It never changes.
    fn body(&self, id: &LayerId) -> Option<Body> {
        if let Some(body) = lock(&self.vacant).get(id) {
            return Some(*body);
        }
        let directory = self.world.store.layer_dir(id)?;
        // What cannot be looked at is used as it is.
        let body = look(&directory).ok()?;
        lock(&self.vacant).insert(id.clone(), body);
        Some(body)
    }
}

fn look(directory: &Path) -> io::Result<Body> {
    let metadata = directory.metadata()?;
    let vacant = std::fs::read_dir(directory)?.next().is_none() && has_no_attributes(directory)?;
    Ok(Body { root: (metadata.mode(), metadata.uid(), metadata.gid()), vacant })
}

/// Returns whether a directory has no extended attributes; an owner of its own, or opaqueness, is one.
fn has_no_attributes(directory: &Path) -> io::Result<bool> {
    // Any name is longer than this.
    let mut buffer = [0_u8; 1];
    match rustix::fs::listxattr(directory, &mut buffer) {
        Ok(length) => Ok(length == 0),
        Err(rustix::io::Errno::RANGE) => Ok(false),
        Err(rustix::io::Errno::NOTSUP) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::look;

    #[test]
    fn only_a_directory_without_anything_is_vacant() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let empty = look(path).unwrap();
        assert!(empty.vacant);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(look(path).unwrap().root, empty.root);
        rustix::fs::setxattr(path, "user.owner", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        assert!(!look(path).unwrap().vacant);
        rustix::fs::removexattr(path, "user.owner").unwrap();
        std::fs::create_dir(path.join("something")).unwrap();
        assert!(!look(path).unwrap().vacant);
    }
}
