//! Logging in: credentials are tried at their registry, and kept in a file of castoff's own (B-090: what belongs
//! to other programs is never written).
//!
//! ```text
//! { "auths": { "registry.example": { "auth": "<base64 of user:password>" } } }
//! ```
//!
//! It is the file of Docker's `config.json`, readable by its owner alone. What else is in it stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castoff_oci::Reference;
use serde_json::{Map, Value, json};
use ureq::http::{Method, StatusCode};

use crate::auth::{self, Credentials};
use crate::client::Client;
use crate::config::Config;
use crate::error::RegistryError;
use crate::hosts::Scheme;
use crate::token::Asking;
use crate::transport::{Payload, Request, refusal};
use crate::url;

/// Why credentials were not kept or removed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not the JSON it should be.
    #[error("`{}` is no file of credentials", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
}

impl Client {
    /// Tries a user and a password at a registry. One that wants to know nobody lets everybody in.
    ///
    /// # Errors
    /// When the registry refuses them, or cannot be reached.
    pub fn try_login(&self, registry: &Reference, user: &str, password: &str) -> Result<(), RegistryError> {
        let shared = &*self.0;
        let endpoint = shared.registry(registry)?;
        let credentials = Credentials::Basic { user: user.to_owned(), password: password.to_owned() };
        let mut failure = None;
        for scheme in &endpoint.schemes {
            let address = format!("{}://{}/v2/", scheme.as_str(), endpoint.host);
            let uri = url::parse(&address).ok_or(RegistryError::NotFound { url: address })?;
            let unverified = *scheme == Scheme::HttpsUnverified;
            let send = |header: Option<&str>| {
                let (request, payload) = (Request::new(Method::GET), &mut Payload::Nothing);
                shared.transport.send(&shared.config, &uri, unverified, &request, payload, header)
            };
            let answer = match send(None) {
                Err(error) if error.is_unreachable() => {
                    failure = Some(error);
                    continue;
                }
                answer => answer?,
            };
            // A server of HTTPS says 400 to plain HTTP; then the failure of HTTPS is what matters.
            if let Some(failure) = failure.take_if(|_| answer.response.status() == StatusCode::BAD_REQUEST) {
                return Err(failure);
            }
            let challenge = auth::challenge(answer.response.headers()).filter(|_| answer.same_origin);
            let response = match challenge {
                Some(challenge) if answer.response.status() == StatusCode::UNAUTHORIZED => {
                    let asking = Asking {
                        config: &shared.config,
                        transport: &shared.transport,
                        uri: &uri,
                        unverified,
                        scopes: Vec::new(),
                    };
                    let header = asking.answer(&challenge, &credentials)?;
                    send(header.as_ref().map(|header| header.value.as_str()))?.response
                }
                _ => answer.response,
            };
            return if response.status().is_success() { Ok(()) } else { Err(refusal(&uri, response, false)) };
        }
        Err(failure.expect("an endpoint has a scheme"))
    }
}

impl Config {
    /// Returns the program that other tools ask for the credentials of a registry, if one is configured.
    pub fn credential_helper(&self, registry: &str) -> Option<String> {
        let key = key(registry);
        let named = |file: &crate::config::CredentialFile| {
            file.helpers.get(registry).or_else(|| file.helpers.get(key)).or(file.store.as_ref()).cloned()
        };
        self.credentials.iter().find_map(named).map(|name| format!("docker-credential-{name}"))
    }
}

/// Keeps a user and a password for a registry.
///
/// # Errors
/// When the file is there and is none of credentials, or cannot be written. Then it is as before.
pub fn keep(path: &Path, registry: &str, user: &str, password: &str) -> Result<(), LoginError> {
    let mut file = read(path)?;
    let auths = file.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let auths = auths.as_object_mut().ok_or_else(|| LoginError::Malformed { path: path.to_owned() })?;
    auths.insert(key(registry).to_owned(), json!({ "auth": STANDARD.encode(format!("{user}:{password}")) }));
    write(path, file)
}

/// Forgets the credentials of a registry, and returns whether there were any.
///
/// # Errors
/// As [`keep`].
pub fn forget(path: &Path, registry: &str) -> Result<bool, LoginError> {
    let mut file = read(path)?;
    let auths = file.get_mut("auths").and_then(Value::as_object_mut);
    if auths.and_then(|auths| auths.remove(key(registry))).is_none() {
        return Ok(false);
    }
    write(path, file).map(|()| true)
}

/// Returns the name under which the credentials of a registry are kept.
fn key(registry: &str) -> &str {
    // The name Docker has written since its first registry.
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

fn read(path: &Path) -> Result<Map<String, Value>, LoginError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|_| LoginError::Malformed { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(source) => Err(LoginError::File { path: path.to_owned(), source }),
    }
}

/// Replaces the file. Nobody else can read it, not even while it is written.
fn write(path: &Path, content: Map<String, Value>) -> Result<(), LoginError> {
    let failed = |source| LoginError::File { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    // One that a process of the same number left, or that somebody else put there.
    let _absent_mostly = fs::remove_file(&temporary);
    let text = serde_json::to_vec_pretty(&Value::Object(content)).expect("JSON has string keys only");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let done = file.and_then(|mut file: File| {
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    done.map_err(|source| {
        let _already_failing = fs::remove_file(&temporary);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{forget, keep};

    /// B-084, B-090.
    #[test]
    fn credentials_are_kept_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/auth.json");
        keep(&path, "a.example", "name", "word").unwrap();
        keep(&path, "docker.io", "hub", "x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("bmFtZTp3b3Jk") && text.contains("https://index.docker.io/v1/"), "{text}");
        assert!(forget(&path, "a.example").unwrap());
        assert!(!forget(&path, "a.example").unwrap());
        assert!(forget(&path, "docker.io").unwrap());
        for text in ["[]", "{", "{\"auths\":1}"] {
            std::fs::write(&path, text).unwrap();
            assert!(keep(&path, "a.example", "name", "word").is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
