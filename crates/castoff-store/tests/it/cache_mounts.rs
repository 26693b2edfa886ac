use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use castoff_store::CacheSharing::{Locked, Private, Shared};
use castoff_store::{CacheMount, CacheSharing, LockError, Store};

use crate::Kit;

fn take(store: &Store, sharing: CacheSharing) -> CacheMount {
    let mut mount = store.cache_mount("/root/.cache", sharing, &|| false).unwrap();
    mount.initialised().unwrap();
    mount
}

/// Asserts that a request waits, lets `release` happen, and returns what the request then got.
fn take_after(kit: &Kit, sharing: CacheSharing, release: impl FnOnce()) -> CacheMount {
    let (waiting, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let store = kit.other();
        let waiter = scope.spawn(move || {
            let asked = || {
                let _ = waiting.send(());
                false
            };
            store.cache_mount("/root/.cache", sharing, &asked).unwrap()
        });
        is_waiting.recv().expect("the request waits");
        release();
        waiter.join().unwrap()
    })
}

// D-157, D-161.
#[test]
fn a_cache_mount_is_new_until_it_is_initialised_and_then_persists() {
    let kit = Kit::new();
    let mut mount = kit.store.cache_mount("/root/.cache", Shared, &|| false).unwrap();
    assert!(mount.created());
    assert_eq!(fs::metadata(mount.path()).unwrap().permissions().mode() & 0o7777, 0o755);
    fs::write(mount.path().join("file"), b"content").unwrap();
    mount.initialised().unwrap();
    assert!(!mount.created());
    drop(mount);
    let mount = kit.other().cache_mount("/root/.cache", Shared, &|| false).unwrap();
    assert!(!mount.created());
    assert_eq!(fs::read(mount.path().join("file")).unwrap(), b"content");
}

#[test]
fn an_initialisation_that_did_not_end_is_begun_anew() {
    let kit = Kit::new();
    let mount = kit.store.cache_mount("/root/.cache", Shared, &|| false).unwrap();
    fs::write(mount.path().join("half"), b"ha").unwrap();
    drop(mount);
    let mount = kit.store.cache_mount("/root/.cache", Shared, &|| false).unwrap();
    assert!(mount.created());
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

// D-159.
#[test]
fn shared_users_get_one_directory_at_once() {
    let kit = Kit::new();
    let first = take(&kit.store, Shared);
    let second = take(&kit.other(), Shared);
    let third = take(&kit.store, Shared);
    assert_eq!(first.path(), second.path());
    assert_eq!(first.path(), third.path());
}

#[test]
fn users_that_share_a_new_directory_wait_for_its_first_content() {
    let kit = Kit::new();
    let mut first = kit.store.cache_mount("/root/.cache", Shared, &|| false).unwrap();
    let second = take_after(&kit, Shared, || {
        fs::write(first.path().join("seed"), b"seed").unwrap();
        first.initialised().unwrap();
    });
    assert!(!second.created());
    assert_eq!(fs::read(second.path().join("seed")).unwrap(), b"seed");
}

// D-159.
#[test]
fn a_locked_mount_is_waited_for() {
    let kit = Kit::new();
    let first = take(&kit.store, Locked);
    let path = first.path().to_owned();
    let second = take_after(&kit, Locked, || drop(first));
    assert_eq!(second.path(), path);
    let third = take_after(&kit, Shared, || drop(second));
    assert_eq!(third.path(), path);
    let fourth = take_after(&kit, Locked, || drop(third));
    assert_eq!(fourth.path(), path);
}

#[test]
fn a_wait_for_a_mount_can_be_cancelled() {
    let kit = Kit::new();
    let _held = take(&kit.store, Locked);
    let error = kit.other().cache_mount("/root/.cache", Locked, &|| true).unwrap_err();
    assert!(matches!(error, LockError::Cancelled));
}

// D-159.
#[test]
fn a_second_private_user_gets_another_directory_that_is_kept() {
    let kit = Kit::new();
    let first = take(&kit.store, Private);
    fs::write(first.path().join("first"), b"").unwrap();
    let second = take(&kit.other(), Private);
    assert_ne!(first.path(), second.path());
    assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
    fs::write(second.path().join("second"), b"").unwrap();
    drop((first, second));
    let first = take(&kit.store, Private);
    let second = take(&kit.store, Private);
    assert!(first.path().join("first").exists());
    assert!(second.path().join("second").exists());
}

// D-158.
#[test]
fn other_ids_are_other_directories_whatever_their_characters() {
    let kit = Kit::new();
    let ids = ["a", "a/b", "../a", "", "A", "a\0b", "/root/.cache"];
    let mounts: Vec<_> = ids.iter().map(|id| kit.store.cache_mount(id, Locked, &|| false).unwrap()).collect();
    let root = fs::canonicalize(kit.path("mounts")).unwrap();
    for (position, mount) in mounts.iter().enumerate() {
        assert!(mount.path().starts_with(&root));
        assert!(mounts[..position].iter().all(|other| other.path() != mount.path()));
    }
}

// D-163.
#[test]
fn a_reset_empties_every_directory_of_the_id_and_no_other() {
    let kit = Kit::new();
    let first = take(&kit.store, Private);
    let second = take(&kit.store, Private);
    for mount in [&first, &second] {
        fs::write(mount.path().join("file"), b"").unwrap();
    }
    let mut other = kit.store.cache_mount("other", Shared, &|| false).unwrap();
    fs::write(other.path().join("file"), b"").unwrap();
    other.initialised().unwrap();
    let error = kit.other().reset_cache_mount("/root/.cache", &|| true).unwrap_err();
    assert!(matches!(error, LockError::Cancelled));
    assert!(first.path().join("file").exists());
    drop((first, second));
    kit.store.reset_cache_mount("/root/.cache", &|| false).unwrap();
    kit.store.reset_cache_mount("never used", &|| false).unwrap();
    let first = kit.store.cache_mount("/root/.cache", Private, &|| false).unwrap();
    let second = kit.store.cache_mount("/root/.cache", Private, &|| false).unwrap();
    assert!(first.created() && second.created());
    assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
    assert!(other.path().join("file").exists());
}
