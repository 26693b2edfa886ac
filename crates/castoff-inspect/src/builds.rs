//! Records of builds, read: which build and step somebody means, why a step ran, which steps a file is read by.

mod course;
mod name;
mod readers;

use std::collections::BTreeSet;

use castoff_store::{BuildId, BuildRecord, ChangeKind, FileError, StepAction, Store, Verdict};

pub use course::{longest_way, waited_for};
pub use name::{StepName, StepNameError, find_step};
pub(crate) use readers::files;
pub use readers::{Reader, readers};

/// Why a build could not be found.
#[derive(Debug, thiserror::Error)]
pub enum BuildNameError {
    /// No build is remembered.
    #[error("no build is remembered in this store: `castoff build` leaves a record of each")]
    None,
    /// No build has this name.
    #[error("no build `{0}` is remembered: `castoff builds` lists those that are")]
    Unknown(String),
    /// Several builds have an id that begins so.
    #[error("`{name}` is the beginning of {count} ids of builds")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// The store could not be read.
    #[error("using the store: {0}")]
    File(#[from] FileError),
}

/// Finds a build: `@last`, or the beginning of an id.
///
/// # Errors
/// When there is none or are several, or the store cannot be read.
pub fn find_build(store: &Store, name: &str) -> Result<(BuildId, BuildRecord), BuildNameError> {
    let ids = store.build_ids()?;
    if name == "@last" {
        for id in ids.into_iter().rev() {
            if let Some(build) = store.build(&id)? {
                return Ok((id, build));
            }
        }
        return Err(BuildNameError::None);
    }
    let found: Vec<BuildId> =
        ids.into_iter().filter(|id| !name.is_empty() && id.as_str().starts_with(name)).collect();
    match &found[..] {
        [] => Err(BuildNameError::Unknown(name.to_owned())),
        [id] => match store.build(id)? {
            Some(build) => Ok((id.clone(), build)),
            None => Err(BuildNameError::Unknown(name.to_owned())),
        },
        several => Err(BuildNameError::Ambiguous { name: name.to_owned(), count: several.len() }),
    }
}

/// What follows from a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followers {
    /// Steps that stand on it, which run whenever it does.
    pub certain: Vec<usize>,
    /// Steps that read what it or those make, which run when that becomes something else.
    pub possible: Vec<usize>,
}

/// Returns the steps that run again when some steps do, these not among them.
pub fn followers(build: &BuildRecord, of: &[usize]) -> Followers {
    let mut found = Followers::default();
    // Whose file system is another one for certain, and whose may be.
    let mut changed: BTreeSet<usize> = of.iter().copied().collect();
    let mut touched = changed.clone();
    for (place, step) in build.steps.iter().enumerate() {
        if of.contains(&place) {
            continue;
        }
        if step.parent.is_some_and(|parent| changed.contains(&parent)) {
            changed.insert(place);
            touched.insert(place);
            // One that stands alone is the same on top of something else.
            if !stands_alone(&step.action) {
                found.certain.push(place);
                continue;
            }
        }
        let reads =
            step.inputs.iter().filter(|input| !stands_alone(&step.action) || Some(**input) != step.parent);
        if reads.into_iter().any(|input| touched.contains(input)) {
            touched.insert(place);
            found.possible.push(place);
        }
    }
    found
}

/// Whether the key of a step says nothing of what is below it.
fn stands_alone(action: &StepAction) -> bool {
    matches!(action, StepAction::Copy { link: true, .. })
}

/// Returns the steps that made a step run, itself first: its parent, as long as nothing else was different.
pub fn causes(build: &BuildRecord, step: usize) -> Vec<usize> {
    let mut chain = vec![step];
    let mut current = step;
    loop {
        let here = &build.steps[current];
        let only_parent = here.reason.as_ref().is_some_and(|reason| {
            !reason.changes.is_empty()
                && reason.changes.iter().all(|change| change.kind == ChangeKind::Parent)
        });
        match here.parent {
            // Inputs come first, so this ends.
            Some(parent) if only_parent && build.steps[parent].verdict == Verdict::Executed => {
                chain.push(parent);
                current = parent;
            }
            _ => return chain,
        }
    }
}
