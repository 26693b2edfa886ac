//! A file system as its layers make it, by the rules of the OCI image specification alone.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since the epoch.
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    /// Digest of the data, target of a symbolic link, numbers of a device.
    pub(crate) content: String,
    pub(crate) xattrs: BTreeMap<String, String>,
}

/// An entry of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Node(Node),
    /// One more name for what is at another path.
    Link(String),
    Whiteout,
    Opaque,
}

/// A layer: paths without slashes around them, in the order of the archive.
pub(crate) type Layer = Vec<(String, Change)>;

/// A file system: what is at each path, as a number that hard links share.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tree {
    pub(crate) paths: BTreeMap<String, usize>,
    pub(crate) nodes: Vec<Node>,
}

/// Reads a layer.
pub(crate) fn read_layer(reader: &mut dyn Read) -> Result<Layer> {
    let mut layer = Layer::new();
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&String::from_utf8_lossy(&entry.path_bytes()));
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            layer.push((directory.to_owned(), Change::Opaque));
            continue;
        }
        if let Some(name) = name.strip_prefix(".wh.") {
            let hidden = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            layer.push((hidden, Change::Whiteout));
            continue;
        }
        let target = || entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let header = entry.header();
        let device = || Some(format!("{}:{}", header.device_major().ok()??, header.device_minor().ok()??));
        let (kind, content) = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => ('-', String::new()),
            EntryType::Directory => ('d', String::new()),
            EntryType::Symlink => ('l', target().context("a link without a target")?),
            EntryType::Link => {
                let target = clean(&target().context("a link without a target")?);
                layer.push((path, Change::Link(target)));
                continue;
            }
            EntryType::Char => ('c', device().unwrap_or_default()),
            EntryType::Block => ('b', device().unwrap_or_default()),
            EntryType::Fifo => ('p', String::new()),
            other => bail!("`{path}` is of the kind {other:?}"),
        };
        let mut node = Node {
            kind,
            mode: header.mode()? & 0o7777,
            uid: header.uid()?,
            gid: header.gid()?,
            mtime: i64::try_from(header.mtime()?)?,
            size: 0,
            content,
            xattrs: BTreeMap::new(),
        };
        if kind == 'l' {
            // The permissions of a link mean nothing.
            node.mode = 0o777;
        }
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let key = extension.key().unwrap_or_default().to_owned();
            let value = || String::from_utf8_lossy(extension.value_bytes()).into_owned();
            match key.as_str() {
                "mtime" => node.mtime = value().split('.').next().unwrap_or_default().parse()?,
                "uid" => node.uid = value().parse()?,
                "gid" => node.gid = value().parse()?,
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        node.xattrs.insert(name.to_owned(), hex::encode(extension.value_bytes()));
                    }
                }
            }
        }
        if kind == '-' {
            let mut hasher = Sha256::new();
            node.size = std::io::copy(&mut entry, &mut hasher)?;
            node.content = hex::encode(hasher.finalize());
        }
        layer.push((path, Change::Node(node)));
    }
    Ok(layer)
}

fn clean(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

impl Tree {
    /// Puts a layer on top. Whiteouts concern what was there before, wherever they stand in the layer.
    pub(crate) fn apply(&mut self, layer: &Layer) -> Result<()> {
        for (path, change) in layer {
            match change {
                Change::Whiteout => {
                    self.paths.remove(path);
                    self.remove_below(path);
                }
                Change::Opaque => self.remove_below(path),
                Change::Node(_) | Change::Link(_) => {}
            }
        }
        for (path, change) in layer {
            let number = match change {
                Change::Whiteout | Change::Opaque => continue,
                Change::Link(target) => *self
                    .paths
                    .get(target)
                    .with_context(|| format!("`{path}` links to nothing, `{target}`"))?,
                Change::Node(node) => {
                    self.nodes.push(node.clone());
                    self.nodes.len() - 1
                }
            };
            if let Some((directory, _)) = path.rsplit_once('/')
                && let Some(above) = self.node(directory)
                && above.kind != 'd'
            {
                bail!("`{path}` is in a layer, and `{directory}` is no directory");
            }
            if self.nodes[number].kind != 'd' {
                self.remove_below(path);
            }
            self.paths.insert(path.clone(), number);
        }
        Ok(())
    }

    /// Returns what is at a path.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.paths.get(path).map(|number| &self.nodes[*number])
    }

    /// Returns for each path with hard links the first of them.
    pub(crate) fn links(&self) -> BTreeMap<&str, &str> {
        let mut names: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (path, number) in &self.paths {
            names.entry(*number).or_default().push(path);
        }
        let groups = names.values().filter(|names| names.len() > 1);
        groups.flat_map(|names| names.iter().map(|name| (*name, names[0]))).collect()
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.paths.retain(|other, _| other == path || !other.starts_with(&prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: char) -> Change {
        Change::Node(Node {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            content: String::new(),
            xattrs: BTreeMap::new(),
        })
    }

    fn check(layers: &[&[(&str, Change)]], expected: &[&str]) {
        let mut tree = Tree::default();
        for layer in layers {
            let layer: Layer =
                layer.iter().map(|(path, change)| ((*path).to_owned(), change.clone())).collect();
            tree.apply(&layer).unwrap();
        }
        assert_eq!(tree.paths.keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn layers_are_applied_as_the_specification_says() {
        let base: &[(&str, Change)] =
            &[("d", node('d')), ("d/a", node('-')), ("d/b", node('-')), ("e", node('-'))];
        check(&[base, &[("d/a", Change::Whiteout)]], &["d", "d/b", "e"]);
        check(&[base, &[("d", Change::Whiteout)]], &["e"]);
        check(&[base, &[("d/new", node('-')), ("d", Change::Opaque)]], &["d", "d/new", "e"]);
        check(&[base, &[("d", node('-'))]], &["d", "e"]);
        check(&[base, &[("d", node('d'))]], &["d", "d/a", "d/b", "e"]);
        check(&[base, &[("f", Change::Link("e".to_owned()))]], &["d", "d/a", "d/b", "e", "f"]);
    }

    #[test]
    fn a_file_below_a_link_is_refused() {
        let mut tree = Tree::default();
        tree.apply(&vec![("l".to_owned(), node('l'))]).unwrap();
        assert!(tree.apply(&vec![("l/a".to_owned(), node('-'))]).is_err());
    }
}
