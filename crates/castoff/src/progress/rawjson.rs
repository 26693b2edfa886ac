//! Progress as JSON lines (B-157), in the words of BuildKit's status messages.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_solver::{Event, Outcome, OutputStream, StepId};
use serde::Serialize;

use super::steps::{Step, Steps};

pub(super) struct RawJson {
    started_at: jiff::Timestamp,
}

#[derive(Default, Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<VertexMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<StatusMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningMessage>,
}

#[derive(Serialize)]
struct VertexMessage {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct StatusMessage {
    id: String,
    vertex: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Serialize)]
struct LogMessage {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Serialize)]
struct WarningMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    vertex: Option<String>,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[RangeMessage; 1]>,
}

#[derive(Serialize)]
struct RangeMessage {
    start: PositionMessage,
    end: PositionMessage,
}

#[derive(Serialize)]
struct PositionMessage {
    line: u32,
    character: u32,
}

impl RawJson {
    pub fn new(started_at: jiff::Timestamp) -> RawJson {
        RawJson { started_at }
    }

    /// Returns the line to write.
    pub fn event(&mut self, now: Duration, event: &Event, steps: &Steps) -> String {
        let mut message = Message::default();
        let digest = |step: &StepId| steps.get(*step).map(vertex_digest).unwrap_or_default();
        match event {
            Event::Planned { step, .. } | Event::Started { step } | Event::Finished { step, .. } => {
                message.vertexes.extend(steps.get(*step).map(|known| self.vertex(known)));
            }
            Event::Output { step, stream, bytes } => message.logs.push(LogMessage {
                vertex: digest(step),
                stream: match stream {
                    OutputStream::Stdout => 1,
                    OutputStream::Stderr => 2,
                },
                data: STANDARD.encode(bytes),
                timestamp: self.time(now),
            }),
            Event::Note { step, text } => message.logs.push(LogMessage {
                vertex: digest(step),
                stream: 2,
                data: STANDARD.encode(format!("{text}\n")),
                timestamp: self.time(now),
            }),
            Event::Status { step, item, .. } => {
                let known =
                    steps.get(*step).and_then(|known| known.statuses.iter().find(|s| s.item == *item));
                message.statuses.extend(known.map(|status| StatusMessage {
                    id: item.clone(),
                    vertex: digest(step),
                    name: item.clone(),
                    total: status.total,
                    current: status.current,
                    timestamp: self.time(now),
                    started: self.time(status.started),
                    completed: status.ended.map(|ended| self.time(ended)),
                }));
            }
            // Not shown.
            Event::Fact { .. } => return String::new(),
            Event::Warning { step, rule, text, line } => {
                let rule = rule.as_ref().map(|rule| format!("{rule}: ")).unwrap_or_default();
                message.warnings.push(WarningMessage {
                    vertex: step.as_ref().map(digest),
                    level: 1,
                    short: STANDARD.encode(format!("{rule}{text}")),
                    range: line.map(|line| {
                        let position = || PositionMessage { line, character: 0 };
                        [RangeMessage { start: position(), end: position() }]
                    }),
                });
            }
        }
        let line = serde_json::to_string(&message).expect("a message holds only texts and numbers");
        line + "\n"
    }

    fn vertex(&self, step: &Step) -> VertexMessage {
        let ended = step.ended.as_ref();
        VertexMessage {
            digest: vertex_digest(step),
            inputs: step.inputs.iter().map(ToString::to_string).collect(),
            name: step.name.clone(),
            // BuildKit never shows an end without a beginning.
            started: step.started.or(ended.map(|(ended, _)| *ended)).map(|started| self.time(started)),
            completed: ended.map(|(ended, _)| self.time(*ended)),
            cached: ended.is_some_and(|(_, outcome)| *outcome == Outcome::Cached),
            error: ended.and_then(|(_, outcome)| match outcome {
                Outcome::Failed { message } => Some(message.clone()),
                Outcome::Cancelled => Some("context canceled".to_owned()),
                Outcome::Done | Outcome::Cached => None,
            }),
        }
    }

    fn time(&self, since_start: Duration) -> String {
        let time = self.started_at.checked_add(since_start).unwrap_or(jiff::Timestamp::MAX);
        format!("{time:.9}")
    }
}

fn vertex_digest(step: &Step) -> String {
    step.digest.map(|digest| digest.to_string()).unwrap_or_default()
}
