use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use castoff_oci::DiffId;
use castoff_store::{Boot, CacheSharing, LayerDiff, LayerId, OpenError, PruneOptions, RecordOutcome, Store};

use crate::{Kit, age_all, key, manifest_descriptor, open, record, reference};

fn try_open(root: &std::path::Path) -> Result<Store, OpenError> {
    Store::open(root, &Boot { boot_id: "boot 1".to_owned() })
}

#[test]
fn a_store_is_made_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b");
    let store = open(&root, "boot 1");
    assert_eq!(store.root(), fs::canonicalize(&root).unwrap());
    assert_eq!(fs::read_to_string(root.join("version")).unwrap(), "1\n");
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("version"), "2\n").unwrap();
    let error = try_open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, .. }));
    assert!(error.to_string().ends_with("has format 2, and this castoff knows formats up to 1"));
}

#[test]
fn a_directory_with_other_things_in_it_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "irreplaceable").unwrap();
    assert!(matches!(try_open(directory.path()).unwrap_err(), OpenError::NotAStore(_)));
    assert_eq!(crate::below(directory.path()).len(), 1);
    for version in ["", "one", "-1", "0"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("version"), version).unwrap();
        assert!(matches!(try_open(directory.path()).unwrap_err(), OpenError::NotAStore(_)), "{version}");
    }
}

#[test]
fn processes_that_create_one_store_at_once_all_get_it() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let root = directory.path().join("store");
            scope.spawn(move || {
                let store = open(&root, "boot 1");
                store.put_blob(&[number]).unwrap();
            });
        }
    });
    let store = open(&directory.path().join("store"), "boot 1");
    for number in 0..8u8 {
        assert!(store.blob(&castoff_oci::Digest::of(&[number])).is_some());
    }
}

// A process that was killed leaves its lease and its files; nobody holds the lock. B-202.
#[test]
fn leftovers_of_dead_processes_are_removed_and_those_of_living_ones_stay() {
    let kit = Kit::new();
    let living = kit.store.prepare_layer().unwrap();
    let dead = "tmp-4242-0123456789abcdef0123456789abcdef";
    let half = kit.path("tmp").join(dead).join("0/fs/deep");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("file"), b"half").unwrap();
    fs::set_permissions(&half, fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(kit.path("leases").join(dead), b"").unwrap();
    let without_lease = kit.path("tmp/tmp-1-2");
    fs::create_dir(&without_lease).unwrap();
    let _other = kit.other();
    assert!(!kit.path("tmp").join(dead).exists());
    assert!(!kit.path("leases").join(dead).exists());
    assert!(!without_lease.exists());
    assert!(living.fs().exists());
}

/// What the process does that the next test kills. Does nothing when run as a test of its own.
#[test]
fn child_that_is_killed() {
    let Some(root) = std::env::var_os("CASTOFF_STORE_TEST_ROOT") else { return };
    let store = open(std::path::Path::new(&root), "boot 1");
    let _lease = store.lease().unwrap();
    let _lock = store.lock(&key("job"), &|| false).unwrap();
    let mount = store.cache_mount("cache", CacheSharing::Locked, &|| false).unwrap();
    fs::write(mount.path().join("half"), b"ha").unwrap();
    let layer = store.prepare_layer().unwrap();
    fs::write(layer.fs().join("half"), b"ha").unwrap();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(&[0; 300_000]).unwrap();
    fs::write(std::path::Path::new(&root).join("ready"), b"").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_process_that_is_killed_holds_nothing_and_leaves_nothing() {
    let kit = Kit::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opening::child_that_is_killed", "--nocapture"])
        .env("CASTOFF_STORE_TEST_ROOT", kit.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !kit.path("ready").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended before it was killed");
        std::thread::yield_now();
    }
    assert!(kit.leftovers().len() > 2);
    assert!(kit.other().lock(&key("job"), &|| true).is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    let store = kit.other();
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
    store.lock(&key("job"), &|| true).unwrap();
    let mount = store.cache_mount("cache", CacheSharing::Locked, &|| true).unwrap();
    assert!(mount.created() && fs::read_dir(mount.path()).unwrap().count() == 0);
    drop(mount);
    assert!(!store.prune(&PruneOptions::default()).unwrap().beside_builds);
}

#[test]
fn a_closed_store_leaves_no_temporary_files() {
    let kit = Kit::new();
    kit.store.put_blob(b"x").unwrap();
    let temporary = kit.store.temporary().unwrap();
    fs::write(temporary.path().join("file"), b"x").unwrap();
    let lease = kit.store.lease().unwrap();
    let Kit { store, directory } = kit;
    drop((lease, temporary, store));
    assert_eq!(crate::below(&directory.path().join("tmp")), [directory.path().join("tmp")][..0]);
    assert_eq!(crate::below(&directory.path().join("leases")), [directory.path().join("leases")][..0]);
}

struct Contents {
    blob: castoff_oci::Digest,
    layer: LayerId,
}

fn fill(store: &Store, name: &str) -> Contents {
    let layer = LayerId::of_diff(DiffId(key(name)));
    store.prepare_layer().unwrap().commit(&layer).unwrap();
    store.set_layer_diff(&layer, LayerDiff { diff_id: DiffId(key(name)), size: 1 }).unwrap();
    store.put_record(key(name), &record(RecordOutcome::Layer(layer.clone()))).unwrap();
    store.set_tag(&reference(&format!("{name}:1")), &manifest_descriptor(key(name))).unwrap();
    store.set_last_key(key(name), key(name)).unwrap();
    store.cache_mount(name, CacheSharing::Shared, &|| false).unwrap().initialised().unwrap();
    Contents { blob: store.put_blob(name.as_bytes()).unwrap().digest, layer }
}

fn present(store: &Store, name: &str, contents: &Contents) -> [bool; 7] {
    [
        store.blob(&contents.blob).is_some(),
        store.layer_dir(&contents.layer).is_some(),
        store.layer_diff(&contents.layer).is_some(),
        store.record(key(name)).unwrap().is_some(),
        store.tag(&reference(&format!("{name}:1"))).unwrap().is_some(),
        store.last_key(key(name)).is_some(),
        !store.cache_mount(name, CacheSharing::Shared, &|| false).unwrap().created(),
    ]
}

#[test]
fn after_an_unclean_boot_what_was_written_since_the_last_sync_is_gone() {
    let kit = Kit::new();
    let durable = fill(&kit.store, "durable");
    // The clock of a file system ticks in milliseconds; the mark does not vouch for its own tick.
    age_all(kit.directory.path(), 2);
    kit.store.sync().unwrap();
    let lost = fill(&kit.store, "lost");
    let same_boot = kit.other();
    assert_eq!(present(&same_boot, "lost", &lost), [true; 7]);
    // Used after the mark, but written before it.
    assert_eq!(present(&same_boot, "durable", &durable), [true; 7]);
    drop(same_boot);
    let Kit { store, directory } = kit;
    drop(store);

    let next = open(directory.path(), "boot 2");
    assert_eq!(present(&next, "durable", &durable), [true; 7]);
    assert_eq!(present(&next, "lost", &lost), [false; 7]);
    let rebuilt = fill(&next, "lost");
    drop(next);
    assert_eq!(present(&open(directory.path(), "boot 2"), "lost", &rebuilt), [true; 7]);
    // The second boot never synced.
    let third = open(directory.path(), "boot 3");
    assert_eq!(present(&third, "durable", &durable), [true; 7]);
    assert_eq!(present(&third, "lost", &rebuilt), [false; 7]);
}

#[test]
fn a_mark_without_sense_vouches_for_nothing() {
    let kit = Kit::new();
    let contents = fill(&kit.store, "x");
    kit.store.sync().unwrap();
    fs::write(kit.path("durable"), b"{\"boot_id\":\"bo").unwrap();
    assert_eq!(present(&kit.other(), "x", &contents), [false; 7]);
}

#[test]
fn a_sweep_waits_for_nobody_who_opened_in_the_same_boot() {
    let kit = Kit::new();
    let _lease = kit.store.lease().unwrap();
    let _second = kit.other().lease().unwrap();
}
