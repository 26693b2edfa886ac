//! Why a step fails.

use std::io;
use std::path::PathBuf;

use castoff_graph::pattern::PatternError;
use castoff_oci::Digest;
use castoff_sandbox::Status;
use castoff_store::LockError;

use crate::bodies::BodyError;
use crate::copy::CopyError;
use crate::fetch::FetchError;
use crate::guard::GuardError;
use crate::passwd::UserError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The process of a RUN ended badly (D-141).
    #[error("process \"{command}\" did not complete successfully: {}", ending(status))]
    Process {
        /// Arguments joined by blanks.
        command: String,
        /// How it ended.
        status: Status,
    },
    /// The process could not be started.
    #[error("running the step: {0}")]
    Sandbox(#[from] castoff_sandbox::RunError),
    /// A COPY or ADD failed.
    #[error("{0}")]
    Copy(#[from] CopyError),
    /// An exclude pattern is malformed.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// A user or group is unknown.
    #[error("{0}")]
    User(#[from] UserError),
    /// A layer could not be fetched, unpacked or read.
    #[error("{}", chain(.0))]
    Body(#[from] BodyError),
    /// A file system could not be looked into.
    #[error("{0}")]
    View(#[from] castoff_layer::ViewError),
    /// A file could not be read.
    #[error("reading `{path}`: {source}")]
    ReadFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory of the machine could not be used.
    #[error("using `{}`: {source}", path.display())]
    Machine {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Files for a mount could not be laid out.
    #[error("{0}")]
    Tree(#[from] crate::export::tree::TreeExportError),
    /// What the step printed could not be kept.
    #[error("{0}")]
    Log(#[from] crate::execute::LogError),
    /// A layer's tar could not be written.
    #[error("writing the layer: {0}")]
    Tar(#[from] castoff_layer::TarWriteError),
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// The store failed.
    #[error("using the store: {0}")]
    File(#[from] castoff_store::FileError),
    /// Something could not be fetched.
    #[error("{0}")]
    Fetch(FetchError),
    /// A document of an image is not in the store.
    #[error("image document `{digest}` is not in the store")]
    MissingDocument {
        /// Which.
        digest: Digest,
    },
    /// A document of an image is not what it should be.
    #[error("image document `{digest}` is malformed: {source}")]
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An image's manifest and config disagree.
    #[error("image `{manifest}` has {layers} layers but its config lists {diff_ids}")]
    LayerCount {
        /// Which image.
        manifest: Digest,
        /// Layers of the manifest.
        layers: usize,
        /// Diff ids of the config.
        diff_ids: usize,
    },
    /// A local directory was not given.
    #[error("context `{name}` is not a local directory of this build")]
    UnknownContext {
        /// Which.
        name: String,
    },
    /// A secret is required and was not given (D-169).
    #[error("secret {id}: not found")]
    SecretNotFound {
        /// Which.
        id: String,
    },
    /// An ssh agent is required and was not given (D-173).
    #[error("no SSH key \"{id}\" forwarded from the client: forward an agent with `--ssh {id}`")]
    AgentNotFound {
        /// Which.
        id: String,
    },
    /// An ssh agent could not be offered to the step.
    #[error("forwarding the ssh agent `{id}`: {source}")]
    Agent {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The step left a secret behind.
    #[error("{}", chain(.0))]
    Guard(#[from] GuardError),
    /// A bind or cache source does not exist.
    #[error("mount source \"{path}\": not found")]
    MountSource {
        /// Which.
        path: String,
    },
    /// A path that must be a directory is something else.
    #[error("`{path}` exists and is not a directory")]
    NotADirectory {
        /// Which path.
        path: String,
    },
    /// The machine cannot do what the step asks for.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    /// The build was stopped.
    #[error("the build was stopped")]
    Cancelled,
}

impl From<LockError> for StepError {
    fn from(error: LockError) -> StepError {
        match error {
            LockError::Cancelled => StepError::Cancelled,
            LockError::File(error) => StepError::File(error),
        }
    }
}

impl From<FetchError> for StepError {
    fn from(error: FetchError) -> StepError {
        match error {
            FetchError::Cancelled => StepError::Cancelled,
            error => StepError::Fetch(error),
        }
    }
}

fn ending(status: &Status) -> String {
    match status {
        Status::Code(code) => format!("exit code: {code}"),
        // The number is that of a shell, for which logs are searched.
        Status::Signal(signal) => format!("exit code: {} (killed by signal {signal})", 128 + signal),
        Status::Cancelled => "stopped".to_owned(),
        Status::TimedOut => "timed out".to_owned(),
    }
}

/// Returns an error and its causes in one line, outermost first. A cause that is in the text already, which
/// an error that wraps another may repeat, is not said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// Returns whether an error says, in the end, that nobody reads what was written into a pipe. Of two ends of a pipe
/// that failed, the other one then knows why.
pub fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // What an I/O error is made of is not its source.
        let inner = error.get_ref().is_some_and(|inner| is_broken_pipe(inner));
        if inner || error.kind() == io::ErrorKind::BrokenPipe {
            return true;
        }
    }
    error.source().is_some_and(is_broken_pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_found_below_other_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("writing")]
        struct Writing(#[source] io::Error);
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&broken()));
        assert!(is_broken_pipe(&Writing(broken())));
        assert!(is_broken_pipe(&io::Error::other(Writing(broken()))));
        assert!(!is_broken_pipe(&Writing(io::Error::other("full"))));
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::from_raw_os_error(28);
        let repeated = StepError::ReadFile { path: "x".to_owned(), source: cause() };
        assert_eq!(chain(&repeated), format!("reading `x`: {}", cause()));
        #[derive(Debug, thiserror::Error)]
        #[error("writing `y`")]
        struct Silent(#[source] io::Error);
        assert_eq!(chain(&Silent(cause())), format!("writing `y`: {}", cause()));
    }

    #[test]
    fn a_death_by_signal_has_the_exit_code_of_a_shell() {
        // D-141.
        let error = StepError::Process { command: "make".to_owned(), status: Status::Signal(9) };
        let message = "process \"make\" did not complete successfully: exit code: 137 (killed by signal 9)";
        assert_eq!(error.to_string(), message);
    }
}
