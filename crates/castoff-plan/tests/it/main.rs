//! Behaviour of the planner: a Dockerfile in; the printed graph, the history, the config or the
//! diagnostics out.

mod args;
mod build;
mod check;
mod command;
mod config;
mod copy;
mod errors;
mod fixes;
mod from;
mod large;
mod laws;
mod mount;
mod names;
mod onbuild;
mod platforms;
mod print;
mod robust;
mod rules;
mod run;
