//! What peers made of cases in earlier runs: they do not change, and asking them is what takes time.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::cases::{BASE_GROUP, Case};
use super::peer::Peer;
use super::{Made, context, world};

/// Results of one version of one peer, by everything that they depend on.
pub(super) struct Cache {
    directory: PathBuf,
    /// What all cases depend on.
    common: String,
}

impl Cache {
    pub(super) fn open(peer: &Peer<'_>, cases: &[Case]) -> Result<Cache> {
        let name = format!("{}-{}", peer.kind.name(), peer.version);
        let directory = world::directory().with_file_name("results").join(name);
        fs::create_dir_all(&directory)?;
        let bases = cases.iter().filter(|case| case.group == BASE_GROUP).map(|case| case.text.as_str());
        let common = format!("1\n{}{}", context::base_description(), bases.collect::<String>());
        Ok(Cache { directory, common })
    }

    /// Returns what was made of a case before.
    pub(super) fn load(&self, case: &Case) -> Option<Made> {
        serde_json::from_slice(&fs::read(self.path(case)).ok()?).ok()
    }

    /// Keeps what was made of a case by a run that began at `started`.
    pub(super) fn store(&self, case: &Case, made: &mut Made, started: i64) -> Result<()> {
        for node in made.image.iter_mut().flat_map(|image| &mut image.tree.nodes) {
            if node.mtime >= started {
                // The time of any run.
                node.mtime = i64::MAX;
            }
        }
        let path = self.path(case);
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(made)?)?;
        Ok(fs::rename(partial, path)?)
    }

    fn path(&self, case: &Case) -> PathBuf {
        let digest = Sha256::digest(format!("{}\n{}", self.common, case.description()));
        self.directory.join(format!("{}.json", hex::encode(digest)))
    }
}
