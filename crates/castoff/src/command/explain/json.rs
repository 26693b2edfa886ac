//! What is told of an image to programs (`docs/explain.md`), and what there is to do about waste.

use castoff_inspect::explain::{Maker, MomentKind, Origin, PackageCache};
use castoff_store::StepAction;
use serde_json::{Value, json};

use super::{Explained, identity, text};
use crate::command::diff::entry_json;

/// Returns the document of an image with its largest files, for a larger document.
pub(in crate::command) fn document(explained: &Explained<'_>) -> Value {
    let mut document = image_json(explained);
    document["largest"] = explained.origins.iter().map(|file| file_json(explained, file)).collect();
    document
}

/// Returns the document of an image. A list of all files has a line for each, as it may be very long.
pub(super) fn image(explained: &Explained<'_>, all: bool) -> String {
    if !all {
        return format!("{:#}\n", document(explained));
    }
    let mut text = image_json(explained).to_string();
    text.truncate(text.len() - 1);
    text.push_str(",\"files\":[");
    for (place, file) in explained.origins.iter().enumerate() {
        text.push_str(if place == 0 { "\n" } else { ",\n" });
        text.push_str(&file_json(explained, file).to_string());
    }
    text.push_str("\n]}\n");
    text
}

fn file_json(explained: &Explained<'_>, (path, origin): &(Vec<u8>, Option<Origin>)) -> Value {
    let file = explained.ledger.files.get(path);
    json!({
        "path": shown(path),
        "size": file.map(|file| file.size),
        "layer": file.map(|file| file.layer),
        "instruction": file.and_then(|file| explained.instruction_of(file.layer)),
        "origin": origin.as_ref().map(origin_json),
    })
}

fn image_json(explained: &Explained<'_>) -> Value {
    let (id, manifest) = identity(explained.named);
    let instruction = |place: usize| {
        let instruction = &explained.instructions[place];
        let sums = instruction.layer.map(|layer| explained.ledger.layers[layer]).unwrap_or_default();
        let diff_id = instruction.layer.and_then(|layer| {
            explained.named.config.value().rootfs.diff_ids.get(layer).map(|diff| diff.0.to_string())
        });
        json!({
            "text": instruction.text,
            "step": instruction.step,
            "line": text::line(explained, place),
            "layer": instruction.layer,
            "diffId": diff_id,
            "files": sums.files,
            "added": sums.added,
            "replaced": sums.shadowed,
            "removed": sums.deleted,
            "inVain": sums.lost,
        })
    };
    let stage = |stage: &super::StageSize| json!({ "name": stage.name, "bytes": stage.bytes, "shipped": stage.shipped });
    let lost = explained.ledger.lost.iter().map(|((layer, by, removed), lost)| {
        json!({
            "bytes": lost.bytes,
            "files": lost.files,
            "largest": lost.largest.iter().map(|(_, path)| shown(path)).collect::<Vec<_>>(),
            "addedBy": explained.instruction_of(*layer),
            "lostBy": explained.instruction_of(*by),
            "removed": removed,
            "advice": lost_advice(explained, *layer, *by, *removed),
        })
    });
    let cache = |cache: &PackageCache| {
        json!({
            "of": cache.of,
            "directory": format!("/{}", cache.directory),
            "bytes": cache.bytes,
            "files": cache.files,
            "addedBy": explained.instruction_of(cache.layer),
            "advice": cache_advice(explained, cache),
        })
    };
    json!({
        "image": explained.name,
        "id": id.to_string(),
        "manifest": manifest.to_string(),
        "build": explained.told.build.as_ref().map(|told| told.id.as_str()),
        "bytes": explained.ledger.bytes(),
        "inVain": explained.ledger.wasted(),
        "fileCount": explained.ledger.files.len(),
        "instructions": (0..explained.instructions.len()).map(instruction).collect::<Vec<_>>(),
        "stages": explained.sizes.iter().map(stage).collect::<Vec<_>>(),
        "castOff": explained.cast_off,
        "lost": lost.collect::<Vec<_>>(),
        "caches": explained.caches.iter().map(cache).collect::<Vec<_>>(),
    })
}

pub(super) fn path(explained: &Explained<'_>, path: &[u8], origin: Option<&Origin>) -> Value {
    let moment = |moment: &castoff_inspect::explain::Moment| {
        json!({
            "layer": moment.layer,
            "instruction": explained.instruction_of(moment.layer),
            "what": match moment.kind {
                MomentKind::Added => "added",
                MomentKind::Replaced => "replaced",
                MomentKind::Removed => "removed",
            },
            "entry": moment.entry.as_ref().map(entry_json),
        })
    };
    json!({
        "image": explained.name,
        "build": explained.told.build.as_ref().map(|told| told.id.as_str()),
        "path": shown(path),
        "story": explained.ledger.story.iter().map(moment).collect::<Vec<_>>(),
        "origin": origin.map(origin_json),
    })
}

pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// What made a file.
pub(in crate::command) fn maker_json(maker: &Maker) -> Value {
    match maker {
        Maker::Step(step) => json!({ "kind": "step", "step": step }),
        Maker::Context(name) => json!({ "kind": "context", "name": name }),
        Maker::Archive => json!({ "kind": "archive" }),
        Maker::Inline => json!({ "kind": "dockerfile" }),
        Maker::Fetched(address) => json!({ "kind": "fetched", "address": address }),
        Maker::Image(reference) => json!({ "kind": "image", "reference": reference }),
        Maker::Lost(step) => json!({ "kind": "lost", "step": step }),
    }
}

pub(super) fn origin_json(origin: &Origin) -> Value {
    let path = String::from_utf8_lossy(&origin.path);
    let mut told = maker_json(&origin.maker);
    let hop = |hop: &castoff_inspect::explain::Hop| json!({ "step": hop.step, "path": shown(&hop.path) });
    told["path"] = path.into();
    told["through"] = origin.through.iter().map(hop).collect();
    told
}

/// Says what to do so that a layer brings nothing that another one replaces or removes.
pub(super) fn lost_advice(explained: &Explained<'_>, layer: usize, by: usize, removed: bool) -> String {
    let (Some(record), Some(by)) = (explained.record(), explained.step_of(by)) else {
        return "Without the record of the build, no more can be said.".to_owned();
    };
    let Some(layer) = explained.step_of(layer) else {
        return "It is in the base image: choose one without it, or copy what is needed into a smaller one."
            .to_owned();
    };
    let place = |step: usize| match record.steps[step].lines {
        Some((line, _)) => format!("line {line}"),
        None => "its instruction".to_owned(),
    };
    let (added, lost) = (&record.steps[layer].action, &record.steps[by].action);
    match (added, lost, removed) {
        (StepAction::Copy { .. }, StepAction::Run { .. }, false) => {
            format!("If only owner or mode changes: use --chown or --chmod in {} instead.", place(layer))
        }
        (StepAction::Run { .. }, StepAction::Run { .. }, _) => {
            format!("Do both in one RUN: join {} to {}.", place(by), place(layer))
        }
        (StepAction::Copy { .. }, _, true) => {
            format!(
                "Do not copy it in {}: name what is needed, use --exclude, or mount it in {}.",
                place(layer),
                place(by)
            )
        }
        _ => format!("Leave it out in {}.", place(layer)),
    }
}

/// Says how to keep a cache out of the image.
pub(super) fn cache_advice(explained: &Explained<'_>, cache: &PackageCache) -> String {
    let Some(step) = explained.step_of(cache.layer) else {
        return "It is in the base image.".to_owned();
    };
    let line = explained.record().and_then(|record| record.steps[step].lines);
    let line = line.map(|(first, _)| format!("line {first}")).unwrap_or_else(|| "its RUN".to_owned());
    format!(
        "In {line}: --mount=type=cache,target=/{} keeps it out, and it stays for the next build.",
        cache.directory
    )
}
