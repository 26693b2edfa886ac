//! `castoff.lock`: what the floating inputs of a Dockerfile stood for when somebody last looked
//! (`docs/pinning.md`).
//!
//! ```toml
//! version = 1
//!
//! [[image]]
//! name = "debian:13"
//! digest = "sha256:..."
//!
//! [[file]]
//! url = "https://..."
//! digest = "sha256:..."
//!
//! [[git]]
//! remote = "https://..."
//! reference = "main"
//! commit = "..."
//! ```
//!
//! A build reads it and never writes it; `castoff update` does.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use castoff_dockerfile::lint::Finding;
use castoff_dockerfile::{Diagnostic, Severity, Span};
use castoff_graph::remote::is_commit_id;
use castoff_oci::{Digest, Reference, ReferenceError};
use castoff_plan::Pins;
use serde::Deserialize;
use toml::Spanned;

use crate::args::{LockSpec, LockUse};
use crate::context::{DEFAULT_NAMES, DockerfileText};

/// The name beside a Dockerfile that has one of the usual names.
pub const NAME: &str = "castoff.lock";

/// A lock with more bytes than this is an attack.
pub const LIMIT: u64 = 4 << 20;

/// The rule that has nothing to say of an image that the lock pins.
const UNPINNED: &str = "UnpinnedBase";

/// What names stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Digests of manifests or indexes, by names without digest.
    pub images: BTreeMap<Reference, Digest>,
    /// Files and commits, and the name of the lock.
    pub pins: Pins,
    /// Whether everything that floats has to be in it (`--locked`).
    pub required: bool,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It has to be there and is not.
    #[error("there is no {name}{}", if *locked { ", and `--locked` was given" } else { "" })]
    Missing {
        /// Its name.
        name: String,
        /// Whether `--locked` asks for it, and not `--lockfile`.
        locked: bool,
    },
    /// It has no place beside a Dockerfile that is no file.
    #[error(
        "the Dockerfile is no file that could have a lock beside it: `--lockfile` says which one is meant"
    )]
    NoPlace,
    /// It cannot be read.
    #[error("reading `{name}`: {source}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {}", text.name, what.message)]
    Malformed {
        /// The lock.
        text: Box<DockerfileText>,
        /// Where and why.
        what: Box<Diagnostic>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    #[serde(default)]
    image: Vec<ImageEntry>,
    #[serde(default)]
    file: Vec<FileEntry>,
    #[serde(default)]
    git: Vec<GitEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEntry {
    name: Spanned<String>,
    digest: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    url: Spanned<String>,
    digest: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GitEntry {
    remote: Spanned<String>,
    reference: Spanned<String>,
    commit: Spanned<String>,
}

/// What is wrong with a text, and where.
type Fault = (Range<usize>, String);

/// Returns where the lock of a Dockerfile of this machine is; `None` when it came from a pipe or a server.
pub fn place(dockerfile: &DockerfileText, spec: &LockSpec) -> Option<PathBuf> {
    spec.file.clone().or_else(|| {
        let path = dockerfile.path.as_ref()?;
        Some(path.with_file_name(beside(&path.file_name()?.to_string_lossy())))
    })
}

/// Returns the name of the lock beside a Dockerfile of this name.
pub fn beside(dockerfile: &str) -> String {
    if DEFAULT_NAMES.contains(&dockerfile) { NAME.to_owned() } else { format!("{dockerfile}.{NAME}") }
}

/// Reads the lock of a Dockerfile as the flags say. Without one nothing is pinned.
///
/// # Errors
/// When it has to be there and is not, cannot be read, or is malformed.
pub fn load(dockerfile: &DockerfileText, spec: &LockSpec) -> Result<Lock, LockError> {
    let required = spec.choice == LockUse::Required;
    if spec.choice == LockUse::Never {
        return Ok(Lock::default());
    }
    let Some(path) = place(dockerfile, spec) else {
        return if required { Err(LockError::NoPlace) } else { Ok(Lock::default()) };
    };
    let name = shown(&path, dockerfile, spec);
    match read(&path) {
        Ok(bytes) => of_bytes(name, Some(path), bytes, spec),
        Err(source) if source.kind() == io::ErrorKind::NotFound => missing(name, spec),
        Err(source) => Err(LockError::Read { name, source }),
    }
}

/// Returns the lock that a text is.
///
/// # Errors
/// When it is malformed.
pub fn of_bytes(
    name: String,
    path: Option<PathBuf>,
    bytes: Vec<u8>,
    spec: &LockSpec,
) -> Result<Lock, LockError> {
    let text = String::from_utf8_lossy(&bytes);
    match Lock::parse(&name, &text) {
        Ok(lock) => Ok(Lock { required: spec.choice == LockUse::Required, ..lock }),
        Err(fault) => {
            let what = Box::new(diagnostic(&text, fault));
            Err(LockError::Malformed { text: Box::new(DockerfileText { name, path, bytes }), what })
        }
    }
}

/// Returns the lock where there is none.
///
/// # Errors
/// When there has to be one.
pub fn missing(name: String, spec: &LockSpec) -> Result<Lock, LockError> {
    let locked = spec.choice == LockUse::Required;
    if locked || spec.file.is_some() { Err(LockError::Missing { name, locked }) } else { Ok(Lock::default()) }
}

/// Returns the lock's name as the user knows it: beside the Dockerfile as that was named.
pub fn shown(path: &Path, dockerfile: &DockerfileText, spec: &LockSpec) -> String {
    match &spec.file {
        Some(file) => file.display().to_string(),
        None => {
            let name = path.file_name().unwrap_or_default();
            Path::new(&dockerfile.name).with_file_name(name).display().to_string()
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, LIMIT + 1), &mut bytes)?;
    if bytes.len() as u64 > LIMIT { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn diagnostic(text: &str, (range, message): Fault) -> Diagnostic {
    let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1) as u32;
    let lines = (line(range.start), line(range.end.saturating_sub(1).max(range.start)));
    let span = Span { start: range.start as u32, end: range.end as u32 };
    let hints = vec!["`castoff update` writes it anew; `--no-lock` does without".to_owned()];
    Diagnostic { severity: Severity::Error, rule: None, message, span, lines, hints }
}

impl Lock {
    fn parse(name: &str, text: &str) -> Result<Lock, Fault> {
        let file: File = toml::from_str(text).map_err(|error| {
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            (error.span().unwrap_or_default(), message)
        })?;
        if *file.version.get_ref() != 1 {
            let message = format!("version {} is not known; this castoff knows 1", file.version.get_ref());
            return Err((file.version.span(), message));
        }
        let mut lock = Lock { pins: Pins { name: name.to_owned(), ..Pins::default() }, ..Lock::default() };
        for ImageEntry { name, digest } in &file.image {
            let reference: Reference =
                checked(name, |text| text.parse().map_err(|error: ReferenceError| error.to_string()))?;
            if reference.digest().is_some() {
                return Err((name.span(), "a name that is pinned has no digest of its own".to_owned()));
            }
            once(name, lock.images.insert(reference, checked(digest, sha256)?))?;
        }
        for FileEntry { url, digest } in &file.file {
            once(url, lock.pins.files.insert(url.get_ref().clone(), checked(digest, sha256)?))?;
        }
        for GitEntry { remote, reference, commit } in &file.git {
            let key = (remote.get_ref().clone(), reference.get_ref().clone());
            let commit = checked(commit, |text| {
                is_commit_id(text)
                    .then(|| text.to_owned())
                    .ok_or_else(|| format!("`{text}` is not a commit id"))
            })?;
            once(reference, lock.pins.commits.insert(key, commit))?;
        }
        Ok(lock)
    }

    /// Returns the text of the lock: sorted, a block for each name.
    pub fn text(&self) -> String {
        let mut text =
            "# Written by `castoff update`: what the names of the Dockerfile stand for.\nversion = 1\n"
                .to_owned();
        let mut block = |kind: &str, fields: &[(&str, &str)]| {
            text.push_str(&format!("\n[[{kind}]]\n"));
            for (key, value) in fields {
                text.push_str(&format!("{key} = {}\n", quoted(value)));
            }
        };
        let images: BTreeMap<String, &Digest> =
            self.images.iter().map(|(name, digest)| (name.familiar(), digest)).collect();
        for (name, digest) in images {
            block("image", &[("name", &name), ("digest", &digest.to_string())]);
        }
        for (url, digest) in &self.pins.files {
            block("file", &[("url", url), ("digest", &digest.to_string())]);
        }
        for ((remote, reference), commit) in &self.pins.commits {
            block("git", &[("remote", remote), ("reference", reference), ("commit", commit)]);
        }
        text
    }

    /// Returns what an image is pinned to.
    pub fn image(&self, name: &Reference) -> Option<Digest> {
        self.images.get(name).copied().filter(|_| name.digest().is_none())
    }

    /// Returns everything that is pinned, for people: names and what they stand for.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let images = self.images.iter().map(|(name, digest)| (name.familiar(), digest.to_string()));
        let files = self.pins.files.iter().map(|(url, digest)| (url.clone(), digest.to_string()));
        let trees = self.pins.commits.iter();
        let trees = trees.map(|((remote, name), commit)| (format!("{remote}#{name}"), commit.clone()));
        images.chain(files).chain(trees).collect()
    }

    /// Whether a finding is about an image that is pinned here though its name has no version.
    pub fn answers(&self, finding: &Finding, source: &str) -> bool {
        finding.rule.name == UNPINNED && self.names(&finding.diagnostic, source)
    }

    /// Whether the place of a diagnostic is the name of an image that is pinned.
    fn names(&self, diagnostic: &Diagnostic, source: &str) -> bool {
        let word = source.get(diagnostic.span.range()).and_then(|word| word.trim().parse().ok());
        word.is_some_and(|name: Reference| self.images.contains_key(&name))
    }
}

fn checked<T>(text: &Spanned<String>, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Fault> {
    parse(text.get_ref()).map_err(|message| (text.span(), message))
}

fn sha256(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|_| format!("`{text}` is not a digest: expected `sha256:` and 64 hex digits"))
}

fn once<T>(name: &Spanned<String>, earlier: Option<T>) -> Result<(), Fault> {
    match earlier {
        None => Ok(()),
        Some(_) => Err((name.span(), format!("`{}` is pinned twice", name.get_ref()))),
    }
}

/// Returns a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
        let digest = Digest::of(b"x");
        Lock {
            images: [("debian:13".parse().unwrap(), digest), ("a.b/c".parse().unwrap(), digest)].into(),
            pins: Pins {
                name: NAME.to_owned(),
                files: [("https://a/\"\\\u{7}".to_owned(), digest)].into(),
                commits: [(("https://a/x.git".to_owned(), "HEAD".to_owned()), commit)].into(),
            },
            required: false,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = lock().text();
        assert_eq!(Lock::parse(NAME, &text), Ok(lock()), "{text}");
        assert_eq!(text.matches("[[image]]").count(), 2);
        // By name, so that a change of one is a change of its lines.
        assert!(text.find("a.b/c:latest") < text.find("debian:13"), "{text}");
        assert_eq!(Lock::parse(NAME, &Lock::default().text()).unwrap().entries().len(), 0);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let (range, message) = Lock::parse(NAME, text).unwrap_err();
        assert_eq!(format!("{}: {message}", &text[range]), expected);
    }

    #[test]
    fn a_broken_lock_is_refused_at_its_place() {
        let digest = format!("digest = \"{}\"", Digest::of(b"x"));
        refused("version = 2\n", "2: version 2 is not known; this castoff knows 1");
        let image = |name: &str, rest: &str| format!("version = 1\n[[image]]\nname = \"{name}\"\n{rest}\n");
        refused(
            &image("debian:13", "digest = \"sha256:12\""),
            "\"sha256:12\": `sha256:12` is not a digest: expected `sha256:` and 64 hex digits",
        );
        refused(
            &image("De:13", &digest),
            "\"De:13\": invalid reference format: repository name `library/De` must be lowercase",
        );
        let twice = image("a:1", &digest) + &image("library/a:1", &digest).replace("version = 1\n", "");
        refused(&twice, "\"library/a:1\": `library/a:1` is pinned twice");
        let named = image(&format!("a@{}", Digest::of(b"y")), &digest);
        assert!(Lock::parse(NAME, &named).unwrap_err().1.contains("no digest of its own"));
        let git =
            "version = 1\n[[git]]\nremote = \"https://a/x.git\"\nreference = \"main\"\ncommit = \"12\"\n";
        refused(git, "\"12\": `12` is not a commit id");
        for broken in [
            "",
            "version = 1\n<<<<<<< ours\n",
            "version = 1\nimages = []\n",
            "[[image]]\n",
            "version = \"1\"\n",
        ] {
            assert!(Lock::parse(NAME, broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_lock_is_called_after_its_dockerfile() {
        assert_eq!(beside("Dockerfile"), "castoff.lock");
        assert_eq!(beside("Containerfile"), "castoff.lock");
        assert_eq!(beside("Dockerfile.web"), "Dockerfile.web.castoff.lock");
    }
}
