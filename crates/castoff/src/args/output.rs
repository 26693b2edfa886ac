//! `--output`: what is made of the result, and where it goes (B-092 to B-106).

use std::path::{Path, PathBuf};

use castoff_oci::{Reference, ReferenceError};
use castoff_solver::export::annotate::{Annotation, AnnotationLevel};

use super::annotation::{self, AnnotationError};
use super::fields::{self, FieldError};

/// One thing to make of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSpec {
    /// The files of the result in a directory (B-095).
    Local {
        /// The directory; created when missing.
        dest: PathBuf,
        /// Whether files that the result lacks are removed (B-096).
        delete: bool,
        /// Whether each platform gets a subdirectory (B-098); `None` leaves it to their number.
        platform_split: Option<bool>,
        /// `source-date-epoch` (B-171).
        epoch: Option<EpochOverride>,
        /// What the names of attestations begin with (B-099).
        attestation_prefix: String,
    },
    /// The files of the result as a tar stream (B-097).
    Tar {
        /// Where to.
        dest: OutputFile,
        /// Whether each platform gets a subdirectory.
        platform_split: Option<bool>,
        /// `source-date-epoch` (B-171).
        epoch: Option<EpochOverride>,
        /// What the names of attestations begin with (B-099).
        attestation_prefix: String,
    },
    /// An OCI layout as an archive (B-102).
    Oci {
        /// Where to.
        dest: OutputFile,
        /// How the image is written.
        image: ImageAttributes,
    },
    /// An OCI layout as a directory: `type=oci,tar=false`.
    OciDirectory {
        /// The directory; an existing layout is extended.
        dest: PathBuf,
        /// How the image is written.
        image: ImageAttributes,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where to.
        dest: OutputFile,
        /// How the image is written.
        image: ImageAttributes,
    },
    /// A running engine: `type=docker` without a place (B-103).
    Engine {
        /// The engine, as `context=` names it: a context of docker, or an address.
        context: Option<String>,
        /// How the image is written.
        image: ImageAttributes,
    },
    /// The local store, and perhaps a registry (B-101).
    Image {
        /// Whether it is pushed.
        push: bool,
        /// How the image is written.
        image: ImageAttributes,
    },
    /// Nothing but a filled cache (B-104).
    CacheOnly,
}

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFile {
    /// Standard output.
    Stdout,
    /// A file.
    Path(PathBuf),
}

/// `source-date-epoch` of one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochOverride {
    /// An empty value: no epoch, whatever the build argument says.
    Disabled,
    /// Seconds since 1970.
    Seconds(i64),
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerCompression {
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// gzip with a table of contents.
    Estargz,
    /// zstd.
    Zstd,
}

/// Attributes of image outputs (B-105). An attribute that was not given is `None`, empty or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageAttributes {
    /// Names of the result; those of `-t` are added when this is empty (B-094).
    pub names: Vec<Reference>,
    /// Pushes without any tag (B-106).
    pub push_by_digest: bool,
    /// Talks plain HTTP to the registry, or ignores its certificate.
    pub insecure: bool,
    /// OCI media types or Docker's (B-107).
    pub oci_mediatypes: Option<bool>,
    /// Whether attestation manifests are OCI artifacts (B-177); `None` is yes.
    pub oci_artifact: Option<bool>,
    /// Compression of new layers.
    pub compression: Option<LayerCompression>,
    /// Level of the compression.
    pub compression_level: Option<u32>,
    /// Compresses the layers of the base image again, too (B-108).
    pub force_compression: bool,
    /// Clamps file times to the epoch (B-170).
    pub rewrite_timestamp: bool,
    /// `source-date-epoch` (B-171).
    pub epoch: Option<EpochOverride>,
    /// Adds `name@digest` as a name (B-106).
    pub name_canonical: bool,
    /// Name of a result without a tag: `prefix@digest` (B-106).
    pub dangling_name_prefix: Option<String>,
    /// Whether the image is stored; `None` is yes.
    pub store: Option<bool>,
    /// Annotations; those of `--annotation` come before the output's own (B-116).
    pub annotations: Vec<Annotation>,
}

impl ImageAttributes {
    /// Checks what must fit together (B-105, B-107, B-117).
    pub fn check(&self) -> Result<(), OutputError> {
        if self.oci_mediatypes == Some(false) {
            let refused = |what| Err(OutputError::DockerTypes(what));
            match self.compression {
                Some(LayerCompression::Zstd) => return refused("compression=zstd"),
                Some(LayerCompression::Estargz) => return refused("compression=estargz"),
                Some(LayerCompression::Gzip | LayerCompression::Uncompressed) | None => {}
            }
            if self.annotations.iter().any(|annotation| annotation.level != AnnotationLevel::Manifest) {
                return refused("an annotation of another level than manifest");
            }
        }
        Ok(())
    }
}

/// Why an `--output` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The value is not made of fields.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No type.
    #[error("type is required for output")]
    TypeMissing,
    /// A type that does not exist.
    #[error("unknown output type `{0}`: expected local, tar, oci, docker, image, registry or cacheonly")]
    Type(String),
    /// A place is needed.
    #[error("dest is required for {0} output")]
    DestMissing(&'static str),
    /// A directory cannot be standard output.
    #[error("dest cannot be stdout for {0} output")]
    Stdout(&'static str),
    /// A place makes no sense.
    #[error("dest is not allowed for {0} output")]
    DestUnexpected(&'static str),
    /// An engine is named for what is no engine's.
    #[error("context is for type=docker without dest")]
    ContextUnexpected,
    /// A name of the result is malformed.
    #[error("name `{name}`")]
    Name {
        /// The name as written.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// A value that the key does not take.
    #[error("`{value}` is not a value of `{key}`: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What the key takes.
        expected: &'static str,
    },
    /// An annotation.
    #[error("`{key}`")]
    Annotation {
        /// The key as written.
        key: String,
        /// What is wrong with it.
        #[source]
        source: AnnotationError,
    },
    /// Something that Docker's media types do not have.
    #[error("{0} needs OCI media types, and oci-mediatypes is false")]
    DockerTypes(&'static str),
    /// Something that is known but not built yet.
    #[error("`{0}` is not supported yet")]
    Unsupported(String),
}

const FILE_KEYS: &[&str] =
    &["type", "dest", "mode", "platform-split", "source-date-epoch", "attestation-prefix"];
const IMAGE_KEYS: &[&str] = &[
    "type",
    "dest",
    "tar",
    "context",
    "name",
    "push",
    "push-by-digest",
    "registry.insecure",
    "oci-mediatypes",
    "oci-artifact",
    "unpack",
    "store",
    "dangling-name-prefix",
    "name-canonical",
    "compression",
    "compression-level",
    "force-compression",
    "rewrite-timestamp",
    "source-date-epoch",
    "prefer-nondist-layers",
    "attestation-inline",
];

impl OutputSpec {
    /// Returns what `--load` asks for.
    pub fn load() -> OutputSpec {
        OutputSpec::parse("type=docker").expect("the words are known")
    }

    /// Reads one value of `--output`.
    pub fn parse(text: &str) -> Result<OutputSpec, OutputError> {
        let fields = fields::split(text)?;
        if let [only] = fields.as_slice()
            && !only.contains('=')
        {
            return match only.as_str() {
                "" => Err(OutputError::TypeMissing),
                "-" => Ok(OutputSpec::Tar {
                    dest: OutputFile::Stdout,
                    platform_split: None,
                    epoch: None,
                    attestation_prefix: String::new(),
                }),
                directory => Ok(OutputSpec::Local {
                    dest: PathBuf::from(directory),
                    delete: false,
                    platform_split: None,
                    epoch: None,
                    attestation_prefix: String::new(),
                }),
            };
        }
        let pairs: Vec<(String, &str)> =
            fields.iter().map(|field| fields::pair(field)).collect::<Result<_, _>>()?;
        let last = |wanted: &str| pairs.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| *value);
        let kind = last("type").filter(|kind| !kind.is_empty()).ok_or(OutputError::TypeMissing)?;
        let dest = last("dest").filter(|dest| !dest.is_empty());
        match kind {
            "local" | "tar" => file_output(kind, dest, &pairs),
            "oci" | "docker" | "image" | "registry" => image_output(kind, dest, &pairs),
            "cacheonly" => Ok(OutputSpec::CacheOnly),
            other => Err(OutputError::Type(other.to_owned())),
        }
    }

    /// Returns whether it is written to standard output.
    pub fn is_stdout(&self) -> bool {
        match self {
            OutputSpec::Tar { dest, .. } | OutputSpec::Oci { dest, .. } | OutputSpec::Docker { dest, .. } => {
                *dest == OutputFile::Stdout
            }
            OutputSpec::Local { .. }
            | OutputSpec::OciDirectory { .. }
            | OutputSpec::Engine { .. }
            | OutputSpec::Image { .. }
            | OutputSpec::CacheOnly => false,
        }
    }

    /// Returns whether it is files and not an image; such a result has no image id (B-021).
    pub fn is_files(&self) -> bool {
        matches!(self, OutputSpec::Local { .. } | OutputSpec::Tar { .. })
    }

    /// Returns the attributes of an image output.
    pub fn image(&self) -> Option<&ImageAttributes> {
        match self {
            OutputSpec::Oci { image, .. }
            | OutputSpec::OciDirectory { image, .. }
            | OutputSpec::Docker { image, .. }
            | OutputSpec::Engine { image, .. }
            | OutputSpec::Image { image, .. } => Some(image),
            OutputSpec::Local { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly => None,
        }
    }

    /// Returns the attributes of an image output, so that names can be added.
    pub fn image_mut(&mut self) -> Option<&mut ImageAttributes> {
        match self {
            OutputSpec::Oci { image, .. }
            | OutputSpec::OciDirectory { image, .. }
            | OutputSpec::Docker { image, .. }
            | OutputSpec::Engine { image, .. }
            | OutputSpec::Image { image, .. } => Some(image),
            OutputSpec::Local { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly => None,
        }
    }
}

fn file_output(kind: &str, dest: Option<&str>, pairs: &[(String, &str)]) -> Result<OutputSpec, OutputError> {
    let mut delete = false;
    let mut platform_split = None;
    let mut epoch = None;
    let mut attestation_prefix = String::new();
    for (key, value) in pairs {
        match key.as_str() {
            "type" | "dest" => {}
            "mode" if kind == "local" => {
                delete = match *value {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(refused(key, value, "copy or delete")),
                }
            }
            "platform-split" => platform_split = Some(fields::boolean(value)?),
            "source-date-epoch" => epoch = Some(epoch_override(key, value)?),
            "attestation-prefix" if value.contains('/') => {
                return Err(refused(key, value, "the beginning of a file's name"));
            }
            "attestation-prefix" => attestation_prefix = (*value).to_owned(),
            _ => return Err(fields::unknown_key(key, FILE_KEYS).into()),
        }
    }
    if kind == "tar" {
        return Ok(OutputSpec::Tar {
            dest: output_file(dest.unwrap_or("-")),
            platform_split,
            epoch,
            attestation_prefix,
        });
    }
    match dest {
        None => Err(OutputError::DestMissing("local")),
        Some("-") => Err(OutputError::Stdout("local")),
        Some(dest) => Ok(OutputSpec::Local {
            dest: Path::new(dest).to_owned(),
            delete,
            platform_split,
            epoch,
            attestation_prefix,
        }),
    }
}

fn image_output(kind: &str, dest: Option<&str>, pairs: &[(String, &str)]) -> Result<OutputSpec, OutputError> {
    let mut image = ImageAttributes::default();
    let mut push = kind == "registry";
    let mut archive = true;
    let mut context = None;
    for (key, value) in pairs {
        match key.as_str() {
            "type" | "dest" => {}
            "tar" if kind == "oci" || kind == "docker" => archive = fields::boolean(value)?,
            "name" => image.names = names(value)?,
            "push" => push = fields::boolean(value)?,
            "push-by-digest" => image.push_by_digest = fields::boolean(value)?,
            "registry.insecure" => image.insecure = fields::boolean(value)?,
            "oci-mediatypes" => image.oci_mediatypes = Some(fields::boolean(value)?),
            "store" => image.store = Some(fields::boolean(value)?),
            // castoff's store has no unpacked form apart from its own.
            "unpack" => {
                fields::boolean(value)?;
            }
            "dangling-name-prefix" => image.dangling_name_prefix = Some((*value).to_owned()),
            "name-canonical" => image.name_canonical = value.is_empty() || fields::boolean(value)?,
            "compression" => image.compression = Some(compression(key, value)?),
            "compression-level" => {
                let level = value.parse().map_err(|_| FieldError::Number((*value).to_owned()))?;
                image.compression_level = Some(level);
            }
            "force-compression" => image.force_compression = fields::boolean(value)?,
            "rewrite-timestamp" => image.rewrite_timestamp = fields::boolean(value)?,
            "source-date-epoch" => image.epoch = Some(epoch_override(key, value)?),
            "oci-artifact" => image.oci_artifact = Some(fields::boolean(value)?),
            "prefer-nondist-layers" | "attestation-inline" => {
                // Off is what castoff does anyway.
                if fields::boolean(value)? {
                    return Err(OutputError::Unsupported(key.clone()));
                }
            }
            "context" if kind == "docker" && dest.is_none() => context = Some((*value).to_owned()),
            "context" => return Err(OutputError::ContextUnexpected),
            key if key.starts_with("annotation") => {
                let annotation = annotation::attribute(key, value)
                    .map_err(|source| OutputError::Annotation { key: key.to_owned(), source })?;
                image.annotations.push(annotation);
            }
            _ => return Err(fields::unknown_key(key, IMAGE_KEYS).into()),
        }
    }
    check_level(&image)?;
    image.check()?;
    match (kind, dest) {
        ("oci", None) if archive => Ok(OutputSpec::Oci { dest: OutputFile::Stdout, image }),
        ("oci", Some(dest)) if archive => Ok(OutputSpec::Oci { dest: output_file(dest), image }),
        ("oci", None) => Err(OutputError::DestMissing("oci")),
        ("oci", Some("-")) => Err(OutputError::Stdout("oci")),
        ("oci", Some(dest)) => Ok(OutputSpec::OciDirectory { dest: PathBuf::from(dest), image }),
        ("docker", _) if !archive => Err(OutputError::Unsupported("tar=false".to_owned())),
        ("docker", Some(dest)) => Ok(OutputSpec::Docker { dest: output_file(dest), image }),
        ("docker", None) => {
            // Between two programs of one machine, compressing costs more than it saves.
            image.compression = image.compression.or(Some(LayerCompression::Uncompressed));
            Ok(OutputSpec::Engine { context, image })
        }
        ("registry", Some(_)) => Err(OutputError::DestUnexpected("registry")),
        (_, Some(_)) => Err(OutputError::DestUnexpected("image")),
        (_, None) => Ok(OutputSpec::Image { push, image }),
    }
}

fn check_level(image: &ImageAttributes) -> Result<(), OutputError> {
    let Some(level) = image.compression_level else { return Ok(()) };
    let highest = match image.compression {
        Some(LayerCompression::Uncompressed) => return Ok(()),
        Some(LayerCompression::Zstd) => 22,
        Some(LayerCompression::Gzip | LayerCompression::Estargz) | None => 9,
    };
    if level <= highest { Ok(()) } else { Err(FieldError::Number(level.to_string()).into()) }
}

fn compression(key: &str, value: &str) -> Result<LayerCompression, OutputError> {
    match value {
        "uncompressed" => Ok(LayerCompression::Uncompressed),
        "gzip" => Ok(LayerCompression::Gzip),
        "zstd" => Ok(LayerCompression::Zstd),
        "estargz" => Ok(LayerCompression::Estargz),
        _ => Err(refused(key, value, "uncompressed, gzip, estargz or zstd")),
    }
}

fn epoch_override(key: &str, value: &str) -> Result<EpochOverride, OutputError> {
    if value.is_empty() {
        return Ok(EpochOverride::Disabled);
    }
    value.parse().map(EpochOverride::Seconds).map_err(|_| refused(key, value, "seconds since 1970"))
}

fn names(value: &str) -> Result<Vec<Reference>, OutputError> {
    let parse =
        |name: &str| name.parse().map_err(|source| OutputError::Name { name: name.to_owned(), source });
    value.split(',').filter(|name| !name.is_empty()).map(parse).collect()
}

fn output_file(dest: &str) -> OutputFile {
    if dest == "-" { OutputFile::Stdout } else { OutputFile::Path(PathBuf::from(dest)) }
}

fn refused(key: &str, value: &str, expected: &'static str) -> OutputError {
    OutputError::Value { key: key.to_owned(), value: value.to_owned(), expected }
}
