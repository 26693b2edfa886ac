//! The packages of npm: `node_modules/NAME/package.json`.

use serde_json::Value;

use super::{Collection, Finding, PackageKind, purl};

/// Returns whether a directory is that of an installed package, and not a part of one.
pub(super) fn is_package(directory: &str) -> bool {
    let mut parts = directory.rsplit('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some("node_modules"), _) => !name.starts_with(['@', '.']),
        (Some(_), Some(scope), Some("node_modules")) => scope.starts_with('@'),
        _ => false,
    }
}

/// Reads the description of a package.
pub(super) fn package(path: &[u8], text: &str, found: &mut Collection) {
    let Ok(value) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) else {
        return found.leave(path, "no JSON");
    };
    // Parts of packages have such files without a name to say which kind of modules they are of.
    let (Some(name), Some(version)) = (value["name"].as_str(), value["version"].as_str()) else { return };
    let licence = match &value["license"] {
        Value::String(licence) => Some(licence.as_str()),
        object => object["type"].as_str(),
    };
    let (namespace, last) = purl::split_path(PackageKind::Npm, name);
    found.add(
        path,
        &Finding {
            kind: PackageKind::Npm,
            namespace,
            name: last,
            full_name: name,
            version,
            qualifiers: &[],
            licence,
        },
    );
}
