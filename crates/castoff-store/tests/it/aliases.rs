use std::fs;

use castoff_oci::{Descriptor, DiffId, Manifest, MediaType, Raw};
use castoff_store::{Item, LayerDiff, LayerId, PruneOptions, RecordOutcome, Store};

use crate::{Kit, age_all, below, key, open, record, reference};

fn diff_id(name: &str) -> DiffId {
    DiffId(key(name))
}

fn of_diff(name: &str) -> LayerId {
    LayerId::of_diff(diff_id(name))
}

fn diff(name: &str) -> LayerDiff {
    LayerDiff { diff_id: diff_id(name), size: 7 }
}

/// Stores a body of a run whose content is `name`.
fn run(store: &Store, name: &str) -> LayerId {
    let id = store.new_layer_id();
    let active = store.prepare_layer().unwrap();
    fs::write(active.fs().join("file"), name).unwrap();
    active.commit(&id).unwrap();
    id
}

/// Stores an image as a build leaves it: uncompressed layers, of which there is no blob.
fn image(store: &Store, name: &str, diff_ids: &[DiffId], has_config: bool) -> Descriptor {
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Labels": { "name": name } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = match has_config {
        true => store.put_blob(config.to_string().as_bytes()).unwrap().digest,
        false => key("no such config"),
    };
    let layers = diff_ids.iter().map(|diff_id| Descriptor::new(MediaType::OciLayer, diff_id.0, 7)).collect();
    let manifest = Raw::new(Manifest::oci(Descriptor::new(MediaType::OciConfig, config, 1), layers));
    let manifest = store.put_blob(manifest.bytes()).unwrap();
    Descriptor::new(MediaType::OciManifest, manifest.digest, manifest.size)
}

fn prune(store: &Store) -> Vec<Item> {
    store.prune(&PruneOptions::default()).unwrap().removed.into_iter().map(|usage| usage.item).collect()
}

#[test]
fn the_layer_of_a_run_is_found_by_its_diff_id() {
    let kit = Kit::new();
    let id = run(&kit.store, "one");
    assert_eq!(kit.store.layer_dir(&of_diff("one")), None);
    kit.store.set_layer_diff(&id, diff("one")).unwrap();
    let other = kit.other();
    assert_eq!(other.layer_dir(&of_diff("one")), kit.store.layer_dir(&id));
    assert_eq!(other.layer_diff(&of_diff("one")), Some(diff("one")));
    assert_eq!(other.layer_dir(&of_diff("two")), None);
    // A second body is not needed.
    let path = other.prepare_layer().unwrap().commit(&of_diff("one")).unwrap();
    assert_eq!(Some(path), kit.store.layer_dir(&id));
    assert_eq!(fs::read_dir(kit.path("layers")).unwrap().count(), 1);
}

#[test]
fn a_layer_that_is_named_by_its_diff_id_has_no_alias() {
    let kit = Kit::new();
    kit.store.set_layer_diff(&of_diff("base"), diff("base")).unwrap();
    assert!(!kit.path("aliases").exists());
}

#[test]
fn an_alias_is_not_believed_against_the_layer() {
    let kit = Kit::new();
    let id = run(&kit.store, "one");
    kit.store.set_layer_diff(&id, diff("wrong")).unwrap();
    kit.store.set_layer_diff(&id, diff("right")).unwrap();
    assert_eq!(kit.store.layer_dir(&of_diff("wrong")), None);
    assert_eq!(kit.store.layer_diff(&of_diff("wrong")), None);
    assert!(kit.store.layer_dir(&of_diff("right")).is_some());
    // The body does not keep it either.
    kit.store.put_record(key("step"), &record(RecordOutcome::Layer(id))).unwrap();
    kit.store.prune(&PruneOptions { filter: Some(&is_internal), ..PruneOptions::default() }).unwrap();
    assert_eq!(below(&kit.path("aliases")).into_iter().filter(|path| path.is_file()).count(), 1);
    // What is not the name of a layer is no alias.
    let hostile = kit.path(&format!("aliases/{}/{}", &key("x").hex()[..2], key("x").hex()));
    fs::create_dir_all(hostile.join("..%2f..")).unwrap();
    fs::write(hostile.join("etc"), b"").unwrap();
    assert_eq!(kit.store.layer_dir(&of_diff("x")), None);
    kit.store.usage().unwrap();
}

fn is_internal(usage: &castoff_store::Usage) -> bool {
    matches!(usage.item, Item::Internal(_))
}

#[test]
fn an_alias_finds_the_body_after_the_memo_is_lost() {
    let kit = Kit::new();
    let id = run(&kit.store, "one");
    kit.store.set_layer_diff(&id, diff("one")).unwrap();
    let named = image(&kit.store, "app", &[diff_id("one")], true);
    kit.store.set_tag(&reference("app"), &named).unwrap();
    fs::remove_file(kit.path(&format!("diffs/{id}.json"))).unwrap();
    assert!(kit.store.layer_dir(&of_diff("one")).is_some());
    assert_eq!(kit.store.layer_diff(&of_diff("one")), None);
    prune(&kit.store);
    assert!(kit.store.layer_dir(&of_diff("one")).is_some());
}

#[test]
fn runs_that_gave_the_same_layer_stand_in_for_each_other() {
    let kit = Kit::new();
    let ids = [run(&kit.store, "same"), run(&kit.store, "same")];
    for id in &ids {
        kit.store.set_layer_diff(id, diff("same")).unwrap();
    }
    for gone in &ids {
        assert!(kit.store.layer_dir(&of_diff("same")).is_some());
        assert_eq!(kit.store.layer_diff(&of_diff("same")), Some(diff("same")));
        fs::remove_dir_all(kit.path(&format!("layers/{gone}"))).unwrap();
        fs::remove_file(kit.path(&format!("diffs/{gone}.json"))).unwrap();
    }
    assert_eq!(kit.store.layer_dir(&of_diff("same")), None);
    assert_eq!(kit.store.layer_diff(&of_diff("same")), None);
    // Without their layers the aliases go, and so do their directories.
    assert_eq!(prune(&kit.store).len(), 2);
    assert_eq!(kit.store.usage().unwrap(), []);
    assert!(!kit.path(&format!("aliases/{}/{}", &key("same").hex()[..2], key("same").hex())).exists());
}

fn check_image_keeps_bodies(name: &str, has_config: bool, set: fn(&Store, &Descriptor), unset: fn(&Kit)) {
    let kit = Kit::new();
    let kept: Vec<LayerId> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let id = run(&kit.store, name);
            kit.store.set_layer_diff(&id, diff(name)).unwrap();
            kit.store.put_record(key(name), &record(RecordOutcome::Layer(id.clone()))).unwrap();
            id
        })
        .collect();
    let other = run(&kit.store, "other");
    kit.store.set_layer_diff(&other, diff("other")).unwrap();
    let named = image(&kit.store, name, &[diff_id("one"), diff_id("two")], has_config);
    set(&kit.store, &named);
    for key in [key("one"), key("two")] {
        assert!(kit.store.remove_record(key).unwrap());
    }
    let day = std::time::Duration::from_secs(24 * 3600);
    kit.store.prune(&PruneOptions { keep_duration: Some(day), ..PruneOptions::default() }).unwrap();
    if has_config {
        // A pulled name may go itself; a tag may not, however old all is.
        let is_no_name = |usage: &castoff_store::Usage| !matches!(usage.item, Item::Pulled(_));
        kit.store.prune(&PruneOptions { filter: Some(&is_no_name), ..PruneOptions::default() }).unwrap();
        assert_eq!(kit.store.layer_dir(&other), None, "{name}");
    }
    for (id, layer) in kept.iter().zip(["one", "two"]) {
        let path = kit.store.layer_dir(&of_diff(layer)).expect(name);
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), layer, "{name}");
        assert_eq!(kit.store.layer_diff(&of_diff(layer)), Some(diff(layer)), "{name}");
        assert!(kit.store.layer_dir(id).is_some(), "{name}");
    }
    unset(&kit);
    prune(&kit.store);
    assert_eq!(kit.store.usage().unwrap(), [], "{name}");
    assert_eq!(below(&kit.path("layers")).len(), 0, "{name}");
}

#[test]
fn a_name_keeps_the_bodies_that_only_runs_have_and_frees_them_with_itself() {
    let set_tag = |store: &Store, image: &Descriptor| store.set_tag(&reference("app:1"), image).unwrap();
    let remove_tag = |kit: &Kit| assert!(kit.store.remove_tag(&reference("app:1")).unwrap());
    let set_pulled = |store: &Store, image: &Descriptor| store.set_pulled(&reference("base"), image).unwrap();
    check_image_keeps_bodies("tag", true, set_tag, remove_tag);
    check_image_keeps_bodies("tag, config lost", false, set_tag, remove_tag);
    check_image_keeps_bodies("pulled", true, set_pulled, |_| {});
}

#[test]
fn a_record_keeps_the_body_that_it_knows_by_the_diff_id() {
    let kit = Kit::new();
    let id = run(&kit.store, "one");
    kit.store.set_layer_diff(&id, diff("one")).unwrap();
    age_all(kit.directory.path(), 100);
    kit.store.put_record(key("step"), &record(RecordOutcome::Layer(of_diff("one")))).unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    kit.store.prune(&PruneOptions { keep_duration: Some(day), ..PruneOptions::default() }).unwrap();
    assert!(kit.store.layer_dir(&of_diff("one")).is_some());
}

#[test]
fn an_alias_that_may_not_have_survived_a_power_cut_is_gone() {
    let kit = Kit::new();
    let id = run(&kit.store, "one");
    age_all(kit.directory.path(), 2);
    kit.store.sync().unwrap();
    kit.store.set_layer_diff(&id, diff("one")).unwrap();
    let Kit { store, directory } = kit;
    drop(store);
    let next = open(directory.path(), "boot 2");
    assert!(next.layer_dir(&id).is_some());
    assert_eq!(next.layer_dir(&of_diff("one")), None);
    next.set_layer_diff(&id, diff("one")).unwrap();
    assert!(next.layer_dir(&of_diff("one")).is_some());
}
