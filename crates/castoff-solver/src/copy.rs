//! COPY and ADD (section 10): which files a source names, the digest of them, and the layer that holds
//! them.
//!
//! [`select`] looks at a source and returns a [`Selection`]; [`digest`] turns that into the content
//! part of a cache key; [`write`](write()) merges selections, here-documents and archives into a plan
//! of one entry per path and streams the layer tar. No file is created, and no store is needed.

mod ahead;
mod archive;
mod chmod;
mod digest;
mod plan;
mod scene;
mod select;
mod write;

use std::collections::BTreeMap;

use castoff_graph::pattern::PatternProblem;
use castoff_layer::{TarReadError, TarWriteError, View, ViewError};
use castoff_oci::Digest;

pub use chmod::{ChmodError, SymbolicMode, mode_after};
pub use digest::{content_digests, digest};
pub(crate) use select::same_names;
pub use select::{RootKind, SelectOptions, Selected, SelectedRoot, Selection, select};
pub use write::{CopyStats, write};

/// To whom copied files belong before `--chown` (D-209).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// All to 0:0: files of local directories.
    Root,
    /// To whom they belong in their image or stage.
    Kept,
}

/// A source of [`write`](write()): a file system and what was selected of it.
#[derive(Debug, Clone)]
pub struct SourceTree<'a> {
    /// The file system.
    pub view: View,
    /// What [`select`] returned for it.
    pub selection: &'a Selection,
    /// To whom its files belong.
    pub owners: Owners,
    /// What its files were when they were looked at, when they may change at any moment: those that are not the
    /// same any more are refused (B-071).
    pub seen: Option<Seen<'a>>,
    /// Whether files that are tar archives are unpacked (D-232, D-244).
    pub unpack: bool,
}

/// What files were when they were looked at.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What [`content_digests`] returned for them, by path.
    pub digests: &'a BTreeMap<Vec<u8>, Digest>,
    /// When looking began, in milliseconds since 1970. A file that had been at rest for some time by then is
    /// believed to be the same while its [`castoff_layer::FileIdentity`] is.
    pub began_ms: i64,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// File name, for destinations that are directories.
    pub name: String,
    /// Content.
    pub content: Vec<u8>,
}

/// How [`write`](write()) copies.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions<'a> {
    /// `--chown`, looked up.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub chmod: Option<&'a castoff_graph::Chmod>,
    /// `--link`: the parent is not looked at.
    pub link: bool,
    /// `--parents`: the destination is always a directory (D-226).
    pub parents: bool,
    /// The time of directories that are created and of here-documents.
    pub mtime: castoff_layer::Timestamp,
}

/// Why files could not be copied. Paths are as the user wrote them, or those in the image.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source without a wildcard does not exist (D-194).
    #[error("\"{path}\": not found")]
    NotFound {
        /// The source as written.
        path: String,
        /// What may help.
        facts: Box<MissingFacts>,
    },
    /// A wildcard is malformed.
    #[error("source `{pattern}`: {problem}")]
    Pattern {
        /// The source as written.
        pattern: String,
        /// What is wrong.
        problem: PatternProblem,
    },
    /// A file or symbolic link would replace a directory (D-205).
    #[error("cannot replace to directory `/{path}` with a file")]
    FileOverDirectory {
        /// The directory.
        path: String,
    },
    /// A directory would replace something else (D-205).
    #[error("cannot copy to non-directory `/{path}`")]
    DirectoryOverFile {
        /// What would be replaced.
        path: String,
    },
    /// The address of a fetched file ends without a name (D-236).
    #[error("cannot copy into the directory `/{path}`: the URL has no file name")]
    Unnamed {
        /// The directory.
        path: String,
    },
    /// A hard link of an archive leads nowhere.
    #[error("archive `{archive}`: `{path}` is a hard link to `{target}`, which does not exist")]
    ArchiveLink {
        /// The archive.
        archive: String,
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// An archive could not be read.
    #[error("archive `{archive}`: {}", with_cause(source))]
    Archive {
        /// Which.
        archive: String,
        /// Why.
        #[source]
        source: TarReadError,
    },
    /// A file is not what it was a moment ago.
    #[error("`{path}` changed while it was copied")]
    Changed {
        /// Which.
        path: String,
    },
    /// An archive is not what it was a moment ago.
    #[error("archive `{archive}` changed while it was copied")]
    ArchiveChanged {
        /// Which.
        archive: String,
    },
    /// The mode of `--chmod` is not one.
    #[error("{0}")]
    Chmod(#[from] ChmodError),
    /// A file system could not be read.
    #[error("{}", with_cause(.0))]
    View(#[from] ViewError),
    /// A file could not be read, or the layer not be written.
    #[error("writing the layer: {}", with_cause(.0))]
    Write(#[from] TarWriteError),
}

/// What is known about a source that does not exist, for hints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingFacts {
    /// The line of the ignore file that hides it.
    pub ignored_by_line: Option<usize>,
    /// The name of that file.
    pub ignore_file: Option<String>,
    /// A path that differs in case only.
    pub other_case: Option<String>,
    /// The most similar path in the directory where it should be.
    pub similar: Option<String>,
    /// Where else something of this name is.
    pub elsewhere: Vec<Elsewhere>,
}

/// A place where what is missing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// The same path of the build context.
    Context,
    /// The same path of a stage.
    Stage(String),
    /// Another path of the source.
    Path(String),
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => directory.to_vec(),
        (false, false) => [directory, name].join(&b'/'),
    }
}

/// Splits a path into its parent and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
