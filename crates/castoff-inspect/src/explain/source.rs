//! Which file of its sources a COPY put to a path: sections 10.3 to 10.5 of the language, read backwards.

use std::collections::{BTreeMap, BTreeSet};

use castoff_graph::pattern::{Glob, clean, has_wildcard, unescape};
use castoff_layer::{View, ViewError};
use castoff_oci::Digest;
use castoff_store::StepRead;

/// What a COPY takes its files from.
#[derive(Debug, Clone)]
pub(super) enum Space {
    /// The file system of a step.
    View(View),
    /// The files that it read of a local directory, by path.
    Files(BTreeMap<String, Digest>),
    /// Nobody knows what there was.
    Unknown,
}

/// A source of a COPY, with what it named.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where `--parents` cuts the paths: those below are made again.
    pivot: Vec<u8>,
    roots: Vec<Root>,
    space: Space,
}

#[derive(Debug, Clone)]
struct Root {
    /// The name under which a file arrives.
    name: Vec<u8>,
    /// Where it is.
    path: Vec<u8>,
    is_directory: Option<bool>,
}

impl Source {
    /// Finds what a source names.
    pub(super) fn new(read: &StepRead, space: Space) -> Result<Source, ViewError> {
        let written = read.path.as_bytes();
        let at = written.windows(3).position(|window| window == b"/./");
        let pivot = at.map(|at| clean(&written[..at])).unwrap_or_default();
        let pattern = clean(written);
        let names = match has_wildcard(&pattern) {
            true => space.matching(&pattern)?,
            false => vec![unescape(&pattern)],
        };
        let mut roots = Vec::new();
        for name in names {
            let (path, is_directory) = space.resolved(&name)?;
            let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            roots.push(Root { name, path, is_directory });
        }
        Ok(Source { pivot, roots, space })
    }

    /// Returns which file this source put to `path`, if it did. `relative` are the parts of that path that may be
    /// below the destination, the longest first; it is the destination itself when there are none.
    pub(super) fn find(&self, relative: &[&[u8]], parents: bool) -> Result<Option<Vec<u8>>, ViewError> {
        for root in &self.roots {
            if relative.is_empty() {
                if root.is_directory != Some(true) {
                    return Ok(Some(root.path.clone()));
                }
                continue;
            }
            for rest in relative {
                let candidate = match (parents, root.is_directory) {
                    (true, _) => join(&self.pivot, rest),
                    (false, Some(false)) if *rest == root.name => root.path.clone(),
                    (false, Some(false)) => continue,
                    // Without knowing what it was, both may be.
                    (false, None) if *rest == root.name => root.path.clone(),
                    (false, Some(true) | None) => join(&root.path, rest),
                };
                let is_of_root = candidate == root.path
                    || root.path.is_empty()
                    || candidate.strip_prefix(&root.path[..]).is_some_and(|rest| rest.starts_with(b"/"));
                if is_of_root && self.space.has(&candidate)? {
                    return Ok(Some(candidate));
                }
            }
        }
        Ok(None)
    }

    /// Returns the first thing that it names.
    pub(super) fn first(&self) -> Option<Vec<u8>> {
        self.roots.first().map(|root| root.path.clone())
    }
}

impl Space {
    /// Follows symbolic links, and says whether a path is a directory.
    fn resolved(&self, path: &[u8]) -> Result<(Vec<u8>, Option<bool>), ViewError> {
        match self {
            Space::View(view) => {
                let found = view.resolve(path, true)?;
                Ok(match found.node {
                    Some(node) => (node.entry.path.clone(), Some(node.entry.is_directory())),
                    None => (path.to_vec(), None),
                })
            }
            Space::Files(files) => {
                let is_file = files.contains_key(&*String::from_utf8_lossy(path));
                Ok((path.to_vec(), Some(!is_file)))
            }
            Space::Unknown => Ok((path.to_vec(), None)),
        }
    }

    fn has(&self, path: &[u8]) -> Result<bool, ViewError> {
        match self {
            Space::View(view) => Ok(view.lookup(path)?.is_some()),
            Space::Files(files) => {
                let text = String::from_utf8_lossy(path).into_owned();
                if files.contains_key(&text) {
                    return Ok(true);
                }
                // Links and empty directories are in no list: where their directory was read they may have been.
                let directory = text.rsplit_once('/').map(|(directory, _)| format!("{directory}/"));
                let directory = directory.unwrap_or_default();
                let next = files.range(directory.clone()..).next();
                Ok(next.is_some_and(|(path, _)| path.starts_with(&directory)))
            }
            Space::Unknown => Ok(true),
        }
    }

    /// Returns the paths that a pattern matches, component by component.
    fn matching(&self, pattern: &[u8]) -> Result<Vec<Vec<u8>>, ViewError> {
        let components: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').collect();
        let fits = |component: &[u8], name: &[u8]| {
            Glob::parse(component).map_or(component == name, |glob| glob.matches(name))
        };
        match self {
            Space::View(view) => {
                let mut found = vec![Vec::new()];
                for component in components {
                    let mut next = Vec::new();
                    for directory in &found {
                        let Some(node) = view.resolve(directory, true)?.node else { continue };
                        if !node.entry.is_directory() {
                            continue;
                        }
                        for (name, _) in view.read_dir(&node.entry.path)? {
                            if fits(component, &name) {
                                next.push(join(directory, &name));
                            }
                        }
                    }
                    found = next;
                }
                Ok(found)
            }
            Space::Files(files) => {
                let mut found = BTreeSet::new();
                for path in files.keys() {
                    let names: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
                    let begins = names.len() >= components.len()
                        && components.iter().zip(&names).all(|(component, name)| fits(component, name));
                    if begins {
                        found.insert(names[..components.len()].join(&b'/'));
                    }
                }
                Ok(found.into_iter().collect())
            }
            Space::Unknown => Ok(Vec::new()),
        }
    }
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => directory.to_vec(),
        (false, false) => [directory, name].join(&b'/'),
    }
}

/// Returns the parts of a path that may be below a destination, the longest first; none when it is the destination
/// itself.
pub(super) fn relative<'a>(path: &'a [u8], destination: &[u8]) -> Vec<&'a [u8]> {
    let destination = clean(destination);
    if destination.is_empty() {
        return vec![path];
    }
    if path == destination {
        return Vec::new();
    }
    match path.strip_prefix(&destination[..]).and_then(|rest| rest.strip_prefix(b"/")) {
        Some(rest) => vec![rest],
        // A symbolic link led the destination somewhere else.
        None => {
            let starts = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
            [0].into_iter().chain(starts).map(|start| &path[start..]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Space {
        Space::Files(paths.iter().map(|path| ((*path).to_owned(), Digest::of(b""))).collect())
    }

    #[track_caller]
    fn check(
        source: &str,
        space: Space,
        destination: &str,
        path: &str,
        parents: bool,
        expected: Option<&str>,
    ) {
        let read = StepRead { from: Some(0), path: source.to_owned(), target: None };
        let source = Source::new(&read, space).unwrap();
        let relative = relative(path.as_bytes(), destination.as_bytes());
        let found = source.find(&relative, parents).unwrap();
        assert_eq!(found.map(|path| String::from_utf8(path).unwrap()).as_deref(), expected);
    }

    // D-199, D-200, D-201
    #[test]
    fn files_and_directories_are_found_where_they_came_from() {
        let all = || files(&["src/a.ts", "src/lib/b.ts", "package.json", "lock.json"]);
        check("src", all(), "/app", "app/a.ts", false, Some("src/a.ts"));
        check("src/", all(), "/app/", "app/lib/b.ts", false, Some("src/lib/b.ts"));
        check(".", all(), "/app", "app/package.json", false, Some("package.json"));
        check("package.json", all(), "/app/", "app/package.json", false, Some("package.json"));
        check("package.json", all(), "/app/other.json", "app/other.json", false, Some("package.json"));
        check("src", all(), "/app", "app/missing/x", false, None);
        check("src", all(), "/", "a.ts", false, Some("src/a.ts"));
    }

    // D-193, D-222
    #[test]
    fn wildcards_and_parents_are_followed() {
        let all = || files(&["src/a.ts", "src/lib/b.ts", "package.json", "lock.json"]);
        check("*.json", all(), "/app/", "app/lock.json", false, Some("lock.json"));
        check("*.json", all(), "/app/", "app/other.json", false, None);
        check("sr*", all(), "/app/", "app/lib/b.ts", false, Some("src/lib/b.ts"));
        check("src/lib/b.ts", all(), "/app/", "app/src/lib/b.ts", true, Some("src/lib/b.ts"));
        check("src/./lib/b.ts", all(), "/app/", "app/lib/b.ts", true, Some("src/lib/b.ts"));
    }

    // D-206
    #[test]
    fn a_destination_behind_a_link_is_found_by_the_end_of_the_path() {
        check("src", files(&["src/a.ts"]), "/lib", "usr/lib/a.ts", false, Some("src/a.ts"));
        check("src/a.ts", files(&["src/a.ts"]), "/lib/", "usr/lib/a.ts", false, Some("src/a.ts"));
    }

    #[test]
    fn what_nobody_knows_is_taken_at_its_word() {
        check("src", Space::Unknown, "/app", "app/a.ts", false, Some("src/a.ts"));
        check("src/a.ts", Space::Unknown, "/app/", "app/a.ts", false, Some("src/a.ts"));
        check("*.ts", Space::Unknown, "/app/", "app/a.ts", false, None);
    }
}
