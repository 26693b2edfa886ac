//! Assembling an image: layers, config, manifest.
//!
//! An image in the store is an OCI manifest whose new layers are uncompressed: their descriptors name
//! the diff id. The bytes of such a layer need not be a blob; a directory body gives the same bytes
//! whenever they are asked for. Base layers keep the descriptor their registry gave them.

use castoff_graph::{BuildGraph, ImageOutput, VertexId};
use castoff_oci::{Descriptor, HistoryEntry, ImageConfig, LayerCompression, Manifest, MediaType, Raw};
use castoff_store::LayerId;
use indexmap::IndexMap;

use crate::World;
use crate::bodies::{Bodies, BodyError, SnapshotLayer};
use crate::driver::{Solved, snapshot};
use crate::export::set::AssembleOptions;
use crate::shared_cache::inline::{self, InlineStep};
use crate::step::StepError;

/// An image whose documents are in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest.
    pub manifest: Raw<Manifest>,
    /// The config.
    pub config: Raw<ImageConfig>,
    /// Its layers, bottom to top.
    pub layers: Vec<ImageLayer>,
}

/// A layer of an [`Image`].
#[derive(Debug, Clone)]
pub struct ImageLayer {
    /// The layer in the store.
    pub id: LayerId,
    /// What the manifest says of it.
    pub descriptor: Descriptor,
}

/// Why an image could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The layers could not be listed.
    #[error("{0}")]
    Step(#[from] StepError),
    /// A layer could not be read.
    #[error("{}", crate::step::chain(.0))]
    Body(#[from] BodyError),
    /// A document could not be stored.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store's layer could not be written.
    #[error("using the store: {0}")]
    Layer(#[from] castoff_store::LayerError),
    /// A tag could not be written.
    #[error("using the store: {0}")]
    Tag(#[from] castoff_store::FileError),
}

impl Image {
    /// Returns the descriptor of the manifest, with the image's platform.
    pub fn descriptor(&self) -> Descriptor {
        let media_type = self.manifest.value().media_type.clone().unwrap_or(MediaType::OciManifest);
        let mut descriptor =
            Descriptor::new(media_type, self.manifest.digest(), self.manifest.bytes().len() as u64);
        descriptor.platform = Some(self.config.value().platform());
        descriptor
    }

    /// Returns the image id: the digest of the config, as Docker's classic store has it (B-112).
    pub fn id(&self) -> castoff_oci::Digest {
        self.config.digest()
    }
}

/// Assembles the image of an output and puts its documents into the store.
///
/// # Errors
/// When a layer cannot be read or the store not be written.
pub fn assemble(
    graph: &BuildGraph,
    output: &ImageOutput,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    options: AssembleOptions,
) -> Result<Image, AssembleError> {
    let result = |id| solved.result(id).expect("what an output needs is solved").clone();
    let layers = snapshot(graph, world, output.vertex, &result)?;
    let layers = layers
        .iter()
        .map(|layer| image_layer(layer, bodies, options.clamp))
        .collect::<Result<Vec<_>, AssembleError>>()?;
    let diffs = layers
        .iter()
        .map(|layer| Ok(bodies.diff_of(&layer.id)?))
        .collect::<Result<Vec<_>, AssembleError>>()?;

    let mut config = output.config.clone();
    let base_layers = config.rootfs.diff_ids.len();
    config.rootfs.diff_ids = diffs.iter().map(|diff| diff.diff_id).collect();
    complete_base_history(&mut config, base_layers, layers.len(), output);
    append_history(&mut config, output, &|id| result(id).created_ms, (world.clock)(), options.epoch);
    inline::strip(&mut config);
    if options.inline_cache && options.clamp.is_none() {
        let mut steps = Vec::new();
        let mut place = layers.len();
        let parent = |id: &VertexId| graph.vertex(*id).op.parent();
        for id in std::iter::successors(Some(output.vertex), parent) {
            let result = result(id);
            if result.layer.is_none() || place == 0 {
                continue;
            }
            place -= 1;
            let Some(keys) = solved.keys(id) else { continue };
            let created_ms = options.epoch.map_or(result.created_ms, |epoch| epoch.saturating_mul(1000));
            steps.push(InlineStep { keys, place, diff: diffs[place], created_ms });
        }
        inline::embed(&mut config, &steps, &world.store);
    }
    let config = Raw::new(config);
    let manifest = Raw::new(Manifest::oci(
        Descriptor::new(MediaType::OciConfig, config.digest(), config.bytes().len() as u64),
        layers.iter().map(|layer| layer.descriptor.clone()).collect(),
    ));
    world.store.put_blob(config.bytes())?;
    world.store.put_blob(manifest.bytes())?;
    Ok(Image { manifest, config, layers })
}

/// Makes an image of layers, bottom to top, and puts its documents into the store. The layers of the config are set, and the manifest gets
/// an annotation.
///
/// # Errors
/// When a layer cannot be read or the store not be written.
pub fn of_layers(
    layers: &[LayerId],
    mut config: ImageConfig,
    annotation: (String, String),
    bodies: &Bodies<'_>,
) -> Result<Image, AssembleError> {
    let layers = layers
        .iter()
        .map(|id| image_layer(&SnapshotLayer::Stored(id.clone()), bodies, None))
        .collect::<Result<Vec<_>, AssembleError>>()?;
    let diffs = layers.iter().map(|layer| Ok(bodies.diff_of(&layer.id)?.diff_id));
    config.rootfs.diff_ids = diffs.collect::<Result<Vec<_>, AssembleError>>()?;
    let config = Raw::new(config);
    let descriptor = Descriptor::new(MediaType::OciConfig, config.digest(), config.bytes().len() as u64);
    let mut manifest =
        Manifest::oci(descriptor, layers.iter().map(|layer| layer.descriptor.clone()).collect());
    manifest.annotations = IndexMap::from([annotation]);
    let manifest = Raw::new(manifest);
    bodies.store().put_blob(config.bytes())?;
    bodies.store().put_blob(manifest.bytes())?;
    Ok(Image { manifest, config, layers })
}

fn image_layer(
    layer: &SnapshotLayer,
    bodies: &Bodies<'_>,
    clamp: Option<i64>,
) -> Result<ImageLayer, AssembleError> {
    let id = match layer {
        SnapshotLayer::Stored(id) => id.clone(),
        SnapshotLayer::Directory(_) => bodies.import_directory(layer)?,
    };
    let id = match clamp {
        // Layers of the base image stay what they are.
        Some(epoch) if bodies.base(&id).is_none() => bodies.clamped(&id, epoch)?,
        _ => id,
    };
    let descriptor = match bodies.base(&id) {
        Some(base) => base.descriptor,
        None => {
            let diff = bodies.diff(&id)?;
            Descriptor::new(MediaType::oci_layer(LayerCompression::None), diff.diff_id.0, diff.size)
        }
    };
    Ok(ImageLayer { id, descriptor })
}

/// Makes the history agree with the layers below the build's own (D-300): entries without a layer are
/// marked so, and layers without an entry get one.
fn complete_base_history(config: &mut ImageConfig, base: usize, all: usize, output: &ImageOutput) {
    let own = output.history.iter().filter(|entry| entry.vertex.is_some()).count();
    let base = base.max(all.saturating_sub(own));
    let mut with_layer = 0;
    for entry in &mut config.history {
        if !entry.empty_layer {
            with_layer += 1;
            entry.empty_layer = with_layer > base;
        }
    }
    for _ in with_layer..base {
        config.history.push(HistoryEntry::default());
    }
}

/// Appends the build's own entries and sets the times (D-301, D-302): a layer has the time it was
/// made, a metadata entry that of the nearest new layer, and with SOURCE_DATE_EPOCH all have that.
fn append_history(
    config: &mut ImageConfig,
    output: &ImageOutput,
    created_ms: &dyn Fn(castoff_graph::VertexId) -> i64,
    now_ms: i64,
    epoch: Option<i64>,
) {
    let times: Vec<Option<i64>> = output.history.iter().map(|entry| entry.vertex.map(created_ms)).collect();
    let first = times.iter().flatten().next().copied();
    let mut current = first;
    let inherited = config.history.last().and_then(|entry| entry.created.clone());
    for (entry, time) in output.history.iter().zip(&times) {
        current = time.or(current);
        let created = match (epoch, current) {
            (Some(epoch), _) => Some(rfc3339(epoch.saturating_mul(1000))),
            (None, Some(time)) => Some(rfc3339(time)),
            (None, None) => inherited.clone(),
        };
        config.history.push(HistoryEntry {
            created,
            created_by: Some(entry.created_by.clone()),
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            author: None,
            empty_layer: entry.vertex.is_none(),
        });
    }
    config.created = match epoch {
        Some(epoch) => Some(rfc3339(epoch.saturating_mul(1000))),
        // A build that adds no layer has the time of what it stands on, so that it stays the same image.
        None => {
            config.history.last().and_then(|entry| entry.created.clone()).or_else(|| Some(rfc3339(now_ms)))
        }
    };
}

/// Returns an instant as Go prints it in image configs: UTC, fractions without trailing zeros. Instants
/// outside the years that RFC 3339 can hold become the nearest one.
pub fn rfc3339(milliseconds: i64) -> String {
    let clamped =
        milliseconds.clamp(jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    let timestamp = jiff::Timestamp::from_millisecond(clamped).expect("the instant was clamped");
    timestamp.to_string()
}

#[cfg(test)]
mod tests {
    use castoff_graph::{BuildGraph, ImageOutput, Op, PlannedHistory, SourceOp, Vertex};
    use castoff_oci::{HistoryEntry, ImageConfig};

    use super::{complete_base_history, rfc3339};

    // D-300: as many entries have a layer as there are layers below the build's own.
    #[test]
    fn the_history_of_a_base_is_made_to_fit_its_layers() {
        let op = Op::Source(SourceOp::Scratch);
        let vertex = BuildGraph::default()
            .add(Vertex { op, name: String::new(), stage: None, origin: None, ignore_cache: false })
            .expect("it has no inputs");
        let entry = |vertex| PlannedHistory { created_by: String::new(), vertex };
        let output = ImageOutput {
            platform: "linux/amd64".parse().expect("a platform"),
            vertex,
            config: ImageConfig::default(),
            history: vec![entry(Some(vertex)), entry(None)],
            epoch: None,
        };
        for (written, base, expected) in
            [("LE", 1, "LE"), ("LLEL", 1, "LEEE"), ("E", 2, "ELL"), ("", 1, "L"), ("L", 0, "E")]
        {
            let mut config = ImageConfig::default();
            let entries = written
                .chars()
                .map(|kind| HistoryEntry { empty_layer: kind == 'E', ..HistoryEntry::default() });
            config.history.extend(entries);
            complete_base_history(&mut config, base, base + 1, &output);
            let completed: String =
                config.history.iter().map(|entry| if entry.empty_layer { 'E' } else { 'L' }).collect();
            assert_eq!(completed, expected, "{written} of {base}");
        }
    }

    #[test]
    fn times_are_printed_as_in_image_configs() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599_120), "2024-12-31T23:59:59.12Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(4_102_444_800_000), "2100-01-01T00:00:00Z");
    }
}
