//! `castoff diff`.

use std::fmt::Write as _;

use castoff_inspect::diff::{Aspect, Comparison, ConfigChange, PathChange, config_changes, kind_name};
use castoff_layer::{Entry, EntryKind};
use castoff_oci::Platform;
use castoff_solver::{Bodies, Messenger, SnapshotLayer};
use serde_json::{Value, json};

use super::Context;
use super::builds::first_line;
use crate::args::{DiffArgs, ReportFormat};
use crate::exit;
use crate::image;
use crate::table;

/// Longer values are cut for people.
const VALUE: usize = 120;

pub(super) fn diff(args: &DiffArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    match compared(args, context) {
        Ok(code) => Ok(code),
        Err(error) => {
            super::complain(&castoff_solver::chain(error.as_ref()));
            Ok(exit::TROUBLE)
        }
    }
}

fn compared(args: &DiffArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let platform = super::platform(args.platform.as_deref())?;
    let bodies = Bodies::new(&session.world);
    let (messenger, _events) = Messenger::channel();
    let find = |name: &str, platform: Option<&Platform>| image::find(&session.world.store, name, platform);
    let (before, after) = (find(&args.before, platform.as_ref())?, find(&args.after, platform.as_ref())?);
    let layers = |named: &image::Named| -> anyhow::Result<Vec<SnapshotLayer>> {
        Ok(named.image(&bodies)?.layers.into_iter().map(|layer| SnapshotLayer::Stored(layer.id)).collect())
    };
    let (layers_before, layers_after) = (layers(&before)?, layers(&after)?);
    let (view_before, view_after) =
        (bodies.view(&layers_before, &messenger)?, bodies.view(&layers_after, &messenger)?);
    let comparison = Comparison { before: &view_before, after: &view_after, times: args.times };
    let mut changes = Vec::new();
    comparison.run(&mut |change| changes.push(change))?;
    let config = config_changes(before.config.value(), after.config.value(), args.times);
    super::print(&match args.format {
        ReportFormat::Text => text(&changes, &config),
        ReportFormat::Json => format!("{:#}\n", to_json(args, &changes, &config)),
    })?;
    Ok(if changes.is_empty() && config.is_empty() { exit::SUCCESS } else { exit::FAILURE })
}

/// Returns the differences for people; nothing when there are none.
fn text(changes: &[PathChange], config: &[ConfigChange]) -> String {
    let mut text = String::new();
    let mut counts = [0; 3];
    for change in changes {
        let path = first_line(&String::from_utf8_lossy(&change.path));
        let line = match (&change.before, &change.after) {
            (None, Some(after)) => {
                counts[0] += 1;
                format!("+ /{path}  {}", described(after))
            }
            (Some(before), None) => {
                counts[1] += 1;
                format!("- /{path}  {}", described(before))
            }
            (Some(before), Some(after)) => {
                counts[2] += 1;
                let aspects: Vec<String> =
                    change.aspects.iter().filter_map(|aspect| aspect_text(*aspect, before, after)).collect();
                format!("~ /{path}  {}", aspects.join(", "))
            }
            (None, None) => continue,
        };
        text.push_str(&line);
        text.push('\n');
    }
    for ConfigChange { name, before, after } in config {
        let line = match (before, after) {
            (Some(before), Some(after)) => format!("~ {name}: {} -> {}", short(before), short(after)),
            (None, Some(after)) => format!("+ {name}: {}", short(after)),
            (Some(before), None) => format!("- {name}: {}", short(before)),
            (None, None) => continue,
        };
        text.push_str(&line);
        text.push('\n');
    }
    if !text.is_empty() {
        let [added, removed, changed] = counts;
        let config = config.len();
        let _infallible = writeln!(
            text,
            "{added} added, {removed} removed, {changed} changed; {config} differences of config and history"
        );
    }
    text
}

fn short(value: &str) -> String {
    let line = first_line(value);
    match line.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None if value.lines().count() > 1 => format!("{line}..."),
        None => line,
    }
}

pub(super) fn described(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::File { size } => table::bytes(*size),
        EntryKind::Symlink { target } => format!("-> {}", first_line(&String::from_utf8_lossy(target))),
        kind => kind_name(kind).to_owned(),
    }
}

pub(super) fn aspect_text(aspect: Aspect, before: &Entry, after: &Entry) -> Option<String> {
    Some(match aspect {
        Aspect::Type => format!("{} -> {}", kind_name(&before.kind), kind_name(&after.kind)),
        Aspect::Mode => format!("mode {:o} -> {:o}", before.mode, after.mode),
        Aspect::Owner => format!("owner {}:{} -> {}:{}", before.uid, before.gid, after.uid, after.gid),
        Aspect::Size => format!("size {} -> {}", size(before), size(after)),
        // Of another size it has another content.
        Aspect::Content if size(before) != size(after) => return None,
        Aspect::Link => format!("{} {}", described(before), described(after)),
        Aspect::Content | Aspect::Device | Aspect::Xattrs | Aspect::Time => aspect.name().to_owned(),
    })
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size } => size,
        _ => 0,
    }
}

/// Returns the differences for programs (`docs/explain.md`).
fn to_json(args: &DiffArgs, changes: &[PathChange], config: &[ConfigChange]) -> Value {
    let change = |change: &PathChange| {
        json!({
            "path": format!("/{}", String::from_utf8_lossy(&change.path)),
            "before": change.before.as_ref().map(entry_json),
            "after": change.after.as_ref().map(entry_json),
            "differs": change.aspects.iter().map(|aspect| aspect.name()).collect::<Vec<_>>(),
        })
    };
    let of_config = |change: &ConfigChange| json!({ "name": change.name, "before": change.before, "after": change.after });
    json!({
        "before": args.before,
        "after": args.after,
        "files": changes.iter().map(change).collect::<Vec<_>>(),
        "config": config.iter().map(of_config).collect::<Vec<_>>(),
    })
}

/// Returns what programs are told of a path of an image.
pub(super) fn entry_json(entry: &Entry) -> Value {
    let link = match &entry.kind {
        EntryKind::Symlink { target } => Some(String::from_utf8_lossy(target).into_owned()),
        _ => None,
    };
    json!({
        "type": kind_name(&entry.kind),
        "mode": format!("{:o}", entry.mode),
        "uid": entry.uid,
        "gid": entry.gid,
        "size": matches!(entry.kind, EntryKind::File { .. }).then(|| size(entry)),
        "link": link,
        "mtime": entry.mtime.seconds,
    })
}
