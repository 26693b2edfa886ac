//! Trees of git repositories (D-239 to D-243, B-063 to B-067).
//!
//! The program `git` does what only it knows: references, packs, protocols, submodules. It works in a
//! directory that is thrown away, with nothing of this machine's configuration; what it checked out becomes
//! a layer, known by its commit.

mod checkout;
mod credentials;
mod program;

use std::path::{Path, PathBuf};

use castoff_graph::pattern::IgnorePatterns;
use castoff_graph::remote::{GitSource, GitTime, is_commit_id, redacted};
use castoff_graph::{Chmod, KeyRecipe};
use castoff_layer::{EntryKind, Ownership, TarOptions, Timestamp, Tree, View};
use castoff_oci::{Digest, Hasher};
use castoff_store::{CacheRecord, LayerId, RecordOutcome};
use serde::{Deserialize, Serialize};

use super::{FetchError, record, write_layer};
use crate::World;
use crate::copy::{self, Owners, SelectOptions, SourceTree, WriteOptions};

use program::Git;

pub use checkout::{Checkout, checkout};
pub use program::GitProgram;

/// What git may use of the caller's besides secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct GitAccess<'a> {
    /// The socket of an ssh agent.
    pub agent: Option<&'a Path>,
}

/// A tree that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTree {
    /// The commit.
    pub commit: String,
    /// When the commit was made, in seconds since 1970.
    pub time: i64,
    /// The layer that holds the tree.
    pub layer: LayerId,
    /// What the tree is known by.
    pub recipe: KeyRecipe,
    /// When the layer was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Whether it came just now.
    pub fetched: bool,
}

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Commit {
    id: String,
    /// The full name of the reference, unless the commit itself was named.
    reference: Option<String>,
}

/// What is remembered of a commit.
#[derive(Debug, Serialize, Deserialize)]
struct CommitMemo {
    time: i64,
}

/// Makes sure that a tree is in the store, with the keys of the default agent if one was forwarded (D-241).
///
/// # Errors
/// As [`tree`].
pub fn tree_with_default_agent(world: &World, source: &GitSource) -> Result<GitTree, FetchError> {
    let Some(agent) = world.agents.get("default") else {
        return tree(world, source, GitAccess::default());
    };
    let directory = world.store.temporary()?;
    let _served = agent.serve(directory.path(), "agent")?;
    tree(world, source, GitAccess { agent: Some(&directory.path().join("agent")) })
}

/// Asks where a reference leads, and returns the commit's id.
///
/// # Errors
/// When the repository cannot be asked or does not have the reference.
pub fn find_commit(world: &World, source: &GitSource, access: GitAccess<'_>) -> Result<String, FetchError> {
    let work = world.store.temporary()?;
    Ok(commit(world, &Git::new(world, source, access, work.path())?, source)?.id)
}

/// Makes sure that a tree is in the store. When the store has it, the repository is only asked where its
/// reference leads, and not even that when the commit is named in full. Offline the reference leads to where
/// it led the last time.
///
/// # Errors
/// When it cannot be had or is not what it should be.
pub fn tree(world: &World, source: &GitSource, access: GitAccess<'_>) -> Result<GitTree, FetchError> {
    let work = world.store.temporary()?;
    let git = Git::new(world, source, access, work.path())?;
    let commit = commit(world, &git, source)?;
    if let Some(checksum) = source.checksum.as_ref().filter(|checksum| !commit.id.starts_with(*checksum)) {
        return Err(FetchError::Commit {
            remote: redacted(&source.remote),
            expected: checksum.clone(),
            actual: commit.id,
        });
    }
    let recipe = recipe(source, &commit);
    let key = recipe.key();
    let cancelled = || world.cancel.is_cancelled();
    let _alone = world.store.lock(&key.0, &cancelled)?;
    if let Some(found) = stored(world, &commit, &recipe)? {
        return Ok(found);
    }
    if world.registry.is_offline() {
        return Err(FetchError::Offline(redacted(&source.remote)));
    }
    let checkout = work.path().join("tree");
    git.check_out(source, &commit, &checkout)?;
    let time = git.commit_time(&checkout)?;
    let layer = layer(world, source, &checkout, time)?;
    let name = redacted(&source.remote);
    let memo = serde_json::to_value(CommitMemo { time }).expect("a memo is always JSON");
    world.store.put_record(memo_key(&commit.id), &record(world, &name, memo, RecordOutcome::Empty))?;
    let readable = serde_json::to_value(&recipe).expect("a recipe is always JSON");
    let record = record(world, &name, readable, RecordOutcome::Layer(layer.clone()));
    world.store.put_record(key.0, &record)?;
    Ok(GitTree { commit: commit.id, time, layer, recipe, created_ms: record.created_ms, fetched: true })
}

/// Finds out which commit is meant, and remembers where a reference led.
fn commit(world: &World, git: &Git<'_>, source: &GitSource) -> Result<Commit, FetchError> {
    if let Some(commit) = named_commit(source) {
        return Ok(commit);
    }
    let name = source.reference.as_deref().unwrap_or("HEAD");
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-git-reference-1");
    hasher.field(git.remote().as_bytes());
    hasher.field(name.as_bytes());
    let key = hasher.finish();
    let known = world.store.record(key)?;
    let known = known.and_then(|known| serde_json::from_value::<Commit>(known.recipe).ok());
    if world.registry.is_offline() {
        world.store.touch_record(key);
        return known.ok_or_else(|| FetchError::Offline(format!("{}#{name}", redacted(&source.remote))));
    }
    let commit = git.resolve(source)?;
    if known.as_ref() != Some(&commit) {
        let memo = serde_json::to_value(&commit).expect("a commit is always JSON");
        let shown = format!("{}#{name}", redacted(&source.remote));
        world.store.put_record(key, &record(world, &shown, memo, RecordOutcome::Empty))?;
    }
    Ok(commit)
}

/// Returns the commit that is named in full, about which nobody has to be asked.
fn named_commit(source: &GitSource) -> Option<Commit> {
    let by_checksum = source.checksum.as_ref().filter(|_| source.fetch_by_commit);
    let mut named = by_checksum.into_iter().chain(&source.reference);
    named.find(|id| is_commit_id(id)).map(|id| Commit { id: id.clone(), reference: None })
}

fn stored(world: &World, commit: &Commit, recipe: &KeyRecipe) -> Result<Option<GitTree>, FetchError> {
    let key = recipe.key();
    let Some(CacheRecord { outcome: RecordOutcome::Layer(layer), created_ms, .. }) =
        world.store.record(key.0)?
    else {
        return Ok(None);
    };
    let present = world.store.layer_dir(&layer).is_some()
        || layer.diff_id().is_some_and(|diff_id| world.store.blob(&diff_id.0).is_some());
    let memo = world.store.record(memo_key(&commit.id))?;
    let memo = memo.and_then(|memo| serde_json::from_value::<CommitMemo>(memo.recipe).ok());
    let Some(memo) = memo.filter(|_| present) else { return Ok(None) };
    world.store.touch_record(key.0);
    world.store.touch_record(memo_key(&commit.id));
    let (commit, recipe) = (commit.id.clone(), recipe.clone());
    Ok(Some(GitTree { commit, time: memo.time, layer, recipe, created_ms, fetched: false }))
}

fn memo_key(commit: &str) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"castoff-commit-1");
    hasher.field(commit.as_bytes());
    hasher.finish()
}

/// D-316: the address and the way to the commit do not count, unless the git directory tells of them.
fn recipe(source: &GitSource, commit: &Commit) -> KeyRecipe {
    let mut recipe = KeyRecipe::new("git");
    recipe.part("commit", &commit.id);
    recipe.part("subdirectory", &source.subdir);
    recipe.part("submodules", source.submodules.to_string());
    if source.mtime == GitTime::Commit {
        recipe.part("times", "commit");
    }
    if source.keep_git_dir {
        recipe.part("git directory of", redacted(&source.remote));
        recipe.part("reference", commit.reference.as_deref().unwrap_or_default());
    }
    recipe
}

/// Makes a layer of what was checked out: all of it root's, with the two modes that git knows.
fn layer(world: &World, source: &GitSource, checkout: &Path, time: i64) -> Result<LayerId, FetchError> {
    let tree = Tree::directory(checkout, None, Ownership::Keep)?;
    let view = View::new(vec![std::sync::Arc::new(tree)]);
    check_subdir(source, &view)?;
    let keeps = source.keep_git_dir && source.subdir.is_empty();
    let excluded: &[&str] = if keeps { &[] } else { &["**/.git"] };
    let exclude = IgnorePatterns::from_patterns(excluded.iter().copied()).expect("a well-formed pattern");
    let options = SelectOptions { parents: false, exclude: &exclude, ignore: None, literal: true };
    let selection = copy::select(&view, &source.subdir, &options)?;
    let modes = Chmod::Symbolic("u=rwX,go=rX".to_owned());
    let options = WriteOptions {
        owner: None,
        chmod: Some(&modes),
        link: false,
        parents: false,
        mtime: Timestamp { seconds: time, nanos: 0 },
    };
    let sources =
        [SourceTree { view, selection: &selection, owners: Owners::Root, seen: None, unpack: false }];
    let clamp_mtime = (source.mtime == GitTime::Commit).then_some(time);
    write_layer(&world.store, TarOptions { clamp_mtime }, |tar| {
        copy::write(&View::empty(), &sources, &[], "/", &options, tar)?;
        Ok(())
    })
}

/// No part of the way to the subdirectory may be a symbolic link (D-240).
fn check_subdir(source: &GitSource, view: &View) -> Result<(), FetchError> {
    let ends = source.subdir.match_indices('/').map(|(end, _)| end).chain([source.subdir.len()]);
    for end in ends.filter(|end| *end > 0) {
        let path = &source.subdir[..end];
        let refused =
            |reason| FetchError::Subdir { remote: redacted(&source.remote), path: path.to_owned(), reason };
        match view.lookup(path.as_bytes()).map_err(copy::CopyError::from)?.map(|node| node.entry.kind) {
            Some(EntryKind::Directory { .. }) => {}
            Some(EntryKind::Symlink { .. }) => return Err(refused("is a symbolic link")),
            Some(_) => return Err(refused("is not a directory")),
            None => return Err(refused("does not exist")),
        }
    }
    Ok(())
}

impl Git<'_> {
    /// Asks where a reference leads. Branches come before tags, as for git itself.
    fn resolve(&self, source: &GitSource) -> Result<Commit, FetchError> {
        let Some(name) = &source.reference else {
            let said = self.run(None, &["ls-remote", "--symref", "--", self.remote(), "HEAD"])?;
            return head(&said).ok_or_else(|| self.no_ref(source, "HEAD"));
        };
        let full = match name.strip_prefix("refs/") {
            Some(_) => vec![name.clone()],
            None => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/{name}")],
        };
        let peeled: Vec<String> = full.iter().map(|name| format!("{name}^{{}}")).collect();
        let mut words = vec!["ls-remote", "--", self.remote()];
        words.extend(full.iter().chain(&peeled).map(String::as_str));
        let said = self.run(None, &words)?;
        let lines: Vec<(&str, &str)> = said.lines().filter_map(|line| line.split_once('\t')).collect();
        let id_of = |wanted: &str| lines.iter().find(|(_, name)| *name == wanted).map(|(id, _)| *id);
        let found = full.iter().zip(&peeled).find_map(|(name, peeled)| {
            // An annotated tag is an object of its own, and what it leads to the commit.
            let id = id_of(name)?;
            Some((id_of(peeled).unwrap_or(id), name))
        });
        match found.filter(|(id, _)| is_commit_id(id)) {
            Some((id, name)) => Ok(Commit { id: id.to_owned(), reference: Some(name.clone()) }),
            None => Err(self.no_ref(source, name)),
        }
    }

    fn no_ref(&self, source: &GitSource, name: &str) -> FetchError {
        FetchError::NoRef { remote: redacted(&source.remote), name: name.to_owned() }
    }

    /// Fetches a commit into a new directory, alone when the server can do that, and checks it out.
    fn check_out(&self, source: &GitSource, commit: &Commit, tree: &Path) -> Result<(), FetchError> {
        let format = if commit.id.len() == 64 { "sha256" } else { "sha1" };
        std::fs::create_dir(tree)?;
        let run = |words: &[&str]| self.run(Some(tree), words);
        run(&["init", "--quiet", "--template=", &format!("--object-format={format}")])?;
        run(&["remote", "add", "--", "origin", self.remote()])?;
        self.fetch(source, commit, tree)?;
        run(&["checkout", "--quiet", "--detach", &commit.id])?;
        if source.submodules && tree.join(".gitmodules").symlink_metadata().is_ok() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            let shallow = [&update[..], &["--depth=1"]].concat();
            match run(&shallow) {
                // The server may know no shallow clones, or give no commit that is not at a branch's end.
                Err(FetchError::Git { .. }) => run(&update)?,
                other => other?,
            };
        }
        Ok(())
    }

    fn fetch(&self, source: &GitSource, commit: &Commit, tree: &Path) -> Result<(), FetchError> {
        let fetch = |depth: bool, what: &[&str]| {
            let mut words = vec!["fetch", "--quiet", "--no-tags", "--update-head-ok"];
            words.extend(depth.then_some("--depth=1"));
            words.extend(["--", "origin"]);
            words.extend(what);
            match self.run(Some(tree), &words) {
                Err(FetchError::Git { message, .. }) if depth && message.contains("shallow") => {
                    words.retain(|word| *word != "--depth=1");
                    self.run(Some(tree), &words)
                }
                other => other,
            }
        };
        let object = format!("{}^{{commit}}", commit.id);
        let has_commit = || self.run(Some(tree), &["cat-file", "-e", &object]).is_ok();
        if let Some(reference) = &commit.reference {
            let local = match reference.strip_prefix("refs/heads/") {
                Some(branch) => format!("refs/remotes/origin/{branch}"),
                None if reference == "HEAD" => "refs/remotes/origin/HEAD".to_owned(),
                None => reference.clone(),
            };
            fetch(true, &[&format!("+{reference}:{local}")])?;
            if has_commit() {
                return Ok(());
            }
            // It moved on since it was asked for.
        }
        match fetch(true, &[&commit.id]) {
            Ok(_) if has_commit() => return Ok(()),
            Ok(_) | Err(FetchError::Git { .. }) => {}
            Err(error) => return Err(error),
        }
        // A server that gives no commit by its id gives the branches and tags.
        fetch(false, &["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])?;
        if has_commit() { Ok(()) } else { Err(self.no_ref(source, &commit.id)) }
    }

    fn commit_time(&self, tree: &Path) -> Result<i64, FetchError> {
        let said = self.run(Some(tree), &["show", "--no-patch", "--format=%ct", "HEAD"])?;
        // Without a time that makes sense, the epoch.
        Ok(said.trim().parse().unwrap_or_default())
    }
}

/// Reads what `ls-remote --symref` says of HEAD.
fn head(said: &str) -> Option<Commit> {
    let mut reference = None;
    for line in said.lines() {
        let (value, name) = line.split_once('\t')?;
        if name != "HEAD" {
            continue;
        }
        match value.strip_prefix("ref: ") {
            Some(target) => reference = Some(target.to_owned()),
            None if is_commit_id(value) => {
                let reference = reference.unwrap_or_else(|| "HEAD".to_owned());
                return Some(Commit { id: value.to_owned(), reference: Some(reference) });
            }
            None => return None,
        }
    }
    None
}

/// Returns the usual places of known hosts: the user's, then the machine's.
pub fn known_hosts(home: Option<&Path>) -> Vec<PathBuf> {
    let own = home.map(|home| home.join(".ssh/known_hosts"));
    own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
}

#[cfg(test)]
mod tests {
    use castoff_graph::remote::GitReference;

    use super::{Commit, head, recipe};

    fn key(text: &str, reference: &str, id: &str) -> castoff_graph::CacheKey {
        let source = GitReference::parse(text).unwrap().into_source().unwrap();
        recipe(&source, &Commit { id: id.to_owned(), reference: Some(reference.to_owned()) }).key()
    }

    // D-316
    #[test]
    fn a_tree_is_known_by_its_commit() {
        let same =
            |left: (&str, &str), right: (&str, &str)| key(left.0, left.1, "1") == key(right.0, right.1, "1");
        assert!(same(
            ("git://a/x#main", "refs/heads/main"),
            ("https://b/y.git?tag=v1&checksum=1", "refs/tags/v1")
        ));
        assert!(key("git://a/x", "HEAD", "1") != key("git://a/x", "HEAD", "2"));
        assert!(!same(("git://a/x", "HEAD"), ("git://a/x#:sub", "HEAD")));
        assert!(!same(("git://a/x", "HEAD"), ("git://a/x?submodules=0", "HEAD")));
        assert!(!same(
            ("git://a/x?keep-git-dir=1", "refs/heads/a"),
            ("git://a/x?keep-git-dir=1", "refs/heads/b")
        ));
    }

    #[test]
    fn the_head_of_a_repository_is_read() {
        let id = "0123456789012345678901234567890123456789";
        let commit = |name: &str| Some(Commit { id: id.to_owned(), reference: Some(name.to_owned()) });
        assert_eq!(head(&format!("ref: refs/heads/main\tHEAD\n{id}\tHEAD\n")), commit("refs/heads/main"));
        assert_eq!(head(&format!("{id}\tHEAD\n")), commit("HEAD"));
        assert_eq!(head(""), None);
        assert_eq!(head("nonsense\tHEAD\n"), None);
    }
}
