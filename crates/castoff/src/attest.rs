//! What is said of a result beside it: the packages in it and how it was built (B-175 to B-180).
//!
//! [`gather`] looks at the result once. [`Said`] then makes the attestations of each output, because those of an
//! image name it and have its time.

mod provenance;

use castoff_dockerfile::InstructionKind;
use castoff_graph::VertexId;
use castoff_inspect::packages::{self, Inventory, Subject, spdx};
use castoff_layer::{EntryKind, View};
use castoff_oci::{Hasher, Platform, Reference};
use castoff_solver::export::attest::{Attestation, StatementSubject, statement};
use castoff_solver::export::image::rfc3339;
use castoff_solver::export::materials::{Materials, materials};
use castoff_solver::export::set::ImageSet;
use castoff_solver::{Bodies, Messenger, Solved, World, snapshot};
use serde_json::Value;

use crate::args::{BuildRequest, ProvenanceMode, ProvenanceSpec};
use crate::build::Planned;
use crate::time::whole_seconds;

/// The type of the predicate that is provenance (SLSA 1.0).
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// A larger document is an error (B-179).
const SBOM_LIMIT: usize = 40 << 20;

/// Arguments that ask a scanner for more than the result.
const SCAN_MORE: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];
/// Shorter secrets are in every text.
const SECRET_LENGTH: usize = 4;

/// What was found about a result.
pub(crate) struct Said<'a> {
    request: &'a BuildRequest,
    planned: &'a Planned,
    world: &'a World,
    materials: Materials,
    /// For each output of the plan, when a list of packages was asked for.
    inventories: Vec<Inventory>,
    finished_ms: i64,
}

/// An attestation beside files.
pub(crate) struct FileAttestation {
    /// Name of its file, with the output's prefix.
    pub(crate) name: String,
    /// What is in the file.
    pub(crate) content: Vec<u8>,
}

/// Looks at a result. Layers that are not on this machine are fetched when packages are to be listed.
pub(crate) fn gather<'a>(
    request: &'a BuildRequest,
    planned: &'a Planned,
    solved: &Solved,
    world: &'a World,
    bodies: &Bodies<'_>,
    messenger: &Messenger,
) -> anyhow::Result<Said<'a>> {
    let mut inventories = Vec::new();
    if request.attest.sbom {
        for output in &planned.plan.outputs {
            let result = |id: VertexId| solved.result(id).expect("what an output needs is solved").clone();
            let layers = snapshot(&planned.plan.graph, world, output.vertex, &result)?;
            inventories.push(packages::scan(&bodies.view(&layers, messenger)?)?);
        }
    }
    let materials = materials(&planned.plan.graph, solved, world, &planned.fetched)?;
    Ok(Said { request, planned, world, materials, inventories, finished_ms: (world.clock)() })
}

/// Returns the arguments of a file that ask for the packages of other file systems than the result's, which are not
/// listed (D-101).
pub(crate) fn not_listed(request: &BuildRequest, planned: &Planned) -> Vec<&'static str> {
    let parsed = castoff_dockerfile::parse(&planned.dockerfile.bytes).dockerfile;
    let instructions = parsed.stages.iter().flat_map(|stage| &stage.instructions);
    let declared =
        parsed.global_args.iter().chain(instructions).flat_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => declarations.as_slice(),
            _ => &[],
        });
    let wanted = |name: &str, default: Option<&str>| {
        let given = request.plan.build_args.iter().rfind(|(given, _)| given == name);
        let value = given.map(|(_, value)| value.as_str()).or(default).unwrap_or_default();
        !matches!(value, "" | "0" | "false")
    };
    let mut found: Vec<&str> = declared
        .filter(|declared| {
            wanted(&declared.name.value, declared.default.as_ref().map(|word| word.value.as_str()))
        })
        .filter_map(|declared| SCAN_MORE.into_iter().find(|name| *name == declared.name.value))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl Said<'_> {
    /// Returns the attestations of images.
    pub(crate) fn of_images(
        &self,
        images: &ImageSet,
        names: &[Reference],
    ) -> anyhow::Result<Vec<Attestation>> {
        let name = names.first().map_or_else(|| "image".to_owned(), ToString::to_string);
        let mut all = Vec::new();
        for (image, config) in images.images().iter().map(|image| image.config.value()).enumerate() {
            let created = config.created.as_deref();
            if let Some(predicate) = self.sbom(image, &name, &config.platform(), created)? {
                all.push(Attestation { image, predicate_type: spdx::PREDICATE_TYPE.to_owned(), predicate });
            }
            if let Some(spec) = &self.request.attest.provenance {
                let predicate = self.provenance(spec, spec.mode)?;
                all.push(Attestation { image, predicate_type: PROVENANCE.to_owned(), predicate });
            }
        }
        Ok(all)
    }

    /// Returns the attestations of the files of an output of the plan (B-099). `suffix` tells platforms apart that
    /// are in one directory.
    pub(crate) fn of_files(
        &self,
        place: usize,
        view: &View,
        prefix: &str,
        suffix: Option<&str>,
    ) -> anyhow::Result<Vec<FileAttestation>> {
        let output = &self.planned.plan.outputs[place];
        let created = rfc3339(output.epoch.map_or(self.finished_ms, |epoch| epoch.saturating_mul(1000)));
        let mut said = Vec::new();
        if let Some(predicate) = self.sbom(place, "files", &output.platform, Some(&created))? {
            said.push(("sbom.spdx.json", spdx::PREDICATE_TYPE, predicate));
        }
        if let Some(spec) = self.request.attest.provenance.as_ref().filter(|spec| !spec.inline_only) {
            let name = spec.filename.as_deref().unwrap_or("provenance.json");
            said.push((name, PROVENANCE, self.provenance(spec, spec.mode)?));
        }
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let subjects = files(view)?;
        let file = |(name, kind, predicate): (&str, &str, Value)| {
            let mut content = serde_json::to_vec_pretty(&statement(&subjects, kind, &predicate))?;
            content.push(b'\n');
            let name = match (suffix, name.rsplit_once('.')) {
                (None, _) => name.to_owned(),
                (Some(suffix), Some((stem, end))) => format!("{stem}.{suffix}.{end}"),
                (Some(suffix), None) => format!("{name}.{suffix}"),
            };
            Ok(FileAttestation { name: format!("{prefix}{name}"), content })
        };
        said.into_iter().map(file).collect()
    }

    /// Returns provenance in little for the file about the result (B-114).
    pub(crate) fn metadata(&self, mode: ProvenanceMode) -> anyhow::Result<Value> {
        let asked = self.request.attest.provenance.clone().unwrap_or_default();
        self.provenance(&asked, mode)
    }

    fn provenance(&self, spec: &ProvenanceSpec, mode: ProvenanceMode) -> anyhow::Result<Value> {
        // Whatever an argument, an instruction or the Dockerfile repeats.
        let secrets = self.world.secrets.values().filter_map(|value| std::str::from_utf8(&value.0).ok());
        let mut secrets: Vec<&str> =
            secrets.map(str::trim).filter(|value| value.len() >= SECRET_LENGTH).collect();
        // A secret may be a part of another, of which the rest would be left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut predicate = provenance::predicate(&provenance::Facts {
            request: self.request,
            planned: self.planned,
            materials: &self.materials,
            finished_ms: self.finished_ms,
            spec,
            mode,
            secrets: &secrets,
        });
        redact(&mut predicate, &secrets);
        if let Some(guard) = &self.world.guard {
            guard.text("the provenance", predicate.to_string().as_bytes())?;
        }
        Ok(predicate)
    }

    fn sbom(
        &self,
        place: usize,
        name: &str,
        platform: &Platform,
        created: Option<&str>,
    ) -> anyhow::Result<Option<Value>> {
        let Some(inventory) = self.inventories.get(place) else { return Ok(None) };
        let subject = Subject {
            name: name.to_owned(),
            digest: None,
            platform: platform.clone(),
            created: whole_seconds(created),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let document = spdx::document(inventory, &subject);
        if document.to_string().len() > SBOM_LIMIT {
            anyhow::bail!("the list of packages is larger than {} MiB", SBOM_LIMIT >> 20);
        }
        Ok(Some(document))
    }
}

/// Replaces secrets in all texts, longer ones first.
fn redact(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => hide(text, secrets),
        Value::Array(values) => values.iter_mut().for_each(|value| redact(value, secrets)),
        Value::Object(values) => values.values_mut().for_each(|value| redact(value, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces secrets in a text, in their order.
fn hide(text: &mut String, secrets: &[&str]) {
    for secret in secrets {
        if text.contains(secret) {
            *text = text.replace(secret, "*****");
        }
    }
}

/// Returns the regular files of a view with their digests.
fn files(view: &View) -> anyhow::Result<Vec<StatementSubject>> {
    let mut subjects = Vec::new();
    let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        for (_, node) in view.read_dir(&directory)? {
            match node.entry.kind {
                EntryKind::Directory { .. } => pending.push(node.entry.path.clone()),
                EntryKind::File { .. } => {
                    let mut hasher = Hasher::new();
                    let mut reader = view.open(&node)?;
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        match std::io::Read::read(&mut reader, &mut buffer)? {
                            0 => break,
                            count => hasher.update(&buffer[..count]),
                        };
                    }
                    let name = String::from_utf8_lossy(&node.entry.path).into_owned();
                    subjects.push(StatementSubject { name, digest: hasher.finish() });
                }
                _ => {}
            }
        }
    }
    subjects.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(subjects)
}
