//! Exit codes of the program (B-004, B-005). Scripts depend on them.

/// Everything that was asked for was done.
pub const SUCCESS: u8 = 0;

/// The build or the command failed, whatever the reason. A failing RUN step's own status is in the
/// message only.
pub const FAILURE: u8 = 1;

/// The command line was not understood.
pub const USAGE: u8 = 1;

/// The command line was not understood, and the program was called under the name `docker`.
pub const DOCKER_USAGE: u8 = 125;

/// The user interrupted the build.
pub const INTERRUPTED: u8 = 130;

/// `castoff diff` could not compare; its 1 says that there are differences, as with `diff`.
pub const TROUBLE: u8 = 2;
