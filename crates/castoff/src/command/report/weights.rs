//! The layers of an image and of the stages of its build, file by file, and what of the stages was shipped.

use std::collections::{BTreeMap, BTreeSet};

use castoff_inspect::explain::{Origin, Tracer};
use castoff_inspect::sizes::{FileTable, Sizes};
use castoff_layer::Tree;
use castoff_oci::Platform;
use castoff_solver::SnapshotLayer;
use castoff_store::{LayerId, StepAction};
use serde_json::{Value, json};

use crate::command::explain::{self, Explained, StageLayer, Subject};

/// Files and directories that are named in a report; what is smaller is put together.
const MOST: usize = 200_000;

/// Bits of the mark of a file, below the number of its maker.
const IN_VAIN: u32 = 1;
const COPIED: u32 = 2;
const MAKER: u32 = 2;

/// Layers, and who made their files.
pub(super) struct Weights {
    /// Those of the image first, bottom to top, then those of the stages that were left behind.
    pub(super) layers: Vec<Value>,
    /// Who made the files that COPY brought.
    pub(super) makers: Vec<Value>,
}

/// A layer before its files are known.
struct Layer<'a> {
    /// The step that made it.
    step: Option<usize>,
    /// The image that it came with.
    base: Option<String>,
    /// Its stage; `None` when no build is known.
    stage: Option<String>,
    /// Its place among the layers of the image.
    shipped: Option<usize>,
    /// Bytes to tell when it is not on this machine.
    otherwise: Option<u64>,
    tree: Option<&'a Tree>,
}

/// The makers of files, each once.
#[derive(Default)]
struct Makers {
    numbers: BTreeMap<String, u32>,
    list: Vec<Value>,
    /// What of each step's or image's files went into the image.
    copied: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

impl Makers {
    /// Returns the number of the maker of a file, and remembers the file.
    fn number(&mut self, origin: &Origin) -> u32 {
        let value = explain::json::maker_json(&origin.maker);
        let key = value.to_string();
        self.copied.entry(key.clone()).or_default().insert(origin.path.clone());
        let next = self.list.len() as u32;
        *self.numbers.entry(key).or_insert_with(|| {
            self.list.push(value);
            next
        })
    }

    /// Returns the files of a layer that went into the image.
    fn copied_of(&self, layer: &Layer<'_>) -> Option<&BTreeSet<Vec<u8>>> {
        let maker = match (layer.step, &layer.base) {
            (Some(step), _) => json!({ "kind": "step", "step": step }),
            (None, Some(reference)) => json!({ "kind": "image", "reference": reference }),
            (None, None) => return None,
        };
        self.copied.get(&maker.to_string())
    }
}

/// Weighs the layers of the image, and those of the stages of its platform that it does not have.
pub(super) fn weigh(
    subject: &Subject<'_>,
    explained: &Explained<'_>,
    tracer: &mut Option<Tracer<'_>>,
) -> anyhow::Result<Weights> {
    let behind = left_behind(subject)?;
    let mut views = Vec::new();
    for (_, layer) in &behind {
        let is_here = subject.bodies.is_present(&layer.id);
        let stored = SnapshotLayer::Stored(layer.id.clone());
        views.push(is_here.then(|| subject.bodies.view_in_full(&[stored], subject.messenger)).transpose()?);
    }
    let mut makers = Makers::default();
    let mut layers: Vec<Layer<'_>> = Vec::new();
    let mut sizes = Sizes::new();
    let known = subject.build().is_some();
    for (place, tree) in subject.view.trees().enumerate() {
        let step = explained.step_of(place);
        let is_copy = step.is_some_and(|step| is_copy(subject, step));
        let base = if known && step.is_none() { explained.base() } else { None };
        let stage = subject.build().and_then(|(_, record, image)| {
            step.map_or(Some(image.root), Some).and_then(|step| record.steps[step].stage.clone())
        });
        let mut failed = None;
        sizes.layer(tree, &mut |path| {
            let file = explained.ledger.files.get(path);
            if file.is_none_or(|file| file.layer != place) {
                return Some(IN_VAIN);
            }
            if !is_copy || failed.is_some() {
                return None;
            }
            match explained.origin(tracer, place, path) {
                Ok(origin) => origin.map(|origin| (makers.number(&origin) + 1) << MAKER),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        layers.push(Layer { step, base, stage, shipped: Some(place), otherwise: None, tree: Some(tree) });
    }
    for ((stage, layer), view) in behind.into_iter().zip(&views) {
        let tree = view.as_ref().and_then(|view| view.trees().next());
        let layer = Layer {
            step: layer.maker.as_ref().ok().copied(),
            base: layer.maker.err(),
            stage: Some(stage),
            shipped: None,
            otherwise: layer.bytes,
            tree: tree.map(|tree| &**tree),
        };
        if let Some(tree) = layer.tree {
            let copied = makers.copied_of(&layer);
            sizes.layer(tree, &mut |path| {
                copied.is_some_and(|copied| copied.contains(path)).then_some(COPIED)
            })?;
        }
        layers.push(layer);
    }
    let mut tables = sizes.tables(MOST).into_iter();
    let layers = layers.into_iter().map(|layer| {
        let table = layer.tree.and_then(|_| tables.next());
        layer_json(subject, explained, &layer, table.as_ref())
    });
    Ok(Weights { layers: layers.collect(), makers: makers.list })
}

/// Returns the layers of stages that the image does not have, each once, with the first stage that has it.
fn left_behind(subject: &Subject<'_>) -> anyhow::Result<Vec<(String, StageLayer)>> {
    let Some((_, record, image)) = subject.build() else { return Ok(Vec::new()) };
    let platform: Option<Platform> = image.platform.parse().ok();
    let scale = subject.scale();
    let mut seen: BTreeSet<LayerId> =
        scale.layers_of(record, image.root)?.into_iter().map(|layer| layer.id).collect();
    let mut behind = Vec::new();
    for stage in record.stages.iter().filter(|stage| stage.platform.parse().ok() == platform) {
        for layer in scale.layers_of(record, stage.root)? {
            if !seen.insert(layer.id.clone()) {
                continue;
            }
            let step = layer.maker.as_ref().ok().and_then(|step| record.steps[*step].stage.clone());
            behind.push((step.unwrap_or_else(|| stage.name.clone()), layer));
        }
    }
    Ok(behind)
}

fn is_copy(subject: &Subject<'_>, step: usize) -> bool {
    subject.record().is_some_and(|record| matches!(record.steps[step].action, StepAction::Copy { .. }))
}

fn layer_json(
    subject: &Subject<'_>,
    explained: &Explained<'_>,
    layer: &Layer<'_>,
    table: Option<&FileTable>,
) -> Value {
    let top = |table: &FileTable| -> u64 {
        let roots = table.depth.iter().zip(&table.bytes).filter(|(depth, _)| **depth == 0);
        roots.map(|(_, bytes)| bytes).sum()
    };
    let instruction = layer.shipped.and_then(|place| explained.instruction_of(place));
    let name = match (layer.step, instruction) {
        (Some(step), _) => subject.record().map(|record| record.steps[step].name.clone()),
        (None, Some(instruction)) => Some(explain::text::told(explained, instruction)),
        (None, None) => layer.base.clone(),
    };
    json!({
        "name": name,
        "stage": layer.stage,
        "step": layer.step,
        "base": layer.base,
        "instruction": instruction,
        "shipped": layer.shipped.is_some(),
        "bytes": table.map(top).or(layer.otherwise),
        "files": table.map(table_json),
    })
}

fn table_json(table: &FileTable) -> Value {
    let rows = |bit: u32| -> Value {
        let marked =
            table.mark.iter().enumerate().filter(|(_, mark)| mark.is_some_and(|mark| mark & bit > 0));
        marked.map(|(row, _)| row).collect()
    };
    let maker = |mark: &Option<u32>| mark.and_then(|mark| (mark >> MAKER).checked_sub(1));
    let makers: Vec<Option<u32>> = table.mark.iter().map(maker).collect();
    json!({
        "depth": table.depth,
        "name": table.name,
        "bytes": table.bytes,
        "maker": makers.iter().any(Option::is_some).then_some(makers),
        "inVain": rows(IN_VAIN),
        "copied": rows(COPIED),
        "rests": table.rests,
    })
}
