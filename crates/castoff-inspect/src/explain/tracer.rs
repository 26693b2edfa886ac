//! Following a file back through the stages of its build.

use std::collections::BTreeMap;

use castoff_layer::{View, ViewError};
use castoff_store::{BuildRecord, StepAction, StepRead, Store};

use super::source::{Source, Space, relative};
use crate::builds::{BuildNameError, files};

/// The file system of a step.
#[derive(Debug, Clone)]
pub struct StageView {
    /// Its layers, seen as one.
    pub view: View,
    /// For each layer, bottom to top: the step that made it; `None` is a layer of the base image.
    pub makers: Vec<Option<usize>>,
}

/// Gives the file systems of steps by their places; `None` when a layer of one is not on this machine any more.
pub type Stages<'a> = dyn FnMut(usize) -> Option<StageView> + 'a;

/// Where a file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Each COPY that it went through, the last first.
    pub through: Vec<Hop>,
    /// What made it.
    pub maker: Maker,
    /// Its path where it was made, or in the context.
    pub path: Vec<u8>,
}

/// A COPY that a file went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The step, by its place.
    pub step: usize,
    /// Where it put the file.
    pub path: Vec<u8>,
}

/// What made a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// The step at this place, while it ran.
    Step(usize),
    /// It was in the build context, or in the named one.
    Context(Option<String>),
    /// It was in an archive of the build context or of a stage, at the path of the origin.
    Archive,
    /// It is written in the Dockerfile.
    Inline,
    /// It was fetched from this address.
    Fetched(String),
    /// It was in this image.
    Image(String),
    /// It came from this step, of which nothing is known any more.
    Lost(usize),
}

/// Why a file could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file system could not be read.
    #[error("{0}")]
    View(#[from] ViewError),
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] BuildNameError),
}

/// Follows files, and remembers what it learned on the way.
pub struct Tracer<'a> {
    build: &'a BuildRecord,
    store: &'a Store,
    stages: &'a mut Stages<'a>,
    views: BTreeMap<usize, Option<StageView>>,
    sources: BTreeMap<(usize, usize), Source>,
}

impl<'a> Tracer<'a> {
    /// Returns who follows files of a build.
    pub fn new(build: &'a BuildRecord, store: &'a Store, stages: &'a mut Stages<'a>) -> Tracer<'a> {
        Tracer { build, store, stages, views: BTreeMap::new(), sources: BTreeMap::new() }
    }

    /// Returns where a file came from that a step put to a path.
    ///
    /// # Errors
    /// When a file system or the store cannot be read.
    pub fn trace(&mut self, step: usize, path: &[u8]) -> Result<Origin, TraceError> {
        let mut through = Vec::new();
        let (mut step, mut path) = (step, path.to_vec());
        // Each round goes to an earlier step.
        loop {
            let build = self.build;
            let (sources, destination, parents, unpack) = match &build.steps[step].action {
                StepAction::Copy { sources, destination, parents, unpack, .. } => {
                    (sources, destination, *parents, *unpack)
                }
                _ => return Ok(Origin { through, maker: Maker::Step(step), path }),
            };
            let relative: Vec<Vec<u8>> =
                relative(&path, destination.as_bytes()).into_iter().map(<[u8]>::to_vec).collect();
            let found = self.source(step, sources, &relative, parents)?;
            let archive = || sources.iter().position(|source| source.from.is_some()).filter(|_| unpack);
            through.push(Hop { step, path: path.clone() });
            let (read, source, unpacked) = match found {
                Some((index, source)) => (&sources[index], source, false),
                None => match archive() {
                    Some(index) => {
                        let source = self.sources.get(&(step, index)).and_then(Source::first);
                        (&sources[index], source.unwrap_or_default(), true)
                    }
                    // A directory on the way to something, which COPY made itself.
                    None => {
                        through.pop();
                        return Ok(Origin { through, maker: Maker::Step(step), path });
                    }
                },
            };
            let Some(from) = read.from else {
                return Ok(Origin { through, maker: Maker::Inline, path: read.path.clone().into_bytes() });
            };
            if unpacked {
                return Ok(Origin { through, maker: Maker::Archive, path: source });
            }
            path = source;
            match &build.steps[from].action {
                StepAction::Local { name } => {
                    return Ok(Origin { through, maker: Maker::Context(name.clone()), path });
                }
                StepAction::Fetched { address } => {
                    return Ok(Origin { through, maker: Maker::Fetched(address.clone()), path });
                }
                _ => {}
            }
            let Some(stage) = self.view(from) else {
                return Ok(Origin { through, maker: Maker::Lost(from), path });
            };
            let node = stage.view.lookup(&path)?;
            let tree = node.and_then(|node| stage.view.tree_of(&node));
            match tree.and_then(|tree| stage.makers.get(tree).copied().flatten()) {
                Some(maker) if maker < step => step = maker,
                _ => return Ok(Origin { through, maker: self.base(from), path }),
            }
        }
    }

    /// Finds which source put a file there; the last that could have done it did. Here-documents come after the others.
    fn source(
        &mut self,
        step: usize,
        reads: &[StepRead],
        relative: &[Vec<u8>],
        parents: bool,
    ) -> Result<Option<(usize, Vec<u8>)>, TraceError> {
        let is_inline = |read: &StepRead| {
            read.from.is_none()
                && relative.first().is_none_or(|_| relative.iter().any(|rest| *rest == read.path.as_bytes()))
        };
        if let Some(index) = reads.iter().rposition(is_inline) {
            return Ok(Some((index, Vec::new())));
        }
        let relative: Vec<&[u8]> = relative.iter().map(Vec::as_slice).collect();
        for (index, read) in reads.iter().enumerate().rev() {
            let Some(from) = read.from else { continue };
            if !self.sources.contains_key(&(step, index)) {
                let space = self.space(step, from)?;
                self.sources.insert((step, index), Source::new(read, space)?);
            }
            if let Some(path) = self.sources[&(step, index)].find(&relative, parents)? {
                return Ok(Some((index, path)));
            }
        }
        Ok(None)
    }

    fn space(&mut self, step: usize, from: usize) -> Result<Space, TraceError> {
        if let StepAction::Local { .. } = self.build.steps[from].action {
            let files = files(self.store, self.build.steps[step].key)?;
            return Ok(files.map_or(Space::Unknown, Space::Files));
        }
        Ok(self.view(from).map_or(Space::Unknown, |stage| Space::View(stage.view)))
    }

    fn view(&mut self, step: usize) -> Option<StageView> {
        if let Some(known) = self.views.get(&step) {
            return known.clone();
        }
        let view = (self.stages)(step);
        self.views.insert(step, view.clone());
        view
    }

    /// Returns what is at the bottom of a step's file system.
    fn base(&self, step: usize) -> Maker {
        let mut current = step;
        while let Some(parent) = self.build.steps[current].parent {
            current = parent;
        }
        match &self.build.steps[current].action {
            StepAction::Image { reference, .. } => Maker::Image(reference.clone()),
            StepAction::Fetched { address } => Maker::Fetched(address.clone()),
            StepAction::Local { name } => Maker::Context(name.clone()),
            _ => Maker::Lost(step),
        }
    }
}
