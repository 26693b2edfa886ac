//! What a document about packages is of.

use castoff_oci::{Digest, Platform};

use super::purl;

/// An image, or the files of one, that a document is about. Equal subjects give equal documents: nothing in
/// them is random, and the only time is `created`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name, for people.
    pub name: String,
    /// Its digest, that of the config or manifest; `None` for mere files.
    pub digest: Option<Digest>,
    /// What it is for.
    pub platform: Platform,
    /// When it was made, in RFC 3339; documents need a time.
    pub created: String,
    /// Version of castoff.
    pub tool_version: String,
}

impl Subject {
    /// Returns the purl of an image that is known by its digest (type `oci`).
    pub(super) fn purl(&self) -> Option<String> {
        let digest = self.digest?.to_string();
        let name = self.name.rsplit('/').next().unwrap_or_default();
        let name = name.split(['@', ':']).next().filter(|name| !name.is_empty()).unwrap_or("image");
        let mut purl = "pkg:oci/".to_owned();
        purl::encode(&name.to_lowercase(), &mut purl);
        purl.push('@');
        purl::encode(&digest, &mut purl);
        purl.push_str("?arch=");
        purl::encode(&self.platform.architecture, &mut purl);
        Some(purl)
    }

    /// Returns hexadecimal digits that stand for the subject and what was found in it.
    pub(super) fn identity(&self, content: &[u8]) -> String {
        let digest = self.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let mut text = format!("{}\n{digest}\n{}\n{}\n", self.name, self.platform, self.created).into_bytes();
        text.extend_from_slice(content);
        let digest = Digest::of(&text).hex();
        // In the form of a UUID, of version 8: "custom".
        format!(
            "{}-{}-8{}-8{}-{}",
            &digest[..8],
            &digest[8..12],
            &digest[13..16],
            &digest[17..20],
            &digest[20..32]
        )
    }
}
