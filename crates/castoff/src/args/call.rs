//! `--call`: a question instead of a build (B-017).

use castoff_dockerfile::suggest;

use super::fields;

/// A question about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// What the build checks find.
    Check,
    /// What a target takes.
    Outline,
    /// Which targets there are.
    Targets,
    /// Which questions there are.
    Describe,
}

/// A question, and how the answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSpec {
    /// The question.
    pub call: Call,
    /// Whether the answer is JSON.
    pub json: bool,
    /// Whether findings leave the exit status at 0.
    pub ignore_status: bool,
}

/// Why a `--call` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such question.
    #[error("no such call; there are {}{}", NAMES.join(", "), guess(.nearest))]
    Unknown {
        /// A name that is nearly the same.
        nearest: Option<&'static str>,
    },
    /// Two questions.
    #[error("more than one call")]
    Two,
    /// A field that a call does not have.
    #[error("unknown field `{0}`; there are format and ignorestatus")]
    Field(String),
    /// A form that there is not.
    #[error("unknown format `{0}`; there are text and json")]
    Format(String),
    /// Neither true nor false.
    #[error("ignorestatus must be true or false, not `{0}`")]
    NotBoolean(String),
}

const NAMES: [&str; 6] = ["build", "check", "lint", "outline", "targets", "subrequests.describe"];

fn guess(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

impl CallSpec {
    /// Returns the question of `--check`.
    pub fn check() -> CallSpec {
        CallSpec { call: Call::Check, json: false, ignore_status: false }
    }

    /// Reads `METHOD[,format=json][,ignorestatus=bool]`. `None` asks for a build.
    pub fn parse(text: &str) -> Result<Option<CallSpec>, CallError> {
        let mut name = None;
        let mut spec = CallSpec::check();
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("format", "json")) => spec.json = true,
                Some(("format", "text" | "")) => spec.json = false,
                Some(("format", format)) => return Err(CallError::Format(format.to_owned())),
                Some(("ignorestatus", value)) => {
                    spec.ignore_status =
                        fields::boolean(value).map_err(|_| CallError::NotBoolean(value.to_owned()))?;
                }
                Some((key, _)) => return Err(CallError::Field(key.to_owned())),
                None if name.is_some() => return Err(CallError::Two),
                None => name = Some(field),
            }
        }
        spec.call = match name.unwrap_or_default() {
            "" | "build" => return Ok(None),
            "check" | "lint" => Call::Check,
            "outline" => Call::Outline,
            "targets" => Call::Targets,
            "subrequests.describe" => Call::Describe,
            other => return Err(CallError::Unknown { nearest: suggest(other, NAMES) }),
        };
        Ok(Some(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-017, B-164
    #[test]
    fn calls_are_read() {
        let check = |text: &str, call: Call, json: bool, ignore_status: bool| {
            assert_eq!(CallSpec::parse(text), Ok(Some(CallSpec { call, json, ignore_status })), "{text}");
        };
        check("check", Call::Check, false, false);
        check("lint,format=json", Call::Check, true, false);
        check("ignorestatus=true,check", Call::Check, false, true);
        check("outline,format=text", Call::Outline, false, false);
        check("targets", Call::Targets, false, false);
        check("subrequests.describe", Call::Describe, false, false);
        assert_eq!(CallSpec::parse("build"), Ok(None));
        assert_eq!(CallSpec::parse(""), Ok(None));
        let refused = |text: &str, error: &str| {
            assert_eq!(CallSpec::parse(text).expect_err(text).to_string(), error);
        };
        let names = "no such call; there are build, check, lint, outline, targets, subrequests.describe";
        refused("nonsense", names);
        refused("target", &format!("{names} (did you mean targets?)"));
        refused("check,outline", "more than one call");
        refused("check,foo=bar", "unknown field `foo`; there are format and ignorestatus");
        refused("check,format=xml", "unknown format `xml`; there are text and json");
        refused("check,ignorestatus=x", "ignorestatus must be true or false, not `x`");
    }
}
