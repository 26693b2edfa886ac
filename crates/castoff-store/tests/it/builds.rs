use std::fs;

use castoff_store::{
    BUILDS_KEPT, BuildImage, BuildOutcome, BuildRecord, BuildStep, Change, ChangeKind, Item, PruneOptions,
    Reason, StepAction, StepRead, Verdict,
};

use crate::{Kit, age_all, key, manifest_descriptor, reference};

fn step(name: &str, action: StepAction, inputs: &[usize]) -> BuildStep {
    BuildStep {
        number: Some(1),
        name: name.to_owned(),
        stage: Some("build".to_owned()),
        platform: None,
        lines: Some((2, 3)),
        action,
        parent: inputs.first().copied(),
        inputs: inputs.to_vec(),
        verdict: Verdict::Executed,
        key: Some(key(name)),
        cache: None,
        reason: None,
        message: None,
        started_ms: Some(1),
        ended_ms: Some(2),
        layer: None,
        diff_id: None,
        bytes: None,
        log: None,
        left: None,
    }
}

fn build(started_ms: i64) -> BuildRecord {
    let change = Change {
        kind: ChangeKind::File,
        name: "a".to_owned(),
        before: Some(key("old").to_string()),
        after: Some(key("new").to_string()),
    };
    let reason = Reason {
        text: "file a changed".to_owned(),
        earlier: Some(key("earlier")),
        changes: vec![change],
        left_out: 2,
    };
    let sources = vec![StepRead { from: Some(1), path: "a".to_owned(), target: None }];
    let copy =
        StepAction::Copy { sources, destination: "/".to_owned(), parents: false, unpack: false, link: false };
    BuildRecord {
        started_ms,
        ended_ms: started_ms + 5,
        outcome: BuildOutcome::Done,
        message: None,
        dockerfile: "Dockerfile".to_owned(),
        source: Some("FROM scratch\nCOPY a /\n".to_owned()),
        context: Some("/src".to_owned()),
        target: None,
        request: Some(serde_json::json!({"context": "/src"})),
        names: vec!["app".to_owned()],
        images: vec![BuildImage {
            platform: "linux/amd64".to_owned(),
            manifest: key("manifest"),
            config: key("config"),
            root: 2,
            history: vec![Some(2), None],
        }],
        stages: Vec::new(),
        secrets: Some(serde_json::json!({ "secrets": ["token"] })),
        start: Some(serde_json::json!([{ "canStart": true }])),
        steps: vec![
            step("FROM scratch", StepAction::Scratch, &[]),
            step("context", StepAction::Local { name: None }, &[]),
            BuildStep { reason: Some(reason), ..step("COPY a /", copy, &[0, 1]) },
        ],
    }
}

#[test]
fn a_build_is_read_as_it_was_written_and_listed_by_its_time() {
    let kit = Kit::new();
    assert_eq!(kit.store.build_ids().unwrap(), []);
    let second = kit.store.put_build(&build(2_000)).unwrap();
    let first = kit.store.put_build(&build(1_000)).unwrap();
    assert_eq!(kit.other().build_ids().unwrap(), [first.clone(), second]);
    assert_eq!(kit.other().build(&first).unwrap(), Some(build(1_000)));
}

#[test]
fn a_build_that_has_no_sense_is_absent_and_one_of_another_version_is_left_alone() {
    let kit = Kit::new();
    let id = kit.store.put_build(&build(1_000)).unwrap();
    let path = crate::below(&kit.path("builds")).remove(0);
    let whole = fs::read_to_string(&path).unwrap();
    let newer = whole.replacen("\"version\":1", "\"version\":2", 1);
    fs::write(&path, newer).unwrap();
    assert_eq!(kit.store.build(&id).unwrap(), None);
    assert!(path.exists());
    // Places beyond the steps, and steps that read later ones.
    let hostile =
        [whole.replace("\"root\":2", "\"root\":3"), whole.replace("\"inputs\":[0,1]", "\"inputs\":[0,2]")];
    for content in hostile.iter().map(String::as_str).chain(["", "{", &whole[..whole.len() / 2]]) {
        assert_ne!(content, whole);
        fs::write(&path, content).unwrap();
        assert_eq!(kit.store.build(&id).unwrap(), None);
        assert!(!path.exists(), "{content}");
    }
    // No other file is a build.
    fs::write(kit.path("builds/notes.json"), "{}").unwrap();
    fs::write(kit.path("builds/0123456789ab-0123456z.json"), "{}").unwrap();
    assert_eq!(kit.store.build_ids().unwrap(), []);
}

#[test]
fn the_oldest_builds_go_when_there_are_too_many() {
    let kit = Kit::new();
    let first = kit.store.put_build(&build(1_000)).unwrap();
    for number in 1..=BUILDS_KEPT as i64 {
        kit.store.put_build(&build(1_000 + number)).unwrap();
    }
    let ids = kit.store.build_ids().unwrap();
    assert_eq!(ids.len(), BUILDS_KEPT);
    assert!(!ids.contains(&first));
    // A clock that went back takes no build from its user.
    let newest = kit.store.put_build(&build(5)).unwrap();
    assert!(kit.store.build_ids().unwrap().contains(&newest));
}

// B-135
#[test]
fn a_build_keeps_what_its_steps_printed_until_it_is_pruned() {
    let kit = Kit::new();
    let log = kit.store.put_blob(b"it failed").unwrap().digest;
    let mut failed = build(1_000);
    failed.steps[2].log = Some(log);
    let id = kit.store.put_build(&failed).unwrap();
    age_all(kit.store.root(), 2);
    let nothing = |_: &castoff_store::Usage| false;
    let options = PruneOptions { filter: Some(&nothing), ..PruneOptions::default() };
    assert_eq!(kit.store.prune(&options).unwrap().removed.len(), 0);
    let removed = kit.store.prune(&PruneOptions::default()).unwrap().removed;
    let items: Vec<Item> = removed.into_iter().map(|usage| usage.item).collect();
    assert_eq!(items, [Item::Build(id), Item::Blob(log)]);
}

// B-135
#[test]
fn an_image_keeps_the_newest_build_that_it_came_out_of() {
    let kit = Kit::new();
    let manifest = kit.store.put_blob(br#"{"schemaVersion":2}"#).unwrap().digest;
    let of_image = |started_ms| {
        let mut build = build(started_ms);
        build.images[0].manifest = manifest;
        build
    };
    let older = kit.store.put_build(&of_image(1_000)).unwrap();
    let newer = kit.store.put_build(&of_image(2_000)).unwrap();
    kit.store.set_tag(&reference("app"), &manifest_descriptor(manifest)).unwrap();
    age_all(kit.store.root(), 2);
    let removed = |kit: &Kit| {
        let removed = kit.store.prune(&PruneOptions::default()).unwrap().removed;
        removed.into_iter().map(|usage| usage.item).collect::<Vec<Item>>()
    };
    assert_eq!(removed(&kit), [Item::Build(older)]);
    kit.store.remove_tag(&reference("app")).unwrap();
    assert_eq!(removed(&kit), [Item::Blob(manifest), Item::Build(newer)]);
}
