//! What layers do to each other, and where files came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use castoff_inspect::explain::{Ledger, Maker, MomentKind, StageView, Tracer, package_caches};
use castoff_layer::{Entry, EntryKind, TarIndex, TarOptions, TarWriter, Timestamp, Tree, View};
use castoff_store::{Boot, BuildOutcome, BuildRecord, BuildStep, StepAction, StepRead, Store, Verdict};

/// Describes a layer: `d path`, `o path` (opaque), `f path size`, `h path target`, `w path` (whiteout).
fn layer(lines: &[&str]) -> Arc<Tree> {
    let mut writer = TarWriter::new(tempfile::tempfile().unwrap(), TarOptions::default());
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let content = match fields[0] {
            "f" => vec![b'x'; fields[2].parse().unwrap()],
            _ => Vec::new(),
        };
        let kind = match fields[0] {
            "d" => EntryKind::Directory { opaque: false },
            "o" => EntryKind::Directory { opaque: true },
            "f" => EntryKind::File { size: content.len() as u64 },
            "h" => EntryKind::Hardlink { target: fields[2].into() },
            _ => EntryKind::Whiteout,
        };
        let entry = Entry {
            path: fields[1].into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: BTreeMap::new(),
        };
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    let file = writer.finish().unwrap();
    let index = TarIndex::build(&file).unwrap();
    Arc::new(Tree::tar(file, Arc::new(index)))
}

fn view(layers: &[&[&str]]) -> View {
    View::new(layers.iter().map(|lines| layer(lines)).collect())
}

/// Prints `added shadowed deleted lost` of each layer.
fn sums(ledger: &Ledger) -> Vec<String> {
    let sums = ledger.layers.iter();
    sums.map(|sums| format!("{} {} {} {}", sums.added, sums.shadowed, sums.deleted, sums.lost)).collect()
}

#[test]
fn what_is_replaced_and_removed_is_counted_once() {
    let view = view(&[
        &["d a", "f a/1 10", "f a/2 20", "f b 5", "h c b", "d e", "f e/x 7"],
        &["f a/1 11", "w b", "d e", "f e/x 7"],
        &["w a", "f e 1"],
        &["o f", "f a/1 3"],
    ]);
    let ledger = Ledger::take(&view, None).unwrap();
    assert_eq!(sums(&ledger), ["42 0 0 42", "18 17 5 18", "1 0 38 0", "3 0 0 0"]);
    assert_eq!((ledger.bytes(), ledger.wasted()), (64, 60));
    let files: Vec<(&str, usize)> =
        ledger.files.iter().map(|(path, file)| (std::str::from_utf8(path).unwrap(), file.layer)).collect();
    assert_eq!(files, [("a/1", 3), ("c", 0), ("e", 2)]);
    let removed = &ledger.lost[&(0, 2, true)];
    assert_eq!((removed.bytes, removed.files, removed.largest[0].0), (20, 1, 20));
    let replaced = &ledger.lost[&(0, 1, false)];
    assert_eq!((replaced.bytes, replaced.files), (17, 2));
}

#[test]
fn the_story_of_a_path_is_told_in_order() {
    let view = view(&[&["f a/1 10"], &["f a/1 11"], &["w a"], &["f a/1 3"], &["o a"], &["f a/2 1"]]);
    let story = |path: &[u8]| -> Vec<(usize, MomentKind)> {
        let ledger = Ledger::take(&view, Some(path)).unwrap();
        ledger.story.iter().map(|moment| (moment.layer, moment.kind)).collect()
    };
    use MomentKind::{Added, Removed, Replaced};
    assert_eq!(story(b"a/1"), [(0, Added), (1, Replaced), (2, Removed), (3, Added), (4, Removed)]);
    assert_eq!(story(b"a/2"), [(5, Added)]);
    assert_eq!(story(b"b"), []);
}

#[test]
fn caches_of_package_managers_are_found() {
    let view =
        view(&[&["f var/lib/apt/lists/x 100"], &["f root/.cache/pip/http/a 30", "f root/.cache/pip/b 20"]]);
    let caches = package_caches(&Ledger::take(&view, None).unwrap());
    let told: Vec<String> = caches
        .iter()
        .map(|cache| {
            format!("{} {} {} {} {}", cache.of, cache.directory, cache.layer, cache.bytes, cache.files)
        })
        .collect();
    assert_eq!(told, ["apt var/lib/apt/lists 0 100 1", "pip root/.cache/pip 1 50 2"]);
}

fn step(action: StepAction, parent: Option<usize>) -> BuildStep {
    BuildStep {
        number: None,
        name: String::new(),
        stage: None,
        platform: None,
        lines: None,
        action,
        parent,
        inputs: parent.into_iter().collect(),
        verdict: Verdict::Executed,
        key: None,
        cache: None,
        reason: None,
        message: None,
        started_ms: None,
        ended_ms: None,
        layer: None,
        diff_id: None,
        bytes: None,
        log: None,
        left: None,
    }
}

fn copy(sources: &[(Option<usize>, &str)], destination: &str) -> StepAction {
    let read = |(from, path): &(Option<usize>, &str)| StepRead {
        from: *from,
        path: (*path).to_owned(),
        target: None,
    };
    StepAction::Copy {
        sources: sources.iter().map(read).collect(),
        destination: destination.to_owned(),
        parents: false,
        unpack: false,
        link: false,
    }
}

// D-199, D-200, D-201, D-203
#[test]
fn a_file_is_followed_through_every_stage_to_what_made_it() {
    let steps = vec![
        step(
            StepAction::Image { reference: "base".to_owned(), manifest: castoff_oci::Digest::of(b"") },
            None,
        ),
        step(StepAction::Run { mounts: Vec::new() }, Some(0)),
        step(copy(&[(Some(1), "/out")], "/mid/"), Some(0)),
        step(StepAction::Scratch, None),
        step(copy(&[(Some(2), "/mid/bin/*"), (Some(2), "/etc/os"), (None, "note")], "/app/"), Some(3)),
        // Of a step of which nothing is left.
        step(copy(&[(Some(3), "/gone")], "/lost"), Some(4)),
    ];
    let build = BuildRecord {
        started_ms: 0,
        ended_ms: 0,
        outcome: BuildOutcome::Done,
        message: None,
        dockerfile: String::new(),
        source: None,
        context: None,
        target: None,
        request: None,
        names: Vec::new(),
        images: Vec::new(),
        stages: Vec::new(),
        secrets: None,
        start: None,
        steps,
    };
    let base: &[&str] = &["f etc/os 1"];
    let made: &[&str] = &["f out/bin/tool 1", "f out/lib 1"];
    let copied: &[&str] = &["f mid/bin/tool 1", "f mid/lib 1"];
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), &Boot { boot_id: "b".to_owned() }).unwrap();
    let mut stages = |step: usize| match step {
        1 => Some(StageView { view: view(&[base, made]), makers: vec![None, Some(1)] }),
        2 => Some(StageView { view: view(&[base, copied]), makers: vec![None, Some(2)] }),
        _ => None,
    };
    let mut tracer = Tracer::new(&build, &store, &mut stages);
    let mut check = |step: usize, path: &str, maker: Maker, origin: &str, through: &[usize]| {
        let found = tracer.trace(step, path.as_bytes()).unwrap();
        let hops: Vec<usize> = found.through.iter().map(|hop| hop.step).collect();
        let shown = String::from_utf8(found.path).unwrap();
        assert_eq!((found.maker, shown.as_str(), &hops[..]), (maker, origin, through), "{path}");
    };
    check(4, "app/tool", Maker::Step(1), "out/bin/tool", &[4, 2]);
    check(4, "app/os", Maker::Image("base".to_owned()), "etc/os", &[4]);
    check(4, "app/note", Maker::Inline, "note", &[4]);
    check(5, "lost", Maker::Lost(3), "gone", &[5]);
    check(1, "out/lib", Maker::Step(1), "out/lib", &[]);
}
