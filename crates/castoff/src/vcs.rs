//! What the repository that the context is in says of a build: labels of the image, and a part of its provenance
//! (B-180).

use std::path::{Path, PathBuf};

use castoff_solver::World;
use castoff_solver::fetch::FetchError;
use castoff_solver::fetch::git::{Checkout, checkout};
use serde_json::{Value, json};

use crate::args::{BuildRequest, ContextSpec, FileSpec, PlanRequest, VcsLabels};

/// The repository, and where in it the build's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vcs {
    /// The commit, with `-dirty` if the files are not what was committed.
    revision: String,
    source: Option<String>,
    /// The directories of context and Dockerfile and the Dockerfile itself, from the repository's top; what is
    /// not in it is not told.
    context: Option<String>,
    dockerfile: Option<String>,
    entrypoint: Option<String>,
}

/// Looks at the repository of a context that is a directory, if somebody wants to know.
///
/// # Errors
/// When git is not there, or refuses to look.
pub(crate) fn look(request: &BuildRequest, world: &World) -> Result<Option<Vcs>, FetchError> {
    let tells = request.attest.provenance.is_some()
        || request.vcs.labels != VcsLabels::None
        || (request.metadata_file.is_some() && request.metadata_provenance.is_some());
    let ContextSpec::Directory(directory) = &request.plan.context else { return Ok(None) };
    if !tells || !request.vcs.is_wanted {
        return Ok(None);
    }
    let found = checkout(world, directory, request.vcs.look_for_changes)?;
    Ok(found.map(|found| Vcs::of(&found, directory, dockerfile(&request.plan, directory).as_deref())))
}

fn dockerfile(request: &PlanRequest, context: &Path) -> Option<PathBuf> {
    match &request.file {
        Some(FileSpec::Path(path)) => Some(path.clone()),
        Some(FileSpec::Stdin | FileSpec::Http(_)) => None,
        None => Some(context.join("Dockerfile")),
    }
}

impl Vcs {
    fn of(found: &Checkout, context: &Path, dockerfile: Option<&Path>) -> Vcs {
        let inside = |path: &Path| -> Option<String> {
            let path = path.canonicalize().ok()?;
            let path = path.strip_prefix(&found.root).ok()?.to_str()?;
            Some(if path.is_empty() { ".".to_owned() } else { path.to_owned() })
        };
        let dirty = if found.is_dirty == Some(true) { "-dirty" } else { "" };
        let of_dockerfile = dockerfile.and_then(Path::parent);
        let here =
            |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
        Vcs {
            revision: format!("{}{dirty}", found.commit),
            source: found.source.clone(),
            context: inside(context),
            dockerfile: of_dockerfile.and_then(|path| inside(&here(path))),
            entrypoint: dockerfile.and_then(inside),
        }
    }

    /// Adds labels to what is to be built, except where the caller gave others.
    pub(crate) fn label(&self, wanted: VcsLabels, request: &mut PlanRequest) {
        let (revision, source) = (Some(&self.revision), self.source.as_ref());
        let labels = [
            (VcsLabels::Source, "org.opencontainers.image.revision", revision),
            (VcsLabels::Source, "org.opencontainers.image.source", source),
            (VcsLabels::Full, "com.docker.image.source.entrypoint", self.entrypoint.as_ref()),
        ];
        for (least, name, value) in labels {
            let is_given = request.labels.iter().any(|(given, _)| given == name);
            if let Some(value) = value.filter(|_| wanted >= least && !is_given) {
                request.labels.push((name.to_owned(), value.clone()));
            }
        }
    }

    /// Returns what provenance says of it, with BuildKit's keys.
    pub(crate) fn provenance(&self) -> Value {
        let mut told = json!({ "revision": self.revision });
        let others = [
            ("source", &self.source),
            ("localdir:context", &self.context),
            ("localdir:dockerfile", &self.dockerfile),
        ];
        for (key, value) in others {
            if let Some(value) = value {
                told[key] = json!(value);
            }
        }
        told
    }
}
