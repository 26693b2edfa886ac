//! Any file with any build arguments and base images is planned or refused.
//!
//! A NUL byte ends the file. Lines after it that begin with `-` are build arguments, with `+` variables of
//! base images, with `!` their triggers; another line is the target.

#![no_main]

#[path = "../../crates/castoff-plan/tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let source = parts.next().unwrap_or_default();
    let rest = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let mut surroundings = laws::Surroundings::default();
    for line in rest.split('\n').filter(|line| !line.is_empty()) {
        if let Some(argument) = line.strip_prefix('-') {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            surroundings.build_args.push((name.to_owned(), value.to_owned()));
        } else if let Some(variable) = line.strip_prefix('+') {
            surroundings.env.push(variable.to_owned());
        } else if let Some(trigger) = line.strip_prefix('!') {
            surroundings.triggers.push(trigger.replace('\r', "\n"));
        } else {
            surroundings.target = Some(line.to_owned());
        }
    }
    laws::plan_to_the_end(source, &surroundings);
});
