//! Go's `filepath.Match`, for one component of a path at a time (D-193..D-198).

use super::PatternProblem;
use super::machine::{Machine, Token, element};

/// A wildcard for one component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Machine);

impl Glob {
    /// Compiles one component; `**` means the same as `*`.
    pub fn parse(component: &[u8]) -> Result<Glob, PatternProblem> {
        let mut tokens = Vec::new();
        let mut rest = component;
        while let Some(first) = rest.first() {
            if *first == b'*' {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
                rest = &rest[1..];
            } else {
                let (token, after) = element(rest)?;
                tokens.push(token);
                rest = after;
            }
        }
        Ok(Glob(Machine::new(tokens)))
    }

    /// Returns whether the whole name is matched.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.run(name, false).matched
    }
}

/// Returns whether a path contains a wildcard that is not escaped.
pub fn has_wildcard(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Returns a path without the backslashes that escape.
pub fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            _ => plain.push(*byte),
        }
    }
    plain
}

/// Cleans a path as Go's `path.Clean` does when the path is below a root: no empty, `.` or `..`
/// components, and none of the `..` that would leave the root (D-192). The root itself is empty.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            _ => components.push(component),
        }
    }
    components.join(&b'/')
}
