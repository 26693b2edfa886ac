//! Images of the store as commands name them: by reference, id, or a beginning of an id.

use anyhow::Context as _;
use castoff_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Raw, Reference};
use castoff_solver::export::image::{Image, ImageLayer};
use castoff_solver::{BaseLayer, Bodies, World};
use castoff_store::{LayerId, Store};

/// Documents of an image are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that a command named.
#[derive(Debug, Clone)]
pub struct Named {
    /// The name it was found under, if it has one.
    pub reference: Option<Reference>,
    /// Its manifest.
    pub manifest: Raw<Manifest>,
    /// Its config.
    pub config: Raw<ImageConfig>,
}

/// Finds an image in the store.
///
/// # Errors
/// When there is none, several, or its documents are damaged.
pub fn find(store: &Store, name: &str) -> anyhow::Result<Named> {
    if let Ok(reference) = name.parse::<Reference>() {
        let found = match (reference.digest(), store.tag(&reference)?) {
            (_, Some(descriptor)) => Some(descriptor.digest),
            (Some(digest), None) => Some(digest),
            (None, None) => store.pulled(&reference)?.map(|pulled| pulled.descriptor.digest),
        };
        if let Some(digest) = found
            && let Some(named) = load(store, Some(reference), digest)?
        {
            return Ok(named);
        }
    }
    let prefix = name.strip_prefix("sha256:").unwrap_or(name);
    let hex = prefix.len() >= 4 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex {
        let mut matches = Vec::new();
        for tag in store.tags()? {
            let Some(named) = load(store, Some(tag.reference), tag.descriptor.digest)? else { continue };
            if named.config.digest().hex().starts_with(prefix)
                || named.manifest.digest().hex().starts_with(prefix)
            {
                matches.push(named);
            }
        }
        matches.dedup_by_key(|named| named.config.digest());
        match matches.len() {
            1 => return Ok(matches.remove(0)),
            0 => {}
            count => anyhow::bail!("`{name}` is the beginning of {count} image ids"),
        }
        // An image without a name is found by its whole id.
        if let Ok(digest) = format!("sha256:{prefix}").parse::<Digest>()
            && let Some(named) = load(store, None, digest)?
        {
            return Ok(named);
        }
    }
    anyhow::bail!("there is no image `{name}` in the store")
}

/// Loads the documents of an image whose manifest or index has this digest.
fn load(store: &Store, reference: Option<Reference>, digest: Digest) -> anyhow::Result<Option<Named>> {
    let Some(bytes) = store.read_blob(&digest, DOCUMENT_LIMIT)? else { return Ok(None) };
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    if value.get("manifests").is_some() {
        let index: Index = serde_json::from_slice(&bytes)?;
        let host = Platform::host();
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| host.accepts(platform).is_some())
        };
        let present = |descriptor: &&Descriptor| store.blob(&descriptor.digest).is_some();
        let chosen = index
            .manifests
            .iter()
            .filter(present)
            .find(fits)
            .or_else(|| index.manifests.iter().find(present));
        return match chosen {
            Some(chosen) => load(store, reference, chosen.digest),
            None => Ok(None),
        };
    }
    if value.get("layers").is_none() {
        return Ok(None);
    }
    let manifest: Raw<Manifest> = Raw::parse(bytes)?;
    let digest = manifest.value().config.digest;
    let config = store
        .read_blob(&digest, DOCUMENT_LIMIT)?
        .with_context(|| format!("the config `{digest}` is missing"))?;
    Ok(Some(Named { reference, manifest, config: Raw::parse(config)? }))
}

impl Named {
    /// Makes the image's layers known to `bodies` and returns it as the exporters take it.
    ///
    /// # Errors
    /// When manifest and config disagree.
    pub fn image(&self, bodies: &Bodies<'_>) -> anyhow::Result<Image> {
        let layers = &self.manifest.value().layers;
        let diff_ids = &self.config.value().rootfs.diff_ids;
        if layers.len() != diff_ids.len() {
            anyhow::bail!("the image has {} layers but its config lists {}", layers.len(), diff_ids.len());
        }
        let unnamed: Reference = "unnamed".parse().expect("a plain word is a name");
        let reference = self.reference.clone().unwrap_or(unnamed);
        let layers = layers
            .iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| {
                // A layer of our own has a body under its diff id; foreign ones have a blob, which may be
                // uncompressed, too.
                let own = LayerId::of_diff(*diff_id);
                let id = if descriptor.digest == diff_id.0 && bodies.is_present(&own) {
                    own
                } else {
                    let reference = reference.clone();
                    bodies.add_base(BaseLayer {
                        descriptor: descriptor.clone(),
                        diff_id: *diff_id,
                        reference,
                        step: None,
                    })
                };
                ImageLayer { id, descriptor: descriptor.clone() }
            })
            .collect();
        Ok(Image { manifest: self.manifest.clone(), config: self.config.clone(), layers })
    }
}

/// Returns the size of an image: of its layers as the manifest has them.
pub fn size(manifest: &Manifest) -> u64 {
    manifest.layers.iter().map(|layer| layer.size).sum()
}

/// Returns every named image, sorted by name.
///
/// # Errors
/// When the store cannot be read.
pub fn all(world: &World) -> anyhow::Result<Vec<(Reference, Named)>> {
    let mut images = Vec::new();
    let mut tags = world.store.tags()?;
    tags.sort_by(|left, right| left.reference.cmp(&right.reference));
    for tag in tags {
        if let Some(named) = load(&world.store, Some(tag.reference.clone()), tag.descriptor.digest)? {
            images.push((tag.reference, named));
        }
    }
    Ok(images)
}
