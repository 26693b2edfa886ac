//! Engines: the API of Docker and Podman on their socket, as far as images are loaded into them.
//!
//! An engine is asked what it is and which layers it has, and is given an archive as `docker load` gives it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use castoff_oci::{ChainId, DiffId};
use serde::Deserialize;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport,
};
use ureq::{Body, SendBody};

/// How many images are asked about for the layers that an engine has.
const IMAGES: usize = 500;
/// How long an engine may be silent; it unpacks a large layer before it says something.
const SILENCE: Duration = Duration::from_secs(900);
/// Answers are small; more than this is damage.
const ANSWER_LIMIT: u64 = 16 << 20;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// A socket of this machine: `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// A host and a port without TLS: `tcp://localhost:2375`.
    Tcp(String),
}

/// An engine that can be asked.
#[derive(Debug)]
pub struct Engine {
    address: EngineAddress,
    agent: ureq::Agent,
}

/// What an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker with its own image store, which names images by their config and holds no indexes.
    Docker,
    /// Docker with containerd's image store, which holds manifests and indexes.
    DockerContainerd,
    /// Podman.
    Podman,
}

/// Why an engine did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An address of a kind that castoff does not speak to.
    #[error("`{0}` is no address of an engine that castoff can use: expected unix://PATH or tcp://HOST:PORT")]
    Address(String),
    /// It cannot be reached. The cause is part of the message.
    #[error("the engine at `{address}` does not answer: {cause}")]
    Transport {
        /// Where it should be.
        address: EngineAddress,
        /// Why.
        cause: Box<ureq::Error>,
    },
    /// The answer broke off, or what was sent could not be read.
    #[error("the engine at `{address}`: {cause}")]
    Body {
        /// Where it is.
        address: EngineAddress,
        /// Why.
        cause: io::Error,
    },
    /// It refused, in its own words.
    #[error("the engine at `{address}` refused: {message}")]
    Refused {
        /// Where it is.
        address: EngineAddress,
        /// What it said.
        message: String,
    },
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineAddress::Unix(path) => write!(formatter, "unix://{}", path.display()),
            EngineAddress::Tcp(host) => write!(formatter, "tcp://{host}"),
        }
    }
}

impl EngineAddress {
    /// Reads an address as `DOCKER_HOST` has it.
    ///
    /// # Errors
    /// When it is of another kind; TLS and ssh are not spoken.
    pub fn parse(text: &str) -> Result<EngineAddress, EngineError> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(EngineAddress::Unix(PathBuf::from(path))),
            Some(("tcp" | "http", host)) if !host.trim_end_matches('/').is_empty() => {
                Ok(EngineAddress::Tcp(host.trim_end_matches('/').to_owned()))
            }
            _ => Err(EngineError::Address(text.to_owned())),
        }
    }
}

impl Engine {
    /// Returns the engine of an address. Nothing is sent yet.
    pub fn new(address: EngineAddress) -> Engine {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(SILENCE))
            .build();
        let socket = match &address {
            EngineAddress::Unix(path) => Some(path.clone()),
            EngineAddress::Tcp(_) => None,
        };
        let connector = ().chain(SocketConnector(socket)).chain(TcpConnector::default());
        let agent = ureq::Agent::with_parts(config, connector, DefaultResolver::default());
        Engine { address, agent }
    }

    /// Asks what it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn kind(&self) -> Result<EngineKind, EngineError> {
        let version: Version = self.get("/version")?;
        if version.components.iter().any(|component| component.name.contains("Podman")) {
            return Ok(EngineKind::Podman);
        }
        let info: Info = self.get("/info")?;
        let containerd = info
            .driver_status
            .into_iter()
            .flatten()
            .any(|pair| pair.iter().any(|word| word.starts_with("io.containerd.snapshotter")));
        Ok(if containerd { EngineKind::DockerContainerd } else { EngineKind::Docker })
    }

    /// Returns the layers, each with all below it, of the images that it has; of very many images those of
    /// the first ones.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn layers(&self) -> Result<BTreeSet<ChainId>, EngineError> {
        let images: Vec<Listed> = self.get("/images/json?all=1")?;
        let mut layers = BTreeSet::new();
        for image in images.into_iter().take(IMAGES) {
            // One that was removed meanwhile has no layers.
            let Ok(image) = self.get::<Inspected>(&format!("/images/{}/json", image.id)) else { continue };
            let diffs: Vec<DiffId> =
                image.root_fs.layers.iter().map_while(|text| Some(DiffId(text.parse().ok()?))).collect();
            layers.extend((1..=diffs.len()).filter_map(|count| ChainId::of(&diffs[..count])));
        }
        Ok(layers)
    }

    /// Gives it an archive and returns what it says of it, a line each.
    ///
    /// # Errors
    /// When the archive cannot be read or sent, or the engine refuses it.
    pub fn load(&self, archive: &mut dyn Read) -> Result<Vec<String>, EngineError> {
        let request = self.agent.post(self.url("/images/load?quiet=1"));
        let request = request.header("content-type", "application/x-tar");
        let response =
            request.send(SendBody::from_reader(&mut &mut *archive)).map_err(|cause| self.failed(cause))?;
        let body = self.accepted(response)?.into_reader();
        let mut said = Vec::new();
        for line in BufReader::new(body.take(ANSWER_LIMIT)).lines() {
            let line = line.map_err(|cause| EngineError::Body { address: self.address.clone(), cause })?;
            let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
            if let Some(message) = message.error {
                return Err(EngineError::Refused {
                    address: self.address.clone(),
                    message: printable(&message),
                });
            }
            said.extend(message.stream.map(|text| printable(&text)).filter(|text| !text.is_empty()));
        }
        Ok(said)
    }

    fn url(&self, path: &str) -> String {
        let host = match &self.address {
            // A number, so that nobody is asked for a name; the connector does not look at it.
            EngineAddress::Unix(_) => "127.0.0.1",
            EngineAddress::Tcp(host) => host,
        };
        format!("http://{host}{path}")
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, EngineError> {
        let response = self.agent.get(self.url(path)).call().map_err(|cause| self.failed(cause))?;
        let mut bytes = Vec::new();
        let body = |cause| EngineError::Body { address: self.address.clone(), cause };
        self.accepted(response)?.into_reader().take(ANSWER_LIMIT).read_to_end(&mut bytes).map_err(body)?;
        serde_json::from_slice(&bytes).map_err(|error| body(error.into()))
    }

    /// Returns the body of an answer that is no refusal.
    fn accepted(&self, response: ureq::http::Response<Body>) -> Result<Body, EngineError> {
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(body);
        }
        let mut bytes = Vec::new();
        // What broke off is still worth showing.
        let _shown = body.into_reader().take(4 << 10).read_to_end(&mut bytes);
        let message = serde_json::from_slice::<Refusal>(&bytes).map(|refusal| refusal.message);
        let message = message.unwrap_or_else(|_| format!("status {}", status.as_u16()));
        Err(EngineError::Refused { address: self.address.clone(), message: printable(&message) })
    }

    fn failed(&self, cause: ureq::Error) -> EngineError {
        EngineError::Transport { address: self.address.clone(), cause: Box::new(cause) }
    }
}

/// An engine's words go to a terminal: nothing of them steers it.
fn printable(text: &str) -> String {
    let text = text.trim().chars().map(|character| if character.is_control() { ' ' } else { character });
    text.collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(rename = "RootFS", default)]
    root_fs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    stream: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Connects to a socket of this machine, whatever host the address names.
#[derive(Debug)]
struct SocketConnector(Option<PathBuf>);

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, SocketTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(path) = &self.0 else { return Ok(chained.map(Either::A)) };
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(SocketTransport { buffers, stream })))
    }
}

#[derive(Debug)]
struct SocketTransport {
    buffers: LazyBuffers,
    stream: UnixStream,
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), ureq::Error> {
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Each question has a connection of its own: it costs nothing here.
    fn is_open(&mut self) -> bool {
        false
    }
}
