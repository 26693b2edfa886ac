//! Processes in sandboxes, run for real.

mod enter;
mod file_system;
mod isolation;
mod machine;
mod mounts;
mod process;
