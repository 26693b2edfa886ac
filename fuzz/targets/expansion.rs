//! Words expand with any variables, or fail in place, within bounds.
//!
//! The first byte chooses the escape character and whether quotes count, the first line is the word, and
//! the others are variables.

#![no_main]

#[path = "../../crates/castoff-dockerfile/tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return };
    let mut lines = chars.as_str().split('\n');
    let word = lines.next().unwrap_or_default();
    let variables: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
    let variable = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name)?;
        Some(found.1.to_owned())
    };
    let choice = u32::from(first);
    let escape = if choice & 1 == 0 { '\\' } else { '`' };
    laws::check_expansion(word, escape, choice & 2 == 0, &variable);
});
