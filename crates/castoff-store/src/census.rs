//! Everything that is in the store, and what keeps what: the base of `usage` and `prune`.
//!
//! The census is a graph. Names given by users are its pinned roots; names pulled, records and cache mounts
//! are roots that may go; layers, blobs and memos are kept by what refers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use castoff_oci::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Reference};

use crate::alias::{ALIASES, ByDiff, alias_path};
use crate::build::build_path;
use crate::cache_mount::mount_id;
use crate::file::{
    FileError, TOUCH_INTERVAL, disk_size, files_below, last_used, list, milliseconds, read_optional, written,
};
use crate::lock::{Hold, try_hold};
use crate::passed::PASSED;
use crate::remove::tree_size;
use crate::{BuildId, CacheRecord, LayerId, RecordOutcome, Store};

/// A thing in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The name that a user gave to an image.
    Tag(Reference),
    /// What a remote name stood for.
    Pulled(Reference),
    /// The record of the step with this key.
    Record(Digest),
    /// The record of a build.
    Build(BuildId),
    /// The directory body of a layer.
    Layer(LayerId),
    /// A blob.
    Blob(Digest),
    /// A cache mount.
    CacheMount {
        /// Its id.
        id: String,
        /// Which of the id's directories.
        index: String,
    },
    /// A file that only saves work, by its path in the store.
    Internal(String),
}

/// One line of the store's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// What it is.
    pub item: Item,
    /// Bytes on disk.
    pub size: u64,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last used, in milliseconds since 1970; up to an hour late.
    pub last_used_ms: i64,
    /// Whether a running build uses it or may do so.
    pub in_use: bool,
    /// Whether a name that a user gave keeps it.
    pub named: bool,
    /// Whether more than one other thing refers to it.
    pub shared: bool,
    /// Whether its content may change.
    pub mutable: bool,
    /// What it refers to.
    pub references: Vec<Item>,
    /// The step, or the name, as people know it; may be empty.
    pub description: String,
}

impl Usage {
    /// Returns whether a prune may take it.
    pub fn is_reclaimable(&self) -> bool {
        !self.in_use && !self.named
    }
}

pub(crate) struct Census {
    pub(crate) nodes: Vec<Node>,
    index: BTreeMap<Item, usize>,
}

pub(crate) struct Node {
    pub(crate) item: Item,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) last_used: SystemTime,
    pub(crate) in_use: bool,
    pub(crate) named: bool,
    pub(crate) references: Vec<usize>,
    pub(crate) referrers: usize,
    created: SystemTime,
    description: String,
}

impl Store {
    /// Returns the inventory of the store.
    ///
    /// # Errors
    /// When a part of the store cannot be read.
    pub fn usage(&self) -> Result<Vec<Usage>, FileError> {
        let census = Census::take(self)?;
        Ok((0..census.nodes.len()).map(|index| census.usage(index)).collect())
    }
}

impl Census {
    /// Counts everything. What appears or vanishes meanwhile may be missed.
    pub(crate) fn take(store: &Store) -> Result<Census, FileError> {
        let mut census = Census { nodes: Vec::new(), index: BTreeMap::new() };
        // First, as it writes the memos of sizes that the files then are.
        census.add_layers(store)?;
        census.add_files(store)?;
        census.add_cache_mounts(store)?;
        let by_diff = store.layers_by_diff()?;
        census.link_layers(&by_diff);
        census.add_records(store, &by_diff)?;
        census.add_builds(store, &by_diff)?;
        census.add_names(store, "tags", &by_diff, Item::Tag)?;
        census.add_names(store, "pulled", &by_diff, Item::Pulled)?;
        census.mark_named();
        if let Some(oldest) = store.oldest_lease()? {
            // A build that is alive has touched whatever it uses, unless that was done within the interval.
            let used = oldest.checked_sub(TOUCH_INTERVAL).unwrap_or(SystemTime::UNIX_EPOCH);
            for node in &mut census.nodes {
                node.in_use |= node.last_used >= used;
            }
        }
        Ok(census)
    }

    pub(crate) fn usage(&self, index: usize) -> Usage {
        let node = &self.nodes[index];
        Usage {
            item: node.item.clone(),
            size: node.size,
            created_ms: milliseconds(node.created),
            last_used_ms: milliseconds(node.last_used),
            in_use: node.in_use,
            named: node.named,
            shared: node.referrers > 1,
            mutable: matches!(node.item, Item::CacheMount { .. }),
            references: node.references.iter().map(|index| self.nodes[*index].item.clone()).collect(),
            description: node.description.clone(),
        }
    }

    fn add(&mut self, item: Item, path: PathBuf, metadata: &Metadata) -> usize {
        let node = Node {
            item: item.clone(),
            path,
            size: disk_size(metadata),
            last_used: last_used(metadata),
            in_use: false,
            named: false,
            references: Vec::new(),
            referrers: 0,
            created: written(metadata),
            description: String::new(),
        };
        self.nodes.push(node);
        self.index.insert(item, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn refer(&mut self, from: usize, to: &Item) {
        if let Some(to) = self.index.get(to).copied()
            && !self.nodes[from].references.contains(&to)
        {
            self.nodes[from].references.push(to);
            self.nodes[to].referrers += 1;
        }
    }

    /// Keeps all that a layer is made of, whichever body it has, and under whichever name.
    fn refer_to_layer(&mut self, from: usize, id: &LayerId, by_diff: &ByDiff) {
        self.refer_to_name(from, id, by_diff);
        if let Some(DiffId(diff)) = id.diff_id() {
            for other in by_diff.layers.get(&diff).into_iter().flatten() {
                self.refer_to_name(from, other, by_diff);
            }
        }
    }

    fn refer_to_name(&mut self, from: usize, id: &LayerId, by_diff: &ByDiff) {
        self.refer(from, &Item::Layer(id.clone()));
        self.refer(from, &diff_item(id));
        let Some(diff) = id.diff_id().map(|diff| diff.0).or_else(|| by_diff.diffs.get(id).copied()) else {
            return;
        };
        self.refer(from, &Item::Blob(diff));
        // An alias of a layer that is gone is kept by nothing.
        if self.index.contains_key(&Item::Layer(id.clone())) || self.index.contains_key(&Item::Blob(diff)) {
            self.refer(from, &alias_item(id, &diff));
        }
    }

    fn add_files(&mut self, store: &Store) -> Result<(), FileError> {
        for (path, metadata) in files_below(&store.path("blobs/sha256"))? {
            if let Some(digest) = digest_of_name(&path, "") {
                self.add(Item::Blob(digest), path, &metadata);
            }
        }
        for directory in ["diffs", ALIASES, "sizes", "variants", "indexes", "erofs", "slots", "memos", PASSED]
        {
            for (path, metadata) in files_below(&store.path(directory))? {
                let relative =
                    path.strip_prefix(store.root()).unwrap_or(&path).to_string_lossy().into_owned();
                self.add(Item::Internal(relative), path, &metadata);
            }
        }
        Ok(())
    }

    fn add_layers(&mut self, store: &Store) -> Result<(), FileError> {
        for (path, metadata) in list(&store.path("layers"))? {
            let id = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse().ok());
            let Some(id): Option<LayerId> = id else { continue };
            let size = layer_size(store, &id, &path)?;
            let node = self.add(Item::Layer(id), path, &metadata);
            self.nodes[node].size = size;
        }
        Ok(())
    }

    fn link_layers(&mut self, by_diff: &ByDiff) {
        for node in 0..self.nodes.len() {
            if let Item::Layer(id) = self.nodes[node].item.clone() {
                self.refer(node, &diff_item(&id));
                self.refer(node, &Item::Internal(format!("sizes/{id}")));
                if let Some(diff) = by_diff.diffs.get(&id) {
                    self.refer(node, &alias_item(&id, diff));
                }
            }
        }
    }

    fn add_cache_mounts(&mut self, store: &Store) -> Result<(), FileError> {
        for (of_id, _) in list(&store.path("mounts"))? {
            let Some(id) = mount_id(&of_id)? else { continue };
            for (path, metadata) in list(&of_id)? {
                if !metadata.is_dir() {
                    continue;
                }
                let index =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let in_use = try_hold(&path.join("lock"), Hold::Exclusive)?.is_none();
                let marked = std::fs::symlink_metadata(path.join("initialised")).unwrap_or(metadata);
                let size = tree_size(&path.join("fs"));
                let node = self.add(Item::CacheMount { id: id.clone(), index }, path, &marked);
                self.nodes[node].size = size;
                self.nodes[node].in_use = in_use;
                self.nodes[node].description.clone_from(&id);
            }
        }
        Ok(())
    }

    fn add_records(&mut self, store: &Store, by_diff: &ByDiff) -> Result<(), FileError> {
        for (path, metadata) in files_below(&store.path("records"))? {
            let Some(key) = digest_of_name(&path, ".json") else { continue };
            let record: Option<CacheRecord> = store.record(key)?;
            let node = self.add(Item::Record(key), path, &metadata);
            // A record of a version that this castoff does not know keeps nothing.
            let Some(record) = record else { continue };
            self.nodes[node].description = record.name;
            match &record.outcome {
                RecordOutcome::Layer(id) => self.refer_to_layer(node, id, by_diff),
                RecordOutcome::Blob(digest) => self.refer(node, &Item::Blob(*digest)),
                RecordOutcome::Alias(_) | RecordOutcome::Empty => {}
            }
            for blob in [record.log, record.files].into_iter().flatten() {
                self.refer(node, &Item::Blob(blob));
            }
        }
        Ok(())
    }

    /// The record of a build keeps what its steps printed, and not what they made. An image keeps the record of the
    /// newest build that it came out of.
    fn add_builds(&mut self, store: &Store, by_diff: &ByDiff) -> Result<(), FileError> {
        let mut told = BTreeSet::new();
        for id in store.build_ids()?.into_iter().rev() {
            let path = store.path(build_path(&id));
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            let build = store.build(&id)?;
            let node = self.add(Item::Build(id.clone()), path, &metadata);
            let Some(build) = build else { continue };
            for image in &build.images {
                if let Some(manifest) = self.index.get(&Item::Blob(image.manifest)).copied()
                    && told.insert(image.manifest)
                {
                    self.refer(manifest, &Item::Build(id.clone()));
                }
            }
            self.nodes[node].description = format!("build of {}", build.dockerfile);
            for log in build.steps.iter().filter_map(|step| step.log) {
                self.refer(node, &Item::Blob(log));
            }
            for layer in build.failure().iter().flat_map(|left| left.lowers.iter().chain([&left.upper])) {
                self.refer_to_layer(node, layer, by_diff);
            }
        }
        Ok(())
    }

    fn add_names(
        &mut self,
        store: &Store,
        tree: &str,
        by_diff: &ByDiff,
        item: fn(Reference) -> Item,
    ) -> Result<(), FileError> {
        for tag in store.read_tags(tree)? {
            let path = store.tag_file(tree, &tag.reference);
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            let node = self.add(item(tag.reference.clone()), path, &metadata);
            self.nodes[node].description = tag.reference.familiar();
            self.refer_to_image(store, node, &tag.descriptor, by_diff)?;
        }
        Ok(())
    }

    /// Keeps an image: its documents, its layers as blobs of any form, and the bodies of its layers.
    fn refer_to_image(
        &mut self,
        store: &Store,
        from: usize,
        root: &Descriptor,
        by_diff: &ByDiff,
    ) -> Result<(), FileError> {
        let mut open = vec![root.clone()];
        let mut done = Vec::new();
        while let Some(descriptor) = open.pop() {
            if done.contains(&descriptor.digest) {
                continue;
            }
            done.push(descriptor.digest);
            self.refer(from, &Item::Blob(descriptor.digest));
            if !descriptor.media_type.is_index() && !descriptor.media_type.is_manifest() {
                continue;
            }
            // Documents are not verified here: one that is damaged names nothing that exists.
            let Some(bytes) = read_optional(&store.blob_path(&descriptor.digest))? else { continue };
            if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
                open.extend(index.manifests);
            } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
                for layer in &manifest.layers {
                    self.refer(from, &Item::Blob(layer.digest));
                    // The digest of a layer that is not compressed is its diff id.
                    self.refer_to_layer(from, &LayerId::of_diff(DiffId(layer.digest)), by_diff);
                }
                self.refer(from, &Item::Blob(manifest.config.digest));
                let config = read_optional(&store.blob_path(&manifest.config.digest))?;
                let config = config.and_then(|bytes| serde_json::from_slice::<ImageConfig>(&bytes).ok());
                for diff_id in config.into_iter().flat_map(|config| config.rootfs.diff_ids) {
                    self.refer_to_layer(from, &LayerId::of_diff(diff_id), by_diff);
                }
            }
        }
        Ok(())
    }

    fn mark_named(&mut self) {
        let is_tag = |node: &Node| matches!(node.item, Item::Tag(_));
        let mut open: Vec<usize> =
            (0..self.nodes.len()).filter(|index| is_tag(&self.nodes[*index])).collect();
        while let Some(index) = open.pop() {
            if !self.nodes[index].named {
                self.nodes[index].named = true;
                open.extend(&self.nodes[index].references);
            }
        }
    }
}

fn diff_item(id: &LayerId) -> Item {
    Item::Internal(format!("diffs/{id}.json"))
}

fn alias_item(id: &LayerId, diff: &Digest) -> Item {
    Item::Internal(alias_path(id, diff))
}

fn digest_of_name(path: &Path, suffix: &str) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    format!("sha256:{hex}").parse().ok()
}

/// Returns what a directory body takes on disk. A body never changes, so that it is measured once.
fn layer_size(store: &Store, id: &LayerId, path: &Path) -> Result<u64, FileError> {
    let memo = format!("sizes/{id}");
    let known = read_optional(&store.path(&memo))?;
    let known = known.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok());
    if let Some(size) = known {
        return Ok(size);
    }
    let size = tree_size(&path.join("fs"));
    store.write_file(&memo, format!("{size}\n").as_bytes())?;
    Ok(size)
}
