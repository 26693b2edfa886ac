//! How two image configs differ: what a runtime is told, and the history.

use std::collections::BTreeMap;

use castoff_oci::{HistoryEntry, ImageConfig};
use serde_json::Value;

/// A part of a config that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Which: `os`, `config.Cmd`, `config.Env PATH`, `config.Labels version`, `history`.
    pub name: String,
    /// Its value before; `None` when there was none.
    pub before: Option<String>,
    /// Its value after; `None` when there is none.
    pub after: Option<String>,
}

/// Returns how a config differs from an earlier one. The layers are not compared, and times only when they count.
pub fn config_changes(before: &ImageConfig, after: &ImageConfig, times: bool) -> Vec<ConfigChange> {
    let (one, other) = (parts(before, times), parts(after, times));
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let mut changes: Vec<ConfigChange> = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| ConfigChange {
            name: name.clone(),
            before: one.get(name).cloned(),
            after: other.get(name).cloned(),
        })
        .collect();
    changes.extend(history(&before.history, &after.history, times));
    changes
}

/// Returns the parts of a config, each as a text.
fn parts(config: &ImageConfig, times: bool) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let whole = serde_json::to_value(config).expect("a config is always JSON");
    for (name, value) in whole.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("rootfs" | "history", _) => {}
            ("created", _) if !times => {}
            ("config", Value::Object(fields)) => {
                for (field, value) in fields {
                    add(&mut parts, &format!("config.{field}"), value);
                }
            }
            (name, value) => add(&mut parts, name, value),
        }
    }
    parts
}

/// Adds a part; variables and labels are parts of their own.
fn add(parts: &mut BTreeMap<String, String>, name: &str, value: &Value) {
    match value {
        Value::Array(variables) if name == "config.Env" => {
            for variable in variables.iter().filter_map(Value::as_str) {
                let (variable, value) = variable.split_once('=').unwrap_or((variable, ""));
                parts.insert(format!("{name} {variable}"), value.to_owned());
            }
        }
        Value::Object(labels) if name == "config.Labels" => {
            for (label, value) in labels {
                parts.insert(format!("{name} {label}"), text(value));
            }
        }
        value => {
            parts.insert(name.to_owned(), text(value));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Compares what is between the entries that both begin with and those that both end with.
fn history(before: &[HistoryEntry], after: &[HistoryEntry], times: bool) -> Vec<ConfigChange> {
    let entry = |entry: &HistoryEntry| {
        let created = entry.created.as_deref().filter(|_| times).unwrap_or_default();
        let layer = if entry.empty_layer { " (no layer)" } else { "" };
        let text = format!("{created} {}{layer}", entry.created_by.as_deref().unwrap_or_default());
        text.trim().to_owned()
    };
    let (one, other): (Vec<String>, Vec<String>) =
        (before.iter().map(entry).collect(), after.iter().map(entry).collect());
    let prefix = one.iter().zip(&other).take_while(|(left, right)| left == right).count();
    let (one, other) = (&one[prefix..], &other[prefix..]);
    let suffix = one.iter().rev().zip(other.iter().rev()).take_while(|(left, right)| left == right).count();
    let (one, other) = (&one[..one.len() - suffix], &other[..other.len() - suffix]);
    let change = |place: usize| ConfigChange {
        name: "history".to_owned(),
        before: one.get(place).cloned(),
        after: other.get(place).cloned(),
    };
    (0..one.len().max(other.len())).map(change).collect()
}
