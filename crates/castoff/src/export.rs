//! The outputs of a build: what was asked for by `--output` and `--tag`, and the files about it
//! (section 4 of the specification).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use castoff_graph::{ImageOutput, VertexId};
use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp, View};
use castoff_oci::{Descriptor, Digest, Platform};
use castoff_solver::export::archive::{self, ArchiveExport, ArchiveKind};
use castoff_solver::export::pack::{PackOptions, PackSource};
use castoff_solver::export::set::{self, AssembleOptions, ImageSet};
use castoff_solver::export::tree::{self, TreeExport};
use castoff_solver::{Bodies, Event, Messenger, Outcome, Solved, StepId, World, snapshot};
use serde_json::json;

use crate::args::{BuildRequest, EpochOverride, ImageAttributes, LayerCompression, OutputFile, OutputSpec};
use crate::build::{BuildError, Planned, assemble};

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
    let mut exporter = Exporter { planned, solved, world, bodies, step, events, indexed, renamed: false };
    let mut images = None;
    let mut pushed = None;
    if !only_files {
        images = Some(exporter.images(request)?);
    }
    for output in &request.outputs {
        if let Some(descriptor) = exporter.output(output, images.as_ref())? {
            pushed = Some(descriptor);
        }
    }
    if let Some(images) = &images {
        let descriptor = pushed.unwrap_or_else(|| images.descriptor());
        about(request, images, &descriptor)?;
    }
    let wrote = solved.executed() || exporter.renamed || !request.outputs.is_empty();
    Ok(Outputs { images, wrote })
}

struct Exporter<'a> {
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
}

impl Exporter<'_> {
    /// Puts the images into the store under their names.
    fn images(&mut self, request: &BuildRequest) -> Result<ImageSet, BuildError> {
        let mut names = request.tags.clone();
        let mut rewrite = false;
        for output in &request.outputs {
            if let OutputSpec::Image { image, .. } = output {
                rewrite |= image.rewrite_timestamp;
                names.extend(image.names.iter().filter(|name| !request.tags.contains(name)).cloned());
            }
        }
        let step = self.begin("exporting to image");
        self.item(step, "exporting layers", false);
        let clamp = if rewrite { self.build_epoch() } else { None };
        let images = match self.assemble(clamp) {
            Ok(images) => images,
            Err(error) => {
                (self.events)(Event::Finished {
                    step,
                    outcome: Outcome::Failed { message: error.to_string() },
                });
                return Err(error);
            }
        };
        self.item(step, "exporting layers", true);
        for image in images.images() {
            self.item(step, &format!("exporting manifest {}", image.manifest.digest()), true);
            self.item(step, &format!("exporting config {}", image.config.digest()), true);
        }
        if let Some(index) = images.index() {
            self.item(step, &format!("exporting manifest list {}", index.digest()), true);
        }
        self.item(step, &format!("writing image {}", images.id()), true);
        self.renamed |= set::tag(self.world, &images, &names)?;
        for name in &names {
            self.item(step, &format!("naming to {name}"), true);
        }
        (self.events)(Event::Finished { step, outcome: Outcome::Done });
        Ok(images)
    }

    fn assemble(&self, clamp: Option<i64>) -> Result<ImageSet, BuildError> {
        let options = AssembleOptions { indexed: self.indexed, clamp };
        assemble(self.planned, self.solved, self.world, self.bodies, options)
    }

    /// Returns SOURCE_DATE_EPOCH, which is that of all platforms.
    fn build_epoch(&self) -> Option<i64> {
        self.planned.plan.outputs[0].epoch
    }

    fn output(
        &mut self,
        output: &OutputSpec,
        images: Option<&ImageSet>,
    ) -> Result<Option<Descriptor>, BuildError> {
        match output {
            OutputSpec::CacheOnly => Ok(None),
            OutputSpec::Image { push: false, .. } => Ok(None),
            OutputSpec::Image { push: true, .. } => Err(unsupported("pushing")),
            OutputSpec::Docker { dest: None, .. } => Err(unsupported("loading into an engine")),
            OutputSpec::Local { delete: true, .. } => Err(unsupported("mode=delete")),
            OutputSpec::Local { dest, epoch, platform_split, .. } => {
                let epoch = self.epoch(*epoch);
                let split = platform_split.unwrap_or(self.indexed);
                let ownership = self.world.machine.ownership;
                self.files("exporting to client directory", |trees| {
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
                    Ok(())
                })?;
                Ok(None)
            }
            OutputSpec::Tar { dest, epoch, platform_split } => {
                let epoch = self.epoch(*epoch);
                let split = platform_split.unwrap_or(self.indexed);
                self.files("exporting to client tarball", |trees| {
                    let present = if split { Vec::new() } else { tree::merge(trees)? };
                    to_file(dest, &mut |to| {
                        let mut tar = TarWriter::new(to, TarOptions::default());
                        for (place, (name, view)) in trees.iter().enumerate() {
                            let mut export =
                                TreeExport { epoch, present: present.get(place), ..TreeExport::default() };
                            if split {
                                tar.append(&directory_of_platform(name, epoch), &mut io::empty())?;
                                export.below = name.as_bytes();
                            }
                            tree::write_view(view, b"", &mut tar, &export)?;
                        }
                        tar.finish()?;
                        Ok(())
                    })
                })?;
                Ok(None)
            }
            OutputSpec::Oci { dest, image: attributes } => self.archive(
                "exporting to oci image format",
                ArchiveKind::Oci,
                Some(dest),
                attributes,
                images,
            ),
            OutputSpec::Docker { dest: Some(dest), image: attributes } => self.archive(
                "exporting to docker image format",
                ArchiveKind::Docker,
                Some(dest),
                attributes,
                images,
            ),
            OutputSpec::OciDirectory { dest, image: attributes } => {
                let dest = dest.clone();
                let bodies = self.bodies;
                let images = &self.rewritten(images, attributes)?;
                let pack = &pack_options(attributes)?;
                let names = attributes.names.clone();
                self.step("exporting to oci image format", |messenger| {
                    let source = PackSource { bodies, messenger };
                    let export = ArchiveExport { names: &names, pack, source };
                    Ok(Some(archive::write_layout(images, &export, &dest)?))
                })
            }
        }
    }

    /// Returns the images of an output, with their times clamped when that was asked for. Without an epoch
    /// there is nothing to clamp to (B-170).
    fn rewritten(
        &mut self,
        images: Option<&ImageSet>,
        attributes: &ImageAttributes,
    ) -> Result<ImageSet, BuildError> {
        let images = images.expect("an image output makes an image");
        if !attributes.rewrite_timestamp {
            return Ok(images.clone());
        }
        let Some(epoch) = self.build_epoch() else {
            (self.events)(Event::Warning {
                step: None,
                rule: None,
                text: "rewrite-timestamp has no effect without SOURCE_DATE_EPOCH".to_owned(),
                line: None,
            });
            return Ok(images.clone());
        };
        self.assemble(Some(epoch))
    }

    fn epoch(&self, given: Option<EpochOverride>) -> Option<i64> {
        match given {
            None => self.build_epoch(),
            Some(EpochOverride::Disabled) => None,
            Some(EpochOverride::Seconds(seconds)) => Some(seconds),
        }
    }

    fn archive(
        &mut self,
        name: &str,
        kind: ArchiveKind,
        dest: Option<&OutputFile>,
        attributes: &ImageAttributes,
        images: Option<&ImageSet>,
    ) -> Result<Option<Descriptor>, BuildError> {
        let images = &self.rewritten(images, attributes)?;
        let dest = dest.expect("checked by the caller");
        let pack = &pack_options(attributes)?;
        let bodies = self.bodies;
        self.step(name, |messenger| {
            to_file(dest, &mut |to| {
                let source = PackSource { bodies, messenger };
                let export = ArchiveExport { names: &attributes.names, pack, source };
                let descriptor = archive::write_archive(images, kind, &export, to)?;
                Ok(Some(descriptor))
            })
        })
    }

    /// Gives the files of each platform to `write`, with the names of their directories (B-098).
    fn files(
        &mut self,
        name: &str,
        write: impl FnOnce(&[(String, View)]) -> anyhow::Result<()> + Send,
    ) -> Result<(), BuildError> {
        let (planned, solved, world, bodies) = (self.planned, self.solved, self.world, self.bodies);
        self.step(name, |messenger| {
            let result = |id: VertexId| solved.result(id).expect("what an output needs is solved").clone();
            let tree = |output: &ImageOutput| -> anyhow::Result<(String, View)> {
                let layers = snapshot(&planned.plan.graph, world, output.vertex, &result)?;
                Ok((directory_name(&output.platform), bodies.view(&layers, messenger)?))
            };
            let trees = planned.plan.outputs.iter().map(tree).collect::<anyhow::Result<Vec<_>>>()?;
            write(&trees)?;
            Ok(None)
        })
        .map(drop)
    }

    /// Does some work as a step of its own; its progress is shown while it works.
    fn step(
        &mut self,
        name: &str,
        work: impl FnOnce(&Messenger) -> anyhow::Result<Option<Descriptor>> + Send,
    ) -> Result<Option<Descriptor>, BuildError> {
        let step = self.begin(name);
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

/// Returns the name of a platform's directory among the files of several: `linux_arm_v7` (B-098).
fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
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

fn unsupported(what: &str) -> BuildError {
    BuildError::Other(anyhow::anyhow!("{what} is not supported yet"))
}

/// Returns how an image output is packed.
pub(crate) fn pack_options(attributes: &ImageAttributes) -> Result<PackOptions, BuildError> {
    if attributes.oci_mediatypes == Some(false) {
        return Err(unsupported("oci-mediatypes=false"));
    }
    Ok(PackOptions {
        compression: match attributes.compression {
            None | Some(LayerCompression::Gzip) => castoff_oci::LayerCompression::Gzip,
            Some(LayerCompression::Zstd) => castoff_oci::LayerCompression::Zstd,
            Some(LayerCompression::Uncompressed) => castoff_oci::LayerCompression::None,
        },
        level: attributes.compression_level,
        force: attributes.force_compression,
    })
}

/// Opens an output and gives it to `write`. A file appears under its name when it is complete (B-223);
/// a device or pipe that is there already is written to as it is.
pub(crate) fn to_file<T>(
    dest: &OutputFile,
    write: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = match dest {
        OutputFile::Stdout => {
            let mut stdout = io::BufWriter::with_capacity(256 << 10, io::stdout().lock());
            let result = write(&mut stdout)?;
            stdout.flush()?;
            return Ok(result);
        }
        OutputFile::Path(path) => path,
    };
    let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
    let temporary = if special { path.clone() } else { beside(path) };
    let file = if special { File::options().write(true).open(path)? } else { File::create(&temporary)? };
    let mut buffered = io::BufWriter::with_capacity(256 << 10, file);
    let result = write(&mut buffered).and_then(|result| {
        buffered.flush()?;
        Ok(result)
    });
    if special {
        return result;
    }
    match result {
        Ok(result) => {
            std::fs::rename(&temporary, path)?;
            Ok(result)
        }
        Err(error) => {
            let _already_failing = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Writes `--iidfile` and `--metadata-file` (B-021, B-112, B-113).
fn about(request: &BuildRequest, images: &ImageSet, descriptor: &Descriptor) -> Result<(), BuildError> {
    if let Some(path) = &request.iidfile {
        archive::write_file(path, &mut images.id().to_string().as_bytes())?;
    }
    if let Some(path) = &request.metadata_file {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        let mut metadata = json!({
            "containerimage.descriptor": descriptor,
            "containerimage.digest": descriptor.digest.to_string(),
        });
        if images.index().is_none() {
            metadata["containerimage.config.digest"] = json!(images.id().to_string());
        }
        if !names.is_empty() {
            metadata["image.name"] = json!(names.join(","));
        }
        let mut text = serde_json::to_vec_pretty(&metadata).map_err(anyhow::Error::from)?;
        text.push(b'\n');
        archive::write_file(path, &mut text.as_slice())?;
    }
    Ok(())
}
