//! What sources stand for that may be something else tomorrow: written down before, by the caller.

use std::collections::BTreeMap;

use castoff_graph::remote::{GitSource, HttpSource, redacted};
use castoff_oci::Digest;

/// Files and commits that were written down. Addresses are without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// What says so, for the names of steps, such as `castoff.lock`.
    pub name: String,
    /// The content of URLs.
    pub files: BTreeMap<String, Digest>,
    /// The commits of references, by repository and reference; the repository's own is `HEAD`.
    pub commits: BTreeMap<(String, String), String>,
}

impl Pins {
    /// Returns the name of a file in [`files`](Pins::files).
    pub fn file_key(source: &HttpSource) -> String {
        redacted(&source.url)
    }

    /// Returns the name of a tree in [`commits`](Pins::commits).
    pub fn commit_key(source: &GitSource) -> (String, String) {
        (redacted(&source.remote), source.reference.clone().unwrap_or_else(|| "HEAD".to_owned()))
    }

    /// Pins a file that floats, and returns whether that was done.
    pub fn pin_file(&self, source: &mut HttpSource) -> bool {
        let known = self.files.get(&Pins::file_key(source)).filter(|_| source.floats());
        source.checksum = source.checksum.or(known.copied());
        known.is_some()
    }

    /// Pins a tree that floats, and returns whether that was done. The commit is asked for, and not the
    /// reference, which may lead elsewhere by now.
    pub fn pin_tree(&self, source: &mut GitSource) -> bool {
        let known = self.commits.get(&Pins::commit_key(source)).filter(|_| source.floats());
        if let Some(commit) = known {
            source.checksum = Some(commit.clone());
            source.fetch_by_commit = true;
        }
        known.is_some()
    }

    /// Returns the name of a step whose source was pinned.
    pub(crate) fn step_name(&self, name: String, pinned: bool) -> String {
        if pinned { format!("{name} (pinned by {})", self.name) } else { name }
    }
}

#[cfg(test)]
mod tests {
    use castoff_graph::remote::{GitReference, HttpSource};
    use castoff_oci::Digest;

    use super::Pins;

    fn pins() -> Pins {
        let commit = "1".repeat(40);
        Pins {
            name: "lock".to_owned(),
            files: [("https://xxxxx:xxxxx@a/f".to_owned(), Digest::of(b"f"))].into(),
            commits: [
                (("https://a/x.git".to_owned(), "main".to_owned()), commit.clone()),
                (("https://a/x.git".to_owned(), "HEAD".to_owned()), commit),
            ]
            .into(),
        }
    }

    #[test]
    fn a_file_is_pinned_by_its_address_without_credentials() {
        let mut source = HttpSource::new("https://name:word@a/f#part");
        assert!(pins().pin_file(&mut source));
        assert_eq!(source.checksum, Some(Digest::of(b"f")));
        // What has a checksum keeps it.
        source.checksum = Some(Digest::of(b"other"));
        assert!(!pins().pin_file(&mut source));
        assert_eq!(source.checksum, Some(Digest::of(b"other")));
        assert!(!pins().pin_file(&mut HttpSource::new("https://a/other")));
    }

    #[test]
    fn a_tree_is_pinned_by_repository_and_reference() {
        let check = |text: &str, expected: bool| {
            let mut source = GitReference::parse(text).unwrap().into_source().unwrap();
            let before = source.clone();
            assert_eq!(pins().pin_tree(&mut source), expected, "{text}");
            if expected {
                assert_eq!(source.checksum, Some("1".repeat(40)));
                assert!(source.fetch_by_commit && !source.floats());
            } else {
                assert_eq!(source, before);
            }
        };
        check("https://a/x.git", true);
        check("https://a/x.git#main:sub", true);
        check("https://a/x.git#other", false);
        check("https://b/x.git", false);
        check(&format!("https://a/x.git#{}", "2".repeat(40)), false);
        check("https://a/x.git?ref=main&checksum=abc", false);
    }
}
