//! The flags of the commands that tell what was built, and how.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ReportFormat;

/// `castoff builds`.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildsArgs {
    /// Show the steps of this build: @last, or the beginning of an id
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// How they are shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff log`.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// The step: its number (#5), its place (build 2/4), its key, or a piece of the instruction
    #[arg(value_name = "STEP")]
    pub step: String,
    /// The build that it is a step of: @last, or the beginning of an id [default: @last]
    #[arg(long, value_name = "BUILD")]
    pub build: Option<String>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff why`.
#[derive(Debug, Clone, Default, Args)]
pub struct WhyArgs {
    /// A step: its number (#5), its place (build 2/4), its key, or a piece of the instruction; or a file of the
    /// build context
    #[arg(value_name = "STEP|FILE")]
    pub subject: String,
    /// It is a file
    #[arg(long, conflicts_with = "step")]
    pub file: bool,
    /// It is a step
    #[arg(long)]
    pub step: bool,
    /// The build that is asked about: @last, or the beginning of an id [default: @last]
    #[arg(long, value_name = "BUILD")]
    pub build: Option<String>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff diff`.
#[derive(Debug, Clone, Default, Args)]
pub struct DiffArgs {
    /// The image before
    #[arg(value_name = "IMAGE")]
    pub before: String,
    /// The image after
    #[arg(value_name = "IMAGE")]
    pub after: String,
    /// Compare times of files, of the config and of the history, too
    #[arg(long)]
    pub times: bool,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff verify`.
#[derive(Debug, Clone, Default, Args)]
pub struct VerifyArgs {
    /// The image
    #[arg(value_name = "IMAGE", required_unless_present = "cache")]
    pub image: Option<String>,
    /// Do this part of the cached steps again, such as 10%, of the image or of all builds that are remembered
    #[arg(long, value_name = "N%", require_equals = true)]
    pub cache: Option<String>,
    /// Choose the same steps as the audit that said this number
    #[arg(long, value_name = "NUMBER", requires = "cache")]
    pub seed: Option<u64>,
    /// Whether times of files count [default: true; with --cache, false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub times: Option<String>,
    /// A secret that the build was given: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub secret: Vec<String>,
    /// An ssh agent that the build was given: default|ID[=SOCKET|KEY[,KEY...]]
    #[arg(long, value_name = "SPEC", allow_hyphen_values = true)]
    pub ssh: Vec<String>,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// How the answer is given
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// How progress is shown: auto, tty, plain, quiet, none or rawjson
    #[arg(long, value_name = "MODE", allow_hyphen_values = true)]
    pub progress: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `castoff explain`.
#[derive(Debug, Clone, Default, Args)]
pub struct ExplainArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Tell of this path alone
    #[arg(value_name = "/PATH")]
    pub path: Option<String>,
    /// List every file
    #[arg(long, conflicts_with = "path")]
    pub files: bool,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `castoff report`.
#[derive(Debug, Clone, Default, Args)]
pub struct ReportArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A page for people, or the same as JSON
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportForm,
    /// Of an image for several platforms: which one
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// How `castoff report` tells what it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    /// One page that needs no other file.
    #[default]
    Html,
    /// The data of the page (docs/report.md).
    Json,
}
