//! The walk over an image: which file is read as what.

use std::io::Read as _;

use castoff_layer::{EntryKind, Node, View, ViewError};

use super::{Collection, apk, dpkg, java, npm, program, python};

/// Larger databases, archives and descriptions of packages are not read, so that memory is bounded.
const FILE_LIMIT: u64 = 128 << 20;
/// The same for the small files that describe one package.
const SMALL_LIMIT: u64 = 4 << 20;

/// Databases of rpm, whose formats are those of SQLite, Berkeley DB and rpm's own.
const RPM_DATABASES: &[&str] = &["rpmdb.sqlite", "Packages", "Packages.db"];
const RPM_DIRECTORIES: &[&str] = &["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

/// Walks the whole file system.
pub(super) fn walk(view: &View, found: &mut Collection) -> Result<(), ViewError> {
    // Directories still to do; a path is as deep as the image has it, so no recursion.
    let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        let mut deeper = Vec::new();
        for (name, node) in view.read_dir(&directory)? {
            match node.entry.kind {
                EntryKind::Directory { .. } => deeper.push(node.entry.path.clone()),
                EntryKind::File { size } => file(view, &name, &node, size, found)?,
                _ => {}
            }
        }
        pending.extend(deeper.into_iter().rev());
    }
    Ok(())
}

fn file(view: &View, name: &[u8], node: &Node, size: u64, found: &mut Collection) -> Result<(), ViewError> {
    let path = node.entry.path.as_slice();
    // What is named otherwise than text is no package's.
    let (Ok(text), Ok(name)) = (std::str::from_utf8(path), std::str::from_utf8(name)) else { return Ok(()) };
    let directory = text.strip_suffix(name).unwrap_or_default().trim_end_matches('/');
    match (directory, name) {
        ("var/lib/dpkg", "status") => {
            if let Some(text) = read(view, node, size, FILE_LIMIT, found)? {
                dpkg::status(view, path, &text, true, found)?;
            }
        }
        // One file for each package, as images of Bazel's rules have them.
        ("var/lib/dpkg/status.d", name) if !name.ends_with(".md5sums") => {
            if let Some(text) = read(view, node, size, SMALL_LIMIT, found)? {
                dpkg::status(view, path, &text, false, found)?;
            }
        }
        ("lib/apk/db" | "usr/lib/apk/db", "installed") => {
            if let Some(text) = read(view, node, size, FILE_LIMIT, found)? {
                apk::installed(path, &text, found);
            }
        }
        (directory, name) if RPM_DIRECTORIES.contains(&directory) && RPM_DATABASES.contains(&name) => {
            found.leave(path, "databases of rpm are not read yet: its packages are missing in the list");
        }
        (directory, "package.json") if npm::is_package(directory) => {
            if let Some(text) = read(view, node, size, SMALL_LIMIT, found)? {
                npm::package(path, &text, found);
            }
        }
        (directory, "METADATA") if directory.ends_with(".dist-info") => {
            if let Some(text) = read(view, node, size, SMALL_LIMIT, found)? {
                python::metadata(path, &text, found);
            }
        }
        (directory, "PKG-INFO") if directory.ends_with(".egg-info") => {
            if let Some(text) = read(view, node, size, SMALL_LIMIT, found)? {
                python::metadata(path, &text, found);
            }
        }
        (_, name) if name.ends_with(".egg-info") => {
            if let Some(text) = read(view, node, size, SMALL_LIMIT, found)? {
                python::metadata(path, &text, found);
            }
        }
        (_, name) if java::is_archive(name) => {
            if size > FILE_LIMIT {
                found.leave(path, &too_large(FILE_LIMIT));
            } else {
                java::archive(path, bytes(view, node, size)?, found);
            }
        }
        _ if node.entry.mode & 0o111 != 0 && size > 64 => program::program(view, node, found)?,
        _ => {}
    }
    Ok(())
}

/// Reads a text, unless it is too large.
fn read(
    view: &View,
    node: &Node,
    size: u64,
    limit: u64,
    found: &mut Collection,
) -> Result<Option<String>, ViewError> {
    if size > limit {
        found.leave(&node.entry.path, &too_large(limit));
        return Ok(None);
    }
    let bytes = bytes(view, node, size)?;
    Ok(Some(
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into()),
    ))
}

fn bytes(view: &View, node: &Node, size: u64) -> Result<Vec<u8>, ViewError> {
    let mut bytes = Vec::new();
    view.open(node)?.take(size).read_to_end(&mut bytes).map_err(|source| ViewError::Io {
        path: String::from_utf8_lossy(&node.entry.path).into_owned(),
        source,
    })?;
    Ok(bytes)
}

fn too_large(limit: u64) -> String {
    format!("larger than {} MiB", limit >> 20)
}
