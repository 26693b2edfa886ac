//! Access keys of S3 for shared caches: the attributes, the environment, or the credentials file that AWS's tools
//! share. Other sources, which would have to be asked over the network or by a program, are named and not used.

use std::fs;
use std::io;
use std::path::PathBuf;

use castoff_registry::BucketCredentials;

use crate::args::S3Credentials;

/// Why there is no access key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// Nothing has one.
    #[error("no access key: give access_key_id and secret_access_key, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{}",
        .unsupported.map(|what| format!("; {what} cannot be used")).unwrap_or_default())]
    Nowhere {
        /// What the environment asks for instead.
        unsupported: Option<&'static str>,
    },
    /// The credentials file cannot be read.
    #[error("reading `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The profile has no key of its own.
    #[error("the profile `{name}` in `{}` has no access key{}", .path.display(),
        .unsupported.as_ref().map(|key| format!("; `{key}` cannot be used")).unwrap_or_default())]
    Profile {
        /// The profile.
        name: String,
        /// The file.
        path: PathBuf,
        /// What it has instead.
        unsupported: Option<String>,
    },
}

/// Settings of a profile that say where a key comes from.
const UNSUPPORTED: &[&str] = &[
    "role_arn",
    "credential_process",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
    "source_profile",
];

/// Returns the access key. A file is read when nothing else has one.
pub(crate) fn credentials(given: &S3Credentials) -> Result<BucketCredentials, CredentialsError> {
    let (file, name, unsupported) = match given {
        S3Credentials::Key { id, secret, token } => {
            return Ok(BucketCredentials {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: token.clone(),
            });
        }
        S3Credentials::Profile { file, name, unsupported } => (file, name, *unsupported),
    };
    let nowhere = CredentialsError::Nowhere { unsupported };
    let Some(path) = file.clone() else { return Err(nowhere) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nowhere),
        Err(source) => return Err(CredentialsError::File { path, source }),
    };
    let profile = profile(&text, name);
    let value =
        |wanted: &str| profile.iter().find(|(key, _)| *key == wanted).map(|(_, value)| (*value).to_owned());
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(BucketCredentials {
            access_key_id,
            secret_access_key,
            session_token: value("aws_session_token"),
        }),
        _ if profile.is_empty() && name == "default" => Err(nowhere),
        _ => {
            let other = UNSUPPORTED.iter().find(|key| profile.iter().any(|(known, _)| known == *key));
            let unsupported = other.map(|key| (*key).to_owned());
            Err(CredentialsError::Profile { name: name.clone(), path, unsupported })
        }
    }
}

/// Returns the settings of a profile.
fn profile<'a>(text: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let mut settings = Vec::new();
    let mut within = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[') {
            within = section.split(']').next().map(str::trim) == Some(name);
        } else if let Some((key, value)) = line.split_once('=').filter(|_| within) {
            settings.push((key.trim(), value.trim()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, name: &str) -> Result<BucketCredentials, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        let given = S3Credentials::Profile {
            file: Some(file.path().to_owned()),
            name: name.to_owned(),
            unsupported: None,
        };
        credentials(&given).map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    // B-129
    #[test]
    fn a_profile_of_the_credentials_file_has_the_key() {
        let text = "# mine\n[default]\naws_access_key_id = id\naws_secret_access_key=a=b\n\n\
            [other]\naws_access_key_id=x\naws_secret_access_key=y\naws_session_token = z\n[role]\nrole_arn = r\n";
        let key = read(text, "default").unwrap();
        assert_eq!((key.access_key_id.as_str(), key.secret_access_key.as_str()), ("id", "a=b"));
        assert_eq!(key.session_token, None);
        assert_eq!(read(text, "other").unwrap().session_token.as_deref(), Some("z"));
        let error = read(text, "role").unwrap_err();
        assert_eq!(error, "the profile `role` in `FILE` has no access key; `role_arn` cannot be used");
        assert!(read(text, "none").unwrap_err().contains("the profile `none`"));
        assert!(read("", "default").unwrap_err().starts_with("no access key: give access_key_id"));
    }

    #[test]
    fn what_the_environment_asks_for_instead_is_named() {
        let given = S3Credentials::Profile {
            file: None,
            name: "default".to_owned(),
            unsupported: Some("the credentials of a container"),
        };
        let error = credentials(&given).unwrap_err().to_string();
        assert!(error.ends_with("; the credentials of a container cannot be used"), "{error}");
    }
}
