//! Documents in SPDX 2.3 (JSON).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Inventory, Package, Subject};

/// The media type of such a document.
pub const MEDIA_TYPE: &str = "application/spdx+json";
/// The type of the predicate that such a document is in an attestation.
pub const PREDICATE_TYPE: &str = "https://spdx.dev/Document";

/// Returns the document about a subject.
pub fn document(inventory: &Inventory, subject: &Subject) -> Value {
    let mut extracted = BTreeMap::new();
    let mut packages = vec![root(subject)];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-Image",
    })];
    if let Some(distribution) = &inventory.distribution
        && !distribution.id.is_empty()
    {
        packages.push(json!({
            "SPDXID": "SPDXRef-OperatingSystem",
            "name": distribution.id,
            "versionInfo": distribution.version,
            "summary": distribution.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            // With a dash in the text of the specification, and so in its schema.
            "primaryPackagePurpose": "OPERATING_SYSTEM",
        }));
        relationships.push(contains("SPDXRef-OperatingSystem"));
    }
    for (place, package) in inventory.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{}", package.kind.name(), place + 1);
        packages.push(described(package, &id, &mut extracted));
        relationships.push(contains(&id));
    }
    let content = serde_json::to_vec(&packages).expect("values have string keys");
    let mut information = json!({
        "created": subject.created,
        "creators": ["Organization: castoff", format!("Tool: castoff-{}", subject.tool_version)],
    });
    if !inventory.unread.is_empty() {
        let lines =
            inventory.unread.iter().map(|unread| format!("not read: {}: {}", unread.path, unread.reason));
        information["comment"] = json!(lines.collect::<Vec<_>>().join("\n"));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/castoff-{}", subject.identity(&content)),
        "creationInfo": information,
        "packages": packages,
        "relationships": relationships,
    });
    if !extracted.is_empty() {
        let licences = extracted
            .into_iter()
            .map(|(id, text)| json!({ "licenseId": id, "name": text, "extractedText": text }));
        document["hasExtractedLicensingInfos"] = licences.collect();
    }
    document
}

fn root(subject: &Subject) -> Value {
    let mut root = json!({
        "SPDXID": "SPDXRef-Image",
        "name": subject.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": if subject.digest.is_some() { "CONTAINER" } else { "ARCHIVE" },
    });
    if let (Some(digest), Some(purl)) = (subject.digest, subject.purl()) {
        root["versionInfo"] = json!(digest.to_string());
        root["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }]);
        root["externalRefs"] = reference(&purl);
    }
    root
}

fn described(package: &Package, id: &str, extracted: &mut BTreeMap<String, String>) -> Value {
    let places: Vec<&str> = package.found_in.iter().map(String::as_str).collect();
    let mut described = json!({
        "SPDXID": id,
        "name": package.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": match &package.licence {
            Some(licence) => declared(licence, extracted),
            None => "NOASSERTION".to_owned(),
        },
        "copyrightText": "NOASSERTION",
        "sourceInfo": format!("found in {}", places.join(", ")),
        "externalRefs": reference(&package.purl),
    });
    if !package.version.is_empty() {
        described["versionInfo"] = json!(package.version);
    }
    described
}

/// Returns a licence as a document may have it: an expression of SPDX as it is, other words by a name of the
/// document's own.
fn declared(licence: &str, extracted: &mut BTreeMap<String, String>) -> String {
    if is_self_contained(licence) {
        return licence.to_owned();
    }
    let readable: String = licence
        .chars()
        .take(64)
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect();
    // Two texts may look alike in these letters.
    let digest = castoff_oci::Digest::of(licence.as_bytes()).hex();
    let id = format!("LicenseRef-{}-{}", readable.trim_matches('-'), &digest[..8]);
    extracted.insert(id.clone(), licence.to_owned());
    id
}

/// Returns whether a text is an expression of SPDX's own licences: what others are, a document would have to say.
fn is_self_contained(licence: &str) -> bool {
    ::spdx::Expression::parse(licence).is_ok_and(|expression| {
        expression.requirements().all(|part| {
            part.req.license.id().is_some()
                && part.req.addition.as_ref().is_none_or(|addition| addition.id().is_some())
        })
    })
}

fn reference(purl: &str) -> Value {
    json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }])
}

fn contains(id: &str) -> Value {
    json!({
        "spdxElementId": "SPDXRef-Image",
        "relationshipType": "CONTAINS",
        "relatedSpdxElement": id,
    })
}
