//! Names of images: those that users give, and what remote names were when last asked.
//!
//! A reference is a path: the registry, the components of the repository, and a file whose name begins with
//! `:` before a tag or `@` before a digest. Neither character may be in a repository's component, so that
//! repository `a/b.json` and tag `b` of repository `a` do not meet.

use std::path::PathBuf;
use std::time::SystemTime;

use castoff_oci::{Descriptor, Reference};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::file::{FileError, escape, files_below, milliseconds, read_json, remove_optional, touch};

/// A name and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The name.
    pub reference: Reference,
    /// The manifest or index that it names.
    pub descriptor: Descriptor,
    /// When the name was set, in milliseconds since 1970.
    pub created_ms: i64,
}

impl Store {
    /// Returns what the user's name stands for.
    ///
    /// # Errors
    /// When the file is there and cannot be read. One that cannot be parsed is removed and absent.
    pub fn tag(&self, reference: &Reference) -> Result<Option<Descriptor>, FileError> {
        Ok(self.read_tag("tags", reference)?.map(|tag| tag.descriptor))
    }

    /// Returns what a name stands for, and since when.
    ///
    /// # Errors
    /// As [`tag`](Store::tag).
    pub fn tag_entry(&self, reference: &Reference) -> Result<Option<Tag>, FileError> {
        self.read_tag("tags", reference)
    }

    /// Gives an image a name. A name keeps its image from being pruned.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_tag(&self, reference: &Reference, descriptor: &Descriptor) -> Result<(), FileError> {
        self.write_tag("tags", reference, descriptor)
    }

    /// Takes a name away and returns whether it was there. The image stays until it is pruned.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_tag(&self, reference: &Reference) -> Result<bool, FileError> {
        let path = self.path(tag_path("tags", reference));
        let was_there = remove_optional(&path)?;
        // Directories that are empty now; up to `tags` itself, which is not.
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != self.path("tags")) {
            if std::fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(was_there)
    }

    /// Returns the users' names in the order of their references.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tags(&self) -> Result<Vec<Tag>, FileError> {
        self.read_tags("tags")
    }

    /// Returns what a remote name stood for when it was last asked for, and marks that as used.
    ///
    /// # Errors
    /// When the file is there and cannot be read. One that cannot be parsed is removed and absent.
    pub fn pulled(&self, reference: &Reference) -> Result<Option<Tag>, FileError> {
        let tag = self.read_tag("pulled", reference)?;
        if tag.is_some() {
            touch(&self.path(tag_path("pulled", reference)));
        }
        Ok(tag)
    }

    /// Remembers what a remote name stands for. Unlike a user's name it is pruned when it was long unused.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_pulled(&self, reference: &Reference, descriptor: &Descriptor) -> Result<(), FileError> {
        self.write_tag("pulled", reference, descriptor)
    }

    /// Returns what all remote names stood for when they were last asked for, in the order of their
    /// references.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all_pulled(&self) -> Result<Vec<Tag>, FileError> {
        self.read_tags("pulled")
    }

    pub(crate) fn read_tags(&self, tree: &str) -> Result<Vec<Tag>, FileError> {
        let mut tags = Vec::new();
        for (path, _) in files_below(&self.path(tree))? {
            tags.extend(read_json::<Tag>(&path)?);
        }
        tags.sort_by(|left, right| left.reference.cmp(&right.reference));
        Ok(tags)
    }

    pub(crate) fn tag_file(&self, tree: &str, reference: &Reference) -> PathBuf {
        self.path(tag_path(tree, reference))
    }

    fn read_tag(&self, tree: &str, reference: &Reference) -> Result<Option<Tag>, FileError> {
        read_json(&self.path(tag_path(tree, reference)))
    }

    fn write_tag(&self, tree: &str, reference: &Reference, descriptor: &Descriptor) -> Result<(), FileError> {
        let tag = Tag {
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            created_ms: milliseconds(SystemTime::now()),
        };
        self.write_json(&tag_path(tree, reference), &tag)
    }
}

/// Returns the relative path of a name. A digest decides; a tag beside it is for display only.
fn tag_path(tree: &str, reference: &Reference) -> String {
    let repository: Vec<String> = reference.repository().split('/').map(escape).collect();
    let last = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("@{}", digest.hex()),
        (None, tag) => format!(":{}", tag.unwrap_or("latest")),
    };
    format!("{tree}/{}/{}/{last}.json", escape(reference.registry()), repository.join("/"))
}
