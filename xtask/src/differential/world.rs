//! Where the differential test happens.

use std::path::PathBuf;

use crate::peers;
pub(super) use crate::peers::world::{World, is_entered};

/// The command that this is.
pub(super) const COMMAND: &str = "differential";

/// Returns the directory of everything that is written.
pub(super) fn directory() -> PathBuf {
    peers::world::directory(COMMAND)
}
