//! Where instructions put files, as far as the text says.

use crate::Copy;

/// The directory in which relative paths of a stage start; what the base image says is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory(String);

/// Stands for the unknown directory of the base image. No path of an instruction contains it.
const UNKNOWN: &str = "\0";

/// No directory has a longer path, in bytes.
const LONGEST: usize = 4095;

/// Most paths that a check remembers; it looks through them for every command.
pub(super) const MOST: usize = 1000;

impl Directory {
    /// Returns the directory at the start of a stage that is not based on another one.
    pub(super) fn unknown() -> Directory {
        Directory(UNKNOWN.to_owned())
    }

    /// Goes where a WORKDIR leads.
    pub(super) fn enter(&mut self, written: &str) {
        let entered = self.resolve(written).filter(|path| path.len() <= LONGEST);
        self.0 = entered.unwrap_or_else(|| UNKNOWN.to_owned());
    }

    /// Returns a path from the root, or from the unknown directory; `None` when it has variables or
    /// wildcards.
    pub(super) fn resolve(&self, written: &str) -> Option<String> {
        if written.contains(['$', '`', '*', '?', '[', '~', '\0']) {
            return None;
        }
        let start = if written.starts_with('/') { "" } else { self.0.trim_end_matches('/') };
        let mut path = start.to_owned();
        for part in written.split('/') {
            match part {
                "" | "." => {}
                // Leaving the unknown directory leads nowhere that is known.
                ".." if path == UNKNOWN => return None,
                ".." => path.truncate(path.rfind('/').unwrap_or(0)),
                part => {
                    path.push('/');
                    path.push_str(part);
                }
            }
        }
        Some(if path.is_empty() { "/".to_owned() } else { path })
    }
}

/// Whether a path is another one or lies below it.
pub(super) fn is_within(path: &str, parent: &str) -> bool {
    let parent = parent.trim_end_matches('/');
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the paths that a COPY or ADD surely writes, files or directories.
pub(super) fn written(copy: &Copy, directory: &Directory) -> Vec<String> {
    let destination = &copy.destination.value;
    let into = destination.ends_with('/') || matches!(destination.as_str(), "." | "..");
    let several = copy.sources.len() + copy.heredocs.len() > 1;
    let Some(path) = directory.resolve(destination) else { return Vec::new() };
    if copy.parents || !(into || several) {
        return vec![path];
    }
    let names = copy.sources.iter().map(|source| source.value.trim_end_matches('/'));
    let names = names.chain(copy.heredocs.iter().map(|heredoc| heredoc.delimiter.as_str()));
    let base = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    names
        .map(base)
        .filter(|name| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['$', '*', '?', '[']))
        .map(|name| format!("{}/{name}", path.trim_end_matches('/')))
        .chain([path.clone()])
        .collect()
}
