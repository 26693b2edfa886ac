//! Package URLs: `pkg:type/namespace/name@version?qualifiers` (purl specification, and its definitions of types,
//! which say whose names are in lower case).

use super::{Finding, PackageKind};

/// Returns the purl of a package.
pub(super) fn purl(finding: &Finding<'_>) -> String {
    let mut purl = format!("pkg:{}", finding.kind.name());
    for part in finding.namespace.split('/').chain([finding.name]).filter(|part| !part.is_empty()) {
        purl.push('/');
        match finding.kind {
            PackageKind::Apk | PackageKind::Deb | PackageKind::Go | PackageKind::Npm => {
                encode(&part.to_lowercase(), &mut purl);
            }
            // Of Python's the name was normalised.
            PackageKind::Cargo | PackageKind::Maven | PackageKind::Python => encode(part, &mut purl),
        }
    }
    if !finding.version.is_empty() {
        purl.push('@');
        encode(finding.version, &mut purl);
    }
    // Sorted by key; an empty value is as none.
    let mut qualifiers: Vec<_> = finding.qualifiers.iter().filter(|(_, value)| !value.is_empty()).collect();
    qualifiers.sort_unstable();
    for (place, (key, value)) in qualifiers.into_iter().enumerate() {
        purl.push(if place == 0 { '?' } else { '&' });
        purl.push_str(key);
        purl.push('=');
        encode(value, &mut purl);
    }
    purl
}

/// Percent-encodes all but letters, digits and `.-_~:`, of which the specification says that they stay.
pub(super) fn encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Returns the namespace and name in a purl of a name with slashes: all but the last part is namespace.
pub(super) fn split_path(kind: PackageKind, name: &str) -> (&str, &str) {
    match kind {
        PackageKind::Go | PackageKind::Npm => name.rsplit_once('/').unwrap_or(("", name)),
        _ => ("", name),
    }
}
