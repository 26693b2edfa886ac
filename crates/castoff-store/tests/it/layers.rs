use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use castoff_oci::DiffId;
use castoff_store::{LayerDiff, LayerId};

use crate::{Kit, key};

fn layer(name: &str) -> LayerId {
    LayerId::of_diff(DiffId(key(name)))
}

#[test]
fn a_committed_body_is_found_by_every_process() {
    let kit = Kit::new();
    let id = kit.store.new_layer_id();
    let active = kit.store.prepare_layer().unwrap();
    assert_eq!(fs::metadata(active.fs()).unwrap().permissions().mode() & 0o7777, 0o755);
    fs::write(active.fs().join("file"), b"content").unwrap();
    assert!(kit.store.layer_dir(&id).is_none());
    let path = active.commit(&id).unwrap();
    assert_eq!(kit.other().layer_dir(&id).as_deref(), Some(&*path));
    assert_eq!(fs::read(path.join("file")).unwrap(), b"content");
    assert_eq!(crate::below(&kit.path("layers")).len(), 1);
}

#[test]
fn the_first_body_of_a_layer_stays() {
    let kit = Kit::new();
    let second = kit.other();
    let bodies: Vec<_> = [(&kit.store, "one"), (&second, "two")]
        .map(|(store, name)| {
            let active = store.prepare_layer().unwrap();
            fs::write(active.fs().join(name), name).unwrap();
            active
        })
        .into_iter()
        .collect();
    for body in bodies {
        let path = body.commit(&layer("same")).unwrap();
        assert_eq!(fs::read(path.join("one")).unwrap(), b"one");
        assert!(!path.join("two").exists());
    }
    drop(second);
    drop(kit.store);
    assert!(crate::below(&kit.directory.path().join("tmp")).is_empty());
}

#[test]
fn racing_commits_give_one_body() {
    let kit = Kit::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let store = kit.other();
            scope.spawn(move || {
                let active = store.prepare_layer().unwrap();
                fs::write(active.fs().join("file"), b"same").unwrap();
                let path = active.commit(&layer("raced")).unwrap();
                assert_eq!(fs::read(path.join("file")).unwrap(), b"same");
            });
        }
    });
    assert_eq!(fs::read_dir(kit.path("layers")).unwrap().count(), 1);
    assert!(kit.leftovers().is_empty());
}

#[test]
fn a_body_that_is_not_committed_goes_with_all_that_overlayfs_left_in_it() {
    let kit = Kit::new();
    let active = kit.store.prepare_layer().unwrap();
    let outside = kit.path("outside");
    fs::write(&outside, b"stays").unwrap();
    symlink(&outside, active.fs().join("link")).unwrap();
    fs::create_dir_all(active.work().join("work/index")).unwrap();
    fs::set_permissions(active.work().join("work"), fs::Permissions::from_mode(0o0)).unwrap();
    let path = active.fs().to_owned();
    drop(active);
    assert!(!path.parent().unwrap().exists());
    assert_eq!(fs::read(outside).unwrap(), b"stays");
}

#[test]
fn the_work_directory_does_not_get_into_the_store() {
    let kit = Kit::new();
    let active = kit.store.prepare_layer().unwrap();
    fs::create_dir(active.work().join("work")).unwrap();
    fs::set_permissions(active.work().join("work"), fs::Permissions::from_mode(0o0)).unwrap();
    let path = active.commit(&layer("run")).unwrap();
    assert!(!path.parent().unwrap().join("work").exists());
}

#[test]
fn what_is_known_of_a_layer_is_remembered() {
    let kit = Kit::new();
    let diff_id = DiffId(key("diff"));
    let id = kit.store.new_layer_id();
    assert_eq!(kit.store.layer_diff(&id), None);
    kit.store.set_layer_diff(&id, LayerDiff { diff_id, size: 10 }).unwrap();
    assert_eq!(kit.other().layer_diff(&id), Some(LayerDiff { diff_id, size: 10 }));
    assert_eq!(kit.store.layer_index(&diff_id), None);
    kit.store.set_layer_index(&diff_id, b"index").unwrap();
    assert_eq!(kit.store.layer_index(&diff_id).unwrap(), b"index");
    assert_eq!(kit.store.layer_image(&diff_id), None);
    let path = kit.store.set_layer_image(&diff_id, b"image").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"image");
    assert_eq!(kit.other().layer_image(&diff_id), Some(path));
    kit.store.remove_layer_image(&diff_id).unwrap();
    assert_eq!(kit.store.layer_image(&diff_id), None);
}

#[test]
fn a_compressed_form_is_known_as_long_as_its_blob_is_there() {
    let kit = Kit::new();
    let diff_id = DiffId(key("diff"));
    let blob = kit.store.put_blob(b"compressed").unwrap();
    assert_eq!(kit.store.compressed(&diff_id, "gzip-6"), None);
    kit.store.set_compressed(&diff_id, "gzip-6", &blob.digest).unwrap();
    // A variant is a name and not a path.
    kit.store.set_compressed(&diff_id, "../../../zstd", &blob.digest).unwrap();
    assert_eq!(kit.store.compressed(&diff_id, "gzip-6"), Some(blob.clone()));
    assert_eq!(kit.store.compressed(&diff_id, "../../../zstd"), Some(blob.clone()));
    assert_eq!(kit.store.compressed(&diff_id, "zstd-3"), None);
    fs::remove_file(blob.path).unwrap();
    assert_eq!(kit.store.compressed(&diff_id, "gzip-6"), None);
}

#[test]
fn names_of_layers_are_not_paths() {
    let good = [layer("x").to_string(), Kit::new().store.new_layer_id().to_string()];
    for text in &good {
        assert_eq!(text.parse::<LayerId>().unwrap().as_str(), text);
    }
    assert_eq!(layer("x").diff_id(), Some(DiffId(key("x"))));
    for text in
        ["", "run-", "run-../../../../../../../../../../x", "sha256-AB", "../x", "sha256:00", "other-00"]
    {
        assert!(text.parse::<LayerId>().is_err(), "{text}");
        assert!(serde_json::from_value::<LayerId>(text.into()).is_err(), "{text}");
    }
}
