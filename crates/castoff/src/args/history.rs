//! The flags of the commands that tell what was built, and how.

use clap::Args;

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
