//! The files about a result: `--iidfile` and `--metadata-file` (B-112 to B-115).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_dockerfile::Diagnostic;
use castoff_oci::{Descriptor, Digest, Reference};
use castoff_solver::export::pack::Pack;
use castoff_solver::export::set::ImageSet;
use serde_json::{Value, json};

use crate::args::BuildRequest;
use crate::build::{BuildError, Planned};
use crate::output_file::write_output;

/// What is told of an image that was made.
#[derive(Debug, Clone)]
pub struct About {
    /// The index or manifest.
    pub descriptor: Descriptor,
    /// The config, where there is one image.
    pub config: Option<Digest>,
    /// Its names; those of the build count where there are none.
    pub names: Vec<Reference>,
}

impl About {
    fn names<'a>(&'a self, request: &'a BuildRequest) -> &'a [Reference] {
        if self.names.is_empty() { &request.tags } else { &self.names }
    }

    /// Returns what is told of an image in the store.
    pub fn of(images: &ImageSet) -> About {
        let created = images.images().iter().filter_map(|image| image.config.value().created.clone()).max();
        About {
            descriptor: dated(images.descriptor(), created.as_deref()),
            config: images.index().is_none().then(|| images.id()),
            names: Vec::new(),
        }
    }

    /// Returns what is told of an image that left the store.
    pub fn of_pack(pack: &Pack, names: &[Reference]) -> About {
        let is_single = pack.root.digest == pack.images[0].manifest.digest;
        About {
            descriptor: dated(pack.root.clone(), pack.created.as_deref()),
            config: is_single.then(|| pack.images[0].config.digest),
            names: names.to_vec(),
        }
    }
}

/// Writes the files of buildah and kaniko, in place: one of them may be `/dev/termination-log` (B-053, B-207).
fn others(request: &BuildRequest, about: &About) -> Result<(), BuildError> {
    let digest = about.descriptor.digest;
    if let Some(path) = &request.about.iidfile_raw {
        std::fs::write(path, about.config.unwrap_or(digest).hex())?;
    }
    if let Some(path) = &request.about.digest_file {
        std::fs::write(path, digest.to_string())?;
    }
    let lines = |with_tag: bool| -> String {
        let line = |name: &Reference| match name.tag().filter(|_| with_tag) {
            Some(tag) => format!("{}:{tag}@{digest}\n", name.name()),
            None => format!("{}@{digest}\n", name.name()),
        };
        about.names(request).iter().map(line).collect()
    };
    if let Some(path) = &request.about.image_name_with_digest_file {
        std::fs::write(path, lines(false))?;
    }
    if let Some(path) = &request.about.image_name_tag_with_digest_file {
        std::fs::write(path, lines(true))?;
    }
    Ok(())
}

/// BuildKit says when an image was made in its descriptor.
fn dated(mut descriptor: Descriptor, created: Option<&str>) -> Descriptor {
    if let Some(created) = created {
        let key = "org.opencontainers.image.created".to_owned();
        descriptor.annotations.entry(key).or_insert_with(|| created.to_owned());
    }
    descriptor
}

/// Writes the files that were asked for. `images` is what the store has, `about` what was made last.
pub fn write(
    request: &BuildRequest,
    planned: &Planned,
    images: Option<&ImageSet>,
    about: Option<&About>,
    provenance: Option<Value>,
    now_ms: i64,
) -> Result<(), BuildError> {
    if let (Some(path), Some(images)) = (&request.iidfile, images) {
        // An image that left with another config is known by that one.
        let id = about.and_then(|about| about.config).unwrap_or_else(|| images.id());
        write_output(path, id.to_string().as_bytes())?;
    }
    if let Some(about) = about {
        others(request, about)?;
    }
    let Some(path) = &request.metadata_file else { return Ok(()) };
    let mut metadata = json!({ "buildx.build.ref": build_reference(now_ms) });
    if let Some(provenance) = provenance {
        match &planned.plan.outputs[..] {
            [_] if !request.plan.multi_platform => metadata["buildx.build.provenance"] = provenance,
            several => {
                for output in several {
                    metadata[format!("buildx.build.provenance/{}", output.platform)] = provenance.clone();
                }
            }
        }
    }
    if let Some(statement) = planned.prover.as_ref().and_then(|prover| prover.statement()) {
        metadata["castoff.secrets"] = statement;
    }
    if request.metadata_warnings && !planned.warnings.is_empty() {
        let warnings: Vec<Value> = planned.warnings.iter().map(warning).collect();
        metadata["buildx.build.warnings"] = json!(warnings);
    }
    if let Some(about) = about {
        if let Some(config) = about.config {
            metadata["containerimage.config.digest"] = json!(config.to_string());
        }
        metadata["containerimage.descriptor"] = json!(about.descriptor);
        metadata["containerimage.digest"] = json!(about.descriptor.digest.to_string());
        let names = about.names(request);
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            metadata["image.name"] = json!(names.join(","));
        }
    }
    let mut text = serde_json::to_vec_pretty(&metadata).map_err(anyhow::Error::from)?;
    text.push(b'\n');
    write_output(path, &text)?;
    Ok(())
}

/// Returns a name of this build in buildx's form, builder/node/id. It names no record: castoff's history is
/// its own.
fn build_reference(now_ms: i64) -> String {
    let seed = format!("{now_ms} {} {:?}", std::process::id(), std::thread::current().id());
    let id: String = Digest::of(seed.as_bytes()).hex().chars().take(25).collect();
    format!("castoff/castoff0/{id}")
}

/// Returns a finding as BuildKit tells it, its text in base64.
fn warning(finding: &Diagnostic) -> Value {
    let rule = finding.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    let mut warning = json!({
        "level": 1,
        "short": STANDARD.encode(format!("{rule}{}", finding.message)),
        "detail": finding.hints.iter().map(|hint| STANDARD.encode(hint)).collect::<Vec<_>>(),
    });
    if finding.lines.0 > 0 {
        warning["range"] = json!([{
            "start": { "line": finding.lines.0 },
            "end": { "line": finding.lines.1 },
        }]);
    }
    warning
}
