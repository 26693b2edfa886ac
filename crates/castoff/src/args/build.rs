//! The flags of `build`, as they are written. `request.rs` gives them meaning.

use std::path::PathBuf;

use clap::Args;

use super::PlanFormat;
use super::unsupported::UnsupportedFlags;

/// `castoff build`.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildArgs {
    /// Directory with the files to build from, a URL, or - for standard input
    #[arg(value_name = "PATH|URL|-")]
    pub path: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub context: ContextArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub steps: StepArgs,
    /// Name of the result; may be given several times
    #[arg(short = 't', long, value_name = "NAME", allow_hyphen_values = true)]
    pub tag: Vec<String>,
    /// What to make of the result, such as type=oci,dest=FILE, or a directory
    #[arg(short = 'o', long, value_name = "SPEC", allow_hyphen_values = true)]
    pub output: Vec<String>,
    /// Load the image into a running Docker or Podman: same as --output=type=docker
    #[arg(long)]
    pub load: bool,
    /// Annotation of the image: [manifest|index|manifest-descriptor|index-descriptor[[PLATFORM]],...:]KEY=VALUE
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub annotation: Vec<String>,
    /// Attach attestations: type=sbom, or type=provenance[,mode=min|max][,builder-id=URI]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub attest: Vec<String>,
    /// Attach a list of the packages in the image; shorthand of --attest=type=sbom
    #[arg(long, value_name = "BOOL|SPEC", allow_hyphen_values = true)]
    pub sbom: Option<String>,
    /// Attach how the image was built; shorthand of --attest=type=provenance
    #[arg(long, value_name = "BOOL|SPEC", allow_hyphen_values = true)]
    pub provenance: Option<String>,
    /// Push the result; shorthand of --output=type=registry
    #[arg(long)]
    pub push: bool,
    /// Make a secret known to steps that ask for it: id=ID[,src=FILE|,env=VARIABLE][,prove=false]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub secret: Vec<String>,
    /// Forward an ssh agent to steps that ask for it: default|ID[=SOCKET|KEY[,KEY...]]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub ssh: Vec<String>,
    /// Ask a shared cache for steps that the store does not have: type=local,src=DIRECTORY, a name in
    /// a registry, or type=s3,bucket=NAME,region=NAME; mounts=true for cache mounts
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub cache_from: Vec<String>,
    /// Fill a shared cache while the build runs: type=local,dest=DIRECTORY[,mode=max],
    /// type=registry,ref=NAME[,mode=max], or type=s3,bucket=NAME,region=NAME[,mode=max];
    /// mounts=true for cache mounts
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub cache_to: Vec<String>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub iidfile: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub about: AboutArgs,
    /// Times of 1970 in the image and in its new layers, as kaniko has it
    #[arg(long)]
    pub reproducible: bool,
    /// This time, in seconds since 1970, in the image and at most in its new layers, as buildah has it
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, conflicts_with = "reproducible")]
    pub timestamp: Option<i64>,
    /// Write facts about the result to a file, as JSON
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub metadata_file: Option<PathBuf>,
    /// Answer a question instead of building: check, outline, targets or subrequests.describe, with
    /// ,format=json and ,ignorestatus=true
    #[arg(long, value_name = "METHOD", allow_hyphen_values = true)]
    pub call: Option<String>,
    /// Same as --call=check
    #[arg(long)]
    pub check: bool,
    /// The old spelling of --call.
    #[arg(long, hide = true, value_name = "METHOD", allow_hyphen_values = true)]
    pub print: Option<String>,
    /// Look for the secrets of --secret and --ssh in everything that the build gives away, and fail
    /// when one is there [default: true]; without secrets, look for tokens only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub prove: Option<String>,
    /// Fail unless the result is: startable, or no-secrets (nothing looks like a token)
    #[arg(long, value_enum, value_name = "WHAT", hide_possible_values = true)]
    pub require: Vec<Requirement>,
    /// What to do when a step fails: fail, or shell (go where it failed, at a terminal)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t, hide_possible_values = true)]
    pub on_error: OnError,
    /// Write what a step leaves that fails to a file, for `castoff shell FILE` on another machine
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub save_failure: Option<PathBuf>,
    /// How progress is shown: auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE", allow_hyphen_values = true)]
    pub progress: Option<String>,
    /// Show no progress; print the image id
    #[arg(short, long)]
    pub quiet: bool,
    /// How many steps run at once; 0 is no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub jobs: Option<usize>,

    /// There are no builder instances.
    #[arg(long, hide = true, value_name = "NAME", allow_hyphen_values = true)]
    pub builder: Option<String>,
    /// Of the classic builder.
    #[arg(long, hide = true)]
    pub compress: bool,
    /// Of the classic builder.
    #[arg(long, hide = true)]
    pub rm: bool,
    /// Of the classic builder.
    #[arg(long, hide = true)]
    pub force_rm: bool,
    /// Of the classic builder, and of buildah.
    #[arg(long, hide = true, value_name = "MODE", allow_hyphen_values = true)]
    pub isolation: Option<String>,
    /// Of the classic builder.
    #[arg(long, hide = true, value_name = "OPTION", allow_hyphen_values = true)]
    pub security_opt: Vec<String>,
    /// Of the classic builder.
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
    /// Of buildah; always on.
    #[arg(long, hide = true)]
    pub layers: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub unsupported: UnsupportedFlags,
}

/// Files about the result that buildah and kaniko write (B-053).
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct AboutArgs {
    /// Write the image id to a file, without its algorithm
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub iidfile_raw: Option<PathBuf>,
    /// Write the digest of the manifest or index to a file
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub digest_file: Option<PathBuf>,
    /// Write NAME@DIGEST to a file, a line for each name; of kaniko.
    #[arg(long, hide = true, value_name = "FILE", allow_hyphen_values = true)]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write NAME:TAG@DIGEST to a file, a line for each name; of kaniko.
    #[arg(long, hide = true, value_name = "FILE", allow_hyphen_values = true)]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// The build fails.
    #[default]
    Fail,
    /// The build fails, once somebody at the terminal has looked around.
    Shell,
}

/// What a result can be required to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Requirement {
    /// An image that is not certain to fail when it is started.
    Startable,
    /// A result in which nothing looks like a token or a private key.
    NoSecrets,
}

/// `castoff plan`.
#[derive(Debug, Clone, Default, Args)]
pub struct PlanArgs {
    /// Directory with the files to build from, a URL, or - for standard input
    #[arg(value_name = "PATH|URL|-")]
    pub path: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub context: ContextArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment would become the help of the command")]
    pub steps: StepArgs,
    /// How the plan is shown
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
}

/// Flags that say what is built.
#[derive(Debug, Clone, Default, Args)]
pub struct ContextArgs {
    /// The Dockerfile [default: PATH/Dockerfile]; - for standard input
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub file: Option<String>,
    /// The stage to build [default: the last]
    #[arg(long, value_name = "STAGE", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub build_arg: Vec<String>,
    /// A further context: a directory, a URL, docker-image://NAME or oci-layout://PATH
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub build_context: Vec<String>,
    /// Platforms of the result, such as linux/amd64,linux/arm64; several make an image index
    #[arg(long, value_name = "PLATFORM", allow_hyphen_values = true)]
    pub platform: Vec<String>,
    /// Let the ignore file hide files of a context that is fetched or an archive, too
    #[arg(long)]
    pub filter_context: bool,
    /// Fail when something that may change is not in castoff.lock
    #[arg(long, conflicts_with = "no_lock")]
    pub locked: bool,
    /// Do without castoff.lock
    #[arg(long)]
    pub no_lock: bool,
    /// The lock file [default: castoff.lock beside the Dockerfile]
    #[arg(long, value_name = "FILE", conflicts_with = "no_lock", allow_hyphen_values = true)]
    pub lockfile: Option<PathBuf>,
    /// When registries are asked for base images: always (--pull alone), missing, newer or never
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub pull: Option<String>,
}

/// Flags that say how steps run and what is added to the result's config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct StepArgs {
    /// Label of the result
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub label: Vec<String>,
    /// Use no earlier results
    #[arg(long)]
    pub no_cache: bool,
    /// Use no earlier results for these stages
    #[arg(long, value_name = "STAGE", allow_hyphen_values = true)]
    pub no_cache_filter: Vec<String>,
    /// Network of RUN steps: default, none or host
    #[arg(long, value_name = "MODE", allow_hyphen_values = true)]
    pub network: Option<String>,
    /// Line of /etc/hosts in RUN steps
    #[arg(long, value_name = "HOST:IP", allow_hyphen_values = true)]
    pub add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps, such as 64m
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub shm_size: Option<String>,
    /// Limit of RUN steps, such as nofile=1024:2048
    #[arg(long, value_name = "TYPE=SOFT[:HARD]", allow_hyphen_values = true)]
    pub ulimit: Vec<String>,
    /// Grant network.host, security.insecure, device[=NAME[,alias=NAME]] or buildx.local.delete
    #[arg(long, value_name = "ENTITLEMENT", allow_hyphen_values = true)]
    pub allow: Vec<String>,
}
