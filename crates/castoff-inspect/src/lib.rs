//! What an image is made of, whether it can start and whether secrets are in it, seen from its files, its config and the
//! records of builds.
//!
//! The main type is [`StartCheck`]: it goes through what a runtime, the kernel and the dynamic loader do when
//! the image is run, and says what will fail or is likely to.
//!
//! ```
//! use castoff_inspect::{Certainty, StartCheck, User};
//! use castoff_layer::View;
//! use castoff_oci::{ContainerConfig, ImageConfig};
//!
//! let mut config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..Default::default() };
//! config.config.cmd = Some(vec!["/server".into()]);
//! let view = View::empty();
//! let findings = StartCheck { view: &view, config: &config, user: User::Known { uid: 0, groups: vec![0] } }.run()?;
//! assert_eq!(findings[0].certainty, Certainty::Certain);
//! assert_eq!(findings[0].message, "`/server` is not in the image");
//! # Ok::<(), castoff_layer::ViewError>(())
//! ```
//!
//! [`packages::scan`] finds the packages that are installed in an image. [`builds`] reads the records of builds. A
//! [`secrets::Scanner`] looks for secrets in layers and texts. [`sizes::Sizes`] weighs layers file by file.
//!
//! This crate runs nothing, mounts nothing and opens no file but through a [`View`](castoff_layer::View). What it
//! reads is taken as hostile.

pub mod builds;
pub mod diff;
pub mod explain;
pub mod packages;
pub mod secrets;
mod seekable;
pub mod sizes;
mod start;
mod tables;

pub use start::{Certainty, Finding, Rule, StartCheck, User, Wanted};
