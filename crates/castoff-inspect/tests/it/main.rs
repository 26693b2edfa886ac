//! Start checks of images that are made here, with programs that the machine's C compiler makes.

mod commands;
mod kit;
mod libraries;
mod packages;
mod surroundings;
