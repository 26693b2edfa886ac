//! What differs between two file systems, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Node, Tree};

/// Takes what it is about, castoff's side and the peer's, be they the same or not.
pub(crate) type Add<'a> = dyn FnMut(String, String, String) + 'a;

/// Compares two file systems; whatever is not older than `started` was made by this run.
pub(crate) fn files(mine: &Tree, other: &Tree, started: i64, add: &mut Add<'_>) {
    let paths: BTreeSet<&String> = mine.paths.keys().chain(other.paths.keys()).collect();
    let (my_links, other_links) = (mine.links(), other.links());
    for path in paths {
        if path.is_empty() {
            continue;
        }
        let (Some(a), Some(b)) = (mine.node(path), other.node(path)) else {
            let shown = |tree: &Tree| tree.node(path).map_or("absent".to_owned(), summary);
            add(format!("file {path}: presence"), shown(mine), shown(other));
            continue;
        };
        let mut field = |name: &str, a: String, b: String| add(format!("file {path}: {name}"), a, b);
        field("type", a.kind.to_string(), b.kind.to_string());
        if a.kind != b.kind {
            continue;
        }
        let mode = if a.kind == 'd' { "directory mode" } else { "mode" };
        field(mode, format!("{:04o}", a.mode), format!("{:04o}", b.mode));
        field("owner", format!("{}:{}", a.uid, a.gid), format!("{}:{}", b.uid, b.gid));
        field("size", a.size.to_string(), b.size.to_string());
        field("content", a.content.clone(), b.content.clone());
        field("xattrs", format!("{:?}", a.xattrs), format!("{:?}", b.xattrs));
        // Whoever copies into a directory that is there changes its time; castoff writes it as it is there.
        let passed = a.kind == 'd' && a.mtime < started && b.mtime >= started;
        field(if passed { "directory mtime kept" } else { "mtime" }, time(a, started), time(b, started));
        let links = |links: &BTreeMap<&str, &str>| links.get(path.as_str()).unwrap_or(&"none").to_string();
        field("hard links", links(&my_links), links(&other_links));
    }
}

fn summary(node: &Node) -> String {
    format!("{}{:04o} {}:{} {} {}", node.kind, node.mode, node.uid, node.gid, node.size, node.content)
}

/// Whatever was made by this run has the time of no two builds.
fn time(node: &Node, started: i64) -> String {
    if node.mtime >= started { "of this run".to_owned() } else { node.mtime.to_string() }
}
