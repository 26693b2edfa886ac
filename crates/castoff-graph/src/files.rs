//! The files that a step read, as its record has them.

use std::collections::BTreeMap;

use castoff_oci::Digest;
use serde::{Deserialize, Serialize};

/// The mode of files that is not noted.
pub const USUAL_MODE: u32 = 0o644;

/// The files that a step read: what explains a later miss. Nothing else depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// The digest of each, by its path.
    pub digests: BTreeMap<String, Digest>,
    /// The permission bits of those that have others than [`USUAL_MODE`]; `None` where nobody noted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modes: Option<BTreeMap<String, u32>>,
}

impl FileList {
    /// Reads a list: the document of [`FileList::to_bytes`], or a mere map of digests, as it was once.
    pub fn parse(bytes: &[u8]) -> Option<FileList> {
        serde_json::from_slice(bytes).ok().or_else(|| {
            let digests = serde_json::from_slice(bytes).ok()?;
            Some(FileList { digests, modes: None })
        })
    }

    /// Returns the document in which the list is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps of texts are always JSON")
    }

    /// Returns the permission bits of a file of the list, when they were noted.
    pub fn mode(&self, path: &str) -> Option<u32> {
        let modes = self.modes.as_ref()?;
        Some(modes.get(path).copied().unwrap_or(USUAL_MODE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_as_it_was_once() {
        let digests = BTreeMap::from([("a".to_owned(), Digest::of(b"a"))]);
        let list =
            FileList { digests: digests.clone(), modes: Some(BTreeMap::from([("a".to_owned(), 0o755)])) };
        assert_eq!(FileList::parse(&list.to_bytes()), Some(list.clone()));
        assert_eq!((list.mode("a"), list.mode("b")), (Some(0o755), Some(0o644)));
        for name in ["a", "digests"] {
            let digests = BTreeMap::from([(name.to_owned(), Digest::of(b"a"))]);
            let once = serde_json::to_vec(&digests).unwrap();
            assert_eq!(FileList::parse(&once), Some(FileList { digests, modes: None }));
        }
        assert_eq!(FileList::parse(b"{}"), Some(FileList::default()));
        assert_eq!(FileList::parse(b"[]"), None);
    }
}
