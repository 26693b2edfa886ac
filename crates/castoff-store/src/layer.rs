//! Layers: directory bodies, and what is remembered about them.
//!
//! A layer may have a directory body here, a tar body among the blobs (named by its diff id), or both. What
//! is known of it besides - its diff id, its compressed forms, the index and the image of its tar - are memos, and may be
//! lost at any time.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use castoff_oci::{DiffId, Digest};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::file::{
    Action, FileError, escape, failed, move_into_place, random_name, read_json, read_optional, sharded, touch,
};
use crate::remove::remove_tree;
use crate::{Blob, Store, TemporaryDirectory};

/// The name of a layer in this store: what it holds, or which run made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(String);

/// A text is not the name of a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a layer")]
pub struct LayerIdError(String);

/// The identity of a layer in images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDiff {
    /// Digest of the layer's uncompressed tar.
    pub diff_id: DiffId,
    /// Size of the uncompressed tar in bytes.
    pub size: u64,
}

#[derive(Serialize, Deserialize)]
struct Variant {
    digest: Digest,
}

/// A directory body that is being made. Dropped before it is committed, it leaves nothing.
#[derive(Debug)]
pub struct ActiveLayer {
    store: Store,
    directory: TemporaryDirectory,
    fs: PathBuf,
    work: PathBuf,
}

/// Why a layer could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file of the store could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl LayerId {
    /// Returns the name of the layer with this diff id.
    pub fn of_diff(diff_id: DiffId) -> LayerId {
        LayerId(format!("sha256-{}", diff_id.0.hex()))
    }

    /// Returns the diff id that the name carries, if it was made of one.
    pub fn diff_id(&self) -> Option<DiffId> {
        let hex = self.0.strip_prefix("sha256-")?;
        format!("sha256:{hex}").parse().ok()
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Returns a name that no layer has, for the layer of a run.
    pub fn new_layer_id(&self) -> LayerId {
        LayerId(format!("run-{}", random_name()))
    }

    /// Returns the directory body of the layer if there is one, and marks it as used. Not to be written to.
    /// A name made of a diff id also finds the body of a run that gave this layer.
    pub fn layer_dir(&self, id: &LayerId) -> Option<PathBuf> {
        let path = self.layer_path(id);
        let own = touch(&path).map(|_| path);
        let body = own.or_else(|| self.aliased_body(id.diff_id()?))?;
        Some(body.join("fs"))
    }

    /// Creates an empty directory for a new body, with mode 0755, and an empty directory for overlayfs to
    /// work in, on one file system.
    ///
    /// # Errors
    /// When they cannot be created.
    pub fn prepare_layer(&self) -> Result<ActiveLayer, LayerError> {
        let directory = self.temporary()?;
        let fs = directory.path().join("fs");
        let work = directory.path().join("work");
        for path in [&fs, &work] {
            fs::create_dir(path).map_err(failed(Action::Create, path))?;
            // The process's umask does not decide what images look like.
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .map_err(failed(Action::Create, path))?;
        }
        Ok(ActiveLayer { store: self.clone(), directory, fs, work })
    }

    /// Removes the layer of a run that no record refers to and nobody else knows. A layer that is named by its diff id
    /// may be somebody's, and stays until the store is pruned.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard_layer(&self, id: &LayerId) -> Result<(), FileError> {
        if id.diff_id().is_some() {
            return Ok(());
        }
        match self.move_away(&self.layer_path(id))? {
            Some(away) => remove_tree(&away),
            None => Ok(()),
        }
    }

    /// Returns the layer's diff id and size, if they were computed before, under this name or as the layer of
    /// a run that has the diff id that the name is made of.
    pub fn layer_diff(&self, id: &LayerId) -> Option<LayerDiff> {
        self.own_diff(id).or_else(|| self.aliased_diff(id.diff_id()?))
    }

    pub(crate) fn own_diff(&self, id: &LayerId) -> Option<LayerDiff> {
        read_json(&self.path(format!("diffs/{id}.json"))).ok()?
    }

    /// Remembers the layer's diff id and size. From then on the layer of a run is also found under the name
    /// made of its diff id.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_layer_diff(&self, id: &LayerId, diff: LayerDiff) -> Result<(), LayerError> {
        // First the alias: who finds the memo does not come back to write it.
        self.write_alias(id, diff.diff_id)?;
        Ok(self.write_json(&format!("diffs/{id}.json"), &diff)?)
    }

    /// Returns the blob with the compressed form of a layer that `variant` names (such as `gzip-6`), if it was
    /// made before and is still here.
    pub fn compressed(&self, diff_id: &DiffId, variant: &str) -> Option<Blob> {
        let variant: Variant = read_json(&self.path(variant_path(diff_id, variant))).ok()??;
        self.blob(&variant.digest)
    }

    /// Remembers which blob is a compressed form of a layer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_compressed(&self, diff_id: &DiffId, variant: &str, blob: &Digest) -> Result<(), LayerError> {
        Ok(self.write_json(&variant_path(diff_id, variant), &Variant { digest: *blob })?)
    }

    /// Returns what [`Store::set_layer_index`] was given for the layer's tar.
    pub fn layer_index(&self, diff_id: &DiffId) -> Option<Vec<u8>> {
        read_optional(&self.path(sharded("indexes", &diff_id.0.hex(), ""))).ok()?
    }

    /// Remembers bytes that make the layer's tar quick to open. Their meaning is the caller's.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_layer_index(&self, diff_id: &DiffId, index: &[u8]) -> Result<(), LayerError> {
        Ok(self.write_file(&sharded("indexes", &diff_id.0.hex(), ""), index)?)
    }

    /// Returns the EROFS image that shows the layer's tar, if [`Store::set_layer_image`] was given one, and
    /// marks it as used.
    pub fn layer_image(&self, diff_id: &DiffId) -> Option<PathBuf> {
        let path = self.path(sharded("erofs", &diff_id.0.hex(), ""));
        touch(&path).map(|_| path)
    }

    /// Keeps an EROFS image whose data is in the layer's tar, and returns where it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_layer_image(&self, diff_id: &DiffId, image: &[u8]) -> Result<PathBuf, LayerError> {
        let relative = sharded("erofs", &diff_id.0.hex(), "");
        self.write_file(&relative, image)?;
        Ok(self.path(relative))
    }

    /// Forgets an image that the kernel does not take.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_layer_image(&self, diff_id: &DiffId) -> Result<(), LayerError> {
        Ok(remove_tree(&self.path(sharded("erofs", &diff_id.0.hex(), "")))?)
    }

    pub(crate) fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.path("layers").join(&id.0)
    }
}

fn variant_path(diff_id: &DiffId, variant: &str) -> String {
    sharded("variants", &diff_id.0.hex(), &format!(".{}.json", escape(variant)))
}

impl ActiveLayer {
    /// Returns the directory that becomes the body; as an overlay's upper directory, or filled directly.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// Returns the directory for overlayfs to work in.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Makes the directory the body of `id` and returns its new path. When there is one already, that one
    /// stays and this one goes.
    ///
    /// # Errors
    /// When it cannot be moved; nothing is left then.
    pub fn commit(self, id: &LayerId) -> Result<PathBuf, LayerError> {
        if let Some(path) = self.store.layer_dir(id) {
            return Ok(path);
        }
        remove_tree(&self.work)?;
        let from = self.directory.path();
        // The time of the outer directory says when the body was complete, for the sweep after an unclean
        // boot; the last write may have been deep inside.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(CWD, from, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(Action::Write, from))?;
        let to = self.store.layer_path(id);
        match move_into_place(from, &to) {
            Ok(()) => {}
            // Another process was first.
            Err(error) if is_occupied(&error.source) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(to.join("fs"))
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

impl FromStr for LayerId {
    type Err = LayerIdError;

    fn from_str(text: &str) -> Result<LayerId, LayerIdError> {
        let is_hex = |digits: &str, length: usize| {
            digits.len() == length && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        match text.split_once('-') {
            Some(("sha256", digits)) if is_hex(digits, 64) => Ok(LayerId(text.to_owned())),
            Some(("run", digits)) if is_hex(digits, 32) => Ok(LayerId(text.to_owned())),
            _ => Err(LayerIdError(text.to_owned())),
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LayerId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
