//! Records of builds: which steps a build had, in which order, and what became of each.
//!
//! One file per build, written when the build has ended, however it ended. The newest [`BUILDS_KEPT`] stay. What
//! the steps mean is the caller's; the store only keeps what they printed from being pruned before them.

use castoff_oci::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::file::{FileError, files_below, random_name, read_json, remove_optional};
use crate::{LayerId, Store};

/// Version of the record's JSON; records of another one are absent to this castoff.
const BUILD_VERSION: u32 = 1;

/// Records of builds that are kept; older ones are removed when a new one is written.
pub const BUILDS_KEPT: usize = 100;

/// Builds of which it is kept what a failed step left; that of older ones goes when a new one is written.
pub const FAILURES_KEPT: usize = 3;

pub(crate) const BUILDS: &str = "builds";

/// The name of a build: when it began, and something random. Later builds have greater ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(String);

/// What is remembered of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// How it ended.
    pub outcome: BuildOutcome,
    /// Why it failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The Dockerfile as the user knows it.
    pub dockerfile: String,
    /// Its text, when it is text and not larger than a megabyte, without secrets and the credentials of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The build context: the absolute path of a directory; `None` for other contexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The stage that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was asked for, as far as it is needed to repeat the build; its meaning is the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Value>,
    /// Names that the result was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The images that came out, one for each platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<BuildImage>,
    /// Stages at their ends, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<BuildStage>,
    /// What was proved of secrets (`docs/secrets.md`), when somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<serde_json::Value>,
    /// Whether the images can start (`docs/startable.md`), for each that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<serde_json::Value>,
    /// The steps of the graph, inputs before what reads them, and then the builder's own work.
    pub steps: Vec<BuildStep>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOutcome {
    /// With its result.
    Done,
    /// Without.
    Failed,
    /// Somebody stopped it.
    Interrupted,
}

/// An image that came out of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildImage {
    /// What it is for.
    pub platform: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its config.
    pub config: Digest,
    /// The step whose file system it has, by its place among the steps.
    pub root: usize,
    /// For each entry that the build appended to its history, oldest first: the step that made its layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Option<usize>>,
}

/// A stage that a build needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStage {
    /// Its name, or `stage-N`.
    pub name: String,
    /// What it is for.
    pub platform: String,
    /// The step whose file system it has, by its place among the steps.
    pub root: usize,
}

/// What is remembered of a step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildStep {
    /// The number that progress shows, from 1; `None` when nothing was shown of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Its name in progress, such as `[build 2/4] RUN make`.
    pub name: String,
    /// Its stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The platform of what it runs or fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// First and last line in the Dockerfile, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u32, u32)>,
    /// What it does, as far as files are concerned.
    pub action: StepAction,
    /// The step whose file system it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// All steps that it reads, its parent among them, by their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<usize>,
    /// What became of it.
    pub verdict: Verdict,
    /// The key of its result; its record has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The shared cache that its result was found in by this build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Why no result was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why it failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began, in milliseconds since 1970; of a step that was found, when that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// The layer that it added; `None` when it added none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
    /// The digest of that layer's tar, when it was known at the end of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// Bytes of that tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Blob with everything that it printed in this build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Digest>,
    /// What it left when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<LeftState>,
}

/// What a step that failed left, so that somebody can look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftState {
    /// The layers that it stood on, bottom to top.
    pub lowers: Vec<LayerId>,
    /// What it had written.
    pub upper: LayerId,
    /// How its process was started; its meaning is the caller's.
    pub process: serde_json::Value,
}

/// What a step does with files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StepAction {
    /// Nothing at all is there.
    Scratch,
    /// An image.
    Image {
        /// Its name.
        reference: String,
        /// Digest of its manifest.
        manifest: Digest,
    },
    /// A directory of the caller's.
    Local {
        /// Its name; `None` is the build context.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Something that was fetched, such as a file or a repository.
    Fetched {
        /// From where, without credentials.
        address: String,
    },
    /// A process.
    Run {
        /// What its mounts show of other steps.
        mounts: Vec<StepRead>,
    },
    /// COPY or ADD.
    Copy {
        /// What is copied, in order; a here-document has no step.
        sources: Vec<StepRead>,
        /// Where to, absolute.
        destination: String,
        /// Whether source directories are made again.
        parents: bool,
        /// Whether local archives may be unpacked.
        unpack: bool,
        /// Whether what is below does not matter.
        link: bool,
    },
    /// Makes a directory.
    Workdir {
        /// Which, absolute.
        path: String,
    },
    /// The builder's own work.
    Internal,
}

/// What a step reads of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRead {
    /// The step, by its place; `None` for what is in the Dockerfile itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
    /// A path or wildcard relative to the root of that step's file system; the name of a here-document.
    pub path: String,
    /// Where a mount shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was executed.
    Executed,
    /// Its result was there.
    Cached,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It never began.
    NotReached,
}

/// Why a step was not found in any cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In a few words, as the build said it.
    pub text: String,
    /// The key of the earlier result that this one was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Digest>,
    /// What is different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Changes that were too many to keep.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// One difference between a step and an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What of.
    pub kind: ChangeKind,
    /// Which: the path of a file, or the part of the recipe (`docs/cache-keys.md`).
    pub name: String,
    /// What it was; `None` when it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; `None` when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What a [`Change`] is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A file that the step reads; values are digests.
    File,
    /// The step below.
    Parent,
    /// Anything else that is in the key.
    Part,
}

#[derive(Serialize, Deserialize)]
struct Stored<R> {
    version: u32,
    build: R,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl BuildId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that this text is, if it is one.
    fn parse(text: &str) -> Option<BuildId> {
        let (time, random) = text.split_once('-')?;
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        (is_hex(time, 12) && is_hex(random, 8)).then(|| BuildId(text.to_owned()))
    }
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Store {
    /// Writes the record of a build and removes the oldest beyond [`BUILDS_KEPT`].
    ///
    /// # Errors
    /// When it cannot be written, or an old one cannot be removed.
    pub fn put_build(&self, build: &BuildRecord) -> Result<BuildId, FileError> {
        let random = &random_name()[..8];
        let id = BuildId(format!("{:012x}-{random}", build.started_ms.clamp(0, 0xffff_ffff_ffff)));
        self.write_json(&build_path(&id), &Stored { version: BUILD_VERSION, build })?;
        if build.failure().is_some() {
            self.discard_failures()?;
        }
        let mut ids = self.build_ids()?;
        let surplus = ids.len().saturating_sub(BUILDS_KEPT);
        // The one just written stays, whatever the clock says.
        ids.retain(|other| *other != id);
        for old in &ids[..surplus.min(ids.len())] {
            remove_optional(&self.path(build_path(old)))?;
        }
        Ok(id)
    }

    /// Removes what failed steps left, but of the newest builds.
    fn discard_failures(&self) -> Result<(), FileError> {
        let mut kept = 0;
        for id in self.build_ids()?.iter().rev() {
            let Some(build) = self.build(id)? else { continue };
            let Some(left) = build.failure() else { continue };
            kept += 1;
            if kept > FAILURES_KEPT {
                self.discard_layer(&left.upper)?;
            }
        }
        Ok(())
    }

    /// Returns the builds that there are records of, the oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn build_ids(&self) -> Result<Vec<BuildId>, FileError> {
        let files = files_below(&self.path(BUILDS))?;
        let name =
            |path: &std::path::Path| BuildId::parse(path.file_name()?.to_str()?.strip_suffix(".json")?);
        let mut ids: Vec<BuildId> = files.iter().filter_map(|(path, _)| name(path)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Returns the record of a build, if it is there.
    ///
    /// # Errors
    /// When the file is there and cannot be read. One that cannot be parsed is removed and absent; one of
    /// another version is absent.
    pub fn build(&self, id: &BuildId) -> Result<Option<BuildRecord>, FileError> {
        let path = self.path(build_path(id));
        let Some(stored) = read_json::<Stored<serde_json::Value>>(&path)? else { return Ok(None) };
        if stored.version != BUILD_VERSION {
            return Ok(None);
        }
        let build = serde_json::from_value::<BuildRecord>(stored.build).ok().filter(BuildRecord::is_sound);
        if build.is_none() {
            remove_optional(&path)?;
        }
        Ok(build)
    }

    /// Returns the newest build that an image came out of, with what its record says of the image. The image is known
    /// by either digest: another compression of its layers makes another manifest of the same config.
    ///
    /// # Errors
    /// As [`Store::build`].
    pub fn build_of_image(
        &self,
        manifest: Digest,
        config: Digest,
    ) -> Result<Option<(BuildId, BuildRecord, BuildImage)>, FileError> {
        for id in self.build_ids()?.into_iter().rev() {
            let Some(record) = self.build(&id)? else { continue };
            let is_it = |image: &&BuildImage| image.manifest == manifest || image.config == config;
            if let Some(image) = record.images.iter().find(is_it).cloned() {
                return Ok(Some((id, record, image)));
            }
        }
        Ok(None)
    }
}

impl BuildRecord {
    /// Returns what the step left that made the build fail.
    pub fn failure(&self) -> Option<&LeftState> {
        self.steps.iter().find_map(|step| step.left.as_ref())
    }

    /// Returns whether every place that it names is that of a step, and inputs come first.
    fn is_sound(&self) -> bool {
        let count = self.steps.len();
        let reads = |action: &StepAction| -> Vec<usize> {
            match action {
                StepAction::Run { mounts: reads } | StepAction::Copy { sources: reads, .. } => {
                    reads.iter().filter_map(|read| read.from).collect()
                }
                _ => Vec::new(),
            }
        };
        let ordered = self.steps.iter().enumerate().all(|(place, step)| {
            let inputs = step.inputs.iter().copied().chain(step.parent).chain(reads(&step.action));
            inputs.into_iter().all(|input| input < place)
        });
        let roots = self.images.iter().map(|image| image.root);
        let made = self.images.iter().flat_map(|image| image.history.iter().copied().flatten());
        ordered
            && roots.chain(made).chain(self.stages.iter().map(|stage| stage.root)).all(|root| root < count)
    }
}

pub(crate) fn build_path(id: &BuildId) -> String {
    format!("{BUILDS}/{id}.json")
}
