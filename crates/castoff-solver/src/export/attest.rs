//! Attestations of images: statements about them, beside them in their index (B-176, B-177).
//!
//! An attestation manifest is an entry of the index for each image. Its layers are in-toto statements; its
//! annotations name the image. As an OCI artifact it also has the image as its subject; older programs know it
//! as an image whose platform is unknown.

use castoff_oci::{Descriptor, Digest, Index, Manifest, MediaType, Platform, Raw, Reference};
use castoff_store::BlobError;
use serde_json::{Value, json};

use crate::World;
use crate::export::pack::{BlobOrigin, Document, Pack, PackedBlob};
use crate::export::set::{ImageSet, index_descriptor};

/// The annotation of an entry that says what it is.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The value of it at an attestation manifest.
const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// The annotation of an entry that says which image it is about.
pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The annotation of a statement with the type of what it says.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What an attestation manifest is as an artifact.
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What is said of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Which image, by its place in the set.
    pub image: usize,
    /// What kind of thing is said, as in-toto names it.
    pub predicate_type: String,
    /// What is said.
    pub predicate: Value,
}

/// How attestations are added.
#[derive(Debug, Clone, Copy)]
pub struct AttestOptions<'a> {
    /// What is said; the order is that of the statements.
    pub attestations: &'a [Attestation],
    /// Names of the images, which the statements are about.
    pub names: &'a [Reference],
    /// Whether an attestation manifest is an OCI artifact (`oci-artifact`).
    pub artifact: bool,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementSubject {
    /// Its name: a purl, or the path of a file.
    pub name: String,
    /// The digest of its content.
    pub digest: Digest,
}

/// Returns whether an entry of an index is an attestation.
pub(crate) fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == ATTESTATION_MANIFEST)
}

/// Returns an in-toto statement of version 1.
pub fn statement(subjects: &[StatementSubject], predicate_type: &str, predicate: &Value) -> Value {
    let subject = |subject: &StatementSubject| json!({ "name": subject.name, "digest": { "sha256": subject.digest.hex() } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": predicate_type,
        "predicate": predicate,
    })
}

/// Returns the purl of an image by a name, as BuildKit writes it: `pkg:docker/name@tag?platform=linux%2Famd64`.
pub fn image_purl(name: &Reference, platform: &Platform) -> String {
    let familiar = name.familiar();
    let path = familiar.split('@').next().unwrap_or_default();
    let path = name.tag().and_then(|tag| path.strip_suffix(tag)?.strip_suffix(':')).unwrap_or(path);
    let mut purl = "pkg:docker".to_owned();
    for part in path.split('/') {
        purl.push('/');
        percent_encode(part, &mut purl);
    }
    let tag = name.tag().map(str::to_owned);
    // A name that is pinned stays so; one that says nothing means `latest`.
    let version = match (tag, name.digest()) {
        (Some(tag), _) => Some(tag),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    };
    if let Some(version) = version {
        purl.push('@');
        percent_encode(&version, &mut purl);
    }
    let mut separator = '?';
    if let Some(digest) = name.digest() {
        purl.push_str("?digest=");
        percent_encode(&digest.to_string(), &mut purl);
        separator = '&';
    }
    purl.push(separator);
    purl.push_str("platform=");
    percent_encode(&platform.to_string(), &mut purl);
    purl
}

/// RFC 3986: all but what is unreserved.
fn percent_encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]);
        }
    }
}

/// Returns images of the store with attestations in their index. All documents are put into the store.
///
/// # Errors
/// When the store cannot be written.
///
/// # Panics
/// When no index is over the images.
pub fn attest_set(
    images: &ImageSet,
    options: &AttestOptions<'_>,
    world: &World,
) -> Result<ImageSet, BlobError> {
    let index = images.index().expect("attestations are entries of an index");
    let mut value = index.value().clone();
    for (place, image) in images.images().iter().enumerate() {
        let Some(made) = attest(place, &image.descriptor(), options, world)? else { continue };
        world.store.put_blob(&made.manifest)?;
        world.store.put_blob(&made.config)?;
        value.manifests.push(made.entry);
    }
    let index = Raw::new(value);
    world.store.put_blob(index.bytes())?;
    let annotations = images.annotations().clone();
    Ok(ImageSet::indexed(index, images.images().to_vec()).with_annotations(annotations))
}

/// Adds attestations to the index of a pack, about its manifests as they are there. The statements are put into
/// the store.
///
/// # Errors
/// When the store cannot be written.
///
/// # Panics
/// When the pack is of no index.
pub fn attest_pack(mut pack: Pack, options: &AttestOptions<'_>, world: &World) -> Result<Pack, BlobError> {
    let old = pack.manifests.pop().expect("a pack has a root");
    let document = pack.documents.remove(&old.digest).expect("the root is a document");
    let mut value: Index =
        serde_json::from_slice(&document.bytes).expect("attestations are entries of an index");
    for place in 0..pack.images.len() {
        let Some(made) = attest(place, &pack.images[place].manifest, options, world)? else { continue };
        let media_type = made.entry.media_type.clone();
        pack.documents.insert(made.entry.digest, Document { media_type, bytes: made.manifest });
        let media_type = made.config_type;
        pack.documents.insert(Digest::of(&made.config), Document { media_type, bytes: made.config });
        for layer in made.layers {
            pack.blobs.insert(layer.digest, PackedBlob { descriptor: layer, origin: BlobOrigin::Store });
        }
        pack.manifests.push(made.entry.clone());
        value.manifests.push(made.entry);
    }
    let index = Raw::new(value);
    let root = index_descriptor(&index);
    pack.documents
        .insert(root.digest, Document { media_type: root.media_type.clone(), bytes: index.bytes().to_vec() });
    pack.root = Descriptor { annotations: pack.root.annotations, ..root.clone() };
    pack.manifests.push(root);
    Ok(pack)
}

/// The attestation manifest of one image.
struct Made {
    /// As the index has it.
    entry: Descriptor,
    manifest: Vec<u8>,
    config_type: MediaType,
    config: Vec<u8>,
    /// The statements, which are in the store.
    layers: Vec<Descriptor>,
}

/// Makes the attestation manifest of the image at a place; `None` when nothing is said of it.
fn attest(
    place: usize,
    image: &Descriptor,
    options: &AttestOptions<'_>,
    world: &World,
) -> Result<Option<Made>, BlobError> {
    let platform = image.platform.clone().expect("an image has a platform");
    let mut subjects: Vec<StatementSubject> = options
        .names
        .iter()
        .map(|name| StatementSubject { name: image_purl(name, &platform), digest: image.digest })
        .collect();
    if subjects.is_empty() {
        // in-toto: `_` where no name is of use.
        subjects.push(StatementSubject { name: "_".to_owned(), digest: image.digest });
    }
    let mut layers = Vec::new();
    for attestation in options.attestations.iter().filter(|attestation| attestation.image == place) {
        let said = statement(&subjects, &attestation.predicate_type, &attestation.predicate);
        let bytes = serde_json::to_vec(&said).expect("values have string keys");
        let blob = world.store.put_blob(&bytes)?;
        let mut layer = Descriptor::new(MediaType::from(STATEMENT), blob.digest, blob.size);
        layer.annotations.insert(PREDICATE_TYPE.to_owned(), attestation.predicate_type.clone());
        layers.push(layer);
    }
    if layers.is_empty() {
        return Ok(None);
    }
    let (config_type, config) = if options.artifact {
        (MediaType::from(EMPTY), b"{}".to_vec())
    } else {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        (MediaType::OciConfig, config.to_string().into_bytes())
    };
    let descriptor = Descriptor::new(config_type.clone(), Digest::of(&config), config.len() as u64);
    let manifest = if options.artifact {
        let subject = Descriptor::new(image.media_type.clone(), image.digest, image.size);
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciManifest,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor,
            "layers": layers,
            "subject": subject,
        });
        document.to_string().into_bytes()
    } else {
        Raw::new(Manifest::oci(descriptor, layers.clone())).bytes().to_vec()
    };
    let mut entry = Descriptor::new(MediaType::OciManifest, Digest::of(&manifest), manifest.len() as u64);
    entry.annotations.insert(REFERENCE_DIGEST.to_owned(), image.digest.to_string());
    entry.annotations.insert(REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned());
    entry.platform = Some(Platform::normalised("unknown", "unknown", None));
    Ok(Some(Made { entry, manifest, config_type, config, layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-176
    #[test]
    fn images_have_purls() {
        let check = |name: &str, expected: &str| {
            let platform = "linux/arm/v7".parse().unwrap();
            assert_eq!(image_purl(&name.parse().unwrap(), &platform), expected);
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        check("app:1.0", "pkg:docker/app@1.0?platform=linux%2Farm%2Fv7");
        check("app", "pkg:docker/app@latest?platform=linux%2Farm%2Fv7");
        check("r.example:5000/a/b:c", "pkg:docker/r.example:5000/a/b@c?platform=linux%2Farm%2Fv7");
        check(&format!("a/b@{digest}"), &format!("pkg:docker/a/b?digest={digest}&platform=linux%2Farm%2Fv7"));
    }
}
