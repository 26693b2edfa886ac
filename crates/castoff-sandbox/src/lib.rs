//! Runs one process, isolated: namespaces, an overlay root, mounts, capabilities, seccomp, limits.
//!
//! The main types are [`ProcessSpec`], [`Exit`] and [`Cancel`]; the main function is [`run`]. It starts
//! this same program again as a small helper with one hidden argument, so `main` must call
//! [`child_main_if_requested`] before anything else. The helper makes the namespaces; nothing it
//! mounts is visible outside, and nothing is left when it dies, however it dies.
//!
//! This crate deliberately knows no image, no store and no Dockerfile: it takes paths and numbers. It
//! is the only crate of castoff with unsafe code.

mod binfmt;
mod cancel;
mod capability;
mod child;
mod control;
mod emulation;
mod images;
mod mounts;
mod probe;
mod process;
mod program;
mod reap;
mod root;
mod run;
mod seccomp;
mod shell;
mod spec;
mod subid;
mod sys;
mod terminal;
mod user;

pub use binfmt::{Emulator, Execution, amd64_level, architectures, execution};
pub use cancel::Cancel;
pub use child::child_main_if_requested;
pub use images::{ImageMounts, takes_images};
pub use probe::{Ability, Machine, probe};
pub use run::{Exit, RunError, Status, Stream, Usage, run};
pub use spec::{
    MountKind, MountSpec, Network, Output, ProcessSpec, ProvidedFile, Rlimit, SecretBytes, Stdin,
};
pub use user::{EnterError, EnterOptions, Entered, IdMap, enter_user_namespace};
