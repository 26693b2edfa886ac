//! The program `castoff` as a library, so that its tests can reach it: the command line, the rendering of
//! progress, and the reports of failures. `main.rs` is the program itself.
//!
//! Nothing here is a stable interface for others.

mod agents;
pub mod args;
mod attest;
mod aws;
pub mod build;
mod bundle;
mod caches;
pub mod call;
pub mod check;
pub mod command;
pub mod context;
mod devices;
pub mod diff;
mod engine;
pub mod exit;
pub mod export;
pub mod history;
mod host;
pub mod ignored;
pub mod image;
pub mod interrupt;
pub mod lock;
mod metadata;
pub mod missing;
mod output_file;
mod platforms;
pub mod progress;
pub mod prove;
pub mod report;
pub mod rules;
pub mod session;
mod sign;
pub mod start;
pub mod table;
mod time;
mod vcs;
mod verify;
