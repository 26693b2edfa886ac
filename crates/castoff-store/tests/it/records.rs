use std::fs;

use castoff_oci::DiffId;
use castoff_store::{LayerId, RecordOutcome};

use crate::{Kit, key, record};

#[test]
fn a_record_is_read_as_it_was_written() {
    let kit = Kit::new();
    assert_eq!(kit.store.record(key("step")).unwrap(), None);
    let outcomes = [
        RecordOutcome::Layer(LayerId::of_diff(DiffId(key("layer")))),
        RecordOutcome::Alias(key("other")),
        RecordOutcome::Blob(key("bytes")),
        RecordOutcome::Empty,
    ];
    for outcome in outcomes {
        let written = record(outcome);
        kit.store.put_record(key("step"), &written).unwrap();
        assert_eq!(kit.other().record(key("step")).unwrap(), Some(written));
    }
    assert!(kit.store.remove_record(key("step")).unwrap());
    assert!(!kit.store.remove_record(key("step")).unwrap());
}

#[test]
fn a_record_that_is_cut_or_has_no_sense_is_absent_and_removed() {
    let kit = Kit::new();
    kit.store.put_record(key("step"), &record(RecordOutcome::Empty)).unwrap();
    let path = crate::below(&kit.path("records")).remove(0);
    let whole = fs::read(&path).unwrap();
    let cut = &whole[..whole.len() / 2];
    let broken = [b"", cut, b"[]", b"{\"version\":1,\"record\":{}}", b"\xff\xfe"];
    for content in broken {
        fs::write(&path, content).unwrap();
        assert_eq!(kit.store.record(key("step")).unwrap(), None);
        assert!(!path.exists(), "{content:?}");
    }
    // A record of another version is another castoff's: absent, and left alone.
    let newer = String::from_utf8(whole).unwrap().replace("\"version\":1", "\"version\":2");
    fs::write(&path, newer).unwrap();
    assert_eq!(kit.store.record(key("step")).unwrap(), None);
    assert!(path.exists());
}

#[test]
fn a_record_that_names_a_path_as_its_layer_is_absent() {
    let kit = Kit::new();
    let layer = LayerId::of_diff(DiffId(key("layer")));
    kit.store.put_record(key("step"), &record(RecordOutcome::Layer(layer.clone()))).unwrap();
    let path = crate::below(&kit.path("records")).remove(0);
    let hostile = fs::read_to_string(&path).unwrap().replace(layer.as_str(), "../../../../etc");
    fs::write(&path, hostile).unwrap();
    assert_eq!(kit.store.record(key("step")).unwrap(), None);
}

#[test]
fn the_last_key_of_a_slot_is_remembered() {
    let kit = Kit::new();
    assert_eq!(kit.store.last_key(key("slot")), None);
    kit.store.set_last_key(key("slot"), key("first")).unwrap();
    kit.store.set_last_key(key("slot"), key("second")).unwrap();
    assert_eq!(kit.other().last_key(key("slot")), Some(key("second")));
    let path = crate::below(&kit.path("slots")).remove(0);
    crate::age(&path, 1);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    kit.store.set_last_key(key("slot"), key("second")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[test]
fn reading_a_record_is_no_use_and_touching_it_is() {
    let kit = Kit::new();
    kit.store.put_record(key("step"), &record(RecordOutcome::Empty)).unwrap();
    let path = crate::below(&kit.path("records")).remove(0);
    crate::age(&path, 48);
    let before = fs::metadata(&path).unwrap().accessed().unwrap();
    kit.store.record(key("step")).unwrap().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), before);
    kit.store.touch_record(key("step"));
    assert!(fs::metadata(&path).unwrap().accessed().unwrap() > before);
}
