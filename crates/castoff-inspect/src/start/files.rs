//! The files of an image as its user may see them.

use std::io::Read;

use castoff_layer::{Entry, Node, View, ViewError};

use crate::seekable::Seekable;

/// The files and who looks at them.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) view: &'a View,
    /// User id and groups; `None` when they are not known, and everything counts as allowed.
    pub(super) user: Option<(u32, &'a [u32])>,
}

/// What is at a path.
pub(super) enum Lookup {
    /// Something.
    Found(Box<Found>),
    /// Nothing.
    Missing,
    /// A directory that the user may not pass.
    Denied(String),
}

/// Something in the image.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its path without links, absolute.
    pub(super) path: String,
    pub(super) node: Node,
}

impl Files<'_> {
    /// Follows a path from the root as the kernel does for the user.
    pub(super) fn lookup(&self, path: &str) -> Result<Lookup, ViewError> {
        let resolved = match self.view.resolve(path.as_bytes(), true) {
            Ok(resolved) => resolved,
            Err(ViewError::NotADirectory { .. } | ViewError::TooManyLinks { .. }) => {
                return Ok(Lookup::Missing);
            }
            Err(error) => return Err(error),
        };
        for (at, _) in resolved.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let directory = &resolved.path[..at];
            if let Some(node) = self.view.lookup(directory)?
                && !self.may_execute(&node.entry)
            {
                return Ok(Lookup::Denied(shown(directory)));
            }
        }
        Ok(match resolved.node {
            Some(node) => Lookup::Found(Box::new(Found { path: shown(&resolved.path), node })),
            None => Lookup::Missing,
        })
    }

    /// Returns what is at a path, unless nothing is or it is out of reach.
    pub(super) fn find(&self, path: &str) -> Result<Option<Found>, ViewError> {
        Ok(match self.lookup(path)? {
            Lookup::Found(found) => Some(*found),
            Lookup::Missing | Lookup::Denied(_) => None,
        })
    }

    /// Returns whether the user may read.
    pub(super) fn may_read(&self, entry: &Entry) -> bool {
        self.user.is_none_or(|(uid, groups)| uid == 0 || permitted(entry, uid, groups, 0o4))
    }

    /// Returns whether the user may execute a file or pass a directory. Root may when anybody may.
    pub(super) fn may_execute(&self, entry: &Entry) -> bool {
        match self.user {
            None | Some((0, _)) => entry.is_directory() || entry.mode & 0o111 != 0,
            Some((uid, groups)) => permitted(entry, uid, groups, 0o1),
        }
    }

    /// Returns the first bytes of a file.
    pub(super) fn head(&self, found: &Found, limit: u64) -> Result<Vec<u8>, ViewError> {
        let mut head = Vec::new();
        let reader = self.view.open(&found.node)?;
        reader.take(limit).read_to_end(&mut head).map_err(|source| ViewError::Io {
            path: found.path.trim_start_matches('/').to_owned(),
            source,
        })?;
        Ok(head)
    }

    /// Opens a file so that any part of it can be read.
    pub(super) fn seekable<'v>(&'v self, found: &'v Found) -> Seekable<'v> {
        Seekable::new(self.view, &found.node)
    }
}

/// path_resolution(7): only the first class that fits counts.
fn permitted(entry: &Entry, uid: u32, groups: &[u32], bit: u32) -> bool {
    let class = if entry.uid == uid {
        6
    } else if groups.contains(&entry.gid) {
        3
    } else {
        0
    };
    entry.mode >> class & bit != 0
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
