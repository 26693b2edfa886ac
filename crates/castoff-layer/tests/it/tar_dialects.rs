//! Archives of other writers, and what their headers mean.

use castoff_layer::{Entry, EntryKind, ReadOptions, Timestamp};

use crate::kit::{archive, member, pax, raw, read, read_with};

fn one(bytes: &[u8]) -> Entry {
    let mut found = read(bytes).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0).0
}

#[test]
fn names_are_made_relative() {
    for (raw_name, path) in [
        ("./etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("//etc//./passwd", "etc/passwd"),
        ("././/etc/passwd", "etc/passwd"),
        (".wh", ".wh"),
        ("...", "..."),
        ("a..", "a.."),
    ] {
        let entry = one(&archive(&[member(&raw(b'0', raw_name.as_bytes(), b"", 0), b"")]));
        assert_eq!(entry.path, path.as_bytes(), "{raw_name}");
    }
    for root in ["./", "/", ".", ""] {
        assert_eq!(one(&archive(&[member(&raw(b'5', root.as_bytes(), b"", 0), b"")])).path, b"");
    }
}

#[test]
fn targets_of_hard_links_are_made_relative_and_those_of_symlinks_kept() {
    let entry = one(&archive(&[member(&raw(b'1', b"a", b"/./b/c", 0), b"")]));
    assert_eq!(entry.kind, EntryKind::Hardlink { target: b"b/c".to_vec() });
    let entry = one(&archive(&[member(&raw(b'2', b"a", b"/../b//c", 0), b"")]));
    assert_eq!(entry.kind, EntryKind::Symlink { target: b"/../b//c".to_vec() });
}

#[test]
fn gnu_long_names_are_understood() {
    let long = "n".repeat(300);
    let link = "l".repeat(200);
    let bytes = archive(&[
        member(&raw(b'L', b"././@LongLink", b"", 301), format!("{long}\0").as_bytes()),
        member(&raw(b'K', b"././@LongLink", b"", 201), format!("{link}\0").as_bytes()),
        member(&raw(b'2', b"short", b"short", 0), b""),
        member(&raw(b'0', b"next", b"", 0), b""),
    ]);
    let found = read(&bytes).unwrap();
    assert_eq!(found[0].0.path, long.as_bytes());
    assert_eq!(found[0].0.kind, EntryKind::Symlink { target: link.into_bytes() });
    assert_eq!(found[1].0.path, b"next", "a long name is for one entry only");
}

#[test]
fn records_win_over_the_header() {
    let bytes = archive(&[
        pax(&[
            ("path", b"dir/na\nme"),
            ("uid", b"3000000000"),
            ("gid", b"7"),
            ("mtime", b"-1.25"),
            ("size", b"3"),
            ("SCHILY.xattr.user.k=v", b"w\nx"),
            ("comment", b"nothing"),
        ]),
        member(&raw(b'0', b"other", b"", 0), b"abc"),
        member(&raw(b'0', b"next", b"", 1), b"z"),
    ]);
    let found = read(&bytes).unwrap();
    let entry = &found[0].0;
    assert_eq!((entry.path.as_slice(), entry.uid, entry.gid), (&b"dir/na\nme"[..], 3_000_000_000, 7));
    assert_eq!(entry.mtime, Timestamp { seconds: -2, nanos: 750_000_000 });
    assert_eq!(entry.xattrs[&b"user.k"[..]], b"v=w\nx", "the key ends at the first equals sign");
    assert_eq!(found[0].1, b"abc");
    assert_eq!(found[1].0.path, b"next");
}

#[test]
fn an_empty_record_leaves_it_to_the_header() {
    let bytes = archive(&[pax(&[("path", b""), ("uid", b"")]), member(&raw(b'0', b"name", b"", 0), b"")]);
    assert_eq!(one(&bytes).path, b"name");
}

#[test]
fn the_last_of_equal_records_counts() {
    let bytes = archive(&[pax(&[("path", b"a"), ("path", b"b")]), member(&raw(b'0', b"n", b"", 0), b"")]);
    assert_eq!(one(&bytes).path, b"b");
}

#[test]
fn global_records_mean_nothing() {
    let mut global = pax(&[("path", b"evil"), ("comment", b"0123456789abcdef")]);
    let mut header = tar::Header::from_byte_slice(&global[..512]).clone();
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    header.set_cksum();
    global[..512].copy_from_slice(header.as_bytes());
    let bytes = archive(&[global, member(&raw(b'0', b"good", b"", 0), b"")]);
    assert_eq!(one(&bytes).path, b"good");
}

#[test]
fn base_256_numbers_are_understood() {
    let mut header = raw(b'0', b"f", b"", 0);
    header.as_old_mut().mtime = [0xff; 12];
    header.set_uid(4_000_000_000);
    header.set_cksum();
    let entry = one(&archive(&[member(&header, b"")]));
    assert_eq!(entry.mtime.seconds, -1);
    assert_eq!(entry.uid, 4_000_000_000);
}

#[test]
fn a_trailing_slash_makes_a_directory_as_in_v7() {
    let mut header = tar::Header::new_old();
    header.as_old_mut().name[..4].copy_from_slice(b"dir/");
    header.as_old_mut().linkflag = [0];
    header.set_size(0);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let entry = one(&archive(&[member(&header, b"")]));
    assert_eq!(entry.kind, EntryKind::Directory { opaque: false });
    assert_eq!(entry.path, b"dir");
}

#[test]
fn the_prefix_of_gnu_headers_is_no_name() {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..1].copy_from_slice(b"f");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.as_gnu_mut().unwrap().atime = *b"14524770000\0";
    header.set_cksum();
    assert_eq!(one(&archive(&[member(&header, b"")])).path, b"f");
}

#[test]
fn signed_checksums_of_old_writers_are_accepted() {
    let mut header = raw(b'0', b"caf\xe9", b"", 0);
    let sum: i32 = header
        .as_bytes()
        .iter()
        .enumerate()
        .map(|(index, byte)| if (148..156).contains(&index) { 32 } else { i32::from(*byte as i8) })
        .sum();
    header.as_old_mut().cksum.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(one(&archive(&[member(&header, b"")])).path, b"caf\xe9");
}

#[test]
fn sizes_of_entries_without_data_are_ignored_as_go_does() {
    let bytes = archive(&[
        member(&raw(b'1', b"b", b"a", 1000), b""),
        member(&raw(b'2', b"c", b"a", 1000), b""),
        member(&raw(b'5', b"d", b"", 1000), b""),
        member(&raw(b'0', b"e", b"", 2), b"ee"),
    ]);
    let found = read(&bytes).unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[3].1, b"ee");
}

#[test]
fn whiteouts_are_files_where_they_mean_nothing() {
    let bytes = archive(&[
        member(&raw(b'5', b"d", b"", 0), b""),
        member(&raw(b'0', b"d/.wh.x", b"", 1), b"!"),
        member(&raw(b'0', b"d/.wh..wh..opq", b"", 0), b""),
        member(&raw(b'0', b"d/.wh..wh.plnk", b"", 0), b""),
        member(&raw(b'3', b"d/zero", b"", 0), b""),
    ]);
    let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
    let kinds: Vec<EntryKind> =
        read_with(&bytes, options).unwrap().into_iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds[1], EntryKind::File { size: 1 });
    assert_eq!(kinds[2], EntryKind::File { size: 0 });
    assert_eq!(kinds[4], EntryKind::CharDevice { major: 0, minor: 0 });
    let found = read(&bytes).unwrap();
    let shown: Vec<(&[u8], &EntryKind)> =
        found.iter().map(|(entry, _)| (entry.path.as_slice(), &entry.kind)).collect();
    assert_eq!(
        shown,
        [
            (&b"d"[..], &EntryKind::Directory { opaque: false }),
            (b"d/x", &EntryKind::Whiteout),
            (b"d", &EntryKind::Directory { opaque: true }),
            // What AUFS keeps for itself is not there, and overlayfs's whiteout is one.
            (b"d/zero", &EntryKind::Whiteout),
        ]
    );
}

#[test]
fn a_late_opaque_marker_keeps_the_metadata_of_its_directory() {
    let mut header = raw(b'5', b"d", b"", 0);
    header.set_mode(0o1777);
    header.set_uid(12);
    header.set_cksum();
    let bytes = archive(&[
        member(&header, b""),
        member(&raw(b'0', b"d/file", b"", 0), b""),
        member(&raw(b'0', b"e", b"", 0), b""),
        member(&raw(b'0', b"d/.wh..wh..opq", b"", 0), b""),
    ]);
    let found = read(&bytes).unwrap();
    let last = &found[3].0;
    assert!(last.is_opaque());
    assert_eq!((last.mode, last.uid), (0o1777, 12));
}

#[test]
fn an_archive_may_end_without_its_marker() {
    let whole = archive(&[member(&raw(b'0', b"f", b"", 3), b"abc")]);
    for end in [whole.len() - 1024, whole.len() - 512, whole.len()] {
        assert_eq!(read(&whole[..end]).unwrap().len(), 1);
    }
    assert!(read(b"").unwrap().is_empty());
}

#[test]
fn what_follows_the_end_is_not_read() {
    let mut bytes = archive(&[member(&raw(b'0', b"f", b"", 0), b"")]);
    bytes.extend_from_slice(b"anything");
    assert_eq!(read(&bytes).unwrap().len(), 1);
}
