//! The page: one file that fetches nothing and runs nothing but its own script.
//!
//! What images and Dockerfiles say is taken as hostile. The template escapes it where it stands in HTML; everything
//! else is JSON without a `<`, which the script puts into the page as text and never as markup. The policy of the page
//! allows that one script and that one style sheet, by their digests, and nothing of the network.

use std::io::Write as _;

use anyhow::Context as _;
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_oci::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::facts::{self, Fact};

const STYLE: &str = concat!(
    include_str!("../../../templates/report/page.css"),
    include_str!("../../../templates/report/graphics.css"),
);

/// One function around all of it: a page has no names for others.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("../../../templates/report/page.js"),
    include_str!("../../../templates/report/graph.js"),
    include_str!("../../../templates/report/time.js"),
    include_str!("../../../templates/report/files.js"),
    include_str!("../../../templates/report/treemap.js"),
    include_str!("../../../templates/report/lists.js"),
    include_str!("../../../templates/report/start.js"),
    "})();\n",
);

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    policy: String,
    style: &'a str,
    script: &'a str,
    /// JSON without a `<`.
    data: String,
    /// The files of the layers: JSON, gzip, base64.
    files: String,
    name: &'a str,
    /// Further names of the image: id, platform, when it was made.
    about: Vec<(&'static str, &'a str)>,
    facts: Vec<Fact>,
    problems: Vec<&'a str>,
    remembered: bool,
    castoff: &'static str,
    created: &'a str,
}

/// Returns the page of a document.
///
/// # Errors
/// Never, but for a lack of memory.
pub(super) fn of(document: &Value) -> anyhow::Result<String> {
    let mut data = document.clone();
    let layers = data["layers"].as_array_mut().into_iter().flatten();
    let tables: Value = layers.map(|layer| layer["files"].take()).collect();
    let text = |value: &'static str| document.pointer(value).and_then(Value::as_str).unwrap_or_default();
    let about = [
        ("Id", text("/image/id")),
        ("Manifest", text("/image/manifest")),
        ("Platform", text("/image/platform")),
        ("Made", text("/image/createdAt")),
        ("Dockerfile", text("/build/dockerfile")),
    ];
    let page = Page {
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        data: embedded(&data),
        files: packed(&tables)?,
        name: text("/image/name"),
        about: about.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        facts: facts::of(document),
        problems: document["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        remembered: !document["build"].is_null(),
        castoff: env!("CARGO_PKG_VERSION"),
        created: text("/createdAt"),
    };
    page.render().context("writing the page")
}

fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Digest::of(text.as_bytes()).as_bytes()));
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// Returns JSON that may stand in a script element: nothing in it ends the element or begins a comment.
fn embedded(value: &Value) -> String {
    let text = value.to_string();
    // Outside of strings JSON has none of these.
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn packed(value: &Value) -> anyhow::Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(value.to_string().as_bytes())?;
    Ok(STANDARD.encode(encoder.finish()?))
}

#[cfg(test)]
mod tests;
