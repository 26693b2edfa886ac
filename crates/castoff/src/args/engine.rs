//! Which engine `--load` is about, as far as the environment says (B-103).

use std::path::PathBuf;

use super::Environment;

/// What the environment says of engines; the files it names are read when an engine is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineChoice {
    /// `DOCKER_HOST`, an address.
    pub docker_host: Option<String>,
    /// `CONTAINER_HOST`, Podman's address.
    pub container_host: Option<String>,
    /// `DOCKER_CONTEXT`, a name.
    pub docker_context: Option<String>,
    /// Where docker keeps `config.json` and its contexts.
    pub docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where engines without root have their sockets.
    pub runtime_dir: Option<PathBuf>,
}

impl EngineChoice {
    /// Returns what an environment says.
    pub fn of(environment: &Environment) -> EngineChoice {
        let text = |name: &str| environment.filled(name).map(str::to_owned);
        EngineChoice {
            docker_host: text("DOCKER_HOST"),
            container_host: text("CONTAINER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            docker_config: environment.docker_config_dir(),
            runtime_dir: environment.filled("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }
}
