//! Why a step was not found: how what it is differs from what it was when it was last built.

use castoff_graph::{CacheKey, Difference, FileList, KeyRecipe, VertexId};
use castoff_oci::Digest;
use castoff_store::{Change, ChangeKind, Reason};

use crate::World;
use crate::driver::Shared;
use crate::lookup::{DOCUMENT_LIMIT, ReadFiles};
use crate::shared_cache;
use crate::step::StepError;

/// Changes that are kept of one step.
const CHANGES: usize = 100;

/// Longer values are cut.
const VALUE: usize = 4096;

/// Returns the reason of a step that was not looked up.
pub(crate) fn not_asked() -> Reason {
    said("earlier results are ignored (--no-cache)")
}

fn said(text: &str) -> Reason {
    Reason { text: text.to_owned(), earlier: None, changes: Vec::new(), left_out: 0 }
}

/// Says why a step was not found: how its recipe differs from that of its newest result.
pub(crate) fn reason(
    shared: &Shared<'_>,
    id: VertexId,
    slot: Digest,
    now: &KeyRecipe,
    files: &ReadFiles,
) -> Result<Option<Reason>, StepError> {
    let own = earlier(shared.world, slot)?;
    let is_own = own.is_some();
    let Some(earlier) = own.or_else(|| shared_cache::earlier(shared, id, now)) else { return Ok(None) };
    let parent = shared.graph.vertex(id).op.parent();
    let parent = parent.map(|parent| shared.graph.vertex(parent).name.clone()).unwrap_or_default();
    Ok(Some(compare(&earlier, is_own, now, &file_list(files), &parent)))
}

/// Says how a step differs from what it was under another key, when the record of that is still there.
pub(crate) fn since(
    shared: &Shared<'_>,
    id: VertexId,
    before: CacheKey,
    now: &KeyRecipe,
    files: &ReadFiles,
) -> Result<Option<Reason>, StepError> {
    let Some(earlier) = of_key(shared.world, before.0)? else { return Ok(None) };
    let parent = shared.graph.vertex(id).op.parent();
    let parent = parent.map(|parent| shared.graph.vertex(parent).name.clone()).unwrap_or_default();
    Ok(Some(compare(&earlier, true, now, &file_list(files), &parent)))
}

/// The newest step of a place before this one.
pub(crate) struct Earlier {
    pub(crate) recipe: KeyRecipe,
    /// Its key, also where the recipe does not have all that it was made of.
    pub(crate) key: CacheKey,
    /// The files that it read of local directories.
    pub(crate) files: FileList,
}

/// Returns the newest step of a place that this store has a record of.
fn earlier(world: &World, slot: Digest) -> Result<Option<Earlier>, StepError> {
    match world.store.last_key(slot) {
        Some(last) => of_key(world, last),
        None => Ok(None),
    }
}

fn of_key(world: &World, last: Digest) -> Result<Option<Earlier>, StepError> {
    let store = &world.store;
    let Some(record) = store.record(last)? else { return Ok(None) };
    let Ok(recipe) = serde_json::from_value::<KeyRecipe>(record.recipe) else { return Ok(None) };
    let files = match record.files {
        Some(digest) => store
            .read_blob(&digest, DOCUMENT_LIMIT)?
            .and_then(|bytes| FileList::parse(&bytes))
            .unwrap_or_default(),
        None => FileList::default(),
    };
    Ok(Some(Earlier { recipe, key: CacheKey(last), files }))
}

/// Returns the files as records have them.
pub(crate) fn file_list(files: &ReadFiles) -> FileList {
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    FileList {
        digests: files.digests.iter().map(|(path, digest)| (name(path), *digest)).collect(),
        modes: Some(files.modes.iter().map(|(path, mode)| (name(path), *mode)).collect()),
    }
}

/// Compares a step with an earlier one. `is_own` is whether this store remembers that one, and no shared cache;
/// `parent` is the name of the step below.
fn compare(earlier: &Earlier, is_own: bool, now: &KeyRecipe, files: &FileList, parent: &str) -> Reason {
    let Earlier { recipe: before, key, files: files_before } = earlier;
    let reason = |text: String, mut changes: Vec<Change>| {
        let left_out = changes.len().saturating_sub(CHANGES) as u64;
        changes.truncate(CHANGES);
        Reason { text, earlier: Some(key.0), changes, left_out }
    };
    if before.op != now.op {
        return reason(format!("the instruction here was a {} before", before.op), Vec::new());
    }
    let differences = now.differences(before);
    let Some(first) = differences.first() else {
        let text = match (is_own, *key == now.key()) {
            (true, _) => "its result is no longer in the store",
            (false, true) => "a shared cache knows it, but does not have its result any more",
            // Values are in no object, so those of now were put in; they are what is left.
            (false, false) => "the value of a variable changed",
        };
        return reason(text.to_owned(), Vec::new());
    };
    let knows_files = is_own || !files_before.digests.is_empty();
    let of_files = changed_files(files_before, files);
    let mut changes = Vec::new();
    for difference in &differences {
        let change = change(difference, parent);
        if !is_content(&change.name) {
            changes.push(change);
        } else if knows_files && !of_files.is_empty() {
            // The files say it better, and say it once.
            if changes.iter().all(|change| change.kind != ChangeKind::File) {
                changes.extend(of_files.iter().cloned());
            }
        } else {
            changes.push(change);
        }
    }
    let part = |difference: &Difference| change(difference, parent).name;
    let own = differences.iter().find(|difference| part(difference) != PARENT).unwrap_or(first);
    reason(text(own, knows_files, &of_files, parent), changes)
}

const PARENT: &str = "parent";

fn is_content(part: &str) -> bool {
    part.ends_with(" content")
}

/// Returns what is said of the first difference.
fn text(difference: &Difference, knows_files: bool, of_files: &[Change], parent: &str) -> String {
    let Change { name: part, before, after, .. } = change(difference, "parent");
    if is_content(&part) {
        let what = part.trim_end_matches(" content");
        return match of_files.first() {
            _ if !knows_files => format!("something changed in {what}"),
            Some(first) => file_text(first, of_files),
            None => format!("names, modes or owners changed in {what}"),
        };
    }
    if part == PARENT {
        return format!("parent step changed: {parent}");
    }
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("{part} changed from `{}` to `{}`", shorten(&before), shorten(&after))
        }
        (None, _) => format!("{part} is new"),
        (Some(_), None) => format!("{part} is gone"),
    }
}

fn file_text(first: &Change, all: &[Change]) -> String {
    let path = &first.name;
    match (&first.before, &first.after) {
        (Some(before), Some(after)) if before.starts_with("mode ") => {
            format!("the {before} of file {path} became {}", after.trim_start_matches("mode "))
        }
        (Some(_), Some(_)) => {
            let changed =
                all.iter().filter(|change| change.before.is_some() && change.after.is_some()).count();
            let others = if changed > 1 { format!(" and {} more", changed - 1) } else { String::new() };
            format!("file {path} changed{others}")
        }
        (None, _) => format!("file {path} is new"),
        (Some(_), None) => format!("file {path} is gone"),
    }
}

/// Returns a difference of recipes as it is remembered.
fn change(difference: &Difference, parent: &str) -> Change {
    let kind = |part: &str| if part == PARENT { ChangeKind::Parent } else { ChangeKind::Part };
    let name = |part: &str| if part == PARENT { parent.to_owned() } else { part.to_owned() };
    let value = |text: &str| match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    };
    let (part, before, after) = match difference {
        Difference::Changed { part, before, after } => (part, Some(value(before)), Some(value(after))),
        Difference::Added { part, after } => (part, None, Some(value(after))),
        Difference::Removed { part, before } => (part, Some(value(before)), None),
    };
    Change { kind: kind(part), name: name(part), before, after }
}

/// Returns the files that changed, then those that are new, then those that are gone.
fn changed_files(before: &FileList, now: &FileList) -> Vec<Change> {
    let change = |path: &str, before: Option<String>, after: Option<String>| Change {
        kind: ChangeKind::File,
        name: path.to_owned(),
        before,
        after,
    };
    let digest = |list: &FileList, path: &str| list.digests.get(path).map(Digest::to_string);
    let both = |path: &str| change(path, digest(before, path), digest(now, path));
    let same = |path: &String| before.digests.get(path) == now.digests.get(path);
    let known = |path: &&String| before.digests.contains_key(*path);
    let changed = now.digests.keys().filter(known).filter(|path| !same(path)).map(|path| both(path));
    let modes = now.digests.keys().filter(known).filter(|path| same(path)).filter_map(|path| {
        let (mode_before, mode_now) = (before.mode(path)?, now.mode(path)?);
        let mode = |mode: u32| Some(format!("mode {mode:o}"));
        (mode_before != mode_now).then(|| change(path, mode(mode_before), mode(mode_now)))
    });
    let added = now.digests.keys().filter(|path| !known(path)).map(|path| both(path));
    let removed =
        before.digests.keys().filter(|path| !now.digests.contains_key(*path)).map(|path| both(path));
    changed.chain(modes).chain(added).chain(removed).collect()
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 60 || text.lines().count() > 1 {
        format!("{}...", line.chars().take(57).collect::<String>())
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of a recipe, or files, by their names.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn recipe(parts: &[(&str, &str)]) -> KeyRecipe {
        let mut recipe = KeyRecipe::new("copy");
        parts.iter().for_each(|(name, value)| recipe.part(*name, *value));
        recipe
    }

    fn files(files: &[(&str, &str)]) -> FileList {
        let digest = |content: &str| Digest::of(content.trim_end_matches('*').as_bytes());
        let digests = files.iter().map(|(path, content)| ((*path).to_owned(), digest(content)));
        // A star is for a program.
        let programs = files.iter().filter(|(_, content)| content.ends_with('*'));
        let modes = programs.map(|(path, _)| ((*path).to_owned(), 0o755));
        FileList { digests: digests.collect(), modes: Some(modes.collect()) }
    }

    /// Compares and returns the text, and each change as `kind name before after`.
    fn check(
        before: (Pairs<'_>, Pairs<'_>),
        now: (Pairs<'_>, Pairs<'_>),
        is_own: bool,
    ) -> (String, Vec<String>) {
        let recipe_before = recipe(before.0);
        let key = recipe_before.key();
        let earlier = Earlier { recipe: recipe_before, key, files: files(before.1) };
        let reason = compare(&earlier, is_own, &recipe(now.0), &files(now.1), "[1/2] FROM x");
        assert_eq!(reason.earlier, Some(key.0));
        let short = |value: &Option<String>| match value {
            Some(text) => text.strip_prefix("sha256:").map_or(text.clone(), |hex| hex[..4].to_owned()),
            None => "-".to_owned(),
        };
        let line = |change: &Change| {
            format!("{:?} {} {} {}", change.kind, change.name, short(&change.before), short(&change.after))
        };
        (reason.text, reason.changes.iter().map(line).collect())
    }

    // D-311
    #[test]
    fn the_files_say_which_content_changed() {
        let now = [("source 0 content", "2"), ("parent", "p")];
        let (text, changes) = check(
            (&[("source 0 content", "1"), ("parent", "q")], &[("a", "1"), ("b", "1"), ("c", "1")]),
            (&now, &[("a", "2"), ("b", "2"), ("d", "1")]),
            true,
        );
        assert_eq!(text, "file a changed and 1 more");
        assert_eq!(
            changes,
            [
                "File a 6b86 d473",
                "File b 6b86 d473",
                "File d - 6b86",
                "File c 6b86 -",
                "Parent [1/2] FROM x q p",
            ]
        );
        // A shared cache that has no list of files, and a change that is in no file.
        let (text, changes) =
            check((&[("source 0 content", "1"), ("parent", "p")], &[]), (&now, &[("a", "1")]), false);
        assert_eq!((text.as_str(), changes.len()), ("something changed in source 0", 1));
        let (text, changes) = check(
            (&[("source 0 content", "1"), ("parent", "p")], &[("a", "1")]),
            (&now, &[("a", "1")]),
            true,
        );
        assert_eq!(text, "names, modes or owners changed in source 0");
        assert_eq!(changes, ["Part source 0 content 1 2"]);
    }

    // D-312
    #[test]
    fn a_mode_that_changed_is_told_with_its_file() {
        let parts = |content| [("source 0 content", content), ("parent", "p")];
        let (text, changes) =
            check((&parts("1"), &[("a", "1"), ("b", "1")]), (&parts("2"), &[("a", "1"), ("b", "1*")]), true);
        assert_eq!(text, "the mode 644 of file b became 755");
        assert_eq!(changes, ["File b mode 644 mode 755"]);
        // What changed its content changed more than its mode.
        let (text, changes) =
            check((&parts("1"), &[("a", "1"), ("b", "2")]), (&parts("2"), &[("a", "1*"), ("b", "1*")]), true);
        assert_eq!((text.as_str(), changes.len()), ("file b changed and 1 more", 2));
    }

    // D-307
    #[test]
    fn parts_say_what_they_were_and_are() {
        let (text, changes) = check(
            (&[("argument 0", "make"), ("user", "a"), ("parent", "p")], &[]),
            (&[("argument 0", "make all"), ("network", "none"), ("parent", "p")], &[]),
            true,
        );
        assert_eq!(text, "argument 0 changed from `make` to `make all`");
        assert_eq!(changes, ["Part argument 0 make make all", "Part network - none", "Part user a -"]);
        let (text, changes) = check((&[("parent", "p")], &[]), (&[("parent", "q")], &[]), true);
        assert_eq!(
            (text.as_str(), &changes[..]),
            ("parent step changed: [1/2] FROM x", &["Parent [1/2] FROM x p q".to_owned()][..])
        );
        let (text, changes) = check((&[("parent", "p")], &[]), (&[("parent", "p")], &[]), true);
        assert_eq!((text.as_str(), changes.len()), ("its result is no longer in the store", 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<(String, String)> =
            (0..CHANGES + 7).map(|number| (format!("f{number}"), "x".to_owned())).collect();
        let earlier = Earlier {
            recipe: recipe(&[("source 0 content", "1")]),
            key: recipe(&[]).key(),
            files: FileList::default(),
        };
        let digests = many.into_iter().map(|(path, content)| (path, Digest::of(content.as_bytes())));
        let files = FileList { digests: digests.collect(), modes: None };
        let now = recipe(&[("source 0 content", "2"), ("destination", &"y".repeat(VALUE + 1))]);
        let reason = compare(&earlier, true, &now, &files, "");
        assert_eq!((reason.changes.len(), reason.left_out), (CHANGES, 8));
        let earlier = Earlier { recipe: recipe(&[]), key: recipe(&[]).key(), files: FileList::default() };
        let reason = compare(&earlier, true, &now, &FileList::default(), "");
        assert_eq!(reason.changes[1].after.as_ref().map(String::len), Some(VALUE + 3));
    }
}
