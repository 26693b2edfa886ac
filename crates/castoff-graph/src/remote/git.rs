//! References to git repositories: `address#ref:subdir` and `address?ref=..&subdir=..` (D-231, D-242).

use super::address::decoded;
use super::{GitSource, GitTime, SourceKind, is_commit_prefix};

/// What a reference says, before the flags of an ADD or of the command line are added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitReference {
    /// The address of the repository without query and fragment; it may hold credentials.
    pub remote: String,
    /// A branch, a tag, a full ref or a commit id.
    pub reference: Option<String>,
    /// A commit id or the beginning of one.
    pub checksum: Option<String>,
    /// A directory, without slashes at its ends; empty for the whole tree.
    pub subdir: String,
    /// `keep-git-dir`, if it is there.
    pub keep_git_dir: Option<bool>,
    /// `submodules`, if it is there.
    pub submodules: Option<bool>,
    /// `mtime`, if it is there.
    pub mtime: Option<GitTime>,
    /// `fetch-by-commit`, if it is there.
    pub fetch_by_commit: Option<bool>,
}

/// Why a reference to a git repository makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitReferenceError {
    /// The address has no host or path, or one that git would take for an option.
    #[error("invalid git address")]
    Address,
    /// The query is not percent-encoded text.
    #[error("malformed query `{0}`")]
    Encoding(String),
    /// A query without a value.
    #[error("query \"{0}\" has no value")]
    NoValue(String),
    /// The same query twice.
    #[error("query \"{0}\" has multiple values")]
    Repeated(String),
    /// A query that is not known.
    #[error("unexpected query \"{0}\"")]
    Unknown(String),
    /// A value that the query cannot have.
    #[error("invalid {name} value: \"{value}\"")]
    Value {
        /// Name of the query.
        name: String,
        /// The value.
        value: String,
    },
    /// Two things are said about one.
    #[error("{what} conflicts: \"{first}\" vs \"{second}\"")]
    Conflict {
        /// About what.
        what: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Both a branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A ref that no repository can have.
    #[error("invalid git ref `{0}`")]
    Ref(String),
    /// A directory outside of the repository.
    #[error("invalid subdirectory `{0}`")]
    Subdir(String),
    /// A checksum that is no commit id.
    #[error("invalid checksum `{0}`: expected a commit id or the beginning of one")]
    Checksum(String),
    /// `fetch-by-commit` without a commit.
    #[error("fetch-by-commit needs a checksum that is a full commit id")]
    NoCommit,
}

impl GitReference {
    /// Parses what [`SourceKind::of`] calls git.
    ///
    /// # Errors
    /// When the address, the fragment or the query make no sense.
    pub fn parse(text: &str) -> Result<GitReference, GitReferenceError> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        // What scp writes has no query.
        let (remote, query) = match address.split_once('?') {
            Some((remote, query)) if remote.contains("://") => (remote, query),
            _ => (address, ""),
        };
        check_address(remote)?;
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut parsed = GitReference {
            remote: remote.to_owned(),
            reference: Some(reference.to_owned()).filter(|reference| !reference.is_empty()),
            checksum: None,
            subdir: subdir.to_owned(),
            keep_git_dir: None,
            submodules: None,
            mtime: None,
            fetch_by_commit: None,
        };
        parsed.add_query(query)?;
        parsed.subdir = clean_subdir(&parsed.subdir)?;
        if let Some(reference) = parsed.reference.as_deref().filter(|reference| !is_ref(reference)) {
            return Err(GitReferenceError::Ref(reference.to_owned()));
        }
        Ok(parsed)
    }

    /// Parses the main context, which may also be `github.com/owner/repository` without a scheme (B-063).
    /// `None` when it is not git.
    ///
    /// # Errors
    /// As [`GitReference::parse`].
    pub fn parse_context(text: &str) -> Option<Result<GitReference, GitReferenceError>> {
        if text.starts_with("github.com/") {
            return Some(GitReference::parse(&format!("https://{text}")));
        }
        (SourceKind::of(text) == SourceKind::Git).then(|| GitReference::parse(text))
    }

    /// Adds `--checksum`.
    ///
    /// # Errors
    /// When it is no commit id or the reference names another.
    pub fn with_checksum(mut self, checksum: &str) -> Result<GitReference, GitReferenceError> {
        if let Some(own) = self.checksum.take().filter(|own| own != checksum) {
            return Err(GitReferenceError::Conflict {
                what: "checksum",
                first: own,
                second: checksum.to_owned(),
            });
        }
        self.checksum = Some(commit_prefix(checksum)?);
        Ok(self)
    }

    /// Adds `--keep-git-dir`.
    ///
    /// # Errors
    /// When the reference says the opposite (D-239).
    pub fn with_keep_git_dir(mut self, keep: bool) -> Result<GitReference, GitReferenceError> {
        if let Some(own) = self.keep_git_dir.filter(|own| *own != keep) {
            return Err(GitReferenceError::Conflict {
                what: "keep-git-dir",
                first: own.to_string(),
                second: keep.to_string(),
            });
        }
        self.keep_git_dir = Some(keep);
        Ok(self)
    }

    /// Returns what is to be fetched.
    ///
    /// # Errors
    /// When a commit is to be fetched and none is named.
    pub fn into_source(self) -> Result<GitSource, GitReferenceError> {
        let fetch_by_commit = self.fetch_by_commit.unwrap_or(false);
        if fetch_by_commit && !self.checksum.as_deref().is_some_and(super::is_commit_id) {
            return Err(GitReferenceError::NoCommit);
        }
        // A full checksum alone names its commit.
        let reference = self.reference.or_else(|| self.checksum.clone().filter(|id| super::is_commit_id(id)));
        Ok(GitSource {
            remote: self.remote,
            reference,
            checksum: self.checksum,
            subdir: self.subdir,
            keep_git_dir: self.keep_git_dir.unwrap_or(false),
            submodules: self.submodules.unwrap_or(true),
            mtime: self.mtime.unwrap_or_default(),
            fetch_by_commit,
        })
    }

    fn add_query(&mut self, query: &str) -> Result<(), GitReferenceError> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let malformed = || GitReferenceError::Encoding(part.to_owned());
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decoded(name, true).ok_or_else(malformed)?;
            let value = decoded(value, true).ok_or_else(malformed)?;
            let known = if name == "commit" { "checksum" } else { &name };
            if seen.iter().any(|seen| seen == known) {
                return Err(GitReferenceError::Repeated(name));
            }
            seen.push(known.to_owned());
            let is_switch = matches!(name.as_str(), "keep-git-dir" | "submodules" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                let error = match known {
                    "ref" | "tag" | "branch" | "subdir" | "checksum" | "mtime" => {
                        GitReferenceError::NoValue(name)
                    }
                    _ => GitReferenceError::Unknown(name),
                };
                return Err(error);
            }
            match known {
                "ref" => agree("ref", &mut self.reference, value)?,
                "tag" => tag = Some(prefixed("refs/tags/", value)),
                "branch" => branch = Some(prefixed("refs/heads/", value)),
                "subdir" => {
                    let mut subdir = Some(std::mem::take(&mut self.subdir)).filter(|own| !own.is_empty());
                    agree("subdir", &mut subdir, value)?;
                    self.subdir = subdir.unwrap_or_default();
                }
                "checksum" => self.checksum = Some(commit_prefix(&value)?),
                "keep-git-dir" => self.keep_git_dir = Some(switch(&name, &value)?),
                "submodules" => self.submodules = Some(switch(&name, &value)?),
                "fetch-by-commit" => self.fetch_by_commit = Some(switch(&name, &value)?),
                "mtime" => {
                    self.mtime = Some(match value.as_str() {
                        "checkout" => GitTime::Checkout,
                        "commit" => GitTime::Commit,
                        _ => return Err(GitReferenceError::Value { name, value }),
                    });
                }
                _ => return Err(GitReferenceError::Unknown(name)),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitReferenceError::BranchAndTag);
        }
        match tag.or(branch) {
            Some(reference) => agree("ref", &mut self.reference, reference),
            None => Ok(()),
        }
    }
}

fn agree(what: &'static str, known: &mut Option<String>, value: String) -> Result<(), GitReferenceError> {
    match known {
        Some(first) if *first != value => {
            Err(GitReferenceError::Conflict { what, first: first.clone(), second: value })
        }
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, value: String) -> String {
    if value.starts_with(prefix) { value } else { format!("{prefix}{value}") }
}

/// Parses a boolean as Go does; without a value it is true.
fn switch(name: &str, value: &str) -> Result<bool, GitReferenceError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(GitReferenceError::Value { name: name.to_owned(), value: value.to_owned() }),
    }
}

fn commit_prefix(text: &str) -> Result<String, GitReferenceError> {
    if is_commit_prefix(text) {
        Ok(text.to_owned())
    } else {
        Err(GitReferenceError::Checksum(text.to_owned()))
    }
}

/// Git gets the address and ssh the host as arguments: neither may look like an option, and nothing in them
/// may be a line end.
fn check_address(remote: &str) -> Result<(), GitReferenceError> {
    let (host, path) = match remote.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        None => remote.split_once(':').unwrap_or((remote, "")),
    };
    let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
    let like_option = [remote, user, host, path].iter().any(|part| part.starts_with('-'));
    let strange = remote.chars().any(|next| next.is_control() || next == ' ');
    if host.is_empty() || path.is_empty() || like_option || strange {
        return Err(GitReferenceError::Address);
    }
    Ok(())
}

/// What git allows in the name of a ref (git-check-ref-format), and no option.
fn is_ref(text: &str) -> bool {
    let strange =
        |next: char| next.is_control() || matches!(next, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let broken = ["..", "@{", "//"].iter().any(|part| text.contains(part));
    !text.starts_with(['-', '/', '.']) && !text.ends_with(['/', '.']) && !text.contains(strange) && !broken
}

/// Returns the components of a subdirectory, joined; none of them leads up.
fn clean_subdir(text: &str) -> Result<String, GitReferenceError> {
    let components: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    // The git directory is not part of the tree.
    if components.contains(&"..") || components.contains(&".git") || text.contains('\0') {
        return Err(GitReferenceError::Subdir(text.to_owned()));
    }
    Ok(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::GitReference;

    /// Shows a reference as the parts that are not at their defaults.
    fn shown(text: &str) -> String {
        match GitReference::parse_context(text) {
            None => "not git".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(parsed)) => {
                let part = |name: &str, value: Option<String>| value.map(|value| format!(" {name}={value}"));
                let parts = [
                    part("ref", parsed.reference),
                    part("subdir", Some(parsed.subdir).filter(|subdir| !subdir.is_empty())),
                    part("checksum", parsed.checksum),
                    part("keep", parsed.keep_git_dir.map(|keep| keep.to_string())),
                    part("submodules", parsed.submodules.map(|fetch| fetch.to_string())),
                    part("mtime", parsed.mtime.map(|time| format!("{time:?}"))),
                    part("by-commit", parsed.fetch_by_commit.map(|by| by.to_string())),
                ];
                format!("{}{}", parsed.remote, parts.into_iter().flatten().collect::<String>())
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(text), expected, "{text}");
    }

    // D-231, B-063, B-064
    #[test]
    fn a_fragment_names_ref_and_subdirectory() {
        check("https://a.example/x.git", "https://a.example/x.git");
        check("https://a.example/x.git#main", "https://a.example/x.git ref=main");
        check("https://a.example/x.git#main:a/b", "https://a.example/x.git ref=main subdir=a/b");
        check("https://a.example/x.git#:/a/./b/", "https://a.example/x.git subdir=a/b");
        check("git@a.example:x/y#v1:s", "git@a.example:x/y ref=v1 subdir=s");
        check("git@a.example:x?y", "git@a.example:x?y");
        check("ssh://git@a.example:22/x?tag=v1", "ssh://git@a.example:22/x ref=refs/tags/v1");
        check("github.com/a/b#main", "https://github.com/a/b ref=main");
        check("https://a.example/x", "not git");
        check("x/y.git", "not git");
    }

    // D-242, B-065
    #[test]
    fn a_query_says_more() {
        let address = "https://a.example/x.git";
        let accept = |query: &str, expected: &str| {
            check(&format!("{address}?{query}"), &format!("{address}{expected}"))
        };
        accept("ref=main&subdir=a%2Fb", " ref=main subdir=a/b");
        accept("tag=v1", " ref=refs/tags/v1");
        accept("tag=refs/tags/v1", " ref=refs/tags/v1");
        accept("branch=b", " ref=refs/heads/b");
        accept("branch=b#refs/heads/b", " ref=refs/heads/b");
        accept("commit=abc123", " checksum=abc123");
        accept("checksum=abc123&ref=main", " ref=main checksum=abc123");
        accept("keep-git-dir&submodules=false", " keep=true submodules=false");
        accept("keep-git-dir=&submodules=1", " keep=true submodules=true");
        accept("mtime=commit&fetch-by-commit=true", " mtime=Commit by-commit=true");
        accept("ref=main#main", " ref=main");
        accept("&", "");
    }

    // D-242
    #[test]
    fn a_query_that_makes_no_sense_fails() {
        let refuse = |rest: &str, expected: &str| check(&format!("https://a.example/x.git{rest}"), expected);
        refuse("?what=1", "unexpected query \"what\"");
        refuse("?what", "unexpected query \"what\"");
        refuse("?ref=a&ref=a", "query \"ref\" has multiple values");
        refuse("?commit=aa&checksum=aa", "query \"checksum\" has multiple values");
        refuse("?ref", "query \"ref\" has no value");
        refuse("?tag=", "query \"tag\" has no value");
        refuse("?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
        refuse("?subdir=a#:b", "subdir conflicts: \"b\" vs \"a\"");
        refuse("?tag=a#a", "ref conflicts: \"a\" vs \"refs/tags/a\"");
        refuse("?tag=a&branch=a", "branch conflicts with tag");
        refuse("?submodules=maybe", "invalid submodules value: \"maybe\"");
        refuse("?mtime=now", "invalid mtime value: \"now\"");
        refuse("?checksum=xyz", "invalid checksum `xyz`: expected a commit id or the beginning of one");
        refuse("?ref=%zz", "malformed query `ref=%zz`");
    }

    // D-240
    #[test]
    fn nothing_is_an_option_and_nothing_leads_out() {
        check("ssh://-oProxyCommand=x/y", "invalid git address");
        check("-x@a.example:y", "invalid git address");
        check("git@a.example:-y", "invalid git address");
        check("ssh://user@/y", "invalid git address");
        check("git://a.example", "invalid git address");
        check("https://a.example/x.git#--upload-pack=x", "invalid git ref `--upload-pack=x`");
        check("https://a.example/x.git#a..b", "invalid git ref `a..b`");
        check("https://a.example/x.git?ref=a%0ab", "invalid git ref `a\nb`");
        check("https://a.example/x.git#:../x", "invalid subdirectory `../x`");
        check("https://a.example/x.git#:a/.git", "invalid subdirectory `a/.git`");
    }

    // D-239, D-243
    #[test]
    fn flags_may_not_disagree_with_the_reference() {
        let parse = |text: &str| GitReference::parse(text).unwrap();
        let said = |result: Result<GitReference, super::GitReferenceError>| {
            result.map_or_else(|error| error.to_string(), |_| "fine".to_owned())
        };
        let kept = parse("https://a.example/x.git?keep-git-dir=true&commit=ab");
        assert_eq!(said(kept.clone().with_keep_git_dir(true)), "fine");
        assert_eq!(
            said(kept.clone().with_keep_git_dir(false)),
            "keep-git-dir conflicts: \"true\" vs \"false\""
        );
        assert_eq!(said(kept.clone().with_checksum("ab")), "fine");
        assert_eq!(said(kept.with_checksum("cd")), "checksum conflicts: \"ab\" vs \"cd\"");
        let plain = parse("git://a.example/x");
        assert_eq!(
            said(plain.clone().with_checksum("sha256:ab")),
            "invalid checksum `sha256:ab`: expected a commit id or the beginning of one"
        );
        let by_commit = parse("git://a.example/x?fetch-by-commit&checksum=ab").into_source();
        assert!(by_commit.unwrap_err().to_string().starts_with("fetch-by-commit needs"));
        let id = "0123456789012345678901234567890123456789";
        let source = plain.with_checksum(id).unwrap().into_source().unwrap();
        assert_eq!(source.reference.as_deref(), Some(id));
        assert!(source.submodules && !source.keep_git_dir);
    }
}
