//! Credentials and challenges (B-084 to B-086; RFC 9110 section 11, the distribution token
//! specification).

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::config::Config;
use crate::error::RegistryError;

/// Who castoff is to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Nobody.
    Anonymous,
    /// A user and a password.
    Basic { user: String, password: String },
    /// A refresh token, to be exchanged for an access token.
    IdentityToken(String),
    /// A token that is sent as it is.
    RegistryToken(String),
}

/// What a registry wants before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Parses a WWW-Authenticate header. Of several challenges a bearer one is preferred.
pub(crate) fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut realm = None;
    let mut service = None;
    let mut scope = None;
    let mut rest = rest.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            "scope" => scope = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// Finds the credentials of a registry or repository. Keys with repository paths are matched longest
/// first (B-085).
pub(crate) fn credentials(
    config: &Config,
    registry: &str,
    repository: &str,
) -> Result<Credentials, RegistryError> {
    let host_keys: Vec<String> = if registry == "docker.io" {
        // The name Docker has written since its first registry.
        ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
            .map(str::to_owned)
            .to_vec()
    } else {
        vec![registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/v1/")]
    };
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
    }
    keys.extend(host_keys.iter().cloned());
    for file in &config.credentials {
        for key in &keys {
            if let Some(helper) = file.helpers.get(key)
                && let Some(found) = ask_helper(config, helper, key)?
            {
                return Ok(found);
            }
        }
        for key in &keys {
            if let Some(entry) = file.auths.get(key) {
                if let Some(token) = &entry.identity_token {
                    return Ok(Credentials::IdentityToken(token.clone()));
                }
                if let Some(token) = &entry.registry_token {
                    return Ok(Credentials::RegistryToken(token.clone()));
                }
                let pair = entry.auth.as_deref().and_then(decode_pair);
                if let Some((user, password)) = pair {
                    return Ok(Credentials::Basic { user, password });
                }
            }
        }
        if let Some(store) = &file.store {
            for key in &host_keys {
                if let Some(found) = ask_helper(config, store, key)? {
                    return Ok(found);
                }
            }
        }
    }
    Ok(Credentials::Anonymous)
}

fn decode_pair(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks `docker-credential-<name> get`. `None` when the helper has nothing for this server.
fn ask_helper(config: &Config, name: &str, server: &str) -> Result<Option<Credentials>, RegistryError> {
    let program = format!("docker-credential-{name}");
    let error = |message: String| RegistryError::Helper { program: program.clone(), message };
    let mut command = Command::new(&program);
    if let Some(path) = &config.helper_path {
        command.env("PATH", path);
    }
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| error(source.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).map_err(|source| error(source.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|source| error(source.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(error(said.trim().to_owned()));
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|source| error(source.to_string()))?;
    Ok(Some(if answer.user == "<token>" {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Basic { user: answer.user, password: answer.secret }
    }))
}

impl Credentials {
    /// Returns the value of an Authorization header for a Basic challenge.
    pub(crate) fn basic_header(&self) -> Option<String> {
        match self {
            Credentials::Basic { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Credentials::Anonymous | Credentials::IdentityToken(_) | Credentials::RegistryToken(_) => None,
        }
    }
}

/// The answer of a token server.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{Challenge, Credentials, credentials, parse_challenge};
    use crate::config::Config;

    #[test]
    fn challenges_are_parsed() {
        assert_eq!(parse_challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(
            parse_challenge(
                "Bearer realm=\"https://a/token\",service=\"s\",scope=\"repository:x:pull,push\""
            ),
            Some(Challenge::Bearer {
                realm: "https://a/token".to_owned(),
                service: Some("s".to_owned()),
                scope: Some("repository:x:pull,push".to_owned()),
            })
        );
        assert_eq!(parse_challenge("Bearer service=\"s\""), None);
        assert_eq!(parse_challenge("Negotiate"), None);
    }

    /// B-084, B-085.
    #[test]
    fn the_longest_key_decides() {
        let config = Config::default()
            .with_credentials(r#"{"auths":{"a.example":{"auth":"aG9zdDpo"},"a.example/team":{"auth":"dGVhbTp0"},"https://index.docker.io/v1/":{"auth":"aHViOmg="}}}"#)
            .unwrap();
        let user =
            |registry: &str, repository: &str| match credentials(&config, registry, repository).unwrap() {
                Credentials::Basic { user, .. } => user,
                _ => "-".to_owned(),
            };
        assert_eq!(user("a.example", "team/x"), "team");
        assert_eq!(user("a.example", "other/x"), "host");
        assert_eq!(user("docker.io", "library/alpine"), "hub");
        assert_eq!(user("b.example", "x"), "-");
    }
}
