//! What the caller's own repository says of a directory (B-180).

use std::path::{Path, PathBuf};

use castoff_graph::remote::split_credentials;

use super::program::Git;
use crate::World;
use crate::fetch::FetchError;

/// The state of a directory's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The commit that is checked out, in full.
    pub commit: String,
    /// Whether files differ from it, or are not in it and not ignored either. `None` when nobody looked.
    pub is_dirty: Option<bool>,
    /// Where the repository is published, without credentials: the remote that the branch follows, else `origin`,
    /// else any. A path of this machine is none.
    pub source: Option<String>,
    /// The top directory of the working tree.
    pub root: PathBuf,
}

/// Returns what is checked out where `directory` is, or `None` if that is in no repository or nothing was
/// committed yet. With `look_for_changes` all files are looked at.
///
/// The caller's configuration of git holds, because it says whose repositories are trusted
/// (`safe.directory`); hooks and monitors are not started.
///
/// # Errors
/// When there is no git, or git refuses.
pub fn checkout(
    world: &World,
    directory: &Path,
    look_for_changes: bool,
) -> Result<Option<Checkout>, FetchError> {
    let directory = directory.canonicalize()?;
    if !directory.ancestors().any(|above| above.join(".git").exists()) {
        return Ok(None);
    }
    let git = Git::at_home(world);
    let ask = |words: &[&str]| Ok(git.run(Some(&directory), words)?.trim_end_matches('\n').to_owned());
    // Questions whose answer may be no.
    let may = |answer: Result<String, FetchError>| match answer {
        Err(FetchError::Git { .. }) => Ok(None),
        answer => answer.map(Some),
    };
    let root = PathBuf::from(ask(&["rev-parse", "--show-toplevel"])?);
    let Some(commit) = may(ask(&["rev-parse", "--verify", "--quiet", "HEAD"]))? else { return Ok(None) };
    let upstream = may(ask(&["rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"]))?;
    let remotes = ask(&["remote"])?;
    let source = match remote(upstream.as_deref(), &remotes) {
        Some(name) => may(ask(&["remote", "get-url", "--", name]))?.and_then(|url| published(&url)),
        None => None,
    };
    let is_dirty = match look_for_changes {
        true => Some(!ask(&["status", "--porcelain"])?.is_empty()),
        false => None,
    };
    Ok(Some(Checkout { commit, is_dirty, source, root }))
}

/// Returns which of the remotes, one a line, stands for where the repository is published.
fn remote<'a>(upstream: Option<&str>, remotes: &'a str) -> Option<&'a str> {
    let is_followed = |name: &&str| {
        upstream.and_then(|branch| branch.strip_prefix(*name)).is_some_and(|rest| rest.starts_with('/'))
    };
    let followed = remotes.lines().filter(is_followed).max_by_key(|name| name.len());
    followed.or_else(|| remotes.lines().find(|name| *name == "origin")).or_else(|| remotes.lines().next())
}

fn published(url: &str) -> Option<String> {
    let is_path = !url.contains("://") && !url.contains(':');
    let is_local = is_path || url.starts_with('/') || url.starts_with('.') || url.starts_with("file://");
    (!is_local).then(|| split_credentials(url).0)
}

#[cfg(test)]
mod tests {
    use super::{published, remote};

    // B-180
    #[test]
    fn a_repository_is_published_where_its_branch_comes_from() {
        assert_eq!(remote(None, ""), None);
        assert_eq!(remote(None, "fork\norigin\n"), Some("origin"));
        assert_eq!(remote(None, "b\nc\n"), Some("b"));
        assert_eq!(remote(Some("fork/main"), "fork\norigin\n"), Some("fork"));
        assert_eq!(remote(Some("a/b/main"), "a\na/b\norigin\n"), Some("a/b"));
        assert_eq!(remote(Some("main"), "origin\nmain\n"), Some("origin"));
    }

    // B-180, B-221
    #[test]
    fn its_address_has_no_credentials_and_is_not_of_this_machine() {
        assert_eq!(published("https://u:w@a.example/x.git").as_deref(), Some("https://a.example/x.git"));
        assert_eq!(published("git@a.example:x/y").as_deref(), Some("git@a.example:x/y"));
        assert_eq!(published("ssh://git@a.example/x").as_deref(), Some("ssh://git@a.example/x"));
        for local in ["/srv/x.git", "../x", "file:///srv/x", "x.git"] {
            assert_eq!(published(local), None, "{local}");
        }
    }
}
