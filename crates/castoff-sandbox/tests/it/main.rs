//! Processes in sandboxes, run for real.

mod emulation;
mod enter;
mod file_system;
mod isolation;
mod machine;
mod mounts;
mod process;
