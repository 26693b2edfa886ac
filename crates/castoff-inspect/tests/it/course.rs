//! Where the time of a build went.

use castoff_inspect::builds::{longest_way, waited_for};
use castoff_store::BuildRecord;
use serde_json::{Value, json};

/// The inputs of a step, and when it began and ended.
type Step<'a> = (&'a [usize], Option<(i64, i64)>);

fn build(steps: &[Step<'_>]) -> BuildRecord {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(inputs, span)| {
            json!({
                "name": "s",
                "action": { "kind": "scratch" },
                "inputs": inputs,
                "verdict": "executed",
                "started_ms": span.map(|span| span.0),
                "ended_ms": span.map(|span| span.1),
            })
        })
        .collect();
    let record = json!({
        "started_ms": 0, "ended_ms": 0, "outcome": "done", "dockerfile": "Dockerfile", "steps": steps,
    });
    serde_json::from_value(record).unwrap()
}

#[test]
fn a_build_waited_for_what_ended_last() {
    let steps: &[Step<'_>] = &[
        (&[], Some((10, 20))),
        (&[], Some((10, 30))),
        (&[0], Some((20, 80))),
        (&[1], Some((30, 40))),
        (&[2, 3], Some((80, 95))),
        // Of a step of which nothing was heard, nothing is said.
        (&[4], None),
        // The builder's own work: before the graph, and after it.
        (&[], Some((0, 10))),
        (&[], Some((95, 120))),
    ];
    assert_eq!(waited_for(&build(steps)), [6, 0, 2, 4, 7]);
    assert_eq!(waited_for(&build(&[])), [0; 0]);
}

#[test]
fn times_that_make_no_sense_end_all_the_same() {
    let instant = Some((5, 5));
    assert_eq!(waited_for(&build(&[(&[], instant), (&[], instant)])), [1]);
    let backwards: &[Step<'_>] = &[(&[], Some((50, 10))), (&[0], Some((40, 5))), (&[], Some((60, -5)))];
    assert!(!waited_for(&build(backwards)).is_empty());
}

#[test]
fn the_longest_way_is_that_of_most_time() {
    let none: Option<(i64, i64)> = None;
    let steps: &[Step<'_>] =
        &[(&[], none), (&[], none), (&[0], none), (&[1], none), (&[2, 3], none), (&[], none)];
    let build = build(steps);
    assert_eq!(longest_way(&build, &[0, 5, 10, 2, 1, 3]), (11, vec![2, 4]));
    assert_eq!(longest_way(&build, &[0, 5, 1, 2, 1, 9]), (9, vec![5]));
    assert_eq!(longest_way(&build, &[]), (0, vec![]));
}
