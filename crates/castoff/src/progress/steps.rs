//! What is known of each step: the model that all forms of progress read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use castoff_oci::Digest;
use castoff_solver::{Event, Outcome, OutputStream, StepId};

use super::FailedStep;
use super::log::{Cutter, Piece};
use super::text;

/// Lines of the log that a report of a failure shows (B-153).
const REPORTED: usize = 10;

/// All steps.
pub(super) struct Steps {
    steps: BTreeMap<StepId, Step>,
    /// Steps in the order in which they were first heard of after being planned.
    pub order: Vec<StepId>,
    first_failure: Option<StepId>,
    kept_lines: usize,
    /// How long a line that is written over and over is held back.
    rewritten: Duration,
}

/// One step.
#[derive(Default)]
pub(super) struct Step {
    pub name: String,
    pub digest: Option<Digest>,
    pub inputs: Vec<Digest>,
    /// Whether anything was heard of it after it was planned.
    pub active: bool,
    pub started: Option<Duration>,
    pub ended: Option<(Duration, Outcome)>,
    /// Parts, in the order they were first heard of.
    pub statuses: Vec<Status>,
    /// What was said about it, such as why its result was not there.
    pub notes: Vec<String>,
    /// The last lines of the log.
    pub tail: VecDeque<TailLine>,
    cutters: [Cutter; 2],
}

/// A line of the end of a log.
pub(super) struct TailLine {
    pub at: Duration,
    pub text: String,
    open: Option<OutputStream>,
}

/// A part of a step.
#[derive(Clone)]
pub(super) struct Status {
    pub item: String,
    pub current: u64,
    pub total: Option<u64>,
    pub started: Duration,
    pub ended: Option<Duration>,
}

impl Steps {
    pub fn new(log_lines: usize, rewritten: Duration) -> Steps {
        Steps {
            steps: BTreeMap::new(),
            order: Vec::new(),
            first_failure: None,
            kept_lines: log_lines.max(REPORTED),
            rewritten,
        }
    }

    /// Takes note of an event and returns the parts of logs that it brought or ended.
    pub fn event(&mut self, now: Duration, event: &Event) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match event {
            Event::Planned { step, name, digest, inputs } => {
                let known = self.steps.entry(*step).or_default();
                known.name = text::one_line(name);
                known.digest = Some(*digest);
                known.inputs.clone_from(inputs);
            }
            Event::Started { step } => self.active(*step).started = Some(now),
            Event::Output { step, stream, bytes } => {
                let known = self.active(*step);
                let at = known.age(now);
                known.cutter(*stream).add(*stream, at, bytes, &mut pieces);
                self.keep(*step, &pieces);
            }
            Event::Status { step, item, current, total, done } => {
                self.active(*step).status(now, item, *current, *total, *done);
            }
            Event::Note { step, text } => self.active(*step).notes.push(text::one_line(text)),
            Event::Finished { step, outcome: Outcome::Cancelled } if !self.is_active(*step) => {
                // It never began, so there is nothing to show of it.
                self.steps.entry(*step).or_default().ended = Some((now, Outcome::Cancelled));
            }
            Event::Finished { step, outcome } => {
                let known = self.active(*step);
                let at = known.age(now);
                for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                    known.cutter(stream).finish(stream, at, &mut pieces);
                }
                known.ended = Some((now, outcome.clone()));
                if matches!(outcome, Outcome::Failed { .. }) {
                    self.first_failure.get_or_insert(*step);
                }
                self.keep(*step, &pieces);
            }
            // Lines and messages of their own; the report of the build sums them up. Facts are not shown.
            Event::Warning { .. } | Event::Fact { .. } => {}
        }
        pieces
    }

    /// Returns beginnings of lines that have waited long enough.
    pub fn flush(&mut self, now: Duration) -> Vec<(StepId, Piece)> {
        let rewritten = self.rewritten;
        self.flush_by(now, |cutter, stream, at, pieces| cutter.flush(stream, at, rewritten, pieces))
    }

    /// Returns everything that is held back.
    pub fn flush_all(&mut self, now: Duration) -> Vec<(StepId, Piece)> {
        self.flush_by(now, Cutter::finish)
    }

    fn flush_by(
        &mut self,
        now: Duration,
        flush: impl Fn(&mut Cutter, OutputStream, Duration, &mut Vec<Piece>),
    ) -> Vec<(StepId, Piece)> {
        let mut flushed = Vec::new();
        for (id, step) in &mut self.steps {
            if step.ended.is_some() {
                continue;
            }
            let mut pieces = Vec::new();
            let at = step.age(now);
            for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                flush(step.cutter(stream), stream, at, &mut pieces);
            }
            step.keep(&pieces, self.kept_lines);
            flushed.extend(pieces.into_iter().map(|piece| (*id, piece)));
        }
        flushed
    }

    /// Returns a step; one that was never heard of is empty.
    pub fn get(&self, id: StepId) -> Option<&Step> {
        self.steps.get(&id)
    }

    /// Returns whether anything was heard of a step after it was planned.
    pub fn is_active(&self, id: StepId) -> bool {
        self.get(id).is_some_and(|step| step.active)
    }

    /// Returns how many steps are known, and how many of them have ended.
    pub fn counts(&self) -> (usize, usize) {
        (self.steps.len(), self.steps.values().filter(|step| step.ended.is_some()).count())
    }

    pub fn failure(&self) -> Option<FailedStep> {
        self.failed_step(self.first_failure?)
    }

    pub fn failed_step(&self, id: StepId) -> Option<FailedStep> {
        let step = self.steps.get(&id)?;
        let message = match &step.ended {
            Some((_, Outcome::Failed { message })) => message.clone(),
            _ => String::new(),
        };
        let reported = step.tail.len().saturating_sub(REPORTED);
        let log = step.tail.iter().skip(reported);
        let log = log.map(|line| format!("{} {}", text::log_time(line.at), line.text)).collect();
        Some(FailedStep { name: step.name.clone(), message, log })
    }

    fn active(&mut self, id: StepId) -> &mut Step {
        let step = self.steps.entry(id).or_default();
        if !std::mem::replace(&mut step.active, true) {
            self.order.push(id);
        }
        step
    }

    fn keep(&mut self, id: StepId, pieces: &[Piece]) {
        let kept_lines = self.kept_lines;
        self.active(id).keep(pieces, kept_lines);
    }
}

impl Step {
    /// Returns how long the step has run.
    pub fn age(&self, now: Duration) -> Duration {
        self.started.map(|started| now.saturating_sub(started)).unwrap_or_default()
    }

    /// Returns how long the step ran or has run so far.
    pub fn duration(&self, now: Duration) -> Duration {
        self.age(self.ended.as_ref().map_or(now, |(ended, _)| *ended))
    }

    fn cutter(&mut self, stream: OutputStream) -> &mut Cutter {
        match stream {
            OutputStream::Stdout => &mut self.cutters[0],
            OutputStream::Stderr => &mut self.cutters[1],
        }
    }

    fn status(&mut self, now: Duration, item: &str, current: u64, total: Option<u64>, done: bool) {
        let ended = done.then_some(now);
        match self.statuses.iter_mut().find(|status| status.item == item) {
            Some(status) => {
                (status.current, status.total) = (current, total.or(status.total));
                status.ended = status.ended.or(ended);
            }
            None => {
                let item = item.to_owned();
                self.statuses.push(Status { item, current, total, started: now, ended });
            }
        }
    }

    fn keep(&mut self, pieces: &[Piece], kept_lines: usize) {
        for piece in pieces {
            let open = (!piece.ends).then_some(piece.stream);
            match self.tail.back_mut() {
                Some(last) if !piece.starts && last.open == Some(piece.stream) => {
                    last.text.push_str(&piece.text);
                    last.open = open;
                }
                // The end of a line that was already given out in full.
                _ if !piece.starts && piece.text.is_empty() => {}
                _ => self.tail.push_back(TailLine { at: piece.at, text: piece.text.clone(), open }),
            }
        }
        let surplus = self.tail.len().saturating_sub(kept_lines);
        self.tail.drain(..surplus);
    }
}

/// A warning in one line (B-151).
pub(super) fn warning(rule: Option<&str>, message: &str, line: Option<u32>) -> String {
    let rule = rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("{rule}{}{line}", text::one_line(message))
}
