//! Annotations of manifests, indexes and their descriptors (B-116, B-117).

use castoff_oci::{Descriptor, Index, Manifest, Platform, Raw};

use crate::World;
use crate::export::image::Image;
use crate::export::set::ImageSet;

/// An annotation that a build was asked to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it is of.
    pub level: AnnotationLevel,
    /// The image it is of; `None` is every image.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// What an annotation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationLevel {
    /// The manifest of an image.
    Manifest,
    /// The index.
    Index,
    /// The descriptor by which the index, or whatever names the only image, refers to a manifest.
    ManifestDescriptor,
    /// The descriptor by which something refers to the index.
    IndexDescriptor,
}

/// Why images cannot be annotated.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// An annotation of an index, and there is none.
    #[error(
        "annotation `{0}` is of an index, and the result is a single manifest: an index needs several platforms"
    )]
    NoIndex(String),
    /// An annotation of an image that was not built.
    #[error("annotation `{key}` is for {platform}, which is not built")]
    Platform {
        /// The annotation.
        key: String,
        /// For what.
        platform: Box<Platform>,
    },
    /// A document could not be stored.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
}

/// Returns images with annotations, and puts their documents into the store. An annotation that is there
/// already gets the new value; of two of one name the later counts.
///
/// # Errors
/// When there is nothing that an annotation is of, or the store cannot be written.
pub fn annotate(
    images: &ImageSet,
    annotations: &[Annotation],
    world: &World,
) -> Result<ImageSet, AnnotateError> {
    if annotations.is_empty() {
        return Ok(images.clone());
    }
    check(images, annotations)?;
    let annotated = images
        .images()
        .iter()
        .map(|image| {
            let platform = image.config.value().platform();
            let wanted = of(annotations, AnnotationLevel::Manifest, Some(&platform));
            let manifest = extended(&image.manifest, wanted);
            world.store.put_blob(manifest.bytes())?;
            Ok(Image { manifest, ..image.clone() })
        })
        .collect::<Result<Vec<Image>, AnnotateError>>()?;
    let descriptor_of = |platform: &Platform| {
        of(annotations, AnnotationLevel::ManifestDescriptor, Some(platform)).collect::<Vec<_>>()
    };
    let Some(index) = images.index() else {
        let [image] = <[Image; 1]>::try_from(annotated).expect("several images are under an index");
        let mut descriptor = images.annotations().clone();
        let platform = image.config.value().platform();
        descriptor.extend(descriptor_of(&platform));
        return Ok(ImageSet::single(image).with_annotations(descriptor));
    };
    let entries = index.value().manifests.iter().map(|entry| {
        let old = images.images().iter().position(|image| image.manifest.digest() == entry.digest);
        let Some(place) = old else { return entry.clone() };
        let mut new = Descriptor { platform: entry.platform.clone(), ..annotated[place].descriptor() };
        new.annotations.clone_from(&entry.annotations);
        new.annotations.extend(descriptor_of(&annotated[place].config.value().platform()));
        new
    });
    let mut value = Index { manifests: entries.collect(), ..index.value().clone() };
    value.annotations.extend(of(annotations, AnnotationLevel::Index, None));
    let index = Raw::new(value);
    world.store.put_blob(index.bytes())?;
    let mut descriptor = images.annotations().clone();
    descriptor.extend(of(annotations, AnnotationLevel::IndexDescriptor, None));
    Ok(ImageSet::indexed(index, annotated).with_annotations(descriptor))
}

/// Returns the annotations of a level as pairs; those of one image are for its platform or for all.
fn of<'a>(
    annotations: &'a [Annotation],
    level: AnnotationLevel,
    platform: Option<&'a Platform>,
) -> impl Iterator<Item = (String, String)> + 'a {
    let matches = move |annotation: &&Annotation| {
        annotation.level == level
            && annotation.platform.as_ref().is_none_or(|wanted| platform.is_none_or(|own| wanted == own))
    };
    // What names a platform wins over what does not, wherever it stands.
    let general = annotations.iter().filter(|annotation| annotation.platform.is_none());
    let special = annotations.iter().filter(|annotation| annotation.platform.is_some());
    general
        .chain(special)
        .filter(matches)
        .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
}

/// Refuses annotations of what there is not (B-117).
fn check(images: &ImageSet, annotations: &[Annotation]) -> Result<(), AnnotateError> {
    for annotation in annotations {
        let of_index = match annotation.level {
            AnnotationLevel::Index | AnnotationLevel::IndexDescriptor => true,
            AnnotationLevel::Manifest | AnnotationLevel::ManifestDescriptor => false,
        };
        if of_index && images.index().is_none() {
            return Err(AnnotateError::NoIndex(annotation.key.clone()));
        }
        if let Some(platform) = &annotation.platform
            && !images.images().iter().any(|image| image.config.value().platform() == *platform)
        {
            return Err(AnnotateError::Platform {
                key: annotation.key.clone(),
                platform: Box::new(platform.clone()),
            });
        }
    }
    Ok(())
}

/// Returns a document with further annotations; without any it stays the same bytes.
fn extended(manifest: &Raw<Manifest>, annotations: impl Iterator<Item = (String, String)>) -> Raw<Manifest> {
    let mut value = manifest.value().clone();
    value.annotations.extend(annotations);
    if value.annotations == manifest.value().annotations { manifest.clone() } else { Raw::new(value) }
}
