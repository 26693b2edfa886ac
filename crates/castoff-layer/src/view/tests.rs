//! Views over real directories and real tars.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::apply::{OpaqueXattr, Ownership};
use crate::index::TarIndex;
use crate::tar_write::{TarOptions, TarWriter};

/// Describes entries of a tar: `d path`, `f path content`, `l path target`, `h path target`, `w path`
/// (whiteout), `o path` (opaque directory).
fn tar(lines: &[&str]) -> Arc<Tree> {
    let mut writer = TarWriter::new(tempfile::tempfile().unwrap(), TarOptions::default());
    for line in lines {
        let fields: Vec<&str> = line.splitn(3, ' ').collect();
        let content = fields.get(2).copied().unwrap_or_default();
        let (kind, mode) = match fields[0] {
            "d" => (EntryKind::Directory { opaque: false }, 0o700),
            "o" => (EntryKind::Directory { opaque: true }, 0o700),
            "f" => (EntryKind::File { size: content.len() as u64 }, 0o640),
            "l" => (EntryKind::Symlink { target: content.into() }, 0o777),
            "h" => (EntryKind::Hardlink { target: content.into() }, 0o640),
            _ => (EntryKind::Whiteout, 0),
        };
        let data = if fields[0] == "f" { content } else { "" };
        let entry = Entry {
            path: fields[1].into(),
            kind,
            mode,
            uid: 7,
            gid: 8,
            mtime: Timestamp { seconds: 9, nanos: 0 },
            xattrs: BTreeMap::new(),
        };
        writer.append(&entry, &mut data.as_bytes()).unwrap();
    }
    let mut file = writer.finish().unwrap();
    file.flush().unwrap();
    let index = TarIndex::build(&file).unwrap();
    assert_eq!(TarIndex::from_bytes(&index.to_bytes()).unwrap(), index);
    Arc::new(Tree::tar(file, Arc::new(index)))
}

fn directory(path: &Path) -> Arc<Tree> {
    Arc::new(Tree::directory(path, None, Ownership::Keep).unwrap())
}

/// Prints everything below the root, directories with a slash.
fn listing(view: &View) -> String {
    fn walk(view: &View, path: &[u8], lines: &mut Vec<String>) {
        for (name, node) in view.read_dir(path).unwrap() {
            let path = String::from_utf8_lossy(&node.entry.path).into_owned();
            assert!(path.as_bytes().ends_with(&name));
            assert_eq!(view.lookup(&node.entry.path).unwrap().as_ref(), Some(&node), "{path}");
            match &node.entry.kind {
                EntryKind::Directory { .. } => {
                    lines.push(format!("{path}/"));
                    walk(view, &node.entry.path, lines);
                }
                EntryKind::File { .. } => {
                    let mut text = String::new();
                    view.open(&node).unwrap().read_to_string(&mut text).unwrap();
                    lines.push(format!("{path}={text}"));
                }
                EntryKind::Symlink { target } => {
                    lines.push(format!("{path}->{}", String::from_utf8_lossy(target)));
                }
                other => lines.push(format!("{path} {other:?}")),
            }
        }
    }
    let mut lines = Vec::new();
    walk(view, b"", &mut lines);
    lines.join(" ")
}

#[track_caller]
fn check(layers: &[&[&str]], expected: &str) {
    let view = View::new(layers.iter().map(|lines| tar(lines)).collect());
    assert_eq!(listing(&view), expected);
}

#[test]
fn upper_layers_add_replace_and_hide() {
    check(&[&["d a", "f a/x 1", "f b 2"]], "a/ a/x=1 b=2");
    check(&[&["d a", "f a/x 1"], &["d a", "f a/y 2"]], "a/ a/x=1 a/y=2");
    check(&[&["d a", "f a/x 1"], &["d a", "f a/x 2"]], "a/ a/x=2");
    check(&[&["d a", "f a/x 1", "f b 1"], &["d a", "w a/x", "w b"]], "a/");
    check(&[&["d a", "f a/x 1"], &["o a", "f a/y 2"]], "a/ a/y=2");
    check(&[&["d a", "f a/x 1"], &["w a"], &["d a", "f a/y 2"]], "a/ a/y=2");
    check(&[&["d a", "f a/x 1"], &["f a file"]], "a=file");
    check(&[&["f a file"], &["d a", "f a/x 1"]], "a/ a/x=1");
    check(&[&["d a", "f a/x 1"], &["f a file"], &["d a", "f a/y 2"]], "a/ a/y=2");
    check(&[&["d a", "d a/b", "f a/b/x 1"], &["w a/b"]], "a/");
    check(&[&["f a 1"], &[], &["f b 2"]], "a=1 b=2");
    check(&[&["d a", "l a/l target"], &["d a", "f a/l now"]], "a/ a/l=now");
    check(&[], "");
}

#[test]
fn names_that_sort_between_a_directory_and_its_content_do_not_disturb() {
    check(
        &[&["d a", "f a-b 1", "f a.b 2", "d a/b", "f a/b/c 3", "f a0 4"]],
        "a/ a/b/ a/b/c=3 a-b=1 a.b=2 a0=4",
    );
}

#[test]
fn parents_that_a_tar_does_not_mention_look_as_they_do_below() {
    let view = View::new(vec![tar(&["d a", "d a/b"]), tar(&["f a/b/x 1"])]);
    assert_eq!(view.lookup(b"a").unwrap().unwrap().entry.mode, 0o700);
    assert_eq!(view.read_dir(b"a").unwrap()[0].1.entry.uid, 7);
    let alone = View::new(vec![tar(&["f a/b/x 1"])]);
    assert_eq!(alone.lookup(b"a/b").unwrap().unwrap().entry.mode, 0o755);
    check(&[&["f a/b/x 1"]], "a/ a/b/ a/b/x=1");
}

#[test]
fn the_topmost_directory_gives_the_metadata() {
    let below = tempfile::tempdir().unwrap();
    fs::create_dir(below.path().join("a")).unwrap();
    let view = View::new(vec![directory(below.path()), tar(&["d a"])]);
    let node = view.lookup(b"a").unwrap().unwrap();
    assert_eq!((node.entry.mode, node.entry.uid, node.entry.gid), (0o700, 7, 8));
}

#[test]
fn hard_links_are_files_of_one_group() {
    let view = View::new(vec![tar(&["f a data", "h b a", "f c data"])]);
    assert_eq!(listing(&view), "a=data b=data c=data");
    let group = |path: &[u8]| view.lookup(path).unwrap().unwrap().link_group;
    assert!(group(b"a").is_some());
    assert_eq!(group(b"a"), group(b"b"));
    assert_eq!(group(b"c"), None);
}

#[test]
fn a_hard_link_to_a_lower_layer_is_found_there() {
    check(&[&["f a data"], &["h b a"]], "a=data b=data");
    let view = View::new(vec![tar(&["h b a"])]);
    assert!(matches!(view.lookup(b"b"), Err(ViewError::DanglingHardlink { .. })));
}

#[test]
fn a_hard_link_loop_ends() {
    let view = View::new(vec![tar(&["h a b", "h b a"])]);
    assert!(view.lookup(b"a").is_err());
}

#[test]
fn symbolic_links_lead_nowhere_but_into_the_root() {
    // D-206, D-207, B-218.
    let layers = &[
        "d etc",
        "f etc/x 1",
        "l abs /etc",
        "l up ../../../etc",
        "l chain abs",
        "l loop loop",
        "l dangling /no/where",
        "d d",
        "l d/back ..",
        "l file etc/x",
    ];
    let view = View::new(vec![tar(layers)]);
    for (path, expected) in [
        ("abs/x", "etc/x"),
        ("up/x", "etc/x"),
        ("chain/x", "etc/x"),
        ("/chain//x", "etc/x"),
        ("d/back/d/back/etc/x", "etc/x"),
        ("../../etc/x", "etc/x"),
        ("dangling", "no/where"),
        ("dangling/deep/er", "no/where/deep/er"),
        ("missing/../etc", "etc"),
        ("file", "etc/x"),
        ("", ""),
        ("/", ""),
    ] {
        let resolved = view.resolve(path.as_bytes(), true).unwrap();
        assert_eq!(String::from_utf8_lossy(&resolved.path), expected, "{path}");
        assert_eq!(resolved.node, view.lookup(expected.as_bytes()).unwrap(), "{path}");
    }
    assert_eq!(view.resolve(b"abs", false).unwrap().path, b"abs");
    assert!(matches!(view.resolve(b"loop", true), Err(ViewError::TooManyLinks { .. })));
    assert!(matches!(view.resolve(b"etc/x/y", true), Err(ViewError::NotADirectory { .. })));
    assert!(matches!(view.resolve(b"file/y", true), Err(ViewError::NotADirectory { .. })));
    assert_eq!(view.lookup(b"abs/x").unwrap(), None);
    assert!(matches!(view.read_dir(b"abs"), Err(ViewError::NotADirectory { .. })));
}

#[test]
fn files_are_read_through_links_up_to_a_limit() {
    let view = View::new(vec![tar(&["d etc", "f etc/passwd 12345", "l link etc/passwd"])]);
    assert_eq!(view.read(b"link", 5).unwrap().unwrap(), b"12345");
    assert!(matches!(view.read(b"/etc/passwd", 4), Err(ViewError::TooLarge { .. })));
    assert_eq!(view.read(b"no/where", 4).unwrap(), None);
    assert!(matches!(view.read(b"etc", 4), Err(ViewError::NotAFile { .. })));
}

#[test]
fn a_plain_directory_is_seen_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "no").unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    fs::write(root.path().join("a/x"), "1").unwrap();
    fs::hard_link(root.path().join("a/x"), root.path().join("a/y")).unwrap();
    fs::set_permissions(root.path().join("a/x"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink(outside.path(), root.path().join("out")).unwrap();
    symlink("a/x", root.path().join("in")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let view = View::new(vec![directory(root.path())]);
    let out = outside.path().to_str().unwrap();
    assert_eq!(listing(&view), format!("a/ a/x=1 a/y=1 in->a/x out->{out} pipe Fifo"));
    let node = view.lookup(b"a/x").unwrap().unwrap();
    let metadata = fs::metadata(root.path().join("a/x")).unwrap();
    assert_eq!(node.entry.mode, 0o4711);
    assert_eq!(node.identity.unwrap().inode, metadata.ino());
    assert_eq!(node.link_group, view.lookup(b"a/y").unwrap().unwrap().link_group);
    assert_eq!(view.resolve(b"in", true).unwrap().node.unwrap().entry.path, b"a/x");
    // B-218: the link is absolute, so it means a path inside the root, which is not there.
    assert_eq!(view.resolve(b"out/secret", true).unwrap().node, None);
    assert_eq!(view.lookup(b"out/secret").unwrap(), None);
    for path in ["../x", "..", "a/..", "a/../..", "."] {
        assert_eq!(view.lookup(path.as_bytes()).unwrap(), None, "{path}");
    }
    assert_eq!(view.lookup(b"a/x/y").unwrap(), None);
    assert_eq!(view.lookup("n".repeat(300).as_bytes()).unwrap(), None);
    assert_eq!(view.lookup(b"a\0b").unwrap(), None);
}

#[test]
fn a_file_that_became_a_link_is_not_opened() {
    // B-218: between the look-up and the use.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/x"), "1").unwrap();
    let view = View::new(vec![directory(root.path())]);
    let node = view.lookup(b"d/x").unwrap().unwrap();
    fs::remove_file(root.path().join("d/x")).unwrap();
    symlink("/etc/hostname", root.path().join("d/x")).unwrap();
    assert!(view.open(&node).is_err());
    fs::remove_file(root.path().join("d/x")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("d/x"), rustix::fs::Mode::RUSR).unwrap();
    assert!(view.open(&node).is_err());
}

#[test]
fn overlay_directories_have_device_whiteouts_and_opaque_attributes() {
    let below = tempfile::tempdir().unwrap();
    let above = tempfile::tempdir().unwrap();
    for path in ["a", "b"] {
        fs::create_dir(below.path().join(path)).unwrap();
        fs::write(below.path().join(path).join("old"), "1").unwrap();
        fs::create_dir(above.path().join(path)).unwrap();
        fs::write(above.path().join(path).join("new"), "2").unwrap();
    }
    fs::write(below.path().join("gone"), "1").unwrap();
    let gone = above.path().join("gone");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &gone,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(above.path().join("b"), "user.overlay.opaque", b"y", flags).unwrap();
    rustix::fs::setxattr(above.path().join("b"), "user.kept", b"value", flags).unwrap();
    let overlay =
        |path: &Path| Arc::new(Tree::directory(path, Some(OpaqueXattr::User), Ownership::Keep).unwrap());
    let view = View::new(vec![overlay(below.path()), overlay(above.path())]);
    assert_eq!(listing(&view), "a/ a/new=2 a/old=1 b/ b/new=2");
    let entry = view.complete(&view.lookup(b"b").unwrap().unwrap()).unwrap();
    assert_eq!(entry.xattrs.into_iter().collect::<Vec<_>>(), [(b"user.kept".to_vec(), b"value".to_vec())]);
    // A plain directory has no whiteouts: the device is a device.
    let plain = View::new(vec![directory(above.path())]);
    assert!(matches!(plain.lookup(b"gone").unwrap().unwrap().entry.kind, EntryKind::CharDevice { .. }));
}

#[test]
fn recorded_owners_are_honoured() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("x"), "1").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.path().join("x"), "user.castoff.owner", b"12:34", flags).unwrap();
    let tree = Tree::directory(root.path(), Some(OpaqueXattr::User), Ownership::Record).unwrap();
    let view = View::new(vec![Arc::new(tree)]);
    let node = view.lookup(b"x").unwrap().unwrap();
    assert_eq!((node.entry.uid, node.entry.gid), (12, 34));
    assert!(view.complete(&node).unwrap().xattrs.is_empty());
}

#[test]
fn damaged_indexes_are_refused() {
    let Tree::Tar { index, .. } = &*tar(&["d a", "f a/x 1", "l l target"]) else { unreachable!() };
    let bytes = index.to_bytes();
    for end in 0..bytes.len() {
        assert!(TarIndex::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(TarIndex::from_bytes(&longer).is_err());
    assert!(TarIndex::from_bytes(b"").is_err());
}

#[test]
fn a_tar_that_contradicts_itself_is_read_like_an_unpacked_one() {
    check(&[&["f a 1", "f a 2"]], "a=2");
    check(&[&["d a", "f a/x 1", "f a 2"]], "a=2");
    check(&[&["d b", "f b/old 1"], &["d b", "f b/new 2", "w b"]], "b/ b/new=2");
    check(&[&["f b old"], &["w b", "f b new"]], "b=new");
}

#[test]
fn a_walk_shows_what_the_layer_itself_says() {
    let below = tar(&["d a", "f a/x 1", "f b 2"]);
    let layer = tar(&["o a", "f a/new 12", "h a/link a/new", "w b", "f deep/er/c 3"]);
    let mut lines = Vec::new();
    let mut links = Vec::new();
    layer
        .walk(&mut |TreeEntry { entry, link, implied }| {
            let mark = match entry.kind {
                EntryKind::Directory { opaque: true } => "o",
                EntryKind::Directory { .. } if implied => "i",
                EntryKind::Directory { .. } => "d",
                EntryKind::Whiteout => "w",
                _ => "f",
            };
            lines.push(format!("{mark} {}", String::from_utf8_lossy(&entry.path)));
            links.extend(link);
        })
        .unwrap();
    let expected = ["o a", "w b", "i deep", "f a/link", "f a/new", "i deep/er", "f deep/er/c"];
    assert_eq!(lines, expected);
    assert_eq!(links.len(), 2);
    assert_eq!(links[0], links[1]);
    let view = View::new(vec![below, layer]);
    let tree_of = |path: &[u8]| view.tree_of(&view.lookup(path).unwrap().unwrap());
    assert_eq!((tree_of(b"a"), tree_of(b"a/new"), tree_of(b"deep/er/c")), (Some(1), Some(1), Some(1)));
    assert_eq!(view.trees().count(), 2);
    let view = View::new(vec![tar(&["f b 2"]), tar(&["d a"])]);
    assert_eq!(view.tree_of(&view.lookup(b"b").unwrap().unwrap()), Some(0));
    assert_eq!(View::empty().tree_of(&View::empty().lookup(b"").unwrap().unwrap()), None);
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    fs::write(&path, "text").unwrap();
    let view = View::new(vec![directory(root.path())]);
    let node = view.lookup(b"a").unwrap().unwrap();
    let read = |change: &dyn Fn()| {
        let (_, mut reader) = view.open_unchanged(&node).unwrap().unwrap();
        let mut first = [0; 2];
        reader.read_exact(&mut first).unwrap();
        change();
        reader.read_to_end(&mut Vec::new())
    };
    assert_eq!(read(&|| ()).unwrap(), 2);
    let error = read(&|| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<FileChanged>());
    // From the start, it is another file.
    assert!(view.open_unchanged(&node).unwrap().is_none());
    let tar = View::new(vec![tar(&["f a text"])]);
    let node = tar.lookup(b"a").unwrap().unwrap();
    assert!(tar.open_unchanged(&node).unwrap().is_none());
}
