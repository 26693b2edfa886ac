//! Which servers are asked for a reference, in which order, and how (B-088, B-089).

use castoff_oci::Reference;

use crate::config::{Config, Registry};
use crate::error::RegistryError;
use crate::url;

/// One place to ask for one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and optional port.
    pub(crate) host: String,
    /// Repository on that host.
    pub(crate) repository: String,
    /// Schemes to try, in order.
    pub(crate) schemes: Vec<Scheme>,
    /// Registry that credentials are looked up for.
    pub(crate) credentials: String,
    /// Whether only digests may be asked for here.
    pub(crate) digest_only: bool,
}

/// How to talk to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// HTTPS with verification.
    Https,
    /// HTTPS without verification, by explicit setting only.
    HttpsUnverified,
    /// Plain HTTP: by explicit setting, and for loopback when HTTPS does not answer.
    Http,
}

impl Scheme {
    /// Returns the scheme of an URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Https | Scheme::HttpsUnverified => "https",
            Scheme::Http => "http",
        }
    }
}

/// Returns the places to ask for a reference: mirrors in their order, then the registry itself.
pub(crate) fn endpoints(config: &Config, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
    let name = reference.name();
    let insecure = config.insecure.contains(reference.registry());
    let Some(registry) = config.registries.longest_match(&name) else {
        return Ok(vec![endpoint(&name, reference.registry(), insecure)]);
    };
    if registry.blocked {
        return Err(RegistryError::Blocked { prefix: registry.prefix.clone() });
    }
    let mut endpoints = Vec::new();
    for mirror in &registry.mirrors {
        let location = rewrite(&name, registry, &mirror.location);
        let mut place = endpoint(&location, host_of(&location), mirror.insecure);
        place.digest_only = mirror.digest_only || registry.mirrors_by_digest_only;
        endpoints.push(place);
    }
    let location = rewrite(&name, registry, &registry.location);
    let credentials =
        if registry.location == registry.prefix { reference.registry() } else { host_of(&location) };
    endpoints.push(endpoint(&location, credentials, registry.insecure || insecure));
    Ok(endpoints)
}

fn rewrite(name: &str, registry: &Registry, location: &str) -> String {
    match registry.prefix.strip_prefix("*.") {
        // A wildcard prefix without a location of its own leaves the name as it is.
        Some(_) if location == registry.prefix => name.to_owned(),
        Some(_) => {
            let path = name.split_once('/').map_or("", |(_, path)| path);
            format!("{location}/{path}")
        }
        None => format!("{location}{}", &name[registry.prefix.len()..]),
    }
}

fn host_of(location: &str) -> &str {
    location.split_once('/').map_or(location, |(host, _)| host)
}

fn endpoint(location: &str, credentials: &str, insecure: bool) -> Endpoint {
    let (host, repository) = location.split_once('/').unwrap_or((location, ""));
    let schemes = if insecure {
        vec![Scheme::HttpsUnverified, Scheme::Http]
    } else if url::is_loopback(host) {
        vec![Scheme::Https, Scheme::Http]
    } else {
        vec![Scheme::Https]
    };
    // Docker Hub answers the protocol under another name than its images have.
    let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
    Endpoint {
        host: host.to_owned(),
        repository: repository.to_owned(),
        schemes,
        credentials: credentials.to_owned(),
        digest_only: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Scheme, endpoints};
    use crate::config::Config;

    fn check(toml: &str, reference: &str, expected: &[&str]) {
        let config = Config::default().with_registries(toml).unwrap();
        let places = endpoints(&config, &reference.parse().unwrap()).unwrap();
        let places: Vec<String> = places
            .iter()
            .map(|place| {
                let schemes: Vec<&str> = place
                    .schemes
                    .iter()
                    .map(|scheme| match scheme {
                        Scheme::Https => "https",
                        Scheme::HttpsUnverified => "https!",
                        Scheme::Http => "http",
                    })
                    .collect();
                format!("{} {} {}", schemes.join(","), place.host, place.repository)
            })
            .collect();
        assert_eq!(places, expected, "{reference}");
    }

    /// B-077: Docker Hub has two names.
    #[test]
    fn docker_hub_is_asked_under_its_service_name() {
        check("", "alpine", &["https registry-1.docker.io library/alpine"]);
    }

    /// B-089: only loopback falls back to plain HTTP by itself.
    #[test]
    fn loopback_may_fall_back_to_http() {
        check("", "localhost:5000/a/b:1", &["https,http localhost:5000 a/b"]);
        check("", "127.0.0.1:5000/a", &["https,http 127.0.0.1:5000 a"]);
        check("", "registry.example:5000/a", &["https registry.example:5000 a"]);
    }

    /// B-088: mirrors in order, then the registry; the longest prefix decides.
    #[test]
    fn mirrors_come_first_and_the_longest_prefix_decides() {
        let toml = r#"
            [[registry]]
            prefix = "docker.io"
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.example/hub"
            [[registry.mirror]]
            location = "127.0.0.1:5000"
            insecure = true
            [[registry]]
            prefix = "docker.io/private"
            location = "inner.example/p"
            insecure = true
        "#;
        check(
            toml,
            "alpine:3",
            &[
                "https mirror.example hub/library/alpine",
                "https!,http 127.0.0.1:5000 library/alpine",
                "https registry-1.docker.io library/alpine",
            ],
        );
        check(toml, "docker.io/private/x", &["https!,http inner.example p/x"]);
    }

    /// B-088: a prefix is a path prefix, not a text prefix.
    #[test]
    fn a_prefix_ends_at_a_slash() {
        let toml = "[[registry]]\nprefix = \"a.example/x\"\nlocation = \"b.example/y\"\n";
        check(toml, "a.example/xy/z", &["https a.example xy/z"]);
        check(toml, "a.example/x/z", &["https b.example y/z"]);
    }

    #[test]
    fn a_wildcard_prefix_matches_subdomains() {
        let toml = "[[registry]]\nprefix = \"*.example\"\ninsecure = true\n";
        check(toml, "a.example/x", &["https!,http a.example x"]);
        check(toml, "example.org/x", &["https example.org x"]);
    }

    #[test]
    fn a_blocked_registry_is_refused() {
        let config = Config::default()
            .with_registries("[[registry]]\nprefix = \"bad.example\"\nblocked = true\n")
            .unwrap();
        let error = endpoints(&config, &"bad.example/x".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`bad.example` is blocked by the registries configuration");
    }
}
