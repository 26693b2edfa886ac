//! Schedules a build graph over the cache, and turns its results into layers and images.
//!
//! The entrance is [`solve`]: a [`BuildGraph`](castoff_graph::BuildGraph) and a [`World`] in,
//! [`Event`]s out while it works, a [`Solved`] in the end. [`export`] makes images, archives and
//! directories of that; [`resolve`] and [`import`] bring images in.
//!
//! The [`schedule`] is a pure state machine; the driver around it owns all threads. This crate
//! deliberately knows no Dockerfile, prints nothing, and reads neither the environment nor the
//! terminal.

mod bodies;
pub mod copy;
mod driver;
mod event;
mod execute;
pub mod export;
pub mod fetch;
mod guard;
pub mod import;
mod lookup;
mod lowers;
mod machine_root;
mod memos;
mod miss;
mod missing;
pub mod origin;
pub mod passwd;
mod process_root;
mod recipe;
mod redact;
pub mod repeat;
mod resolve;
pub mod schedule;
pub mod shared_cache;
mod step;
pub mod transfer;
mod world;

pub use bodies::{BaseLayer, Bodies, BodyError, SnapshotLayer};
pub use driver::{EventReceiver, Messenger, SolveError, SolveOptions, Solved, snapshot, solve};
pub use event::{Event, Fact, Outcome, OutputStream, StepId};
pub use execute::{EnteredStep, FailedProcess, KeptMount, LogError, RunEnvironment, enter, hosts_file};
pub use guard::{Guard, GuardError, Leak};
pub use process_root::{ProcessRoot, whole};
pub use resolve::{PullPolicy, ResolveError, Resolved, resolve};
pub use step::{StepError, chain, is_broken_pipe};
pub use world::{DeviceGrant, HostFiles, IgnoreFile, LocalDirectory, MachineMode, SecretValue, World};
