//! Opening and creating a store.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::file::{Action, FileError, failed, random_name, read_optional, write_durable};
use crate::lease::remove_leftovers;
use crate::sync::settle_boot;
use crate::{Boot, FORMAT_VERSION, Inner, Store};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store was written by a newer castoff.
    #[error(
        "store `{}` has format {found}, and this castoff knows formats up to {FORMAT_VERSION}",
        path.display()
    )]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The directory has other things in it.
    #[error("directory `{}` is not empty and is not a store", .0.display())]
    NotAStore(PathBuf),
    /// A file of the store could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// Opens the store in the directory `root`, which is created when absent or empty.
    ///
    /// The first open after another boot drops what was written since the last [`Store::sync`]; every open
    /// removes the temporary files of processes that died.
    ///
    /// # Errors
    /// When the store's format is newer, the directory holds something else, or it cannot be used.
    pub fn open(root: &Path, machine: &Boot) -> Result<Store, OpenError> {
        if read_optional(&root.join("version"))?.is_none() {
            create(root)?;
        }
        let root = fs::canonicalize(root).map_err(failed(Action::Open, root))?;
        check_version(&root)?;
        settle_boot(&root, machine)?;
        remove_leftovers(&root)?;
        let inner =
            Inner { root, boot: machine.clone(), temporary: Mutex::new(None), counter: AtomicU64::new(0) };
        Ok(Store { inner: Arc::new(inner) })
    }
}

/// Writes the version into an empty directory. Processes that do so at once write the same.
fn create(root: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed(Action::Create, root))?;
    let version = root.join("version");
    for entry in fs::read_dir(root).map_err(failed(Action::Read, root))? {
        let entry = entry.map_err(failed(Action::Read, root))?;
        // Another process may be creating the store too, or died while it did. The version is the first
        // file of a store: with it there, all else is in order.
        if !entry.file_name().as_encoded_bytes().starts_with(b".version-") {
            return match version.exists() {
                true => Ok(()),
                false => Err(OpenError::NotAStore(root.to_owned())),
            };
        }
    }
    let temporary = root.join(format!(".version-{}", random_name()));
    write_durable(&temporary, &version, format!("{FORMAT_VERSION}\n").as_bytes())?;
    Ok(())
}

fn check_version(root: &Path) -> Result<(), OpenError> {
    let bytes = read_optional(&root.join("version"))?.unwrap_or_default();
    let found = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
    match found {
        Some(1..=FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => Err(OpenError::Newer { path: root.to_owned(), found }),
        _ => Err(OpenError::NotAStore(root.to_owned())),
    }
}
