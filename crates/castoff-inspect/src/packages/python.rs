//! The packages of Python: `METADATA` and `PKG-INFO` ("Core metadata specifications").

use super::{Collection, Finding, PackageKind};

/// Reads the fields before the first empty line.
pub(super) fn metadata(path: &[u8], text: &str, found: &mut Collection) {
    let [mut name, mut version, mut expression, mut licence] = [""; 4];
    let mut classifiers = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match line.split_once(':').map(|(key, value)| (key, value.trim())) {
            Some(("Name", value)) => name = value,
            Some(("Version", value)) => version = value,
            Some(("License-Expression", value)) => expression = value,
            Some(("License", value)) => licence = value,
            Some(("Classifier", value)) => classifiers.extend(value.strip_prefix("License :: ")),
            _ => {}
        }
    }
    if name.is_empty() {
        return found.leave(path, "no name");
    }
    // "OSI Approved :: MIT License": the last part is the licence.
    let classified = classifiers.first().and_then(|text| text.rsplit(" :: ").next());
    let stated = [expression, licence].into_iter().find(|text| !text.is_empty() && *text != "UNKNOWN");
    found.add(
        path,
        &Finding {
            kind: PackageKind::Python,
            namespace: "",
            name: &normalised(name),
            full_name: name,
            version,
            qualifiers: &[],
            licence: stated.or(classified),
        },
    );
}

/// "Names and normalization": lower case, and one dash for each run of `-`, `_` and `.`.
fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}
