//! Credentials and challenges (B-084 to B-086; RFC 9110 section 11, the distribution token
//! specification).

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::HeaderMap;

use crate::config::{AuthEntry, Config};
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

/// Parses a WWW-Authenticate header, which may hold several challenges. Of those a bearer one is
/// preferred, then a basic one.
pub(crate) fn parse_challenge(header: &str) -> Option<Challenge> {
    let mut basic = None;
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (parameters, after) = parse_parameters(after);
        rest = after;
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = parameter("realm") {
                return Some(Challenge::Bearer {
                    realm,
                    service: parameter("service"),
                    scope: parameter("scope"),
                });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// Returns the challenge of an answer that is best answered.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all("www-authenticate").iter();
    let challenges = values.filter_map(|value| parse_challenge(value.to_str().ok()?));
    challenges.max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }))
}

/// Parses `name=value` pairs up to the next challenge, and returns what follows them.
fn parse_parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        // A name is followed by `=`, the scheme of the next challenge by a space.
        let Some(end) = rest.find(['=', ' ', ',']).filter(|end| rest.as_bytes()[*end] == b'=') else {
            return (parameters, rest);
        };
        let (name, after) = (&rest[..end], &rest[end + 1..]);
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut length = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        length = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, character)| character)),
                    _ => value.push(character),
                }
            }
            rest = &quoted[length..];
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            value.push_str(&after[..end]);
            rest = &after[end..];
        }
        parameters.push((name.to_owned(), value));
    }
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
        vec![registry.to_owned()]
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
            if let Some(entry) = entry(&file.auths, key) {
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

/// Returns the entry of a key. A key may be written as an address, as Docker did for long; what follows
/// the host of an address is the version of the protocol and no repository.
fn entry<'a>(auths: &'a BTreeMap<String, AuthEntry>, key: &str) -> Option<&'a AuthEntry> {
    auths.get(key).or_else(|| {
        let host = |written: &str| {
            let rest = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"))?;
            rest.split('/').next().map(str::to_owned)
        };
        auths.iter().find(|(written, _)| host(written).as_deref() == Some(key)).map(|(_, entry)| entry)
    })
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
        // A helper that ends without having read the question says why by its output.
        let _unread = stdin.write_all(server.as_bytes());
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
    Ok(match answer.user.as_str() {
        "<token>" => Some(Credentials::IdentityToken(answer.secret)),
        "" if answer.secret.is_empty() => None,
        _ => Some(Credentials::Basic { user: answer.user, password: answer.secret }),
    })
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
        assert_eq!(parse_challenge("Negotiate, Basic realm=\"a, b\""), Some(Challenge::Basic));
        assert_eq!(parse_challenge(""), None);
        let realm = |header: &str| match parse_challenge(header) {
            Some(Challenge::Bearer { realm, .. }) => realm,
            other => panic!("{header}: {other:?}"),
        };
        assert_eq!(
            realm("Basic realm=\"x\", Bearer realm=\"https://a/token\", service=s"),
            "https://a/token"
        );
        assert_eq!(realm("bearer  service=s,REALM=https://a/token?x=y , scope=z"), "https://a/token?x=y");
        assert_eq!(realm("Bearer realm=\"quo\\\"ted\""), "quo\"ted");
        assert_eq!(realm("Bearer realm=\"never closed"), "never closed");
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

    /// B-084.
    #[test]
    fn a_key_may_be_an_address() {
        for key in ["https://a.example:5000", "http://a.example:5000/v2/", "https://a.example:5000/v1/"] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"aG9zdDpo"}}}}}}"#);
            let config = Config::default().with_credentials(&text).unwrap();
            assert!(credentials(&config, "a.example:5000", "x").unwrap() != Credentials::Anonymous, "{key}");
            assert!(credentials(&config, "a.example", "x").unwrap() == Credentials::Anonymous, "{key}");
        }
    }
}
