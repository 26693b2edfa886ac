//! Aliases: under which names the store has a layer that images know by its diff id alone.
//!
//! The layer of a run is named before its diff id is known, and keeps that name, as records have it. An alias
//! is an empty file whose path says both names: it cannot be half written, nothing in it can be wrong, and
//! two runs that gave the same layer do not overwrite each other's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use castoff_oci::{DiffId, Digest};

use crate::file::{FileError, files_below, list, sharded, touch};
use crate::{LayerDiff, LayerId, Store};

/// Directory of the aliases, relative to the store's.
pub(crate) const ALIASES: &str = "aliases";

/// Which layers have which diff id, by all that the store remembers.
#[derive(Default)]
pub(crate) struct ByDiff {
    /// Names of the layers with a diff id, without the one that is made of it.
    pub(crate) layers: BTreeMap<Digest, Vec<LayerId>>,
    /// Diff ids of the layers.
    pub(crate) diffs: BTreeMap<LayerId, Digest>,
}

impl ByDiff {
    fn add(&mut self, id: LayerId, diff: Digest) {
        if id.diff_id() != Some(DiffId(diff)) {
            let layers = self.layers.entry(diff).or_default();
            if !layers.contains(&id) {
                layers.push(id.clone());
            }
        }
        self.diffs.insert(id, diff);
    }
}

impl Store {
    /// Makes the layer known under its diff id, unless it is named by it.
    pub(crate) fn write_alias(&self, id: &LayerId, diff_id: DiffId) -> Result<(), FileError> {
        let alias = alias_path(id, &diff_id.0);
        if id.diff_id() == Some(diff_id) || touch(&self.path(&alias)).is_some() {
            return Ok(());
        }
        self.write_file(&alias, b"")
    }

    /// Returns the first body that a layer with this diff id has under another name, and marks it as used.
    pub(crate) fn aliased_body(&self, diff_id: DiffId) -> Option<PathBuf> {
        self.aliased(diff_id).into_iter().find_map(|(alias, id)| {
            // A memo that is lost says nothing against the alias; one that says another diff id does.
            if self.own_diff(&id).is_some_and(|diff| diff.diff_id != diff_id) {
                return None;
            }
            let path = self.layer_path(&id);
            touch(&path)?;
            touch(&alias);
            Some(path)
        })
    }

    /// Returns what is remembered under another name of the layer with this diff id.
    pub(crate) fn aliased_diff(&self, diff_id: DiffId) -> Option<LayerDiff> {
        let mut diffs = self.aliased(diff_id).into_iter().filter_map(|(_, id)| self.own_diff(&id));
        diffs.find(|diff| diff.diff_id == diff_id)
    }

    /// Reads which layer has which diff id: an image names its layers by diff id alone.
    pub(crate) fn layers_by_diff(&self) -> Result<ByDiff, FileError> {
        let mut by_diff = ByDiff::default();
        for (path, _) in list(&self.path("diffs"))? {
            let id = path.file_stem().and_then(OsStr::to_str).and_then(|name| name.parse::<LayerId>().ok());
            if let Some(id) = id
                && let Some(diff) = self.own_diff(&id)
            {
                by_diff.add(id, diff.diff_id.0);
            }
        }
        for (path, _) in files_below(&self.path(ALIASES))? {
            if let Some((diff, id)) = names(&path)
                && by_diff.diffs.get(&id).is_none_or(|known| *known == diff)
            {
                by_diff.add(id, diff);
            }
        }
        Ok(by_diff)
    }

    /// Returns the aliases of a diff id, and the layers that they name.
    fn aliased(&self, diff_id: DiffId) -> Vec<(PathBuf, LayerId)> {
        let entries = list(&self.path(sharded(ALIASES, &diff_id.0.hex(), ""))).unwrap_or_default();
        let named = entries.into_iter().map(|(path, _)| (names(&path), path));
        named.filter_map(|(names, path)| names.map(|(_, id)| (path, id))).collect()
    }
}

/// Returns the relative path of an alias.
pub(crate) fn alias_path(id: &LayerId, diff: &Digest) -> String {
    format!("{}/{id}", sharded(ALIASES, &diff.hex(), ""))
}

/// Returns the diff id and the layer that an alias is about.
fn names(path: &Path) -> Option<(Digest, LayerId)> {
    let id = path.file_name()?.to_str()?.parse().ok()?;
    let hex = path.parent()?.file_name()?.to_str()?;
    Some((format!("sha256:{hex}").parse().ok()?, id))
}
