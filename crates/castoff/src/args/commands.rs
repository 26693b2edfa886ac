//! The flags of the commands other than `build`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a plan is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// A graph for Graphviz.
    Dot,
}

/// How facts are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// How findings are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Excerpts for people.
    #[default]
    Text,
    /// BuildKit's JSON.
    Json,
    /// SARIF 2.1.0, for sites that host code.
    Sarif,
}

/// How much a finding has to matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckLevel {
    /// Everything.
    #[default]
    Note,
    /// What is likely a mistake.
    Warning,
    /// What is certainly harmful.
    Error,
}

impl CheckLevel {
    /// Returns the level of rules.
    pub fn level(self) -> castoff_dockerfile::lint::Level {
        match self {
            CheckLevel::Note => castoff_dockerfile::lint::Level::Note,
            CheckLevel::Warning => castoff_dockerfile::lint::Level::Warning,
            CheckLevel::Error => castoff_dockerfile::lint::Level::Error,
        }
    }
}

/// `castoff check`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Dockerfiles, or directories that have one [default: .]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A Dockerfile; PATH is its context then. May be given several times; - for standard input
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub file: Vec<PathBuf>,
    /// Check this stage and what it needs [default: all stages]
    #[arg(long, value_name = "STAGE", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub build_arg: Vec<String>,
    /// How findings are shown
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
    /// Leave out what matters less
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub severity: CheckLevel,
    /// Change the files where it is certain how, then check them
    #[arg(long)]
    pub fix: bool,
    /// Show what --fix would change, and change nothing
    #[arg(long)]
    pub diff: bool,
    /// Look base images up in the store and in registries, for checks that need them
    #[arg(long)]
    pub resolve: bool,
    /// List the rules
    #[arg(long)]
    pub list: bool,
    /// Show the page of a rule
    #[arg(long, value_name = "RULE")]
    pub explain: Option<String>,
}

/// `castoff images`.
#[derive(Debug, Clone, Default, Args)]
pub struct ImagesArgs {
    /// Show only images of this name
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `castoff history`.
#[derive(Debug, Clone, Default, Args)]
pub struct HistoryArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Show instructions in full
    #[arg(long)]
    pub no_trunc: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `castoff inspect`.
#[derive(Debug, Clone, Default, Args)]
pub struct InspectArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Show one part: a path of keys such as .Config.Env
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `castoff startable`.
#[derive(Debug, Clone, Default, Args)]
pub struct StartableArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// How the answer is given
    #[arg(long, value_enum, default_value_t)]
    pub format: StartableFormat,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// How `castoff startable` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum StartableFormat {
    /// Sentences.
    #[default]
    Text,
    /// A list with an object for each image (docs/startable.md).
    Json,
}

/// `castoff prove`.
#[derive(Debug, Clone, Default, Args)]
pub struct ProveArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// A secret that must not be in it: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub secret: Vec<String>,
    /// How the answer is given
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `castoff sbom`.
#[derive(Debug, Clone, Default, Args)]
pub struct SbomArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// How the list is written
    #[arg(long, value_enum, default_value_t)]
    pub format: SbomFormat,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// How `castoff sbom` writes its list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SbomFormat {
    /// A line for each package.
    #[default]
    Table,
    /// SPDX 2.3 (docs/attestations.md).
    SpdxJson,
    /// CycloneDX 1.5.
    CyclonedxJson,
}

/// `castoff tag`.
#[derive(Debug, Clone, Default, Args)]
pub struct TagArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The name to add
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `castoff rmi`.
#[derive(Debug, Clone, Default, Args)]
pub struct RmiArgs {
    /// The names to remove
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Do not fail when a name does not exist
    #[arg(short, long)]
    pub force: bool,
}

/// `castoff save`.
#[derive(Debug, Clone, Default, Args)]
pub struct SaveArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// docker or oci
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `castoff load`.
#[derive(Debug, Clone, Default, Args)]
pub struct LoadArgs {
    /// File to read [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Print only what was loaded
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff import`.
#[derive(Debug, Clone, Default, Args)]
pub struct ImportArgs {
    /// Archive of the file system, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub file: String,
    /// Name of the image
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Dockerfile instruction applied to the config, such as CMD ["sh"]
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `castoff pull`.
#[derive(Debug, Clone, Default, Args)]
pub struct PullArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Pull every tag that the registry has of the name
    #[arg(short, long)]
    pub all_tags: bool,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    pub platform: Option<String>,
    /// Pull an index whole: the images of all platforms, and attestations
    #[arg(long)]
    pub all_platforms: bool,
    /// Look at the registry's certificate, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// Show no progress; print the names of the images
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff push`.
#[derive(Debug, Clone, Default, Args)]
pub struct PushArgs {
    /// Images of the store, by the names that they get
    #[arg(value_name = "NAME[:TAG]", required = true)]
    pub images: Vec<String>,
    /// Push every tag that the store has of the name
    #[arg(short, long)]
    pub all_tags: bool,
    /// Push the image of an index for this platform
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// How new layers are compressed: gzip, zstd, estargz or uncompressed [default: gzip]
    #[arg(long, value_name = "TYPE")]
    pub compression: Option<String>,
    /// Level of the compression
    #[arg(long, value_name = "LEVEL")]
    pub compression_level: Option<u32>,
    /// Compress layers again that are compressed otherwise, those of the base image too
    #[arg(long)]
    pub force_compression: bool,
    /// Use media types of OCI (oci) or Docker (docker) [default: what was pulled keeps its own; oci]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Look at the registry's certificate, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// Write the digest that the registry knows the image by to this file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// Show no progress; print the names with their digests
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff copy`.
#[derive(Debug, Clone, Default, Args)]
pub struct CopyArgs {
    /// NAME or docker://NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], store:NAME
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The same
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    /// Copy of an index only the image for this platform
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all")]
    pub platform: Option<String>,
    /// Copy indexes whole, which is what is done anyway
    #[arg(short, long)]
    pub all: bool,
    /// Look at registries' certificates, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// The same for the source alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub src_tls_verify: Option<String>,
    /// The same for the destination alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dest_tls_verify: Option<String>,
    /// Write the digest of what was copied to this file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff index`.
#[derive(Debug, clap::Subcommand)]
pub enum IndexCommand {
    /// Make an index of images, and give it names in registries
    Create(Box<IndexCreateArgs>),
    /// Show an index or image of a registry
    Inspect(IndexInspectArgs),
}

/// `castoff index create`.
#[derive(Debug, Clone, Default, Args)]
pub struct IndexCreateArgs {
    /// NAME, DIGEST in the repository of the new name, a descriptor as JSON, or oci:DIR[:TAG]
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Name of the index in a registry; may be given several times
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Read a source from a file
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Annotation: [index|manifest-descriptor[[PLATFORM]]:]KEY=VALUE [default: index]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub annotation: Vec<String>,
    /// Take only the images for these platforms
    #[arg(short, long, value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// Keep what the name stands for now, and add to it
    #[arg(long)]
    pub append: bool,
    /// Print the index and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Make an index of an image alone, too [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub prefer_index: Option<String>,
    /// Write facts about the index to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Look at registries' certificates, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// There are no builder instances.
    #[arg(long, hide = true, value_name = "NAME")]
    pub builder: Option<String>,
}

/// `castoff index inspect`.
#[derive(Debug, Clone, Default, Args)]
pub struct IndexInspectArgs {
    /// NAME, or oci:DIR[:TAG]
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print the document as it is
    #[arg(long, conflicts_with = "format")]
    pub raw: bool,
    /// Show one part: a path such as .Manifest.Digest, or {{json .Image}}
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Look at the registry's certificate, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// There are no builder instances.
    #[arg(long, hide = true, value_name = "NAME")]
    pub builder: Option<String>,
}

/// `castoff sign`.
#[derive(Debug, Clone, Default, Args)]
pub struct SignArgs {
    /// Images of registries
    #[arg(value_name = "NAME", required = true)]
    pub images: Vec<String>,
    /// The private key: ECDSA P-256 as PEM, or one of cosign, whose password is in COSIGN_PASSWORD
    #[arg(long, value_name = "FILE", required = true)]
    pub key: PathBuf,
    /// Say more in what is signed
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
    /// Of an index, sign everything that it names, too
    #[arg(short, long)]
    pub recursive: bool,
    /// Look at the registry's certificate, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff login`.
#[derive(Debug, Clone, Default, Args)]
pub struct LoginArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// The user [default: asked for]
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Look at the registry's certificate, and refuse plain HTTP [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<String>,
}

/// `castoff logout`.
#[derive(Debug, Clone, Default, Args)]
pub struct LogoutArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub registry: Option<String>,
}

/// `castoff run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Accepted: nothing is ever kept
    #[arg(long)]
    pub rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Program to run instead of the image's entry point
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    pub entrypoint: Option<String>,
    /// Variable; without a value, that of the environment
    #[arg(short, long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub env: Vec<String>,
    /// Show a directory or file of this machine: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "SPEC")]
    pub volume: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User, as name or number, with an optional :group
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Network: host or none
    #[arg(long, value_name = "MODE")]
    pub network: Option<String>,
    /// When a directory is built: the stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// When a directory is built: the Dockerfile
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// When a directory is built: value of an ARG
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub build_arg: Vec<String>,
    /// When a directory is built: a further context
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub build_context: Vec<String>,
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The image, or a directory to build, and then the command with its own flags
    #[arg(value_name = "IMAGE|DIR [COMMAND", required = true, trailing_var_arg = true)]
    pub words: Vec<OsString>,
}

/// `castoff debug`.
#[derive(Debug, Clone, Default, Args)]
pub struct DebugArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Use the shell and the tools of this image, which sees the other one at /image
    #[arg(long, value_name = "IMAGE")]
    pub toolbox: Option<String>,
    /// User, as name or number, with an optional :group [default: 0]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Use castoff's own small shell, whatever the image has
    #[arg(long)]
    pub builtin_shell: bool,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// A command instead of a shell
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// `castoff shell`.
#[derive(Debug, Clone, Default, Args)]
pub struct ShellArgs {
    /// The build: @last (that failed last), or the beginning of an id; or a file of --save-failure
    #[arg(value_name = "BUILD|FILE", default_value = "@last")]
    pub subject: String,
    /// A secret that the step asks for: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub secret: Vec<String>,
    /// An ssh agent that the step asks for: default|ID[=SOCKET|KEY[,KEY...]]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub ssh: Vec<String>,
    /// Use castoff's own small shell, whatever the image has
    #[arg(long)]
    pub builtin_shell: bool,
    /// A command instead of a shell
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// `castoff update`.
#[derive(Debug, Clone, Default, Args)]
pub struct UpdateArgs {
    /// Directory with the files to build from
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: String,
    /// The Dockerfile [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Look at this stage and what it needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub build_arg: Vec<String>,
    /// A further context, as of build
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub build_context: Vec<String>,
    /// Platforms that names may depend on [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// Make a secret known to what fetches: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub secret: Vec<String>,
    /// Ask about this image, URL or repository alone
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Write nothing, and fail when something stands for something else now
    #[arg(long)]
    pub check: bool,
    /// Write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The lock file [default: castoff.lock beside the Dockerfile]
    #[arg(long, value_name = "FILE")]
    pub lockfile: Option<PathBuf>,
    /// auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff du`.
#[derive(Debug, Clone, Default, Args)]
pub struct DuArgs {
    /// Show only records that match, such as type=regular or until=24h
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// table, pretty or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show each record in full
    #[arg(long)]
    pub verbose: bool,
}

/// `castoff prune`.
#[derive(Debug, Clone, Default, Args)]
pub struct PruneArgs {
    /// Also remove what the builder keeps for itself
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Remove only records that match, such as until=24h
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Stop when the store is not larger than this
    #[arg(long, value_name = "BYTES")]
    pub max_used_space: Option<String>,
    /// Stop when the disk has this much space left
    #[arg(long, value_name = "BYTES")]
    pub min_free_space: Option<String>,
    /// Always keep this much
    #[arg(long, value_name = "BYTES")]
    pub reserved_space: Option<String>,
    /// Show each record in full
    #[arg(long)]
    pub verbose: bool,
}

/// `castoff info`.
#[derive(Debug, Clone, Default, Args)]
pub struct InfoArgs {
    /// How the facts are shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff completion`.
#[derive(Debug, Clone, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `castoff man`.
#[derive(Debug, Clone, Default, Args)]
pub struct ManArgs {
    /// Directory for all the pages [default: the main page to standard output]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
