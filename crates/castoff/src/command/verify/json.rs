//! What `castoff verify` tells programs (`docs/verify.md`).

use serde_json::{Value, json};

use super::{Verdict, VerifiedBuild};
use crate::command::diff::entry_json;
use crate::verify::{Difference, StepResult, VerifiedStep};

pub(super) fn json(verdict: &Verdict) -> Value {
    let build = |build: &VerifiedBuild| {
        json!({
            "build": build.id.as_str(),
            "steps": build.steps.iter().map(|step| step_json(build, step)).collect::<Vec<_>>(),
        })
    };
    let left_out = verdict.left_out.iter();
    json!({
        "image": verdict.image,
        "reproducible": verdict.is_reproducible(),
        "times": verdict.times,
        "imageSaysWhen": verdict.has_times,
        "seed": verdict.seed,
        "builds": verdict.builds.iter().map(build).collect::<Vec<_>>(),
        "leftOut": left_out
            .map(|(id, reason)| json!({ "build": id.as_str(), "reason": reason }))
            .collect::<Vec<_>>(),
    })
}

fn step_json(build: &VerifiedBuild, step: &VerifiedStep) -> Value {
    let recorded = &build.record.steps[step.place];
    let (outcome, message, differences, hints) = match &step.result {
        StepResult::Same => ("same", None, &[][..], &[][..]),
        StepResult::Fails(message) => ("fails", Some(message), &[][..], &[][..]),
        StepResult::Differs { differences, hints } => ("differs", None, &differences[..], &hints[..]),
    };
    json!({
        "index": step.place,
        "number": recorded.number,
        "name": recorded.name,
        "stage": recorded.stage,
        "lines": recorded.lines,
        "key": recorded.key.map(|key| key.hex()),
        "outcome": outcome,
        "message": message,
        "files": differences.iter().map(file_json).collect::<Vec<_>>(),
        "hints": hints,
    })
}

fn file_json(difference: &Difference) -> Value {
    let change = &difference.change;
    json!({
        "path": format!("/{}", String::from_utf8_lossy(&change.path)),
        "before": change.before.as_ref().map(entry_json),
        "after": change.after.as_ref().map(entry_json),
        "differs": change.aspects.iter().map(|aspect| aspect.name()).collect::<Vec<_>>(),
        "offset": difference.offset,
        "inImage": difference.in_image,
    })
}
