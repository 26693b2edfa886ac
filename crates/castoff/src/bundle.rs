//! Bundles of what a failed step left: an OCI archive whose layers are the file system as it was, and whose manifest says how
//! the process was started (`docs/failed-steps.md`).
//!
//! A bundle is of somebody else: its image is read as any archive, and of what it says of the process nothing is done that
//! would show it this machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use castoff_oci::{ContainerConfig, ImageConfig, Manifest, Platform};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind};
use castoff_solver::export::image::of_layers;
use castoff_solver::export::pack::{self, PackOptions, PackSource};
use castoff_solver::export::set::ImageSet;
use castoff_solver::{Bodies, FailedProcess, KeptMount, Messenger, SnapshotLayer, World, import};
use castoff_store::LeftState;
use serde::{Deserialize, Serialize};

use crate::args::OutputFile;
use crate::history::Failure;
use crate::image;
use crate::output_file::to_file;

/// The annotation of the manifest that makes an archive a bundle.
const ANNOTATION: &str = "castoff.failure";

/// Version of the annotation's JSON.
const VERSION: u32 = 1;

/// Bytes of the end of the log that go with it.
const LOG: u64 = 64 << 10;

/// What the annotation says.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    message: String,
    /// The end of what the step printed.
    log: String,
    process: FailedProcess,
    /// Where mounts were that are not in the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

/// A bundle that was read.
pub(crate) struct Opened {
    pub(crate) failure: Failure,
    /// The end of what the step printed.
    pub(crate) log: String,
    /// What is not as it was, one line each.
    pub(crate) notes: Vec<String>,
}

/// Writes a bundle. What the step saw of other steps, contexts and caches is not in it.
///
/// # Errors
/// When a layer cannot be read or the file not be written.
pub(crate) fn write(
    failure: &Failure,
    world: &World,
    bodies: &Bodies<'_>,
    path: &Path,
) -> anyhow::Result<()> {
    let mut process: FailedProcess = serde_json::from_value(failure.left.process.clone())?;
    let left_out: Vec<String> = process
        .mounts
        .extract_if(.., |mount| !travels(mount))
        .filter_map(|mount| Some(mount.target()?.to_owned()))
        .collect();
    let log = match &failure.log {
        Some(digest) => match world.store.open_blob(digest)? {
            Some(mut file) => {
                let size = file.metadata()?.len();
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(size.saturating_sub(LOG)))?;
                let mut log = Vec::new();
                file.take(LOG).read_to_end(&mut log)?;
                String::from_utf8_lossy(&log).into_owned()
            }
            None => String::new(),
        },
        None => String::new(),
    };
    let platform: Platform = process.platform.parse()?;
    let config = ImageConfig {
        config: ContainerConfig {
            env: Some(process.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            user: format!("{}:{}", process.uid, process.gid),
            working_dir: process.workdir.clone(),
            cmd: Some(process.argv.clone()),
            ..ContainerConfig::default()
        },
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        ..ImageConfig::default()
    };
    let document = Document {
        version: VERSION,
        name: failure.name.clone(),
        place: failure.place.clone(),
        message: failure.message.clone(),
        log,
        process,
        left_out,
    };
    let annotation = (ANNOTATION.to_owned(), serde_json::to_string(&document)?);
    let mut layers = failure.left.lowers.clone();
    layers.push(failure.left.upper.clone());
    let image = of_layers(&layers, config, annotation, bodies)?;
    let images = ImageSet::single(image);
    let (messenger, _events) = Messenger::channel();
    let source = PackSource { bodies, messenger: &messenger };
    let pack = pack::pack(&images, &PackOptions::default(), source)?;
    let export = ArchiveExport { kind: ArchiveKind::Oci, names: &[], source, left_out: &BTreeSet::new() };
    to_file(&OutputFile::Path(path.to_owned()), &mut |to| Ok(archive::write_archive(&pack, &export, to)?))?;
    Ok(())
}

/// Whether a mount is the same on another machine.
fn travels(mount: &KeptMount) -> bool {
    match mount {
        KeptMount::Tmpfs { .. } | KeptMount::Secret { .. } | KeptMount::Ssh { .. } => true,
        KeptMount::Bind { .. } | KeptMount::Local { .. } | KeptMount::Cache { .. } => false,
    }
}

/// Reads a bundle into the store, where nothing keeps it.
///
/// # Errors
/// When it is no bundle, or damaged.
pub(crate) fn read(path: &Path, world: &World, bodies: &Bodies<'_>) -> anyhow::Result<Opened> {
    let shown = path.display().to_string();
    let file = File::open(path).with_context(|| format!("opening `{shown}`"))?;
    let loaded = import::read_archive(&world.store, Box::new(file)).with_context(|| format!("`{shown}`"))?;
    let [loaded] = &loaded[..] else {
        anyhow::bail!("`{shown}` is no bundle of a failed step: it has several images")
    };
    let named = image::find(&world.store, &loaded.descriptor.digest.to_string(), None)?;
    let document = document(named.manifest.value()).with_context(|| format!("`{shown}`"))?;
    let mut process = document.process;
    // What a bundle says must not show it anything of this machine, and gives it no rights.
    let mut notes = Vec::new();
    let mounts = process.mounts.len();
    process.mounts.retain(travels);
    if process.mounts.len() < mounts {
        notes.push("mounts of this machine are not made for a bundle".to_owned());
    }
    if std::mem::take(&mut process.privileged) {
        notes.push("the step had all rights, and a bundle gets none".to_owned());
    }
    let mut layers: Vec<_> = named.image(bodies)?.layers.into_iter().map(|layer| layer.id).collect();
    let upper = layers.pop().with_context(|| format!("`{shown}` has no layers"))?;
    let left = LeftState { lowers: layers, upper, process: serde_json::to_value(&process)? };
    // Damage is told now, and not in the middle.
    let (messenger, _events) = Messenger::channel();
    let all = left.lowers.iter().chain([&left.upper]).cloned().map(SnapshotLayer::Stored);
    bodies.view(&all.collect::<Vec<_>>(), &messenger)?;
    if !document.left_out.is_empty() {
        notes.push(format!("these mounts are not in the bundle: {}", document.left_out.join(", ")));
    }
    let failure =
        Failure { name: document.name, place: document.place, message: document.message, log: None, left };
    Ok(Opened { failure, log: document.log, notes })
}

fn document(manifest: &Manifest) -> anyhow::Result<Document> {
    let text =
        manifest.annotations.get(ANNOTATION).context("this is an image and no bundle of a failed step")?;
    let value: serde_json::Value = serde_json::from_str(text).context("the description of the step")?;
    if value["version"] != VERSION {
        anyhow::bail!(
            "the description of the step has version {}, and this castoff knows {VERSION}",
            value["version"]
        );
    }
    serde_json::from_value(value).context("the description of the step")
}
