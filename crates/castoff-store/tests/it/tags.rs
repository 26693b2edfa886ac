use std::fs;

use crate::{Kit, key, manifest_descriptor, reference};

#[test]
fn names_that_look_alike_do_not_meet() {
    let kit = Kit::new();
    let digest = key("manifest");
    let names = [
        "app".to_owned(),
        "app:1".to_owned(),
        "app:1.json".to_owned(),
        "app/1:1".to_owned(),
        "app/1.json:1".to_owned(),
        "app/latest".to_owned(),
        "registry.example:5000/app".to_owned(),
        "registry.example/app".to_owned(),
        "library/app/x".to_owned(),
        format!("app@{digest}"),
        format!("app:sha256-{}", digest.hex()),
        "../app".to_owned(),
        ".../app".to_owned(),
    ];
    for name in &names {
        kit.store.set_tag(&reference(name), &manifest_descriptor(key(name))).unwrap();
    }
    for name in &names {
        let found = kit.other().tag(&reference(name)).unwrap().unwrap();
        assert_eq!(found.digest, key(name), "{name}");
    }
    let mut expected: Vec<_> = names.iter().map(|name| reference(name)).collect();
    expected.sort();
    let listed: Vec<_> = kit.store.tags().unwrap().into_iter().map(|tag| tag.reference).collect();
    assert_eq!(listed, expected);
    assert_eq!(crate::below(&kit.path("tags")).len(), names.len());
    for name in &names {
        assert!(kit.store.remove_tag(&reference(name)).unwrap(), "{name}");
        assert!(!kit.store.remove_tag(&reference(name)).unwrap());
    }
    assert_eq!(fs::read_dir(kit.path("tags")).unwrap().count(), 0);
}

#[test]
fn a_digest_decides_whatever_tag_is_beside_it() {
    let kit = Kit::new();
    let digest = key("manifest");
    kit.store.set_tag(&reference(&format!("app:1@{digest}")), &manifest_descriptor(digest)).unwrap();
    assert!(kit.store.tag(&reference(&format!("app@{digest}"))).unwrap().is_some());
    assert!(kit.store.tag(&reference("app:1")).unwrap().is_none());
}

#[test]
fn a_name_moves_to_another_image() {
    let kit = Kit::new();
    for name in ["first", "second"] {
        kit.store.set_tag(&reference("app"), &manifest_descriptor(key(name))).unwrap();
    }
    assert_eq!(kit.store.tag(&reference("app")).unwrap().unwrap().digest, key("second"));
    assert_eq!(kit.store.tags().unwrap().len(), 1);
}

#[test]
fn a_name_that_is_cut_is_absent() {
    let kit = Kit::new();
    kit.store.set_tag(&reference("app"), &manifest_descriptor(key("x"))).unwrap();
    fs::write(crate::below(&kit.path("tags")).remove(0), b"{\"ref").unwrap();
    assert_eq!(kit.store.tags().unwrap(), []);
    assert_eq!(kit.store.tag(&reference("app")).unwrap(), None);
}

#[test]
fn pulled_names_are_apart_from_those_that_users_give() {
    let kit = Kit::new();
    kit.store.set_pulled(&reference("alpine"), &manifest_descriptor(key("remote"))).unwrap();
    assert_eq!(kit.store.tag(&reference("alpine")).unwrap(), None);
    kit.store.set_tag(&reference("alpine"), &manifest_descriptor(key("mine"))).unwrap();
    let pulled = kit.store.pulled(&reference("alpine")).unwrap().unwrap();
    assert_eq!(pulled.descriptor.digest, key("remote"));
    assert!(pulled.created_ms > 1_700_000_000_000);
}
