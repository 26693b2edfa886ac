//! The outputs of a build: what was asked for by `--output` and `--tag`, and the files about it
//! (section 4 of the specification).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use anyhow::Context as _;
use castoff_graph::{ImageOutput, VertexId};
use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp, View};
use castoff_oci::{Digest, MediaTypes, Platform, Reference};
use castoff_solver::export::annotate::annotate;
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind, LayoutExport};
use castoff_solver::export::attest::{self, AttestOptions, Attestation};
use castoff_solver::export::pack::{self, Pack, PackCompression, PackOptions, PackSource};
use castoff_solver::export::push::{self, PushOptions};
use castoff_solver::export::set::{self, AssembleOptions, ImageSet};
use castoff_solver::export::tree::{self, TreeExport};
use castoff_solver::{Bodies, Event, Messenger, Outcome, SnapshotLayer, Solved, StepId, World, snapshot};

use crate::args::{BuildRequest, EpochOverride, ImageAttributes, LayerCompression, OutputFile, OutputSpec};
use crate::attest::{FileAttestation, Said, gather, not_listed};
use crate::build::{BuildError, Planned, assemble};
use crate::engine;
use crate::metadata::{self, About};
use crate::output_file::to_file;

/// What was made of a result.
#[derive(Debug)]
pub struct Outputs {
    /// The image or index, if one was made.
    pub images: Option<ImageSet>,
    /// Whether the store has anything that it did not have before.
    pub wrote: bool,
}

/// Makes every output and writes the files about the result.
pub fn outputs(
    request: &BuildRequest,
    planned: &Planned,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    step: StepId,
    events: &mut dyn FnMut(Event),
) -> Result<Outputs, BuildError> {
    let only_files = !request.outputs.is_empty()
        && request.outputs.iter().all(|output| {
            matches!(output, OutputSpec::Local { .. } | OutputSpec::Tar { .. } | OutputSpec::CacheOnly)
        });
    let indexed = request.plan.multi_platform;
    let mut exporter = Exporter {
        request,
        planned,
        solved,
        world,
        bodies,
        step,
        events,
        indexed,
        renamed: false,
        late: BTreeMap::new(),
        said: None,
    };
    exporter.say()?;
    let images = if only_files { None } else { Some(exporter.stored(request)?) };
    let mut shipped = None;
    for (place, output) in request.outputs.iter().enumerate() {
        if let Some(pack) = exporter.output(place, output)? {
            shipped = Some(pack);
        }
    }
    let result = images.as_ref().map(|images| shipped.unwrap_or_else(|| About::of(images)));
    let provenance = exporter.said.as_ref().zip(request.metadata_provenance);
    let provenance = provenance.map(|(said, mode)| said.metadata(mode)).transpose()?;
    metadata::write(request, planned, images.as_ref(), result.as_ref(), provenance, (world.clock)())?;
    let wrote = solved.executed() || exporter.renamed || !request.outputs.is_empty();
    Ok(Outputs { images, wrote })
}

struct Exporter<'a> {
    request: &'a BuildRequest,
    planned: &'a Planned,
    solved: &'a Solved,
    world: &'a World,
    bodies: &'a Bodies<'a>,
    step: StepId,
    events: &'a mut dyn FnMut(Event),
    /// Whether the result is for several platforms though it may have one.
    indexed: bool,
    /// Whether a name stands for something else now.
    renamed: bool,
    /// Images that get their names in the store when they are pushed, by the place of the output.
    late: BTreeMap<usize, ImageAttributes>,
    /// What is said of the result, where that was asked for.
    said: Option<Said<'a>>,
}

impl<'a> Exporter<'a> {
    /// Looks at the result when something is to be said of it.
    fn say(&mut self) -> Result<(), BuildError> {
        let (request, planned, solved) = (self.request, self.planned, self.solved);
        let (world, bodies) = (self.world, self.bodies);
        let gather = |messenger: &Messenger| gather(request, planned, solved, world, bodies, messenger);
        let said = if request.attest.sbom {
            let step = self.begin("generating sbom using castoff's scanner");
            for argument in not_listed(request, planned) {
                let text =
                    format!("{argument} has no effect in castoff: it lists the packages of the result alone");
                (self.events)(Event::Warning { step: Some(step), rule: None, text, line: None });
            }
            let mut said = None;
            self.work(step, |messenger| {
                said = Some(gather(messenger)?);
                Ok(None)
            })?;
            said
        } else if request.attest.any()
            || (request.metadata_file.is_some() && request.metadata_provenance.is_some())
        {
            Some(gather(&Messenger::channel().0)?)
        } else {
            None
        };
        self.said = said;
        Ok(())
    }

    /// Returns the attestations of images under names; none unless they were asked for.
    fn attestations(&self, images: &ImageSet, names: &[Reference]) -> Result<Vec<Attestation>, BuildError> {
        match &self.said {
            Some(said) if self.request.attest.any() => Ok(said.of_images(images, names)?),
            _ => Ok(Vec::new()),
        }
    }

    /// Puts the image of each output of the store there under its names; without any, the image under the
    /// names of the build. Returns the last.
    fn stored(&mut self, request: &BuildRequest) -> Result<ImageSet, BuildError> {
        let outputs = request.outputs.iter().enumerate().filter_map(|(place, output)| match output {
            OutputSpec::Image { image, push } => Some((push.then_some(place), image.clone())),
            _ => None,
        });
        let mut all: Vec<(Option<usize>, ImageAttributes)> = outputs.collect();
        match all.first_mut() {
            Some((_, first)) => {
                let more = request.tags.iter().filter(|tag| !first.names.contains(tag)).cloned();
                first.names = more.chain(first.names.iter().cloned()).collect();
            }
            None => {
                let attributes = ImageAttributes {
                    names: request.tags.clone(),
                    // Those of files are theirs alone.
                    annotations: request.annotations.clone(),
                    rewrite_timestamp: request.rewrite_timestamp,
                    ..ImageAttributes::default()
                };
                all.push((None, attributes));
            }
        }
        let mut stored = None;
        for (pushed, attributes) in &all {
            stored = Some(self.store(attributes, *pushed)?);
        }
        Ok(stored.expect("there is one at least"))
    }

    /// Puts an image into the store. `pushed` is the place of its output when it also gets into a registry: then
    /// layers that only a shared cache has are not fetched, and the image gets its names when it is there.
    fn store(&mut self, attributes: &ImageAttributes, pushed: Option<usize>) -> Result<ImageSet, BuildError> {
        let mut kept = attributes.store != Some(false);
        let missing = if kept { self.missing()? } else { Vec::new() };
        match pushed {
            Some(place) if !missing.is_empty() && !self.indexed && !self.request.attest.any() => {
                self.late.insert(place, attributes.clone());
                kept = false;
            }
            _ => self.fetch_cached(&missing)?,
        }
        let step = self.begin("exporting to image");
        self.item(step, "exporting layers", false);
        let images = self.images(step, attributes)?;
        self.item(step, "exporting layers", true);
        for image in images.images() {
            self.item(step, &format!("exporting manifest {}", image.manifest.digest()), true);
            self.item(step, &format!("exporting config {}", image.config.digest()), true);
        }
        let images = self.attested(images, attributes)?;
        for entry in images.attestations() {
            self.item(step, &format!("exporting attestation manifest {}", entry.digest), true);
        }
        if let Some(index) = images.index() {
            self.item(step, &format!("exporting manifest list {}", index.digest()), true);
        }
        self.item(step, &format!("writing image {}", images.id()), true);
        if kept {
            let names = names_in_store(attributes, &images.descriptor().digest)?;
            self.renamed |= set::tag(self.world, &images, &names)?;
            for name in &names {
                self.item(step, &format!("naming to {name}"), true);
            }
        }
        (self.events)(Event::Finished { step, outcome: Outcome::Done });
        Ok(images)
    }

    /// Returns images of the store with their attestations.
    fn attested(&self, images: ImageSet, attributes: &ImageAttributes) -> Result<ImageSet, BuildError> {
        let names = attributes.names.as_slice();
        let attestations = &self.attestations(&images, names)?;
        if attestations.is_empty() {
            return Ok(images);
        }
        let artifact = attributes.oci_artifact != Some(false);
        let options = AttestOptions { attestations, names, artifact };
        Ok(attest::attest_set(&images, &options, self.world).map_err(anyhow::Error::from)?)
    }

    /// Returns the images of an output: with its times and its annotations. Without an epoch there is
    /// nothing that times could be clamped to (B-170).
    fn images(&mut self, step: StepId, attributes: &ImageAttributes) -> Result<ImageSet, BuildError> {
        let epoch = self.epoch(attributes.epoch);
        if attributes.rewrite_timestamp && epoch.is_none() {
            (self.events)(Event::Warning {
                step: Some(step),
                rule: None,
                text: "rewrite-timestamp has no effect without SOURCE_DATE_EPOCH".to_owned(),
                line: None,
            });
        }
        let clamp = epoch.filter(|_| attributes.rewrite_timestamp);
        // B-109: attestations are entries of an index.
        let indexed = self.indexed || self.request.attest.any();
        let inline_cache = self.request.inline_cache();
        let options = AssembleOptions { indexed, epoch, clamp, inline_cache };
        let images =
            assemble(self.planned, self.solved, self.world, self.bodies, options).and_then(|images| {
                Ok(annotate(&images, &attributes.annotations, self.world).map_err(anyhow::Error::from)?)
            });
        if let Err(error) = &images {
            (self.events)(Event::Finished { step, outcome: Outcome::Failed { message: error.to_string() } });
        }
        images
    }

    /// Returns the layers of the images that only shared caches have.
    fn missing(&self) -> Result<Vec<SnapshotLayer>, BuildError> {
        let result = |id: VertexId| self.solved.result(id).expect("what an output needs is solved").clone();
        let plan = &self.planned.plan;
        let mut missing = Vec::new();
        for output in &plan.outputs {
            let layers = snapshot(&plan.graph, self.world, output.vertex, &result)?;
            missing.extend(layers.into_iter().filter(|layer| self.bodies.is_remote(layer)));
        }
        Ok(missing)
    }

    /// Fetches layers that only shared caches have: an image of the store does not depend on them.
    fn fetch_cached(&mut self, missing: &[SnapshotLayer]) -> Result<(), BuildError> {
        if missing.is_empty() {
            return Ok(());
        }
        let (step, bodies) = (self.begin("importing layers"), self.bodies);
        self.work(step, |messenger| {
            bodies.fetch_remote(missing, messenger)?;
            Ok(None)
        })
        .map(drop)
    }

    /// Names an image of the store that was pushed without some of its layers: as it is in the registry, where
    /// they are fetched when somebody needs them.
    fn name_pushed(&mut self, pack: &Pack, image: &ImageAttributes, place: usize) -> Result<(), BuildError> {
        let Some(attributes) = self.late.remove(&place) else { return Ok(()) };
        let store = &self.world.store;
        pack.keep(store).map_err(anyhow::Error::from)?;
        for name in &image.names {
            let name = if image.push_by_digest { name.with_digest(pack.root.digest) } else { name.clone() };
            store.set_pulled(&name, &pack.root)?;
        }
        for name in names_in_store(&attributes, &pack.root.digest)? {
            self.renamed |= store.tag(&name)?.as_ref() != Some(&pack.root);
            store.set_tag(&name, &pack.root)?;
        }
        Ok(())
    }

    /// Returns the epoch of an output: its own, or that of the build, which is that of all platforms.
    fn epoch(&self, given: Option<EpochOverride>) -> Option<i64> {
        match given {
            None => self.planned.plan.outputs[0].epoch,
            Some(EpochOverride::Disabled) => None,
            Some(EpochOverride::Seconds(seconds)) => Some(seconds),
        }
    }

    /// Makes one output, and returns what it tells of an image that was written.
    fn output(&mut self, place: usize, output: &OutputSpec) -> Result<Option<About>, BuildError> {
        match output {
            OutputSpec::CacheOnly => Ok(None),
            OutputSpec::Image { push: false, .. } => Ok(None),
            OutputSpec::Image { push: true, image } => {
                // The number that the step below gets.
                let step = self.step;
                let mut pushed = None;
                let about = self.image("pushing to registry", image, &mut |pack, source| {
                    let (by_digest, insecure) = (image.push_by_digest, image.insecure);
                    let options = PushOptions { names: &image.names, by_digest, insecure, step };
                    push::push(pack, source.bodies, source.messenger, &options)?;
                    pushed = Some(pack.clone());
                    Ok(())
                })?;
                self.name_pushed(&pushed.expect("set where nothing failed"), image, place)?;
                Ok(about)
            }
            OutputSpec::Engine { context, image } => {
                let engine = engine::find(context.as_deref(), &self.request.engine)?;
                self.image("importing to docker", image, &mut |pack, source| {
                    engine::load(&engine, pack, &image.names, source)
                })
            }
            OutputSpec::Local { dest, epoch, platform_split, delete, attestation_prefix } => {
                let epoch = self.epoch(*epoch);
                let split = platform_split.unwrap_or(self.indexed);
                let ownership = self.world.machine.ownership;
                self.files(
                    "exporting to client directory",
                    (attestation_prefix, split),
                    |trees, attestations| {
                        // Nothing is written when two platforms differ about a file.
                        let present = if split { Vec::new() } else { tree::merge(trees)? };
                        for (place, (name, view)) in trees.iter().enumerate() {
                            let dest = if split { dest.join(name) } else { dest.clone() };
                            std::fs::create_dir_all(&dest)?;
                            let export = TreeExport {
                                epoch,
                                owned_by_caller: true,
                                present: present.get(place),
                                ..TreeExport::default()
                            };
                            tree::write_directory(view, b"", &dest, ownership, &export)?;
                        }
                        if *delete {
                            // Only now that all of the result is there.
                            let named = trees
                                .iter()
                                .map(|(name, view)| (if split { name.as_str() } else { "" }, view));
                            tree::remove_others(dest, &named.collect::<Vec<_>>())?;
                        }
                        for ((name, _), attestations) in trees.iter().zip(attestations) {
                            let dest = if split { dest.join(name) } else { dest.clone() };
                            for attestation in attestations {
                                archive::write_file(
                                    &dest.join(&attestation.name),
                                    &mut attestation.content.as_slice(),
                                )?;
                            }
                        }
                        Ok(None)
                    },
                )?;
                Ok(None)
            }
            OutputSpec::Tar { dest, epoch, platform_split, attestation_prefix } => {
                let epoch = self.epoch(*epoch);
                let split = platform_split.unwrap_or(self.indexed);
                self.files(
                    "exporting to client tarball",
                    (attestation_prefix, split),
                    |trees, attestations| {
                        let present = if split { Vec::new() } else { tree::merge(trees)? };
                        to_file(dest, &mut |to| {
                            let mut tar = TarWriter::new(to, TarOptions::default());
                            for (place, (name, view)) in trees.iter().enumerate() {
                                let mut export = TreeExport {
                                    epoch,
                                    present: present.get(place),
                                    ..TreeExport::default()
                                };
                                if split {
                                    tar.append(&directory_of_platform(name, epoch), &mut io::empty())?;
                                    export.below = name.as_bytes();
                                }
                                tree::write_view(view, b"", &mut tar, &export)?;
                                for attestation in &attestations[place] {
                                    let below = if split { format!("{name}/") } else { String::new() };
                                    let entry = file_of_attestation(
                                        &format!("{below}{}", attestation.name),
                                        attestation,
                                        epoch,
                                    );
                                    tar.append(&entry, &mut attestation.content.as_slice())?;
                                }
                            }
                            tar.finish()?;
                            Ok(None)
                        })
                    },
                )?;
                Ok(None)
            }
            OutputSpec::Oci { dest, image } => {
                self.archive("exporting to oci image format", ArchiveKind::Oci, dest, image)
            }
            OutputSpec::Docker { dest, image } => {
                self.archive("exporting to docker image format", ArchiveKind::Docker, dest, image)
            }
            OutputSpec::OciDirectory { dest, image } => {
                self.image("exporting to oci image format", image, &mut |pack, source| {
                    let export = LayoutExport { names: &image.names, source, keep_nameless: false };
                    Ok(archive::write_layout(pack, &export, dest)?)
                })
            }
        }
    }

    fn archive(
        &mut self,
        name: &str,
        kind: ArchiveKind,
        dest: &OutputFile,
        attributes: &ImageAttributes,
    ) -> Result<Option<About>, BuildError> {
        self.image(name, attributes, &mut |pack, source| {
            let export = ArchiveExport { names: &attributes.names, kind, source, left_out: &BTreeSet::new() };
            to_file(dest, &mut |to| Ok(archive::write_archive(pack, &export, to)?))
        })
    }

    /// Packs the images of an output and gives them to `write`, as a step of its own.
    fn image(
        &mut self,
        name: &str,
        attributes: &ImageAttributes,
        write: &mut (dyn FnMut(&Pack, PackSource<'_>) -> anyhow::Result<()> + Send),
    ) -> Result<Option<About>, BuildError> {
        let step = self.begin(name);
        let images = &self.images(step, attributes)?;
        let options = &pack_options(attributes);
        let (bodies, world) = (self.bodies, self.world);
        let attestations = &self.attestations(images, &attributes.names)?;
        let artifact = attributes.oci_artifact != Some(false);
        let attest = &AttestOptions { attestations, names: &attributes.names, artifact };
        self.work(step, |messenger| {
            let source = PackSource { bodies, messenger };
            let mut pack = pack::pack(images, options, source)?;
            if !attestations.is_empty() {
                pack = attest::attest_pack(pack, attest, world)?;
            }
            write(&pack, source)?;
            Ok(Some(About::of_pack(&pack, &attributes.names)))
        })
    }

    /// Gives the files of each platform to `write`, with the names of their directories (B-098) and with their
    /// attestations, whose names have a prefix and, when the directories are one, tell platforms apart (B-099).
    fn files(
        &mut self,
        name: &str,
        (prefix, split): (&str, bool),
        write: impl FnOnce(&[(String, View)], &[Vec<FileAttestation>]) -> anyhow::Result<Option<About>> + Send,
    ) -> Result<(), BuildError> {
        let (planned, solved, world, bodies) = (self.planned, self.solved, self.world, self.bodies);
        let step = self.begin(name);
        let said = self.said.take();
        let several = self.indexed && !split;
        let made = self.work(step, |messenger| {
            let result = |id: VertexId| solved.result(id).expect("what an output needs is solved").clone();
            let tree = |output: &ImageOutput| -> anyhow::Result<(String, View)> {
                let layers = snapshot(&planned.plan.graph, world, output.vertex, &result)?;
                Ok((directory_name(&output.platform), bodies.view(&layers, messenger)?))
            };
            let trees = planned.plan.outputs.iter().map(tree).collect::<anyhow::Result<Vec<_>>>()?;
            let attestations = trees.iter().enumerate().map(|(place, (name, view))| match &said {
                Some(said) if self.request.attest.any() => {
                    let files = said.of_files(place, view, prefix, several.then_some(name))?;
                    refuse_clash(&files, view)?;
                    Ok(files)
                }
                _ => Ok(Vec::new()),
            });
            write(&trees, &attestations.collect::<anyhow::Result<Vec<_>>>()?)
        });
        self.said = said;
        made.map(drop)
    }

    /// Does the work of a step that was begun; its progress is shown while it works.
    fn work(
        &mut self,
        step: StepId,
        work: impl FnOnce(&Messenger) -> anyhow::Result<Option<About>> + Send,
    ) -> Result<Option<About>, BuildError> {
        let (messenger, receiver) = Messenger::channel();
        let result = receiver.serve(messenger, &mut *self.events, work);
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed { message: castoff_solver::chain(error.as_ref()) },
        };
        (self.events)(Event::Finished { step, outcome });
        Ok(result?)
    }

    fn begin(&mut self, name: &str) -> StepId {
        let step = self.step;
        self.step = StepId(step.0 + 1);
        let digest = Digest::of(format!("{name} {}", step.0).as_bytes());
        (self.events)(Event::Planned { step, name: name.to_owned(), digest, inputs: Vec::new() });
        (self.events)(Event::Started { step });
        step
    }

    fn item(&mut self, step: StepId, item: &str, done: bool) {
        (self.events)(Event::Status { step, item: item.to_owned(), current: 0, total: None, done });
    }
}

/// Returns the names of an image in the store. One without a name may be called by its digest (B-106); that
/// `name-canonical` adds such a name needs no entry, because the store finds every image by its digest.
fn names_in_store(attributes: &ImageAttributes, digest: &Digest) -> Result<Vec<Reference>, BuildError> {
    match &attributes.dangling_name_prefix {
        Some(prefix) if attributes.names.is_empty() => {
            let name = format!("{prefix}@{digest}");
            let name = name.parse().with_context(|| format!("dangling-name-prefix `{prefix}`"))?;
            Ok(vec![name])
        }
        _ => Ok(attributes.names.clone()),
    }
}

/// Returns the name of a platform's directory among the files of several: `linux_arm_v7` (B-098).
fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// Refuses an attestation that would stand where a file of the result is.
fn refuse_clash(attestations: &[FileAttestation], view: &View) -> anyhow::Result<()> {
    for FileAttestation { name, .. } in attestations {
        if view.lookup(name.as_bytes())?.is_some() {
            anyhow::bail!(
                "the attestation `{name}` would replace a file of the result: give the output an attestation-prefix"
            );
        }
    }
    Ok(())
}

fn file_of_attestation(path: &str, attestation: &FileAttestation, epoch: Option<i64>) -> Entry {
    Entry {
        kind: EntryKind::File { size: attestation.content.len() as u64 },
        mode: 0o644,
        ..directory_of_platform(path, epoch)
    }
}

fn directory_of_platform(name: &str, epoch: Option<i64>) -> Entry {
    Entry {
        path: name.as_bytes().to_vec(),
        kind: EntryKind::Directory { opaque: false },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: epoch.unwrap_or_default(), nanos: 0 },
        xattrs: Default::default(),
    }
}

/// Returns how an image output is packed.
pub(crate) fn pack_options(attributes: &ImageAttributes) -> PackOptions {
    PackOptions {
        media_types: match attributes.oci_mediatypes {
            None | Some(true) => MediaTypes::Oci,
            Some(false) => MediaTypes::Docker,
        },
        compression: match attributes.compression {
            None | Some(LayerCompression::Gzip) => PackCompression::Gzip,
            Some(LayerCompression::Estargz) => PackCompression::Estargz,
            Some(LayerCompression::Zstd) => PackCompression::Zstd,
            Some(LayerCompression::Uncompressed) => PackCompression::Uncompressed,
        },
        level: attributes.compression_level,
        force: attributes.force_compression,
        keep: false,
    }
}

/// Refuses a `mode=delete` that may destroy what the user did not mean, before anything is built (B-096).
pub fn refuse_deletion(request: &BuildRequest) -> Result<(), BuildError> {
    let allowed = request.plan.entitlements.local_delete;
    for output in &request.outputs {
        let OutputSpec::Local { dest, delete: true, .. } = output else { continue };
        let here = std::env::current_dir()?;
        // Of what does not exist yet, nothing can be removed.
        let (Ok(there), false) = (dest.canonicalize(), allowed) else { continue };
        if there == here || !there.starts_with(&here) {
            return Err(BuildError::Other(anyhow::anyhow!(
                "mode=delete would remove all other files of `{}`, which is not below the current directory: \
                 allow it by --allow=buildx.local.delete",
                dest.display()
            )));
        }
    }
    Ok(())
}
