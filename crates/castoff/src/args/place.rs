//! Where images are: the places that `castoff copy` reads and writes, spelled as skopeo spells them.

use std::path::PathBuf;

use castoff_oci::{Digest, DigestError, Reference, ReferenceError};
use castoff_solver::export::archive::ArchiveKind;

/// A place with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceSpec {
    /// A registry: `NAME` or `docker://NAME`.
    Registry(Reference),
    /// A directory with an OCI layout: `oci:DIR[:TAG]` or `oci:DIR@DIGEST`.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// The name within it.
        tag: Option<String>,
        /// The digest that tells the image.
        digest: Option<Digest>,
    },
    /// An archive: `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`.
    Archive {
        /// What it is for.
        kind: ArchiveKind,
        /// The file.
        file: PathBuf,
        /// The name within it.
        tag: Option<String>,
    },
    /// castoff's own store: `store:NAME`.
    Store(String),
}

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The name in a registry is wrong.
    #[error("`{text}`: {source}")]
    Reference {
        /// The text.
        text: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// The digest is wrong.
    #[error("`{text}`: {source}")]
    Digest {
        /// The text.
        text: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// There is nothing after the colon.
    #[error("`{0}` names no file, directory or image")]
    Empty(String),
    /// A place of skopeo that castoff does not know.
    #[error(
        "`{0}` is a place that castoff does not reach: use a registry, oci:, oci-archive:, docker-archive: or store:"
    )]
    Unknown(String),
}

impl PlaceSpec {
    /// Reads a place.
    ///
    /// # Errors
    /// When the text names none.
    pub fn parse(text: &str) -> Result<PlaceSpec, PlaceError> {
        let reference = |name: &str| {
            let failed = |source| PlaceError::Reference { text: text.to_owned(), source };
            Ok(PlaceSpec::Registry(name.parse().map_err(failed)?))
        };
        let Some((kind, rest)) = text.split_once(':') else { return reference(text) };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
            None => (rest, None),
        };
        let place = match kind {
            "docker" => match rest.strip_prefix("//") {
                Some(name) => return reference(name),
                // The image `docker` of Docker Hub.
                None => return reference(text),
            },
            "oci" => match rest.split_once('@') {
                Some((path, digest)) => {
                    let failed = |source| PlaceError::Digest { text: text.to_owned(), source };
                    let digest = Some(digest.parse().map_err(failed)?);
                    PlaceSpec::Layout { directory: path.into(), tag: None, digest }
                }
                None => PlaceSpec::Layout { directory: path.into(), tag, digest: None },
            },
            "oci-archive" => PlaceSpec::Archive { kind: ArchiveKind::Oci, file: path.into(), tag },
            "docker-archive" => PlaceSpec::Archive { kind: ArchiveKind::Docker, file: path.into(), tag },
            "store" => PlaceSpec::Store(rest.to_owned()),
            "containers-storage" | "docker-daemon" | "dir" | "sif" | "atomic" | "ostree" | "tarball" => {
                return Err(PlaceError::Unknown(kind.to_owned()));
            }
            _ => return reference(text),
        };
        if path.is_empty() { Err(PlaceError::Empty(text.to_owned())) } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use super::PlaceSpec;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match PlaceSpec::parse(text) {
            Ok(PlaceSpec::Registry(name)) => format!("registry {name}"),
            Ok(PlaceSpec::Layout { directory, tag, digest }) => {
                let digest = digest.map_or(String::new(), |digest| format!(" {digest}"));
                format!("layout {} {}{digest}", directory.display(), tag.unwrap_or_default())
            }
            Ok(PlaceSpec::Archive { kind, file, tag }) => {
                format!("{kind:?} {} {}", file.display(), tag.unwrap_or_default())
            }
            Ok(PlaceSpec::Store(name)) => format!("store {name}"),
            Err(error) => format!("error {error}"),
        };
        assert!(said.starts_with(expected), "{text}: {said}");
    }

    // B-077
    #[test]
    fn places_are_spelled_as_skopeo_spells_them() {
        check("alpine", "registry docker.io/library/alpine");
        check("docker://localhost:5000/a:1", "registry localhost:5000/a:1");
        check("localhost:5000/a:1", "registry localhost:5000/a:1");
        check("docker:24", "registry docker.io/library/docker:24");
        check("docker://oci:1", "registry docker.io/library/oci:1");
        check("oci:some/dir", "layout some/dir ");
        check("oci:/dir:team/app:1", "layout /dir team/app:1");
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&format!("oci:dir@{digest}"), &format!("layout dir  {digest}"));
        check("oci-archive:a.tar:1", "Oci a.tar 1");
        check("docker-archive:a.tar:team/app:1", "Docker a.tar team/app:1");
        check("docker-archive:a.tar", "Docker a.tar ");
        check("store:app:1", "store app:1");
    }

    #[test]
    fn what_names_no_place_is_refused() {
        check("oci:", "error `oci:` names no file");
        check("store:", "error `store:` names no file");
        check("oci:dir@sha256:12", "error `oci:dir@sha256:12`: ");
        check("docker://Upper", "error `docker://Upper`: invalid reference format");
        check("dir:x", "error `dir` is a place that castoff does not reach");
        check("containers-storage:x", "error `containers-storage` is a place");
    }
}
