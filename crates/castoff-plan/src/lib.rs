//! From a parsed Dockerfile to a build graph: which stages the target needs, what each instruction
//! means there, and the config and history of the image that comes out.
//!
//! The main types are [`Planner`], [`Step`] and [`Plan`]. The planner is a state machine, because what
//! a base image holds (its environment, its triggers) decides what the graph is: it returns
//! [`Step::Resolve`] with the images it must know, is told of each with [`Planner::provide`], and goes on.
//!
//! ```
//! use castoff_plan::{Planner, PlanOptions, Step};
//!
//! let source = "FROM scratch\nCOPY app /app\nCMD [\"/app\"]\n";
//! let parsed = castoff_dockerfile::parse(source.as_bytes());
//! let options = PlanOptions::new("linux/amd64".parse().unwrap());
//! let mut planner = Planner::new(&parsed.dockerfile, options);
//! let Step::Done(plan) = planner.step() else { panic!("nothing to ask and nothing wrong") };
//! assert_eq!(plan.outputs[0].history[0].created_by, "COPY app /app # buildkit");
//! ```
//!
//! This crate deliberately does no input or output: it never asks a registry, never looks at the build
//! context, and does not know what a step costs.

mod budget;
mod check;
mod chmod;
mod contexts;
mod cycles;
mod date;
mod globals;
pub mod lint;
mod lower;
mod names;
mod onbuild;
mod options;
mod outline;
mod paths;
mod pins;
mod place;
mod planner;
mod reach;
mod scope;
mod stage;
mod suggest;

pub use check::{CheckStep, Examined, Reaching};
pub use options::{ContextSource, Entitlements, NamedContext, PlanOptions};
pub use outline::{Access, Argument, Outline, Target, outline, targets};
pub use pins::Pins;
pub use planner::{Plan, PlannedStage, Planner, Question, ResolvedImage, Step};
