//! From an image's name to its manifest and config: the store first, then the registry (B-091).

use castoff_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Raw, Reference};

use crate::World;

/// Documents of an image are small; more than this is an attack.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that was found; its manifest and config are in the store, its layers need not be.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The name, pinned to the digest that it was found under.
    pub reference: Reference,
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// The platform of the image.
    pub platform: Platform,
    /// Its config.
    pub config: ImageConfig,
}

/// When a registry is asked what a tag stands for. A digest is looked for in the store first, whatever the
/// policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Always; what the store knows under the tag does not count (B-033).
    Always,
    /// When the store does not know the tag.
    #[default]
    Missing,
    /// Always, but what the store knows is good enough when the registry does not give an answer.
    Newer,
    /// Never: the store has it, or nobody.
    Never,
}

/// Why an image was not found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry does not have it or cannot be asked.
    #[error("{reference}")]
    Registry {
        /// Which image.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: castoff_registry::RegistryError,
    },
    /// A document is not what it should be.
    #[error("{reference}: document `{digest}` is malformed: {source}")]
    Document {
        /// Which image.
        reference: Box<Reference>,
        /// Which document.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The image exists, but not for the platform (B-079).
    #[error("{reference}: no match for platform {wanted}; it is there for: {}", available.join(", "))]
    Platform {
        /// Which image.
        reference: Box<Reference>,
        /// What was wanted.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<String>,
    },
    /// The image is in the store for other platforms, and its registry cannot be asked for this one.
    #[error("{reference}: the store has it for {}, and not for {wanted}", available.join(", "))]
    Unasked {
        /// Which image.
        reference: Box<Reference>,
        /// What was wanted.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<String>,
        /// Why the registry was of no help.
        #[source]
        source: Box<castoff_registry::RegistryError>,
    },
    /// The store does not have it, and nobody else may be asked.
    #[error("{reference}: the store does not have it for {wanted}, and no registry may be asked")]
    NotStored {
        /// Which image.
        reference: Box<Reference>,
        /// What was wanted.
        wanted: Box<Platform>,
    },
    /// The document is neither a manifest nor an index (B-078).
    #[error("{reference}: `{media_type}` is not an image manifest that castoff reads")]
    MediaType {
        /// Which image.
        reference: Box<Reference>,
        /// What it is.
        media_type: MediaType,
    },
    /// The store failed.
    #[error("using the store: {0}")]
    Blob(#[from] castoff_store::BlobError),
    /// The store failed.
    #[error("using the store: {0}")]
    Tag(#[from] castoff_store::FileError),
}

impl ResolveError {
    /// Returns whether the image may exist, and nobody was asked for it.
    pub fn is_unasked(&self) -> bool {
        match self {
            ResolveError::NotStored { .. } => true,
            ResolveError::Registry { source, .. } => source.is_offline(),
            ResolveError::Unasked { source, .. } => source.is_offline(),
            _ => false,
        }
    }
}

/// Finds an image for a platform.
///
/// # Errors
/// When it does not exist, not for the platform, or cannot be fetched.
pub fn resolve(
    world: &World,
    reference: &Reference,
    platform: &Platform,
    policy: PullPolicy,
) -> Result<Resolved, ResolveError> {
    if policy != PullPolicy::Newer {
        return find(world, reference, platform, policy);
    }
    match find(world, reference, platform, PullPolicy::Always) {
        Err(ResolveError::Registry { reference: name, source })
            if !matches!(source, castoff_registry::RegistryError::Stopped) =>
        {
            find(world, reference, platform, PullPolicy::Never)
                .map_err(|_not_there_either| ResolveError::Registry { reference: name, source })
        }
        found => found,
    }
}

fn find(
    world: &World,
    reference: &Reference,
    platform: &Platform,
    policy: PullPolicy,
) -> Result<Resolved, ResolveError> {
    let mut otherwise = None;
    for (origin, descriptor) in known(world, reference, policy)? {
        match (from_store(world, reference, platform, &descriptor)?, origin) {
            (Stored::Fits(resolved), _) => return Ok(*resolved),
            // All that there is under the name, or by the digest: the planner warns (D-123).
            (Stored::Differs(resolved), Origin::Registry | Origin::Digest) => return Ok(*resolved),
            (Stored::Differs(resolved), Origin::User) => otherwise = Some(Otherwise::Image(resolved)),
            (Stored::Lacks(available), Origin::User) => otherwise = Some(Otherwise::Index(available)),
            // The registry's index may have the platform by now.
            (Stored::Lacks(_) | Stored::Absent, _) => {}
        }
    }
    if policy == PullPolicy::Never {
        return match otherwise {
            // Nobody else is asked, so it is all that there is (D-123).
            Some(Otherwise::Image(resolved)) => Ok(*resolved),
            Some(Otherwise::Index(available)) => Err(no_match(reference, platform, available)),
            None => Err(ResolveError::NotStored {
                reference: Box::new(reference.clone()),
                wanted: Box::new(platform.clone()),
            }),
        };
    }
    let remote = |source| ResolveError::Registry { reference: Box::new(reference.clone()), source };
    let document = match (world.registry.resolve(reference), otherwise) {
        (Ok(document), _) => document,
        (Err(error), None) => return Err(remote(error)),
        // Nobody has it for the platform, but the store has it for another (D-123).
        (Err(error), Some(Otherwise::Image(resolved))) if error.means_absent() => return Ok(*resolved),
        (Err(error), Some(Otherwise::Index(available))) if error.means_absent() => {
            return Err(no_match(reference, platform, available));
        }
        // A registry that cannot be asked may have the right one.
        (Err(source), Some(otherwise)) => {
            return Err(ResolveError::Unasked {
                reference: Box::new(reference.clone()),
                wanted: Box::new(platform.clone()),
                available: match otherwise {
                    Otherwise::Image(resolved) => vec![resolved.platform.to_string()],
                    Otherwise::Index(available) => available,
                },
                source: Box::new(source),
            });
        }
    };
    let pinned = reference.with_digest(document.digest);
    let named = Descriptor::new(document.media_type.clone(), document.digest, document.bytes.len() as u64);
    let (manifest_digest, manifest_bytes) = if document.media_type.is_index() {
        let index: Raw<Index> = parse(reference, document.bytes)?;
        let manifests = &index.value().manifests;
        let chosen =
            choose(platform, manifests).ok_or_else(|| no_match(reference, platform, available(manifests)))?;
        world.store.put_blob(index.bytes())?;
        let bytes = match world.store.read_blob(&chosen.digest, DOCUMENT_LIMIT)? {
            Some(bytes) => bytes,
            None => world.registry.manifest(reference, &chosen.digest).map_err(remote)?.bytes,
        };
        (chosen.digest, bytes)
    } else if document.media_type.is_manifest() {
        (document.digest, document.bytes)
    } else {
        return Err(ResolveError::MediaType {
            reference: Box::new(reference.clone()),
            media_type: document.media_type,
        });
    };
    let manifest: Raw<Manifest> = parse(reference, manifest_bytes)?;
    let config_descriptor = &manifest.value().config;
    if world.store.blob(&config_descriptor.digest).is_none() {
        let mut reader = world.registry.blob(reference, config_descriptor).map_err(remote)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut reader, DOCUMENT_LIMIT), &mut bytes)
            .map_err(|source| remote(castoff_registry::RegistryError::from(source)))?;
        world.store.put_blob(&bytes)?;
    }
    world.store.put_blob(manifest.bytes())?;
    let config = config(world, reference, &config_descriptor.digest)?;
    if reference.tag().is_some() && reference.digest().is_none() {
        // With an index, the next build finds each platform that was ever asked for.
        world.store.set_pulled(reference, &named)?;
    }
    Ok(Resolved { reference: pinned, manifest: manifest_digest, platform: config.platform(), config })
}

/// Why the store knows what a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The name has a digest.
    Digest,
    /// Somebody here gave the name; a registry may have more under it.
    User,
    /// A registry said so.
    Registry,
}

/// What a user's name stands for when it does not serve the platform.
enum Otherwise {
    /// One image, for another platform.
    Image(Box<Resolved>),
    /// An index, with these platforms.
    Index(Vec<String>),
}

/// What the store has of an image.
enum Stored {
    /// The image for the platform.
    Fits(Box<Resolved>),
    /// One manifest, for another platform.
    Differs(Box<Resolved>),
    /// An index without the platform, and the platforms that it has.
    Lacks(Vec<String>),
    /// Not all of its documents.
    Absent,
}

/// Returns what the store knows under a name: what was named last comes first, whether it was a build
/// that gave the name or a registry.
fn known(
    world: &World,
    reference: &Reference,
    policy: PullPolicy,
) -> Result<Vec<(Origin, Descriptor)>, ResolveError> {
    if let Some(digest) = reference.digest() {
        let blob = world.store.blob(&digest);
        let descriptor = blob.map(|blob| Descriptor::new(MediaType::OciManifest, digest, blob.size));
        return Ok(descriptor.map(|descriptor| (Origin::Digest, descriptor)).into_iter().collect());
    }
    if policy == PullPolicy::Always {
        return Ok(Vec::new());
    }
    let mut found = [
        (Origin::User, world.store.tag_entry(reference)?),
        (Origin::Registry, world.store.pulled(reference)?),
    ];
    found.sort_by_key(|(_, tag)| std::cmp::Reverse(tag.as_ref().map(|tag| tag.created_ms)));
    Ok(found.into_iter().filter_map(|(origin, tag)| Some((origin, tag?.descriptor))).collect())
}

/// Finds an image in the store alone.
fn from_store(
    world: &World,
    reference: &Reference,
    platform: &Platform,
    descriptor: &Descriptor,
) -> Result<Stored, ResolveError> {
    let Some(bytes) = world.store.read_blob(&descriptor.digest, DOCUMENT_LIMIT)? else {
        return Ok(Stored::Absent);
    };
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|source| malformed(reference, descriptor.digest, source))?;
    let is_index = value.get("manifests").is_some();
    let (digest, bytes) = if is_index {
        let index: Raw<Index> = parse(reference, bytes)?;
        let manifests = &index.value().manifests;
        let chosen = match choose(platform, manifests) {
            Some(chosen) => chosen.digest,
            None => return Ok(Stored::Lacks(available(manifests))),
        };
        match world.store.read_blob(&chosen, DOCUMENT_LIMIT)? {
            Some(bytes) => (chosen, bytes),
            None => return Ok(Stored::Absent),
        }
    } else {
        (descriptor.digest, bytes)
    };
    let manifest: Raw<Manifest> = parse(reference, bytes)?;
    if world.store.blob(&manifest.value().config.digest).is_none() {
        return Ok(Stored::Absent);
    }
    let config = config(world, reference, &manifest.value().config.digest)?;
    // What an index says of its entries counts, as it does when it comes from a registry.
    let fits = is_index || platform.accepts(&config.platform()).is_some();
    let resolved = Box::new(Resolved {
        reference: reference.with_digest(descriptor.digest),
        manifest: digest,
        platform: config.platform(),
        config,
    });
    Ok(if fits { Stored::Fits(resolved) } else { Stored::Differs(resolved) })
}

fn config(world: &World, reference: &Reference, digest: &Digest) -> Result<ImageConfig, ResolveError> {
    let bytes = world.store.read_blob(digest, DOCUMENT_LIMIT)?.unwrap_or_default();
    Ok(parse::<ImageConfig>(reference, bytes)?.value().clone())
}

fn parse<T: serde::de::DeserializeOwned>(
    reference: &Reference,
    bytes: Vec<u8>,
) -> Result<Raw<T>, ResolveError> {
    let digest = Digest::of(&bytes);
    Raw::parse(bytes).map_err(|source| malformed(reference, digest, source))
}

fn malformed(reference: &Reference, digest: Digest, source: serde_json::Error) -> ResolveError {
    ResolveError::Document { reference: Box::new(reference.clone()), digest, source }
}

/// Chooses the best entry of an index for a platform; attestations, whose platform is unknown, never.
pub(crate) fn choose<'a>(platform: &Platform, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
    let best = manifests
        .iter()
        .filter_map(|descriptor| Some((platform.accepts(descriptor.platform.as_ref()?)?, descriptor)))
        .min_by_key(|(distance, _)| *distance);
    best.map(|(_, descriptor)| descriptor)
}

/// Returns the platforms of an index, for people.
pub(crate) fn available(manifests: &[Descriptor]) -> Vec<String> {
    let platforms = manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref());
    platforms.filter(|platform| platform.os != "unknown").map(Platform::to_string).collect()
}

fn no_match(reference: &Reference, platform: &Platform, available: Vec<String>) -> ResolveError {
    ResolveError::Platform {
        reference: Box::new(reference.clone()),
        wanted: Box::new(platform.clone()),
        available,
    }
}
