//! What was parsed and printed parses to the same.

#![no_main]

#[path = "../../crates/castoff-dockerfile/tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::check_round_trip(bytes));
