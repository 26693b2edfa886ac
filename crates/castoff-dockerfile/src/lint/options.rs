//! Which checks run: the `check` directive and its kin (D-026 to D-029).

use super::{Origin, rules};

/// Which checks run when a file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Those that run in BuildKit: for builds and for `--check`.
    Build,
    /// Those and castoff's own: for `castoff check`.
    All,
}

/// The value of a `check` directive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    skip: Rules,
    experimental: Rules,
    /// Whether a check that fired fails the build.
    pub error: bool,
}

/// A set of checks; names are case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rules {
    All,
    Named(Vec<String>),
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::Named(Vec::new())
    }
}

impl Rules {
    fn parse(text: &str) -> Rules {
        match text.trim() {
            "all" => Rules::All,
            names => Rules::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn contains(&self, rule: &str) -> bool {
        *self == Rules::All || self.names(rule)
    }

    fn names(&self, rule: &str) -> bool {
        match self {
            Rules::All => false,
            Rules::Named(names) => names.iter().any(|name| name == rule),
        }
    }
}

/// Why a `check` directive cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// An option that is not known, or has no value.
    #[error("invalid check option `{option}`")]
    Option {
        /// The option as written.
        option: String,
    },
    /// `error` is neither true nor false.
    #[error("failed to parse check option `error={value}`: expecting boolean value")]
    NotBoolean {
        /// The value as written.
        value: String,
    },
}

impl CheckOptions {
    /// Parses a value such as `skip=StageNameCasing,FromAsCasing;error=true`. Text after the first
    /// blank is ignored.
    pub fn parse(text: &str) -> Result<CheckOptions, CheckError> {
        let mut options = CheckOptions::default();
        let text = text.trim_start().split([' ', '\t']).next().unwrap_or_default();
        if text.is_empty() {
            return Ok(options);
        }
        for option in text.split(';') {
            match option.split_once('=') {
                Some(("skip", rules)) => options.skip = Rules::parse(rules),
                Some(("experimental", rules)) => options.experimental = Rules::parse(rules),
                Some(("error", value)) => options.error = parse_bool(value)?,
                Some(_) | None => return Err(CheckError::Option { option: option.to_owned() }),
            }
        }
        Ok(options)
    }

    /// Whether findings of a check are to be shown. `experimental=all` means BuildKit's; castoff's own
    /// run in a build when they are named, so that a file fails where it fails with BuildKit.
    pub fn allows(&self, rule: &str, preset: Preset) -> bool {
        let origin = rules().find(|known| known.name == rule).map(|known| known.origin);
        let on = match origin {
            Some(Origin::BuildKit { experimental: true, .. }) => self.experimental.contains(rule),
            Some(Origin::Castoff) => preset == Preset::All || self.experimental.names(rule),
            Some(Origin::BuildKit { .. } | Origin::CastoffAlways) | None => true,
        };
        on && !self.skip.contains(rule)
    }
}

/// Whether a comment right above an instruction skips a check for it (D-027).
pub fn is_skipped_above(comments: &[String], rule: &str) -> bool {
    comments.iter().filter_map(|comment| directive(comment)).any(|value| {
        let options = CheckOptions::parse(value);
        options.is_ok_and(|options| options.skip.contains(rule))
    })
}

/// Whether a comment is a `check` directive.
pub(super) fn is_check(comment: &str) -> bool {
    directive(comment).is_some()
}

fn directive(comment: &str) -> Option<&str> {
    let (key, value) = comment.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then(|| value.trim())
}

/// Go's spellings of a truth value.
fn parse_bool(value: &str) -> Result<bool, CheckError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(CheckError::NotBoolean { value: value.to_owned() }),
    }
}
