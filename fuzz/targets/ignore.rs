//! Ignore patterns parse or are refused, and match what the rules say, written down naively here.
//!
//! A NUL byte ends the ignore file; what follows is a path.

#![no_main]

use castoff_graph::pattern::{Glob, IgnorePatterns, clean, has_wildcard, unescape};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let path = clean(parts.next().unwrap_or_default());
    if let Ok(glob) = Glob::parse(text) {
        let matched = glob.matches(&path);
        assert!(matched || has_wildcard(text) || unescape(text) != path, "{text:?} on {path:?}");
    }
    let Ok(patterns) = IgnorePatterns::parse(text) else { return };
    let excluded = patterns.matches(&path);
    for (at, byte) in path.iter().enumerate() {
        // What is below a directory that is not searched is excluded.
        assert!(*byte != b'/' || !patterns.can_prune(&path[..at]) || excluded, "{path:?}");
    }
    // Characters are bytes here, which they are not in other texts. Splits are tried, so it must be short.
    if text.is_ascii() && path.is_ascii() && !text.contains(&b'[') && !path.is_empty() {
        assert_eq!(
            excluded,
            reference(text, &path),
            "{:?} on {:?}",
            text.escape_ascii(),
            path.escape_ascii()
        );
    }
});

/// Every directory above a path is asked before it. A pattern that matched one of them counts below it, and
/// none is asked that could only say what the earlier ones said already (D-288).
fn reference(text: &[u8], path: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut rules = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")) {
        let line = line.trim_ascii();
        let (include, pattern) = match line.strip_prefix(b"!") {
            Some(pattern) => (true, pattern.trim_ascii()),
            None => (false, line),
        };
        if !pattern.is_empty() {
            rules.push((include, cleaned(pattern), false));
        }
    }
    let mut excluded = false;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        excluded = false;
        for (include, pattern, counts) in &mut rules {
            if *include == excluded && matches(pattern, &path[..end]) {
                *counts = true;
            }
            if *counts {
                excluded = !*include;
            }
        }
    }
    excluded
}

/// `path.Clean`, without a slash in front (D-283).
fn cleaned(pattern: &[u8]) -> Vec<u8> {
    let rooted = pattern.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/').filter(|part| !matches!(part, [] | [b'.'])) {
        let above = kept.last().is_some_and(|last| last != b"..");
        match (part == b"..", above) {
            (true, true) => drop(kept.pop()),
            (true, false) if rooted => {}
            _ => kept.push(part),
        }
    }
    if kept.is_empty() { b".".to_vec() } else { kept.join(&b'/') }
}

/// Whether a whole path is matched (D-285, D-286).
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // A `**` in front and nothing else that is special asks for the end of the path only.
    if let Some(end) = pattern.strip_prefix(b"**")
        && !end.iter().any(|byte| b"*?[]\\".contains(byte))
    {
        return path.ends_with(end) || end.strip_prefix(b"/") == Some(path);
    }
    // One row for each place of the pattern: the places of the path that can be reached there.
    let mut known = vec![vec![None; path.len() + 1]; pattern.len() + 1];
    from(pattern, path, 0, 0, &mut known)
}

fn from(pattern: &[u8], path: &[u8], at: usize, place: usize, known: &mut [Vec<Option<bool>>]) -> bool {
    if let Some(answer) = known[at][place] {
        return answer;
    }
    let rest = &path[place..];
    let answer = match &pattern[at..] {
        [] => rest.is_empty(),
        [b'*', b'*'] | [b'*', b'*', b'/'] => true,
        [b'*', b'*', after @ ..] => {
            let next = at + 2 + usize::from(after.first() == Some(&b'/'));
            let starts = (0..=rest.len()).filter(|skip| *skip == 0 || rest[skip - 1] == b'/');
            starts.into_iter().any(|skip| from(pattern, path, next, place + skip, known))
        }
        [b'*', ..] => {
            let name = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            (0..=name).any(|skip| from(pattern, path, at + 1, place + skip, known))
        }
        [b'?', ..] => {
            rest.first().is_some_and(|byte| *byte != b'/') && from(pattern, path, at + 1, place + 1, known)
        }
        [b'\\', byte, ..] => rest.first() == Some(byte) && from(pattern, path, at + 2, place + 1, known),
        [byte, ..] => rest.first() == Some(byte) && from(pattern, path, at + 1, place + 1, known),
    };
    known[at][place] = Some(answer);
    answer
}
