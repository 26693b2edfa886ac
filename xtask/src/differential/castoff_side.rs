//! castoff's side of the comparison, used through its command line.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::Result;

use super::cases::Case;
use super::peer::outcome;
use super::{Builder, Outcome, world};
use crate::castoff::Castoff;
use crate::command::capture;
use crate::peers::image::{Image, Reader};

/// castoff with a store of its own.
pub(super) struct CastoffSide {
    castoff: Castoff,
    reader: Mutex<Reader>,
}

impl CastoffSide {
    pub(super) fn new(castoff: Castoff) -> CastoffSide {
        CastoffSide { castoff, reader: Mutex::default() }
    }
}

impl Builder for CastoffSide {
    fn import(&self, tar: &Path, name: &str) -> Result<()> {
        self.castoff.import(tar, name)
    }

    fn build(&self, case: &Case) -> Result<Outcome> {
        let mut command = self.castoff.command();
        command.args(["build", "--progress", "plain", "--network", "none", "-t", &case.image(), "-f"]);
        command.arg(case.dockerfile()).args(&case.arguments).arg(case.context()).stdin(Stdio::null());
        outcome(&mut command)
    }

    fn images(&self, cases: &[&Case]) -> Result<BTreeMap<String, Image>> {
        let file = world::directory().join("castoff.tar");
        let mut reader = self.reader.lock().expect("no panic");
        let mut images = BTreeMap::new();
        for case in cases {
            let mut command = self.castoff.command();
            capture(command.args(["save", "--format", "docker", "-o"]).arg(&file).arg(case.image()))?;
            images.extend(reader.read(&file)?.into_values().map(|image| (case.name.clone(), image)));
        }
        Ok(images)
    }

    fn name(&self) -> &'static str {
        "castoff"
    }

    fn jobs(&self) -> usize {
        2
    }
}
