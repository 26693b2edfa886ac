//! What is told of the repository that the context is in (B-007, B-180).

use super::{Environment, fields};

/// What the caller wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcsSpec {
    /// Whether the repository is looked at (BUILDX_GIT_INFO).
    pub is_wanted: bool,
    /// What becomes labels of the image (BUILDX_GIT_LABELS).
    pub labels: VcsLabels,
    /// Whether files are compared with the commit (BUILDX_GIT_CHECK_DIRTY).
    pub look_for_changes: bool,
}

/// Which labels an image gets of its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VcsLabels {
    /// None.
    None,
    /// The commit, and where the repository is published.
    Source,
    /// The same and the place of the Dockerfile.
    Full,
}

impl VcsSpec {
    /// Reads buildx's variables. What is no boolean is as good as not set, as in buildx; other than there, files
    /// are compared with the commit unless the caller forbids it, because provenance should not name a commit
    /// that the files are not of.
    pub(super) fn of(environment: &Environment) -> VcsSpec {
        let is_true = |name: &str, default: bool| {
            environment.filled(name).and_then(|text| fields::boolean(text).ok()).unwrap_or(default)
        };
        let labels = match environment.filled("BUILDX_GIT_LABELS") {
            Some("full") => VcsLabels::Full,
            _ if is_true("BUILDX_GIT_LABELS", false) => VcsLabels::Source,
            _ => VcsLabels::None,
        };
        VcsSpec {
            is_wanted: is_true("BUILDX_GIT_INFO", true),
            labels,
            look_for_changes: is_true("BUILDX_GIT_CHECK_DIRTY", true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, VcsLabels, VcsSpec};

    // B-007, B-180
    #[test]
    fn variables_say_what_is_told_of_the_repository() {
        let of = |variables: &[(&str, &str)]| {
            let pairs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let spec = VcsSpec::of(&Environment::new(pairs));
            (spec.is_wanted, spec.labels, spec.look_for_changes)
        };
        assert_eq!(of(&[]), (true, VcsLabels::None, true));
        assert_eq!(of(&[("BUILDX_GIT_LABELS", "1")]).1, VcsLabels::Source);
        assert_eq!(of(&[("BUILDX_GIT_LABELS", "full")]).1, VcsLabels::Full);
        assert_eq!(of(&[("BUILDX_GIT_LABELS", "some")]).1, VcsLabels::None);
        assert_eq!(
            of(&[("BUILDX_GIT_INFO", "false"), ("BUILDX_GIT_CHECK_DIRTY", "0")]),
            (false, VcsLabels::None, false)
        );
    }
}
