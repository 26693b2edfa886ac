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
const MOST: usize = 1000;

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

/// What earlier layers have put where, each path with the line of its instruction.
#[derive(Debug, Default)]
pub(super) struct Placed(Vec<(String, u32)>);

impl Placed {
    /// Remembers what a COPY or ADD writes.
    pub(super) fn copy(&mut self, copy: &Copy, directory: &Directory, line: u32) {
        self.add(written(copy, directory), line);
    }

    /// Remembers paths, as long as there is room.
    pub(super) fn add(&mut self, paths: impl IntoIterator<Item = String>, line: u32) {
        let left = MOST.saturating_sub(self.0.len());
        self.0.extend(paths.into_iter().take(left).map(|path| (path, line)));
    }

    /// Returns the line of the first path for which this holds.
    pub(super) fn line_of(&self, holds: impl Fn(&str) -> bool) -> Option<u32> {
        self.0.iter().find(|(path, _)| holds(path)).map(|(_, line)| *line)
    }
}

/// Returns the paths that a COPY or ADD surely writes, files or directories.
fn written(copy: &Copy, directory: &Directory) -> Vec<String> {
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
