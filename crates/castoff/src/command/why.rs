//! `castoff why`.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use castoff_inspect::builds::{
    Followers, Reader, StepName, causes, find_build, find_step, followers, readers,
};
use castoff_layer::{Ownership, Tree, View};
use castoff_oci::Digest;
use castoff_solver::World;
use castoff_solver::export::image::rfc3339;
use castoff_store::{BuildId, BuildRecord, CacheRecord, Change, ChangeKind, Verdict};
use serde_json::{Value, json};

use super::Context;
use super::builds::{first_line, is_work, seconds, step_json, took};
use crate::args::{ReportFormat, WhyArgs};
use crate::table;

/// Changes that are shown for people.
const SHOWN: usize = 20;

pub(super) fn why(args: &WhyArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let session = context.session()?;
    let world = &session.world;
    let (id, build) = find_build(&world.store, args.build.as_deref().unwrap_or("@last"))?;
    let file = in_context(&build, &args.subject)?;
    let step = if args.file { None } else { Some(find_step(&build, &args.subject)) };
    let answer = match step {
        Some(Ok((place, StepName::Place))) => of_step(&build, &id, place, world)?,
        Some(found) if args.step => of_step(&build, &id, found?.0, world)?,
        found => {
            // A name of a file is often a piece of an instruction, too; what exists is meant.
            let read = readers(&world.store, &build, &file.relative, file.is_link)?;
            match found {
                Some(Ok((place, StepName::Text))) if read.is_empty() && !file.exists => {
                    of_step(&build, &id, place, world)?
                }
                Some(Err(error)) if read.is_empty() && !file.exists => return Err(error.into()),
                _ => of_file(&build, &id, &file, &read)?,
            }
        }
    };
    super::print(&match args.format {
        ReportFormat::Json => format!("{:#}\n", answer.json),
        ReportFormat::Text => answer.text,
    })
}

struct Answer {
    text: String,
    json: Value,
}

/// Returns a step for people: its number, name and line.
fn named(build: &BuildRecord, place: usize) -> String {
    let step = &build.steps[place];
    let number = step.number.map(|number| format!("#{number} ")).unwrap_or_default();
    let line = step.lines.map(|(first, _)| format!(" (line {first})")).unwrap_or_default();
    format!("{number}{}{line}", first_line(&step.name))
}

fn of_step(build: &BuildRecord, id: &BuildId, place: usize, world: &World) -> anyhow::Result<Answer> {
    let now = (world.clock)();
    let step = &build.steps[place];
    let record = |key: Option<Digest>| -> anyhow::Result<Option<CacheRecord>> {
        Ok(key.map(|key| world.store.record(key)).transpose()?.flatten())
    };
    let earlier = record(step.reason.as_ref().and_then(|reason| reason.earlier))?;
    let own = record(step.key)?;
    let causes = causes(build, place);
    let followers = followers(build, &[place]);
    let mut text = format!("{}\n", named(build, place));
    let lasted = took(step).map(seconds).unwrap_or_default();
    match step.verdict {
        Verdict::Executed | Verdict::Cancelled | Verdict::Failed if is_work(step) => {
            let what = match step.verdict {
                Verdict::Executed => format!("It ran in {lasted}"),
                Verdict::Failed => format!("It ran and failed after {lasted}"),
                _ => format!("It ran and was stopped after {lasted}"),
            };
            match &step.reason {
                Some(reason) => writeln!(text, "{what}, because {}.", because(&reason.text))?,
                None => writeln!(text, "{what}: no earlier result of a step in its place is known.")?,
            }
        }
        Verdict::Executed => writeln!(text, "It took {lasted}; nothing is run for it.")?,
        Verdict::Failed => writeln!(text, "It failed after {lasted}.")?,
        Verdict::Cancelled => {
            writeln!(text, "It was stopped: another step failed, or somebody stopped the build.")?
        }
        Verdict::NotReached => {
            writeln!(text, "It never began: something before it failed, or nothing needed it.")?
        }
        Verdict::Cached => text.push_str(&cached(build, place, own.as_ref(), now)),
    }
    if let Some(message) = &step.message {
        let name = step.number.map(|number| format!("#{number}")).unwrap_or_default();
        writeln!(text, "{}\nIts log: castoff log '{name}'", first_line(message))?;
    }
    if let Some(reason) = &step.reason {
        for change in reason.changes.iter().take(SHOWN) {
            writeln!(text, "  {}", change_text(change))?;
        }
        let more = reason.changes.len().saturating_sub(SHOWN) as u64 + reason.left_out;
        if more > 0 {
            writeln!(text, "  and {more} more")?;
        }
        if let Some(key) = reason.earlier {
            let made = match &earlier {
                Some(record) => made(record, now),
                None => "which is not in the store any more".to_owned(),
            };
            writeln!(text, "Compared with the result {}, {made}.", &key.hex()[..12])?;
        }
    }
    if let Some(first) = causes.last().filter(|_| causes.len() > 1) {
        let why = build.steps[*first].reason.as_ref().map(|reason| format!(": {}", because(&reason.text)));
        writeln!(text, "It began with {}{}.", named(build, *first), why.unwrap_or_default())?;
    }
    list_followers(&mut text, build, &followers, "When it runs again, so do:")?;
    let record_json = |record: &CacheRecord| {
        json!({
            "createdAt": rfc3339(record.created_ms),
            "durationMs": record.duration_ms,
            "cache": record.cache,
        })
    };
    let json = json!({
        "build": id.as_str(),
        "step": step_json(build, place),
        "record": own.as_ref().map(record_json),
        "earlier": earlier.as_ref().map(record_json),
        "causes": causes,
        "runsAgain": followers.certain,
        "mayRunAgain": followers.possible,
    });
    Ok(Answer { text, json })
}

/// Returns the text of a reason as it stands after "because".
fn because(text: &str) -> &str {
    text.trim_end_matches('.')
}

/// Says when and where a result was made.
fn made(record: &CacheRecord, now: i64) -> String {
    let ago = table::ago(Some(&rfc3339(record.created_ms)), now);
    let place = match &record.cache {
        Some(cache) => format!("by the machine that put it into {cache}"),
        None => "on this machine".to_owned(),
    };
    format!("made {ago} in {} {place}", seconds(i64::try_from(record.duration_ms).unwrap_or(i64::MAX)))
}

fn cached(build: &BuildRecord, place: usize, record: Option<&CacheRecord>, now: i64) -> String {
    let step = &build.steps[place];
    if !is_work(step) {
        return "It was there; nothing is run for it.\n".to_owned();
    }
    let place = match &step.cache {
        Some(cache) => format!("in {cache}"),
        None => "in the store".to_owned(),
    };
    let made = record.map(|record| format!(", {}", made(record, now))).unwrap_or_default();
    format!("It did not run: its result was {place}{made}.\n")
}

fn change_text(change: &Change) -> String {
    let short = |value: &str| match value.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 => format!("sha256:{}", &hex[..12]),
        _ => first_line(value).chars().take(200).collect(),
    };
    let what = match change.kind {
        ChangeKind::File => format!("file {}", first_line(&change.name)),
        ChangeKind::Parent => return format!("parent step: {}", first_line(&change.name)),
        ChangeKind::Part => first_line(&change.name),
    };
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{what}: {} -> {}", short(before), short(after)),
        (None, Some(after)) => format!("{what}: new, {}", short(after)),
        (Some(before), None) => format!("{what}: gone, was {}", short(before)),
        (None, None) => what,
    }
}

fn list_followers(
    text: &mut String,
    build: &BuildRecord,
    followers: &Followers,
    heading: &str,
) -> std::fmt::Result {
    for (heading, places) in
        [(heading, &followers.certain), ("And if what those make becomes different:", &followers.possible)]
    {
        if !places.is_empty() {
            writeln!(text, "{heading}")?;
        }
        for place in places {
            writeln!(text, "  {}", named(build, *place))?;
        }
    }
    Ok(())
}

/// A file as the user named it.
struct ContextFile {
    /// Its path in the build context.
    relative: String,
    /// Whether it is there now.
    exists: bool,
    /// Whether it is a symbolic link.
    is_link: bool,
    /// The context, when it is a directory.
    context: Option<PathBuf>,
}

/// Takes a path for one in the build context: relative to the working directory when that leads there, else as
/// it is.
fn in_context(build: &BuildRecord, text: &str) -> anyhow::Result<ContextFile> {
    let Some(context) = build.context.as_ref().map(PathBuf::from) else {
        return Ok(ContextFile { relative: text.to_owned(), exists: false, is_link: false, context: None });
    };
    let from_here = plain(&std::env::current_dir()?.join(text));
    let candidates = [from_here.strip_prefix(&context).ok().map(Path::to_owned), Some(PathBuf::from(text))];
    let there = |path: &PathBuf| path.is_relative() && context.join(path).symlink_metadata().is_ok();
    let found = candidates.iter().flatten().find(|path| !path.as_os_str().is_empty() && there(path));
    let path = found.or(candidates[0].as_ref()).cloned().unwrap_or_else(|| PathBuf::from(text));
    Ok(ContextFile {
        relative: path.to_string_lossy().into_owned(),
        exists: found.is_some(),
        is_link: found.is_some_and(|path| context.join(path).is_symlink()),
        context: Some(context),
    })
}

/// Returns a path without `.` and `..`, no symbolic link followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn of_file(build: &BuildRecord, id: &BuildId, file: &ContextFile, read: &[Reader]) -> anyhow::Result<Answer> {
    let places: Vec<usize> = read.iter().map(|reader| reader.step).collect();
    let followers = followers(build, &places);
    let now = digest_now(file)?;
    let then = read.iter().find_map(|reader| reader.digest);
    let path = first_line(&file.relative);
    let mut text = String::new();
    if read.is_empty() {
        writeln!(text, "No step of that build reads {path}.")?;
        writeln!(text, "Either no COPY, ADD or mount names it, or an ignore file hides it.")?;
    } else {
        writeln!(text, "{path} is read by:")?;
        for place in &places {
            writeln!(text, "  {}", named(build, *place))?;
        }
        list_followers(&mut text, build, &followers, "A change of it also runs:")?;
        match (then, now) {
            (Some(then), Some(now)) if then == now => writeln!(text, "It is as it was in that build.")?,
            (Some(_), Some(_)) => writeln!(text, "It has changed since: the next build runs these steps.")?,
            (Some(_), None) if file.context.is_some() => writeln!(text, "It is not there any more.")?,
            _ => {}
        }
    }
    let readers = read.iter().map(|reader| {
        json!({
            "step": step_json(build, reader.step),
            "digest": reader.digest.map(|digest| digest.to_string()),
        })
    });
    let json = json!({
        "build": id.as_str(),
        "file": file.relative,
        "digest": now.map(|digest| digest.to_string()),
        "changed": then.zip(now).map(|(then, now)| then != now),
        "readers": readers.collect::<Vec<_>>(),
        "runsAgain": followers.certain,
        "mayRunAgain": followers.possible,
    });
    Ok(Answer { text, json })
}

/// Returns the digest that a file of the context has now, as keys have it; what is no file has none.
fn digest_now(file: &ContextFile) -> anyhow::Result<Option<Digest>> {
    let Some(context) = file.context.as_ref().filter(|_| file.exists) else { return Ok(None) };
    let view = View::new(vec![Tree::directory(context, None, Ownership::Keep)?.into()]);
    let path = castoff_graph::pattern::clean(Path::new(&file.relative).as_os_str().as_bytes());
    match view.lookup(&path)? {
        Some(node) if matches!(node.entry.kind, castoff_layer::EntryKind::File { .. }) => {
            Ok(castoff_solver::copy::content_digests(&view, &[&node])?.pop())
        }
        _ => Ok(None),
    }
}
