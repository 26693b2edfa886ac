//! Named contexts: which one, if any, stands in for a name (D-126, B-072).

use castoff_oci::{Platform, Reference};

use crate::{NamedContext, PlanOptions};

/// Returns the named context that replaces a stage or image name, with the name the caller knows it by.
/// One for the platform comes before one for all. `scratch` and `context` cannot be replaced (D-120).
pub(crate) fn find<'a>(
    options: &'a PlanOptions,
    name: &str,
    platform: &Platform,
) -> Option<(&'a str, &'a NamedContext)> {
    if options.contexts.is_empty()
        || ["scratch", "context"].iter().any(|fixed| name.eq_ignore_ascii_case(fixed))
    {
        return None;
    }
    let name = normalised(name);
    let platform = platform.to_string();
    let matching = |wanted: Option<&str>| {
        options.contexts.iter().find(|(key, _)| {
            let (key, only) = match key.split_once("::") {
                Some((key, only)) => (key, Some(only)),
                None => (key.as_str(), None),
            };
            only == wanted && normalised(key) == name
        })
    };
    matching(Some(&platform)).or_else(|| matching(None)).map(|(key, context)| (key.as_str(), context))
}

/// Returns the name of an image as people write it: `docker.io/library/x:latest` is `x`.
pub(crate) fn short_name(reference: &Reference) -> String {
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
}

/// Returns a name in the form in which names are compared. What is no image reference stays as it is.
fn normalised(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| short_name(&reference))
}
