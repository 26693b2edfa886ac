//! A cache inside an image: `type=inline` (B-125). The image's config says which step made which of its layers;
//! the layers are those of the image, so nothing else is stored.

use std::collections::BTreeMap;

use castoff_graph::{CacheKey, KeyRecipe};
use castoff_oci::{ImageConfig, Manifest};
use castoff_store::{LayerDiff, Store};
use serde::{Deserialize, Serialize};

use super::object::{CachedStep, StepObject};

/// Field of the config.
const FIELD: &str = "dev.castoff.cache.v1";

/// A step that made a layer of an image.
#[derive(Debug)]
pub(crate) struct InlineStep {
    /// The key of its result, and the one by definition.
    pub(crate) keys: (CacheKey, Option<CacheKey>),
    /// Which layer, from the bottom.
    pub(crate) place: usize,
    /// What the layer is.
    pub(crate) diff: LayerDiff,
    /// When it was made, in milliseconds since 1970.
    pub(crate) created_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    layer: usize,
    step: CachedStep,
}

/// Writes steps into a config. What they cost is left out: equal images have equal configs. A step without a
/// record is left out.
pub(crate) fn embed(config: &mut ImageConfig, steps: &[InlineStep], store: &Store) {
    let entry = |step: &InlineStep| {
        let (key, definition) = step.keys;
        let record = store.record(key.0).ok().flatten()?;
        let recipe: KeyRecipe = serde_json::from_value(record.recipe).ok()?;
        let cached = CachedStep::new(key, &recipe, step.diff.diff_id, step.diff.size);
        let cached = CachedStep { definition, created_ms: step.created_ms, ..cached };
        Some(Entry { layer: step.place, step: cached })
    };
    let entries: Vec<Entry> = steps.iter().filter_map(entry).collect();
    let value = serde_json::to_value(entries).expect("steps are always JSON");
    config.other.insert(FIELD.to_owned(), value);
}

/// Removes what an image says of its steps: an image that is made of it has others.
pub(crate) fn strip(config: &mut ImageConfig) {
    config.other.shift_remove(FIELD);
}

/// Returns the steps of an image by their keys. Whatever is malformed or disagrees with the image is not there.
pub(super) fn read(manifest: &Manifest, config: &[u8]) -> BTreeMap<CacheKey, StepObject> {
    let mut steps = BTreeMap::new();
    let Ok(mut config) = serde_json::from_slice::<ImageConfig>(config) else { return steps };
    let entries = config.other.shift_remove(FIELD).unwrap_or_default();
    let Ok(entries) = serde_json::from_value::<Vec<Entry>>(entries) else { return steps };
    for Entry { layer, step } in entries {
        let diff_id = config.rootfs.diff_ids.get(layer);
        let Some(layer) = manifest.layers.get(layer) else { continue };
        if diff_id != Some(&step.diff_id) || manifest.layers.len() != config.rootfs.diff_ids.len() {
            continue;
        }
        let keys = [Some(step.key), step.definition];
        let object = StepObject { step, layer: layer.clone() };
        steps.extend(keys.into_iter().flatten().map(|key| (key, object.clone())));
    }
    steps
}

#[cfg(test)]
mod tests {
    use castoff_oci::{Descriptor, DiffId, Digest, MediaType};

    use super::*;

    // B-125: an image is as little believed as any cache.
    #[test]
    fn steps_that_disagree_with_their_image_are_not_there() {
        let diff_id = DiffId(Digest::of(b"tar"));
        let recipe = KeyRecipe::new("run");
        let step = CachedStep::new(recipe.key(), &recipe, diff_id, 3);
        let descriptor = |text: &[u8]| Descriptor::new(MediaType::OciLayerGzip, Digest::of(text), 4);
        let manifest = Manifest::oci(descriptor(b"config"), vec![descriptor(b"layer")]);
        let steps = |layer: usize, diff_id: DiffId| {
            let entry = Entry { layer, step: step.clone() };
            let mut config = ImageConfig::default();
            config.rootfs.diff_ids = vec![diff_id];
            config.other.insert(FIELD.to_owned(), serde_json::to_value([entry]).unwrap());
            read(&manifest, &serde_json::to_vec(&config).unwrap())
        };
        assert_eq!(steps(0, diff_id)[&recipe.key()].layer.digest, Digest::of(b"layer"));
        assert!(steps(1, diff_id).is_empty());
        assert!(steps(0, DiffId(Digest::of(b"other"))).is_empty());
        assert!(read(&manifest, b"{").is_empty());
        assert!(read(&manifest, br#"{"dev.castoff.cache.v1": 3}"#).is_empty());
    }
}
