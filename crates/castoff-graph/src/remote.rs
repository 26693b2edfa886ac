//! Sources that are fetched: files over HTTP and trees of git repositories (D-230 to D-243, B-063 to
//! B-069).
//!
//! An address may hold credentials. Whatever shows one shows [`redacted`] instead (B-067, B-221).

mod address;
mod git;

use castoff_oci::Digest;

pub use address::{file_name, host, redacted, split_credentials};
pub use git::{GitReference, GitReferenceError};

/// What the word of an ADD or the value of a context is (D-230, D-231).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A path.
    Path,
    /// A file fetched over HTTP.
    Url,
    /// A git repository.
    Git,
}

/// A file to be fetched over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpSource {
    /// The address without its fragment; it may hold credentials.
    pub url: String,
    /// The name of the file; `None` when the address has none (D-236).
    pub name: Option<String>,
    /// What the content must be.
    pub checksum: Option<Digest>,
}

/// A tree of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitSource {
    /// The address of the repository without query and fragment; it may hold credentials.
    pub remote: String,
    /// A branch, a tag, a full ref or a commit id; `None` is the repository's HEAD.
    pub reference: Option<String>,
    /// The commit id that the reference must lead to, or the beginning of it.
    pub checksum: Option<String>,
    /// The directory that becomes the root, without slashes at its ends; empty for the whole tree.
    pub subdir: String,
    /// Whether the `.git` directory is part of the tree.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// The time of the files.
    pub mtime: GitTime,
    /// Whether the commit of the checksum is asked for, and not the reference.
    pub fetch_by_commit: bool,
}

/// The modification time of a git repository's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum GitTime {
    /// When they were checked out.
    #[default]
    Checkout,
    /// When the commit was made.
    Commit,
}

impl SourceKind {
    /// Returns what a word is. Without a scheme only `user@host:path` is a repository.
    pub fn of(word: &str) -> SourceKind {
        match scheme(word) {
            Some("git" | "ssh") => SourceKind::Git,
            Some("http" | "https") => {
                let rest = word.split_once("://").map_or("", |(_, rest)| rest);
                let end = rest.find(['#', '?']).unwrap_or(rest.len());
                let path = rest[..end].find('/').map_or("", |slash| &rest[slash..end]);
                if path.ends_with(".git") { SourceKind::Git } else { SourceKind::Url }
            }
            Some(_) => SourceKind::Path,
            None => match word.split_once('@') {
                Some((user, rest)) if rest.split_once(':').is_some_and(|(host, _)| is_login(user, host)) => {
                    SourceKind::Git
                }
                _ => SourceKind::Path,
            },
        }
    }
}

impl HttpSource {
    /// Returns the file at an address.
    pub fn new(url: &str) -> HttpSource {
        let url = url.split('#').next().unwrap_or_default();
        HttpSource { url: url.to_owned(), name: file_name(url), checksum: None }
    }

    /// Returns whether the content may be another tomorrow.
    pub fn floats(&self) -> bool {
        self.checksum.is_none()
    }

    /// Returns under which name the file is in the file system that this source is. Without a name of its own
    /// it can only be copied to a name.
    pub fn file(&self) -> &str {
        self.name.as_deref().unwrap_or("__unnamed__")
    }
}

impl GitSource {
    /// Returns whether the tree may be another tomorrow.
    pub fn floats(&self) -> bool {
        self.checksum.is_none() && !self.reference.as_deref().is_some_and(is_commit_id)
    }
}

/// Returns whether a text is a commit id: of SHA-1 or SHA-256, in full.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_commit_prefix(text)
}

/// Returns whether a text may be the beginning of a commit id.
pub fn is_commit_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn scheme(word: &str) -> Option<&str> {
    let (scheme, _) = word.split_once("://")?;
    let plain = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then_some(scheme)
}

/// Returns whether `user@host:` starts an address as scp writes it.
fn is_login(user: &str, host: &str) -> bool {
    let word = |text: &str, also: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
    };
    word(user, b"-_") && word(host, b".-")
}

#[cfg(test)]
mod tests {
    use super::{HttpSource, SourceKind};

    // D-230, D-231, B-063
    #[test]
    fn a_source_is_git_or_a_url_or_a_path() {
        let check = |kind: SourceKind, words: &[&str]| {
            for word in words {
                assert_eq!(SourceKind::of(word), kind, "{word}");
            }
        };
        check(
            SourceKind::Git,
            &[
                "https://a.example/x.git",
                "http://a.example/x.git#main:sub",
                "https://a.example/x.git?ref=main",
                "https://user:word@a.example:8080/x/y.git",
                "git://a.example/x",
                "ssh://git@a.example/x",
                "git@a.example:x/y",
                "deploy-user@a.example:x",
            ],
        );
        check(
            SourceKind::Url,
            &[
                "https://a.example/x",
                "http://a.example",
                "https://a.example/x.tar?y=.git",
                "https://a.example/x#.git",
                "https://a.git",
                "https://a.example/x.git/info",
            ],
        );
        check(
            SourceKind::Path,
            &[
                "github.com/a/b",
                "./x.git",
                "../git@a.example:x",
                "a@b",
                "x.git",
                "a b@c:d",
                "ftp://a/x.git",
                "",
            ],
        );
    }

    // D-236
    #[test]
    fn the_name_of_a_file_is_the_last_component_of_its_path() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(HttpSource::new(url).name.as_deref(), expected, "{url}");
        };
        check("https://a.example/x.tar.gz", Some("x.tar.gz"));
        check("https://a.example/d/x?y=/z#w/v", Some("x"));
        check("https://a.example/d/", Some("d"));
        check("https://a.example/a%20b%2Fc", Some("c"));
        check("https://a.example/%C3%A4", Some("\u{e4}"));
        check("https://a.example", None);
        check("https://a.example/", None);
        check("https://a.example/?x", None);
        check("https://a.example/x/..", None);
        check("https://a.example/%2e%2e", None);
        check("https://a.example/x%00y", None);
        assert_eq!(HttpSource::new("https://a.example/x#part").url, "https://a.example/x");
    }
}
