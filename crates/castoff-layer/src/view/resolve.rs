//! Following symbolic links inside a view (D-206, D-207, B-218).

use std::io::Read as _;

use super::{Node, View, ViewError, io_error, shown};
use crate::entry::{EntryKind, join, split};

/// As many as BuildKit follows; more form a loop.
const LINK_LIMIT: usize = 255;

/// Where a path leads after following symbolic links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path without symbolic links, `.` and `..`. Where nothing exists, the path at which it would
    /// be created.
    pub path: Vec<u8>,
    /// What is there.
    pub node: Option<Node>,
}

impl View {
    /// Follows a path inside the view. Absolute targets begin at the root of the view, and `..` at the
    /// root stays there.
    ///
    /// A path through a missing directory, also behind a dangling symbolic link, resolves to where it
    /// would be created; one through something that is neither directory nor link is an error.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, ViewError> {
        let mut pending: Vec<Vec<u8>> = Vec::new();
        push_components(&mut pending, path);
        let mut current: Vec<u8> = Vec::new();
        let mut node: Option<Node> = None;
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == b".." {
                current.truncate(split(&current).0.len());
                node = None;
                continue;
            }
            let candidate = join(&current, &component);
            let found = self.lookup(&candidate)?;
            match found.as_ref().map(|found| &found.entry.kind) {
                Some(EntryKind::Symlink { target }) if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(ViewError::TooManyLinks { path: shown(path) });
                    }
                    if target.starts_with(b"/") {
                        current.clear();
                    }
                    node = None;
                    push_components(&mut pending, target);
                    continue;
                }
                None | Some(EntryKind::Directory { .. }) => {}
                Some(_) if pending.is_empty() => {}
                Some(_) => return Err(ViewError::NotADirectory { path: shown(&candidate) }),
            }
            current = candidate;
            node = found;
        }
        if node.is_none() {
            node = self.lookup(&current)?;
        }
        Ok(Resolved { path: current, node })
    }

    /// Reads a whole regular file, following symbolic links; `None` if nothing is there. Refuses files
    /// larger than `limit`.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let resolved = match self.resolve(path, true) {
            Ok(resolved) => resolved,
            Err(ViewError::NotADirectory { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(node) = resolved.node else { return Ok(None) };
        let mut bytes = Vec::new();
        let count = self
            .open(&node)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| io_error(&node.entry.path, error))?;
        if count as u64 > limit {
            return Err(ViewError::TooLarge { path: shown(&node.entry.path), limit });
        }
        Ok(Some(bytes))
    }
}

fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let at = pending.len();
    pending.extend(components.map(<[u8]>::to_vec));
    pending[at..].reverse();
}
