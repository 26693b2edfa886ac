//! Tokens: from a challenge to the header that answers it (B-086; the distribution token and OAuth2
//! specifications).

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, Uri};

use crate::auth::{Challenge, Credentials};
use crate::config::Config;
use crate::error::RegistryError;
use crate::transport::{Transport, failed, refusal};
use crate::url;

/// Answers of token servers are small; more than this is an attack.
const ANSWER_LIMIT: u64 = 1 << 20;

/// Who asks for a token, and for what.
pub(crate) struct Asking<'a> {
    pub(crate) config: &'a Config,
    pub(crate) transport: &'a Transport,
    /// What the registry was asked for when it wanted a token.
    pub(crate) uri: &'a Uri,
    /// Whether the registry's certificate is not looked at, by explicit setting.
    pub(crate) unverified: bool,
    /// What the token is to allow.
    pub(crate) scopes: Vec<String>,
}

/// What a request must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// Read the repository.
    Pull,
    /// Write to it.
    Push,
    /// Write to it what another repository has.
    Mount(&'a str),
}

impl Access<'_> {
    /// Returns the scopes of a token, of the distribution token specification.
    pub(crate) fn scopes(&self, repository: &str) -> Vec<String> {
        match self {
            Access::Pull => vec![format!("repository:{repository}:pull")],
            Access::Push => vec![format!("repository:{repository}:pull,push")],
            Access::Mount(from) => {
                vec![format!("repository:{repository}:pull,push"), format!("repository:{from}:pull")]
            }
        }
    }
}

/// The value of an Authorization header.
pub(crate) struct Header {
    pub(crate) value: String,
    /// How long it is of use, if that is known.
    pub(crate) lifetime: Option<Duration>,
}

impl Asking<'_> {
    /// Returns the Authorization header that answers a challenge. `None` when there is nothing to show.
    pub(crate) fn answer(
        &self,
        challenge: &Challenge,
        credentials: &Credentials,
    ) -> Result<Option<Header>, RegistryError> {
        let lasting = |value| Header { value, lifetime: None };
        match (challenge, credentials) {
            (Challenge::Basic, _) => Ok(credentials.basic_header().map(lasting)),
            (Challenge::Bearer { .. }, Credentials::RegistryToken(token)) => {
                Ok(Some(lasting(format!("Bearer {token}"))))
            }
            (Challenge::Bearer { realm, service, scope }, _) => {
                let scopes = merged(&self.scopes, scope.as_deref().unwrap_or_default());
                let token = self.token(realm, service.as_deref(), &scopes, credentials)?;
                Ok(Some(token))
            }
        }
    }

    /// Gets a token: by OAuth2 POST when there is something to show, else, or when the server does not
    /// know that, by GET.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        credentials: &Credentials,
    ) -> Result<Header, RegistryError> {
        let uri = self.realm(realm)?;
        // The setting is about one server, not about any that it names.
        let unverified = self.unverified && uri.host() == self.uri.host();
        let agent = self.transport.agent(self.config, &uri, unverified)?;
        let posted = match credentials {
            Credentials::IdentityToken(token) => {
                Some(vec![("grant_type", "refresh_token"), ("refresh_token", token.as_str())])
            }
            Credentials::Basic { user, password } => {
                Some(vec![("grant_type", "password"), ("username", user), ("password", password)])
            }
            Credentials::Anonymous | Credentials::RegistryToken(_) => None,
        };
        if let Some(mut form) = posted {
            let scope = scopes.join(" ");
            form.extend([
                ("service", service.unwrap_or_default()),
                ("scope", scope.as_str()),
                ("client_id", "castoff"),
            ]);
            let response = agent.post(&uri).send_form(form).map_err(|cause| failed(&uri, cause))?;
            match response.status().as_u16() {
                200..=299 => return token_of(&uri, response),
                // Servers that do not know POST say so in many ways, 400 among them.
                400 | 401 | 404 | 405 => {}
                _ => return Err(refusal(&uri, response, false)),
            }
        }
        let mut request = agent.get(&uri);
        for scope in scopes {
            request = request.query("scope", scope);
        }
        if let Some(service) = service {
            request = request.query("service", service);
        }
        if let Some(header) = credentials.basic_header() {
            request = request.header("authorization", header);
        }
        let response = request.call().map_err(|cause| failed(&uri, cause))?;
        if response.status().is_success() {
            return token_of(&uri, response);
        }
        Err(refusal(&uri, response, *credentials == Credentials::Anonymous))
    }

    /// Checks where credentials would go: over plain HTTP only from a registry that is asked that way.
    fn realm(&self, realm: &str) -> Result<Uri, RegistryError> {
        let refused = || RegistryError::Realm {
            url: url::shown(self.uri),
            realm: realm.split('?').next().unwrap_or_default().to_owned(),
        };
        let uri = url::parse(realm).ok_or_else(refused)?;
        let plain = uri.scheme_str() == Some("http");
        let allowed = self.unverified
            || self.uri.scheme_str() == Some("http")
            || uri.host().is_some_and(url::is_loopback);
        if plain && !allowed { Err(refused()) } else { Ok(uri) }
    }
}

/// The answer of a token server.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Returns the scopes wanted and those of a challenge that are about something else, or allow more.
fn merged(wanted: &[String], challenge: &str) -> Vec<String> {
    let mut scopes = wanted.to_vec();
    for scope in challenge.split_ascii_whitespace() {
        let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
        let same =
            scopes.iter_mut().find(|known| known.rsplit_once(':').is_some_and(|(of, _)| of == resource));
        match same {
            None => scopes.push(scope.to_owned()),
            Some(known) => {
                for action in actions.split(',') {
                    let has = known
                        .rsplit_once(':')
                        .is_some_and(|(_, has)| has.split(',').any(|has| has == action));
                    if !has {
                        known.push(',');
                        known.push_str(action);
                    }
                }
            }
        }
    }
    scopes
}

fn token_of(uri: &Uri, response: Response<Body>) -> Result<Header, RegistryError> {
    let url = url::shown(uri);
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(ANSWER_LIMIT);
    reader.read_to_end(&mut bytes).map_err(|cause| RegistryError::Body { url: url.clone(), cause })?;
    let answer: Option<TokenAnswer> = serde_json::from_slice(&bytes).ok();
    // What cannot be in a header is no token.
    let usable = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let answer = answer.ok_or_else(|| RegistryError::NoToken { url: url.clone() })?;
    let lifetime = answer.expires_in.map(Duration::from_secs);
    let token = answer.token.filter(usable).or(answer.access_token.filter(usable));
    let token = token.ok_or(RegistryError::NoToken { url })?;
    Ok(Header { value: format!("Bearer {token}"), lifetime })
}

#[cfg(test)]
mod tests {
    use super::Asking;
    use crate::config::Config;
    use crate::transport::Transport;
    use crate::url;

    #[track_caller]
    fn check(registry: &str, unverified: bool, realm: &str, allowed: bool) {
        let (config, transport, uri) =
            (Config::default(), Transport::default(), url::parse(registry).unwrap());
        let asking =
            Asking { config: &config, transport: &transport, uri: &uri, unverified, scopes: Vec::new() };
        assert_eq!(asking.realm(realm).is_ok(), allowed, "{registry} {realm}");
    }

    #[test]
    fn credentials_go_over_plain_http_only_where_the_registry_is_plain() {
        check("https://a.example/v2/", false, "https://b.example/token", true);
        check("https://a.example/v2/", false, "http://a.example/token", false);
        check("https://a.example/v2/", false, "http://127.0.0.1:5001/token", true);
        check("https://a.example/v2/", true, "http://a.example/token", true);
        check("http://a.example/v2/", false, "http://b.example/token", true);
        check("http://a.example/v2/", false, "ftp://b.example/token", false);
    }
}
