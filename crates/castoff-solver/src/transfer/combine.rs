//! One index of images that registries and layouts have, as `docker buildx imagetools create` makes it.
//!
//! The images stay what they are; only the index is new. Its pack is written as any other.

use std::collections::BTreeMap;

use castoff_oci::{Descriptor, Digest, Index, MediaType, MediaTypes, Platform, Raw};

use crate::World;
use crate::export::annotate::{Annotation, AnnotationLevel};
use crate::export::attest::REFERENCE_DIGEST;
use crate::export::pack::{Document, Pack};
use crate::transfer::{Place, TransferError, gather, parse, platform_of};

/// Something that goes into an index: an image, or each entry of another index.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where it is.
    pub place: Place,
    /// Its manifest or index. Its platform and annotations, if it has any, are those of the entry.
    pub root: Descriptor,
}

/// How parts are put together.
#[derive(Debug, Clone, Copy)]
pub struct CombineOptions<'a> {
    /// Annotations of the index and of its entries.
    pub annotations: &'a [Annotation],
    /// Whether an image alone becomes an index, too.
    pub prefer_index: bool,
    /// The images that are taken, with what is attached to them; empty is all.
    pub platforms: &'a [Platform],
}

/// Why an index cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CombineError {
    /// A document is missing or damaged.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// An annotation of something that is not made.
    #[error("annotation `{0}`: an index has annotations of the levels index and manifest-descriptor alone")]
    Level(String),
    /// Docker's lists have no annotations.
    #[error("annotation `{0}`: the images are of Docker's types, whose list has no annotations")]
    DockerList(String),
    /// Nothing is left.
    #[error("no part is for {0}")]
    Empty(String),
}

/// Makes an index of parts in their order. What is in several of them is in it once. A part alone that is an
/// index, or is not to become one, stays as it is.
///
/// # Errors
/// When a document is missing or damaged, or an annotation has no place.
pub fn combine(world: &World, parts: &[Part], options: CombineOptions<'_>) -> Result<Pack, CombineError> {
    let plain = options.annotations.is_empty() && options.platforms.is_empty();
    if let ([only], true) = (parts, plain)
        && (only.root.media_type.is_index() || !options.prefer_index)
    {
        return Ok(gather(world, &only.place, &only.root, None)?);
    }
    let mut entries: Vec<(Descriptor, &Place)> = Vec::new();
    let mut of_index = BTreeMap::new();
    for part in parts {
        if part.root.media_type.is_index() {
            let index = index(world, part)?;
            of_index.extend(index.annotations);
            index.manifests.into_iter().for_each(|entry| add(&mut entries, entry, &part.place));
        } else {
            let mut entry = part.root.clone();
            if entry.platform.is_none() {
                entry.platform = platform_of(world, &part.place, &entry)?;
            }
            add(&mut entries, entry, &part.place);
        }
    }
    select(&mut entries, options.platforms)?;
    let index = annotated(entries.iter().map(|(entry, _)| entry.clone()).collect(), of_index, options)?;
    let index = Raw::new(index);
    let media_type = index.value().media_type.clone().expect("it was just set");
    let root = Descriptor::new(media_type.clone(), index.digest(), index.bytes().len() as u64);
    let mut pack = Pack::of(root.clone());
    for (entry, place) in &entries {
        let part = gather(world, place, entry, None)?;
        let new =
            part.manifests.into_iter().filter(|manifest| !pack.documents.contains_key(&manifest.digest));
        pack.manifests.extend(new.collect::<Vec<_>>());
        pack.images.extend(part.images);
        pack.documents.extend(part.documents);
        pack.blobs.extend(part.blobs);
    }
    pack.documents.insert(root.digest, Document { media_type, bytes: index.bytes().to_vec() });
    pack.manifests.push(root);
    Ok(pack)
}

fn index(world: &World, part: &Part) -> Result<Index, TransferError> {
    let bytes = part.place.document(world, &part.root)?.ok_or(TransferError::Missing(part.root.digest))?;
    parse(&part.root.digest, &bytes)
}

/// Adds an entry, or what is newly said of one that is there.
fn add<'p>(entries: &mut Vec<(Descriptor, &'p Place)>, entry: Descriptor, place: &'p Place) {
    match entries.iter_mut().find(|(known, _)| known.digest == entry.digest) {
        None => entries.push((entry, place)),
        Some((known, _)) => {
            known.platform = entry.platform.or(known.platform.take());
            known.annotations.extend(entry.annotations);
        }
    }
}

/// Keeps the images for some platforms, and what is attached to these.
fn select(entries: &mut Vec<(Descriptor, &Place)>, platforms: &[Platform]) -> Result<(), CombineError> {
    if platforms.is_empty() {
        return Ok(());
    }
    let wanted = |entry: &Descriptor| {
        let known = entry.platform.as_ref();
        let known =
            known.map(|known| Platform::normalised(&known.os, &known.architecture, known.variant.as_deref()));
        known.is_some_and(|known| platforms.contains(&known))
    };
    let kept: Vec<Digest> =
        entries.iter().filter(|(entry, _)| wanted(entry)).map(|(entry, _)| entry.digest).collect();
    let attached = |entry: &Descriptor| {
        let subject = entry.annotations.get(REFERENCE_DIGEST);
        subject.is_some_and(|subject| kept.iter().any(|digest| digest.to_string() == *subject))
    };
    entries.retain(|(entry, _)| kept.contains(&entry.digest) || attached(entry));
    if kept.is_empty() {
        let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
        return Err(CombineError::Empty(names.join(", ")));
    }
    Ok(())
}

/// Returns the index of some entries: Docker's when all of them are.
fn annotated(
    mut manifests: Vec<Descriptor>,
    of_parts: BTreeMap<String, String>,
    options: CombineOptions<'_>,
) -> Result<Index, CombineError> {
    let docker = manifests
        .iter()
        .all(|entry| matches!(entry.media_type, MediaType::DockerManifest | MediaType::DockerManifestList));
    if docker {
        let types = MediaTypes::Docker.index();
        return match options.annotations.first() {
            Some(annotation) => Err(CombineError::DockerList(annotation.key.clone())),
            None => Ok(Index { media_type: Some(types), ..Index::oci(manifests) }),
        };
    }
    let mut annotations: BTreeMap<String, String> = of_parts;
    for Annotation { level, platform, key, value } in options.annotations {
        match level {
            AnnotationLevel::Index => {
                annotations.insert(key.clone(), value.clone());
            }
            AnnotationLevel::ManifestDescriptor => {
                let fits = |entry: &&mut Descriptor| platform.is_none() || entry.platform == *platform;
                for entry in manifests.iter_mut().filter(fits) {
                    entry.annotations.insert(key.clone(), value.clone());
                }
            }
            AnnotationLevel::Manifest | AnnotationLevel::IndexDescriptor => {
                return Err(CombineError::Level(key.clone()));
            }
        }
    }
    Ok(Index { annotations: annotations.into_iter().collect(), ..Index::oci(manifests) })
}
