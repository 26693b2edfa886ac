//! The build context on this machine: which directory, which Dockerfile, which ignore file
//! (D-272 to D-284, B-045, B-060).

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use castoff_graph::pattern::{IgnorePatterns, PatternError};
use castoff_solver::{IgnoreFile, LocalDirectory};

/// A Dockerfile that was found and read.
#[derive(Debug, Clone)]
pub struct DockerfileText {
    /// Its name in messages: the path as the user gave it, or the default's.
    pub name: String,
    /// Its directory and file name, for the ignore file beside it; `None` when it came from a pipe.
    pub path: Option<PathBuf>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is not a directory.
    #[error("path \"{0}\" not found")]
    NotFound(String),
    /// The context is a file.
    #[error("path \"{0}\" is not a directory")]
    NotADirectory(String),
    /// There is no Dockerfile.
    #[error("failed to read dockerfile: open {0}: no such file or directory")]
    NoDockerfile(String),
    /// A file cannot be read.
    #[error("reading `{}`: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ignore file has a malformed pattern (D-284).
    #[error("`{name}`: {source}")]
    Ignore {
        /// Name of the ignore file.
        name: String,
        /// Why.
        #[source]
        source: PatternError,
    },
}

/// Names that are tried when no Dockerfile is given (B-045).
pub const DEFAULT_NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// Returns the absolute path of a context directory.
///
/// # Errors
/// When it does not exist or is not a directory.
pub fn directory(path: &str) -> Result<PathBuf, ContextError> {
    let absolute = std::fs::canonicalize(path).map_err(|_| ContextError::NotFound(path.to_owned()))?;
    if absolute.is_dir() { Ok(absolute) } else { Err(ContextError::NotADirectory(path.to_owned())) }
}

/// A Dockerfile with more bytes than this is an attack.
pub const DOCKERFILE_LIMIT: u64 = 16 << 20;

/// Reads a Dockerfile from a stream.
///
/// # Errors
/// When it cannot be read or has too many bytes.
pub fn dockerfile_from(stream: &mut dyn io::Read) -> Result<DockerfileText, ContextError> {
    let error = |source| ContextError::Read { path: PathBuf::from("-"), source };
    let mut bytes = Vec::new();
    io::Read::take(stream, DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > DOCKERFILE_LIMIT {
        return Err(error(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(DockerfileText { name: "Dockerfile".to_owned(), path: None, bytes })
}

/// Reads the Dockerfile of this machine: `file` relative to the caller's directory, or the default in the
/// context.
///
/// # Errors
/// When there is none or it cannot be read.
pub fn dockerfile(file: Option<&Path>, context: Option<&Path>) -> Result<DockerfileText, ContextError> {
    let candidates: Vec<(String, PathBuf)> = match (file, context) {
        (Some(file), _) => vec![(file.display().to_string(), file.to_owned())],
        (None, context) => DEFAULT_NAMES
            .iter()
            .map(|name| ((*name).to_owned(), context.unwrap_or(Path::new("")).join(name)))
            .collect(),
    };
    for (name, path) in &candidates {
        match std::fs::read(path) {
            Ok(bytes) => return Ok(DockerfileText { name: name.clone(), path: Some(path.clone()), bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ContextError::Read { path: path.clone(), source }),
        }
    }
    Err(ContextError::NoDockerfile(candidates[0].0.clone()))
}

/// Returns the main context with its ignore file: the one named after the Dockerfile if it exists,
/// else that of the context's root; never both (D-278).
///
/// # Errors
/// When the ignore file cannot be read or is malformed.
pub fn main_context(path: &Path, dockerfile: &DockerfileText) -> Result<LocalDirectory, ContextError> {
    if let Some(beside) = &dockerfile.path {
        let mut name = beside.clone().into_os_string();
        name.push(".dockerignore");
        if let Some(ignore) = read_ignore(Path::new(&name))? {
            return Ok(LocalDirectory { path: path.to_owned(), ignore: Some(ignore) });
        }
    }
    named_context(path)
}

/// Returns a named context with the ignore file in its own root (D-280).
///
/// # Errors
/// As [`main_context`].
pub fn named_context(path: &Path) -> Result<LocalDirectory, ContextError> {
    let mut ignore = read_ignore(&path.join(".dockerignore"))?;
    if ignore.is_none() {
        ignore = read_ignore(&path.join(".containerignore"))?;
    }
    Ok(LocalDirectory { path: path.to_owned(), ignore })
}

fn read_ignore(path: &Path) -> Result<Option<IgnoreFile>, ContextError> {
    let text = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ContextError::Read { path: path.to_owned(), source }),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let patterns =
        IgnorePatterns::parse(&text).map_err(|source| ContextError::Ignore { name: name.clone(), source })?;
    // An ignore file without patterns hides nothing, and a context without one can be used in place.
    Ok(if patterns.is_empty() { None } else { Some(IgnoreFile { name, patterns }) })
}
