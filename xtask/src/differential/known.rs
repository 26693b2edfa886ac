//! Differences that are known, with their reasons.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Builder;
use super::compare::Difference;
use super::peer::Peer;
use crate::command::repository;

/// The content of `xtask/differential/known.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    known: Vec<Entry>,
}

/// A kind of difference. `*` in names stands for anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Which peer.
    peer: String,
    /// The newest version that differs, if a newer one is known not to.
    until: Option<String>,
    /// The oldest version that differs, if an older one is known not to.
    since: Option<String>,
    /// Which cases.
    cases: Vec<String>,
    /// Keys of differences.
    what: Vec<String>,
    /// Why it is so.
    reason: String,
    /// The rules of the specification that it is about.
    rules: Vec<String>,
}

impl Known {
    pub(super) fn load() -> Result<Known> {
        let text = std::fs::read_to_string(repository().join("xtask/differential/known.toml"))
            .context("cannot read the known differences")?;
        toml::from_str(&text).context("`known.toml` is not understood")
    }

    /// Returns the number of the entry that a difference is of.
    pub(super) fn find(&self, peer: &Peer<'_>, case: &str, difference: &Difference) -> Option<usize> {
        self.known.iter().position(|entry| {
            entry.is_about(peer)
                && entry.cases.iter().any(|pattern| matches(pattern, case))
                && entry.what.iter().any(|pattern| matches(pattern, &difference.key))
        })
    }

    /// Returns the entries that were to be met, by number.
    pub(super) fn expected<'k>(
        &'k self,
        peer: &'k Peer<'_>,
        names: &'k [String],
    ) -> impl Iterator<Item = (usize, &'k Entry)> {
        self.known.iter().enumerate().filter(|(_, entry)| {
            let occurs = |pattern: &String| {
                !pattern.starts_with("generated/") && names.iter().any(|name| matches(pattern, name))
            };
            entry.is_about(peer) && entry.cases.iter().any(occurs)
        })
    }

    /// Returns whether a difference is one of all images of a peer.
    pub(super) fn is_general(&self, number: usize) -> bool {
        self.known[number].cases == ["*"]
    }

    pub(super) fn entry(&self, number: usize) -> &Entry {
        &self.known[number]
    }
}

impl Entry {
    fn is_about(&self, peer: &Peer<'_>) -> bool {
        let version = numbers(&peer.version);
        self.peer == peer.name()
            && self.until.as_ref().is_none_or(|until| version <= numbers(until))
            && self.since.as_ref().is_none_or(|since| version >= numbers(since))
    }

    /// Returns what it says.
    pub(super) fn describe(&self) -> String {
        let rules =
            if self.rules.is_empty() { String::new() } else { format!(" ({})", self.rules.join(", ")) };
        format!("{}, {}: {}{rules}", self.cases.join(" "), self.what.join(" "), self.reason)
    }
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether a text is what a pattern with `*` describes.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("file *: mode", "file a/b: mode"));
        assert!(matches("*", ""));
        assert!(!matches("file *: mode", "file a: owner"));
        assert!(!matches("config", "config Env"));
    }

    #[test]
    fn each_known_difference_has_a_reason() {
        for entry in Known::load().unwrap().known {
            assert!(!entry.reason.is_empty() && !entry.what.is_empty(), "{}", entry.describe());
        }
    }
}
