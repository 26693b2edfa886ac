//! What is built: each workload is one or more rows of the table.

mod context;
mod growth;
mod layers;
mod steps;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::generate::{Files, Pool, files, text};
use super::limits::{Limit, StepTool};
use super::options::Options;
use super::registry::Registry;
use crate::command::{capture, which};

pub(super) use growth::{SERIES, Series};

/// A workload: its name, and how its inputs and rows are made.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Names of its rows, to know without making anything.
    pub(super) rows: &'static [&'static str],
    pub(super) make: fn(&Inputs<'_>) -> Result<Vec<Row>>,
}

/// In the order of the table.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload { name: "W1", rows: &["W1"], make: context::no_op },
    Workload { name: "W2", rows: &["W2", "W2r", "W2r-edit"], make: context::copy },
    Workload { name: "W3", rows: &["W3"], make: steps::in_a_row },
    Workload { name: "W4", rows: &["W4"], make: steps::parallel },
    Workload { name: "W5", rows: &["W5"], make: context::edit },
    Workload { name: "W6", rows: &["W6-store", "W6-archive", "W6-proof", "W6-push"], make: layers::export },
    Workload { name: "W7", rows: &["W7"], make: layers::copy_from },
    Workload { name: "W8", rows: &["W8-small", "W8-large"], make: layers::pull },
    Workload { name: "W9", rows: &["W9"], make: context::order },
    Workload { name: "W10", rows: &["W10"], make: steps::graph },
    Workload { name: "W11", rows: &["W11"], make: layers::ci },
    Workload { name: "W12", rows: &["W12-one", "W12-same", "W12-turns", "W12-many"], make: steps::many },
];

/// A line of the table: one question to every builder.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: String,
    /// With `{base:NAME}` for references of bases, `{nonce}` for a word that no build had before, and
    /// `{number}` for the number of a build among those that are asked for together.
    pub(super) dockerfile: String,
    pub(super) context: PathBuf,
    /// What a store has when it counts as empty.
    pub(super) kept: Vec<&'static str>,
    pub(super) before: Before,
    /// A file of the context that is another before every build.
    pub(super) edit: Option<PathBuf>,
    pub(super) asked: Asked,
    pub(super) builds: Builds,
    /// The bare work.
    pub(super) limit: Limit,
    /// What belongs to no builder: targets are about what is beyond its time.
    pub(super) beyond: Option<Limit>,
    pub(super) targets: Vec<Target>,
    /// What the layers of an archive would be if gzip had compressed them.
    pub(super) gzip_bytes: Option<u64>,
    /// Whether castoff looks for a secret in the result; the others cannot.
    pub(super) proves: bool,
    /// Whether castoff does it as an ordinary user too.
    pub(super) rootless: bool,
}

/// What a builder remembers when the time starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing but what is kept.
    Empty,
    /// Builds with other nonces.
    OtherNonces,
    /// The same build, of the files before the edit.
    Same,
}

/// What is asked for besides an image in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Archive,
    Push,
    /// The cache comes from the registry.
    Cache,
}

/// How many builds a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builds {
    One,
    Together(usize),
    InTurn(usize),
}

/// What castoff must reach, in the same run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// So much of the time of BuildKit.
    OfBuildKit(f64),
    /// So much of the time of the limit.
    OfLimit(f64),
    /// So much of the time of the limit, as an ordinary user.
    RootlessOfLimit(f64),
    /// So many seconds.
    Seconds(f64),
    /// So much of castoff's own time for another row.
    OfRow(&'static str, f64),
}

/// What workloads are made with.
pub(super) struct Inputs<'a> {
    pub(super) options: &'a Options,
    /// Cleared after each workload.
    pub(super) directory: PathBuf,
    pub(super) pool: Pool,
    pub(super) registry: &'a Registry,
    pub(super) step: StepTool,
    busybox: PathBuf,
    bases: RefCell<BTreeMap<&'static str, Vec<PathBuf>>>,
}

/// Programs of the base.
const APPLETS: &[&str] =
    &["cat", "cp", "echo", "find", "ls", "mkdir", "rm", "seq", "sh", "sleep", "sort", "true", "wc"];

impl<'a> Inputs<'a> {
    /// Makes what all workloads share.
    pub(super) fn prepare(options: &'a Options, registry: &'a Registry, place: &Path) -> Result<Inputs<'a>> {
        let busybox = place.join("busybox");
        fs::create_dir_all(busybox.join("bin"))?;
        let program = which("busybox").context("busybox-static is not installed (cargo xtask setup)")?;
        fs::copy(program, busybox.join("bin/busybox"))?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", busybox.join("bin").join(applet))?;
        }
        // What builders mount on, so that none leaves it behind.
        for directory in ["dev", "proc", "sys", "etc", "root", "run", "tmp"] {
            fs::create_dir(busybox.join(directory))?;
        }
        for file in ["hosts", "hostname", "resolv.conf"] {
            text(&busybox.join("etc").join(file), "")?;
        }
        fs::set_permissions(busybox.join("tmp"), PermissionsExt::from_mode(0o1777))?;
        text(&busybox.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        text(&busybox.join("etc/group"), "root:x:0:\n")?;
        let step = StepTool::compile(place, &busybox)?;
        let directory = place.join("inputs");
        let inputs = Inputs {
            options,
            directory,
            pool: Pool::new(),
            registry,
            step,
            busybox,
            bases: RefCell::default(),
        };
        inputs.base("base", Vec::new())?;
        Ok(inputs)
    }

    /// Makes an image of busybox and further layers, and returns its compressed layers.
    pub(super) fn base(&self, name: &'static str, mut layers: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        if let Some(known) = self.bases.borrow().get(name) {
            return Ok(known.clone());
        }
        layers.insert(0, self.busybox.clone());
        let packed = self.registry.push(name, &layers).with_context(|| format!("base `{name}`"))?;
        self.bases.borrow_mut().insert(name, packed.clone());
        Ok(packed)
    }

    /// Returns a text with the references of bases filled in.
    pub(super) fn with_bases(&self, dockerfile: &str) -> String {
        let mut filled = dockerfile.to_owned();
        for name in self.bases.borrow().keys() {
            filled = filled.replace(&format!("{{base:{name}}}"), &self.registry.reference(name));
        }
        filled
    }

    /// Makes files below the directory of inputs.
    fn files(
        &self,
        below: &str,
        count: u64,
        bytes: u64,
        seed: u64,
        endings: &[&str],
    ) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join(below);
        fs::create_dir_all(&directory)?;
        files(&directory, &self.pool, &Files { count, bytes, seed, endings })
    }

    /// Writes a list of paths for tools that read one.
    fn list(&self, name: &str, paths: impl Iterator<Item = PathBuf>) -> Result<PathBuf> {
        let file = self.directory.join(name);
        let lines: String = paths.map(|path| format!("{}\n", path.display())).collect();
        text(&file, &lines)?;
        Ok(file)
    }

    /// Makes an empty context.
    fn empty_context(&self) -> Result<PathBuf> {
        let directory = self.directory.join("empty");
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Removes what the last workload needed.
    pub(super) fn clear(&self) -> Result<()> {
        capture(Command::new("rm").args(["--recursive", "--force"]).arg(&self.directory)).map(drop)
    }
}

impl Row {
    /// A row that starts from nothing but the base, and asks for one image in the store.
    fn new(name: &'static str, title: String, dockerfile: String, context: &Path, limit: Limit) -> Row {
        Row {
            name,
            title,
            dockerfile,
            context: context.to_owned(),
            kept: vec!["base"],
            before: Before::Empty,
            edit: None,
            asked: Asked::Nothing,
            builds: Builds::One,
            limit,
            beyond: None,
            targets: Vec::new(),
            gzip_bytes: None,
            proves: false,
            rootless: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_of_its_workload() {
        for workload in WORKLOADS {
            for row in workload.rows {
                assert!(row.starts_with(workload.name), "{row}");
            }
        }
        assert_eq!(WORKLOADS.len(), 12);
    }
}
