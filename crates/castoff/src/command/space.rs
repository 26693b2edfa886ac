//! `castoff du` and `castoff prune`.

use std::io::{self, BufRead as _, IsTerminal as _};

use castoff_store::{Item, PruneOptions, Usage};
use serde_json::json;

use super::Context;
use crate::args::{DuArgs, PruneArgs, fields};
use crate::exit;
use crate::session::SessionOptions;
use crate::table::{self, Table};

pub(super) fn du(args: &DuArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.open(SessionOptions { jobs: None, lease: false })?;
    let now = (session.world.clock)();
    let filters = filters(&args.filter)?;
    let mut usage = session.world.store.usage()?;
    usage.retain(|item| filters.iter().all(|filter| filter.fits(item, now)));
    if args.format.as_deref() == Some("json") {
        let rows: String = usage
            .iter()
            .map(|item| {
                let row = json!({
                    "ID": name(&item.item),
                    "Type": kind(&item.item),
                    "Size": item.size,
                    "CreatedAt": item.created_ms,
                    "LastUsedAt": item.last_used_ms,
                    "InUse": item.in_use,
                    "Shared": item.shared,
                    "Mutable": item.mutable,
                    "Reclaimable": item.is_reclaimable(),
                    "Description": item.description,
                });
                format!("{row}\n")
            })
            .collect();
        return super::print(&rows);
    }
    if let Some(other) = args.format.as_deref().filter(|format| *format != "table") {
        anyhow::bail!("format `{other}` is not supported yet: table or json");
    }
    let mut table = if args.verbose {
        Table::new(&["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", "TYPE", "DESCRIPTION"])
    } else {
        Table::new(&["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"])
    };
    for item in &usage {
        let mark = format!("{}{}", if item.mutable { "*" } else { "" }, if item.shared { "+" } else { "" });
        let last = jiff::Timestamp::from_millisecond(item.last_used_ms).ok().map(|time| time.to_string());
        let mut row = vec![
            format!("{}{mark}", name(&item.item)),
            item.is_reclaimable().to_string(),
            table::bytes(item.size),
            table::ago(last.as_deref(), now),
        ];
        if args.verbose {
            row.extend([kind(&item.item).to_owned(), item.description.clone()]);
        }
        table.row(row);
    }
    let sum = |keep: &dyn Fn(&Usage) -> bool| -> u64 {
        usage.iter().filter(|item| keep(item)).map(|item| item.size).sum()
    };
    let totals = format!(
        "Shared:\t\t{}\nPrivate:\t{}\nReclaimable:\t{}\nTotal:\t\t{}\n",
        table::bytes(sum(&|item| item.shared)),
        table::bytes(sum(&|item| !item.shared)),
        table::bytes(sum(&Usage::is_reclaimable)),
        table::bytes(sum(&|_| true)),
    );
    super::print(&format!("{table}{totals}"))
}

fn name(item: &Item) -> String {
    match item {
        Item::Tag(reference) | Item::Pulled(reference) => reference.familiar(),
        Item::Build(id) => id.to_string(),
        Item::Record(key) => key.hex()[..24].to_owned(),
        Item::Layer(layer) => layer.to_string().chars().take(24).collect(),
        Item::Blob(digest) => digest.hex()[..24].to_owned(),
        Item::CacheMount { id, index } => format!("{id}#{index}"),
        Item::Internal(name) => name.clone(),
    }
}

/// B-119.
fn kind(item: &Item) -> &'static str {
    match item {
        Item::Tag(_) | Item::Pulled(_) => "image",
        Item::Record(_) | Item::Build(_) | Item::Layer(_) | Item::Blob(_) => "regular",
        Item::CacheMount { .. } => "exec.cachemount",
        Item::Internal(_) => "internal",
    }
}

/// A filter of B-136.
struct Filter {
    key: String,
    negated: bool,
    value: String,
}

impl Filter {
    fn fits(&self, item: &Usage, now: i64) -> bool {
        let truth = |fact: bool| fact == (self.value.is_empty() || self.value == "true");
        let fits = match self.key.as_str() {
            "type" => kind(&item.item) == self.value,
            "id" => name(&item.item) == self.value,
            "description" => item.description == self.value,
            "inuse" => truth(item.in_use),
            "mutable" => truth(item.mutable),
            "immutable" => truth(!item.mutable),
            "shared" => truth(item.shared),
            "private" => truth(!item.shared),
            "until" => duration_ms(&self.value).is_some_and(|limit| now - item.last_used_ms > limit),
            _ => true,
        };
        fits != self.negated
    }
}

const FILTER_KEYS: [&str; 9] =
    ["type", "id", "description", "inuse", "mutable", "immutable", "shared", "private", "until"];

fn filters(texts: &[String]) -> anyhow::Result<Vec<Filter>> {
    let parse = |text: &String| {
        if text.contains("~=") {
            anyhow::bail!("filter `{text}`: regular expressions are not supported yet");
        }
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (key, negated) = match key.strip_suffix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        if !FILTER_KEYS.contains(&key) {
            anyhow::bail!("filter `{text}`: the keys are {}", FILTER_KEYS.join(", "));
        }
        if key == "until" && duration_ms(value).is_none() {
            anyhow::bail!("filter `{text}`: expected a duration such as 24h");
        }
        Ok(Filter { key: key.to_owned(), negated, value: value.to_owned() })
    };
    texts.iter().map(parse).collect()
}

/// Reads a Go duration of hours, minutes and seconds.
fn duration_ms(text: &str) -> Option<i64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let (factor, length) = match unit.as_bytes() {
            [b'm', b's', ..] => (1.0, 2),
            [b'h', ..] => (3_600_000.0, 1),
            [b'm', ..] => (60_000.0, 1),
            [b's', ..] => (1000.0, 1),
            _ => return None,
        };
        total += number * factor;
        rest = &unit[length..];
    }
    (!text.is_empty()).then_some(total as i64)
}

pub(super) fn prune(args: &PruneArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    if !args.force {
        if !io::stdin().is_terminal() {
            anyhow::bail!("refusing to remove anything without being asked on a terminal: give --force");
        }
        super::remark("This removes what no image needs. Go on? [y/N]");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Ok(exit::FAILURE);
        }
    }
    let session = context.open(SessionOptions { jobs: None, lease: false })?;
    let now = (session.world.clock)();
    let filters = filters(&args.filter)?;
    let size = |flag: &str, text: &Option<String>| -> anyhow::Result<Option<u64>> {
        text.as_deref()
            .map(|text| {
                fields::size(text)
                    .map_err(|error| anyhow::anyhow!("invalid value `{text}` for `--{flag}`: {error}"))
            })
            .transpose()
    };
    let fits = |item: &Usage| filters.iter().all(|filter| filter.fits(item, now));
    let options = PruneOptions {
        max_used_space: size("max-used-space", &args.max_used_space)?,
        min_free_space: size("min-free-space", &args.min_free_space)?,
        reserved_space: size("reserved-space", &args.reserved_space)?.unwrap_or(0),
        internal: args.all,
        filter: if filters.is_empty() { None } else { Some(&fits) },
        ..PruneOptions::default()
    };
    let pruned = session.world.store.prune(&options)?;
    let mut text = String::new();
    for item in &pruned.removed {
        text.push_str(&if args.verbose {
            format!("{}\t{}\t{}\n", name(&item.item), table::bytes(item.size), item.description)
        } else {
            format!("{}\n", name(&item.item))
        });
    }
    if pruned.beside_builds {
        super::remark("note: a build is running, so what it may use was kept");
    }
    super::print(&format!("{text}Total:\t{}\n", table::bytes(pruned.bytes)))
}
