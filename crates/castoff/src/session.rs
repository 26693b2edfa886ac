//! What every command that touches the store begins with: the store, the registries, the machine.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use castoff_layer::{OpaqueXattr, Ownership};
use castoff_registry::{Client, Config, ConfigEnvironment};
use castoff_sandbox::{Cancel, Entered, IdMap};
use castoff_solver::fetch::git::{GitProgram, known_hosts};
use castoff_solver::{MachineMode, World};
use castoff_store::{Boot, Lease, Store};
use clap::ValueEnum as _;

use crate::args::{Environment, GlobalArgs, Snapshotter};
use crate::devices;
use crate::host;

/// An open store and what surrounds it. The lease keeps what the command uses from collection.
pub struct Session {
    /// What the solver works with.
    pub world: World,
    _lease: Option<Lease>,
}

/// How a session is opened.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// Steps at once; `None` is as many as there are processors, and at least four, because steps wait
    /// more than they compute.
    pub jobs: Option<usize>,
    /// Whether what is used must be protected from collection.
    pub lease: bool,
}

/// Opens the store and reads the configuration.
pub fn open(
    global: &GlobalArgs,
    environment: &Environment,
    entered: &Entered,
    options: SessionOptions,
) -> anyhow::Result<Session> {
    let root = environment
        .store_root(global.root.as_deref())
        .context("no place for the store: set CASTOFF_ROOT, XDG_DATA_HOME or HOME, or give --root")?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let store = Store::open(&root, &Boot { boot_id: boot_id.trim().to_owned() })
        .with_context(|| format!("opening the store `{}`", root.display()))?;
    let images = images(global, environment, entered, &root)?;
    let lease = if options.lease { Some(store.lease()?) } else { None };
    let cancel = Cancel::new().context("preparing to be interrupted")?;
    let stop = cancel.clone();
    let mut configuration = Config::load(&configuration(environment))?;
    configuration.offline = global.offline(environment)?;
    let registry = Client::new(configuration).stopped_by(move || stop.is_cancelled());
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let world = World {
        store,
        registry,
        shared_caches: Default::default(),
        locals: Default::default(),
        secrets: Default::default(),
        guard: None,
        git: git(environment),
        agents: Default::default(),
        search_path: environment.raw("PATH").map(ToOwned::to_owned).unwrap_or_default(),
        emulators: Default::default(),
        device_directories: devices::directories(environment.raw("CASTOFF_CDI_SPEC_DIRS")),
        devices: Default::default(),
        machine: mode(entered, options.jobs.unwrap_or_else(|| processors.max(4)), images),
        host: host::host_files(),
        cancel,
        clock: now,
    };
    Ok(Session { world, _lease: lease })
}

/// Decides whether layers may be EROFS images (B-197). Asked for and impossible is an error.
fn images(
    global: &GlobalArgs,
    environment: &Environment,
    entered: &Entered,
    store: &std::path::Path,
) -> anyhow::Result<bool> {
    let wanted = match (global.snapshotter, environment.filled("CASTOFF_SNAPSHOTTER")) {
        (Some(kind), _) => kind,
        (None, None) => Snapshotter::Auto,
        (None, Some(text)) => Snapshotter::from_str(text, false).map_err(|_| {
            anyhow::anyhow!("CASTOFF_SNAPSHOTTER is `{text}`: expected auto, directory or erofs")
        })?,
    };
    match (wanted, wanted != Snapshotter::Directory && *entered != Entered::Root) {
        (Snapshotter::Directory, _) => Ok(false),
        (Snapshotter::Auto, true) => Ok(false),
        (Snapshotter::Erofs, true) => {
            anyhow::bail!("EROFS images can be mounted by the machine's root alone")
        }
        (Snapshotter::Auto | Snapshotter::Erofs, false) => match castoff_sandbox::takes_images(store) {
            Ok(()) => Ok(true),
            Err(_) if wanted == Snapshotter::Auto => Ok(false),
            Err(reason) => anyhow::bail!("EROFS images cannot be used: {reason}"),
        },
    }
}

fn mode(entered: &Entered, jobs: usize, images: bool) -> MachineMode {
    let (opaque, ownership, user_namespace) = match entered {
        Entered::UserNamespace(IdMap::Single) => (OpaqueXattr::User, Ownership::Record, true),
        Entered::UserNamespace(IdMap::Identity | IdMap::Range) => (OpaqueXattr::User, Ownership::Keep, true),
        Entered::Root | Entered::Exited(_) => (OpaqueXattr::Trusted, Ownership::Keep, false),
        // Without a namespace an ordinary user can neither give files away nor set `trusted` attributes.
        Entered::Confined { .. } if !rustix::process::geteuid().is_root() => {
            (OpaqueXattr::User, Ownership::Record, false)
        }
        Entered::Confined { .. } => (OpaqueXattr::User, Ownership::Keep, false),
    };
    MachineMode { opaque, ownership, user_namespace, images, jobs }
}

/// Git gets what it needs to find its parts and its way to the servers, and nothing else of the caller's.
fn git(environment: &Environment) -> GitProgram {
    let passed = ["PATH", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let passed = passed.iter().filter_map(|name| Some(((*name).into(), environment.raw(name)?.to_owned())));
    let proxies = environment.proxies().into_iter().map(|(name, value)| (name.into(), value.into()));
    GitProgram {
        environment: passed.chain(proxies).collect(),
        known_hosts: known_hosts(environment.home().as_deref()),
        agent: environment.filled("SSH_AUTH_SOCK").map(PathBuf::from),
        home: environment.home(),
    }
}

pub(crate) fn configuration(environment: &Environment) -> ConfigEnvironment {
    let path = |name: &str| environment.filled(name).map(PathBuf::from);
    let proxy = |names: [&str; 2]| names.iter().find_map(|name| environment.filled(name)).map(str::to_owned);
    let all = proxy(["ALL_PROXY", "all_proxy"]);
    ConfigEnvironment {
        home: environment.home(),
        own_credentials: environment.auth_file(),
        docker_config: path("DOCKER_CONFIG"),
        registry_auth_file: path("REGISTRY_AUTH_FILE"),
        runtime_dir: path("XDG_RUNTIME_DIR"),
        registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
        path: environment.raw("PATH").map(ToOwned::to_owned),
        https_proxy: proxy(["HTTPS_PROXY", "https_proxy"]).or_else(|| all.clone()),
        http_proxy: proxy(["HTTP_PROXY", "http_proxy"]).or(all),
        no_proxy: proxy(["NO_PROXY", "no_proxy"]),
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
