//! What a name stands for: one image, or an index over the images of several platforms.
//!
//! A build for one platform gives a manifest, one for several an index whose entries are in the order
//! asked for (B-109, B-166). Everything that takes images out of the store takes an [`ImageSet`], so that
//! the difference is made in one place.

use castoff_graph::{BuildGraph, ImageOutput};
use castoff_oci::{Descriptor, Digest, Index, MediaType, Raw, Reference};
use indexmap::IndexMap;

use crate::World;
use crate::bodies::Bodies;
use crate::driver::Solved;
use crate::export::attest::is_attestation;
use crate::export::image::{self, AssembleError, Image};

/// One image, or an index and its images.
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// The index over the images; one image may do without.
    index: Option<Raw<Index>>,
    images: Vec<Image>,
    /// Annotations of the descriptor by which something refers to this.
    annotations: IndexMap<String, String>,
}

impl ImageSet {
    /// Returns the set of an image that no index is over.
    pub fn single(image: Image) -> ImageSet {
        ImageSet { index: None, images: vec![image], annotations: IndexMap::new() }
    }

    /// Returns an index of the store with those of its images that are there. It may have entries that
    /// are no images, such as attestations.
    ///
    /// # Panics
    /// When there are no images.
    pub fn indexed(index: Raw<Index>, images: Vec<Image>) -> ImageSet {
        assert!(!images.is_empty(), "an index without an image names nothing");
        ImageSet { index: Some(index), images, annotations: IndexMap::new() }
    }

    /// Returns the same with annotations of the descriptor by which something refers to it.
    pub fn with_annotations(self, annotations: IndexMap<String, String>) -> ImageSet {
        ImageSet { annotations, ..self }
    }

    /// Returns the annotations of the descriptor by which something refers to it.
    pub fn annotations(&self) -> &IndexMap<String, String> {
        &self.annotations
    }

    /// Returns the images in the order of the index; at least one.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Returns the index, if there is one.
    pub fn index(&self) -> Option<&Raw<Index>> {
        self.index.as_ref()
    }

    /// Returns the entries of the index that are attestations.
    pub fn attestations(&self) -> impl Iterator<Item = &Descriptor> {
        let entries = self.index.iter().flat_map(|index| &index.value().manifests);
        entries.filter(|entry| is_attestation(entry))
    }

    /// Returns the descriptor of the index, or of the only manifest with its platform.
    pub fn descriptor(&self) -> Descriptor {
        let descriptor = match &self.index {
            None => self.images[0].descriptor(),
            Some(index) => index_descriptor(index),
        };
        Descriptor { annotations: self.annotations.clone(), ..descriptor }
    }

    /// Returns the id that people are told: of an image the digest of its config, of an index its own
    /// (B-112).
    pub fn id(&self) -> Digest {
        match &self.index {
            None => self.images[0].id(),
            Some(index) => index.digest(),
        }
    }
}

/// Returns the descriptor of an index.
pub(crate) fn index_descriptor(index: &Raw<Index>) -> Descriptor {
    let media_type = index.value().media_type.clone().unwrap_or(MediaType::OciIndex);
    Descriptor::new(media_type, index.digest(), index.bytes().len() as u64)
}

/// How a set is assembled.
#[derive(Debug, Clone, Copy)]
pub struct AssembleOptions {
    /// Whether there is an index even over one image (B-109).
    pub indexed: bool,
    /// SOURCE_DATE_EPOCH in seconds since 1970: the time of config and history (B-170, B-171).
    pub epoch: Option<i64>,
    /// The latest time that a file of a new layer has, in seconds since 1970 (`rewrite-timestamp`, B-170).
    pub clamp: Option<i64>,
    /// Whether the config says which steps made the layers, so that the image is a cache (B-125). Layers whose
    /// times are clamped are not those of their steps, and of them it says nothing.
    pub inline_cache: bool,
}

/// Assembles the images of some outputs, at least one, and puts their documents into the store.
///
/// # Errors
/// When a layer cannot be read or the store not be written.
pub fn assemble(
    graph: &BuildGraph,
    outputs: &[ImageOutput],
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    options: AssembleOptions,
) -> Result<ImageSet, AssembleError> {
    let images = outputs
        .iter()
        .map(|output| image::assemble(graph, output, solved, world, bodies, options))
        .collect::<Result<Vec<_>, _>>()?;
    if !options.indexed {
        let [image] = images.try_into().expect("several images are under an index");
        return Ok(ImageSet::single(image));
    }
    let index = Raw::new(Index::oci(images.iter().map(Image::descriptor).collect()));
    world.store.put_blob(index.bytes())?;
    Ok(ImageSet::indexed(index, images))
}

/// Names images in the store, and returns whether a name stood for something else before.
///
/// # Errors
/// When the store cannot be written.
pub fn tag(world: &World, images: &ImageSet, names: &[Reference]) -> Result<bool, AssembleError> {
    let descriptor = images.descriptor();
    let mut changed = false;
    for name in names {
        changed |= world.store.tag(name)?.as_ref() != Some(&descriptor);
        world.store.set_tag(name, &descriptor)?;
    }
    Ok(changed)
}
