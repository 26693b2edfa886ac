//! The laws of the schedule, on generated graphs with a deterministic executor.

use std::collections::{BTreeMap, BTreeSet};

use castoff_graph::{
    BuildGraph, CacheKey, CopyKind, CopyOp, CopySource, LocalName, Op, SourceOp, Vertex, VertexId,
};
use castoff_oci::Digest;
use castoff_solver::schedule::{Action, Limits, Message, Schedule, VertexResult};
use proptest::prelude::*;

fn vertex(op: Op) -> Vertex {
    Vertex { op, name: String::new(), stage: None, origin: None, ignore_cache: false }
}

/// Builds a graph: a source, then one copy per element, each on the vertices its numbers name.
fn graph(shape: &[(usize, usize)]) -> BuildGraph {
    let mut graph = BuildGraph::default();
    graph.add(vertex(Op::Source(SourceOp::Local(LocalName::Context)))).unwrap();
    for (index, (parent, from)) in shape.iter().enumerate() {
        let pick = |number: usize| VertexId((number % graph.len()) as u32);
        let op = Op::Copy(CopyOp {
            parent: pick(*parent),
            kind: CopyKind::Copy,
            sources: vec![CopySource::Files { from: pick(*from), pattern: index.to_string() }],
            destination: "/".to_owned(),
            owner: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
        });
        graph.add(vertex(op)).unwrap();
    }
    graph
}

fn result(id: VertexId) -> VertexResult {
    VertexResult {
        identity: CacheKey(Digest::of(&id.0.to_le_bytes())),
        layer: None,
        created_ms: 0,
        cached: false,
    }
}

/// What happened while a schedule was driven.
#[derive(Default)]
struct Trace {
    looked_up: BTreeMap<VertexId, usize>,
    executed: BTreeMap<VertexId, usize>,
    abandoned: BTreeSet<VertexId>,
    done: BTreeSet<VertexId>,
    most_executing: usize,
    started_after_failure: bool,
    finished: bool,
}

/// Drives a schedule to its end. `choose` picks which of the actions under way answers next; vertices
/// in `hits` are found, vertices in `failing` fail when executed.
fn drive(
    graph: &BuildGraph,
    limits: Limits,
    hits: &BTreeSet<VertexId>,
    failing: &BTreeSet<VertexId>,
    choose: &mut dyn FnMut(usize) -> usize,
) -> Trace {
    let root = VertexId(graph.len() as u32 - 1);
    let mut schedule = Schedule::new(graph, &[root], limits);
    let mut trace = Trace::default();
    let mut under_way: Vec<Action> = Vec::new();
    let mut failed = false;
    let mut actions = schedule.start();
    loop {
        for action in actions.drain(..) {
            match action {
                Action::LookUp(id) => {
                    *trace.looked_up.entry(id).or_default() += 1;
                    let inputs = graph.vertex(id).op.inputs();
                    assert!(inputs.iter().all(|input| trace.done.contains(input)), "{id} before its inputs");
                    trace.started_after_failure |= failed;
                    under_way.push(Action::LookUp(id));
                }
                Action::Execute(id) => {
                    *trace.executed.entry(id).or_default() += 1;
                    trace.started_after_failure |= failed;
                    under_way.push(Action::Execute(id));
                }
                Action::Abandon(id) => assert!(trace.abandoned.insert(id), "{id} abandoned twice"),
                Action::Stop => failed = true,
            }
        }
        let executing = under_way.iter().filter(|action| matches!(action, Action::Execute(_))).count();
        trace.most_executing = trace.most_executing.max(executing);
        if under_way.is_empty() {
            break;
        }
        let message = match under_way.remove(choose(under_way.len())) {
            Action::LookUp(id) if id.0 == 0 || hits.contains(&id) => {
                trace.done.insert(id);
                Message::Found(id, result(id))
            }
            Action::LookUp(id) => Message::Missed(id),
            Action::Execute(id) if failing.contains(&id) => Message::Failed(id),
            Action::Execute(id) => {
                trace.done.insert(id);
                Message::Executed(id, result(id))
            }
            Action::Stop | Action::Abandon(_) => unreachable!("these are not under way"),
        };
        actions = schedule.on(message);
    }
    trace.finished = schedule.is_finished();
    trace
}

proptest! {
    /// Each vertex at most once, never before its inputs, never more jobs than allowed, always an end.
    #[test]
    fn every_needed_vertex_is_done_once_and_after_its_inputs(
        shape in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..30),
        hits in proptest::collection::btree_set((0u32..30).prop_map(VertexId), 0..10),
        jobs in 1usize..5,
        order in proptest::collection::vec(any::<usize>(), 200),
    ) {
        let graph = graph(&shape);
        let mut order = order.into_iter().cycle();
        let mut choose = |count: usize| order.next().unwrap_or_default() % count;
        let limits = Limits { jobs, look_ups: 3 };
        let trace = drive(&graph, limits, &hits, &BTreeSet::new(), &mut choose);
        let needed: BTreeSet<VertexId> =
            graph.needed(&[VertexId(graph.len() as u32 - 1)]).into_iter().collect();
        prop_assert!(trace.finished);
        prop_assert_eq!(&trace.done, &needed);
        prop_assert!(trace.looked_up.values().all(|count| *count == 1));
        prop_assert!(trace.executed.values().all(|count| *count == 1));
        prop_assert!(trace.executed.keys().all(|id| !hits.contains(id)));
        prop_assert!(trace.most_executing <= jobs);
    }

    /// D-345: a failure starts nothing new, and everything that is not done is accounted for.
    #[test]
    fn a_failure_starts_nothing_new(
        shape in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..30),
        failing in proptest::collection::btree_set((1u32..30).prop_map(VertexId), 1..4),
        order in proptest::collection::vec(any::<usize>(), 200),
    ) {
        let graph = graph(&shape);
        let mut order = order.into_iter().cycle();
        let mut choose = |count: usize| order.next().unwrap_or_default() % count;
        let limits = Limits { jobs: 3, look_ups: 3 };
        let trace = drive(&graph, limits, &BTreeSet::new(), &failing, &mut choose);
        prop_assert!(trace.finished);
        prop_assert!(!trace.started_after_failure);
        let needed = graph.needed(&[VertexId(graph.len() as u32 - 1)]);
        let failed: BTreeSet<VertexId> =
            trace.executed.keys().filter(|id| failing.contains(id)).copied().collect();
        for id in needed {
            let accounts = [trace.done.contains(&id), failed.contains(&id), trace.abandoned.contains(&id)];
            prop_assert_eq!(accounts.iter().filter(|yes| **yes).count(), 1, "{}", id);
        }
    }
}

/// D-130: independent vertices run side by side.
#[test]
fn independent_vertices_are_executed_side_by_side() {
    let graph = graph(&[(0, 0), (0, 0), (0, 0), (1, 2), (4, 3)]);
    let trace = drive(
        &graph,
        Limits { jobs: 8, look_ups: 8 },
        &BTreeSet::new(),
        &BTreeSet::new(),
        // Look-ups answer before the executions that they lead to.
        &mut |_| 0,
    );
    assert_eq!(trace.most_executing, 3);
}

#[test]
fn cancelling_ends_at_once_when_nothing_runs() {
    let graph = graph(&[(0, 0), (1, 0)]);
    let mut schedule = Schedule::new(&graph, &[VertexId(2)], Limits { jobs: 1, look_ups: 1 });
    let actions = schedule.on(Message::Cancel);
    assert!(schedule.is_finished());
    assert_eq!(actions[0], Action::Stop);
    assert_eq!(actions.len(), 4);
}
