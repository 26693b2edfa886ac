//! `castoff explain`.

pub(super) mod json;
pub(super) mod text;

use std::collections::BTreeMap;

use castoff_inspect::explain::{Ledger, Maker, Origin, PackageCache, StageView, Tracer, package_caches};
use castoff_layer::View;
use castoff_oci::{Digest, Platform};
use castoff_solver::{Bodies, Messenger, SnapshotLayer, World};
use castoff_store::{BuildId, BuildImage, BuildRecord, LayerId, StepAction};

use super::Context;
use crate::args::{ExplainArgs, ReportFormat};
use crate::image::{self, Named};

/// Files that are named without being asked for.
const LARGEST: usize = 10;

pub(super) fn explain(args: &ExplainArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let world = &session.world;
    let platform = super::platform(args.platform.as_deref())?;
    let named = image::find(&world.store, &args.image, platform.as_ref())?;
    let bodies = Bodies::new(world);
    let (messenger, _events) = Messenger::channel();
    let subject = Subject::open(&args.image, &named, world, &bodies, &messenger)?;
    let asked = args.path.as_deref().map(|path| castoff_graph::pattern::clean(path.as_bytes()));
    let mut explained = subject.explain(asked.as_deref())?;
    let mut stages = |step: usize| subject.stage_view(step);
    let mut tracer = subject.record().map(|record| Tracer::new(record, &world.store, &mut stages));
    if let Some(path) = &asked {
        let node = subject.view.lookup(path)?;
        if explained.ledger.story.is_empty() && node.is_none() {
            anyhow::bail!("`/{}` is in no layer of the image", String::from_utf8_lossy(path));
        }
        let last = explained.ledger.story.iter().rev().find(|moment| moment.entry.is_some());
        let origin = last.map(|moment| moment.layer).map(|layer| explained.origin(&mut tracer, layer, path));
        let origin = origin.transpose()?.flatten();
        return super::print(&match args.format {
            ReportFormat::Json => format!("{:#}\n", json::path(&explained, path, origin.as_ref())),
            ReportFormat::Text => text::path(&explained, path, origin.as_ref()),
        });
    }
    explained.weigh_stages(&mut subject.scale())?;
    explained.follow(&mut tracer, args.files)?;
    super::print(&match args.format {
        ReportFormat::Json => json::image(&explained, args.files),
        ReportFormat::Text if args.files => text::files(&explained),
        ReportFormat::Text => text::image(&explained),
    })
}

/// An image, the build that it came out of, and what it takes to look into both.
pub(super) struct Subject<'a> {
    name: &'a str,
    pub(super) named: &'a Named,
    pub(super) world: &'a World,
    pub(super) bodies: &'a Bodies<'a>,
    pub(super) messenger: &'a Messenger,
    /// The layers of the image, bottom to top.
    pub(super) layers: Vec<SnapshotLayer>,
    /// Its file system.
    pub(super) view: View,
    told: Told,
}

impl<'a> Subject<'a> {
    /// Opens an image. Layers that are not on this machine are fetched.
    pub(super) fn open(
        name: &'a str,
        named: &'a Named,
        world: &'a World,
        bodies: &'a Bodies<'a>,
        messenger: &'a Messenger,
    ) -> anyhow::Result<Subject<'a>> {
        let layers = named.image(bodies)?.layers.into_iter();
        let layers: Vec<SnapshotLayer> = layers.map(|layer| SnapshotLayer::Stored(layer.id)).collect();
        let view = bodies.view_in_full(&layers, messenger)?;
        let told = told(named, world)?;
        Ok(Subject { name, named, world, bodies, messenger, layers, view, told })
    }

    pub(super) fn record(&self) -> Option<&BuildRecord> {
        self.told.build.as_ref().map(|told| &told.record)
    }

    /// Returns the build that the image came out of, and what it was there.
    pub(super) fn build(&self) -> Option<(&BuildId, &BuildRecord, &BuildImage)> {
        self.told.build.as_ref().map(|told| (&told.id, &told.record, &told.image))
    }

    /// Looks at the layers, and closer at one path if one is asked about.
    pub(super) fn explain(&self, asked: Option<&[u8]>) -> anyhow::Result<Explained<'_>> {
        let ledger = Ledger::take(&self.view, asked)?;
        Ok(Explained {
            name: self.name,
            named: self.named,
            instructions: instructions(self.named, &self.told, self.layers.len()),
            sizes: Vec::new(),
            cast_off: None,
            caches: package_caches(&ledger),
            ledger,
            told: &self.told,
            origins: Vec::new(),
        })
    }

    /// Returns the file system of a step, when all its layers are on this machine.
    pub(super) fn stage_view(&self, step: usize) -> Option<StageView> {
        stage_view(self.record()?, step, self.world, self.bodies, self.messenger)
    }

    pub(super) fn scale(&self) -> Scale<'_> {
        Scale { world: self.world, bodies: self.bodies, messenger: self.messenger, known: BTreeMap::new() }
    }
}

/// What is known of an image.
pub(super) struct Explained<'a> {
    name: &'a str,
    named: &'a Named,
    pub(super) ledger: Ledger,
    pub(super) instructions: Vec<Instruction>,
    /// The bytes of the stages of its build.
    sizes: Vec<StageSize>,
    /// Bytes of layers that the build made or used and that the image does not have.
    pub(super) cast_off: Option<u64>,
    caches: Vec<PackageCache>,
    told: &'a Told,
    /// Files whose origin is told, in the order in which they are shown.
    origins: Vec<(Vec<u8>, Option<Origin>)>,
}

/// An entry of the image's history.
pub(super) struct Instruction {
    /// As the history has it.
    text: String,
    /// The layer that it made, from the bottom.
    pub(super) layer: Option<usize>,
    /// The step of the build that it was.
    step: Option<usize>,
}

struct StageSize {
    name: String,
    bytes: u64,
    /// Whether the image is this stage.
    shipped: bool,
}

/// The build that an image came out of.
struct Told {
    build: Option<ToldBuild>,
}

struct ToldBuild {
    id: BuildId,
    record: BuildRecord,
    image: BuildImage,
}

/// Finds the newest build that an image came out of.
fn told(named: &Named, world: &World) -> anyhow::Result<Told> {
    let found = world.store.build_of_image(named.manifest.digest(), named.config.digest())?;
    Ok(Told { build: found.map(|(id, record, image)| ToldBuild { id, record, image }) })
}

/// Pairs the history of an image with its layers and with the steps of its build.
fn instructions(named: &Named, told: &Told, layers: usize) -> Vec<Instruction> {
    let history = &named.config.value().history;
    let own = told.build.as_ref().map(|told| &told.image.history[..]).unwrap_or_default();
    let inherited = history.len().saturating_sub(own.len());
    let mut next = 0;
    let mut instructions: Vec<Instruction> = history
        .iter()
        .enumerate()
        .map(|(place, entry)| {
            let layer = (!entry.empty_layer && next < layers).then_some(next);
            next += usize::from(layer.is_some());
            let step = place.checked_sub(inherited).and_then(|place| own.get(place).copied().flatten());
            Instruction { text: entry.created_by.clone().unwrap_or_default(), layer, step }
        })
        .collect();
    // A history may tell of fewer layers than there are.
    instructions.extend((next..layers).map(|layer| Instruction {
        text: String::new(),
        layer: Some(layer),
        step: None,
    }));
    instructions
}

impl Explained<'_> {
    pub(super) fn name(&self) -> &str {
        self.name
    }

    fn record(&self) -> Option<&BuildRecord> {
        self.told.build.as_ref().map(|told| &told.record)
    }

    /// Returns the instruction that made a layer, by its place.
    pub(super) fn instruction_of(&self, layer: usize) -> Option<usize> {
        self.instructions.iter().position(|instruction| instruction.layer == Some(layer))
    }

    /// Returns the step that made a layer.
    pub(super) fn step_of(&self, layer: usize) -> Option<usize> {
        self.instruction_of(layer).and_then(|place| self.instructions[place].step)
    }

    /// Returns where a file of a layer came from, as far as the record of the build tells.
    pub(super) fn origin(
        &self,
        tracer: &mut Option<Tracer<'_>>,
        layer: usize,
        path: &[u8],
    ) -> anyhow::Result<Option<Origin>> {
        match (tracer, self.step_of(layer)) {
            (Some(tracer), Some(step)) => Ok(Some(tracer.trace(step, path)?)),
            (Some(_), None) => Ok(self.base().map(|reference| Origin {
                through: Vec::new(),
                maker: Maker::Image(reference),
                path: path.to_vec(),
            })),
            (None, _) => Ok(None),
        }
    }

    /// Returns the image that the shipped stage stands on.
    pub(super) fn base(&self) -> Option<String> {
        let told = self.told.build.as_ref()?;
        let mut current = told.image.root;
        while let Some(parent) = told.record.steps[current].parent {
            current = parent;
        }
        match &told.record.steps[current].action {
            StepAction::Image { reference, .. } => Some(reference.clone()),
            _ => None,
        }
    }

    /// Follows the largest files, or all.
    pub(super) fn follow(&mut self, tracer: &mut Option<Tracer<'_>>, all: bool) -> anyhow::Result<()> {
        let mut files: Vec<(&Vec<u8>, u64, usize)> =
            self.ledger.files.iter().map(|(path, file)| (path, file.size, file.layer)).collect();
        if !all {
            files.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
            files.truncate(LARGEST);
        }
        let mut origins = Vec::with_capacity(files.len());
        for (path, _, layer) in files {
            origins.push((path.clone(), self.origin(tracer, layer, path)?));
        }
        self.origins = origins;
        Ok(())
    }

    /// Weighs each stage of the build, and what of them the image does not have.
    pub(super) fn weigh_stages(&mut self, scale: &mut Scale<'_>) -> anyhow::Result<()> {
        let Some(told) = &self.told.build else { return Ok(()) };
        let mut all = BTreeMap::new();
        let mut sizes = Vec::new();
        let platform: Option<Platform> = told.image.platform.parse().ok();
        let of_platform = |name: &str| name.parse().ok() == platform;
        for stage in told.record.stages.iter().filter(|stage| of_platform(&stage.platform)) {
            let layers = scale.layers(&told.record, stage.root)?;
            sizes.push(StageSize {
                name: stage.name.clone(),
                bytes: layers.iter().map(|(_, size)| size).sum(),
                shipped: stage.root == told.image.root,
            });
            all.extend(layers);
        }
        for (layer, _) in scale.layers(&told.record, told.image.root)? {
            all.remove(&layer);
        }
        self.cast_off = Some(all.values().sum());
        self.sizes = sizes;
        Ok(())
    }
}

/// A layer of a stage.
pub(super) struct StageLayer {
    pub(super) id: LayerId,
    /// The step that made it, or the name of the image that it came with.
    pub(super) maker: Result<usize, String>,
    /// Bytes of its tar, or of its blob.
    pub(super) bytes: Option<u64>,
}

/// Weighs layers, each once.
pub(super) struct Scale<'a> {
    world: &'a World,
    bodies: &'a Bodies<'a>,
    messenger: &'a Messenger,
    known: BTreeMap<LayerId, u64>,
}

impl Scale<'_> {
    /// Returns the layers of a step's file system, and the bytes of their files.
    fn layers(&mut self, record: &BuildRecord, step: usize) -> anyhow::Result<Vec<(LayerId, u64)>> {
        let layers = self.layers_of(record, step)?.into_iter();
        layers.map(|layer| Ok((layer.id.clone(), self.weigh(&layer.id, layer.bytes)?))).collect()
    }

    /// Returns the layers of a step's file system, bottom to top.
    pub(super) fn layers_of(&self, record: &BuildRecord, step: usize) -> anyhow::Result<Vec<StageLayer>> {
        let mut layers = Vec::new();
        for place in chain(record, step) {
            let step = &record.steps[place];
            if let StepAction::Image { manifest, reference } = &step.action
                && let Ok(named) = image::find(&self.world.store, &manifest.to_string(), None)
            {
                layers.extend(named.image(self.bodies)?.layers.into_iter().map(|layer| StageLayer {
                    id: layer.id,
                    maker: Err(reference.clone()),
                    bytes: Some(layer.descriptor.size),
                }));
            }
            let own = |layer: &LayerId| StageLayer { id: layer.clone(), maker: Ok(place), bytes: step.bytes };
            layers.extend(step.layer.as_ref().map(own));
        }
        Ok(layers)
    }

    /// Returns the bytes of a layer's files; of a layer that is not on this machine, those of its tar or blob.
    fn weigh(&mut self, layer: &LayerId, otherwise: Option<u64>) -> anyhow::Result<u64> {
        if let Some(known) = self.known.get(layer) {
            return Ok(*known);
        }
        let size = if self.bodies.is_present(layer) {
            let view = self.bodies.view(&[SnapshotLayer::Stored(layer.clone())], self.messenger)?;
            Ledger::take(&view, None)?.bytes()
        } else {
            otherwise.unwrap_or_default()
        };
        self.known.insert(layer.clone(), size);
        Ok(size)
    }
}

/// Returns the steps that a step's file system consists of, the base first.
fn chain(record: &BuildRecord, step: usize) -> Vec<usize> {
    let mut chain: Vec<usize> =
        std::iter::successors(Some(step), |step| record.steps[*step].parent).collect();
    chain.reverse();
    chain
}

/// Returns the file system of a step, when all its layers are on this machine.
fn stage_view(
    record: &BuildRecord,
    step: usize,
    world: &World,
    bodies: &Bodies<'_>,
    messenger: &Messenger,
) -> Option<StageView> {
    let mut layers = Vec::new();
    let mut makers = Vec::new();
    for place in chain(record, step) {
        let step = &record.steps[place];
        match &step.action {
            StepAction::Image { manifest, .. } => {
                let named = image::find(&world.store, &manifest.to_string(), None).ok()?;
                for layer in named.image(bodies).ok()?.layers {
                    layers.push(layer.id);
                    makers.push(None);
                }
            }
            StepAction::Local { .. } => return None,
            _ => {}
        }
        if let Some(layer) = &step.layer {
            layers.push(layer.clone());
            makers.push(Some(place));
        }
    }
    if !layers.iter().all(|layer| bodies.is_present(layer)) {
        return None;
    }
    let layers: Vec<SnapshotLayer> = layers.into_iter().map(SnapshotLayer::Stored).collect();
    // What cannot be read is as good as gone: the rest is told all the same.
    let view = bodies.view_in_full(&layers, messenger).ok()?;
    Some(StageView { view, makers })
}

/// Returns the digests by which an image is known.
fn identity(named: &Named) -> (Digest, Digest) {
    (named.id(), named.manifest.digest())
}
