//! The command line: what the words mean, and what values they hold.
//!
//! [`parse`] knows the names under which the program may be called and every flag; it gives an
//! [`Invocation`]. The flags of a build are checked further by [`BuildArgs::request`], which turns them,
//! together with the [`Environment`], into a [`BuildRequest`] of parsed values. Nothing here reads files,
//! the clock or the environment of the process.

pub mod annotation;
mod attest;
mod build;
mod cache;
mod call;
mod commands;
mod context;
mod engine;
mod environment;
pub mod fields;
mod history;
mod invocation;
mod output;
mod place;
mod proxies;
mod recorded;
mod request;
mod s3;
mod secret;
mod ssh;
mod step;
mod unsupported;
mod vcs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{ArgAction, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use annotation::AnnotationError;
pub use attest::{AttestError, AttestSpecs, ProvenanceMode, ProvenanceSpec};
pub use build::{AboutArgs, BuildArgs, ContextArgs, OnError, PlanArgs, Requirement, StepArgs};
pub use cache::{CacheError, CacheFromSpec, CachePlace, CacheReference, CacheSource, CacheToSpec};
pub use call::{Call, CallError, CallSpec};
pub use commands::{
    CheckArgs, CheckFormat, CheckLevel, CompletionArgs, CopyArgs, DebugArgs, DuArgs, HistoryArgs, ImagesArgs,
    ImportArgs, IndexCommand, IndexCreateArgs, IndexInspectArgs, InfoArgs, InspectArgs, LoadArgs, LoginArgs,
    LogoutArgs, ManArgs, PlanFormat, ProveArgs, PruneArgs, PullArgs, PushArgs, ReportFormat, RmiArgs,
    RunArgs, SaveArgs, SbomArgs, SbomFormat, ShellArgs, SignArgs, StartableArgs, StartableFormat, TagArgs,
    UpdateArgs,
};
pub use context::{ContextError, ContextSpec, FileSpec, NamedContextSource, NamedContextSpec};
pub use engine::EngineChoice;
pub use environment::Environment;
pub use history::{BuildsArgs, DiffArgs, ExplainArgs, LogArgs, ReportArgs, ReportForm, VerifyArgs, WhyArgs};
pub use output::{EpochOverride, ImageAttributes, LayerCompression, OutputError, OutputFile, OutputSpec};
pub use place::{PlaceError, PlaceSpec};
pub use recorded::RecordedRequest;
pub use request::{BuildRequest, LockSpec, LockUse, PlanRequest, ProgressMode, RequestError, ValueError};
pub use s3::{S3Credentials, S3Spec};
pub use secret::{SecretError, SecretSource, SecretSpec};
pub use ssh::{SshError, SshSpec};
pub use step::{DeviceEntitlement, Entitlements, StepFlagError};
pub use vcs::{VcsLabels, VcsSpec};

use crate::exit;

/// The whole command line, once the name of the program is understood.
#[derive(Debug, Parser)]
#[command(
    name = "castoff",
    version,
    about = "Builds container images from Dockerfiles: one static binary, no daemon, no root",
    args_override_self = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct GlobalArgs {
    /// Directory of the store [default: $CASTOFF_ROOT, $XDG_DATA_HOME/castoff or ~/.local/share/castoff]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// How steps are shown lower layers: auto, directory or erofs [default: $CASTOFF_SNAPSHOTTER or auto]
    #[arg(long, global = true, value_name = "KIND", value_enum, hide_possible_values = true)]
    pub snapshotter: Option<Snapshotter>,
    /// Ask no registry and no other server: what is needed is in the store, or missing
    #[arg(long, global = true)]
    pub offline: bool,
    /// Say more: debug messages, warnings in full
    #[arg(short = 'D', long, global = true)]
    pub debug: bool,
}

impl GlobalArgs {
    /// Returns whether castoff may use no network: by the flag or by `CASTOFF_OFFLINE`.
    ///
    /// # Errors
    /// When the variable is no boolean.
    pub fn offline(&self, environment: &Environment) -> Result<bool, RequestError> {
        let variable = environment.filled("CASTOFF_OFFLINE").map(fields::boolean).transpose();
        let variable = variable.map_err(|_| RequestError::OfflineVariable)?;
        Ok(self.offline || variable.unwrap_or_default())
    }
}

/// How steps are shown the layers below them (B-197).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Snapshotter {
    /// Images where the machine takes them, else directories
    Auto,
    /// Unpacked into directories
    Directory,
    /// As EROFS images that are mounted; an error where the machine does not take them
    Erofs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    #[command(alias = "bud")]
    Build(Box<BuildArgs>),
    /// Show what a build would do, without doing it
    Plan(Box<PlanArgs>),
    /// Look for mistakes in Dockerfiles, and put them right
    Check(Box<CheckArgs>),
    /// List images
    Images(ImagesArgs),
    /// Show the layers of an image and what made them
    History(HistoryArgs),
    /// Show an image's config as JSON
    Inspect(InspectArgs),
    /// Say whether an image can start, and why not
    Startable(StartableArgs),
    /// Look for secrets in an image: those that are given, and what looks like one
    Prove(ProveArgs),
    /// List the packages in an image
    Sbom(SbomArgs),
    /// List the builds that are remembered, or the steps of one
    Builds(BuildsArgs),
    /// Show what a step of a build printed, also when it was cached
    Log(LogArgs),
    /// Say why a step of a build ran, or which steps a file is read by
    Why(WhyArgs),
    /// Say where the files of an image came from, and what is in it in vain
    Explain(ExplainArgs),
    /// Write a page about an image: its build, its sizes, secrets, packages, and whether it can start
    Report(ReportArgs),
    /// Compare two images: files, config and history
    Diff(DiffArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove names of images
    Rmi(RmiArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// Make an image of a file system archive
    Import(ImportArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Bring images into registries
    Push(PushArgs),
    /// Copy an image as it is between registries, layouts, archives and the store
    Copy(CopyArgs),
    /// Make one index of several images, and look at what a registry has
    #[command(subcommand, alias = "imagetools")]
    Index(IndexCommand),
    /// Sign images of registries with a key, as cosign does
    Sign(SignArgs),
    /// Keep the password of a registry, once it was tried there
    Login(LoginArgs),
    /// Forget the password of a registry
    Logout(LogoutArgs),
    /// Run a command in an image, or in what a directory builds
    Run(RunArgs),
    /// Look around in an image, also in one without a shell
    Debug(DebugArgs),
    /// Go where a step failed
    Shell(ShellArgs),
    /// Do the steps of an image again and tell what is not the same
    Verify(VerifyArgs),
    /// Write down what the names of a Dockerfile stand for now
    Update(UpdateArgs),
    /// Show what takes space in the store
    Du(DuArgs),
    /// Remove what is not needed from the store
    Prune(PruneArgs),
    /// Show what this machine allows
    Info(InfoArgs),
    /// Write completions for a shell
    Completion(CompletionArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Show the version
    Version,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The flags of every command.
    pub global: GlobalArgs,
    /// Whether the program was called under the name `docker`.
    pub docker: bool,
}

/// A command line after which there is nothing to do but to print something: help, or what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The text, with its line ends.
    pub text: String,
    /// Whether the text is what was asked for, and so belongs to standard output.
    pub asked: bool,
    /// The exit code.
    pub code: u8,
}

/// Reads the words of the command line, the name of the program first.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Stop> {
    let (words, docker) = invocation::normalise(words.into_iter().collect());
    let matches = switches_take_values(command()).try_get_matches_from(&words);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { global, command }) => Ok(Invocation { command, global, docker }),
        Err(error) => Err(stop(error, words, docker)),
    }
}

fn stop(mut error: clap::Error, words: Vec<OsString>, docker: bool) -> Stop {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let help = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.kind() == ErrorKind::DisplayHelp || error.kind() == help {
        // Help shows switches as people write them, without the value that they may have.
        error = command().try_get_matches_from(words).err().unwrap_or(error);
    }
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::SuggestedArg)
        && unsupported::is_unsupported(flag.trim_start_matches('-'))
    {
        error.remove(ContextKind::SuggestedArg);
    }
    let code = match (asked, docker) {
        (true, _) => exit::SUCCESS,
        (false, true) => exit::DOCKER_USAGE,
        (false, false) => exit::USAGE,
    };
    Stop { text: error.render().to_string(), asked, code }
}

/// Returns the description of the command line, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Lets every switch take a value after `=`, as Go's flag packages do: `--pull=false`. `-qt name` still
/// combines, because a value without `=` is not the switch's.
fn switches_take_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(ValueParser::new(fields::boolean))
    });
    command.mut_subcommands(switches_take_values)
}

#[cfg(test)]
mod tests;
