//! Checks that found nothing, so that they need not be made again.

use castoff_oci::Digest;

use crate::Store;
use crate::file::{FileError, sharded, touch};

/// Directory of the marks.
pub(crate) const PASSED: &str = "passed";

impl Store {
    /// Returns whether [`Store::set_passed`] was told so, and marks it as used. `check` stands for the check and all
    /// that it looks at.
    pub fn has_passed(&self, check: &Digest) -> bool {
        touch(&self.path(sharded(PASSED, &check.hex(), ""))).is_some()
    }

    /// Remembers that a check found nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_passed(&self, check: &Digest) -> Result<(), FileError> {
        self.write_file(&sharded(PASSED, &check.hex(), ""), b"")
    }
}

#[cfg(test)]
mod tests {
    use castoff_oci::Digest;

    use crate::{Boot, Store};

    #[test]
    fn what_passed_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Boot { boot_id: "b".to_owned() }).unwrap();
        let check = Digest::of(b"check");
        assert!(!store.has_passed(&check));
        store.set_passed(&check).unwrap();
        assert!(store.has_passed(&check));
        assert!(!store.has_passed(&Digest::of(b"other")));
    }
}
