//! The operations of the graph.

use castoff_oci::{DiffId, Digest, Platform, Reference};

use crate::VertexId;
use crate::remote::{GitSource, HttpSource};

/// What a vertex does. A closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Brings a file system into the graph.
    Source(SourceOp),
    /// Runs a process on top of a file system.
    Run(RunOp),
    /// Puts files on top of a file system (COPY and ADD).
    Copy(CopyOp),
    /// Creates a working directory on top of a file system.
    Workdir(WorkdirOp),
}

/// Where a file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceOp {
    /// The empty file system.
    Scratch,
    /// The layers of an image, pinned to one manifest.
    Image {
        /// The name as resolved, for display.
        reference: Reference,
        /// Digest of the platform's image manifest.
        manifest: Digest,
        /// The platform chosen.
        platform: Platform,
    },
    /// A directory of the machine that runs the build: the build context or a named context.
    Local(LocalName),
    /// A file fetched over HTTP, in the root of a file system.
    Http(HttpSource),
    /// A tree of a git repository.
    Git(GitSource),
    /// A tree that was fetched before the build: a context that is no directory of this machine.
    Tree {
        /// What the tree is called by the user, for display.
        name: LocalName,
        /// The layer that holds it.
        layer: DiffId,
    },
}

/// The name of a local directory that the caller gave to the build.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LocalName {
    /// The main build context.
    Context,
    /// A named context (`--build-context name=directory`).
    Named(String),
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunOp {
    /// The file system below the process.
    pub parent: VertexId,
    /// Program and arguments; the shell of a shell form is already in front.
    pub argv: Vec<String>,
    /// The complete environment in order, without proxies and secrets.
    pub env: Vec<(String, String)>,
    /// Proxy variables: given to the process, absent from the key (D-096).
    pub proxies: Vec<(String, String)>,
    /// Absolute working directory; created when missing.
    pub workdir: String,
    /// `user[:group]` as in the image config; empty means root.
    pub user: String,
    /// Host name inside the step.
    pub hostname: String,
    /// Network of the step.
    pub network: NetworkMode,
    /// Privileges of the step.
    pub security: SecurityMode,
    /// Mounts in the order written.
    pub mounts: Vec<Mount>,
    /// Devices of the machine that the step asks for.
    pub devices: Vec<DeviceRequest>,
    /// A here-document with a shebang, put into the step as a file and run (D-056).
    pub script: Option<Script>,
    /// Lines of /etc/hosts; only the names are in the key.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm in bytes; `None` means 64 MiB.
    pub shm_size: Option<u64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// The platform the process is for.
    pub platform: Platform,
}

/// A script file that exists only while its step runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Script {
    /// Absolute path inside the step; the argv refers to it.
    pub path: String,
    /// Content, executable.
    pub content: Vec<u8>,
}

/// A device that a step asks for (D-178).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceRequest {
    /// `vendor/class`, `vendor/class=name`, `vendor/class=*`, or a class that devices are marked with.
    pub name: String,
    /// Whether its absence fails the step.
    pub required: bool,
}

/// A host name and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtraHost {
    /// Host name.
    pub name: String,
    /// Address in text; `host-gateway` is resolved by the back end.
    pub address: String,
}

/// A resource limit, with the kernel's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ulimit {
    /// Docker's name, such as `nofile`.
    pub name: String,
    /// Soft limit; `-1` is unlimited.
    pub soft: i64,
    /// Hard limit; `-1` is unlimited.
    pub hard: i64,
}

/// The network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NetworkMode {
    /// What the builder gives by default.
    Default,
    /// Only an isolated loopback.
    None,
    /// The host's network; needs an entitlement.
    Host,
}

/// The privileges of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecurityMode {
    /// A default container's.
    Sandbox,
    /// All capabilities and no seccomp; needs an entitlement.
    Insecure,
}

/// How concurrent steps use one cache mount (D-159).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// A second writer gets another, empty cache.
    Private,
    /// A second writer waits.
    Locked,
}

/// A mount of a RUN step. Targets are absolute paths inside the step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mount {
    /// Part of another file system.
    Bind {
        /// Where it appears.
        target: String,
        /// The file system it is part of.
        from: VertexId,
        /// Absolute path in `from`, `/` for its root.
        source: String,
        /// Whether the step may write; what it writes is thrown away (D-154).
        writable: bool,
    },
    /// A directory that persists between builds and is never part of a layer.
    Cache {
        /// Where it appears.
        target: String,
        /// Identity, with any namespace prefix already in front.
        id: String,
        /// What concurrent writers do.
        sharing: Sharing,
        /// Initial content: a vertex and an absolute path in it.
        initial: Option<(VertexId, String)>,
        /// Absolute path in the directory of what appears; `/` for all of it.
        source: String,
        /// Mode of the directory when created.
        mode: u32,
        /// Owner when created.
        uid: u32,
        /// Group when created.
        gid: u32,
        /// Whether the step may write.
        writable: bool,
    },
    /// An empty in-memory file system.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A secret known to the caller, as a file, a variable, or both.
    Secret {
        /// Identity.
        id: String,
        /// Where the file appears, if a file is wanted.
        target: Option<String>,
        /// The variable that is set, if one is wanted.
        env: Option<String>,
        /// Whether its absence fails the step.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// An ssh agent that the caller forwards, as a socket.
    Ssh {
        /// Identity.
        id: String,
        /// Where the socket appears.
        target: String,
        /// Whether its absence fails the step.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// Files to put on top of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyOp {
    /// The file system below.
    pub parent: VertexId,
    /// COPY or ADD.
    pub kind: CopyKind,
    /// Sources in the order they are copied.
    pub sources: Vec<CopySource>,
    /// Absolute path; a trailing `/` or `/.` marks a directory (D-199).
    pub destination: String,
    /// `--chown`, expanded.
    pub owner: Option<Owner>,
    /// `--chmod`, expanded and checked.
    pub chmod: Option<Chmod>,
    /// Whether the result is an independent layer (`--link`).
    pub link: bool,
    /// Whether source directories are recreated (`--parents`).
    pub parents: bool,
    /// Patterns of `--exclude`, in order.
    pub exclude: Vec<String>,
}

/// COPY or ADD: ADD unpacks local archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CopyKind {
    /// Copies what it finds.
    Copy,
    /// Copies, and unpacks local tar archives unless told not to.
    Add {
        /// `--unpack`, when given.
        unpack: Option<bool>,
    },
}

/// One source of a [`CopyOp`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CopySource {
    /// Files of another vertex that match a pattern.
    Files {
        /// The vertex; a [`SourceOp::Local`] presents all owners as 0:0.
        from: VertexId,
        /// Path or wildcard as written after expansion, relative to the root of `from`.
        pattern: String,
    },
    /// A here-document.
    Inline {
        /// File name.
        name: String,
        /// Content.
        content: Vec<u8>,
    },
}

/// An owner as written: names or numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// User name or number.
    pub user: String,
    /// Group name or number.
    pub group: Option<String>,
}

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chmod {
    /// Exactly these bits, at most 0o7777.
    Octal(u32),
    /// Symbolic changes, such as `u=rwX,go=rX`; checked by the front end.
    Symbolic(String),
}

/// A working directory to create.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkdirOp {
    /// The file system below.
    pub parent: VertexId,
    /// Absolute clean path.
    pub path: String,
    /// Owner of new directories, `user[:group]`; empty means root.
    pub user: String,
    /// Time of new directories in seconds since 1970, when SOURCE_DATE_EPOCH is set.
    pub epoch: Option<i64>,
}

impl Op {
    /// Returns the vertex whose file system this operation builds upon.
    pub fn parent(&self) -> Option<VertexId> {
        match self {
            Op::Source(_) => None,
            Op::Run(run) => Some(run.parent),
            Op::Copy(copy) => Some(copy.parent),
            Op::Workdir(workdir) => Some(workdir.parent),
        }
    }

    /// Returns every vertex this operation reads: the parent first, then the others in order, each
    /// once.
    pub fn inputs(&self) -> Vec<VertexId> {
        let mut inputs: Vec<VertexId> = self.parent().into_iter().collect();
        match self {
            Op::Source(_) | Op::Workdir(_) => {}
            Op::Run(run) => inputs.extend(run.mounts.iter().filter_map(Mount::input)),
            Op::Copy(copy) => inputs.extend(copy.sources.iter().filter_map(|source| match source {
                CopySource::Files { from, .. } => Some(*from),
                CopySource::Inline { .. } => None,
            })),
        }
        let mut seen = std::collections::BTreeSet::new();
        inputs.retain(|input| seen.insert(*input));
        inputs
    }
}

impl Mount {
    /// Returns the vertex the mount shows part of.
    pub fn input(&self) -> Option<VertexId> {
        match self {
            Mount::Bind { from, .. } => Some(*from),
            Mount::Cache { initial, .. } => initial.as_ref().map(|(from, _)| *from),
            Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => None,
        }
    }

    /// Returns where the mount appears, unless it only sets a variable.
    pub fn target(&self) -> Option<&str> {
        match self {
            Mount::Bind { target, .. }
            | Mount::Cache { target, .. }
            | Mount::Tmpfs { target, .. }
            | Mount::Ssh { target, .. } => Some(target),
            Mount::Secret { target, .. } => target.as_deref(),
        }
    }
}
