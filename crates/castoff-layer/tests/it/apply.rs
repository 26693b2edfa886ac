//! Unpacking: metadata, what replaces what, and overlayfs's marks.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use castoff_layer::{
    Applied, ApplyOptions, EntryKind, OWNER_XATTR, OpaqueXattr, Ownership, Timestamp, apply,
};

use crate::kit::{data, directory, entry, file, hardlink, is_root, opaque, symlink, tar, whiteout};

const OVERLAY: ApplyOptions = ApplyOptions {
    opaque: OpaqueXattr::User,
    ownership: Ownership::Keep,
    overlay: true,
    read: castoff_layer::ReadOptions {
        whiteouts: true,
        limits: castoff_layer::Limits { entries: 10_000, extension: 1 << 20, depth: 4096, bytes: u64::MAX },
    },
};
const PLAIN: ApplyOptions = ApplyOptions { overlay: false, ..OVERLAY };

fn unpack_into(root: &Path, entries: &[castoff_layer::Entry], options: &ApplyOptions) -> Applied {
    apply(&mut &tar(entries)[..], root, options).unwrap()
}

fn unpack(entries: &[castoff_layer::Entry], options: &ApplyOptions) -> (tempfile::TempDir, Applied) {
    let root = tempfile::tempdir().unwrap();
    let applied = unpack_into(root.path(), entries, options);
    (root, applied)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    rustix::fs::lgetxattr(path, name, &mut value).ok().map(|length| value[..length].to_vec())
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn files_have_their_data_mode_and_time() {
    let mut large = file("d/large", 1_000_000);
    large.mode = 0o7751;
    large.mtime = Timestamp { seconds: -5, nanos: 0 };
    let mut dir = directory("d");
    dir.mode = 0o1777;
    dir.mtime.seconds = 1_000_000;
    let (root, applied) = unpack(&[dir, large.clone(), file("d/empty", 0)], &PLAIN);
    assert_eq!(applied, Applied { entries: 3, bytes: 1_000_000, ..Applied::default() });
    assert_eq!(fs::read(root.path().join("d/large")).unwrap(), data(&large));
    let metadata = fs::metadata(root.path().join("d/large")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o7751, -5));
    let metadata = fs::metadata(root.path().join("d")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o1777, 1_000_000));
}

#[test]
fn times_keep_their_nanoseconds() {
    let bytes = crate::kit::archive(&[
        crate::kit::pax(&[("mtime", b"1700000000.123456789")]),
        crate::kit::member(&crate::kit::raw(b'2', b"l", b"t", 0), b""),
    ]);
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    apply(&mut &bytes[..], root.path(), &PLAIN).unwrap();
    assert_eq!(fs::symlink_metadata(root.path().join("l")).unwrap().mtime_nsec(), 123_456_789);
}

#[test]
fn missing_parents_are_made_and_told() {
    let (root, applied) = unpack(&[file("a/b/c", 1), directory("a"), file("x/y", 1)], &OVERLAY);
    assert_eq!(applied.implied, [b"a".to_vec(), b"a/b".to_vec(), b"x".to_vec()]);
    let metadata = fs::metadata(root.path().join("a/b")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o755, 0));
    // The entry that came later counts.
    assert_eq!(fs::metadata(root.path().join("a")).unwrap().mtime(), 1_700_000_000);
}

#[test]
fn missing_parents_do_not_inherit_a_group() {
    if !is_root() {
        return;
    }
    let mut shared = directory("shared");
    (shared.mode, shared.gid) = (0o2775, 50);
    let (root, _) = unpack(&[shared, file("shared/implied/f", 1)], &OVERLAY);
    let metadata = fs::metadata(root.path().join("shared/implied")).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (0, 0o755));
    assert_eq!(fs::metadata(root.path().join("shared/implied/f")).unwrap().gid(), 0);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let entries = [
        file("f", 1),
        file("f", 2),
        directory("d"),
        directory("d/inner"),
        file("d/inner/x", 1),
        file("d", 3),
        symlink("s", "f"),
        directory("s"),
        file("s/in", 1),
        directory("e"),
        file("e/kept", 1),
        directory("e"),
    ];
    let (root, _) = unpack(&entries, &PLAIN);
    let length = |name: &str| fs::symlink_metadata(root.path().join(name)).unwrap().len();
    assert_eq!((length("f"), length("d"), length("s/in"), length("e/kept")), (2, 3, 1, 1));
}

#[test]
fn hard_links_share_an_inode() {
    let entries = [
        directory("a"),
        file("a/f", 4),
        hardlink("b", "a/f"),
        hardlink("a/c", "a/f"),
        symlink("l", "x"),
        hardlink("m", "l"),
    ];
    let (root, _) = unpack(&entries, &PLAIN);
    let inode = |name: &str| fs::symlink_metadata(root.path().join(name)).unwrap().ino();
    assert_eq!(inode("b"), inode("a/f"));
    assert_eq!(inode("a/c"), inode("a/f"));
    assert_eq!(inode("m"), inode("l"));
}

#[test]
fn entries_go_through_links_of_their_own_layer() {
    let entries = [
        directory("usr"),
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        file("lib/a", 1),
        file("lib/b", 1),
    ];
    let (root, _) = unpack(&entries, &OVERLAY);
    assert!(root.path().join("usr/lib/b").exists());
    // The target is in a lower layer: it is made here, and the link stays.
    let (root, applied) = unpack(&[symlink("lib", "/usr/lib"), file("lib/a", 1)], &OVERLAY);
    assert!(root.path().join("usr/lib/a").exists());
    assert!(fs::symlink_metadata(root.path().join("lib")).unwrap().is_symlink());
    assert_eq!(applied.implied, [b"usr".to_vec(), b"usr/lib".to_vec()]);
}

#[test]
fn pipes_and_attributes_are_made() {
    let mut with = file("f", 1);
    with.xattrs.insert(b"user.test".to_vec(), b"a\nb".to_vec());
    let mut dir = directory("d");
    dir.xattrs.insert(b"user.test".to_vec(), b"d".to_vec());
    let mut pipe = entry("p", EntryKind::Fifo);
    pipe.mode = 0o620;
    let (root, applied) = unpack(&[with, dir, pipe], &PLAIN);
    assert_eq!(applied.skipped_xattrs, 0);
    assert_eq!(xattr(&root.path().join("f"), "user.test").unwrap(), b"a\nb");
    assert_eq!(xattr(&root.path().join("d"), "user.test").unwrap(), b"d");
    let metadata = fs::symlink_metadata(root.path().join("p")).unwrap();
    assert!(metadata.file_type().is_fifo());
    assert_eq!(metadata.mode() & 0o7777, 0o620);
}

#[test]
fn capabilities_survive_the_change_of_owner() {
    if !is_root() {
        return;
    }
    // Version 2, effective, cap_net_bind_service.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut with = file("f", 1);
    (with.uid, with.gid, with.mode) = (1000, 1001, 0o4755);
    with.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    let (root, applied) = unpack(&[with], &PLAIN);
    assert_eq!(applied.skipped_xattrs, 0);
    let metadata = fs::metadata(root.path().join("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1000, 1001, 0o4755));
    assert_eq!(xattr(&root.path().join("f"), "security.capability").unwrap(), capability);
}

#[test]
fn devices_are_made_with_their_numbers() {
    if !is_root() {
        return;
    }
    let mut null = entry("null", EntryKind::CharDevice { major: 1, minor: 3 });
    null.mode = 0o666;
    let (root, applied) =
        unpack(&[null, entry("loop", EntryKind::BlockDevice { major: 7, minor: 300 })], &PLAIN);
    assert!(applied.skipped_devices.is_empty());
    let metadata = fs::metadata(root.path().join("null")).unwrap();
    assert_eq!((metadata.rdev(), metadata.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert_eq!(fs::metadata(root.path().join("loop")).unwrap().rdev(), rustix::fs::makedev(7, 300));
}

#[test]
fn recorded_owners_are_attributes() {
    let mut owned = file("f", 1);
    (owned.uid, owned.gid) = (33, 34);
    let mut dir = directory("d");
    (dir.uid, dir.gid) = (0, 5);
    let mut own = file("root", 1);
    (own.uid, own.gid) = (0, 0);
    let mut link = symlink("l", "f");
    link.uid = 33;
    let options = ApplyOptions { ownership: Ownership::Record, ..PLAIN };
    let (root, _) = unpack(&[owned, dir, own, link], &options);
    assert_eq!(xattr(&root.path().join("f"), OWNER_XATTR).unwrap(), b"33:34");
    assert_eq!(xattr(&root.path().join("d"), OWNER_XATTR).unwrap(), b"0:5");
    assert_eq!(xattr(&root.path().join("root"), OWNER_XATTR), None);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(fs::metadata(root.path().join("f")).unwrap().uid(), uid);
}

#[test]
fn whiteouts_become_marks_of_overlayfs() {
    if !is_root() {
        return;
    }
    for opaque_xattr in [OpaqueXattr::Trusted, OpaqueXattr::User] {
        let options = ApplyOptions { opaque: opaque_xattr, ..OVERLAY };
        let entries = [directory("d"), whiteout("d/gone"), opaque("o"), file("o/new", 1), whiteout("top")];
        let (root, _) = unpack(&entries, &options);
        assert!(is_whiteout(&root.path().join("d/gone")));
        assert!(is_whiteout(&root.path().join("top")));
        assert_eq!(xattr(&root.path().join("o"), opaque_xattr.opaque_name()).unwrap(), b"y");
        assert_eq!(xattr(&root.path().join("d"), opaque_xattr.opaque_name()), None);
    }
}

// Whiteouts apply to lower layers only (OCI image specification, "Whiteouts").
#[test]
fn whiteouts_leave_what_is_in_their_own_layer() {
    if !is_root() {
        return;
    }
    let name = OpaqueXattr::User.opaque_name();
    let check = |entries: &[castoff_layer::Entry], hides: bool| {
        let (root, _) = unpack(entries, &OVERLAY);
        assert!(root.path().join("d/new").exists());
        assert_eq!(xattr(&root.path().join("d"), name).is_some(), hides);
        root
    };
    check(&[directory("d"), file("d/new", 1), whiteout("d")], true);
    check(&[whiteout("d"), directory("d"), file("d/new", 1)], true);
    check(&[whiteout("d"), file("d/new", 1)], true);
    check(&[opaque("d"), directory("d"), file("d/new", 1)], true);
    let root = check(&[directory("d"), file("d/new", 1), file("f", 1), whiteout("f")], false);
    assert!(root.path().join("f").is_file());
    let root = check(&[directory("d"), file("d/new", 1), whiteout("f"), file("f", 1)], false);
    assert!(root.path().join("f").is_file());
}

#[test]
fn plain_whiteouts_remove_what_was_there_before() {
    let root = tempfile::tempdir().unwrap();
    let lower = [
        directory("d"),
        file("d/old", 1),
        directory("d/sub"),
        file("d/sub/old", 1),
        file("gone", 1),
        directory("tree"),
        directory("tree/a"),
        file("tree/a/b", 1),
        file("kept", 1),
        file("swapped", 1),
    ];
    unpack_into(root.path(), &lower, &PLAIN);
    let upper = [
        directory("d"),
        file("d/new", 1),
        directory("d/sub"),
        file("d/sub/new", 1),
        opaque("d"),
        whiteout("gone"),
        whiteout("tree"),
        whiteout("missing"),
        file("swapped", 2),
        whiteout("swapped"),
    ];
    unpack_into(root.path(), &upper, &PLAIN);
    let exists = |name: &str| root.path().join(name).exists();
    for (name, there) in [
        ("d/new", true),
        ("d/sub/new", true),
        ("d/old", false),
        ("d/sub/old", false),
        ("gone", false),
        ("tree", false),
        ("kept", true),
        ("swapped", true),
    ] {
        assert_eq!(exists(name), there, "{name}");
    }
}

// B-095
#[test]
fn plain_unpacking_merges_and_leaves_the_root_alone() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("target");
    fs::create_dir_all(target.join("d")).unwrap();
    fs::write(target.join("d/mine"), "mine").unwrap();
    fs::write(target.join("f"), "mine").unwrap();
    let before = fs::metadata(&target).unwrap().mode();
    let mut top = directory(b"");
    top.mode = 0o700;
    unpack_into(&target, &[top, directory("d"), file("d/new", 1), file("f", 1)], &PLAIN);
    assert_eq!(fs::metadata(&target).unwrap().mode(), before);
    assert!(target.join("d/mine").exists() && target.join("d/new").exists());
    assert_eq!(fs::read(target.join("f")).unwrap().len(), 1);
}

#[test]
fn deep_trees_are_replaced_without_running_out_of_descriptors() {
    let deep = vec!["d"; 1500].join("/");
    let (root, _) = unpack(&[file(format!("{deep}/f"), 1), file("d", 2)], &PLAIN);
    assert_eq!(fs::read(root.path().join("d")).unwrap().len(), 2);
}

#[test]
fn many_siblings_are_removed() {
    let mut entries = vec![directory("d")];
    for index in 0..3000 {
        entries.push(directory(format!("d/{index}")));
        entries.push(file(format!("d/{index}/f"), 0));
    }
    entries.push(file("d", 1));
    let (root, _) = unpack(&entries, &PLAIN);
    assert!(root.path().join("d").is_file());
}
