use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use castoff_oci::Digest;
use castoff_store::BlobError;

use crate::Kit;

#[test]
fn concurrent_writers_of_one_blob_all_succeed_and_leave_one() {
    let kit = Kit::new();
    let content = vec![7; 300_000];
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let store = if worker % 2 == 0 { kit.store.clone() } else { kit.other() };
            let content = &content;
            scope.spawn(move || {
                let mut writer = store.blob_writer().unwrap();
                for piece in content.chunks(1000) {
                    writer.write_all(piece).unwrap();
                }
                assert_eq!(writer.size(), 300_000);
                let blob = writer.finish(Some(Digest::of(content))).unwrap();
                assert_eq!(blob.size, 300_000);
            });
        }
    });
    assert_eq!(crate::below(&kit.path("blobs")).len(), 1);
    let mut read = Vec::new();
    kit.store.open_blob(&Digest::of(&content)).unwrap().unwrap().read_to_end(&mut read).unwrap();
    assert!(read == content);
    drop(kit.store);
    assert_eq!(crate::below(&kit.directory.path().join("tmp")).len(), 0);
}

// B-220, B-223.
#[test]
fn content_with_another_digest_is_refused_and_leaves_nothing() {
    let kit = Kit::new();
    let mut writer = kit.store.blob_writer().unwrap();
    writer.write_all(b"what came").unwrap();
    let expected = Digest::of(b"what was asked for");
    let error = writer.finish(Some(expected)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("expected the content of `{expected}` and got that of `{}`", Digest::of(b"what came"))
    );
    assert!(kit.store.blob(&expected).is_none());
    assert!(kit.store.blob(&Digest::of(b"what came")).is_none());
    let Kit { store, directory } = kit;
    drop(store);
    assert!(crate::below(&directory.path().join("tmp/x")).is_empty());
    assert!(!directory.path().join("blobs").exists());
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let kit = Kit::new();
    let mut writer = kit.store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert!(kit.leftovers().iter().all(|path| !path.is_file() || path.starts_with(kit.path("leases"))));
}

#[test]
fn a_writer_outlives_the_handle_that_it_came_from() {
    let kit = Kit::new();
    let second = kit.other();
    let mut writer = second.blob_writer().unwrap();
    drop(second);
    writer.write_all(b"late").unwrap();
    writer.finish(None).unwrap();
    assert_eq!(kit.store.read_blob(&Digest::of(b"late"), 10).unwrap().unwrap(), b"late");
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

// D-319: a lost blob is a miss.
#[test]
fn a_blob_that_the_disk_changed_is_absent_and_removed() {
    let kit = Kit::new();
    let blob = kit.store.put_blob(b"right").unwrap();
    fs::set_permissions(&blob.path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&blob.path, b"wrong").unwrap();
    assert_eq!(kit.store.read_blob(&blob.digest, 100).unwrap(), None);
    assert!(kit.store.blob(&blob.digest).is_none());
    kit.store.put_blob(b"right").unwrap();
    assert_eq!(kit.store.read_blob(&blob.digest, 100).unwrap().unwrap(), b"right");
}

#[test]
fn a_blob_larger_than_its_reader_allows_is_refused() {
    let kit = Kit::new();
    let blob = kit.store.put_blob(&[0; 100]).unwrap();
    let error = kit.store.read_blob(&blob.digest, 99).unwrap_err();
    assert!(matches!(error, BlobError::TooLarge { size: 100, limit: 99, .. }));
    assert_eq!(kit.store.read_blob(&blob.digest, 100).unwrap().unwrap().len(), 100);
}

#[test]
fn a_look_up_marks_use_once_an_hour_and_keeps_the_time_of_writing() {
    let kit = Kit::new();
    let blob = kit.store.put_blob(b"old").unwrap();
    crate::age(&blob.path, 5);
    let before = fs::metadata(&blob.path).unwrap();
    kit.store.blob(&blob.digest).unwrap();
    let used = fs::metadata(&blob.path).unwrap();
    assert!(used.accessed().unwrap() > before.accessed().unwrap());
    assert_eq!(used.modified().unwrap(), before.modified().unwrap());
    kit.store.blob(&blob.digest).unwrap();
    let again = fs::metadata(&blob.path).unwrap();
    assert_eq!(again.accessed().unwrap(), used.accessed().unwrap());
}
