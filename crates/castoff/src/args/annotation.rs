//! `--annotation` and the annotations among the keys of `--output` (B-116).

use castoff_oci::{Platform, PlatformError};
use castoff_solver::export::annotate::{Annotation, AnnotationLevel};

/// Why an annotation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// No value.
    #[error("expected [LEVEL[[PLATFORM]][,...]:]KEY=VALUE")]
    NotAPair,
    /// No key.
    #[error("the key is empty")]
    EmptyKey,
    /// Not a level.
    #[error("`{0}` is not a level: expected manifest, index, manifest-descriptor or index-descriptor")]
    Level(String),
    /// Not a level, perhaps followed by a platform.
    #[error("`{0}` must be a level, or a level and a platform in square brackets")]
    Form(String),
    /// Not a platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// Reads a value of `--annotation`: `[LEVEL[[PLATFORM]],...:]KEY=VALUE`. It may be of several levels.
pub fn flag(text: &str) -> Result<Vec<Annotation>, AnnotationError> {
    let (name, value) = text.split_once('=').ok_or(AnnotationError::NotAPair)?;
    let (levels, key) = match name.split_once(':') {
        Some((levels, key)) => {
            let levels = levels.split(',').map(|text| {
                let (level, rest) = text.find('[').map_or((text, ""), |at| text.split_at(at));
                target(text, level, rest)
            });
            (levels.collect::<Result<Vec<_>, _>>()?, key)
        }
        None => (vec![(AnnotationLevel::Manifest, None)], name),
    };
    if key.is_empty() {
        return Err(AnnotationError::EmptyKey);
    }
    let annotation =
        |(level, platform)| Annotation { level, platform, key: key.to_owned(), value: value.to_owned() };
    Ok(levels.into_iter().map(annotation).collect())
}

/// Reads a key and its value of `--output`: `annotation[-LEVEL][[PLATFORM]].KEY`.
pub fn attribute(name: &str, value: &str) -> Result<Annotation, AnnotationError> {
    let form = || AnnotationError::Form(name.to_owned());
    let rest = name.strip_prefix("annotation").ok_or_else(form)?;
    // A platform has no dot, and a key has no place for brackets before its first one.
    let (target_text, key) = rest.split_once('.').ok_or_else(form)?;
    if key.is_empty() {
        return Err(AnnotationError::EmptyKey);
    }
    let (level, bracket) = target_text.find('[').map_or((target_text, ""), |at| target_text.split_at(at));
    let level = match level {
        "" => "manifest",
        level => level.strip_prefix('-').ok_or_else(form)?,
    };
    let (level, platform) = target(name, level, bracket)?;
    Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
}

/// Reads a level and what follows it: nothing, or a platform in square brackets.
fn target(
    whole: &str,
    level: &str,
    bracket: &str,
) -> Result<(AnnotationLevel, Option<Platform>), AnnotationError> {
    let level = match level {
        "manifest" => AnnotationLevel::Manifest,
        "index" => AnnotationLevel::Index,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        "" => return Err(AnnotationError::Form(whole.to_owned())),
        other => return Err(AnnotationError::Level(other.to_owned())),
    };
    if bracket.is_empty() {
        return Ok((level, None));
    }
    let platform = bracket.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let platform = platform.ok_or_else(|| AnnotationError::Form(whole.to_owned()))?;
    // Neither wildcards nor anything else that is no platform.
    Ok((level, Some(platform.parse()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotation: &Annotation) -> String {
        let platform = annotation.platform.as_ref().map(|platform| format!("[{platform}]"));
        let Annotation { level, key, value, .. } = annotation;
        format!("{level:?}{} {key}={value}", platform.unwrap_or_default())
    }

    // B-116
    #[test]
    fn an_annotation_names_its_levels_and_platforms() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = flag(text).unwrap().iter().map(shown).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("a=b", &["Manifest a=b"]);
        check("a=b=c:d", &["Manifest a=b=c:d"]);
        check("a=", &["Manifest a="]);
        check("index:a.b=c", &["Index a.b=c"]);
        check("manifest,index-descriptor:a=b", &["Manifest a=b", "IndexDescriptor a=b"]);
        check("manifest-descriptor[linux/arm/v7]:a=b", &["ManifestDescriptor[linux/arm/v7] a=b"]);
        for text in ["a", "=b", "index:=b", "layer:a=b", ":a=b", "manifest[linux/amd64:a=b"] {
            assert!(flag(text).is_err(), "{text}");
        }
        assert!(flag("manifest[linux/*]:a=b").is_err(), "B-117: no wildcards");
    }

    // B-116
    #[test]
    fn an_annotation_is_a_key_of_an_output() {
        let check = |name: &str, expected: &str| {
            assert_eq!(shown(&attribute(name, "v").unwrap()), expected, "{name}");
        };
        check("annotation.a.b", "Manifest a.b=v");
        check("annotation-index.a", "Index a=v");
        check("annotation[linux/amd64].a", "Manifest[linux/amd64] a=v");
        check("annotation-manifest-descriptor[linux/arm64].a", "ManifestDescriptor[linux/arm64] a=v");
        for name in [
            "annotation",
            "annotation.",
            "annotations.a",
            "annotation-layer.a",
            "annotation-.a",
            "annotation[linux/amd64]",
        ] {
            assert!(attribute(name, "v").is_err(), "{name}");
        }
    }
}
