//! Start checks of images that are made here, with programs that the machine's C compiler makes.

mod commands;
mod course;
mod diff;
mod explain;
mod kit;
mod libraries;
mod packages;
mod sizes;
mod surroundings;
