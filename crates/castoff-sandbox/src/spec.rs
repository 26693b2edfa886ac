//! What to run, in what tree, as whom. Plain data, sent to the helper as JSON through a socket, so that
//! no secret is ever in an argument or the environment of a process that others can look at.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::binfmt::Emulator;

/// A process and the tree it sees. All targets are absolute paths inside that tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Lower directories of the root's overlay, top first; none means an empty file system.
    pub lowers: Vec<PathBuf>,
    /// Upper directory: what the process changes ends up here.
    pub upper: PathBuf,
    /// overlayfs's work directory, empty and on the file system of `upper`.
    pub work: PathBuf,
    /// Whether overlayfs keeps its marks in `user.*` attributes: needed in a user namespace.
    pub userxattr: bool,
    /// Mounts in order; later ones may be inside earlier ones.
    pub mounts: Vec<MountSpec>,
    /// Program and arguments. A program without a slash is searched in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// Whether castoff's own shell is run instead of a program of the tree: its one command is `argv`, or, without any,
    /// each line of standard input.
    pub builtin_shell: bool,
    /// The complete environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; made when missing.
    pub cwd: PathBuf,
    /// User of the process.
    pub uid: u32,
    /// Group of the process.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Host name.
    pub hostname: String,
    /// Network.
    pub network: Network,
    /// All capabilities, no seccomp, nothing masked.
    pub privileged: bool,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Files that exist only while the process runs.
    pub files: Vec<ProvidedFile>,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output and error.
    pub output: Output,
    /// With one mapped id: changes of owner and identity succeed and do nothing.
    pub fake_ids: bool,
    /// Whether the root is read-only.
    pub readonly_root: bool,
    /// What runs the programs, when they are of another architecture.
    pub emulator: Option<Emulator>,
    /// The process is killed after this time.
    pub timeout: Option<Duration>,
    /// Program to start as the helper; `None` is this program. For tests.
    pub helper: Option<PathBuf>,
}

impl Default for ProcessSpec {
    fn default() -> ProcessSpec {
        ProcessSpec {
            lowers: Vec::new(),
            upper: PathBuf::new(),
            work: PathBuf::new(),
            userxattr: false,
            mounts: Vec::new(),
            argv: Vec::new(),
            builtin_shell: false,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            hostname: String::new(),
            network: Network::Host,
            privileged: false,
            shm_size: 64 << 20,
            rlimits: Vec::new(),
            files: Vec::new(),
            stdin: Stdin::Null,
            output: Output::Pipe,
            fake_ids: false,
            readonly_root: false,
            emulator: None,
            timeout: None,
            helper: None,
        }
    }
}

/// A mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where it appears. Links are followed inside the tree; what is missing is made for the time of the
    /// process.
    pub target: PathBuf,
    /// What appears there.
    pub kind: MountKind,
}

/// The kinds of mounts. Sources are paths outside the tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory.
    Bind {
        /// What is shown.
        source: PathBuf,
        /// Whether the process may write to it.
        writable: bool,
    },
    /// Something in a directory that others may be changing. Links in it are followed as long as they stay
    /// in it; what leads out is an error.
    Within {
        /// The directory.
        root: PathBuf,
        /// Relative path in it of what is shown; empty for all of it.
        path: PathBuf,
        /// Whether the process may write to it.
        writable: bool,
    },
    /// A file or directory, as a mount with less rights.
    Restricted {
        /// What is shown.
        source: PathBuf,
        /// Whether the process may write to it.
        writable: bool,
        /// Whether nothing in it changes the user of who runs it.
        no_suid: bool,
        /// Whether nothing in it is a device.
        no_devices: bool,
        /// Whether nothing in it is run.
        no_execution: bool,
    },
    /// Part of a stack of directories.
    Overlay {
        /// Directories, top first; at least one.
        lowers: Vec<PathBuf>,
        /// Takes what is written.
        upper: PathBuf,
        /// overlayfs's work directory.
        work: PathBuf,
        /// Path inside the stack that is shown, without links in it; empty for the root.
        source: PathBuf,
        /// Whether the process may write to it.
        writable: bool,
    },
    /// An empty file system in memory. Its root has the mode of the directory that it covers, so that
    /// everybody may write to a new /tmp.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
    },
    /// A read-only file in memory.
    Secret {
        /// Content.
        content: SecretBytes,
        /// Mode.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Wraps bytes.
    pub fn new(bytes: Vec<u8>) -> SecretBytes {
        SecretBytes(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

/// A file that exists only while the process runs. What the process writes to it is kept by nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvidedFile {
    /// Where it appears.
    pub target: PathBuf,
    /// Content.
    pub content: Vec<u8>,
    /// Mode.
    pub mode: u32,
    /// Whether it may be written to.
    pub writable: bool,
}

/// The network of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The machine's.
    Host,
    /// A loopback interface of its own and nothing else.
    None,
}

/// Standard input of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Empty.
    Null,
    /// The caller's.
    Inherit,
}

/// Standard output and error of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Delivered to the caller's function.
    Pipe,
    /// The caller's own.
    Inherit,
    /// A terminal of the process's own. What it shows is delivered as standard output; what the caller's
    /// standard input has is typed into it if `stdin` is `Inherit`, with the caller's terminal passing
    /// every key on for the time of the process.
    Terminal,
}

/// A resource limit by Docker's name (`nofile`, `nproc`, ...); `-1` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Name.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}
