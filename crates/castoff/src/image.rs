//! Images of the store as commands name them: by reference, id, or a beginning of an id. What is named
//! may be an index; commands that need one image take that of a platform.

use anyhow::Context as _;
use castoff_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Raw, Reference};
use castoff_solver::export::image::{Image, ImageLayer};
use castoff_solver::export::set::ImageSet;
use castoff_solver::origin::{self, Origins};
use castoff_solver::{BaseLayer, Bodies, World};
use castoff_store::{LayerId, Store};

/// Documents of an image are small; more than this is damage.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that a command named.
#[derive(Debug, Clone)]
pub struct Named {
    /// The name it was found under, if it has one.
    pub reference: Option<Reference>,
    /// The index that the name stands for, if it is one; the image is one of its.
    pub index: Option<Raw<Index>>,
    /// The manifest of the image.
    pub manifest: Raw<Manifest>,
    /// Its config.
    pub config: Raw<ImageConfig>,
}

/// Finds an image in the store. Of an index it is the image for the platform; without one that for this
/// machine, else the first.
///
/// # Errors
/// When there is none, several, or its documents are damaged.
pub fn find(store: &Store, name: &str, platform: Option<&Platform>) -> anyhow::Result<Named> {
    if let Ok(reference) = name.parse::<Reference>() {
        let found = match (reference.digest(), store.tag(&reference)?) {
            (_, Some(descriptor)) => Some(descriptor.digest),
            (Some(digest), None) => Some(digest),
            (None, None) => store.pulled(&reference)?.map(|pulled| pulled.descriptor.digest),
        };
        if let Some(digest) = found
            && let Some(named) = load(store, Some(reference), digest, platform)?
        {
            return Ok(named);
        }
    }
    let prefix = name.strip_prefix("sha256:").unwrap_or(name);
    let hex = prefix.len() >= 4 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex {
        if let Some(named) = find_by_id(store, name, prefix, platform)? {
            return Ok(named);
        }
        // An image without a name is found by its whole id.
        if let Ok(digest) = format!("sha256:{prefix}").parse::<Digest>()
            && let Some(named) = load(store, None, digest, platform)?
        {
            return Ok(named);
        }
    }
    anyhow::bail!("there is no image `{name}` in the store")
}

/// Finds a named image by the beginning of an id: what the names stand for comes first, and then the single
/// images of indexes.
fn find_by_id(
    store: &Store,
    name: &str,
    prefix: &str,
    platform: Option<&Platform>,
) -> anyhow::Result<Option<Named>> {
    let begins = |digest: Digest| digest.hex().starts_with(prefix);
    let (mut roots, mut parts) = (Vec::new(), Vec::new());
    for tag in store.tags()? {
        // The platform is asked for of the one that is meant, and not of all.
        let Some(named) = load(store, Some(tag.reference), tag.descriptor.digest, None)? else { continue };
        if begins(named.id()) || begins(named.root().digest) {
            roots.push(named);
        } else if named.index.is_some() {
            let images = named.all(store)?.into_iter().map(|(_, image)| image);
            parts.extend(images.filter(|image| begins(image.id()) || begins(image.manifest.digest())));
        }
    }
    let mut matches = if roots.is_empty() { parts } else { roots };
    matches.sort_by_key(Named::id);
    matches.dedup_by_key(|named| named.id());
    match &mut matches[..] {
        [] => Ok(None),
        [named] => load(store, named.reference.take(), named.root().digest, platform),
        several => anyhow::bail!("`{name}` is the beginning of {} image ids", several.len()),
    }
}

/// Loads the documents of an image whose manifest or index has this digest.
fn load(
    store: &Store,
    reference: Option<Reference>,
    digest: Digest,
    platform: Option<&Platform>,
) -> anyhow::Result<Option<Named>> {
    let Some(bytes) = store.read_blob(&digest, DOCUMENT_LIMIT)? else { return Ok(None) };
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    if value.get("manifests").is_some() {
        let index: Raw<Index> = Raw::parse(bytes)?;
        let Some(chosen) = choose(store, &index, platform)? else { return Ok(None) };
        return Ok(Some(Named { reference, index: Some(index), ..chosen }));
    }
    if value.get("layers").is_none() {
        return Ok(None);
    }
    let named = image_of(store, Raw::parse(bytes)?)?;
    if let Some(wanted) = platform
        && wanted.accepts(&named.config.value().platform()).is_none()
    {
        let found = named.config.value().platform();
        anyhow::bail!("the image is for {found}, and not for {wanted}");
    }
    Ok(Some(Named { reference, ..named }))
}

/// Returns the image of an index that serves a platform best, among those that are there. Two that serve
/// equally well are taken in their order.
fn choose(store: &Store, index: &Raw<Index>, platform: Option<&Platform>) -> anyhow::Result<Option<Named>> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let images = images_of(store, index)?;
    let distance = |(claimed, _): &(Platform, Named)| wanted.accepts(claimed).unwrap_or(u32::MAX);
    let available: Vec<String> = images.iter().map(|(claimed, _)| claimed.to_string()).collect();
    let chosen = images.into_iter().min_by_key(distance);
    match (chosen, platform) {
        (Some(chosen), Some(wanted)) if distance(&chosen) == u32::MAX => {
            anyhow::bail!("the image is not there for {wanted}; it is there for: {}", available.join(", "))
        }
        (chosen, _) => Ok(chosen.map(|(_, named)| named)),
    }
}

/// Returns the images of an index that are in the store, in order, each with the platform that the index
/// says it is for, or its config when the index says nothing. Attestations, whose platform is unknown, are
/// no images.
fn images_of(store: &Store, index: &Raw<Index>) -> anyhow::Result<Vec<(Platform, Named)>> {
    let mut images = Vec::new();
    for entry in &index.value().manifests {
        if entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown") {
            continue;
        }
        let Some(bytes) = store.read_blob(&entry.digest, DOCUMENT_LIMIT)? else { continue };
        // An index in an index, or something else that is no image.
        let Ok(manifest) = Raw::<Manifest>::parse(bytes) else { continue };
        let named = image_of(store, manifest)?;
        let platform = entry.platform.clone().unwrap_or_else(|| named.config.value().platform());
        images.push((platform, named));
    }
    Ok(images)
}

fn image_of(store: &Store, manifest: Raw<Manifest>) -> anyhow::Result<Named> {
    let digest = manifest.value().config.digest;
    let config = store
        .read_blob(&digest, DOCUMENT_LIMIT)?
        .with_context(|| format!("the config `{digest}` is missing"))?;
    Ok(Named { reference: None, index: None, manifest, config: Raw::parse(config)? })
}

impl Named {
    /// Returns the descriptor of what was named: the index, or the manifest.
    pub fn root(&self) -> Descriptor {
        let (media_type, default, digest, size) = match &self.index {
            Some(index) => {
                let media_type = index.value().media_type.clone();
                (media_type, MediaType::OciIndex, index.digest(), index.bytes().len())
            }
            None => {
                let media_type = self.manifest.value().media_type.clone();
                (media_type, MediaType::OciManifest, self.manifest.digest(), self.manifest.bytes().len())
            }
        };
        Descriptor::new(media_type.unwrap_or(default), digest, size as u64)
    }

    /// Returns the id of what was named: the digest of the index, or that of the config (B-112).
    pub fn id(&self) -> Digest {
        self.index.as_ref().map_or_else(|| self.config.digest(), Raw::digest)
    }

    /// Returns every image that the name stands for and that is in the store, with its platform.
    ///
    /// # Errors
    /// When a document is damaged.
    pub fn all(&self, store: &Store) -> anyhow::Result<Vec<(Platform, Named)>> {
        match &self.index {
            Some(index) => images_of(store, index),
            None => Ok(vec![(self.config.value().platform(), self.clone())]),
        }
    }

    /// Returns all that was named as the exporters take it, and makes its layers known to `bodies`.
    ///
    /// # Errors
    /// When a document is damaged, or manifest and config disagree.
    pub fn image_set(&self, store: &Store, bodies: &Bodies<'_>) -> anyhow::Result<ImageSet> {
        let Some(index) = &self.index else { return Ok(ImageSet::single(self.image(bodies)?)) };
        let images = images_of(store, index)?
            .into_iter()
            .map(|(_, named)| Named { reference: self.reference.clone(), ..named }.image(bodies));
        let images = images.collect::<anyhow::Result<Vec<_>>>()?;
        if images.is_empty() {
            anyhow::bail!("no image of the index `{}` is in the store", index.digest());
        }
        Ok(ImageSet::indexed(index.clone(), images))
    }

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
        // A base that was never fetched is where it came from, whatever the image is called now.
        let store = bodies.store();
        let is_here = |layer: &Descriptor| store.blob(&layer.digest).is_some();
        let origins = if layers.iter().all(is_here) { Origins::new() } else { origin::origins(store)? };
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
                    let known = origins.get(&descriptor.digest).and_then(|known| known.first());
                    let reference = known.unwrap_or(&reference).clone();
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
        if let Some(named) = load(&world.store, Some(tag.reference.clone()), tag.descriptor.digest, None)? {
            images.push((tag.reference, named));
        }
    }
    Ok(images)
}
