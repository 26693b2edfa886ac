//! The schedule: a pure state machine. Messages in, actions out; threads elsewhere do the actions.
//!
//! Laws, tested with generated graphs: each vertex is looked up and executed at most once; nothing
//! is looked up before its inputs are done; a failure starts nothing new; cancelling always ends.

use std::collections::VecDeque;

use castoff_graph::{BuildGraph, CacheKey, VertexId};
use castoff_store::LayerId;

/// What a vertex came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexResult {
    /// What the vertex is known by in the keys of those that build upon it.
    pub identity: CacheKey,
    /// The layer it adds to its parent's; `None` for sources.
    pub layer: Option<LayerId>,
    /// When the layer was made, milliseconds since 1970.
    pub created_ms: i64,
    /// Whether an existing result was used.
    pub cached: bool,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Compute the vertex's key and ask the store for a result; answer with [`Message::Found`],
    /// [`Message::Missed`] or [`Message::Failed`].
    LookUp(VertexId),
    /// Do the vertex's work; answer with [`Message::Executed`] or [`Message::Failed`].
    Execute(VertexId),
    /// Stop everything that runs; each stopped action still answers.
    Stop,
    /// The vertex will not be done.
    Abandon(VertexId),
}

/// What the driver has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A result exists.
    Found(VertexId, VertexResult),
    /// No result exists.
    Missed(VertexId),
    /// The vertex was executed.
    Executed(VertexId, VertexResult),
    /// The vertex failed, or was stopped.
    Failed(VertexId),
    /// The user wants to stop.
    Cancel,
}

/// How many actions of each kind may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Executions.
    pub jobs: usize,
    /// Look-ups.
    pub look_ups: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    NotNeeded,
    Waiting { inputs: usize },
    ToLookUp,
    LookingUp,
    ToExecute,
    Executing,
    Done(VertexResult),
    Ended,
}

/// The state of a build.
#[derive(Debug)]
pub struct Schedule {
    states: Vec<State>,
    dependents: Vec<Vec<VertexId>>,
    to_look_up: VecDeque<VertexId>,
    to_execute: VecDeque<VertexId>,
    limits: Limits,
    looking_up: usize,
    executing: usize,
    halted: bool,
}

impl Schedule {
    /// Returns a schedule of what `roots` need.
    pub fn new(graph: &BuildGraph, roots: &[VertexId], limits: Limits) -> Schedule {
        let mut states = vec![State::NotNeeded; graph.len()];
        let mut dependents = vec![Vec::new(); graph.len()];
        let mut to_look_up = VecDeque::new();
        for id in graph.needed(roots) {
            let inputs = graph.vertex(id).op.inputs();
            states[id.0 as usize] = if inputs.is_empty() {
                to_look_up.push_back(id);
                State::ToLookUp
            } else {
                State::Waiting { inputs: inputs.len() }
            };
            for input in inputs {
                dependents[input.0 as usize].push(id);
            }
        }
        Schedule {
            states,
            dependents,
            to_look_up,
            to_execute: VecDeque::new(),
            limits,
            looking_up: 0,
            executing: 0,
            halted: false,
        }
    }

    /// Returns the first actions.
    pub fn start(&mut self) -> Vec<Action> {
        self.dispatch()
    }

    /// Takes a message and returns what it allows.
    pub fn on(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Found(id, result) => {
                self.leave(id);
                self.complete(id, result);
                self.dispatch()
            }
            Message::Missed(id) => {
                self.leave(id);
                if self.halted {
                    *self.state(id) = State::Ended;
                    return vec![Action::Abandon(id)];
                }
                *self.state(id) = State::ToExecute;
                self.to_execute.push_back(id);
                self.dispatch()
            }
            Message::Executed(id, result) => {
                self.leave(id);
                self.complete(id, result);
                self.dispatch()
            }
            Message::Failed(id) => {
                self.leave(id);
                *self.state(id) = State::Ended;
                self.halt()
            }
            Message::Cancel => self.halt(),
        }
    }

    /// Returns whether nothing is under way and nothing will start.
    pub fn is_finished(&self) -> bool {
        self.looking_up == 0
            && self.executing == 0
            && (self.halted || (self.to_look_up.is_empty() && self.to_execute.is_empty()))
    }

    /// Returns what a vertex came to.
    pub fn result(&self, id: VertexId) -> Option<&VertexResult> {
        match &self.states[id.0 as usize] {
            State::Done(result) => Some(result),
            State::NotNeeded
            | State::Waiting { .. }
            | State::ToLookUp
            | State::LookingUp
            | State::ToExecute
            | State::Executing
            | State::Ended => None,
        }
    }

    fn state(&mut self, id: VertexId) -> &mut State {
        &mut self.states[id.0 as usize]
    }

    fn leave(&mut self, id: VertexId) {
        match self.state(id) {
            State::LookingUp => self.looking_up -= 1,
            State::Executing => self.executing -= 1,
            other => unreachable!("an answer came for a vertex in state {other:?}"),
        }
    }

    fn complete(&mut self, id: VertexId, result: VertexResult) {
        *self.state(id) = State::Done(result);
        for dependent in self.dependents[id.0 as usize].clone() {
            if let State::Waiting { inputs } = self.state(dependent) {
                *inputs -= 1;
                if *inputs == 0 {
                    *self.state(dependent) = State::ToLookUp;
                    self.to_look_up.push_back(dependent);
                }
            }
        }
    }

    fn dispatch(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.halted {
            return actions;
        }
        while self.looking_up < self.limits.look_ups
            && let Some(id) = self.to_look_up.pop_front()
        {
            *self.state(id) = State::LookingUp;
            self.looking_up += 1;
            actions.push(Action::LookUp(id));
        }
        while self.executing < self.limits.jobs
            && let Some(id) = self.to_execute.pop_front()
        {
            *self.state(id) = State::Executing;
            self.executing += 1;
            actions.push(Action::Execute(id));
        }
        actions
    }

    fn halt(&mut self) -> Vec<Action> {
        if self.halted {
            return Vec::new();
        }
        self.halted = true;
        let mut actions = vec![Action::Stop];
        for (index, state) in self.states.iter_mut().enumerate() {
            if matches!(state, State::Waiting { .. } | State::ToLookUp | State::ToExecute) {
                *state = State::Ended;
                actions.push(Action::Abandon(VertexId(index as u32)));
            }
        }
        self.to_look_up.clear();
        self.to_execute.clear();
        actions
    }
}
