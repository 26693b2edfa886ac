//! What each layer adds, replaces and removes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use castoff_layer::{Entry, EntryKind, TreeEntry, View};

/// The largest files that are named of what was lost between two layers.
const NAMED: usize = 5;

/// What the layers of an image do, and what is left in the end.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Each layer, bottom to top.
    pub layers: Vec<LayerSums>,
    /// What is in the image, by path; directories are not.
    pub files: BTreeMap<Vec<u8>, LiveFile>,
    /// What was brought by one layer and replaced or removed by another: by both, and whether it was removed.
    pub lost: BTreeMap<(usize, usize, bool), Lost>,
    /// What happened to the path that was asked about, oldest first.
    pub story: Vec<Moment>,
}

/// What a layer does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerSums {
    /// Files, links and devices in it.
    pub files: u64,
    /// Bytes of these files; hard links of one file count once.
    pub added: u64,
    /// Bytes of files of lower layers that it replaces.
    pub shadowed: u64,
    /// Bytes of files of lower layers that it removes.
    pub deleted: u64,
    /// Bytes of its own files that higher layers replace or remove.
    pub lost: u64,
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// The layer that it is in, from the bottom.
    pub layer: usize,
    /// Its bytes; 0 of what is no file, and of further hard links of one.
    pub size: u64,
    /// Whether it is a symbolic link, a device or the like.
    pub special: bool,
}

/// What a layer brought in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Bytes in all.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// The largest, with their sizes.
    pub largest: Vec<(u64, Vec<u8>)>,
}

/// Something that happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// In which layer.
    pub layer: usize,
    /// What.
    pub kind: MomentKind,
    /// What the layer has there.
    pub entry: Option<Entry>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentKind {
    /// It came.
    Added,
    /// Something else took its place, or its metadata changed.
    Replaced,
    /// It went.
    Removed,
}

impl Ledger {
    /// Looks at each layer of a view, and closer at one path if one is asked about.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn take(view: &View, asked: Option<&[u8]>) -> io::Result<Ledger> {
        let mut ledger = Ledger::default();
        for (layer, tree) in view.trees().enumerate() {
            ledger.layers.push(LayerSums::default());
            let mut links = BTreeSet::new();
            tree.walk(&mut |found| ledger.entry(layer, found, &mut links, asked))?;
        }
        Ok(ledger)
    }

    /// Returns the bytes of all layers.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.added).sum()
    }

    /// Returns the bytes of what was replaced or removed again.
    pub fn wasted(&self) -> u64 {
        self.layers.iter().map(|layer| layer.lost).sum()
    }

    fn entry(
        &mut self,
        layer: usize,
        found: TreeEntry,
        links: &mut BTreeSet<(u64, u64)>,
        asked: Option<&[u8]>,
    ) {
        let TreeEntry { entry, link, implied } = found;
        let is_asked = asked == Some(&entry.path[..]);
        match &entry.kind {
            EntryKind::Whiteout => {
                self.lose(layer, &entry.path, true);
                self.lose_below(layer, &entry.path);
                // A directory that is taken away takes the path with it.
                if asked.is_some_and(|asked| is_asked || is_below(asked, &entry.path)) {
                    self.tell_removal(layer);
                }
            }
            EntryKind::Directory { opaque } => {
                self.lose(layer, &entry.path, false);
                if *opaque {
                    self.lose_below(layer, &entry.path);
                    if asked.is_some_and(|asked| is_below(asked, &entry.path)) {
                        self.tell_removal(layer);
                    }
                }
                if is_asked && !implied {
                    self.tell(layer, entry);
                }
            }
            kind => {
                let size = match kind {
                    EntryKind::File { size } if link.is_none_or(|link| links.insert(link)) => *size,
                    _ => 0,
                };
                let special = !matches!(kind, EntryKind::File { .. } | EntryKind::Hardlink { .. });
                self.lose(layer, &entry.path, false);
                self.lose_below(layer, &entry.path);
                if asked.is_some_and(|asked| is_below(asked, &entry.path)) {
                    self.tell_removal(layer);
                }
                self.files.insert(entry.path.clone(), LiveFile { layer, size, special });
                self.layers[layer].files += 1;
                self.layers[layer].added += size;
                if is_asked {
                    self.tell(layer, entry);
                }
            }
        }
    }

    fn is_there(&self) -> bool {
        self.story.last().is_some_and(|last| last.kind != MomentKind::Removed)
    }

    fn tell_removal(&mut self, layer: usize) {
        if self.is_there() {
            self.story.push(Moment { layer, kind: MomentKind::Removed, entry: None });
        }
    }

    fn tell(&mut self, layer: usize, entry: Entry) {
        let there = self.is_there();
        let kind = if there { MomentKind::Replaced } else { MomentKind::Added };
        self.story.push(Moment { layer, kind, entry: Some(entry) });
    }

    /// Counts a file of a lower layer as lost, if there is one.
    fn lose(&mut self, layer: usize, path: &[u8], removed: bool) {
        if self.files.get(path).is_none_or(|file| file.layer >= layer) {
            return;
        }
        let Some(file) = self.files.remove(path) else { return };
        self.layers[file.layer].lost += file.size;
        match removed {
            true => self.layers[layer].deleted += file.size,
            false => self.layers[layer].shadowed += file.size,
        }
        let lost = self.lost.entry((file.layer, layer, removed)).or_default();
        lost.bytes += file.size;
        lost.files += 1;
        if lost.largest.len() < NAMED || lost.largest.last().is_some_and(|(size, _)| *size < file.size) {
            lost.largest.push((file.size, path.to_vec()));
            lost.largest.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
            lost.largest.truncate(NAMED);
        }
    }

    /// Counts what lower layers have in a directory as removed.
    fn lose_below(&mut self, layer: usize, directory: &[u8]) {
        let first = [directory, b"/"].concat();
        let after = [directory, b"0"].concat();
        let below = self.files.range(first..after).filter(|(_, file)| file.layer < layer);
        let below: Vec<Vec<u8>> = below.map(|(path, _)| path.clone()).collect();
        for path in &below {
            self.lose(layer, path, true);
        }
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
