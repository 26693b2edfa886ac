//! What differs between two images.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Outcome;
use super::cases::Case;
use super::image::Image;
use super::options::PeerKind;
use super::tree::{Node, Tree};

/// Something that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// What it is about: `outcome`, `file PATH: FIELD`, `config FIELD`, `history N: FIELD`.
    pub(super) key: String,
    pub(super) castoff: String,
    pub(super) peer: String,
}

type Side<'a> = (&'a Outcome, Option<&'a Image>);

/// Compares what two builders made of a case.
pub(super) fn compare(
    case: &Case,
    castoff: Side<'_>,
    peer: Side<'_>,
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
    add("outcome".to_owned(), shown(castoff.0), shown(peer.0));
    if let Some(error) = &case.error {
        let said = matches!(castoff.0, Outcome::Failed(text) if text.contains(error.as_str()));
        add(
            "error".to_owned(),
            if said { error.clone() } else { "another, or none".to_owned() },
            error.clone(),
        );
    }
    let (Some(mine), Some(other)) = (castoff.1, peer.1) else { return differences };
    files(&mine.tree, &other.tree, started, &mut add);
    config(&mine.config, &other.config, &mut add);
    // buildah commits all instructions as one, and words its history in its own way.
    if kind == PeerKind::Docker {
        history(&mine.config, &other.config, &mut add);
    }
    differences
}

type Add<'a> = dyn FnMut(String, String, String) + 'a;

fn files(mine: &Tree, other: &Tree, started: i64, add: &mut Add<'_>) {
    let paths: BTreeSet<&String> = mine.paths.keys().chain(other.paths.keys()).collect();
    let (my_links, other_links) = (mine.links(), other.links());
    for path in paths {
        if path.is_empty() {
            continue;
        }
        let (Some(a), Some(b)) = (mine.node(path), other.node(path)) else {
            let shown = |tree: &Tree| tree.node(path).map_or("absent".to_owned(), summary);
            add(format!("file {path}: presence"), shown(mine), shown(other));
            continue;
        };
        let mut field = |name: &str, a: String, b: String| add(format!("file {path}: {name}"), a, b);
        field("type", a.kind.to_string(), b.kind.to_string());
        if a.kind != b.kind {
            continue;
        }
        let mode = if a.kind == 'd' { "directory mode" } else { "mode" };
        field(mode, format!("{:04o}", a.mode), format!("{:04o}", b.mode));
        field("owner", format!("{}:{}", a.uid, a.gid), format!("{}:{}", b.uid, b.gid));
        field("size", a.size.to_string(), b.size.to_string());
        field("content", a.content.clone(), b.content.clone());
        field("xattrs", format!("{:?}", a.xattrs), format!("{:?}", b.xattrs));
        // Whoever copies into a directory that is there changes its time; castoff writes it as it is there.
        let passed = a.kind == 'd' && a.mtime < started && b.mtime >= started;
        field(if passed { "directory mtime kept" } else { "mtime" }, time(a, started), time(b, started));
        let links = |links: &BTreeMap<&str, &str>| links.get(path.as_str()).unwrap_or(&"none").to_string();
        field("hard links", links(&my_links), links(&other_links));
    }
}

fn summary(node: &Node) -> String {
    format!("{}{:04o} {}:{} {} {}", node.kind, node.mode, node.uid, node.gid, node.size, node.content)
}

/// Whatever was made by this run has the time of no two builds.
fn time(node: &Node, started: i64) -> String {
    if node.mtime >= started { "of this run".to_owned() } else { node.mtime.to_string() }
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
