//! How a build went in time: what it waited for, and what it would have waited for.

use castoff_store::{BuildRecord, BuildStep};

/// Returns what a build waited for: the step that ended last, before it the one that this waited for last, and so on;
/// the first of them first. Steps of which no time is known are in no way.
///
/// A step of the graph waits for the input that ended last; one that reads no other, and the builder's own work, for
/// what ended last before they began.
pub fn waited_for(build: &BuildRecord) -> Vec<usize> {
    let timed: Vec<(usize, i64, i64)> = (0..build.steps.len())
        .filter_map(|place| span(&build.steps[place]).map(|(start, end)| (place, start, end)))
        .collect();
    let mut way = Vec::new();
    let mut next = timed.iter().max_by_key(|(place, _, end)| (*end, *place)).copied();
    while let Some((place, start, end)) = next {
        way.push(place);
        let inputs = &build.steps[place].inputs;
        let of_inputs = timed.iter().filter(|(other, _, _)| inputs.contains(other));
        next = of_inputs.max_by_key(|(other, _, end)| (*end, *other)).copied().or_else(|| {
            // Steps of no duration at the same instant would wait for each other.
            let before = |other: &&(usize, i64, i64)| {
                other.0 != place && other.2 <= start && (other.2 < end || other.1 < start)
            };
            timed.iter().filter(before).max_by_key(|(other, _, end)| (*end, *other)).copied()
        });
        // Inputs come before what reads them, and otherwise time goes backwards; a clock that was set may not.
        next = next.filter(|(other, _, _)| !way.contains(other));
    }
    way.reverse();
    way
}

/// Returns the longest way through the graph of a build when each step takes so many milliseconds, and how many
/// it takes in all. Steps that take no time are left out.
pub fn longest_way(build: &BuildRecord, durations_ms: &[u64]) -> (u64, Vec<usize>) {
    let mut ends: Vec<(u64, Option<usize>)> = Vec::with_capacity(build.steps.len());
    for (place, step) in build.steps.iter().enumerate() {
        let input = step.inputs.iter().copied().max_by_key(|input| (ends[*input].0, *input));
        let before = input.map_or(0, |input| ends[input].0);
        ends.push((before + durations_ms.get(place).copied().unwrap_or_default(), input));
    }
    let last = (0..ends.len()).max_by_key(|place| (ends[*place].0, *place));
    let total = last.map_or(0, |last| ends[last].0);
    let mut way: Vec<usize> = std::iter::successors(last, |place| ends[*place].1)
        .filter(|place| durations_ms.get(*place).is_some_and(|duration| *duration > 0))
        .collect();
    way.reverse();
    (total, way)
}

/// Returns when a step began and ended, in milliseconds since 1970.
fn span(step: &BuildStep) -> Option<(i64, i64)> {
    Some((step.started_ms?, step.ended_ms?))
}
