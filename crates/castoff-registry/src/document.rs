//! Manifests and indexes as they come: what they say they are.

use castoff_oci::{Digest, MediaType};

use crate::error::RegistryError;

/// A manifest or index as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub media_type: MediaType,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// Checks that the bytes are what was asked for and something that castoff reads.
    pub(crate) fn check(
        url: &str,
        content_type: &str,
        bytes: Vec<u8>,
        expected: Option<Digest>,
    ) -> Result<Document, RegistryError> {
        let digest = Digest::of(&bytes);
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(RegistryError::Digest { url: url.to_owned(), expected, actual: digest });
        }
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if content_type.contains("docker.distribution.manifest.v1")
            || value.get("schemaVersion").and_then(serde_json::Value::as_u64) == Some(1)
        {
            return Err(RegistryError::Schema1 { url: url.to_owned() });
        }
        // One text that is an index to one reader and a manifest to another has two meanings under one
        // digest.
        if value.get("manifests").is_some()
            && (value.get("layers").is_some() || value.get("config").is_some())
        {
            return Err(RegistryError::Ambiguous { url: url.to_owned() });
        }
        Ok(Document { media_type: media_type(content_type, &value), digest, bytes })
    }
}

/// The header decides, except when it says nothing of use or the opposite of what is there.
fn media_type(content_type: &str, value: &serde_json::Value) -> MediaType {
    let named = MediaType::from(content_type.split(';').next().unwrap_or_default().trim());
    let index = value.get("manifests").is_some();
    let manifest = value.get("layers").is_some() || value.get("config").is_some();
    if (named.is_index() && !manifest) || (named.is_manifest() && !index) {
        return named;
    }
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(text) => MediaType::from(text),
        None if index => MediaType::OciIndex,
        None if manifest => MediaType::OciManifest,
        None => named,
    }
}

#[cfg(test)]
mod tests {
    use super::Document;

    const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    #[track_caller]
    fn check(content_type: &str, text: &str, expected: &str) {
        let document = Document::check("url", content_type, text.as_bytes().to_vec(), None);
        let said =
            document.map_or_else(|error| error.to_string(), |document| document.media_type.to_string());
        assert_eq!(said, expected, "{content_type} {text}");
    }

    /// B-078.
    #[test]
    fn a_document_is_what_its_header_says_or_else_what_it_is() {
        check(OCI_MANIFEST, r#"{"config":{},"layers":[]}"#, OCI_MANIFEST);
        check(&format!("{OCI_INDEX}; charset=utf-8"), r#"{"manifests":[]}"#, OCI_INDEX);
        check("application/json", &format!(r#"{{"mediaType":"{DOCKER_LIST}","manifests":[]}}"#), DOCKER_LIST);
        check("", r#"{"manifests":[]}"#, OCI_INDEX);
        check("text/plain", r#"{"config":{},"layers":[]}"#, OCI_MANIFEST);
        check(OCI_MANIFEST, r#"{"manifests":[]}"#, OCI_INDEX);
        check(OCI_INDEX, r#"{"config":{},"layers":[]}"#, OCI_MANIFEST);
        check("text/html", "<html>", "text/html");
    }

    /// B-078.
    #[test]
    fn old_and_double_faced_documents_are_refused() {
        let old = "url: schema 1 manifests are not supported; push the image again with a current tool";
        check("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", old);
        check("application/json", r#"{"schemaVersion":1,"fsLayers":[]}"#, old);
        let ambiguous = "url: the document is both an index and a manifest";
        check(OCI_INDEX, r#"{"manifests":[],"layers":[]}"#, ambiguous);
        check(OCI_MANIFEST, r#"{"manifests":[],"config":{}}"#, ambiguous);
    }
}
