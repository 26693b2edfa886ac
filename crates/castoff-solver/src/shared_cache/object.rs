//! The object of a step in a shared cache: an OCI artifact (`docs/shared-cache.md`).
//!
//! Whoever reads one trusts none of it: what does not name the key that was asked for, is of another
//! version, or has a field out of place is malformed, and a malformed object is as good as none.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_graph::{CacheKey, KeyRecipe};
use castoff_oci::{Descriptor, DiffId, Digest, Manifest, MediaType, Raw};
use serde::{Deserialize, Serialize};

/// Media type of the config of a step's manifest: the step itself.
pub(crate) const STEP_TYPE: &str = "application/vnd.castoff.cache.step.v1+json";

/// Version of the step's JSON.
const VERSION: u32 = 1;

/// Larger configs are not embedded in their manifests, which registries limit.
const EMBEDDED: usize = 256 << 10;

/// Configs are small; more than this is an attack.
pub(crate) const CONFIG_LIMIT: u64 = 4 << 20;

/// What a shared cache knows of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedStep {
    pub(crate) version: u32,
    /// The key of its result.
    pub(crate) key: CacheKey,
    /// The key by definition, when the step reads other stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<CacheKey>,
    /// What the layer unpacks to.
    pub(crate) diff_id: DiffId,
    /// Size of the uncompressed layer in bytes.
    pub(crate) size: u64,
    /// How the blob was made of it, such as `zstd-3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    /// When the result was made, in milliseconds since 1970.
    pub(crate) created_ms: i64,
    /// How long that took, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Processor time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<u64>,
    /// Largest memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    /// Where the step is in its Dockerfile: the newest object of a place explains a miss there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Digest>,
    /// Digests of the files that it read of local directories, when they are few.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
    /// The modes of these files that are not the usual one, when they were noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modes: Option<BTreeMap<String, u32>>,
    /// Digest of what the step printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<Digest>,
    /// The recipe of the key, without values of variables.
    pub(crate) recipe: KeyRecipe,
}

/// A step and the blob of its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepObject {
    pub(crate) step: CachedStep,
    pub(crate) layer: Descriptor,
}

/// Why an object of a cache is not used.
#[derive(Debug, thiserror::Error)]
pub enum MalformedObject {
    /// Not the JSON it should be.
    #[error("it is not a step of a cache: {0}")]
    Json(#[from] serde_json::Error),
    /// The embedded step is not base64.
    #[error("the embedded step is not base64")]
    Base64,
    /// A document is not the one that its digest names.
    #[error("a document has the digest `{actual}` and not `{expected}`")]
    Digest {
        /// What the manifest says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// Something of another kind or version.
    #[error("{0}")]
    Kind(&'static str),
    /// It is the object of another step.
    #[error("it is of the key {0}")]
    Key(CacheKey),
}

impl CachedStep {
    /// The fields that every step has; the others are set by the caller.
    pub(crate) fn new(key: CacheKey, recipe: &KeyRecipe, diff_id: DiffId, size: u64) -> CachedStep {
        CachedStep {
            version: VERSION,
            key,
            definition: None,
            diff_id,
            size,
            variant: None,
            created_ms: 0,
            duration_ms: 0,
            cpu_ms: None,
            memory_bytes: None,
            place: None,
            files: BTreeMap::new(),
            modes: None,
            log: None,
            recipe: masked(recipe),
        }
    }
}

impl StepObject {
    /// Returns the documents of the object: its manifest, and the step, which is the manifest's config.
    pub(crate) fn documents(&self) -> (Raw<Manifest>, Raw<CachedStep>) {
        let step = Raw::new(self.step.clone());
        let config = config_descriptor(STEP_TYPE, &step);
        (Raw::new(Manifest::oci(config, vec![self.layer.clone()])), step)
    }

    /// Reads an object that was found under `key`. `blob` returns the bytes of a step that is not embedded.
    pub(crate) fn read<E: From<MalformedObject>>(
        manifest: &[u8],
        key: CacheKey,
        blob: impl FnOnce(&Descriptor) -> Result<Vec<u8>, E>,
    ) -> Result<StepObject, E> {
        let object = StepObject::read_any(manifest, blob)?;
        if object.step.key != key && object.step.definition != Some(key) {
            return Err(MalformedObject::Key(object.step.key).into());
        }
        Ok(object)
    }

    /// Reads an object whose key the caller does not know.
    pub(crate) fn read_any<E: From<MalformedObject>>(
        manifest: &[u8],
        blob: impl FnOnce(&Descriptor) -> Result<Vec<u8>, E>,
    ) -> Result<StepObject, E> {
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(MalformedObject::Json)?;
        let bytes = config_bytes(&manifest, STEP_TYPE, "its config is not a step of a cache", blob)?;
        let step: CachedStep = serde_json::from_slice(&bytes).map_err(MalformedObject::Json)?;
        if step.version != VERSION {
            return Err(MalformedObject::Kind("the step is of another version").into());
        }
        let [layer] = &manifest.layers[..] else {
            return Err(MalformedObject::Kind("a step has one layer").into());
        };
        if layer.media_type.layer_compression().is_none() {
            return Err(MalformedObject::Kind("its layer is not a layer").into());
        }
        Ok(StepObject { step, layer: layer.clone() })
    }
}

/// Returns the descriptor of a config, which has it embedded when it is small.
pub(super) fn config_descriptor<T>(media_type: &str, config: &Raw<T>) -> Descriptor {
    let bytes = config.bytes();
    let media_type = MediaType::Other(media_type.to_owned());
    let mut descriptor = Descriptor::new(media_type, config.digest(), bytes.len() as u64);
    if bytes.len() <= EMBEDDED {
        descriptor.data = Some(STANDARD.encode(bytes));
    }
    descriptor
}

/// Returns the config of a manifest, which must be of a media type; `otherwise` says that it is not. `blob` returns the
/// bytes of one that is not embedded.
pub(super) fn config_bytes<E: From<MalformedObject>>(
    manifest: &Manifest,
    media_type: &str,
    otherwise: &'static str,
    blob: impl FnOnce(&Descriptor) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let config = &manifest.config;
    if config.media_type.as_str() != media_type {
        return Err(MalformedObject::Kind(otherwise).into());
    }
    if config.size > CONFIG_LIMIT {
        return Err(MalformedObject::Kind("its config is too large").into());
    }
    let bytes = match &config.data {
        Some(data) => STANDARD.decode(data).map_err(|_| MalformedObject::Base64)?,
        None => blob(config)?,
    };
    let actual = Digest::of(&bytes);
    if actual != config.digest {
        return Err(MalformedObject::Digest { expected: config.digest, actual }.into());
    }
    Ok(bytes)
}

/// Returns a recipe without the values of variables: they may be build arguments, which are nobody's business,
/// and who looks the step up knows them.
pub(crate) fn masked(recipe: &KeyRecipe) -> KeyRecipe {
    with_variables(recipe, |_| None)
}

/// Returns a masked recipe with the values of variables that `known` has.
pub(crate) fn unmasked(masked: &KeyRecipe, known: &KeyRecipe) -> KeyRecipe {
    with_variables(masked, |name| {
        known.parts.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    })
}

fn with_variables(recipe: &KeyRecipe, value: impl Fn(&str) -> Option<String>) -> KeyRecipe {
    let parts = recipe.parts.iter().map(|(name, text)| {
        let is_variable = name.starts_with("environment ");
        (name.clone(), if is_variable { value(name).unwrap_or_default() } else { text.clone() })
    });
    KeyRecipe { op: recipe.op.clone(), parts: parts.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> KeyRecipe {
        let mut recipe = KeyRecipe::new("run");
        recipe.part("argument 0", "make");
        recipe.part("environment TOKEN", "opensesame");
        recipe
    }

    fn object() -> StepObject {
        let diff_id = DiffId(Digest::of(b"tar"));
        let step = CachedStep::new(recipe().key(), &recipe(), diff_id, 3);
        let layer = Descriptor::new(MediaType::OciLayerZstd, Digest::of(b"zstd"), 4);
        StepObject { step, layer }
    }

    fn read(manifest: &[u8], key: CacheKey) -> Result<StepObject, String> {
        StepObject::read(manifest, key, |_| Err(MalformedObject::Kind("no blob")))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let (manifest, _) = object().documents();
        assert_eq!(read(manifest.bytes(), recipe().key()), Ok(object()));
    }

    #[test]
    fn values_of_variables_are_not_in_it_and_come_back_from_who_knows_them() {
        let (manifest, step) = object().documents();
        for bytes in [manifest.bytes(), step.bytes()] {
            assert!(!String::from_utf8_lossy(bytes).contains("opensesame"));
        }
        assert_eq!(unmasked(&object().step.recipe, &recipe()), recipe());
        assert_ne!(unmasked(&object().step.recipe, &KeyRecipe::new("run")), recipe());
    }

    // B-121: what is malformed is a miss; it is told apart here.
    #[test]
    fn what_is_not_the_object_of_the_key_is_refused() {
        let (manifest, _) = object().documents();
        let text = String::from_utf8(manifest.bytes().to_vec()).unwrap();
        let refused = |text: &str, why: &str| {
            let error = read(text.as_bytes(), recipe().key()).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused("{", "not a step of a cache");
        refused(&text.replace(STEP_TYPE, "application/vnd.oci.image.config.v1+json"), "config is not");
        refused(&text.replace("layer.v1.tar+zstd", "other"), "not a layer");
        refused(&text.replace("\"data\":\"", "\"data\":\"e30g"), "has the digest");
        refused(&text.replace("\"data\":\"", "\"data\":\"!"), "base64");
        let other = KeyRecipe::new("copy").key();
        assert!(read(manifest.bytes(), other).unwrap_err().contains("of the key"));
        let mut newer = object();
        newer.step.version = 2;
        let (newer, _) = newer.documents();
        assert!(read(newer.bytes(), recipe().key()).unwrap_err().contains("another version"));
    }
}
