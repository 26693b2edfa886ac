//! Can the image start? What execve(2), the dynamic loader and common interpreters would do, foretold.
//!
//! A finding is [`Certain`](Certainty::Certain) when it follows from the rules of the kernel, the loader or the
//! runtime and from what is in the image; everything else is [`Likely`](Certainty::Likely), and what is neither is
//! not said. What a volume or an option of the runtime may bring in is not known here.

mod command;
mod elf;
mod files;
mod loader;
mod program;
mod script;
mod surroundings;
mod wanted;

use castoff_layer::{View, ViewError};
use castoff_oci::ImageConfig;

use files::Files;

/// An image that is to be started.
#[derive(Debug, Clone)]
pub struct StartCheck<'a> {
    /// Its files.
    pub view: &'a View,
    /// Its config.
    pub config: &'a ImageConfig,
    /// Who its process is.
    pub user: User,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// The config's user, looked up in the image.
    Known {
        /// User id.
        uid: u32,
        /// All groups, the primary one first.
        groups: Vec<u32>,
    },
    /// The image does not have the config's user; the text says what is missing.
    Unknown(String),
}

/// Something that keeps an image from starting or working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub rule: Rule,
    /// How sure it is.
    pub certainty: Certainty,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What another stage may have.
    pub wanted: Option<Wanted>,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It fails wherever the image is run as it is.
    Certain,
    /// It fails unless something that cannot be seen here helps.
    Likely,
}

/// What is missing in the image and may be found in another stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A shared library, by the name that the loader looks for.
    Library(String),
    /// A program, by the name that is looked for in `PATH`.
    Program(String),
    /// A file at an absolute path.
    File(String),
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The program is not in the image.
    ProgramMissing,
    /// The program may not be executed.
    ProgramNotExecutable,
    /// The program is neither a binary nor a script.
    UnknownFormat,
    /// The binary is for another architecture.
    WrongArchitecture,
    /// The loader that a binary asks for is not in the image.
    LoaderMissing,
    /// The interpreter that a script asks for is not in the image.
    InterpreterMissing,
    /// The first line of a script ends with a carriage return.
    CarriageReturn,
    /// A shared library is not found.
    LibraryMissing,
    /// A shared library is too old.
    LibraryTooOld,
    /// There is no shell for a shell-form instruction.
    ShellMissing,
    /// The user is not in the image.
    UserUnknown,
    /// The user may not read what the program needs.
    NotReadable,
    /// The working directory is not a directory.
    WorkingDirectory,
    /// The file that an interpreter is to run is not in the image.
    ScriptMissing,
    /// There are no certificates of authorities for TLS.
    CertificatesMissing,
    /// The time zone of `TZ` is not in the image.
    TimeZoneMissing,
    /// The program of the health check is not in the image.
    HealthcheckMissing,
    /// The image could not be looked at. Said by who starts the check, not by the check itself.
    Unjudged,
}

impl Rule {
    /// Returns the name that the rule has in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Rule::ProgramMissing => "program-missing",
            Rule::ProgramNotExecutable => "program-not-executable",
            Rule::UnknownFormat => "unknown-format",
            Rule::WrongArchitecture => "wrong-architecture",
            Rule::LoaderMissing => "loader-missing",
            Rule::InterpreterMissing => "interpreter-missing",
            Rule::CarriageReturn => "carriage-return",
            Rule::LibraryMissing => "library-missing",
            Rule::LibraryTooOld => "library-too-old",
            Rule::ShellMissing => "shell-missing",
            Rule::UserUnknown => "user-unknown",
            Rule::NotReadable => "not-readable",
            Rule::WorkingDirectory => "working-directory",
            Rule::ScriptMissing => "script-missing",
            Rule::CertificatesMissing => "certificates-missing",
            Rule::TimeZoneMissing => "time-zone-missing",
            Rule::HealthcheckMissing => "healthcheck-missing",
            Rule::Unjudged => "unjudged",
        }
    }

    /// Returns whether the image cannot start when the finding is certain. A health check that cannot run
    /// and what is asked for later let it start.
    pub fn stops_start(self) -> bool {
        !matches!(self, Rule::CertificatesMissing | Rule::TimeZoneMissing | Rule::HealthcheckMissing)
    }
}

impl Finding {
    fn certain(rule: Rule, message: String) -> Finding {
        Finding { rule, certainty: Certainty::Certain, message, hint: None, wanted: None }
    }

    fn likely(rule: Rule, message: String) -> Finding {
        Finding { certainty: Certainty::Likely, ..Finding::certain(rule, message) }
    }

    fn hint(self, hint: impl Into<String>) -> Finding {
        Finding { hint: Some(hint.into()), ..self }
    }

    fn wanted(self, wanted: Wanted) -> Finding {
        Finding { wanted: Some(wanted), ..self }
    }
}

impl StartCheck<'_> {
    /// Returns what keeps the image from starting, the surest first. An image that has nothing to start, as
    /// bases of other images, has no findings.
    ///
    /// # Errors
    /// When the files of the image cannot be read.
    pub fn run(&self) -> Result<Vec<Finding>, ViewError> {
        let mut findings = Vec::new();
        let config = &self.config.config;
        let argv = command::argv(config);
        if argv.is_empty() {
            return Ok(findings);
        }
        let user = match &self.user {
            User::Known { uid, groups } => Some((*uid, groups.as_slice())),
            User::Unknown(what) => {
                let message = format!("the user of the image cannot be found: {what}");
                let hint = "add the user in this stage, or give numbers: `USER 1000:1000`";
                findings.push(Finding::certain(Rule::UserUnknown, message).hint(hint));
                None
            }
        };
        let files = Files { view: self.view, user };
        command::working_directory(&files, config, &mut findings)?;
        let process = command::start(&files, self.config, &argv, &mut findings)?;
        surroundings::check(&files, self.config, process.as_ref(), &mut findings)?;
        command::health_check(&files, config, &mut findings)?;
        findings.sort_by_key(|finding| finding.certainty);
        Ok(findings)
    }
}
