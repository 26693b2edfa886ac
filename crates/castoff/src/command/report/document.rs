//! The document of a report (`docs/report.md`), which the page draws.

use castoff_dockerfile::lint::{Finding as CheckFinding, Level, Preset};
use castoff_inspect::builds::{longest_way, waited_for};
use castoff_inspect::explain::Tracer;
use castoff_inspect::packages::{self, Inventory};
use castoff_oci::{Platform, Raw};
use castoff_plan::PlanOptions;
use castoff_solver::export::image::rfc3339;
use castoff_store::{BuildId, BuildImage, BuildRecord, CacheRecord, Verdict};
use serde_json::{Value, json};

use super::weights;
use crate::check;
use crate::command::builds::{is_work, whole_json};
use crate::command::explain::{Subject, json as explain_json};
use crate::context::DockerfileText;
use crate::image;
use crate::lock::Lock;
use crate::prove::{self, Prover};
use crate::start::{self, StartFindings};

/// Changes with fields that change their meaning or go; new ones may come at any time.
const SCHEMA: u32 = 1;

/// Returns all that is known. What cannot be found out is null, and `problems` says why.
pub(super) fn of(subject: &Subject<'_>) -> anyhow::Result<Value> {
    let world = subject.world;
    let named = subject.named;
    let config = named.config.value();
    let mut explained = subject.explain(None)?;
    let mut stages = |step: usize| subject.stage_view(step);
    let mut tracer = subject.record().map(|record| Tracer::new(record, &world.store, &mut stages));
    explained.weigh_stages(&mut subject.scale())?;
    explained.follow(&mut tracer, false)?;
    let weights = weights::weigh(subject, &explained, &mut tracer)?;
    let mut problems = Vec::new();
    let secrets = secrets(subject).unwrap_or_else(|error| refused("secrets", &error, &mut problems));
    let start = startable(subject).unwrap_or_else(|error| refused("the start", &error, &mut problems));
    let packages = match packages::scan(&subject.view) {
        Ok(inventory) => packages_json(&inventory),
        Err(error) => refused("packages", &error.into(), &mut problems),
    };
    let (build, time) = match subject.build() {
        Some((id, record, image)) => build(subject, id, record, image)?,
        None => (Value::Null, Value::Null),
    };
    let source = subject.record().and_then(|record| record.source.as_deref());
    let checks = match (source, subject.record()) {
        (Some(source), Some(record)) => {
            checks(source, record).unwrap_or_else(|error| refused("the Dockerfile", &error, &mut problems))
        }
        _ => Value::Null,
    };
    Ok(json!({
        "schema": SCHEMA,
        "castoff": env!("CARGO_PKG_VERSION"),
        "createdAt": rfc3339((world.clock)()),
        "image": {
            "name": explained.name(),
            "id": named.id().to_string(),
            "manifest": named.manifest.digest().to_string(),
            "platform": config.platform().to_string(),
            "createdAt": config.created,
            "transferBytes": image::size(named.manifest.value()),
            "config": config.config,
        },
        "build": build,
        "time": time,
        "dockerfile": source,
        "contents": explain_json::document(&explained),
        "layers": weights.layers,
        "makers": weights.makers,
        "secrets": secrets,
        "start": start,
        "packages": packages,
        "checks": checks,
        "problems": problems,
    }))
}

fn refused(what: &str, error: &anyhow::Error, problems: &mut Vec<String>) -> Value {
    problems.push(format!("{what}: {}", castoff_solver::chain(error.as_ref())));
    Value::Null
}

/// Returns the build, and where its time went.
fn build(
    subject: &Subject<'_>,
    id: &BuildId,
    record: &BuildRecord,
    image: &BuildImage,
) -> anyhow::Result<(Value, Value)> {
    let mut whole = whole_json(id, record);
    whole["platform"] = image.platform.as_str().into();
    whole["root"] = image.root.into();
    let mut made = Vec::with_capacity(record.steps.len());
    for (place, step) in record.steps.iter().enumerate() {
        let kept = match step.key {
            Some(key) if is_work(step) => subject.world.store.record(key)?,
            _ => None,
        };
        let took = step.ended_ms.zip(step.started_ms).map(|(end, start)| (end - start).max(0) as u64);
        let making = match (step.verdict, &kept) {
            (Verdict::Cached, Some(kept)) => Some(kept.duration_ms),
            (Verdict::Cached, None) if is_work(step) => None,
            _ => took,
        };
        let json = &mut whole["steps"][place];
        json["tookMs"] = took.into();
        json["makingMs"] = making.into();
        let fact = |of: &dyn Fn(&CacheRecord) -> Value| kept.as_ref().map_or(Value::Null, of);
        json["madeAt"] = fact(&|kept| rfc3339(kept.created_ms).into());
        json["madeIn"] = fact(&|kept| kept.cache.as_deref().into());
        json["cpuMs"] = fact(&|kept| kept.cpu_ms.into());
        json["memoryBytes"] = fact(&|kept| kept.memory_bytes.into());
        made.push((took, making));
    }
    let steps = record.steps.iter().zip(&made);
    let executed = steps.clone().filter(|(step, _)| step.verdict != Verdict::Cached);
    let work: u64 = executed.filter_map(|(_, (took, _))| *took).sum();
    let unknown = steps.filter(|(step, (_, making))| is_work(step) && making.is_none()).count();
    let making: Vec<u64> = made.iter().map(|(_, making)| making.unwrap_or_default()).collect();
    let waited = waited_for(record);
    let (longest_ms, longest) = longest_way(record, &making);
    let time = json!({
        "tookMs": (record.ended_ms - record.started_ms).max(0),
        "workMs": work,
        "critical": {
            "steps": waited,
            "ms": waited.iter().filter_map(|place| made[*place].0).sum::<u64>(),
        },
        "uncached": {
            "steps": longest,
            "ms": longest_ms,
            "workMs": making.iter().sum::<u64>(),
            "unknown": unknown,
        },
    });
    Ok((whole, time))
}

/// Returns what was proved of secrets when the image was built; else what can be seen now: whether anything looks like
/// a token.
fn secrets(subject: &Subject<'_>) -> anyhow::Result<Value> {
    if let Some(statement) = subject.record().and_then(|record| record.secrets.clone()) {
        return Ok(json!({ "when": "build", "statement": statement }));
    }
    let named = subject.named;
    let index = named.index.as_ref().map(Raw::bytes).unwrap_or_default();
    let documents = [("the manifest", named.manifest.bytes()), ("the index", index)];
    let image = named.image(subject.bodies)?;
    let jobs = subject.world.machine.jobs;
    let prover = Prover::new(std::iter::empty());
    let proof = prove::image(&prover, &image, &documents, subject.bodies, jobs)?;
    Ok(json!({ "when": "report", "statement": prove::to_json(&proof) }))
}

/// Returns whether the image can start, as the build said, which knows what its stages have, else as it is seen now.
fn startable(subject: &Subject<'_>) -> anyhow::Result<Value> {
    let config = subject.named.config.value();
    let platform = config.platform();
    let said = subject.record().and_then(|record| record.start.as_ref()).and_then(Value::as_array);
    let said = said.into_iter().flatten().find(|image| {
        let of = image["platform"].as_str().and_then(|text| text.parse::<Platform>().ok());
        of.as_ref() == Some(&platform)
    });
    if let Some(said) = said {
        return Ok(said.clone());
    }
    let (layers, world) = (&subject.layers, subject.world);
    let findings = start::check(layers, config, world, subject.bodies, subject.messenger)?;
    let mut list = start::to_json(&[StartFindings { platform, findings }]);
    Ok(list[0].take())
}

fn packages_json(inventory: &Inventory) -> Value {
    let package = |package: &packages::Package| {
        json!({
            "type": package.kind.name(),
            "name": package.name,
            "version": package.version,
            "licence": package.licence,
            "purl": package.purl,
            "foundIn": package.found_in,
        })
    };
    let unread =
        inventory.unread.iter().map(|unread| json!({ "path": unread.path, "reason": unread.reason }));
    json!({
        "distribution": inventory.distribution.as_ref().map(|distribution| &distribution.name),
        "packages": inventory.packages.iter().map(package).collect::<Vec<_>>(),
        "unread": unread.collect::<Vec<_>>(),
    })
}

/// Returns what `castoff check` says of the Dockerfile. Bases stay unknown, and so do the arguments of the build.
fn checks(source: &str, record: &BuildRecord) -> anyhow::Result<Value> {
    let dockerfile =
        DockerfileText { name: record.dockerfile.clone(), path: None, bytes: source.as_bytes().to_vec() };
    let parsed = castoff_dockerfile::parse(&dockerfile.bytes);
    let options = crate::call::entitled(PlanOptions {
        source_name: dockerfile.name.clone(),
        target: record.target.clone(),
        ..PlanOptions::new(Platform::host())
    });
    let subject = check::Subject {
        dockerfile: &dockerfile,
        parsed: &parsed,
        options,
        preset: Preset::All,
        argument: None,
        ignore: None,
        lock: &Lock::default(),
    };
    let report = check::check(&subject, &mut |_, _| Ok(None))?;
    let finding = |finding: &CheckFinding| {
        json!({
            "rule": finding.rule.name,
            "level": match finding.rule.level {
                Level::Note => "note",
                Level::Warning => "warning",
                Level::Error => "error",
            },
            "about": finding.rule.description,
            "message": finding.diagnostic.message,
            "lines": finding.diagnostic.lines,
            "hints": finding.diagnostic.hints,
            "fixable": !finding.fix.is_empty(),
        })
    };
    Ok(report.findings.iter().map(finding).collect())
}
