//! `--cache-from` and `--cache-to`: caches that several machines share (B-121 to B-130).

use std::collections::BTreeSet;
use std::path::PathBuf;

use castoff_oci::{Digest, Reference, ReferenceError};
use castoff_solver::shared_cache::Mounts;

use super::fields::{self, FieldError};
use super::s3::{S3, S3Spec, SECRET};
use super::{Environment, LayerCompression};

/// A cache that is asked for steps that the store does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFromSpec {
    /// Where.
    pub place: CacheSource,
    /// Which cache mounts come from it; castoff's own.
    pub mounts: Option<Mounts>,
}

/// Where a cache is that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheSource {
    /// A directory (B-127).
    Local {
        /// The directory.
        src: PathBuf,
        /// Which of the caches in it.
        tag: String,
        /// The index that has the steps; all of the tag's when it is not given.
        digest: Option<Digest>,
    },
    /// In a registry (B-126).
    Registry(CacheReference),
    /// In a bucket (B-129).
    S3(S3Spec),
}

/// A cache in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheReference {
    /// Its repository; the tag tells several caches of a repository apart.
    pub reference: Reference,
    /// Whether the registry is talked to in plain HTTP, or its certificate ignored.
    pub insecure: bool,
}

/// A cache that is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheToSpec {
    /// Where.
    pub place: CachePlace,
    /// Whether it gets all steps, and not only those whose layers are in the result (B-122).
    pub all: bool,
    /// Which cache mounts it gets; castoff's own.
    pub mounts: Option<Mounts>,
    /// How layers are compressed (B-123); by default as in the first image that is pushed, else zstd.
    pub compression: Option<LayerCompression>,
    /// Level of the compression.
    pub compression_level: Option<u32>,
    /// Whether layers that are compressed otherwise are compressed again.
    pub force_compression: bool,
    /// Whether the build succeeds when the export fails.
    pub ignore_error: bool,
}

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// In a directory (B-127).
    Local {
        /// The directory; created when missing.
        dest: PathBuf,
        /// Which of the caches in it.
        tag: String,
        /// Whether what this build did not put there is removed.
        reset: bool,
    },
    /// In a registry (B-126).
    Registry(CacheReference),
    /// In a bucket (B-129).
    S3(S3Spec),
    /// In the image itself (B-125).
    Inline,
}

/// Why a `--cache-from` or `--cache-to` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The value is not made of fields.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No type.
    #[error("type is required for a cache")]
    TypeMissing,
    /// A type that does not exist.
    #[error("unknown cache type `{0}`: expected local, registry, inline, s3, gha or azblob")]
    Type(String),
    /// A name is malformed.
    #[error("ref `{name}`")]
    Reference {
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
    /// A key that the environment does not have either.
    #[error("`{key}` is required for type=s3: give it, or set {variable}")]
    Variable {
        /// The key.
        key: &'static str,
        /// The variable.
        variable: &'static str,
    },
    /// A service that castoff has no client of.
    #[error("type={kind} is not supported: {instead}")]
    Service {
        /// The service.
        kind: String,
        /// What does the same.
        instead: &'static str,
    },
    /// Something that is known but not built yet.
    #[error("`{0}` is not supported yet")]
    Unsupported(String),
}

/// How large a cache mount may be that travels, in bytes, when nothing else is said.
const MOUNT_LIMIT: u64 = 2 << 30;

const MOUNTS: &[&str] = &["mounts", "mounts-max-size"];
const REGISTRY: &[&str] = &["type", "ref", "registry.insecure"];
const FROM_LOCAL: &[&str] = &["type", "src", "tag", "digest"];
const TO_LOCAL: &[&str] = &["type", "dest", "tag", "reset", "mode"];
const TO_ALL: &[&str] = &[
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "image-manifest",
    "ignore-error",
];

impl CacheFromSpec {
    /// Reads one value of `--cache-from`. A name without keys is that of a cache in a registry.
    pub fn parse(text: &str, environment: &Environment) -> Result<CacheFromSpec, CacheError> {
        let fields = Fields::parse(text)?;
        let place = match fields.kind.as_str() {
            "local" => {
                fields.only(&[FROM_LOCAL, MOUNTS])?;
                let digest = fields.last("digest").map(|text| {
                    text.parse().map_err(|_| refused("digest", text, "a digest such as sha256:..."))
                });
                CacheSource::Local {
                    src: PathBuf::from(fields.required("src")?),
                    tag: fields.tag()?,
                    digest: digest.transpose()?,
                }
            }
            "registry" => {
                fields.only(&[REGISTRY, MOUNTS])?;
                CacheSource::Registry(fields.reference()?)
            }
            "s3" => {
                fields.only(&[S3, MOUNTS])?;
                CacheSource::S3(S3Spec::of(&fields, environment)?)
            }
            "inline" => {
                let instead = "type=registry,ref=IMAGE, which finds the cache in an image";
                return Err(refused("type", "inline", instead));
            }
            kind => return Err(unknown(kind)),
        };
        Ok(CacheFromSpec { place, mounts: fields.mounts()? })
    }
}

impl CacheToSpec {
    /// Reads one value of `--cache-to`. A name without keys is that of a cache in a registry.
    pub fn parse(text: &str, environment: &Environment) -> Result<CacheToSpec, CacheError> {
        let fields = Fields::parse(text)?;
        let place = match fields.kind.as_str() {
            "local" => {
                fields.only(&[TO_LOCAL, TO_ALL, MOUNTS])?;
                let reset = fields.flag("reset", false)?;
                CachePlace::Local { dest: PathBuf::from(fields.required("dest")?), tag: fields.tag()?, reset }
            }
            "registry" => {
                fields.only(&[REGISTRY, TO_ALL, MOUNTS])?;
                CachePlace::Registry(fields.reference()?)
            }
            "s3" => {
                fields.only(&[S3, TO_ALL, MOUNTS])?;
                CachePlace::S3(S3Spec::of(&fields, environment)?)
            }
            "inline" => {
                fields.only(&[&["type", "mode"]])?;
                if let Some(mode) = fields.last("mode").filter(|mode| *mode != "min") {
                    return Err(refused("mode", mode, "min: an image has no other layers than its own"));
                }
                CachePlace::Inline
            }
            kind => return Err(unknown(kind)),
        };
        for key in ["oci-mediatypes", "image-manifest"] {
            // There are no other objects in a cache of castoff's than OCI's image manifests.
            if !fields.flag(key, true)? {
                return Err(CacheError::Unsupported(format!("{key}=false")));
            }
        }
        let all = match fields.last("mode") {
            None | Some("min") => false,
            Some("max") => true,
            Some(other) => return Err(refused("mode", other, "min or max")),
        };
        let compression = match fields.last("compression") {
            None => None,
            Some("uncompressed") => Some(LayerCompression::Uncompressed),
            Some("gzip") => Some(LayerCompression::Gzip),
            Some("zstd") => Some(LayerCompression::Zstd),
            Some("estargz") => return Err(CacheError::Unsupported("compression=estargz".to_owned())),
            Some(other) => return Err(refused("compression", other, "uncompressed, gzip or zstd")),
        };
        let highest = if compression == Some(LayerCompression::Gzip) { 9 } else { 22 };
        let level = |text: &str| match text.parse() {
            Ok(level) if level <= highest => Ok(level),
            _ => Err(FieldError::Number(text.to_owned())),
        };
        Ok(CacheToSpec {
            place,
            all,
            mounts: fields.mounts()?,
            compression,
            compression_level: fields.last("compression-level").map(level).transpose()?,
            force_compression: fields.flag("force-compression", false)?,
            ignore_error: fields.flag("ignore-error", false)?,
        })
    }
}

/// Returns a value with the values of secret keys left out, for messages.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    let next = |rest: &str| {
        let lower = rest.to_ascii_lowercase();
        let places = SECRET.iter().filter_map(|key| {
            let start = lower.find(&format!("{key}="))?;
            Some((start, start + key.len() + 1))
        });
        places.min()
    };
    while let Some((start, value)) = next(rest) {
        // A field in quotes ends with one.
        let end = if rest[..start].ends_with('"') { '"' } else { ',' };
        let end = rest[value..].find(end).map_or(rest.len(), |length| value + length);
        shown.push_str(&rest[..value]);
        shown.push_str("...");
        rest = &rest[end..];
    }
    shown + rest
}

fn unknown(kind: &str) -> CacheError {
    let instead = match kind {
        "gha" => "keep a type=local directory with the workflow's own cache action, or use type=registry",
        "azblob" => "use type=registry, or type=s3 with a gateway",
        other => return CacheError::Type(other.to_owned()),
    };
    CacheError::Service { kind: kind.to_owned(), instead }
}

/// The fields of a value.
pub(super) struct Fields {
    kind: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    fn parse(text: &str) -> Result<Fields, CacheError> {
        let fields = fields::split(text).map_err(|error| match error {
            FieldError::Quote(text) => FieldError::Quote(without_secrets(&text)),
            error => error,
        })?;
        if let [name] = fields.as_slice()
            && !name.contains('=')
        {
            let pairs = vec![("ref".to_owned(), name.clone())];
            return Ok(Fields { kind: "registry".to_owned(), pairs });
        }
        let pair = |field: &String| fields::pair(field).map(|(key, value)| (key, value.to_owned()));
        let pairs = fields.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let mut fields = Fields { kind: String::new(), pairs };
        fields.kind = fields.last("type").ok_or(CacheError::TypeMissing)?.to_owned();
        Ok(fields)
    }

    /// Checks that there are no other keys.
    fn only(&self, known: &[&[&'static str]]) -> Result<(), FieldError> {
        let known = known.concat();
        match self.pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(fields::unknown_key(key, &known)),
            None => Ok(()),
        }
    }

    pub(super) fn last(&self, wanted: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(key, _)| key == wanted);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn required(&self, key: &'static str) -> Result<&str, FieldError> {
        self.last(key).ok_or(FieldError::Missing(key))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, FieldError> {
        self.last(key).map_or(Ok(default), fields::boolean)
    }

    /// Which cache mounts travel: all, none, or some ids.
    fn mounts(&self) -> Result<Option<Mounts>, CacheError> {
        let limit = self.last("mounts-max-size").map_or(Ok(MOUNT_LIMIT), fields::size)?;
        let ids = match self.last("mounts").map(|text| (text, fields::boolean(text))) {
            None | Some((_, Ok(false))) => return Ok(None),
            Some((_, Ok(true))) => None,
            Some((text, Err(_))) => {
                let ids: BTreeSet<String> = text.split(';').map(str::to_owned).collect();
                if ids.contains("") {
                    return Err(refused("mounts", text, "true, or ids separated by semicolons"));
                }
                Some(ids)
            }
        };
        Ok(Some(Mounts { ids, limit }))
    }

    /// The name of a cache in a registry.
    fn reference(&self) -> Result<CacheReference, CacheError> {
        let name = self.required("ref")?;
        let reference: Reference =
            name.parse().map_err(|source| CacheError::Reference { name: name.to_owned(), source })?;
        if reference.digest().is_some() {
            return Err(refused("ref", name, "a name without a digest"));
        }
        Ok(CacheReference { reference, insecure: self.flag("registry.insecure", false)? })
    }

    /// The tag of a cache, which is a part of file names.
    fn tag(&self) -> Result<String, CacheError> {
        let tag = self.last("tag").unwrap_or("latest");
        match format!("cache:{tag}").parse::<Reference>() {
            Ok(reference) if reference.tag() == Some(tag) => Ok(tag.to_owned()),
            _ => Err(refused("tag", tag, "a tag such as latest")),
        }
    }
}

pub(super) fn refused(key: &str, value: &str, expected: &'static str) -> CacheError {
    CacheError::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<CacheFromSpec, CacheError> {
        CacheFromSpec::parse(text, &Environment::default())
    }

    fn to(text: &str) -> Result<CacheToSpec, CacheError> {
        CacheToSpec::parse(text, &Environment::default())
    }

    // B-123, B-127
    #[test]
    fn caches_in_directories_are_read() {
        let read = from("type=local,src=/c").unwrap();
        let local = |tag: &str, digest| {
            let place = CacheSource::Local { src: "/c".into(), tag: tag.into(), digest };
            CacheFromSpec { place, mounts: None }
        };
        assert_eq!(read, local("latest", None));
        let digest = Digest::of(b"x");
        let read = from(&format!("type=local,src=/c,tag=v1,digest={digest}")).unwrap();
        assert_eq!(read, local("v1", Some(digest)));
        let to = to("type=local,dest=/c,mode=max,compression=gzip,ignore-error=true").unwrap();
        assert_eq!(to.place, CachePlace::Local { dest: "/c".into(), tag: "latest".into(), reset: false });
        assert!(to.all && to.ignore_error);
        assert_eq!(to.compression, Some(LayerCompression::Gzip));
    }

    // B-126
    #[test]
    fn caches_in_registries_are_read() {
        let asked = |reference| CacheFromSpec { place: CacheSource::Registry(reference), mounts: None };
        let cache = |insecure| CacheReference { reference: "example.com/app:c".parse().unwrap(), insecure };
        for text in ["example.com/app:c", "type=registry,ref=example.com/app:c"] {
            assert_eq!(from(text), Ok(asked(cache(false))));
            assert_eq!(to(text).unwrap().place, CachePlace::Registry(cache(false)));
        }
        let read = from("type=registry,ref=example.com/app:c,registry.insecure=true");
        assert_eq!(read, Ok(asked(cache(true))));
        assert!(from("type=registry").is_err());
        assert!(to("type=registry,ref=A").is_err());
        let digest = format!("type=registry,ref=app@{}", Digest::of(b"x"));
        assert!(from(&digest).is_err());
    }

    // B-034
    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = to(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("type=local", "`dest` is required");
        check("dest=/c", "type is required");
        check("type=other", "unknown cache type");
        check("type=azblob", "type=azblob is not supported: use type=registry");
        check("type=gha", "type=gha is not supported: keep a type=local directory");
        check("type=inline,mode=max", "expected min");
        check("type=inline,ref=app", "ref");
        check("type=local,dest=/c,mode=most", "min or max");
        check("type=local,dest=/c,tag=../x", "a tag such as");
        check("type=local,dest=/c,image-manifest=false", "not supported");
        check("type=local,dest=/c,dst=/c", "did you mean");
        check("type=local,dest=/c,compression=gzip,compression-level=10", "number");
        let error = from("type=local,src=/c,digest=x").unwrap_err().to_string();
        assert!(error.contains("a digest such as"), "{error}");
        assert!(from("type=local,src=/c,dest=/c").is_err());
    }

    // B-122: the cache mounts are castoff's own addition.
    #[test]
    fn cache_mounts_travel_when_they_are_asked_to() {
        let mounts = |more: &str| {
            let read = from(&format!("type=local,src=/c{more}")).map(|spec| spec.mounts);
            let other = to(&format!("type=local,dest=/c{more}")).map(|spec| spec.mounts);
            assert_eq!(read, other);
            read
        };
        let all = Mounts { ids: None, limit: 2 << 30 };
        assert_eq!(mounts(""), Ok(None));
        assert_eq!(mounts(",mounts=false,mounts-max-size=1m"), Ok(None));
        assert_eq!(mounts(",mounts=true"), Ok(Some(all)));
        let ids = Some(["a".to_owned(), "b/c".to_owned()].into());
        assert_eq!(mounts(",mounts=a;b/c,mounts-max-size=1m"), Ok(Some(Mounts { ids, limit: 1 << 20 })));
        assert!(mounts(",mounts=a;").is_err());
        assert!(mounts(",mounts=true,mounts-max-size=much").is_err());
        assert!(to("type=inline,mounts=true").is_err());
    }

    // B-129: a message has no key in it.
    #[test]
    fn keys_are_left_out_of_messages() {
        let check = |text: &str, expected: &str| assert_eq!(without_secrets(text), expected);
        check("type=s3,secret_access_key=a,name=b", "type=s3,secret_access_key=...,name=b");
        check(
            "type=s3,Secret_Access_Key=a,session_token=t",
            "type=s3,Secret_Access_Key=...,session_token=...",
        );
        check("type=s3,\"secret_access_key=a,b\",name=c", "type=s3,\"secret_access_key=...\",name=c");
        check("type=local,dest=/c", "type=local,dest=/c");
        let error = to("type=s3,secret_access_key=a\"b").unwrap_err().to_string();
        assert!(!error.contains("a\"b"), "{error}");
    }
}
