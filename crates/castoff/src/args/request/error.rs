//! What can be wrong with a request.

use castoff_oci::{PlatformError, ReferenceError};

use crate::args::fields::FieldError;
use crate::args::{
    AnnotationError, AttestError, CacheError, CallError, ContextError, OutputError, SecretError, SshError,
    StepFlagError,
};

/// Why a build cannot be done as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A flag that is known but not built yet.
    #[error("`--{0}` is not supported yet")]
    Unsupported(&'static str),
    /// A variable that is known but does nothing yet, and would be missed.
    #[error("{0} is not supported yet: unset it to build without")]
    UnsupportedVariable(&'static str),
    /// Several platforms where the user wants one.
    #[error("BUILDKIT_MULTI_PLATFORM is false, and several platforms are to be built")]
    SeveralPlatforms,
    /// A Docker archive of an index.
    #[error(
        "a docker archive holds one image, and this build makes an index: use type=oci, or name one platform"
    )]
    DockerIndex,
    /// A value that its flag does not take.
    #[error("invalid value `{value}` for `--{flag}`")]
    Value {
        /// The flag without its dashes.
        flag: &'static str,
        /// The value as written; of a build argument only the name.
        value: String,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// Two flags that exclude each other.
    #[error("{0} and {1} cannot be used together")]
    Conflict(&'static str, &'static str),
    /// Standard input is needed for two things.
    #[error("the Dockerfile and the context cannot both come from standard input")]
    StdinTwice,
    /// Two outputs on standard output.
    #[error("only one output can be written to standard output")]
    StdoutTwice,
    /// An archive would be written to a terminal.
    #[error("refusing to write an archive to a terminal: give a dest or redirect standard output")]
    StdoutTerminal,
    /// An image id where there is none.
    #[error("`--iidfile` needs an image, and this output is files")]
    IidfileOfFiles,
    /// `--progress=tty` without a terminal.
    #[error("progress mode `tty` needs a terminal on standard error")]
    NoTerminal,
    /// A network is needed for what was asked for, and none may be used.
    #[error("{0} needs a network, and this is an offline run (--offline or CASTOFF_OFFLINE)")]
    Offline(&'static str),
    /// The variable is set to something else.
    #[error("CASTOFF_OFFLINE is no boolean: expected true or false")]
    OfflineVariable,
    /// A push without a name.
    #[error("tag is needed when pushing to registry")]
    PushWithoutName,
}

/// What is wrong with the value of a flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The fields of a value.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// An image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A name of a result with a digest.
    #[error("a name of a result cannot have a digest")]
    TagWithDigest,
    /// A platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// An output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An annotation.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// An attestation.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// A call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A shared cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An ssh agent.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// A host, limit, network or entitlement.
    #[error(transparent)]
    Step(#[from] StepFlagError),
    /// A name that is empty.
    #[error("the name is empty")]
    EmptyName,
    /// Not a policy for pulling.
    #[error("expected always, missing, newer or never")]
    Pull,
    /// Not a progress mode.
    #[error("expected auto, tty, plain, quiet, none or rawjson")]
    Progress,
}
