//! ADD of archives (D-232..D-234, D-244).

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use castoff_layer::{EntryKind, Ownership, TarIndex, TarOptions, TarWriter, Tree, View};
use castoff_solver::copy::CopyError;

use super::{COPY, Copy, entry, fixture, listing, view};

/// Makes a tar archive of entries with content.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Cursor::new(Vec::new()), TarOptions::default());
    for (path, text) in entries {
        let kind = match (path.strip_suffix('/'), text.split_once(':')) {
            (Some(_), _) => EntryKind::Directory { opaque: false },
            (None, Some(("link", target))) => EntryKind::Symlink { target: target.into() },
            (None, Some(("hard", target))) => EntryKind::Hardlink { target: target.into() },
            (None, Some(("null", _))) => EntryKind::CharDevice { major: 1, minor: 3 },
            (None, _) => EntryKind::File { size: text.len() as u64 },
        };
        let data = if matches!(kind, EntryKind::File { .. }) { *text } else { "" };
        tar.append(&entry(path.trim_end_matches('/'), kind, 11, 12), &mut data.as_bytes()).unwrap();
    }
    tar.finish().unwrap().into_inner()
}

#[track_caller]
fn unpacked(add: Copy<'_>, entries: &[(&str, &str)], expected: Result<&str, &str>) {
    let (parent, source) = (fixture(add.parent), fixture(&[]));
    fs::write(source.path().join("a.txt"), archive(entries)).unwrap();
    let add = Copy { patterns: &["a.txt"], unpack: true, ..add };
    match (add.run_on(&view(&parent), &view(&source)), expected) {
        (Ok(done), Ok(expected)) => assert_eq!(listing(&done.layer, &|_| String::new()), expected),
        (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
        (Ok(done), Err(_)) => panic!("succeeded with {}", listing(&done.layer, &|_| String::new())),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

#[test]
fn archives_are_unpacked_into_a_directory() {
    // D-232, D-233.
    let add = Copy { destination: "/o", ..COPY };
    unpacked(add, &[("d/", ""), ("d/x", "1"), ("y", "2")], Ok("o/ o/d/ o/d/x=1 o/y=2"));
    unpacked(add, &[("deep/er/x", "1")], Ok("o/ o/deep/ o/deep/er/ o/deep/er/x=1"));
    unpacked(
        add,
        &[("l", "link:/etc/x"), ("n", "null:")],
        Ok("o/ o/l->/etc/x o/n CharDevice { major: 1, minor: 3 }"),
    );
    unpacked(add, &[("a", "1"), ("a", "2")], Ok("o/ o/a=2"));
    unpacked(add, &[("b", "1"), ("a", "hard:b"), ("c", "hard:a")], Ok("o/ o/a=1 o/b=1 o/c=1"));
    unpacked(
        add,
        &[("a", "hard:none")],
        Err("archive `a.txt`: `a` is a hard link to `o/none`, which does not exist"),
    );
    unpacked(Copy { destination: "/", ..add }, &[("a", "1")], Ok("a=1"));
    // D-229: what is in an archive is not filtered, and neither is a source that is a file.
    let excluding = Copy { exclude: &["x", "**/*.log", "a.txt"], ..add };
    unpacked(excluding, &[("x", "1"), ("d/y.log", "2")], Ok("o/ o/d/ o/d/y.log=2 o/x=1"));
}

// D-233. Docker and buildah set what the archive says of a link on the file that it names.
#[test]
fn the_last_link_of_an_archive_says_what_the_file_is_like() {
    let mut tar = TarWriter::new(Cursor::new(Vec::new()), TarOptions::default());
    let hard = |target: &str| EntryKind::Hardlink { target: target.into() };
    let mut first = entry("d/a", EntryKind::File { size: 1 }, 11, 12);
    first.mode = 0o640;
    tar.append(&first, &mut b"1".as_slice()).unwrap();
    tar.append(&entry("d/b", hard("d/a"), 13, 14), &mut b"".as_slice()).unwrap();
    let (parent, source) = (fixture(&[]), fixture(&[]));
    fs::write(source.path().join("a.txt"), tar.finish().unwrap().into_inner()).unwrap();
    let add = Copy { patterns: &["a.txt"], unpack: true, destination: "/o/", ..COPY };
    let done = add.run_on(&view(&parent), &view(&source)).unwrap();
    let shown = |entry: &castoff_layer::Entry| format!("@{}:{}:{:o}", entry.uid, entry.gid, entry.mode);
    assert_eq!(listing(&done.layer, &shown), "o/@0:0:755 o/d/@0:0:755 o/d/a=1@13:14:751 o/d/b=1@13:14:751");
}

#[test]
fn archives_merge_with_what_is_there() {
    // D-233.
    let parent = &["o/d/old=0", "o/f=0", "o/l->/real", "o/emptied/x=0", "real/"];
    let add = Copy { parent, destination: "/o/", ..COPY };
    unpacked(add, &[("d/new", "1")], Ok("o/ o/d/ o/d/new=1"));
    unpacked(add, &[("f", "1")], Ok("o/ o/f=1"));
    unpacked(add, &[("f/", ""), ("f/x", "1")], Ok("o/ o/f/ o/f/x=1"));
    unpacked(add, &[("d", "1")], Ok("o/ o/d=1"));
    unpacked(add, &[("l/x", "1")], Ok("o/ real/ real/x=1"));
    unpacked(add, &[("l/", ""), ("l/x", "1")], Ok("o/ o/l/ o/l/x=1"));
    unpacked(add, &[("h", "hard:f")], Ok("o/ o/h=0"));
    unpacked(add, &[("f/x", "1")], Err("cannot copy to non-directory `/o/f`"));
    unpacked(Copy { destination: "/o/f", ..add }, &[("x", "1")], Err("cannot copy to non-directory `/o/f`"));
}

#[test]
fn links_of_an_archive_never_lead_outside() {
    // B-219, D-233.
    let add = Copy { parent: &["etc/passwd=0"], destination: "/o/", ..COPY };
    unpacked(add, &[("l", "link:../../../etc"), ("l/x", "1")], Ok("etc/ etc/x=1 o/ o/l->../../../etc"));
    unpacked(add, &[("l", "link:l"), ("l/x", "1")], Err("`/o/l`: too many levels of symbolic links"));
    unpacked(
        add,
        &[("d/", ""), ("d/x", "1"), ("d", "link:/etc"), ("d/y", "2")],
        Ok("etc/ etc/y=2 o/ o/d->/etc"),
    );
}

#[test]
fn a_directory_that_took_the_place_of_a_directory_is_opaque() {
    let parent = fixture(&["o/d/old=0"]);
    let source = fixture(&[]);
    fs::write(source.path().join("a"), archive(&[("d", "1"), ("d/", ""), ("d/new", "2")])).unwrap();
    let add = Copy { patterns: &["a"], destination: "/o", unpack: true, ..COPY };
    let done = add.run_on(&view(&parent), &view(&source)).unwrap();
    let index = Arc::new(TarIndex::build(&done.tar).unwrap());
    let below = Arc::new(Tree::directory(parent.path(), None, Ownership::Keep).unwrap());
    let both = View::new(vec![below, Arc::new(Tree::tar(done.tar, index))]);
    assert_eq!(listing(&both, &|_| String::new()), "o/ o/d/ o/d/new=2");
}

#[test]
fn owners_and_modes_of_an_archive_are_its_own() {
    // D-233.
    let source = fixture(&[]);
    fs::write(source.path().join("a"), archive(&[("d/", ""), ("d/x", "1"), ("implied/y", "2")])).unwrap();
    let add = Copy { patterns: &["a"], destination: "/o", unpack: true, chmod: Some("600"), ..COPY };
    for (owner, expected) in [
        (None, "o/@755:0 o/d/@751:11 o/d/x=1@751:11 o/implied/@755:0 o/implied/y=2@751:11"),
        (Some((5, 6)), "o/@755:5 o/d/@751:5 o/d/x=1@751:5 o/implied/@755:0 o/implied/y=2@751:5"),
    ] {
        let done = Copy { owner, ..add }.run_on(&View::empty(), &view(&source)).unwrap();
        assert_eq!(listing(&done.layer, &|entry| format!("@{:o}:{}", entry.mode, entry.uid)), expected);
    }
}

#[test]
fn what_only_looks_like_an_archive_is_copied() {
    // D-232, D-234.
    let add = Copy { source: &["a.tar=no tar", "b.tar.gz="], destination: "/o/", unpack: true, ..COPY };
    Copy { patterns: &["a.tar", "b.tar.gz"], ..add }.gives("o/ o/a.tar=no tar o/b.tar.gz=");
    let source = fixture(&[]);
    fs::write(source.path().join("a"), archive(&[("x", "1")])).unwrap();
    let kept = Copy { patterns: &["a"], unpack: false, ..add };
    let done = kept.run_on(&View::empty(), &view(&source)).unwrap();
    assert!(matches!(
        done.layer.lookup(b"o/a").unwrap().unwrap().entry.kind,
        EntryKind::File { size: 512.. }
    ));
}

#[test]
fn a_later_source_may_replace_what_an_archive_brought() {
    // D-212, D-244.
    let source = fixture(&["x=plain"]);
    fs::write(
        source.path().join("a"),
        archive(&[("w", "hard:x"), ("x", "1"), ("y", "hard:x"), ("z", "3")]).as_slice(),
    )
    .unwrap();
    fs::write(source.path().join("b"), archive(&[("x", "1"), ("y", "hard:x"), ("z", "3")]).as_slice())
        .unwrap();
    let add = Copy { patterns: &["b", "x"], destination: "/o/", unpack: true, ..COPY };
    let done = add.run_on(&View::empty(), &view(&source)).unwrap();
    assert_eq!(listing(&done.layer, &|_| String::new()), "o/ o/x=plain o/y=1 o/z=3");
    let forward = Copy { patterns: &["a"], ..add }.run_on(&View::empty(), &view(&source));
    assert!(matches!(forward, Err(CopyError::ArchiveLink { .. })));
}
