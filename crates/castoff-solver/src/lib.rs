//! x
mod event;
pub use event::{Event, Outcome, OutputStream, StepId};
