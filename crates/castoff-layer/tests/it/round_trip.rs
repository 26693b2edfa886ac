//! The law of the two bodies: a tar unpacked and streamed again is the same tar, and a directory streamed
//! and unpacked is the same directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink as make_symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use castoff_layer::{
    ApplyOptions, Entry, EntryKind, OpaqueXattr, Ownership, TarOptions, TarWriter, TreeError, TreeOptions,
    apply, write_tree,
};
use proptest::prelude::*;

use crate::kit::{data, directory, entry, file, hardlink, is_root, opaque, read, symlink, tar, whiteout};

fn stream(root: &Path, options: &TreeOptions<'_>) -> Result<Vec<u8>, TreeError> {
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    write_tree(root, &mut tar, options)?;
    Ok(tar.finish()?)
}

fn paths(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().into_iter().map(|(entry, _)| String::from_utf8(entry.path).unwrap()).collect()
}

/// Unpacks entries in the order in which a tree is streamed, streams them, and compares the bytes.
#[track_caller]
fn check(entries: &[Entry], opaque: OpaqueXattr, ownership: Ownership) {
    let first = tar(entries);
    let root = tempfile::tempdir().unwrap();
    let options = ApplyOptions { opaque, ownership, ..ApplyOptions::default() };
    let applied = apply(&mut &first[..], root.path(), &options).unwrap();
    assert!(applied.skipped_devices.is_empty());
    assert_eq!(applied.skipped_xattrs, 0);
    let options = TreeOptions { opaque, ownership, ..TreeOptions::default() };
    let second = stream(root.path(), &options).unwrap();
    let (before, after) = (read(&first).unwrap(), read(&second).unwrap());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert!(first == second, "the entries are equal and the bytes are not");
}

fn menagerie() -> Vec<Entry> {
    let mut attributes = file("attributes", 5);
    attributes.xattrs.insert(b"user.a".to_vec(), b"\n\0\xff=".to_vec());
    attributes.xattrs.insert(b"user.b".to_vec(), b"b".repeat(300));
    let mut setuid = file("setuid", 5);
    setuid.mode = 0o6711;
    let mut sticky = directory("sticky");
    sticky.mode = 0o3777;
    sticky.mtime.seconds = 5;
    sticky.xattrs.insert(b"user.d".to_vec(), b"d".to_vec());
    let mut old = file("sticky/old", 3);
    old.mtime.seconds = -1_000_000;
    let mut unreadable = file("unreadable", 3);
    unreadable.mode = 0;
    let long = format!("sticky/{}", "n".repeat(255));
    let mut deep = vec![directory("deep")];
    for depth in 1..90 {
        deep.push(directory(vec!["deep"; depth + 1].join("/")));
    }
    deep.push(file(format!("{}/file", vec!["deep"; 90].join("/")), 1));
    let mut entries = vec![
        attributes,
        entry("fifo", EntryKind::Fifo),
        file(b"a\xffb", 1),
        file(b"b\xff\xfe", 1),
        directory("d"),
        file("d/1-first", 700_000),
        hardlink("d/2-second", "d/1-first"),
        symlink("d/link", "../nowhere"),
        Entry { mode: 0o777, ..hardlink("d/link2", "d/link") },
        hardlink("other", "d/1-first"),
        setuid,
        sticky,
        file(&long, 1),
        old,
        symlink("target", &"t".repeat(3000)),
        unreadable,
    ];
    entries.extend(deep);
    // The order of a walk: names sorted in each directory, a directory before what is in it.
    entries.sort_by(|a, b| a.path.split(|byte| *byte == b'/').cmp(b.path.split(|byte| *byte == b'/')));
    entries
}

#[test]
fn a_tar_survives_being_a_directory() {
    let mut entries = menagerie();
    // Only root reads a file without permission bits.
    entries.retain(|entry| is_root() || entry.mode & 0o400 != 0);
    check(&entries, OpaqueXattr::User, Ownership::Keep);
}

#[test]
fn devices_owners_and_whiteouts_survive_being_a_directory() {
    if !is_root() {
        return;
    }
    let mut entries = menagerie();
    for (index, entry) in entries.iter_mut().enumerate() {
        (entry.uid, entry.gid) = (index as u32 * 1000, 5_000_000 + index as u32);
    }
    // Links have the owner of what they are links to.
    let owner = |entries: &[Entry], path: &str| {
        let found = entries.iter().find(|entry| entry.path == path.as_bytes()).unwrap();
        (found.uid, found.gid)
    };
    for (link, target) in [("d/2-second", "d/1-first"), ("other", "d/1-first"), ("d/link2", "d/link")] {
        let owner = owner(&entries, target);
        let link = entries.iter_mut().find(|entry| entry.path == link.as_bytes()).unwrap();
        (link.uid, link.gid) = owner;
    }
    entries.extend([
        entry("x-block", EntryKind::BlockDevice { major: 8, minor: 1 }),
        entry("x-char", EntryKind::CharDevice { major: 5, minor: 0 }),
        whiteout("x-gone"),
        opaque("x-opaque"),
        whiteout("x-opaque/gone"),
        file("x-opaque/new", 4),
    ]);
    for opaque in [OpaqueXattr::Trusted, OpaqueXattr::User] {
        check(&entries, opaque, Ownership::Keep);
    }
}

#[test]
fn recorded_owners_survive_being_a_directory() {
    let mut entries = [directory("d"), file("d/f", 3), hardlink("d/g", "d/f"), file("e", 1)];
    (entries[0].uid, entries[0].gid) = (7, 8);
    (entries[1].uid, entries[1].gid) = (100_000, 0);
    (entries[2].uid, entries[2].gid) = (100_000, 0);
    check(&entries, OpaqueXattr::User, Ownership::Record);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![Just(b'a'), Just(b'b'), Just(b'-'), Just(b'.'), Just(b'\n'), Just(0xff), 1..=255_u8];
    prop::collection::vec(byte, 1..12)
        .prop_map(|name| name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect())
        .prop_filter("a name", |name: &Vec<u8>| {
            !matches!(name.as_slice(), b"." | b"..") && !name.starts_with(b".wh.")
        })
}

/// One directory's worth of entries, with a few directories inside.
fn tree() -> impl Strategy<Value = Vec<Entry>> {
    let leaf = (0..4_u8, 0..2000_u64, 0..0o10000_u32, -100_000..5_000_000_000_i64);
    prop::collection::btree_map(
        name(),
        (any::<bool>(), leaf, prop::collection::btree_map(name(), 0..600_u64, 0..4)),
        0..8,
    )
    .prop_map(|map| {
        let mut entries = Vec::new();
        for (name, (is_directory, (kind, size, mode, seconds), children)) in map {
            let mut top = match (is_directory, kind) {
                (true, _) => directory(&name),
                (false, 0) => symlink(&name, "anywhere"),
                (false, 1) => entry(&name, EntryKind::Fifo),
                (false, _) => file(&name, size),
            };
            top.mtime.seconds = seconds;
            if !matches!(top.kind, EntryKind::Symlink { .. }) {
                // Readable by its owner, who may not be root.
                top.mode = mode | 0o700;
            }
            entries.push(top);
            if is_directory {
                entries.extend(
                    children
                        .into_iter()
                        .map(|(child, size)| file([name.as_slice(), b"/", &child].concat(), size)),
                );
            }
        }
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives_being_a_directory(entries in tree()) {
        check(&entries, OpaqueXattr::User, Ownership::Keep);
    }
}

// B-173
#[test]
fn equal_directories_give_equal_bytes_in_whatever_order_they_were_made() {
    let make = |reverse: bool| {
        let root = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = (0..300).map(|index| format!("file-{index}")).collect();
        if reverse {
            names.reverse();
        }
        for name in &names {
            fs::write(root.path().join(name), name).unwrap();
            let file = fs::File::options().write(true).open(root.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        stream(root.path(), &TreeOptions::default()).unwrap()
    };
    assert!(make(false) == make(true));
}

#[test]
fn the_walk_is_sorted_and_parents_come_first() {
    let root = tempfile::tempdir().unwrap();
    for name in ["b", "a-", "a", "a/z", "a/b"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    let bytes = stream(root.path(), &TreeOptions::default()).unwrap();
    assert_eq!(paths(&bytes), ["a", "a/b", "a/z", "a-", "b"]);
}

#[test]
fn sockets_are_left_out_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(root.path().join("socket")).unwrap();
    fs::write(root.path().join("file"), "1234").unwrap();
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    let stats = write_tree(root.path(), &mut tar, &TreeOptions::default()).unwrap();
    assert_eq!((stats.entries, stats.bytes, stats.sockets), (1, 4, 1));
}

#[test]
fn skipped_paths_are_left_out_with_what_is_below() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("proc/self")).unwrap();
    fs::create_dir_all(root.path().join("etc/proc")).unwrap();
    let skip = |path: &[u8]| path == b"proc";
    let bytes = stream(root.path(), &TreeOptions { skip: &skip, ..TreeOptions::default() }).unwrap();
    assert_eq!(paths(&bytes), ["etc", "etc/proc"]);
}

#[test]
fn links_out_of_the_tree_are_streamed_and_not_followed() {
    let root = tempfile::tempdir().unwrap();
    make_symlink("/etc", root.path().join("etc")).unwrap();
    let bytes = stream(root.path(), &TreeOptions::default()).unwrap();
    let found = read(&bytes).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.kind, EntryKind::Symlink { target: b"/etc".to_vec() });
}

#[test]
fn deep_trees_need_few_descriptors() {
    let deep = vec!["d"; 1500].join("/");
    let root = tempfile::tempdir().unwrap();
    let bytes = tar(&[file(format!("{deep}/f"), 1), file("d/g", 1), file("z", 1)]);
    apply(&mut &bytes[..], root.path(), &ApplyOptions::default()).unwrap();
    let streamed = stream(root.path(), &TreeOptions::default()).unwrap();
    let paths = paths(&streamed);
    assert_eq!(paths.len(), 1503);
    assert_eq!(&paths[1501..], ["d/g", "z"]);
    // The guard of the temporary directory would overflow its stack or run out of descriptors.
    apply(
        &mut &tar(&[file("d", 0)])[..],
        root.path(),
        &ApplyOptions { overlay: false, ..ApplyOptions::default() },
    )
    .unwrap();
}

#[test]
fn marks_mean_nothing_outside_of_overlays() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let entries = [opaque("o"), whiteout("w")];
    apply(&mut &tar(&entries)[..], root.path(), &ApplyOptions::default()).unwrap();
    let plain = TreeOptions { overlay: false, ..TreeOptions::default() };
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    write_tree(root.path(), &mut tar, &plain).unwrap();
    let bytes = tar.finish().unwrap();
    let kinds: Vec<u8> = bytes.chunks(512).map(|block| block[156]).filter(|kind| *kind != 0).collect();
    assert_eq!(kinds, *b"53", "a directory and a device");
}

#[test]
fn hollow_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("hollow"), "").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.path().join("hollow"), "user.overlay.metacopy", b"", flags).unwrap();
    let options = TreeOptions { opaque: OpaqueXattr::User, ..TreeOptions::default() };
    assert!(matches!(stream(root.path(), &options), Err(TreeError::Hollow { .. })));
}

#[test]
fn attributes_of_the_machine_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("f"), "").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    for name in ["user.overlay.origin", "user.overlay.impure", "user.castoff.owner", "user.kept"] {
        rustix::fs::setxattr(root.path().join("f"), name, b"9:9", flags).unwrap();
    }
    if is_root() {
        rustix::fs::setxattr(root.path().join("f"), "trusted.other", b"x", flags).unwrap();
    }
    let found = read(&stream(root.path(), &TreeOptions::default()).unwrap()).unwrap();
    let names: Vec<&Vec<u8>> = found[0].0.xattrs.keys().collect();
    assert_eq!(names, [b"user.kept"]);
    assert_eq!(found[0].0.uid, fs::metadata(root.path().join("f")).unwrap().uid(), "nothing was recorded");
}

#[test]
fn data_is_streamed_whole() {
    let root = tempfile::tempdir().unwrap();
    let large = file("large", 3_000_001);
    fs::write(root.path().join("large"), data(&large)).unwrap();
    let found = read(&stream(root.path(), &TreeOptions::default()).unwrap()).unwrap();
    assert!(found[0].1 == data(&large));
}
