//! Whether an image can start: what `castoff-inspect` finds, which stage has what is missing, and how it is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use castoff_graph::{BuildGraph, Op, SourceOp, VertexId};
use castoff_inspect::{Certainty, Finding, Rule, StartCheck, User};
use castoff_layer::{View, ViewError};
use castoff_oci::{Digest, Hasher, ImageConfig, Platform};
use castoff_plan::PlannedStage;
use castoff_solver::passwd::{self, UserError};
use castoff_solver::{Bodies, Messenger, SnapshotLayer, Solved, World, snapshot};
use serde_json::{Value, json};

use crate::build::Planned;

/// Changes with the rules of the check, so that what passed earlier ones is looked at again.
const VERSION: &[u8] = b"start check 1";

/// What was found about the image of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFindings {
    /// Which image.
    pub platform: Platform,
    /// The surest first; none when it can start, as far as can be seen.
    pub findings: Vec<Finding>,
}

impl StartFindings {
    /// Returns whether the image is certain not to start.
    pub fn cannot_start(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.certainty == Certainty::Certain && finding.rule.stops_start())
    }
}

/// Looks at an image, unless it passed before. Layers that are not on this machine are fetched.
///
/// # Errors
/// When its files cannot be read.
pub fn check(
    layers: &[SnapshotLayer],
    config: &ImageConfig,
    world: &World,
    bodies: &Bodies<'_>,
    messenger: &Messenger,
) -> anyhow::Result<Vec<Finding>> {
    let key = key(layers, config)?;
    if key.is_some_and(|key| world.store.has_passed(&key)) {
        return Ok(Vec::new());
    }
    let view = bodies.view(layers, messenger)?;
    let user = match passwd::resolve_user(&view, &config.config.user) {
        Ok(ids) => User::Known { uid: ids.uid, groups: ids.groups },
        // Root needs no file to be known.
        Err(UserError::View(ViewError::NotAFile { .. })) if is_root(&config.config.user) => {
            User::Known { uid: 0, groups: vec![0] }
        }
        Err(UserError::View(error)) => return Err(error.into()),
        Err(error) => User::Unknown(error.to_string()),
    };
    let findings = StartCheck { view: &view, config, user }.run()?;
    if let Some(key) = key.filter(|_| findings.is_empty()) {
        world.store.set_passed(&key)?;
    }
    Ok(findings)
}

fn is_root(user: &str) -> bool {
    matches!(user.split(':').next(), None | Some("" | "root" | "0"))
}

/// Returns what stands for a check and all it looks at; `None` when that is not named by its content.
fn key(layers: &[SnapshotLayer], config: &ImageConfig) -> anyhow::Result<Option<Digest>> {
    let mut hasher = Hasher::new();
    hasher.field(VERSION);
    hasher.field(config.architecture.as_bytes());
    hasher.field(&serde_json::to_vec(&config.config)?);
    for layer in layers {
        match layer {
            SnapshotLayer::Stored(id) => hasher.field(id.to_string().as_bytes()),
            SnapshotLayer::Directory(_) => return Ok(None),
        };
    }
    Ok(Some(hasher.finish()))
}

/// Looks at the images of a build. Those whose base was never fetched are passed over, unless it is `required` to
/// know: a build does not download what it does not need.
///
/// # Errors
/// When it is required and the files of an image cannot be read.
pub(crate) fn check_build(
    planned: &Planned,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    required: bool,
) -> anyhow::Result<Vec<StartFindings>> {
    let (messenger, _events) = Messenger::channel();
    let mut all = Vec::new();
    for (place, output) in planned.plan.outputs.iter().enumerate() {
        let layers = layers(&planned.plan.graph, solved, world, output.vertex)?.unwrap_or_default();
        if !required && !layers.iter().all(|layer| is_here(layer, bodies)) {
            continue;
        }
        let mut findings = match check(&layers, &output.config, world, bodies, &messenger) {
            // It is no reason to withhold an image that is not required to start.
            Err(error) if !required => vec![Finding {
                rule: Rule::Unjudged,
                certainty: Certainty::Likely,
                message: format!("it cannot be found out: {}", castoff_solver::chain(error.as_ref())),
                hint: None,
                wanted: None,
            }],
            findings => findings?,
        };
        let stages: Vec<&PlannedStage> = planned
            .plan
            .stages
            .iter()
            .filter(|stage| stage.output == place && stage.vertex != output.vertex)
            .collect();
        let mut views = BTreeMap::new();
        for finding in &mut findings {
            let Some(wanted) = finding.wanted.clone() else { continue };
            for stage in &stages {
                let view = match views.get(&stage.index) {
                    Some(view) => Option::<View>::clone(view),
                    None => {
                        let layers = layers_here(planned, solved, world, bodies, stage)?;
                        let view = layers.map(|layers| bodies.view(&layers, &messenger)).transpose()?;
                        views.insert(stage.index, view.clone());
                        view
                    }
                };
                if let Some(path) = view.map(|view| wanted.find(&view, &stage.config)).transpose()?.flatten()
                {
                    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                    finding.hint = Some(format!("COPY --from={} {path} {directory}/", stage.name));
                    break;
                }
            }
        }
        all.push(StartFindings { platform: output.platform.clone(), findings });
    }
    Ok(all)
}

fn is_here(layer: &SnapshotLayer, bodies: &Bodies<'_>) -> bool {
    match layer {
        SnapshotLayer::Stored(id) => bodies.is_present(id),
        SnapshotLayer::Directory(_) => true,
    }
}

/// Returns the layers of a stage that was built, when all of them are on this machine.
fn layers_here(
    planned: &Planned,
    solved: &Solved,
    world: &World,
    bodies: &Bodies<'_>,
    stage: &PlannedStage,
) -> anyhow::Result<Option<Vec<SnapshotLayer>>> {
    let layers = layers(&planned.plan.graph, solved, world, stage.vertex)?;
    Ok(layers.filter(|layers| layers.iter().all(|layer| is_here(layer, bodies))))
}

/// Returns the layers of a vertex, unless part of it was not needed.
fn layers(
    graph: &BuildGraph,
    solved: &Solved,
    world: &World,
    vertex: VertexId,
) -> anyhow::Result<Option<Vec<SnapshotLayer>>> {
    let mut current = vertex;
    loop {
        match &graph.vertex(current).op {
            Op::Source(SourceOp::Http(_) | SourceOp::Git(_)) | Op::Run(_) | Op::Copy(_) | Op::Workdir(_)
                if solved.result(current).is_none() =>
            {
                return Ok(None);
            }
            op => match op.parent() {
                Some(parent) => current = parent,
                None => break,
            },
        }
    }
    let result = |id| solved.result(id).expect("looked at above").clone();
    Ok(Some(snapshot(graph, world, vertex, &result)?))
}

/// Returns the findings for people; empty when there are none.
pub fn text(all: &[StartFindings]) -> String {
    let mut text = String::new();
    for image in all.iter().filter(|image| !image.findings.is_empty()) {
        let platform = if all.len() > 1 { format!(" ({})", image.platform) } else { String::new() };
        let verdict = if image.cannot_start() { "cannot start" } else { "may not work" };
        let _infallible = writeln!(text, "\n the image{platform} {verdict}:");
        for finding in &image.findings {
            let sure = if finding.certainty == Certainty::Certain { "" } else { "likely: " };
            let _infallible = writeln!(text, " - {sure}{}", finding.message);
            if let Some(hint) = &finding.hint {
                let _infallible = writeln!(text, "   hint: {hint}");
            }
        }
    }
    text
}

/// Returns the findings for programs: a list with an object for each image.
pub fn to_json(all: &[StartFindings]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "rule": finding.rule.name(),
            "certainty": match finding.certainty {
                Certainty::Certain => "certain",
                Certainty::Likely => "likely",
            },
            "stopsStart": finding.rule.stops_start(),
            "message": finding.message,
            "hint": finding.hint,
        })
    };
    let image = |image: &StartFindings| {
        json!({
            "platform": image.platform.to_string(),
            "canStart": !image.cannot_start(),
            "findings": image.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    all.iter().map(image).collect()
}
