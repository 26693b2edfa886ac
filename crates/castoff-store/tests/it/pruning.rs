use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use castoff_oci::{Descriptor, DiffId, Digest, Manifest, MediaType, Raw};
use castoff_store::{
    CacheRecord, CacheSharing, Item, LayerDiff, LayerId, PruneOptions, RecordOutcome, Store,
};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

use crate::{Kit, age, age_all, key, record, reference};

/// Stores the layer of a run: a body, its diff id, and its record.
fn run(store: &Store, name: &str) -> LayerId {
    let id = store.new_layer_id();
    let active = store.prepare_layer().unwrap();
    fs::write(active.fs().join("file"), vec![1; 100_000]).unwrap();
    active.commit(&id).unwrap();
    store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(key(name)), size: 1 }).unwrap();
    store.put_record(key(name), &record(RecordOutcome::Layer(id.clone()))).unwrap();
    id
}

/// Stores an image of these diff ids with the layers that are given as blobs.
fn image(store: &Store, diff_ids: &[Digest], layers: &[Digest]) -> Descriptor {
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = store.put_blob(config.to_string().as_bytes()).unwrap();
    let layers = layers.iter().map(|digest| Descriptor::new(MediaType::OciLayerGzip, *digest, 1)).collect();
    let config = Descriptor::new(MediaType::OciConfig, config.digest, config.size);
    let manifest = Raw::new(Manifest::oci(config, layers));
    let manifest = store.put_blob(manifest.bytes()).unwrap();
    Descriptor::new(MediaType::OciManifest, manifest.digest, manifest.size)
}

fn prune(store: &Store) -> Vec<Item> {
    removed(store, &PruneOptions::default())
}

fn removed(store: &Store, options: &PruneOptions<'_>) -> Vec<Item> {
    let pruned = store.prune(options).unwrap();
    assert_eq!(pruned.bytes, pruned.removed.iter().map(|usage| usage.size).sum::<u64>());
    pruned.removed.into_iter().map(|usage| usage.item).collect()
}

#[test]
fn what_nothing_keeps_goes_and_what_a_name_keeps_stays() {
    let kit = Kit::new();
    let kept = run(&kit.store, "kept");
    let gone = run(&kit.store, "gone");
    let compressed = kit.store.put_blob(b"layer of the image").unwrap();
    let orphan = kit.store.put_blob(b"orphan").unwrap();
    let named = image(&kit.store, &[key("kept")], &[compressed.digest]);
    kit.store.set_tag(&reference("app:1"), &named).unwrap();
    let removed = prune(&kit.store);
    // Records go, kept or not: they are cache. The body that only the image's diff id names stays.
    assert!(kit.store.record(key("kept")).unwrap().is_none());
    assert!(kit.store.layer_dir(&kept).is_some());
    assert!(kit.store.layer_diff(&kept).is_some());
    assert!(kit.store.blob(&compressed.digest).is_some());
    assert!(kit.store.blob(&named.digest).is_some());
    assert!(kit.store.record(key("gone")).unwrap().is_none());
    assert!(kit.store.layer_dir(&gone).is_none());
    assert!(kit.store.layer_diff(&gone).is_none());
    assert!(kit.store.blob(&orphan.digest).is_none());
    assert!(removed.contains(&Item::Blob(orphan.digest)));
    kit.store.remove_tag(&reference("app:1")).unwrap();
    prune(&kit.store);
    assert!(kit.store.layer_dir(&kept).is_none());
    assert!(kit.store.blob(&named.digest).is_none());
    assert!(kit.store.usage().unwrap().is_empty());
}

#[test]
fn what_refers_goes_before_what_is_referred_to_and_older_before_newer() {
    let kit = Kit::new();
    let old = run(&kit.store, "old");
    let new = run(&kit.store, "new");
    age_all(&kit.path("layers"), 1);
    age_all(&kit.path("records"), 10);
    age(&kit.path(&format!("records/{}/{}.json", &key("new").hex()[..2], key("new").hex())), 2);
    let order = prune(&kit.store);
    let position = |item: Item| order.iter().position(|other| *other == item).unwrap();
    assert_eq!(order[0], Item::Record(key("old")));
    assert!(position(Item::Record(key("old"))) < position(Item::Layer(old)));
    assert!(position(Item::Record(key("new"))) < position(Item::Layer(new)));
}

#[test]
fn what_was_used_within_the_time_to_keep_stays() {
    let kit = Kit::new();
    run(&kit.store, "old");
    let old_blob = kit.store.put_blob(b"old").unwrap();
    age_all(kit.directory.path(), 50);
    let fresh = run(&kit.store, "fresh");
    let day = PruneOptions { keep_duration: Some(Duration::from_secs(24 * 3600)), ..PruneOptions::default() };
    removed(&kit.store, &day);
    assert!(kit.store.record(key("old")).unwrap().is_none());
    assert!(kit.store.blob(&old_blob.digest).is_none());
    assert!(kit.store.record(key("fresh")).unwrap().is_some());
    assert!(kit.store.layer_dir(&fresh).is_some());
}

#[test]
fn the_log_and_the_files_of_a_record_stay_and_go_with_it() {
    let kit = Kit::new();
    let log = kit.store.put_blob(b"log").unwrap().digest;
    let files = kit.store.put_blob(b"digests of files").unwrap().digest;
    age_all(&kit.path("blobs"), 100);
    let step = CacheRecord { log: Some(log), files: Some(files), ..record(RecordOutcome::Empty) };
    kit.store.put_record(key("step"), &step).unwrap();
    assert_eq!(kit.store.record(key("step")).unwrap(), Some(step));
    let day = PruneOptions { keep_duration: Some(Duration::from_secs(24 * 3600)), ..PruneOptions::default() };
    assert_eq!(removed(&kit.store, &day), []);
    age_all(&kit.path("records"), 100);
    let order = removed(&kit.store, &day);
    assert_eq!(order[0], Item::Record(key("step")));
    assert!(order.contains(&Item::Blob(log)) && order.contains(&Item::Blob(files)), "{order:?}");
}

// B-120.
#[test]
fn a_limit_removes_the_least_recently_used_until_it_holds() {
    let kit = Kit::new();
    for (hours, name) in [(30, "a"), (20, "b"), (10, "c")] {
        run(&kit.store, name);
        let path = kit.path(&format!("records/{}/{}.json", &key(name).hex()[..2], key(name).hex()));
        age_all(&kit.path("layers"), 40);
        age_all(&kit.path("diffs"), 40);
        age(&path, hours);
    }
    let total: u64 = kit.store.usage().unwrap().iter().map(|usage| usage.size).sum();
    let limit = |bytes| PruneOptions { max_used_space: Some(bytes), ..PruneOptions::default() };
    assert_eq!(removed(&kit.store, &limit(total)), []);
    let first = removed(&kit.store, &limit(total - 50_000));
    assert!(first.contains(&Item::Record(key("a"))) && !first.contains(&Item::Record(key("b"))), "{first:?}");
    let reserved = PruneOptions { max_used_space: Some(0), reserved_space: total, ..PruneOptions::default() };
    assert_eq!(removed(&kit.store, &reserved), []);
    let free = PruneOptions { min_free_space: Some(1), ..PruneOptions::default() };
    assert_eq!(removed(&kit.store, &free), []);
    removed(&kit.store, &limit(0));
    assert!(kit.store.usage().unwrap().iter().all(|usage| matches!(usage.item, Item::Internal(_))));
}

#[test]
fn what_a_living_build_may_use_is_spared() {
    let kit = Kit::new();
    run(&kit.store, "old");
    run(&kit.store, "looked up");
    age_all(kit.directory.path(), 50);
    let build = kit.other();
    let lease = build.lease().unwrap();
    let layer = match build.record(key("looked up")).unwrap().unwrap().outcome {
        RecordOutcome::Layer(id) => id,
        other => panic!("{other:?}"),
    };
    build.touch_record(key("looked up"));
    let path = build.layer_dir(&layer).unwrap();
    let made = run(&build, "made");
    let pruned = kit.store.prune(&PruneOptions::default()).unwrap();
    assert!(pruned.beside_builds);
    assert!(kit.store.record(key("old")).unwrap().is_none());
    assert!(path.join("file").exists());
    assert!(build.record(key("looked up")).unwrap().is_some());
    assert!(build.layer_dir(&made).is_some());
    drop(lease);
    let pruned = kit.store.prune(&PruneOptions::default()).unwrap();
    assert!(!pruned.beside_builds);
    assert!(build.layer_dir(&made).is_none());
}

#[test]
fn a_lease_whose_process_died_spares_nothing() {
    let kit = Kit::new();
    kit.store.put_blob(b"x").unwrap();
    fs::write(kit.path("leases/build-4242-0123456789abcdef0123456789abcdef"), b"").unwrap();
    assert_eq!(prune(&kit.store).len(), 1);
}

#[test]
fn cache_mounts_go_when_nobody_has_them() {
    let kit = Kit::new();
    let mut mount = kit.store.cache_mount("cache", CacheSharing::Shared, &|| false).unwrap();
    mount.initialised().unwrap();
    fs::File::create(mount.path().join("file")).unwrap().write_all(&[1; 10_000]).unwrap();
    let item = Item::CacheMount { id: "cache".to_owned(), index: "0".to_owned() };
    let usage = kit.other().usage().unwrap().remove(0);
    assert!(usage.item == item && usage.in_use && usage.mutable && usage.size >= 10_000);
    assert_eq!(prune(&kit.other()), []);
    drop(mount);
    assert_eq!(prune(&kit.other()), [item]);
    assert_eq!(fs::read_dir(kit.path("mounts")).unwrap().count(), 0);
    assert!(kit.store.cache_mount("cache", CacheSharing::Shared, &|| false).unwrap().created());
}

#[test]
fn pulled_names_age_and_keep_their_image_until_then() {
    let kit = Kit::new();
    let layer = kit.store.put_blob(b"base layer").unwrap();
    let base = image(&kit.store, &[key("base")], &[layer.digest]);
    kit.store.set_pulled(&reference("alpine"), &base).unwrap();
    age_all(&kit.path("blobs"), 100);
    let day = PruneOptions { keep_duration: Some(Duration::from_secs(24 * 3600)), ..PruneOptions::default() };
    assert_eq!(removed(&kit.store, &day), []);
    assert!(kit.store.blob(&layer.digest).is_some());
    age_all(&kit.path("blobs"), 100);
    age_all(&kit.path("pulled"), 100);
    removed(&kit.store, &day);
    assert!(kit.store.pulled(&reference("alpine")).unwrap().is_none());
    assert!(kit.store.blob(&layer.digest).is_none());
}

// B-135, B-136.
#[test]
fn a_filter_chooses_where_to_begin_and_memos_go_only_when_asked() {
    let kit = Kit::new();
    let one = run(&kit.store, "one");
    run(&kit.store, "two");
    kit.store.set_last_key(key("slot"), key("one")).unwrap();
    let is_one = |usage: &castoff_store::Usage| usage.item == Item::Record(key("one"));
    let order = removed(&kit.store, &PruneOptions { filter: Some(&is_one), ..PruneOptions::default() });
    assert!(order.contains(&Item::Layer(one)));
    assert!(kit.store.record(key("two")).unwrap().is_some());
    prune(&kit.store);
    assert!(kit.store.last_key(key("slot")).is_some());
    removed(&kit.store, &PruneOptions { internal: true, ..PruneOptions::default() });
    assert!(kit.store.last_key(key("slot")).is_none());
}

/// Makes a whiteout and returns whether this process may. Only a developer's may lack the right.
fn whiteout(path: &Path) -> bool {
    match mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
        Ok(()) => true,
        Err(Errno::PERM) if std::env::var_os("CI").is_none() && !rustix::process::geteuid().is_root() => {
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn bodies_go_with_all_that_overlayfs_puts_into_them() {
    let kit = Kit::new();
    let id = kit.store.new_layer_id();
    let active = kit.store.prepare_layer().unwrap();
    fs::create_dir_all(active.fs().join("dir/deeper")).unwrap();
    if !whiteout(&active.fs().join("gone")) || !whiteout(&active.fs().join("dir/deeper/gone")) {
        return;
    }
    // A body that is itself the storage of a container engine.
    fs::create_dir_all(active.fs().join("work/work")).unwrap();
    let path = active.commit(&id).unwrap();
    // What an older castoff, or another program, may have left beside the body.
    fs::create_dir_all(path.with_file_name("work").join("work/index")).unwrap();
    for work in [path.join("work/work"), path.with_file_name("work").join("work")] {
        fs::set_permissions(work, fs::Permissions::from_mode(0o0)).unwrap();
    }
    assert_eq!(prune(&kit.store), [Item::Layer(id.clone()), Item::Internal(format!("sizes/{id}"))]);
    assert_eq!(fs::read_dir(kit.path("layers")).unwrap().count(), 0);
    let Kit { store, directory } = kit;
    drop(store);
    assert_eq!(crate::below(&directory.path().join("tmp")), [directory.path().join("tmp")][..0]);
}

#[test]
fn the_inventory_says_who_keeps_what() {
    let kit = Kit::new();
    let layer = run(&kit.store, "step");
    let named = image(&kit.store, &[key("step")], &[]);
    kit.store.set_tag(&reference("app"), &named).unwrap();
    let usage = kit.store.usage().unwrap();
    let find = |item: &Item| usage.iter().find(|usage| usage.item == *item).unwrap();
    let body = find(&Item::Layer(layer.clone()));
    assert!(body.named && body.shared && !body.is_reclaimable() && body.size >= 100_000);
    let step = find(&Item::Record(key("step")));
    assert!(!step.named && step.is_reclaimable() && step.references.contains(&Item::Layer(layer)));
    assert_eq!(step.description, "RUN true");
    assert!(find(&Item::Tag(reference("app"))).references.contains(&Item::Blob(named.digest)));
    // Looking is no use.
    age_all(kit.directory.path(), 50);
    kit.store.usage().unwrap();
    let again = kit.store.usage().unwrap();
    assert!(again.iter().all(|usage| usage.last_used_ms + 40 * 3_600_000 < usage_now()));
}

fn usage_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}
