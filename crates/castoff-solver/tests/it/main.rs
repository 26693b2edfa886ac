//! Tests of the back end, through its front door.

mod copy;
mod passwd;
mod schedule;
