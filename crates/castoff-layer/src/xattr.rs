//! Which extended attributes are part of a layer, and getting them from open files.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// The attribute that remembers an owner which the file system cannot hold, as `uid:gid`.
pub const OWNER_XATTR: &str = "user.castoff.owner";

/// Returns whether an extended attribute is part of a layer (D-312): of `security.*` capabilities
/// alone, nothing of the system's, of overlayfs's, or of castoff's.
pub fn belongs_to_layer(name: &[u8]) -> bool {
    let foreign: [&[u8]; 5] = [b"security.", b"system.", b"trusted.", b"user.overlay.", b"user.castoff."];
    name == b"security.capability" || !foreign.iter().any(|prefix| name.starts_with(prefix))
}

/// Parses the value of [`OWNER_XATTR`].
pub(crate) fn parse_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// XATTR_LIST_MAX and XATTR_SIZE_MAX in linux/limits.h.
const LIMIT: usize = 64 * 1024;

/// Reads the attributes of many files with one buffer.
#[derive(Debug)]
pub(crate) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    pub(crate) fn new() -> XattrReader {
        XattrReader { names: vec![0; LIMIT], value: vec![0; LIMIT] }
    }

    /// Returns all attributes of an open file; none where the file system has none.
    pub(crate) fn read(&mut self, file: BorrowedFd<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
        let mut found = BTreeMap::new();
        let length = match rustix::fs::flistxattr(file, &mut self.names[..]) {
            Ok(length) => length,
            Err(Errno::NOTSUP) => 0,
            Err(error) => return Err(error),
        };
        for name in self.names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match rustix::fs::fgetxattr(file, name, &mut self.value[..]) {
                Ok(length) => {
                    found.insert(name.to_vec(), self.value[..length].to_vec());
                }
                // Gone since it was listed, or not for this process to read.
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
