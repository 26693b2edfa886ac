//! Looking at all that a build gives away: layers, config, history, annotations, names and logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use castoff_graph::{Op, VertexId};
use castoff_inspect::secrets::{Scan, TokenFind};
use castoff_solver::export::image::Image;
use castoff_solver::{Bodies, BodyError, Leak, SnapshotLayer, Solved, World, snapshot};
use castoff_store::LayerId;

use super::{LOG, Prover, leak, lock, say};
use crate::args::BuildRequest;
use crate::build::Planned;

/// What was found, and what was looked at.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// Ids of the secrets.
    pub secrets: Vec<String>,
    /// Ids of secrets of which nothing can be said.
    pub too_short: Vec<String>,
    /// Secrets where they must not be; none when the proof is good.
    pub leaks: Vec<Found<Leak>>,
    /// What looks like a token or a private key.
    pub tokens: Vec<Found<TokenFind>>,
    /// What was looked at, of layers and texts together.
    pub scan: Scan,
    /// Layers that were looked at.
    pub layers: usize,
    /// Layers of bases that were not.
    pub base_layers: usize,
    /// Logs.
    pub logs: u64,
    /// Cache mounts of steps that were executed.
    pub mounts: u64,
    /// Names in them.
    pub mount_files: u64,
}

/// Something that was found, and what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What.
    pub what: T,
    /// The step as it is shown, without secrets.
    pub step: Option<String>,
    /// Its lines in the Dockerfile, from 1.
    pub lines: Option<(u32, u32)>,
}

/// Looks at what a build gives away. Steps that leaked are forgotten, so that no later build uses what they left.
///
/// # Errors
/// When a layer or log cannot be read, or a record not be removed.
pub(crate) fn result(
    prover: &Prover,
    request: &BuildRequest,
    planned: &Planned,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
) -> anyhow::Result<Proof> {
    let mut proof = begun(prover);
    let graph = &planned.plan.graph;
    let mut layers: BTreeMap<LayerId, Option<VertexId>> = BTreeMap::new();
    let mut bases = BTreeSet::new();
    for output in &planned.plan.outputs {
        for id in std::iter::successors(Some(output.vertex), |id| graph.vertex(*id).op.parent()) {
            if !matches!(graph.vertex(id).op, Op::Source(_)) {
                let layer = solved.result(id).and_then(|result| result.layer.clone());
                layers.extend(layer.map(|layer| (layer, Some(id))));
                continue;
            }
            let result = |id| solved.result(id).expect("what an output needs is solved").clone();
            for layer in snapshot(graph, world, id, &result)? {
                let (layer, is_ours) = base_layer(layer, bodies)?;
                if is_ours {
                    layers.entry(layer).or_insert(Some(id));
                } else {
                    bases.insert(layer);
                }
            }
        }
    }
    let vertices = || (0..graph.len()).map(|place| VertexId(place as u32));
    if request.cache_to.iter().any(|cache| cache.all) {
        // Steps that are not in the result leave this machine, too.
        for id in vertices().filter(|id| !matches!(graph.vertex(*id).op, Op::Source(_))) {
            let layer = solved.result(id).and_then(|result| result.layer.clone());
            layers.extend(layer.map(|layer| (layer, Some(id))));
        }
    }
    let layers: Vec<(LayerId, Option<VertexId>)> = layers.into_iter().collect();
    proof.layers = layers.len();
    proof.base_layers = bases.len();
    let scans = scan_all(prover, &layers, bodies, world.machine.jobs)?;
    let mut leaking = BTreeSet::new();
    for ((_, vertex), scan) in layers.iter().zip(scans) {
        let (step, lines) = vertex.map_or((None, None), |id| place(prover, planned, id));
        leaking.extend(vertex.filter(|_| !scan.finds.is_empty()));
        proof.add(scan, |path| format!("`{path}`"), &step, lines);
    }

    for id in vertices().filter(|id| solved.result(*id).is_some()) {
        let Some(digest) = solved.record(id, world)?.and_then(|record| record.log) else { continue };
        let Some(mut log) = world.store.open_blob(&digest)? else { continue };
        let mut scanner = prover.scanner();
        scanner.long_text(LOG, &mut log)?;
        let scan = Scan { tokens: Vec::new(), ..scanner.finish() };
        let (step, lines) = place(prover, planned, id);
        leaking.extend((!scan.finds.is_empty()).then_some(id));
        proof.logs += 1;
        proof.add(scan, str::to_owned, &step, lines);
    }
    for id in leaking {
        solved.forget(id, world)?;
    }

    for output in &planned.plan.outputs {
        let mut scanner = prover.scanner();
        prover.scan_config(&mut scanner, &output.config);
        proof.add(scanner.finish(), str::to_owned, &None, None);
        for entry in &output.history {
            let mut scanner = prover.scanner();
            scanner.text("the history", entry.created_by.as_bytes());
            let (step, lines) = entry.vertex.map_or((None, None), |id| place(prover, planned, id));
            proof.add(scanner.finish(), str::to_owned, &step, lines);
        }
    }
    let mut scanner = prover.scanner();
    let outputs = request.outputs.iter().filter_map(|output| output.image());
    let annotations = outputs.flat_map(|image| &image.annotations).chain(&request.annotations);
    for annotation in annotations {
        scanner.text("an annotation", format!("{}={}", annotation.key, annotation.value).as_bytes());
    }
    for name in &request.tags {
        scanner.text("a name of the image", name.to_string().as_bytes());
    }
    proof.add(scanner.finish(), str::to_owned, &None, None);
    proof.end(prover);
    Ok(proof)
}

/// Looks at an image of the store, its bases included.
///
/// # Errors
/// When a layer cannot be read or fetched.
pub(crate) fn image(
    prover: &Prover,
    image: &Image,
    documents: &[(&str, &[u8])],
    bodies: &Bodies<'_>,
    jobs: usize,
) -> anyhow::Result<Proof> {
    let mut proof = begun(prover);
    let layers: BTreeSet<LayerId> = image.layers.iter().map(|layer| layer.id.clone()).collect();
    let layers: Vec<(LayerId, Option<VertexId>)> = layers.into_iter().map(|layer| (layer, None)).collect();
    proof.layers = layers.len();
    for scan in scan_all(prover, &layers, bodies, jobs)? {
        proof.add(scan, |path| format!("`{path}`"), &None, None);
    }
    let mut scanner = prover.scanner();
    prover.scan_config(&mut scanner, image.config.value());
    for (name, document) in documents {
        scanner.text(name, document);
    }
    proof.add(scanner.finish(), str::to_owned, &None, None);
    proof.end(prover);
    Ok(proof)
}

fn begun(prover: &Prover) -> Proof {
    let (secrets, too_short) = (prover.needles.ids().to_vec(), prover.needles.too_short().to_vec());
    Proof { secrets, too_short, ..Proof::default() }
}

impl Proof {
    fn add(
        &mut self,
        scan: Scan,
        named: impl Fn(&str) -> String,
        step: &Option<String>,
        lines: Option<(u32, u32)>,
    ) {
        let step = || step.clone();
        self.leaks.extend(scan.finds.iter().map(|find| Found {
            what: leak(find, named(&find.path)),
            step: step(),
            lines,
        }));
        self.tokens.extend(scan.tokens.iter().map(|token| Found {
            what: token.clone(),
            step: step(),
            lines,
        }));
        self.scan.add(scan);
    }

    fn end(&mut self, prover: &Prover) {
        let beside = lock(&prover.beside);
        (self.mounts, self.mount_files) = (beside.mounts, beside.mount_files);
        drop(beside);
        *lock(&prover.statement) = Some(say::to_json(self));
    }
}

/// Returns a layer of a base, and whether it is looked at. What came from a registry by its digest was there before
/// the build; what this machine made may have been made with the same secrets.
fn base_layer(layer: SnapshotLayer, bodies: &Bodies<'_>) -> Result<(LayerId, bool), BodyError> {
    let id = bodies.import_directory(&layer)?;
    let is_ours = bodies.base(&id).is_none_or(|base| base.descriptor.digest == base.diff_id.0);
    Ok((id, is_ours))
}

/// Returns the name and the lines of a step.
fn place(prover: &Prover, planned: &Planned, id: VertexId) -> (Option<String>, Option<(u32, u32)>) {
    let vertex = planned.plan.graph.vertex(id);
    let name = String::from_utf8_lossy(&prover.needles.redact(vertex.name.as_bytes())).into_owned();
    let lines = vertex.origin.as_ref().map(|origin| (origin.first_line, origin.last_line));
    (Some(name), lines)
}

/// Looks at layers on several threads, and returns what was found in their order.
fn scan_all(
    prover: &Prover,
    layers: &[(LayerId, Option<VertexId>)],
    bodies: &Bodies<'_>,
    jobs: usize,
) -> Result<Vec<Scan>, BodyError> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<Scan, BodyError>>>> = layers.iter().map(|_| Mutex::default()).collect();
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((layer, _)) = layers.get(place) else { return };
            let scan = prover.scan_layer(bodies, layer).map(|scan| Scan::clone(&scan));
            *lock(&done[place]) = Some(scan);
        }
    };
    std::thread::scope(|scope| {
        let more = jobs.min(layers.len()).saturating_sub(1);
        (0..more).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    done.into_iter().map(|slot| lock(&slot).take().expect("every layer was looked at")).collect()
}
