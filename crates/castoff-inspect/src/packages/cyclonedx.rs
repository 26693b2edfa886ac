//! Documents in CycloneDX 1.5 (JSON).

use serde_json::{Value, json};

use super::{Inventory, Package, Subject};

/// The media type of such a document.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// Returns the document about a subject.
pub fn document(inventory: &Inventory, subject: &Subject) -> Value {
    let mut components: Vec<Value> = inventory.packages.iter().map(component).collect();
    if let Some(distribution) = &inventory.distribution
        && !distribution.id.is_empty()
    {
        components.push(json!({
            "type": "operating-system",
            "bom-ref": "operating-system",
            "name": distribution.id,
            "version": distribution.version,
            "description": distribution.name,
        }));
    }
    let mut root = json!({ "type": "container", "bom-ref": "image", "name": subject.name });
    if let (Some(digest), Some(purl)) = (subject.digest, subject.purl()) {
        root["version"] = json!(digest.to_string());
        root["purl"] = json!(purl);
    }
    let mut metadata = json!({
        "timestamp": subject.created,
        "tools": {
            "components": [{ "type": "application", "name": "castoff", "version": subject.tool_version }],
        },
        "component": root,
    });
    if !inventory.unread.is_empty() {
        let unread = inventory.unread.iter().map(|unread| {
            json!({ "name": "castoff:unread", "value": format!("{}: {}", unread.path, unread.reason) })
        });
        metadata["properties"] = unread.collect();
    }
    let content = serde_json::to_vec(&components).expect("values have string keys");
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", subject.identity(&content)),
        "version": 1,
        "metadata": metadata,
        "components": components,
    })
}

fn component(package: &Package) -> Value {
    let places = package.found_in.iter().map(|path| json!({ "location": path }));
    let mut component = json!({
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "evidence": { "occurrences": places.collect::<Value>() },
    });
    if let Some(licence) = &package.licence {
        component["licenses"] = if ::spdx::Expression::parse(licence).is_ok() {
            json!([{ "expression": licence }])
        } else {
            json!([{ "license": { "name": licence } }])
        };
    }
    component
}
