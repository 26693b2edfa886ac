//! Finding in another stage what an image lacks.

use castoff_layer::{EntryKind, View, ViewError};
use castoff_oci::ImageConfig;

use super::Wanted;
use super::command;
use super::files::Files;

/// Where distributions and people keep libraries, below which one more directory is looked into.
const LIBRARIES: &[&str] =
    &["/usr/lib", "/lib", "/usr/lib64", "/lib64", "/usr/local/lib", "/usr/local/lib64", "/opt"];

impl Wanted {
    /// Returns the absolute path at which a stage has it.
    ///
    /// # Errors
    /// When the files of the stage cannot be read.
    pub fn find(&self, view: &View, config: &ImageConfig) -> Result<Option<String>, ViewError> {
        let files = Files { view, user: None };
        match self {
            Wanted::Program(name) => {
                let found = command::search(&files, &config.config, name)?;
                Ok(found.ok().map(|found| found.path))
            }
            Wanted::File(path) => is_file(&files, path),
            Wanted::Library(name) => library(&files, name),
        }
    }
}

fn is_file(files: &Files<'_>, path: &str) -> Result<Option<String>, ViewError> {
    let found = files.find(path)?;
    Ok(found.filter(|found| matches!(found.node.entry.kind, EntryKind::File { .. })).map(|_| path.to_owned()))
}

fn library(files: &Files<'_>, name: &str) -> Result<Option<String>, ViewError> {
    for directory in LIBRARIES {
        if let Some(path) = is_file(files, &format!("{directory}/{name}"))? {
            return Ok(Some(path));
        }
        let Some(found) = files.find(directory)?.filter(|found| found.node.entry.is_directory()) else {
            continue;
        };
        for (below, node) in files.view.read_dir(found.path.trim_start_matches('/').as_bytes())? {
            if !node.entry.is_directory() {
                continue;
            }
            let path = format!("{directory}/{}/{name}", String::from_utf8_lossy(&below));
            if let Some(path) = is_file(files, &path)? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}
