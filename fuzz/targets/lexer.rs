//! Any bytes parse, and everything has its place: lines, continuations, here-documents, directives.

#![no_main]

#[path = "../../crates/castoff-dockerfile/tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::check_file(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        laws::check_trigger(text);
    }
});
