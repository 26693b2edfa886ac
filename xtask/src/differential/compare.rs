//! What differs between two images.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cases::Case;
use super::options::PeerKind;
use super::{Made, Outcome};
use crate::peers::compare::{Add, files};

/// Something that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// What it is about: `outcome`, `file PATH: FIELD`, `config FIELD`, `history N: FIELD`.
    pub(super) key: String,
    pub(super) castoff: String,
    pub(super) peer: String,
}

/// Compares what two builders made of a case. Whatever is not older than `started` was made by a run.
pub(super) fn compare(
    case: &Case,
    castoff: &Made,
    peer: &Made,
    kind: PeerKind,
    started: i64,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |key: String, castoff: String, peer: String| {
        if castoff != peer {
            differences.push(Difference { key, castoff, peer });
        }
    };
    let shown = |outcome: &Outcome| match outcome {
        Outcome::Built => "built".to_owned(),
        Outcome::Failed(_) => "failed".to_owned(),
    };
    add("outcome".to_owned(), shown(&castoff.outcome), shown(&peer.outcome));
    let is_refused = matches!(&castoff.outcome, Outcome::Failed(_));
    if is_refused && case.error.is_none() && !case.is_generated() {
        // Two failures are the same only if they are for the same reason.
        add(
            "error".to_owned(),
            "fails".to_owned(),
            "the case does not say which error it must be".to_owned(),
        );
    }
    if let Some(error) = &case.error {
        let said = matches!(&castoff.outcome, Outcome::Failed(text) if text.contains(error.as_str()));
        add(
            "error".to_owned(),
            if said { error.clone() } else { "another, or none".to_owned() },
            error.clone(),
        );
    }
    let (Some(mine), Some(other)) = (&castoff.image, &peer.image) else {
        if let (Outcome::Built, Outcome::Built) = (&castoff.outcome, &peer.outcome) {
            let state = |made: &Made| made.image.as_ref().map_or("not readable", |_| "readable").to_owned();
            add("image".to_owned(), state(castoff), state(peer));
        }
        return differences;
    };
    files(&mine.tree, &other.tree, started, &mut add);
    config(&mine.config, &other.config, &mut add);
    // buildah commits all instructions as one, and words its history in its own way.
    if kind == PeerKind::Docker {
        history(&mine.config, &other.config, &mut add);
    }
    differences
}

fn config(mine: &Value, other: &Value, add: &mut Add<'_>) {
    for field in ["architecture", "os", "variant", "author"] {
        add(format!("config {field}"), shown(&mine[field]), shown(&other[field]));
    }
    let (mine, other) = (&mine["config"], &other["config"]);
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect()
    };
    let all: BTreeSet<String> = keys(mine).into_iter().chain(keys(other)).collect();
    for field in all {
        add(format!("config {field}"), shown(&mine[&field]), shown(&other[&field]));
    }
}

/// Absent and empty mean the same in a config.
fn shown(value: &Value) -> String {
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Array(_) | Value::Bool(true) | Value::Number(_) => false,
    };
    if empty { "nothing".to_owned() } else { sorted(value).to_string() }
}

/// Objects in the order of their keys.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> =
                object.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        _ => value.clone(),
    }
}

fn history(mine: &Value, other: &Value, add: &mut Add<'_>) {
    let entries = |config: &Value| config["history"].as_array().cloned().unwrap_or_default();
    let (mine, other) = (entries(mine), entries(other));
    // The first is the import of the base, of which every builder says something else.
    let (mine, other) = (mine.get(1..).unwrap_or_default(), other.get(1..).unwrap_or_default());
    add("history length".to_owned(), mine.len().to_string(), other.len().to_string());
    for (index, (a, b)) in mine.iter().zip(other).enumerate() {
        for field in ["created_by", "comment", "empty_layer", "author"] {
            add(format!("history {index}: {field}"), shown(&a[field]), shown(&b[field]));
        }
    }
}
