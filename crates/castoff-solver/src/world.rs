//! What a build works with: the store, the registries, the caller's directories and secrets, and what
//! the machine allows. Built by the binary, once, from values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use castoff_graph::LocalName;
use castoff_graph::pattern::IgnorePatterns;
use castoff_layer::{OpaqueXattr, Ownership};
use castoff_sandbox::{Cancel, Emulator, MountSpec};
use castoff_ssh::Agent;
use castoff_store::Store;

use crate::fetch::git::GitProgram;
use crate::guard::Guard;
use crate::shared_cache::SharedCaches;

/// Everything effectful that a build is given.
pub struct World {
    /// Where results live.
    pub store: Store,
    /// Where images come from when the store does not have them.
    pub registry: castoff_registry::Client,
    /// Caches that are asked for steps that the store does not have.
    pub shared_caches: SharedCaches,
    /// The build context and the named contexts that are directories.
    pub locals: BTreeMap<LocalName, LocalDirectory>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretValue>,
    /// Looks for secrets in what steps leave behind, when it is to be proved that there are none.
    pub guard: Option<Arc<dyn Guard>>,
    /// How git is run.
    pub git: GitProgram,
    /// ssh agents by id.
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// Where the machine's programs are looked for, in the form of `PATH`.
    pub search_path: OsString,
    /// What runs the programs of other architectures, by Go's names of these, where castoff registers it.
    pub emulators: BTreeMap<String, Emulator>,
    /// Where specifications of devices are.
    pub device_directories: Vec<PathBuf>,
    /// What steps get for the devices that they ask for, by the names that they use.
    pub devices: BTreeMap<String, DeviceGrant>,
    /// What the machine allows.
    pub machine: MachineMode,
    /// Files of the machine that steps get a version of.
    pub host: HostFiles,
    /// Stops the build.
    pub cancel: Cancel,
    /// Returns the time in milliseconds since 1970.
    pub clock: fn() -> i64,
}

/// A directory of the caller's.
#[derive(Debug, Clone)]
pub struct LocalDirectory {
    /// Absolute path.
    pub path: PathBuf,
    /// What of it the build does not see.
    pub ignore: Option<IgnoreFile>,
}

/// An ignore file that was found.
#[derive(Debug, Clone)]
pub struct IgnoreFile {
    /// Its name as the user knows it.
    pub name: String,
    /// Its patterns.
    pub patterns: IgnorePatterns,
}

/// The bytes of a secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub Vec<u8>);

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue(..)")
    }
}

/// What a step gets for a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceGrant {
    /// Variables, which win over others of their names.
    pub env: Vec<(String, String)>,
    /// Nodes, files and directories of the machine.
    pub mounts: Vec<MountSpec>,
    /// Groups of the process beside its own.
    pub groups: Vec<u32>,
}

/// How file systems are kept on this machine, decided once in `main`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineMode {
    /// Where overlayfs keeps its marks.
    pub opaque: OpaqueXattr,
    /// Whether owners are real or recorded.
    pub ownership: Ownership,
    /// Whether the process is in a user namespace of its own.
    pub user_namespace: bool,
    /// Whether layers may be EROFS images instead of directories.
    pub images: bool,
    /// Threads that a build may use for running steps at once.
    pub jobs: usize,
}

/// What steps are told about the machine's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// Content of resolv.conf for steps.
    pub resolv_conf: Vec<u8>,
    /// Address that `host-gateway` stands for.
    pub gateway: String,
    /// Lines of the machine's own hosts file are not passed on; only whether IPv6 is there.
    pub ipv6: bool,
}
