//! The front door of castoff-layer, used as other crates use it.

mod apply;
mod compress;
mod hostile;
mod kit;
mod overlay;
mod round_trip;
mod tar_bytes;
mod tar_dialects;
