//! `type=s3` of `--cache-from` and `--cache-to`: a cache in a bucket (B-129).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::cache::{CacheError, Fields, refused};
use super::fields::FieldError;

/// A cache in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Spec {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The address of the store; else AWS's.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path of addresses though it could be in their host.
    pub path_style: bool,
    /// What every key begins with.
    pub prefix: String,
    /// What follows it for blobs.
    pub blobs_prefix: String,
    /// What follows it for manifests.
    pub manifests_prefix: String,
    /// The caches, at least one.
    pub names: Vec<String>,
    /// Who asks.
    pub credentials: S3Credentials,
    /// How old what is used may become before it is written anew.
    pub touch_refresh: Duration,
    /// How many layers are sent at once.
    pub upload_parallelism: usize,
    /// Attempts per request; else as many as for registries.
    pub attempts: Option<u32>,
}

/// Where the access key is.
#[derive(Clone, PartialEq, Eq)]
pub enum S3Credentials {
    /// Among the attributes or in the environment.
    Key {
        /// The name of the key.
        id: String,
        /// The key itself.
        secret: String,
        /// What temporary keys need besides.
        token: Option<String>,
    },
    /// In a profile of the shared credentials file.
    Profile {
        /// The file, when it is known where that would be.
        file: Option<PathBuf>,
        /// The profile.
        name: String,
        /// What the environment asks for instead, which castoff does not do.
        unsupported: Option<&'static str>,
    },
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            S3Credentials::Key { id, .. } => formatter.debug_tuple("Key").field(id).finish(),
            S3Credentials::Profile { name, .. } => formatter.debug_tuple("Profile").field(name).finish(),
        }
    }
}

/// The attributes that an import takes; an export takes those of every export besides.
pub(super) const S3: &[&str] = &[
    "type",
    "bucket",
    "region",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "touch_refresh",
    "upload_parallelism",
    "retry_mode",
    "retry_max_attempts",
    "disable_accept_encoding",
    "mode",
];

/// The attributes whose values are shown to nobody.
pub(super) const SECRET: &[&str] = &["secret_access_key", "session_token"];

/// Other sources of credentials that AWS's tools know, by the variable that asks for them.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "the credentials of a container"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "the credentials of a container"),
];

impl S3Spec {
    /// Reads the attributes; what they do not say is in the environment, as for AWS's own tools.
    pub(super) fn of(fields: &Fields, environment: &Environment) -> Result<S3Spec, CacheError> {
        let given = |key: &'static str, variable: &'static str| {
            let value = fields.last(key).or_else(|| environment.filled(variable));
            value.map(str::to_owned).ok_or(CacheError::Variable { key, variable })
        };
        let text = |key, default: &str| fields.last(key).unwrap_or(default).to_owned();
        let endpoint = fields.last("endpoint_url").or_else(|| environment.filled("AWS_ENDPOINT_URL_S3"));
        let endpoint = endpoint.or_else(|| environment.filled("AWS_ENDPOINT_URL"));
        match fields.last("retry_mode") {
            None | Some("standard") => {}
            Some("adaptive") => return Err(CacheError::Unsupported("retry_mode=adaptive".to_owned())),
            Some(other) => return Err(refused("retry_mode", other, "standard")),
        }
        // No such header is signed, which is what this is for.
        fields.flag("disable_accept_encoding", false)?;
        let spec = S3Spec {
            bucket: given("bucket", "AWS_BUCKET")?,
            region: given("region", "AWS_REGION")?,
            endpoint: endpoint.map(str::to_owned),
            path_style: fields.flag("use_path_style", false)?,
            prefix: text("prefix", ""),
            blobs_prefix: text("blobs_prefix", "blobs/"),
            manifests_prefix: text("manifests_prefix", "manifests/"),
            names: text("name", "buildkit").split(';').map(str::to_owned).collect(),
            credentials: credentials(fields, environment)?,
            touch_refresh: fields
                .last("touch_refresh")
                .map_or(Ok(Duration::from_secs(24 * 3600)), duration)?,
            upload_parallelism: positive(fields, "upload_parallelism")?.unwrap_or(4) as usize,
            attempts: positive(fields, "retry_max_attempts")?,
        };
        let S3Spec { prefix, blobs_prefix, manifests_prefix, names, .. } = &spec;
        let keys = names.iter().map(|name| ("name", format!("{prefix}{manifests_prefix}{name}/")));
        for (key, text) in keys.chain([("blobs_prefix", format!("{prefix}{blobs_prefix}"))]) {
            // An address cannot have them, and so would be that of another object.
            if text.split('/').any(|part| part == "." || part == "..") {
                return Err(refused(key, &text, "a path without . and .."));
            }
        }
        match names.iter().find(|name| name.is_empty()) {
            Some(name) => Err(refused("name", name, "names separated by semicolons")),
            None => Ok(spec),
        }
    }
}

fn credentials(fields: &Fields, environment: &Environment) -> Result<S3Credentials, CacheError> {
    let key = |id: &str, secret: &str, token: Option<&str>| S3Credentials::Key {
        id: id.to_owned(),
        secret: secret.to_owned(),
        token: token.map(str::to_owned),
    };
    match (fields.last("access_key_id"), fields.last("secret_access_key")) {
        (Some(id), Some(secret)) => return Ok(key(id, secret, fields.last("session_token"))),
        (Some(_), None) => return Err(FieldError::Missing("secret_access_key").into()),
        (None, Some(_)) => return Err(FieldError::Missing("access_key_id").into()),
        (None, None) if fields.last("session_token").is_some() => {
            return Err(FieldError::Missing("access_key_id").into());
        }
        (None, None) => {}
    }
    let variable = |name| environment.filled(name);
    if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        return Ok(key(id, secret, variable("AWS_SESSION_TOKEN")));
    }
    let file = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    Ok(S3Credentials::Profile {
        file: file.or_else(|| Some(environment.home()?.join(".aws/credentials"))),
        name: variable("AWS_PROFILE").unwrap_or("default").to_owned(),
        unsupported: UNSUPPORTED.iter().find(|(name, _)| variable(name).is_some()).map(|(_, what)| *what),
    })
}

fn positive(fields: &Fields, key: &str) -> Result<Option<u32>, FieldError> {
    let number = |text: &str| match text.parse() {
        Ok(0) | Err(_) => Err(FieldError::Number(text.to_owned())),
        Ok(number) => Ok(number),
    };
    fields.last(key).map(number).transpose()
}

/// Reads a duration as Go writes it: numbers with units, largest first or not, such as `1h30m`.
fn duration(text: &str) -> Result<Duration, CacheError> {
    let error = || refused("touch_refresh", text, "a duration such as 24h or 1h30m");
    let mut rest = text;
    let mut seconds = 0.0;
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(error)?;
        let number: f64 = rest[..end].parse().map_err(|_| error())?;
        rest = &rest[end..];
        let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(error()),
            };
        rest = &rest[end..];
    }
    if text.is_empty() { Err(error()) } else { Duration::try_from_secs_f64(seconds).map_err(|_| error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::cache::{CacheFromSpec, CachePlace, CacheSource, CacheToSpec};

    const KEY: &str = "access_key_id=id,secret_access_key=opensesame";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<S3Spec, String> {
        let environment = Environment::of(variables);
        let from = CacheFromSpec::parse(text, &environment).map_err(|error| error.to_string());
        let to = CacheToSpec::parse(text, &environment).map_err(|error| error.to_string());
        match (from, to.map(|to| to.place)) {
            (Ok(CacheFromSpec { place: CacheSource::S3(from), .. }), Ok(CachePlace::S3(to)))
                if from == to =>
            {
                Ok(from)
            }
            (Err(from), Err(to)) if from == to => Err(from),
            other => panic!("{text}: {other:?}"),
        }
    }

    // B-129
    #[test]
    fn a_bucket_is_read_from_attributes_and_environment() {
        let spec = read(&format!("type=s3,bucket=b,region=r,{KEY}"), &[]).unwrap();
        let expected = S3Spec {
            bucket: "b".into(),
            region: "r".into(),
            endpoint: None,
            path_style: false,
            prefix: String::new(),
            blobs_prefix: "blobs/".into(),
            manifests_prefix: "manifests/".into(),
            names: vec!["buildkit".into()],
            credentials: S3Credentials::Key { id: "id".into(), secret: "opensesame".into(), token: None },
            touch_refresh: Duration::from_secs(86_400),
            upload_parallelism: 4,
            attempts: None,
        };
        assert_eq!(spec, expected);
        let variables = [
            ("AWS_BUCKET", "other"),
            ("AWS_REGION", "eu"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "word"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_ENDPOINT_URL", "http://a"),
        ];
        let spec = read("type=s3,touch_refresh=1h30m,name=a;b,use_path_style=true", &variables).unwrap();
        assert_eq!((spec.bucket.as_str(), spec.region.as_str()), ("other", "eu"));
        assert_eq!(spec.endpoint.as_deref(), Some("http://a"));
        assert_eq!(spec.touch_refresh, Duration::from_secs(5400));
        assert_eq!(spec.names, ["a", "b"]);
        let token = Some("token".to_owned());
        let key = S3Credentials::Key { id: "id".into(), secret: "word".into(), token };
        assert_eq!(spec.credentials, key);
        let variables = [("HOME", "/h"), ("AWS_PROFILE", "p"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
        let spec = read("type=s3,bucket=b,region=r", &variables).unwrap();
        let S3Credentials::Profile { file, name, unsupported } = spec.credentials else { panic!("a key") };
        assert_eq!((file, name), (Some("/h/.aws/credentials".into()), "p".to_owned()));
        assert!(unsupported.unwrap().contains("web identity"));
    }

    // B-034, B-129
    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |more: &str, expected: &str| {
            let error = read(&format!("type=s3,bucket=b,region=r,{more}"), &[]).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        };
        check("buckets=x", "did you mean `bucket`");
        check("access_key_id=x", "`secret_access_key` is required");
        check("secret_access_key=x", "`access_key_id` is required");
        check("session_token=x", "`access_key_id` is required");
        check("prefix=../x/", "without . and ..");
        check("prefix=a/.,blobs_prefix=./b/,manifests_prefix=x", "without . and ..");
        check("name=a;..", "without . and ..");
        check("name=a;", "separated by semicolons");
        check("touch_refresh=day", "a duration");
        check("touch_refresh=1", "a duration");
        check("upload_parallelism=0", "not a number that is allowed");
        check("retry_mode=adaptive", "not supported");
        let error = read("type=s3,region=r", &[]).unwrap_err();
        assert_eq!(error, "`bucket` is required for type=s3: give it, or set AWS_BUCKET");
    }

    // A specification is in messages about bugs; its key is not.
    #[test]
    fn a_secret_key_is_not_shown() {
        let spec = read(&format!("type=s3,bucket=b,region=r,{KEY}"), &[]).unwrap();
        assert!(!format!("{spec:?}").contains("opensesame"));
    }
}
