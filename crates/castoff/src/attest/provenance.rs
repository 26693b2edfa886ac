//! Provenance: how a result was built (SLSA 1.0, with the fields that BuildKit adds; B-178).

use castoff_graph::remote::redacted;
use castoff_graph::{LocalName, Mount, Op, SourceOp, VertexId};
use castoff_oci::{Digest, Platform};
use castoff_solver::export::image::rfc3339;
use castoff_solver::export::materials::Materials;
use serde_json::{Map, Value, json};

use super::hide;
use crate::args::{BuildRequest, ContextSpec, ProvenanceMode, ProvenanceSpec};
use crate::build::Planned;

/// BuildKit's own, because the parameters mean what they mean there.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// What provenance is made of.
pub(super) struct Facts<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) planned: &'a Planned,
    pub(super) materials: &'a Materials,
    pub(super) finished_ms: i64,
    pub(super) spec: &'a ProvenanceSpec,
    pub(super) mode: ProvenanceMode,
    /// What must not be in it, longer ones first. Of texts that are there as they are the caller takes care.
    pub(super) secrets: &'a [&'a str],
}

/// Returns the predicate. With an epoch its times are the epoch, so that equal builds say the same.
pub(super) fn predicate(facts: &Facts<'_>) -> Value {
    let Facts { request, planned, materials, .. } = facts;
    let is_max = facts.mode == ProvenanceMode::Max;
    let epoch = planned.plan.outputs[0].epoch.map(|seconds| seconds.saturating_mul(1000));
    let (started, finished) = (epoch.unwrap_or(planned.started_ms), epoch.unwrap_or(facts.finished_ms));
    let dependencies = materials.fetched.iter().map(|material| {
        let mut dependency = json!({ "uri": material.uri });
        if let Some((algorithm, digest)) = &material.digest {
            dependency["digest"] = json!({ *algorithm: digest });
        }
        dependency
    });
    // From standard input came what nobody can fetch again.
    let complete = materials.complete && request.plan.context != ContextSpec::Stdin;
    let mut metadata = json!({
        "invocationID": invocation(planned, started),
        "startedOn": rfc3339(started),
        "finishedOn": rfc3339(finished),
        "buildkit_completeness": { "request": is_max, "resolvedDependencies": complete },
        "buildkit_hermetic": complete,
        "buildkit_reproducible": facts.spec.reproducible,
    });
    // What was looked for where, and that it was not found; or nobody looked. What depends on which steps were executed
    // is left out, so that equal results say the same.
    if let Some(statement) = planned.prover.as_ref().and_then(|prover| prover.statement()) {
        let kept = [
            "secrets",
            "tooShort",
            "found",
            "encodings",
            "layers",
            "baseLayersNotRead",
            "limits",
            "notLookedInto",
        ];
        let members = kept.iter().map(|key| ((*key).to_owned(), statement[*key].clone()));
        metadata["castoff_secrets"] = Value::Object(members.collect());
    }
    let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
    if let Some(vcs) = &planned.vcs {
        metadata["buildkit_metadata"]["vcs"] = vcs.provenance();
    }
    if is_max {
        internal["buildConfig"] = json!({ "steps": steps(planned) });
        metadata["buildkit_metadata"]["source"] = source(planned, facts.secrets);
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": config_source(request, planned),
                "request": request_of(request, planned, is_max),
            },
            "internalParameters": internal,
            "resolvedDependencies": dependencies.collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": {
                "id": facts.spec.builder_id.as_deref().unwrap_or_default(),
                "version": { "castoff": env!("CARGO_PKG_VERSION") },
            },
            "metadata": metadata,
        },
    })
}

/// Where the Dockerfile came from.
fn config_source(request: &BuildRequest, planned: &Planned) -> Value {
    let mut source = json!({ "path": planned.dockerfile.name });
    if let ContextSpec::Git(address) | ContextSpec::Http(address) = &request.plan.context {
        source["uri"] = json!(redacted(address));
        // The main context is fetched before all else.
        if let Some((algorithm, digest)) =
            planned.fetched.first().and_then(|material| material.digest.as_ref())
        {
            source["digest"] = json!({ *algorithm: digest });
        }
    }
    source
}

/// What was asked for. Of secrets and agents only the names are told.
fn request_of(request: &BuildRequest, planned: &Planned, is_max: bool) -> Value {
    let mut told = json!({ "frontend": "dockerfile.v0" });
    let plan = &request.plan;
    if !is_max {
        return told;
    }
    let mut args = Map::new();
    if let Some(target) = &plan.target {
        args.insert("target".to_owned(), json!(target));
    }
    for (name, value) in &plan.build_args {
        let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
        // The addresses of proxies have passwords, and they change nothing of the result (D-096).
        if !is_proxy {
            let value = if value.contains("://") { redacted(value) } else { value.clone() };
            args.insert(format!("build-arg:{name}"), json!(value));
        }
    }
    for (name, value) in &plan.labels {
        args.insert(format!("label:{name}"), json!(value));
    }
    if plan.no_cache || !plan.no_cache_stages.is_empty() {
        args.insert("no-cache".to_owned(), json!(plan.no_cache_stages.join(",")));
    }
    if !plan.platforms.is_empty() {
        let platforms: Vec<String> = plan.platforms.iter().map(ToString::to_string).collect();
        args.insert("platform".to_owned(), json!(platforms.join(",")));
    }
    for context in &plan.contexts {
        args.insert(format!("context:{}", context.name), json!(context_of(&context.source)));
    }
    told["args"] = Value::Object(args);
    told["locals"] = locals(planned).into_iter().map(|name| json!({ "name": name })).collect();
    told["secrets"] = planned.plan.secrets.iter().map(|id| json!({ "id": id })).collect();
    told["ssh"] = planned.plan.agents.iter().map(|id| json!({ "id": id })).collect();
    told
}

fn context_of(source: &crate::args::NamedContextSource) -> String {
    use crate::args::NamedContextSource as S;
    match source {
        // Where it is on this machine is nobody's business.
        S::Directory(_) => "local".to_owned(),
        S::Image(reference) => format!("docker-image://{reference}"),
        S::OciLayout { .. } => "oci-layout".to_owned(),
        S::Git(address) | S::Http(address) => redacted(address),
    }
}

/// Returns the names of the caller's directories that the graph uses.
fn locals(planned: &Planned) -> Vec<&str> {
    let graph = &planned.plan.graph;
    let mut names: Vec<&str> = (0..graph.len())
        .filter_map(|place| match &graph.vertex(VertexId(place as u32)).op {
            Op::Source(SourceOp::Local(LocalName::Context)) => Some("context"),
            Op::Source(SourceOp::Local(LocalName::Named(name))) => Some(name),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns what each step is, with the steps that it needs.
fn steps(planned: &Planned) -> Vec<Value> {
    let graph = &planned.plan.graph;
    (0..graph.len())
        .map(|place| {
            let id = VertexId(place as u32);
            let vertex = graph.vertex(id);
            let inputs: Vec<String> = vertex.op.inputs().iter().map(ToString::to_string).collect();
            let mut step = json!({ "id": id.to_string(), "name": vertex.name, "inputs": inputs });
            if let Some(origin) = &vertex.origin {
                step["lines"] = json!([origin.first_line, origin.last_line]);
            }
            if let Op::Run(run) = &vertex.op {
                let secrets: Vec<&str> = run
                    .mounts
                    .iter()
                    .filter_map(|mount| match mount {
                        Mount::Secret { id, .. } => Some(id.as_str()),
                        _ => None,
                    })
                    .collect();
                let agents: Vec<&str> = run
                    .mounts
                    .iter()
                    .filter_map(|mount| match mount {
                        Mount::Ssh { id, .. } => Some(id.as_str()),
                        _ => None,
                    })
                    .collect();
                step["platform"] = json!(run.platform.to_string());
                step["secrets"] = json!(secrets);
                step["ssh"] = json!(agents);
            }
            step
        })
        .collect()
}

/// Returns the Dockerfile without secrets, which nobody would see in base64.
fn source(planned: &Planned, secrets: &[&str]) -> Value {
    use base64::Engine as _;
    let mut text = String::from_utf8_lossy(&planned.dockerfile.bytes).into_owned();
    hide(&mut text, secrets);
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    json!({ "infos": [{ "filename": planned.dockerfile.name, "data": text }] })
}

/// Returns a name of this build: the same for the same graph at the same time.
fn invocation(planned: &Planned, started_ms: i64) -> String {
    let text =
        format!("{started_ms} {}", castoff_graph::print::text(&planned.plan.graph, &planned.plan.outputs));
    Digest::of(text.as_bytes()).hex()[..32].to_owned()
}
