//! What is told of an image to people.

use std::fmt::Write as _;

use castoff_inspect::explain::{Lost, Maker, MomentKind, Origin};

use super::Explained;
use crate::command::builds::first_line;
use crate::table::{self, Table, bytes};

/// Instructions are cut to this many characters in the table.
const COLUMN: usize = 60;

/// Less is not worth a line.
const WORTH: u64 = 100_000;

pub(super) fn image(explained: &Explained<'_>) -> String {
    let ledger = &explained.ledger;
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "{}: {} in {} layers, {} files",
        explained.name,
        bytes(ledger.bytes()),
        ledger.layers.len(),
        ledger.files.len()
    );
    if explained.record().is_none() {
        text.push_str(
            "No build of this image is remembered here: its history says which instruction made a layer, and no more.\n",
        );
    }
    text.push('\n');
    text.push_str(&instructions(explained).to_string());
    stages(explained, &mut text);
    if !explained.origins.is_empty() {
        text.push_str("\nLargest files:\n");
        text.push_str(&list(explained).to_string());
    }
    waste(explained, &mut text);
    text
}

/// Returns every file with its origin.
pub(super) fn files(explained: &Explained<'_>) -> String {
    list(explained).to_string()
}

fn instructions(explained: &Explained<'_>) -> Table {
    let mut table = Table::new(&["LINE", "ADDED", "REPLACED", "REMOVED", "IN VAIN", "FILES", "INSTRUCTION"]);
    let cell = |count: u64| if count == 0 { String::new() } else { bytes(count) };
    for (place, instruction) in explained.instructions.iter().enumerate() {
        let sums = instruction.layer.map(|layer| explained.ledger.layers[layer]).unwrap_or_default();
        table.row([
            line(explained, place).map(|line| line.to_string()).unwrap_or_default(),
            cell(sums.added),
            cell(sums.shadowed),
            cell(sums.deleted),
            cell(sums.lost),
            if sums.files == 0 { String::new() } else { sums.files.to_string() },
            short(&told(explained, place)),
        ]);
    }
    table
}

/// Returns the first line of an instruction in the Dockerfile.
pub(super) fn line(explained: &Explained<'_>, instruction: usize) -> Option<u32> {
    let step = explained.instructions[instruction].step?;
    explained.record()?.steps[step].lines.map(|(first, _)| first)
}

/// Returns an instruction: as the build shows it, else as the history has it.
pub(in crate::command) fn told(explained: &Explained<'_>, instruction: usize) -> String {
    let instruction = &explained.instructions[instruction];
    match (explained.record(), instruction.step) {
        (Some(record), Some(step)) => first_line(&record.steps[step].name),
        _ if instruction.text.is_empty() => "(no history)".to_owned(),
        _ => first_line(instruction.text.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(&instruction.text)),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(COLUMN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn stages(explained: &Explained<'_>, text: &mut String) {
    if explained.sizes.len() < 2 {
        return;
    }
    text.push_str("\nStages:\n");
    let mut table = Table::new(&["STAGE", "SIZE", ""]);
    for stage in &explained.sizes {
        let what = if stage.shipped { "shipped" } else { "left behind" };
        table.row([stage.name.clone(), bytes(stage.bytes), what.to_owned()]);
    }
    text.push_str(&table.to_string());
    if let Some(cast_off) = explained.cast_off {
        let _infallible = writeln!(
            text,
            "The build cast off {}; {} are shipped.",
            bytes(cast_off),
            bytes(explained.ledger.bytes())
        );
    }
}

fn list(explained: &Explained<'_>) -> Table {
    let mut table = Table::new(&["SIZE", "PATH", "FROM"]);
    for (path, origin) in &explained.origins {
        let file = explained.ledger.files.get(path);
        let from = match (origin, file) {
            (Some(origin), _) => from(explained, origin),
            (None, Some(file)) => {
                explained.instruction_of(file.layer).map(|place| told(explained, place)).unwrap_or_default()
            }
            (None, None) => String::new(),
        };
        let size = file.map_or(0, |file| file.size);
        let size = if file.is_some_and(|file| file.special) { "-".to_owned() } else { bytes(size) };
        table.row([size, format!("/{}", first_line(&String::from_utf8_lossy(path))), from]);
    }
    table
}

/// Says where a file came from, in a line.
fn from(explained: &Explained<'_>, origin: &Origin) -> String {
    let mut text = maker(explained, origin);
    for hop in origin.through.iter().rev() {
        let _infallible = write!(text, ", by {}", step(explained, hop.step));
    }
    text
}

fn maker(explained: &Explained<'_>, origin: &Origin) -> String {
    let path = first_line(&String::from_utf8_lossy(&origin.path));
    match &origin.maker {
        Maker::Step(place) if origin.through.is_empty() => step(explained, *place),
        Maker::Step(place) => format!("/{path} of {}", step(explained, *place)),
        Maker::Context(None) => format!("{path} of the build context"),
        Maker::Context(Some(name)) => format!("{path} of the context {name}"),
        Maker::Archive => format!("the archive {path}"),
        Maker::Inline => "the Dockerfile itself".to_owned(),
        Maker::Fetched(address) => first_line(address),
        Maker::Image(reference) if origin.through.is_empty() => format!("the base image {reference}"),
        Maker::Image(reference) => format!("/{path} of the image {reference}"),
        Maker::Lost(place) => {
            format!("/{path} of {}, whose files are not here any more", step(explained, *place))
        }
    }
}

/// Returns a step of the build and its line.
fn step(explained: &Explained<'_>, place: usize) -> String {
    let Some(record) = explained.record() else { return String::new() };
    let step = &record.steps[place];
    let line = step.lines.map(|(first, _)| format!(" (line {first})")).unwrap_or_default();
    format!("{}{line}", short(&first_line(&step.name)))
}

fn waste(explained: &Explained<'_>, text: &mut String) {
    let mut all: Vec<(u64, String)> = Vec::new();
    for ((layer, by, removed), lost) in &explained.ledger.lost {
        if lost.bytes >= WORTH {
            all.push((lost.bytes, lost_text(explained, *layer, *by, *removed, lost)));
        }
    }
    for cache in explained.caches.iter().filter(|cache| cache.bytes >= WORTH) {
        let place = explained.instruction_of(cache.layer);
        let by = place.map(|place| named(explained, place)).unwrap_or_default();
        let what =
            format!("{}: cache of {} in /{}, left by {by}.", bytes(cache.bytes), cache.of, cache.directory);
        let advice = super::json::cache_advice(explained, cache);
        all.push((cache.bytes, format!("{what}\n  {advice}")));
    }
    if all.is_empty() {
        return;
    }
    all.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    text.push_str("\nIn vain:\n");
    for (_, line) in all {
        let _infallible = writeln!(text, "- {line}");
    }
}

fn lost_text(explained: &Explained<'_>, layer: usize, by: usize, removed: bool, lost: &Lost) -> String {
    let place = |layer: usize| explained.instruction_of(layer);
    let name = |layer: usize| place(layer).map(|place| named(explained, place)).unwrap_or_default();
    let verb = if removed { "removes" } else { "replaces" };
    let example = lost.largest.first().map(|(_, path)| first_line(&String::from_utf8_lossy(path)));
    let such = match (lost.files, example) {
        (1, Some(path)) => format!("/{path}"),
        (count, Some(path)) => format!("{count} files such as /{path}"),
        (count, None) => format!("{count} files"),
    };
    let advice = super::json::lost_advice(explained, layer, by, removed);
    format!("{}: {} {verb} {such}, which {} added.\n  {advice}", bytes(lost.bytes), name(by), name(layer))
}

/// Returns an instruction with its line, for a sentence.
fn named(explained: &Explained<'_>, place: usize) -> String {
    let text = short(&told(explained, place));
    match line(explained, place) {
        Some(line) => format!("line {line} ({text})"),
        None => format!("`{text}`"),
    }
}

/// Tells the story of a path.
pub(super) fn path(explained: &Explained<'_>, path: &[u8], origin: Option<&Origin>) -> String {
    let mut text = format!("/{}\n", first_line(&String::from_utf8_lossy(path)));
    for moment in &explained.ledger.story {
        let by = match explained.instruction_of(moment.layer) {
            Some(place) => named(explained, place),
            None => format!("layer {}", moment.layer),
        };
        let what = match moment.kind {
            MomentKind::Added => "added",
            MomentKind::Replaced => "replaced",
            MomentKind::Removed => "removed",
        };
        let entry = moment.entry.as_ref().map(|entry| {
            let size = match entry.kind {
                castoff_layer::EntryKind::File { size } => format!("{}, ", table::bytes(size)),
                _ => format!("{}, ", castoff_inspect::diff::kind_name(&entry.kind)),
            };
            format!(": {size}mode {:o}, owner {}:{}", entry.mode, entry.uid, entry.gid)
        });
        let _infallible = writeln!(text, "{what} by {by}{}", entry.unwrap_or_default());
    }
    let there = explained.ledger.story.last().is_some_and(|last| last.kind != MomentKind::Removed);
    if !there {
        text.push_str("It is not in the image.\n");
    }
    if let Some(origin) = origin {
        let _infallible = writeln!(text, "It comes from {}.", maker(explained, origin));
        for hop in origin.through.iter().rev() {
            let to = first_line(&String::from_utf8_lossy(&hop.path));
            let _infallible = writeln!(text, "  {} put it to /{to}.", step(explained, hop.step));
        }
    } else if explained.record().is_none() {
        text.push_str("No build of this image is remembered here, so no more is known.\n");
    }
    text
}
