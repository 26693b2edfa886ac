//! What `castoff verify` tells people.

use std::fmt::Write as _;

use castoff_inspect::diff::Aspect;

use super::{Verdict, VerifiedBuild, shown_path};
use crate::command::builds::first_line;
use crate::command::diff::{aspect_text, described};
use crate::verify::{Difference, StepResult, VerifiedStep};

/// Paths that are named of those that differ in their time alone.
const NAMED: usize = 3;

pub(super) fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut counts = [0; 2];
    for build in &verdict.builds {
        for step in &build.steps {
            counts[1] += 1;
            if !matches!(step.result, StepResult::Same) {
                counts[0] += 1;
                step_text(&mut text, build, step);
            }
        }
    }
    for (id, reason) in &verdict.left_out {
        let _infallible = writeln!(text, "build {id} is left out: {reason}");
    }
    let [differ, all] = counts;
    let steps = |count| if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
    if verdict.has_times {
        text.push_str("the image says when it was built: SOURCE_DATE_EPOCH sets that\n");
    }
    let times = if verdict.times { "" } else { ", times aside" };
    let _infallible = match differ {
        0 => writeln!(text, "{} gave the same again{times}", steps(all)),
        _ => writeln!(text, "{differ} of {} did not give the same again{times}", steps(all)),
    };
    let name = verdict.image.as_deref().filter(|_| verdict.seed.is_none());
    if let Some(name) = name {
        let is = if verdict.is_reproducible() { "is" } else { "is not" };
        let _infallible = writeln!(text, "{name} {is} reproducible");
    }
    if let Some(seed) = verdict.seed {
        let _infallible = writeln!(text, "--seed {seed} chooses the same steps");
    }
    text
}

fn step_text(text: &mut String, build: &VerifiedBuild, step: &VerifiedStep) {
    let recorded = &build.record.steps[step.place];
    let line = recorded.lines.map(|(line, _)| format!("  ({}:{line})", build.record.dockerfile));
    let _infallible = writeln!(text, "{}{}", first_line(&recorded.name), line.unwrap_or_default());
    match &step.result {
        StepResult::Same => {}
        StepResult::Fails(message) => {
            let _infallible = writeln!(text, "  it fails now: {message}");
        }
        StepResult::Differs { differences, hints } => {
            let (times, others): (Vec<&Difference>, Vec<&Difference>) =
                differences.iter().partition(|difference| difference.change.aspects == [Aspect::Time]);
            for difference in others {
                let _infallible = writeln!(text, "  {}", path_text(difference));
            }
            if !times.is_empty() {
                let names: Vec<String> = times
                    .iter()
                    .take(NAMED)
                    .map(|difference| shown_path(&difference.change).to_string())
                    .collect();
                let more = match times.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let _infallible = writeln!(text, "  ~ time only: {}{more}", names.join(", "));
            }
            for hint in hints {
                let _infallible = writeln!(text, "  hint: {hint}");
            }
        }
    }
    text.push('\n');
}

fn path_text(difference: &Difference) -> String {
    let path = shown_path(&difference.change);
    let gone = match difference.in_image {
        Some(false) => " (the image has another one, or none)",
        _ => "",
    };
    match (&difference.change.before, &difference.change.after) {
        (None, Some(after)) => format!("+ {path}  {}, which was not there", described(after)),
        (Some(before), None) => format!("- {path}  {}, which is not there now{gone}", described(before)),
        (Some(before), Some(after)) => {
            let aspects: Vec<String> = difference
                .change
                .aspects
                .iter()
                .filter_map(|aspect| match (aspect, difference.offset) {
                    (Aspect::Content, Some(offset)) => Some(format!("content from byte {offset}")),
                    (aspect, _) => aspect_text(*aspect, before, after),
                })
                .collect();
            format!("~ {path}  {}{gone}", aspects.join(", "))
        }
        (None, None) => format!("  {path}"),
    }
}
