//! `--secret`: where the value of a secret is found (B-137). The value itself is never here.

use std::path::PathBuf;

use super::Environment;
use super::fields::{self, FieldError};

/// A secret that the caller offers to the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    /// The name under which steps ask for it.
    pub id: String,
    /// Where its value is.
    pub source: SecretSource,
    /// Whether it is to be proved that it did not get out.
    pub prove: bool,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file of at most 500 KiB.
    File(PathBuf),
    /// In a variable of the caller's environment.
    Variable(String),
}

/// Why a `--secret` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The value is not made of fields.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A type that does not exist.
    #[error("unknown secret type `{0}`: expected file or env")]
    Type(String),
    /// The variable is not set, though asked for by name.
    #[error("secret `{id}`: environment variable `{variable}` is not set")]
    Unset {
        /// The secret.
        id: String,
        /// The variable.
        variable: String,
    },
}

const KEYS: &[&str] = &["type", "id", "src", "source", "env", "prove"];

impl SecretSpec {
    /// Reads one value of `--secret`. Without type and source, the variable named like the secret is
    /// taken when it is set, else the file of that name.
    pub fn parse(text: &str, environment: &Environment) -> Result<SecretSpec, SecretError> {
        let mut kind = None;
        let mut id = None;
        let mut source = None;
        let mut variable = None;
        let mut prove = true;
        for field in fields::split(text)? {
            let (key, value) = fields::pair(&field)?;
            let value = value.to_owned();
            match key.as_str() {
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(SecretError::Type(value)),
                "id" => id = Some(value),
                "src" | "source" => source = Some(value),
                "env" => variable = Some(value),
                // castoff's own: a certificate may be handed in like a secret and be in the image all the same.
                "prove" => prove = fields::boolean(&value)?,
                _ => return Err(fields::unknown_key(&key, KEYS).into()),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or(FieldError::Missing("id"))?;
        let is_set = |name: &str| environment.raw(name).is_some();
        let source = match (kind.as_deref(), source, variable) {
            (Some("env"), source, variable) => {
                SecretSource::Variable(variable.or(source).unwrap_or_else(|| id.clone()))
            }
            (_, None, Some(variable)) => SecretSource::Variable(variable),
            (_, Some(path), _) => SecretSource::File(PathBuf::from(path)),
            (None, None, None) if is_set(&id) => SecretSource::Variable(id.clone()),
            (_, None, None) => SecretSource::File(PathBuf::from(&id)),
        };
        match &source {
            SecretSource::Variable(variable) if !is_set(variable) => {
                Err(SecretError::Unset { id, variable: variable.clone() })
            }
            SecretSource::Variable(_) | SecretSource::File(_) => Ok(SecretSpec { id, source, prove }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-137
    #[test]
    fn secrets_come_from_files_and_variables() {
        let environment = Environment::of(&[("TOKEN", "t"), ("GITHUB", "g")]);
        let file = |path: &str| Ok(SecretSource::File(PathBuf::from(path)));
        let variable = |name: &str| Ok(SecretSource::Variable(name.to_owned()));
        let check = |text: &str, expected: Result<SecretSource, &str>| {
            let found = SecretSpec::parse(text, &environment);
            let found = found.map(|secret| secret.source).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("id=TOKEN", variable("TOKEN"));
        check("id=other", file("other"));
        check("id=a,src=b", file("b"));
        check("id=a,source=b", file("b"));
        check("type=file,id=TOKEN", file("TOKEN"));
        check("id=a,env=GITHUB", variable("GITHUB"));
        check("type=env,id=a,src=GITHUB", variable("GITHUB"));
        check("type=env,id=TOKEN", variable("TOKEN"));
        check("type=env,id=nope", Err("secret `nope`: environment variable `nope` is not set"));
        check("src=b", Err("`id` is required"));
        check("id=a,scr=b", Err("unexpected key `scr`, did you mean `src`?"));
        check("id=a,type=vault", Err("unknown secret type `vault`: expected file or env"));
        check("mine", Err("`mine` must be a key=value pair"));
    }
}
