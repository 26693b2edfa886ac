//! Everything the outside may know about the progress of a build. A closed set.
//!
//! Events are sent in the order in which they happen. They carry no time: whoever listens stamps
//! them on receipt.

use castoff_graph::CacheKey;
use castoff_oci::Digest;
use castoff_store::{LayerId, LeftState, Reason};

/// Identifies a step in events: vertices of the graph and the builder's own work alike. Numbers are
/// dense and start at 0; they are not the `#N` of plain progress, which is given at first output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step is known and will be needed. Sent once per step, before any other event of it.
    Planned {
        /// The step.
        step: StepId,
        /// Its name, such as `[builder 3/5] RUN npm ci`.
        name: String,
        /// Stable digest of what it does, for rawjson.
        digest: Digest,
        /// Digests of the steps it reads.
        inputs: Vec<Digest>,
    },
    /// Work on a step has begun. A step served from the cache may have no `Started`.
    Started {
        /// The step.
        step: StepId,
    },
    /// A process of a step wrote something.
    Output {
        /// The step.
        step: StepId,
        /// Which of the two streams.
        stream: OutputStream,
        /// Bytes as they came; lines may be split anywhere.
        bytes: Vec<u8>,
    },
    /// A part of a step moved on, such as a download or `exporting layers`.
    Status {
        /// The step.
        step: StepId,
        /// What moves, such as `sha256:...`, `transferring context` or `exporting layers`.
        item: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
        /// Whether this part has ended.
        done: bool,
    },
    /// One line about a step that is not output of its process, such as why the cache missed.
    Note {
        /// The step.
        step: StepId,
        /// The line.
        text: String,
    },
    /// Something about a step that is remembered and not shown.
    Fact {
        /// The step.
        step: StepId,
        /// What is known.
        fact: Fact,
    },
    /// A step has ended.
    Finished {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A warning; shown when it comes and summed up at the end.
    Warning {
        /// The step it concerns.
        step: Option<StepId>,
        /// Name of the build check, when it is one.
        rule: Option<String>,
        /// The text.
        text: String,
        /// Line of the Dockerfile, from 1.
        line: Option<u32>,
    },
}

/// Something about a step for the record of its build. A later fact of a kind replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// No result was found under this key.
    Missed {
        /// The key.
        key: CacheKey,
        /// Why, when an earlier result is known.
        reason: Option<Reason>,
    },
    /// A shared cache had the result.
    FoundIn {
        /// How the user knows the cache.
        cache: String,
    },
    /// What the step printed is in this blob.
    Log(Digest),
    /// The step failed and left this.
    Left(Box<LeftState>),
    /// The step has a result.
    Result {
        /// Its key; sources have none.
        key: Option<CacheKey>,
        /// The layer that it added.
        layer: Option<LayerId>,
    },
}

/// The streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed.
    Done,
    /// An existing result was used.
    Cached,
    /// It failed.
    Failed {
        /// The error's text in one line.
        message: String,
    },
    /// It was stopped because another step failed or the user asked.
    Cancelled,
}
