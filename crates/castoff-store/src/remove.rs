//! Removal of directory trees that steps have written.
//!
//! Such a tree is hostile: it may hold symbolic links to anywhere, directories without any permission (as
//! overlayfs leaves its `work/work`), devices, files of other owners, and thousands of levels. Everything is
//! done relative to an open directory, no link is followed, and the number of open descriptors is bounded.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::file::{Action, FileError, failed};

/// Levels below which a subtree is moved up to the root of the tree before it is removed.
const MAXIMUM_DEPTH: usize = 64;

/// Removes a file, or a directory with all that is in it. It may be absent.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    remove(path).map_err(|error| failed(Action::Remove, path)(error))
}

/// Returns the bytes that a tree takes on disk; a file with several links counts once, and what cannot be
/// looked at does not count.
pub(crate) fn tree_size(path: &Path) -> u64 {
    let mut linked = BTreeSet::new();
    let mut directories = vec![path.to_owned()];
    let mut total = 0;
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            total += crate::file::disk_size(&metadata);
        }
    }
    total
}

fn remove(path: &Path) -> Result<(), Errno> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let path = path.as_os_str().as_encoded_bytes();
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let root = open_directory(CWD, &path)?;
    let mut deep = Deep { root: root.as_fd(), moved: 0 };
    empty(&root, 0, &mut deep)?;
    // What was moved up may be deep itself, and moves its own depths up in turn.
    while deep.moved > 0 {
        deep.moved = 0;
        empty(&root, 0, &mut deep)?;
    }
    match rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Where subtrees go that are too deep to descend into.
struct Deep<'fd> {
    root: BorrowedFd<'fd>,
    moved: u64,
}

impl Deep<'_> {
    fn move_up(&mut self, directory: &OwnedFd, name: &CString) -> Result<(), Errno> {
        let fresh = format!(".castoff-{}", crate::file::random_name());
        match rustix::fs::renameat(directory, name, self.root, &fresh) {
            // Moving a directory to another parent writes its `..`, which needs the permission to.
            Err(Errno::ACCESS) => {
                grant(directory.as_fd(), name)?;
                rustix::fs::renameat(directory, name, self.root, &fresh)?;
            }
            other => other?,
        }
        self.moved += 1;
        Ok(())
    }
}

fn empty(directory: &OwnedFd, depth: usize, deep: &mut Deep<'_>) -> Result<(), Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    let mut granted = false;
    for (name, kind) in names {
        loop {
            let done = remove_entry(directory, &name, kind, depth, deep);
            match done {
                // A directory of ours without write permission, when we are not root.
                Err(Errno::ACCESS) if !granted => {
                    granted = true;
                    rustix::fs::fchmod(directory, Mode::RWXU)?;
                }
                Err(Errno::NOENT) => break,
                other => {
                    other?;
                    break;
                }
            }
        }
    }
    Ok(())
}

fn remove_entry(
    directory: &OwnedFd,
    name: &CString,
    kind: FileType,
    depth: usize,
    deep: &mut Deep<'_>,
) -> Result<(), Errno> {
    if kind != FileType::Directory {
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            // The type was unknown to the file system's listing.
            Err(Errno::ISDIR | Errno::PERM) => {}
            other => return other,
        }
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    if depth >= MAXIMUM_DEPTH {
        return deep.move_up(directory, name);
    }
    let below = open_directory(directory.as_fd(), name)?;
    empty(&below, depth + 1, deep)?;
    drop(below);
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

fn open_directory(parent: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            grant(parent, name)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Gives the owner all permissions on a directory that cannot be opened for the lack of them.
fn grant(parent: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // fchmod refuses O_PATH descriptors, and fchmodat cannot refuse links before Linux 6.6; the magic link
    // of the descriptor leads to exactly the inode that was opened.
    rustix::fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), Mode::RWXU)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{MAXIMUM_DEPTH, remove_tree};

    #[test]
    fn trees_deeper_than_the_descriptor_limit_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        // Built from the inside out, as no path may be so long.
        let build = directory.path().join("build");
        fs::create_dir(&build).unwrap();
        fs::write(build.join("leaf"), b"x").unwrap();
        for _ in 0..MAXIMUM_DEPTH * 20 {
            let outer = directory.path().join("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(&build, outer.join("d")).unwrap();
            fs::rename(&outer, &build).unwrap();
        }
        fs::rename(&build, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), b"kept").unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        let link = directory.path().join("link-itself");
        symlink(&outside, &link).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&link).unwrap();
        assert!(!tree.exists() && link.symlink_metadata().is_err());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn directories_without_permissions_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        let closed = tree.join("work/work");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::write(closed.join("inner/file"), b"x").unwrap();
        for path in [closed.join("inner"), closed] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn an_absent_tree_is_removed_already() {
        let directory = tempfile::tempdir().unwrap();
        remove_tree(&directory.path().join("absent/deeper")).unwrap();
    }
}
