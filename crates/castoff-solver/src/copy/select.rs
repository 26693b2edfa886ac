//! Which files a source names (D-192..D-198, D-207, D-222..D-229).

use std::thread::Scope;

use castoff_graph::pattern::{DeepPattern, Glob, IgnorePatterns, clean, has_wildcard, unescape};
use castoff_layer::{EntryKind, FileIdentity, Node, View, ViewError};

use super::ahead::Ahead;
use super::{CopyError, MissingFacts, join, shown, split};

/// How [`select`] looks at a source.
#[derive(Debug, Clone, Copy)]
pub struct SelectOptions<'a> {
    /// `--parents`: paths are kept from the root, or from a `/./`.
    pub parents: bool,
    /// `--exclude`, relative to each source root.
    pub exclude: &'a IgnorePatterns,
    /// `.dockerignore` of a local context, relative to its root.
    pub ignore: Option<&'a IgnorePatterns>,
    /// Whether wildcards mean nothing, as in the source of a mount.
    pub literal: bool,
}

/// What a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// One per match, in order.
    pub roots: Vec<SelectedRoot>,
    /// File sources that are copied although `--exclude` names them (D-228), for a warning.
    pub not_excluded: Vec<Vec<u8>>,
}

/// One match of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedRoot {
    /// What happens to it.
    pub kind: RootKind,
    /// The name under which a file arrives in a directory.
    pub name: Vec<u8>,
    /// The file or directory itself, symbolic links followed.
    pub node: Node,
    /// What of a directory is copied: parents before children, in lexical order of each directory.
    pub entries: Vec<Selected>,
}

/// What kind of source root something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootKind {
    /// A file, or anything else that is not a directory.
    File,
    /// A directory of which the contents are copied.
    Directory,
    /// A directory below which paths are recreated (`--parents`).
    Parents,
}

/// Something selected below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Path relative to the root.
    pub relative: Vec<u8>,
    /// What it is.
    pub node: Node,
}

impl Selection {
    /// Returns what tells whether the files on disk are the ones that were selected.
    pub fn identities(&self) -> impl Iterator<Item = Option<FileIdentity>> + '_ {
        self.regular_files().map(|node| node.identity)
    }

    /// Returns the regular files in order.
    pub fn regular_files(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|node| matches!(node.entry.kind, EntryKind::File { .. }))
    }

    /// Returns the sum of the sizes of all files.
    pub fn bytes(&self) -> u64 {
        self.nodes().map(size).sum()
    }

    /// Returns how many things other than directories are selected.
    pub fn files(&self) -> u64 {
        self.nodes().filter(|node| !is_directory(node)).count() as u64
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.roots.iter().flat_map(|root| {
            let own = (root.kind == RootKind::File).then_some(&root.node);
            own.into_iter().chain(root.entries.iter().map(|selected| &selected.node))
        })
    }
}

pub(super) fn size(node: &Node) -> u64 {
    match node.entry.kind {
        EntryKind::File { size } => size,
        _ => 0,
    }
}

pub(super) fn is_directory(node: &Node) -> bool {
    matches!(node.entry.kind, EntryKind::Directory { .. })
}

/// Finds out what a source names.
///
/// A path without a wildcard must exist; a wildcard that matches nothing selects nothing (D-194,
/// D-195).
pub fn select(source: &View, pattern: &str, options: &SelectOptions<'_>) -> Result<Selection, CopyError> {
    let selector = Selector { view: source, pattern, options };
    let roots = if options.parents { selector.parents()? } else { selector.plain()? };
    let mut not_excluded = Vec::new();
    for root in &roots {
        if root.kind == RootKind::File && options.exclude.matches(&root.name) {
            not_excluded.push(root.node.entry.path.clone());
        }
    }
    Ok(Selection { roots, not_excluded })
}

struct Selector<'a> {
    view: &'a View,
    pattern: &'a str,
    options: &'a SelectOptions<'a>,
}

/// What to do with something met below a root.
struct Wanted {
    /// It is selected.
    itself: bool,
    /// If it is a directory, something in it may be.
    below: bool,
}

/// A directory that is being walked.
struct Level {
    rest: std::vec::IntoIter<(Vec<u8>, Node)>,
    relative: Vec<u8>,
    /// Where the directory itself is among the entries, if it is there only for what is in it.
    tentative: Option<usize>,
}

impl Selector<'_> {
    fn plain(&self) -> Result<Vec<SelectedRoot>, CopyError> {
        let path = clean(self.pattern.as_bytes());
        let matches = self.matches(&path)?;
        let mut roots = Vec::with_capacity(matches.len());
        for (path, node) in matches {
            let name = split(&path).1.to_vec();
            roots.push(if is_directory(&node) {
                let entries = self.everything_below(&node)?;
                SelectedRoot { kind: RootKind::Directory, name, node, entries }
            } else {
                SelectedRoot { kind: RootKind::File, name, node, entries: Vec::new() }
            });
        }
        Ok(roots)
    }

    /// Returns the paths that a cleaned source matches, as matched, and what they lead to.
    fn matches(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Node)>, CopyError> {
        if self.options.literal || !has_wildcard(path) {
            return Ok(vec![self.literal(path)?]);
        }
        let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let first = components.iter().position(|part| has_wildcard(part)).unwrap_or(components.len());
        let mut globs = Vec::new();
        for component in &components[first..] {
            globs.push(Glob::parse(component).map_err(|problem| self.malformed(problem))?);
        }
        let base = unescape(&components[..first].join(&b'/'));
        let resolved = match self.view.resolve(&base, true) {
            Ok(resolved) => resolved,
            Err(ViewError::NotADirectory { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let Some(node) = resolved.node.filter(is_directory) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        self.search(&node.entry.path, &base, &globs, &mut found)?;
        let mut matches = Vec::new();
        for (path, node) in found {
            let node = match node.entry.kind {
                EntryKind::Symlink { .. } => self.view.resolve(&node.entry.path, true)?.node,
                _ => Some(node),
            };
            let node = node.ok_or_else(|| self.missing(&path))?;
            matches.push((path, node));
        }
        Ok(matches)
    }

    /// Collects what matches `globs` level by level. `place` is `directory` as the user sees it.
    fn search(
        &self,
        directory: &[u8],
        place: &[u8],
        globs: &[Glob],
        found: &mut Vec<(Vec<u8>, Node)>,
    ) -> Result<(), CopyError> {
        let Some((glob, rest)) = globs.split_first() else { return Ok(()) };
        for (name, node) in self.view.read_dir(directory)? {
            if !glob.matches(&name) {
                continue;
            }
            if rest.is_empty() {
                if self.is_present(&node)? {
                    found.push((join(place, &name), node));
                }
            } else if is_directory(&node) {
                self.search(&node.entry.path, &join(place, &name), rest, found)?;
            }
        }
        Ok(())
    }

    fn literal(&self, path: &[u8]) -> Result<(Vec<u8>, Node), CopyError> {
        if let Some(node) = self.follow(path)? {
            return Ok((path.to_vec(), node));
        }
        // A backslash may be part of a name or escape what would be a wildcard.
        if path.contains(&b'\\') && !self.options.literal {
            let plain = unescape(path);
            if let Some(node) = self.follow(&plain)? {
                return Ok((plain, node));
            }
        }
        Err(self.missing(path))
    }

    /// Follows a path; `None` if nothing is there or an ignore file hides it.
    fn follow(&self, path: &[u8]) -> Result<Option<Node>, CopyError> {
        let resolved = match self.view.resolve(path, true) {
            Ok(resolved) => resolved,
            Err(ViewError::NotADirectory { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(node) = resolved.node else { return Ok(None) };
        if !self.is_present(&node)? {
            return Ok(None);
        }
        // The symbolic link on the way is hidden although its target is not.
        let hidden = path != resolved.path.as_slice()
            && !is_directory(&node)
            && self.options.ignore.is_some_and(|ignore| ignore.matches(path));
        Ok(if hidden { None } else { Some(node) })
    }

    /// Returns whether something is in the context as the ignore file leaves it: an excluded directory
    /// is, when something in it is included again (D-289).
    fn is_present(&self, node: &Node) -> Result<bool, CopyError> {
        let Some(ignore) = self.options.ignore else { return Ok(true) };
        if !ignore.matches(&node.entry.path) {
            return Ok(true);
        }
        let mut excluded = vec![node.clone()];
        while let Some(node) = excluded.pop() {
            if !is_directory(&node) || ignore.can_prune(&node.entry.path) {
                continue;
            }
            for (_, child) in self.view.read_dir(&node.entry.path)? {
                if !ignore.matches(&child.entry.path) {
                    return Ok(true);
                }
                excluded.push(child);
            }
        }
        Ok(false)
    }

    fn everything_below(&self, root: &Node) -> Result<Vec<Selected>, CopyError> {
        let mut entries = Vec::new();
        self.walk(&root.entry.path, b"", &|_| Wanted { itself: true, below: true }, &mut entries)?;
        Ok(entries)
    }

    /// Collects what is wanted and not excluded below a directory. Directories that are not wanted for
    /// themselves are collected with something in them.
    fn walk(
        &self,
        directory: &[u8],
        relative: &[u8],
        wanted: &dyn Fn(&[u8]) -> Wanted,
        entries: &mut Vec<Selected>,
    ) -> Result<(), CopyError> {
        let ahead = Ahead::new(self.view);
        std::thread::scope(|scope| {
            let _end = ahead.ending();
            self.walk_with(&ahead, scope, directory, relative, wanted, entries)
        })
    }

    fn walk_with<'s>(
        &self,
        ahead: &'s Ahead<'_>,
        scope: &'s Scope<'s, '_>,
        directory: &[u8],
        relative: &[u8],
        wanted: &dyn Fn(&[u8]) -> Wanted,
        entries: &mut Vec<Selected>,
    ) -> Result<(), CopyError> {
        let SelectOptions { ignore, exclude, .. } = *self.options;
        let is_pruned = |path: &[u8], relative: &[u8]| {
            ignore.is_some_and(|ignore| ignore.can_prune(path)) || exclude.can_prune(relative)
        };
        let enter = |path: &[u8], relative: Vec<u8>, tentative| -> Result<Level, CopyError> {
            let listing = ahead.list(path)?;
            let inside = listing.iter().filter(|(_, node)| is_directory(node)).filter(|(name, node)| {
                let relative = join(&relative, name);
                wanted(&relative).below && !is_pruned(&node.entry.path, &relative)
            });
            // The first is where the walk goes now.
            ahead.announce(inside.skip(1).map(|(_, node)| node.entry.path.clone()).collect(), scope);
            Ok(Level { rest: listing.into_iter(), relative, tentative })
        };
        // An image may be nested deeper than a stack is: what is open is kept here.
        let mut open = vec![enter(directory, relative.to_vec(), None)?];
        while let Some(level) = open.last_mut() {
            let Some((name, node)) = level.rest.next() else {
                if let Some(at) = level.tentative
                    && entries.len() == at + 1
                {
                    entries.truncate(at);
                }
                open.pop();
                continue;
            };
            let relative = join(&level.relative, &name);
            let Wanted { itself, below } = wanted(&relative);
            let path = &node.entry.path;
            let selected =
                itself && !ignore.is_some_and(|ignore| ignore.matches(path)) && !exclude.matches(&relative);
            if !is_directory(&node) {
                if selected {
                    entries.push(Selected { relative, node });
                }
                continue;
            }
            let pruned = !below || is_pruned(path, &relative);
            if !pruned {
                let tentative = (!selected).then_some(entries.len());
                open.push(enter(path, relative.clone(), tentative)?);
            }
            if selected || !pruned {
                entries.push(Selected { relative, node });
            }
        }
        Ok(())
    }

    /// D-222..D-226.
    fn parents(&self) -> Result<Vec<SelectedRoot>, CopyError> {
        let pattern = self.pattern.as_bytes();
        let pivot = pattern.windows(3).position(|part| part == b"/./");
        let (base, rest) = match pivot {
            Some(at) => (clean(&pattern[..at]), clean(&pattern[at + 3..])),
            None => (Vec::new(), clean(pattern)),
        };
        let mut roots = Vec::new();
        for (path, node) in self.matches(&base)? {
            if !is_directory(&node) {
                // Nothing can be below a file; only a literal source has to exist.
                if has_wildcard(pattern) && !self.options.literal {
                    continue;
                }
                return Err(self.missing(&join(&path, &rest)));
            }
            let entries = if rest.is_empty() {
                self.everything_below(&node)?
            } else if self.options.literal || !has_wildcard(&rest) {
                self.recreated(&node, &rest)?
            } else {
                let deep = DeepPattern::parse(&rest).map_err(|problem| self.malformed(problem))?;
                let wanted = |relative: &[u8]| {
                    let itself = deep.applies(relative);
                    Wanted { itself, below: itself || deep.may_match_below(relative) }
                };
                let mut entries = Vec::new();
                self.walk(&node.entry.path, b"", &wanted, &mut entries)?;
                entries
            };
            let name = split(&path).1.to_vec();
            if !entries.is_empty() || !has_wildcard(&rest) {
                roots.push(SelectedRoot { kind: RootKind::Parents, name, node, entries });
            }
        }
        Ok(roots)
    }

    /// Selects one path below `base` with the directories on the way to it.
    fn recreated(&self, base: &Node, rest: &[u8]) -> Result<Vec<Selected>, CopyError> {
        let written = join(&base.entry.path, rest);
        let plain = if self.follow_parents(base, rest)?.is_none() { unescape(rest) } else { rest.to_vec() };
        let Some(mut entries) = self.follow_parents(base, &plain)? else {
            return Err(self.missing(&written));
        };
        let last = entries.last().map(|selected| selected.node.clone());
        if let Some(node) = last.filter(is_directory) {
            let wanted = |_: &[u8]| Wanted { itself: true, below: true };
            self.walk(&node.entry.path, &plain, &wanted, &mut entries)?;
        }
        Ok(entries)
    }

    /// Returns the directories on the way, symbolic links followed, and the last component as it is.
    fn follow_parents(&self, base: &Node, rest: &[u8]) -> Result<Option<Vec<Selected>>, CopyError> {
        let mut entries = Vec::new();
        let mut directory = base.entry.path.clone();
        let mut relative = Vec::new();
        let components: Vec<&[u8]> = rest.split(|byte| *byte == b'/').collect();
        for (index, component) in components.iter().enumerate() {
            relative = join(&relative, component);
            let path = join(&directory, component);
            let last = index + 1 == components.len();
            let node = match self.view.resolve(&path, !last) {
                Ok(resolved) => resolved.node,
                Err(ViewError::NotADirectory { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let Some(node) = node else { return Ok(None) };
            if !self.is_present(&node)? || (!last && !is_directory(&node)) {
                return Ok(None);
            }
            directory = node.entry.path.clone();
            entries.push(Selected { relative: relative.clone(), node });
        }
        Ok(Some(entries))
    }

    fn malformed(&self, problem: castoff_graph::pattern::PatternProblem) -> CopyError {
        CopyError::Pattern { pattern: self.pattern.to_owned(), problem }
    }

    fn missing(&self, path: &[u8]) -> CopyError {
        let facts = Box::new(self.facts(path));
        CopyError::NotFound { path: format!("/{}", shown(path)), facts }
    }

    /// Collects what may help; whatever cannot be read helps nobody.
    fn facts(&self, path: &[u8]) -> MissingFacts {
        let mut facts = MissingFacts::default();
        let exists = matches!(self.view.resolve(path, true), Ok(resolved) if resolved.node.is_some());
        if let Some(ignore) = self.options.ignore
            && exists
        {
            facts.ignored_by_line = ignore.excluding_line(path);
            return facts;
        }
        let mut directory = Vec::new();
        let mut components = path.split(|byte| *byte == b'/').peekable();
        while let Some(component) = components.next() {
            let next = join(&directory, component);
            if components.peek().is_some()
                && let Ok(resolved) = self.view.resolve(&next, true)
                && resolved.node.as_ref().is_some_and(is_directory)
            {
                directory = next;
                continue;
            }
            let Ok(resolved) = self.view.resolve(&directory, true) else { return facts };
            let Ok(names) = self.view.read_dir(&resolved.path) else { return facts };
            let rest: Vec<&[u8]> = components.collect();
            let proposal = |name: &[u8]| {
                let whole = join(&join(&directory, name), &rest.join(&b'/'));
                matches!(self.follow(&whole), Ok(Some(_))).then(|| format!("/{}", shown(&whole)))
            };
            let wanted = shown(component);
            let names = || names.iter().map(|(name, _)| name.as_slice());
            facts.other_case =
                names().filter(|name| shown(name).to_lowercase() == wanted.to_lowercase()).find_map(proposal);
            let limit = wanted.chars().count() / 3 + 1;
            let mut similar: Vec<(usize, &[u8])> =
                names().map(|name| (distance(&shown(name), &wanted), name)).collect();
            similar.retain(|(distance, _)| *distance <= limit);
            similar.sort();
            facts.similar = similar.into_iter().find_map(|(_, name)| proposal(name));
            break;
        }
        facts
    }
}

/// Entries that are looked at when a name is searched for.
const SEARCHED: usize = 4000;
/// Places that are named.
const NAMED: usize = 3;

/// Returns paths that have the last component of `path`, the ones with the fewest components first. Looks
/// at no more entries than a person would wait for.
pub(crate) fn same_names(view: &View, path: &[u8], ignore: Option<&IgnorePatterns>) -> Vec<String> {
    let name = split(path).1;
    let (mut found, mut searched) = (Vec::new(), 0);
    let mut open = std::collections::VecDeque::from([Vec::new()]);
    while let Some(directory) = open.pop_front() {
        // What cannot be read helps nobody.
        for (entry, node) in view.read_dir(&directory).unwrap_or_default() {
            searched += 1;
            if searched > SEARCHED || found.len() == NAMED {
                return found;
            }
            let here = &node.entry.path;
            if entry == name && !ignore.is_some_and(|ignore| ignore.matches(here)) {
                found.push(format!("/{}", shown(here)));
            }
            if is_directory(&node) && !ignore.is_some_and(|ignore| ignore.can_prune(here)) {
                open.push_back(here.clone());
            }
        }
    }
    found
}

/// Edit distance, for names of the usual length.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
