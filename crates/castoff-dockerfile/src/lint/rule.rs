//! What a build check is.

use crate::Diagnostic;
use crate::fix::Edit;

/// A build check (D-322). Its page in `docs/lints/` has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name, as `# check=skip=` takes it.
    pub name: &'static str,
    /// What it asks for, in one line.
    pub description: &'static str,
    /// Whose rule it is.
    pub origin: Origin,
    /// How much a finding matters.
    pub level: Level,
    /// What part of a file it is about.
    pub reach: Reach,
    /// Its page.
    pub page: &'static str,
}

/// Whose rule a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// One of BuildKit's: it runs in every build.
    BuildKit {
        /// BuildKit's page about it.
        url: Option<&'static str>,
        /// Whether it runs only when `# check=experimental=` names it.
        experimental: bool,
    },
    /// One of castoff's own: it runs in `castoff check`, and in builds only when
    /// `# check=experimental=` names it.
    Castoff,
    /// One of castoff's own that runs in every build: it says what BuildKit drops silently.
    CastoffAlways,
}

impl Origin {
    /// Returns the origin of a rule that BuildKit always runs.
    pub const fn buildkit(url: &'static str) -> Origin {
        Origin::BuildKit { url: Some(url), experimental: false }
    }
}

impl Rule {
    /// Whether builds run it without being asked to.
    pub fn runs_in_builds(&self) -> bool {
        matches!(self.origin, Origin::BuildKit { experimental: false, .. } | Origin::CastoffAlways)
    }

    /// Returns the page of the rule on the web, if it has one.
    pub fn url(&self) -> Option<&'static str> {
        match self.origin {
            Origin::BuildKit { url, .. } => url,
            Origin::Castoff | Origin::CastoffAlways => None,
        }
    }
}

/// How much a finding matters; it never stops a build by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Could be better.
    Note,
    /// Likely a mistake.
    Warning,
    /// Certainly harmful.
    Error,
}

/// What part of a file a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The whole text, whatever is built of it.
    File,
    /// The stages that are built.
    Stages,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong, and where.
    pub diagnostic: Diagnostic,
    /// The stage it is in, from 0; `None` before the first.
    pub stage: Option<usize>,
    /// The change that would put it right, where one is certain. All edits or none.
    pub fix: Vec<Edit>,
}
