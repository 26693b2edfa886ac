//! Archives made to do harm. Each is refused, or does nothing outside of its root (B-218, B-219, B-225).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use castoff_layer::{
    ApplyError, ApplyOptions, Field, Limits, OpaqueXattr, Ownership, ReadOptions, TarReadError, apply,
    decompress, read_tar,
};

use crate::kit::{
    archive, directory, file, hardlink, is_root, member, pax, raw, read, read_with, symlink, tar,
};

/// Reads and returns the error.
fn refused(bytes: &[u8]) -> TarReadError {
    read(bytes).expect_err("the archive is hostile")
}

fn single(kind: u8, name: &[u8], link: &[u8]) -> Vec<u8> {
    archive(&[member(&raw(kind, name, link, 0), b"")])
}

/// Unpacks next to a directory that must stay as it is.
fn unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<castoff_layer::Applied, ApplyError>) {
    let temporary = tempfile::tempdir().unwrap();
    let outside = temporary.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "unharmed").unwrap();
    fs::set_permissions(outside.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
    let root = temporary.path().join("root");
    fs::create_dir(&root).unwrap();
    let options = ApplyOptions { overlay: false, ..ApplyOptions::default() };
    let result = apply(&mut &bytes[..], &root, &options);
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "unharmed");
    assert_eq!(fs::metadata(outside.join("victim")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made outside");
    let mut names: Vec<_> =
        fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["outside", "root"]);
    (temporary, result)
}

fn outside(root: &Path) -> String {
    root.join("outside").display().to_string()
}

#[test]
fn dot_dot_in_a_name_is_refused() {
    for name in ["../x", "a/../../x", "a/..", "..", "/../x", "./../x"] {
        for kind in *b"0125" {
            let error = refused(&single(kind, name.as_bytes(), b"a"));
            assert!(matches!(error, TarReadError::Escape { .. }), "{name} {kind}: {error:?}");
        }
    }
}

#[test]
fn dot_dot_in_a_hard_link_target_is_refused() {
    for target in ["../outside/victim", "a/../../outside/victim"] {
        let error = refused(&single(b'1', b"link", target.as_bytes()));
        assert!(matches!(error, TarReadError::Escape { .. }), "{error:?}");
    }
}

#[test]
fn dot_dot_in_records_and_long_names_is_refused() {
    let bytes = archive(&[pax(&[("path", b"a/../../x")]), member(&raw(b'0', b"fine", b"", 0), b"")]);
    assert!(matches!(refused(&bytes), TarReadError::Escape { .. }));
    let bytes = archive(&[
        member(&raw(b'L', b"././@LongLink", b"", 8), b"../../x\0"),
        member(&raw(b'0', b"fine", b"", 0), b""),
    ]);
    assert!(matches!(refused(&bytes), TarReadError::Escape { .. }));
}

#[test]
fn nul_in_a_name_is_refused() {
    let bytes = archive(&[pax(&[("path", b"a\0b")]), member(&raw(b'0', b"fine", b"", 0), b"")]);
    assert!(matches!(refused(&bytes), TarReadError::Name { .. }));
    let bytes = archive(&[pax(&[("linkpath", b"a\0b")]), member(&raw(b'2', b"fine", b"t", 0), b"")]);
    assert!(matches!(refused(&bytes), TarReadError::Name { .. }));
}

#[test]
fn names_that_are_the_root_are_refused_for_all_but_directories() {
    for kind in *b"0123467" {
        let error = refused(&single(kind, b".", b"target"));
        assert!(matches!(error, TarReadError::Name { .. }), "{kind}: {error:?}");
    }
    assert!(matches!(refused(&single(b'1', b"a", b"/")), TarReadError::Name { .. }));
    assert!(matches!(refused(&single(b'2', b"a", b"")), TarReadError::Name { .. }));
}

#[test]
fn whiteouts_of_the_directory_or_its_parent_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh...", ".wh.a/b"] {
        let error = refused(&single(b'0', name.as_bytes(), b""));
        assert!(matches!(error, TarReadError::Whiteout { .. }), "{name}: {error:?}");
    }
}

#[test]
fn damaged_headers_are_refused() {
    let mut bytes = single(b'0', b"name", b"");
    bytes[3] ^= 1;
    assert!(matches!(refused(&bytes), TarReadError::Header { offset: 0 }));
    let mut bytes = archive(&[member(&raw(b'0', b"a", b"", 0), b""), vec![0; 512]]);
    bytes.splice(1024.., single(b'0', b"hidden", b""));
    assert!(matches!(refused(&bytes), TarReadError::Header { .. }), "an entry behind one zero block");
}

#[test]
fn cut_archives_are_refused() {
    let whole = archive(&[member(&raw(b'0', b"f", b"", 600), &[1; 600])]);
    for end in [1, 511, 513, 512 + 600, 512 + 1023] {
        assert!(matches!(refused(&whole[..end]), TarReadError::Io(_)), "{end}");
    }
    let dangling = archive(&[pax(&[("path", b"x")])]);
    assert!(matches!(refused(&dangling), TarReadError::Header { .. }));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let with = |change: &dyn Fn(&mut tar::Header)| {
        let mut header = raw(b'0', b"f", b"", 0);
        change(&mut header);
        header.set_cksum();
        refused(&archive(&[member(&header, b"")]))
    };
    let field = |error: TarReadError| match error {
        TarReadError::Field { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(with(&|header| header.as_old_mut().size = *b"99999999999\0")), Field::Size);
    assert_eq!(field(with(&|header| header.as_old_mut().size = [0xff; 12])), Field::Size);
    assert_eq!(field(with(&|header| header.as_old_mut().size = [0x8f; 12])), Field::Size);
    assert_eq!(field(with(&|header| header.as_old_mut().uid = [0xff; 8])), Field::Uid);
    // The kernel would leave the owner as it is.
    assert_eq!(field(with(&|header| header.set_uid(u64::from(u32::MAX)))), Field::Uid);
    assert_eq!(field(with(&|header| header.set_gid(1 << 40))), Field::Gid);
    for (key, value, expected) in [
        ("size", "-1", Field::Size),
        ("size", "18446744073709551615", Field::Size),
        ("size", "0x10", Field::Size),
        ("uid", "4294967295", Field::Uid),
        ("gid", "+1", Field::Gid),
        ("mtime", "1e9", Field::Mtime),
        ("mtime", "-", Field::Mtime),
        ("mtime", "99999999999999999999", Field::Mtime),
        ("SCHILY.xattr.", "x", Field::Pax),
    ] {
        let bytes = archive(&[pax(&[(key, value.as_bytes())]), member(&raw(b'0', b"f", b"", 0), b"")]);
        assert_eq!(field(refused(&bytes)), expected, "{key}={value}");
    }
}

#[test]
fn records_that_lie_about_their_length_are_refused() {
    for body in [
        "5 a=b",
        "6 a=b\nx",
        "99 a=b\n",
        "0 a=b\n",
        "6 abc\n",
        "-6 a=b\n",
        "a=b\n",
        "6 =ab\n",
        "18446744073709551617 a=b\n",
    ] {
        let bytes = archive(&[
            member(&raw(b'x', b"pax", b"", body.len() as u64), body.as_bytes()),
            member(&raw(b'0', b"f", b"", 0), b""),
        ]);
        let error = refused(&bytes);
        assert!(matches!(error, TarReadError::Field { field: Field::Pax, .. }), "{body:?}: {error:?}");
    }
}

#[test]
fn huge_records_and_names_are_refused_before_they_are_read() {
    for kind in *b"xgLK" {
        let bytes = raw(kind, b"pax", b"", 1 << 40).as_bytes().to_vec();
        assert!(matches!(refused(&bytes), TarReadError::Limit { .. }), "{kind}");
    }
}

#[test]
fn sparse_files_are_refused() {
    assert!(matches!(refused(&single(b'S', b"sparse", b"")), TarReadError::Sparse { .. }));
    let bytes = archive(&[
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"1099511627776")]),
        member(&raw(b'0', b"f", b"", 0), b""),
    ]);
    assert!(matches!(refused(&bytes), TarReadError::Sparse { .. }));
}

#[test]
fn unknown_kinds_are_refused() {
    for kind in *b"AMNDZ89" {
        let error = refused(&single(kind, b"f", b""));
        assert!(matches!(error, TarReadError::Kind { .. }), "{kind}: {error:?}");
    }
}

#[test]
fn limits_hold() {
    let bytes = tar(&[file("a", 600), file("b", 600), file("c/d/e", 0)]);
    let check = |limits: Limits, what: &str| {
        let options = ReadOptions { limits, ..ReadOptions::default() };
        match read_with(&bytes, options) {
            Err(TarReadError::Limit { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
    };
    check(Limits { entries: 2, ..Limits::default() }, "entries");
    check(Limits { bytes: 1000, ..Limits::default() }, "bytes");
    check(Limits { depth: 2, ..Limits::default() }, "components in a path");
}

// B-219: what a gzip bomb unpacks to is a stream like any other, and ends at the limit.
#[test]
fn a_compressed_bomb_ends_at_the_limit() {
    use std::io::Write;
    let header = raw(b'0', b"bomb", b"", 1 << 33);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    for _ in 0..64 {
        gzip.write_all(&[0; 64 * 1024]).unwrap();
    }
    let compressed = gzip.finish().unwrap();
    let (_, mut plain) = decompress(Box::new(&compressed[..])).unwrap();
    let limits = Limits { bytes: 1 << 32, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let result = read_tar(&mut plain, options, &mut |_, _, _| Ok(()));
    assert!(matches!(result, Err(TarReadError::Limit { what: "bytes", .. })));
}

#[test]
fn a_link_to_the_outside_leads_into_the_root() {
    let temporary = tempfile::tempdir().unwrap();
    let absolute = outside(temporary.path());
    for target in ["../outside", "/../outside", "../../../../../../outside", &absolute, "/"] {
        let (kept, result) = unpack(&tar(&[symlink("out", target), file("out/victim", 3)]));
        result.unwrap();
        // It was resolved as if the root were `/`.
        let inside = kept.path().join("root").join(target.trim_start_matches(['/', '.'])).join("victim");
        assert_eq!(fs::read(inside).unwrap().len(), 3, "{target}");
    }
}

#[test]
fn a_link_replaced_by_a_directory_is_not_followed() {
    let (kept, result) = unpack(&tar(&[symlink("d", "../outside"), directory("d"), file("d/victim", 1)]));
    result.unwrap();
    assert_eq!(fs::read(kept.path().join("root/d/victim")).unwrap().len(), 1);
}

#[test]
fn a_directory_replaced_by_a_link_is_not_written_through() {
    let entries = [directory("d"), file("d/a", 1), symlink("d", "../outside"), file("d/victim", 1)];
    let (kept, result) = unpack(&tar(&entries));
    result.unwrap();
    assert!(fs::symlink_metadata(kept.path().join("root/d")).unwrap().is_symlink());
    assert!(kept.path().join("root/outside/victim").exists());
}

#[test]
fn a_held_directory_that_is_reached_through_a_replaced_link_is_forgotten() {
    // `l` is held as a way to `a`; when `a` is gone, writing below `l` must not reach the removed one.
    let entries = [
        directory("a"),
        symlink("l", "a"),
        file("l/one", 1),
        file("a", 2),
        directory("b"),
        file("l", 0),
        directory("l"),
        file("l/two", 1),
    ];
    let (kept, result) = unpack(&tar(&entries));
    result.unwrap();
    assert!(kept.path().join("root/l/two").exists());
    assert_eq!(fs::read(kept.path().join("root/a")).unwrap().len(), 2);
}

#[test]
fn a_file_is_not_written_through_a_link_of_its_name() {
    let (kept, result) = unpack(&tar(&[symlink("f", "../outside/victim"), file("f", 4)]));
    result.unwrap();
    let metadata = fs::symlink_metadata(kept.path().join("root/f")).unwrap();
    assert!(metadata.is_file());
}

#[test]
fn metadata_is_not_set_through_a_link() {
    let mut link = symlink("l", "../outside/victim");
    link.mode = 0o4777;
    let mut directory = directory("l");
    directory.mode = 0o4777;
    unpack(&tar(&[link.clone()])).1.unwrap();
    unpack(&tar(&[link, directory])).1.unwrap();
}

#[test]
fn loops_of_links_are_refused() {
    let (_kept, result) = unpack(&tar(&[symlink("a", "b"), symlink("b", "a"), file("a/x", 1)]));
    assert!(matches!(result, Err(ApplyError::Entry { .. })), "{result:?}");
    let (_kept, result) = unpack(&tar(&[symlink("a", "a/a"), file("a/x", 1)]));
    assert!(matches!(result, Err(ApplyError::Entry { .. })), "{result:?}");
}

#[test]
fn hard_links_stay_inside() {
    for target in ["outside/victim", "missing", "l/victim", "d"] {
        let entries = [directory("d"), symlink("l", "../outside"), hardlink("h", target)];
        let (_kept, result) = unpack(&tar(&entries));
        assert!(matches!(result, Err(ApplyError::Link { .. })), "{target}: {result:?}");
    }
    // A link to a link is to the link itself and not to what it points at.
    let (kept, result) = unpack(&tar(&[symlink("l", "../outside/victim"), hardlink("h", "l"), file("h", 9)]));
    result.unwrap();
    assert!(fs::symlink_metadata(kept.path().join("root/h")).unwrap().is_file());
}

#[test]
fn a_hard_link_to_itself_does_no_harm() {
    let (kept, result) =
        unpack(&tar(&[file("f", 5), hardlink("f", "f"), hardlink("g", "f"), hardlink("f", "g")]));
    result.unwrap();
    assert_eq!(fs::read(kept.path().join("root/f")).unwrap().len(), 5);
}

#[test]
fn going_through_a_file_is_refused() {
    let (_kept, result) = unpack(&tar(&[file("f", 1), file("f/x", 1)]));
    assert!(matches!(result, Err(ApplyError::Entry { .. })), "{result:?}");
}

#[test]
fn whiteouts_remove_nothing_outside() {
    let bytes = archive(&[
        member(&raw(b'2', b"out", b"../outside", 0), b""),
        member(&raw(b'0', b"out/.wh.victim", b"", 0), b""),
        member(&raw(b'0', b"out/.wh..wh..opq", b"", 0), b""),
    ]);
    if is_root() {
        unpack(&bytes).1.unwrap();
    }
}

#[test]
fn private_attributes_of_overlayfs_and_castoff_are_not_taken_from_an_archive() {
    let mut planted = directory("d");
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.overlay.metacopy",
        "user.castoff.owner",
        "security.selinux",
    ] {
        planted.xattrs.insert(name.into(), b"y".to_vec());
    }
    let temporary = tempfile::tempdir().unwrap();
    let options =
        ApplyOptions { opaque: OpaqueXattr::User, ownership: Ownership::Record, ..ApplyOptions::default() };
    planted.uid = 0;
    planted.gid = 0;
    let applied = apply(&mut &tar(&[planted])[..], temporary.path(), &options).unwrap();
    assert_eq!(applied.skipped_xattrs, 6);
    let mut names = [0_u8; 1024];
    let length = rustix::fs::listxattr(temporary.path().join("d"), &mut names).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!names.contains("overlay") && !names.contains("castoff"), "{names}");
}

// B-225
#[test]
fn names_beyond_what_the_kernel_takes_are_errors_and_long_paths_are_not() {
    let (_kept, result) = unpack(&tar(&[file("n".repeat(256), 0)]));
    assert!(matches!(result, Err(ApplyError::Entry { .. })), "{result:?}");
    let deep = vec!["d".repeat(200); 60].join("/");
    let (kept, result) =
        unpack(&tar(&[file(format!("{deep}/f"), 3), file(format!("{deep}/g"), 3), file("x", 0)]));
    assert_eq!(result.unwrap().implied.len(), 60);
    let mut here =
        rustix::fs::open(kept.path().join("root"), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .unwrap();
    for _ in 0..60 {
        here = rustix::fs::openat(
            &here,
            "d".repeat(200),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let stat = rustix::fs::statat(&here, "f", rustix::fs::AtFlags::empty()).unwrap();
    assert_eq!(stat.st_size, 3);
}

#[test]
fn random_bytes_never_panic() {
    // A small generator: the same bytes in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seeds = [
        tar(&[file("a", 700), symlink("b", "c"), directory("d")]),
        archive(&[pax(&[("path", b"x"), ("size", b"3")]), member(&raw(b'0', b"f", b"", 3), b"abc")]),
    ];
    for seed in &seeds {
        for _ in 0..2000 {
            let mut bytes = seed.clone();
            for _ in 0..next() % 4 + 1 {
                let position = (next() % bytes.len() as u64) as usize;
                bytes[position] = next() as u8;
            }
            // Let the damage through the checksum half of the time.
            if next() % 2 == 0 {
                for block in bytes.chunks_mut(512) {
                    let mut header = tar::Header::from_byte_slice(block).clone();
                    header.set_cksum();
                    if block[0] != 0 {
                        block.copy_from_slice(header.as_bytes());
                    }
                }
            }
            let _refused_or_not = read(&bytes);
        }
    }
}
