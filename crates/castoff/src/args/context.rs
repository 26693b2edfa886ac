//! Where the build's files come from: the positional argument, `--file` and `--build-context`.

use std::path::PathBuf;

use castoff_graph::remote::SourceKind;
use castoff_oci::{Digest, DigestError, Reference, ReferenceError};

/// The main context (section 2 of the specification).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSpec {
    /// A directory of this machine.
    Directory(PathBuf),
    /// Standard input: an archive, or a Dockerfile with an empty context (B-061).
    Stdin,
    /// A git repository (B-063).
    Git(String),
    /// A file fetched over HTTP (B-068).
    Http(String),
}

/// Where the Dockerfile is (B-045).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSpec {
    /// A path relative to the caller's directory.
    Path(PathBuf),
    /// Standard input.
    Stdin,
    /// A file fetched over HTTP.
    Http(String),
}

/// A named context (B-072).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContextSpec {
    /// The name, normalised like an image reference, with `:latest` dropped.
    pub name: String,
    /// What it stands for.
    pub source: NamedContextSource,
}

/// What a named context stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContextSource {
    /// A directory; it must exist, which is for the caller to check.
    Directory(PathBuf),
    /// An image.
    Image(Reference),
    /// An image of an OCI layout.
    OciLayout {
        /// The layout's directory.
        path: PathBuf,
        /// The tag.
        tag: Option<String>,
        /// The digest; it decides when given.
        digest: Option<Digest>,
    },
    /// A git repository.
    Git(String),
    /// A file fetched over HTTP.
    Http(String),
}

/// Why a context is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Not `name=value`.
    #[error("invalid context value `{0}`, expected name=value")]
    NotAPair(String),
    /// The name is not one an image could have.
    #[error("invalid context name `{name}`")]
    Name {
        /// The name as written.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// The image is malformed.
    #[error("invalid image `{image}`")]
    Image {
        /// The image as written.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// The digest of a layout's image is malformed.
    #[error("invalid layout `{layout}`")]
    Layout {
        /// The layout as written.
        layout: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
    /// A `target:` value, which only bake files have.
    #[error("`{0}` names a target, and targets are of bake files only")]
    Target(String),
}

impl ContextSpec {
    /// Reads the positional argument. Whether a directory exists is for the caller to see.
    pub fn parse(text: &str) -> ContextSpec {
        // B-063: without a scheme, only this legacy form is git.
        if SourceKind::of(text) == SourceKind::Git || text.starts_with("github.com/") {
            ContextSpec::Git(text.to_owned())
        } else if is_http(text) {
            ContextSpec::Http(text.to_owned())
        } else if text == "-" {
            ContextSpec::Stdin
        } else {
            ContextSpec::Directory(PathBuf::from(text))
        }
    }
}

impl FileSpec {
    /// Reads the value of `--file`.
    pub fn parse(text: &str) -> FileSpec {
        match text {
            "-" => FileSpec::Stdin,
            text if is_http(text) => FileSpec::Http(text.to_owned()),
            text => FileSpec::Path(PathBuf::from(text)),
        }
    }
}

impl NamedContextSpec {
    /// Reads one value of `--build-context`.
    pub fn parse(text: &str) -> Result<NamedContextSpec, ContextError> {
        let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let (name, value) = pair.ok_or_else(|| ContextError::NotAPair(text.to_owned()))?;
        let reference: Reference =
            name.parse().map_err(|source| ContextError::Name { name: name.to_owned(), source })?;
        let familiar = reference.familiar();
        let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
        Ok(NamedContextSpec { name, source: named_source(value)? })
    }
}

fn named_source(value: &str) -> Result<NamedContextSource, ContextError> {
    let image =
        ["docker-image://", "container-image://"].iter().find_map(|scheme| value.strip_prefix(scheme));
    if let Some(image) = image {
        let reference =
            image.parse().map_err(|source| ContextError::Image { image: image.to_owned(), source })?;
        return Ok(NamedContextSource::Image(reference));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return oci_layout(layout);
    }
    if value.starts_with("target:") {
        return Err(ContextError::Target(value.to_owned()));
    }
    Ok(if SourceKind::of(value) == SourceKind::Git {
        NamedContextSource::Git(value.to_owned())
    } else if is_http(value) {
        NamedContextSource::Http(value.to_owned())
    } else {
        NamedContextSource::Directory(PathBuf::from(value))
    })
}

/// Reads `path[:tag][@digest]`. A colon before the last slash belongs to the path.
fn oci_layout(text: &str) -> Result<NamedContextSource, ContextError> {
    let (text, digest) = match text.split_once('@') {
        Some((before, digest)) => {
            let digest =
                digest.parse().map_err(|source| ContextError::Layout { layout: text.to_owned(), source })?;
            (before, Some(digest))
        }
        None => (text, None),
    };
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (text, None),
    };
    Ok(NamedContextSource::OciLayout { path: PathBuf::from(path), tag, digest })
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}
