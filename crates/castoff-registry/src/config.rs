//! What the user has set up: registries, mirrors, credentials, certificates.
//!
//! Read from the files that Docker and the containers tools read, which are never written (B-090).
//! The environment comes in as values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::proxy::{Direct, Proxies, Setting};

/// The places the configuration is looked for in.
#[derive(Debug, Clone, Default)]
pub struct ConfigEnvironment {
    /// Home directory.
    pub home: Option<PathBuf>,
    /// The file that [`login`](crate::login) writes.
    pub own_credentials: Option<PathBuf>,
    /// `DOCKER_CONFIG`: directory of Docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `CONTAINERS_REGISTRIES_CONF`: replaces the machine's registries configuration.
    pub registries_conf: Option<PathBuf>,
    /// `PATH`, for credential helpers.
    pub path: Option<std::ffi::OsString>,
    /// `HTTPS_PROXY` or `https_proxy`, else `ALL_PROXY` or `all_proxy`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY` or `http_proxy`, else `ALL_PROXY` or `all_proxy`.
    pub http_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
}

/// Everything a [`Client`](crate::Client) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) registries: RegistryTable,
    pub(crate) credentials: Vec<CredentialFile>,
    pub(crate) certificate_dirs: Vec<PathBuf>,
    pub(crate) proxies: Proxies,
    /// Registries whose certificates are not looked at, apart from those that the tables name.
    pub(crate) insecure: BTreeSet<String>,
    /// Whether no registry, token server or other server is asked anything: each request is an error.
    pub offline: bool,
    /// Attempts per request, the first included.
    pub attempts: u32,
    /// The same where something is written: a push has a whole build behind it.
    pub push_attempts: u32,
    /// Wait before the second attempt; doubled for each further one.
    pub retry_delay: Duration,
    /// Blobs that come from one host at once, and that go to one.
    pub blobs_at_once: usize,
    /// Blobs up to this many bytes are sent in one piece, larger ones in chunks of it. A break costs a chunk
    /// at most, where a registry keeps whole chunks only.
    pub chunk: u64,
    /// The value of the User-Agent header.
    pub user_agent: String,
    pub(crate) helper_path: Option<std::ffi::OsString>,
}

/// Why a configuration file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading `{}`: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not the TOML it should be.
    #[error("`{}`: {source}", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The file is not the JSON it should be.
    #[error("`{}`: {source}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Docker's `config.json` or the containers tools' `auth.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct CredentialFile {
    #[serde(default)]
    pub(crate) auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credHelpers")]
    pub(crate) helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    pub(crate) store: Option<String>,
}

/// One entry of `auths`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct AuthEntry {
    #[serde(default)]
    pub(crate) auth: Option<String>,
    #[serde(default, rename = "identitytoken")]
    pub(crate) identity_token: Option<String>,
    #[serde(default, rename = "registrytoken")]
    pub(crate) registry_token: Option<String>,
}

/// The `[[registry]]` tables of containers-registries.conf(5), version 2.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegistryTable(Vec<Registry>);

/// One `[[registry]]` table.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) prefix: String,
    pub(crate) location: String,
    pub(crate) insecure: bool,
    pub(crate) blocked: bool,
    pub(crate) mirrors_by_digest_only: bool,
    pub(crate) mirrors: Vec<Mirror>,
}

/// One `[[registry.mirror]]` table.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    pub(crate) location: String,
    pub(crate) insecure: bool,
    pub(crate) digest_only: bool,
}

#[derive(Deserialize)]
struct RegistriesFile {
    #[serde(default)]
    registry: Vec<RegistrySection>,
}

#[derive(Deserialize)]
struct RegistrySection {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default, rename = "mirror-by-digest-only")]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorSection>,
}

#[derive(Deserialize)]
struct MirrorSection {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default, rename = "pull-from-mirror")]
    pull_from_mirror: Option<String>,
}

impl RegistryTable {
    /// Parses the text of a registries configuration.
    pub(crate) fn parse(text: &str) -> Result<RegistryTable, toml::de::Error> {
        let file: RegistriesFile = toml::from_str(text)?;
        let registries = file.registry.into_iter().filter_map(|section| {
            let prefix = section.prefix.clone().or_else(|| section.location.clone())?;
            Some(Registry {
                location: section.location.unwrap_or_else(|| prefix.clone()),
                prefix,
                insecure: section.insecure,
                blocked: section.blocked,
                mirrors_by_digest_only: section.mirror_by_digest_only,
                mirrors: section
                    .mirror
                    .into_iter()
                    .filter(|mirror| mirror.pull_from_mirror.as_deref() != Some("tag-only"))
                    .map(|mirror| Mirror {
                        location: mirror.location,
                        insecure: mirror.insecure,
                        digest_only: mirror.pull_from_mirror.as_deref() == Some("digest-only"),
                    })
                    .collect(),
            })
        });
        Ok(RegistryTable(registries.collect()))
    }

    /// Returns the entry whose prefix is the longest that matches `host/path`.
    pub(crate) fn longest_match(&self, name: &str) -> Option<&Registry> {
        let matches = |registry: &&Registry| match registry.prefix.strip_prefix("*.") {
            Some(domain) => {
                let host = name.split('/').next().unwrap_or(name);
                let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            }
            None => name
                .strip_prefix(registry.prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        self.0.iter().filter(matches).max_by_key(|registry| registry.prefix.len())
    }

    fn override_with(&mut self, other: RegistryTable) {
        self.0.retain(|old| !other.0.iter().any(|new| new.prefix == old.prefix));
        self.0.extend(other.0);
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            registries: RegistryTable::default(),
            credentials: Vec::new(),
            certificate_dirs: Vec::new(),
            proxies: Proxies::default(),
            insecure: BTreeSet::new(),
            offline: false,
            attempts: 3,
            push_attempts: 5,
            retry_delay: Duration::from_secs(2),
            blobs_at_once: 4,
            chunk: 32 << 20,
            user_agent: concat!("castoff/", env!("CARGO_PKG_VERSION")).to_owned(),
            helper_path: None,
        }
    }
}

impl Config {
    /// Reads the configuration files that exist, in this order of precedence: castoff's own, Docker's
    /// `config.json`, then `REGISTRY_AUTH_FILE`, then `auth.json` (B-084); the registries
    /// configuration named by `CONTAINERS_REGISTRIES_CONF`, else the user's, else the machine's with
    /// the drop-in directories of both.
    ///
    /// # Errors
    /// When a file that exists cannot be read or is malformed. A file named by a variable must exist.
    pub fn load(environment: &ConfigEnvironment) -> Result<Config, ConfigError> {
        let mut config = Config { helper_path: environment.path.clone(), ..Config::default() };
        let home = environment.home.as_deref();
        let docker = environment.docker_config.clone().or_else(|| Some(home?.join(".docker")));
        let auth_files = [
            environment.own_credentials.clone(),
            docker.map(|directory| directory.join("config.json")),
            environment.registry_auth_file.clone(),
            environment.runtime_dir.as_ref().map(|directory| directory.join("containers/auth.json")),
            home.map(|home| home.join(".config/containers/auth.json")),
        ];
        for path in auth_files.into_iter().flatten() {
            if let Some(text) = read_optional(&path)? {
                let file = serde_json::from_str(&text)
                    .map_err(|source| ConfigError::Json { path: path.clone(), source })?;
                config.credentials.push(file);
            }
        }
        config.registries = registries(environment)?;
        config.proxies = Proxies {
            https: Setting::parse(environment.https_proxy.as_deref()),
            http: Setting::parse(environment.http_proxy.as_deref()),
            direct: Direct::parse(environment.no_proxy.as_deref().unwrap_or_default()),
        };
        config.certificate_dirs = [
            home.map(|home| home.join(".config/containers/certs.d")),
            Some(PathBuf::from("/etc/containers/certs.d")),
            Some(PathBuf::from("/etc/docker/certs.d")),
        ]
        .into_iter()
        .flatten()
        .collect();
        Ok(config)
    }

    /// Sets the registries from the text of a containers-registries.conf.
    ///
    /// # Errors
    /// When the text is malformed.
    pub fn with_registries(mut self, text: &str) -> Result<Config, ConfigError> {
        let source =
            |source| ConfigError::Toml { path: PathBuf::from("registries.conf"), source: Box::new(source) };
        self.registries = RegistryTable::parse(text).map_err(source)?;
        Ok(self)
    }

    /// Adds the credentials of a Docker `config.json`.
    ///
    /// # Errors
    /// When the text is malformed.
    pub fn with_credentials(mut self, text: &str) -> Result<Config, ConfigError> {
        let source = |source| ConfigError::Json { path: PathBuf::from("config.json"), source };
        self.credentials.push(serde_json::from_str(text).map_err(source)?);
        Ok(self)
    }
}

fn registries(environment: &ConfigEnvironment) -> Result<RegistryTable, ConfigError> {
    if let Some(path) = &environment.registries_conf {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        return parse_registries(path, &text);
    }
    let user = environment.home.as_ref().map(|home| home.join(".config/containers/registries.conf"));
    let machine = PathBuf::from("/etc/containers/registries.conf");
    let mut table = RegistryTable::default();
    for path in user.into_iter().chain([machine]) {
        if let Some(text) = read_optional(&path)? {
            table = parse_registries(&path, &text)?;
            break;
        }
    }
    let of_user = environment.home.as_ref().map(|home| home.join(".config/containers/registries.conf.d"));
    let of_machine = PathBuf::from("/etc/containers/registries.conf.d");
    for directory in [of_machine].into_iter().chain(of_user) {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let mut drop_ins: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        drop_ins.sort();
        drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        for path in drop_ins {
            if let Some(text) = read_optional(&path)? {
                table.override_with(parse_registries(&path, &text)?);
            }
        }
    }
    Ok(table)
}

fn parse_registries(path: &Path, text: &str) -> Result<RegistryTable, ConfigError> {
    RegistryTable::parse(text)
        .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })
}

fn read_optional(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(None)
        }
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}
