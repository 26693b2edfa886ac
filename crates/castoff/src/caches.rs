//! Shared caches of a build: `--cache-from`, `--cache-to`, and what is said about them in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use castoff_oci::Digest;
use castoff_registry::{Bucket, BucketSettings, Client};
use castoff_solver::export::pack::{PackCompression, PackOptions};
use castoff_solver::shared_cache::{
    CacheExport, CacheImport, CacheMode, ExportReport, LayoutCache, LayoutExport, MountOutcome, MountReport,
    RegistryCache, S3Cache, S3Places, SharedCache, SharedCacheError, SharedCaches, UPLOADS,
};
use castoff_solver::{Event, Outcome, StepId, World, chain};

use crate::args::{
    self, BuildRequest, CachePlace, CacheReference, CacheSource, CacheToSpec, OutputSpec, S3Spec,
};
use crate::aws::{self, CredentialsError};
use crate::table;

/// The step that warnings about shared caches are of.
pub(crate) const STEP: &str = "[internal] shared cache";

/// Why a cache cannot be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Cache(#[from] SharedCacheError),
    #[error("the bucket {bucket}: {source}")]
    Credentials { bucket: String, source: CredentialsError },
}

/// Opens the imports. One that cannot be read is a warning (B-121), of a step that takes the number `free`.
pub(crate) fn imports(
    request: &BuildRequest,
    World { registry, clock, .. }: &World,
    free: &mut u32,
    events: &mut dyn FnMut(Event),
) -> SharedCaches {
    let mut caches = Vec::new();
    for spec in &request.cache_from {
        match import(&spec.place, registry, clock) {
            Ok(cache) => caches.push(CacheImport { cache, mounts: spec.mounts.clone() }),
            Err(error) => {
                tell(STEP, &format!("a cache to import cannot be read: {}", chain(&error)), free, events);
            }
        }
    }
    SharedCaches::new(caches)
}

fn import(
    place: &CacheSource,
    registry: &Client,
    clock: &fn() -> i64,
) -> Result<Box<dyn SharedCache>, OpenError> {
    Ok(match place {
        CacheSource::Local { src, tag, digest } => Box::new(LayoutCache::import(src, tag, digest.as_ref())?),
        CacheSource::Registry(cache) => Box::new(in_registry(cache, registry.clone()).with_image()),
        CacheSource::S3(spec) => {
            Box::new(S3Cache::import(bucket(spec, registry.clone(), *clock)?, places(spec), *clock))
        }
    })
}

/// Opens the exports. One that cannot be written fails the build before it begins, unless its errors are to be
/// ignored (B-122). `stop` gives their transfers up.
pub(crate) fn exports(
    request: &BuildRequest,
    World { registry, clock, .. }: &World,
    stop: &Arc<AtomicBool>,
    free: &mut u32,
    events: &mut dyn FnMut(Event),
) -> anyhow::Result<Vec<CacheExport>> {
    // A build that failed still uploads what it has done, though the other transfers have ended.
    let stopped = Arc::clone(stop);
    let registry = registry.clone().stopped_by(move || stopped.load(Ordering::Relaxed));
    let mut exports = Vec::new();
    for spec in &request.cache_to {
        match export(spec, &registry, *clock) {
            Ok(None) => {}
            Ok(Some(cache)) => exports.push(CacheExport {
                cache,
                mode: if spec.all { CacheMode::Max } else { CacheMode::Min },
                compression: compression(spec, request),
                mounts: spec.mounts.clone(),
                uploads_at_once: match &spec.place {
                    CachePlace::S3(spec) => spec.upload_parallelism,
                    CachePlace::Local { .. } | CachePlace::Registry(_) | CachePlace::Inline => UPLOADS,
                },
                ignore_error: spec.ignore_error,
            }),
            Err(error) => {
                let text = format!("exporting a cache: {}", chain(&error));
                if !spec.ignore_error {
                    anyhow::bail!(text);
                }
                tell(STEP, &text, free, events);
            }
        }
    }
    Ok(exports)
}

/// Opens an export; one that is a part of the image is none.
fn export(
    spec: &CacheToSpec,
    registry: &Client,
    clock: fn() -> i64,
) -> Result<Option<Box<dyn SharedCache>>, OpenError> {
    Ok(Some(match &spec.place {
        CachePlace::Local { dest, tag, reset } => {
            Box::new(LayoutCache::export(dest, tag, LayoutExport { reset: *reset })?)
        }
        CachePlace::Registry(cache) => Box::new(in_registry(cache, registry.clone())),
        CachePlace::S3(spec) => {
            let bucket = bucket(spec, registry.clone(), clock)?;
            Box::new(S3Cache::export(bucket, places(spec), clock, spec.touch_refresh))
        }
        CachePlace::Inline => return Ok(None),
    }))
}

fn in_registry(cache: &CacheReference, client: Client) -> RegistryCache {
    let CacheReference { reference, insecure } = cache;
    let client = if *insecure { client.insecure(reference.registry()) } else { client };
    RegistryCache::new(client, reference.clone())
}

fn bucket(spec: &S3Spec, client: Client, clock: fn() -> i64) -> Result<Bucket, OpenError> {
    let credentials = aws::credentials(&spec.credentials)
        .map_err(|source| OpenError::Credentials { bucket: spec.bucket.clone(), source })?;
    let settings = BucketSettings {
        name: spec.bucket.clone(),
        region: spec.region.clone(),
        endpoint: spec.endpoint.clone(),
        path_style: spec.path_style,
        credentials,
        uploads_at_once: spec.upload_parallelism,
        attempts: spec.attempts,
        clock,
    };
    Ok(Bucket::new(client, &settings).map_err(SharedCacheError::from)?)
}

fn places(spec: &S3Spec) -> S3Places {
    let S3Spec { prefix, blobs_prefix, manifests_prefix, names, .. } = spec.clone();
    S3Places { prefix, blobs: blobs_prefix, manifests: manifests_prefix, names }
}

/// Returns how the layers of an export are compressed: as they are pushed in this build when nothing else is asked
/// for, so that a layer is compressed once and a registry has one blob of it.
fn compression(spec: &CacheToSpec, request: &BuildRequest) -> PackOptions {
    let pushed = request.outputs.iter().find_map(|output| match output {
        OutputSpec::Image { push: true, image } => Some(crate::export::pack_options(image)),
        _ => None,
    });
    let (compression, level) = match (spec.compression, pushed) {
        (Some(args::LayerCompression::Uncompressed), _) => {
            (PackCompression::Uncompressed, spec.compression_level)
        }
        // The command line has refused estargz, whose layers have other diff ids.
        (Some(args::LayerCompression::Gzip | args::LayerCompression::Estargz), _) => {
            (PackCompression::Gzip, spec.compression_level)
        }
        (None, Some(PackOptions { compression: PackCompression::Gzip, level, .. })) => {
            (PackCompression::Gzip, spec.compression_level.map(|level| level.min(9)).or(level))
        }
        (None, Some(PackOptions { compression: PackCompression::Zstd, level, .. })) => {
            (PackCompression::Zstd, spec.compression_level.or(level))
        }
        (Some(args::LayerCompression::Zstd) | None, _) => (PackCompression::Zstd, spec.compression_level),
    };
    PackOptions { compression, level, force: spec.force_compression, ..PackOptions::default() }
}

/// Begins the step in which the exports are waited for; its number is the first that is free.
pub(crate) fn begin_export(exports: &[CacheExport], step: StepId, events: &mut dyn FnMut(Event)) {
    if !exports.is_empty() {
        begin(step, "exporting cache", events);
    }
}

/// Ends the step of the exports and returns the error of the first that may not fail.
pub(crate) fn end_export(
    reports: Vec<ExportReport>,
    waited_ms: i64,
    step: StepId,
    events: &mut dyn FnMut(Event),
) -> Option<anyhow::Error> {
    if reports.is_empty() {
        return None;
    }
    let mut failed = None;
    for report in reports {
        let ExportReport { name, sent, known, skipped, bytes, mounts, error, ignore_error } = report;
        let size = table::bytes(bytes);
        let mut text = format!("{name}: {sent} steps sent ({size}), {known} were there");
        if skipped > 0 {
            text.push_str(&format!(", {skipped} left out because they are made again sooner than sent"));
        }
        events(Event::Note { step, text });
        for MountReport { id, outcome } in mounts {
            let text = format!("{name}: cache mount {id}: {}", of_mount(outcome));
            events(Event::Note { step, text });
        }
        if let Some(error) = error {
            let text = format!("exporting to {name}: {}", chain(&error));
            if ignore_error && !matches!(error, SharedCacheError::Guard(_)) {
                warn(events, step, text);
            } else {
                failed.get_or_insert(anyhow::anyhow!(text));
            }
        }
    }
    let waited = seconds(u64::try_from(waited_ms).unwrap_or_default());
    events(Event::Note { step, text: format!("waited {waited} for uploads after the build") });
    let outcome = match &failed {
        None => Outcome::Done,
        Some(error) => Outcome::Failed { message: error.to_string() },
    };
    events(Event::Finished { step, outcome });
    failed
}

fn of_mount(outcome: MountOutcome) -> String {
    match outcome {
        MountOutcome::Sent { chunks, new, bytes } => {
            format!("{new} of {chunks} chunks sent ({})", table::bytes(bytes))
        }
        MountOutcome::TooLarge(limit) => format!("more than {}, not sent", table::bytes(limit)),
        MountOutcome::Busy => "another build works in it, not sent".to_owned(),
        MountOutcome::Unreadable(why) => format!("not sent: {why}"),
    }
}

/// Says what the imports gave and cost.
pub(crate) fn summary(world: &World, step: StepId, events: &mut dyn FnMut(Event)) {
    if world.shared_caches.is_empty() {
        return;
    }
    let report = world.shared_caches.report();
    begin(step, "importing cache", events);
    let text = format!(
        "{} steps found that took {} where they were executed; {} fetched, waited {}",
        report.steps,
        seconds(report.saved_ms),
        table::bytes(report.fetched),
        seconds(report.waited_ms),
    );
    events(Event::Note { step, text });
    events(Event::Finished { step, outcome: Outcome::Done });
}

fn begin(step: StepId, name: &str, events: &mut dyn FnMut(Event)) {
    let digest = Digest::of(format!("{name} {}", step.0).as_bytes());
    events(Event::Planned { step, name: name.to_owned(), digest, inputs: Vec::new() });
    events(Event::Started { step });
}

/// Gives a warning as a step of its own, of this name, which takes the number `free`.
pub(crate) fn tell(name: &str, text: &str, free: &mut u32, events: &mut dyn FnMut(Event)) {
    let step = StepId(*free);
    *free += 1;
    begin(step, name, events);
    warn(events, step, text.to_owned());
    events(Event::Finished { step, outcome: Outcome::Done });
}

fn warn(events: &mut dyn FnMut(Event), step: StepId, text: String) {
    events(Event::Warning { step: Some(step), rule: None, text, line: None });
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1}s", Duration::from_millis(milliseconds).as_secs_f64())
}
