//! COPY and ADD as tables: a parent, a source and an instruction in, a layer out (section 10).

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use castoff_graph::Chmod;
use castoff_graph::pattern::IgnorePatterns;
use castoff_layer::{Entry, EntryKind, Ownership, TarIndex, TarOptions, TarWriter, Timestamp, Tree, View};
use castoff_oci::Digest;
use castoff_solver::copy::{
    CopyError, CopyStats, InlineFile, MissingFacts, Owners, SelectOptions, Selection, SourceTree,
    WriteOptions, content_digests, digest, select, write,
};
use tempfile::TempDir;

mod archive;
mod reading;

/// The time of what is created.
const NOW: Timestamp = Timestamp { seconds: 1_000, nanos: 0 };
/// The time of all files of fixtures.
const THEN: i64 = 500;

/// Makes a directory from lines: `dir/`, `file=content`, `link->target`, `name==other` (hard link),
/// each optionally with ` @mode`.
fn fixture(lines: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for line in lines {
        let (text, mode) = match line.split_once(" @") {
            Some((text, mode)) => (text, u32::from_str_radix(mode, 8).unwrap()),
            None => (*line, if line.ends_with('/') { 0o755 } else { 0o644 }),
        };
        let path = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((name, target)) = text.split_once("->") {
            symlink(target, path(name)).unwrap();
            continue;
        }
        let path = if let Some((name, target)) = text.split_once("==") {
            fs::hard_link(path(target), path(name)).unwrap();
            continue;
        } else if let Some((name, content)) = text.split_once('=') {
            fs::write(path(name), content).unwrap();
            path(name)
        } else {
            let path = path(text.trim_end_matches('/'));
            fs::create_dir_all(&path).unwrap();
            path
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    settle(root.path());
    root
}

/// Gives everything the same time.
fn settle(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path());
        }
    }
    let time = rustix::fs::Timespec { tv_sec: THEN, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

fn view(root: &TempDir) -> View {
    View::new(vec![Arc::new(Tree::directory(root.path(), None, Ownership::Keep).unwrap())])
}

/// One instruction.
#[derive(Clone, Copy)]
struct Copy<'a> {
    parent: &'a [&'a str],
    source: &'a [&'a str],
    patterns: &'a [&'a str],
    destination: &'a str,
    inline: &'a [(&'a str, &'a str)],
    owner: Option<(u32, u32)>,
    chmod: Option<&'a str>,
    link: bool,
    parents: bool,
    unpack: bool,
    ignore: Option<&'a str>,
    exclude: &'a [&'a str],
    owners: Owners,
}

const COPY: Copy<'static> = Copy {
    parent: &[],
    source: &[],
    patterns: &[],
    destination: "/",
    inline: &[],
    owner: None,
    chmod: None,
    link: false,
    parents: false,
    unpack: false,
    ignore: None,
    exclude: &[],
    owners: Owners::Root,
};

struct Done {
    layer: View,
    stats: CopyStats,
    tar: File,
}

impl Copy<'_> {
    fn select(&self, source: &View) -> Result<Vec<Selection>, CopyError> {
        let exclude = IgnorePatterns::from_patterns(self.exclude).unwrap();
        let ignore = self.ignore.map(|text| IgnorePatterns::parse(text).unwrap());
        let options = SelectOptions {
            parents: self.parents,
            exclude: &exclude,
            ignore: ignore.as_ref(),
            literal: false,
        };
        self.patterns.iter().map(|pattern| select(source, pattern, &options)).collect()
    }

    fn run_on(&self, parent: &View, source: &View) -> Result<Done, CopyError> {
        let selections = self.select(source)?;
        let sources: Vec<SourceTree<'_>> = selections
            .iter()
            .map(|selection| SourceTree {
                view: source.clone(),
                selection,
                owners: self.owners,
                seen: None,
                unpack: self.unpack,
            })
            .collect();
        let inline: Vec<InlineFile> = self
            .inline
            .iter()
            .map(|(name, content)| InlineFile {
                name: (*name).to_owned(),
                content: content.as_bytes().to_vec(),
            })
            .collect();
        let chmod = self.chmod.map(|text| match u32::from_str_radix(text, 8) {
            Ok(bits) => Chmod::Octal(bits),
            Err(_) => Chmod::Symbolic(text.to_owned()),
        });
        let options = WriteOptions {
            owner: self.owner,
            chmod: chmod.as_ref(),
            link: self.link,
            parents: self.parents,
            mtime: NOW,
        };
        let mut tar = TarWriter::new(tempfile::tempfile().unwrap(), TarOptions::default());
        let stats = write(parent, &sources, &inline, self.destination, &options, &mut tar)?;
        let tar = tar.finish().unwrap();
        let index = Arc::new(TarIndex::build(&tar).unwrap());
        let layer = View::new(vec![Arc::new(Tree::tar(tar.try_clone().unwrap(), index))]);
        Ok(Done { layer, stats, tar })
    }

    fn run(&self) -> Result<Done, CopyError> {
        let (parent, source) = (fixture(self.parent), fixture(self.source));
        self.run_on(&view(&parent), &view(&source))
    }

    #[track_caller]
    fn gives(&self, expected: &str) {
        let done = self.run().unwrap();
        assert_eq!(listing(&done.layer, &|_| String::new()), expected);
    }

    #[track_caller]
    fn gives_modes(&self, expected: &str) {
        let done = self.run().unwrap();
        assert_eq!(listing(&done.layer, &|entry| format!("@{:o}", entry.mode)), expected);
    }

    #[track_caller]
    fn gives_owners(&self, expected: &str) {
        let done = self.run().unwrap();
        assert_eq!(listing(&done.layer, &|entry| format!("@{}:{}", entry.uid, entry.gid)), expected);
    }

    #[track_caller]
    fn fails(&self, expected: &str) {
        match self.run() {
            Ok(done) => panic!("succeeded with {}", listing(&done.layer, &|_| String::new())),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
    }

    #[track_caller]
    fn missing(&self, path: &str, facts: MissingFacts) {
        match self.run() {
            Err(CopyError::NotFound { path: found, facts: seen }) => {
                assert_eq!((found.as_str(), *seen), (path, facts));
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("succeeded"),
        }
    }
}

fn listing(view: &View, suffix: &dyn Fn(&Entry) -> String) -> String {
    fn walk(view: &View, path: &[u8], suffix: &dyn Fn(&Entry) -> String, lines: &mut Vec<String>) {
        for (_, node) in view.read_dir(path).unwrap() {
            let path = String::from_utf8_lossy(&node.entry.path).into_owned();
            let end = suffix(&node.entry);
            match &node.entry.kind {
                EntryKind::Directory { .. } => {
                    lines.push(format!("{path}/{end}"));
                    walk(view, &node.entry.path, suffix, lines);
                }
                EntryKind::File { .. } => {
                    let text = view.read(&node.entry.path, 1 << 20).unwrap().unwrap();
                    lines.push(format!("{path}={}{end}", String::from_utf8_lossy(&text)));
                }
                EntryKind::Symlink { target } => {
                    lines.push(format!("{path}->{}{end}", String::from_utf8_lossy(target)));
                }
                other => lines.push(format!("{path} {other:?}{end}")),
            }
        }
    }
    let mut lines = Vec::new();
    walk(view, b"", suffix, &mut lines);
    lines.join(" ")
}

#[test]
fn a_file_goes_to_the_path_or_into_the_directory() {
    // D-199, D-200.
    let copy =
        Copy { source: &["a=1"], patterns: &["a"], parent: &["dir/", "file=old", "to-dir->dir"], ..COPY };
    for (destination, expected) in [
        ("/b", "b=1"),
        ("/b/", "b/ b/a=1"),
        ("/b/.", "b/ b/a=1"),
        ("/dir", "dir/ dir/a=1"),
        ("/dir/", "dir/ dir/a=1"),
        ("/file", "file=1"),
        ("/to-dir", "dir/ dir/a=1"),
        ("/to-dir/b", "dir/ dir/b=1"),
        ("/x/y/z", "x/ x/y/ x/y/z=1"),
        ("/", "a=1"),
        ("/.", "a=1"),
        ("/x/../y", "y=1"),
    ] {
        Copy { destination, ..copy }.gives(expected);
    }
}

#[test]
fn a_directory_gives_its_contents() {
    // D-201, D-192, D-211.
    let copy =
        Copy { source: &["d/a=1", "d/.hidden=2", "d/e/", "d/.git/x=3"], parent: &["dir/kept=0"], ..COPY };
    let contents = "/.git/ X/.git/x=3 X/.hidden=2 X/a=1 X/e/";
    for (pattern, destination, top) in [
        ("d", "/x", "x"),
        ("d/", "/x", "x"),
        ("d", "/x/", "x"),
        ("/d/", "/dir", "dir"),
        ("../d", "/dir/", "dir"),
        ("d/.", "/x", "x"),
        ("e/../d", "/x", "x"),
    ] {
        let expected = format!("{top}/ {top}{}", contents.replace('X', top));
        Copy { patterns: &[pattern], destination, ..copy }.gives(&expected);
    }
    Copy { patterns: &["."], destination: "/", ..copy }.gives("d/ d/.git/ d/.git/x=3 d/.hidden=2 d/a=1 d/e/");
    Copy { patterns: &["d/e"], destination: "/x", ..copy }.gives("x/");
}

#[test]
fn created_directories_are_0755_and_owned_as_told() {
    // D-202, D-215.
    let copy = Copy { source: &["a=1 @600"], patterns: &["a"], destination: "/x/y/", ..COPY };
    copy.gives_modes("x/@755 x/y/@755 x/y/a=1@600");
    Copy { chmod: Some("750"), ..copy }.gives_modes("x/@750 x/y/@750 x/y/a=1@750");
    Copy { chmod: Some("u+x"), ..copy }.gives_modes("x/@755 x/y/@755 x/y/a=1@700");
    Copy { owner: Some((5, 6)), ..copy }.gives_owners("x/@5:6 x/y/@5:6 x/y/a=1@5:6");
    copy.gives_owners("x/@0:0 x/y/@0:0 x/y/a=1@0:0");
}

#[test]
fn existing_parents_keep_their_metadata() {
    let copy = Copy {
        parent: &["x/ @711", "x/y/ @1777"],
        source: &["a=1"],
        patterns: &["a"],
        destination: "/x/y/z/",
        chmod: Some("600"),
        owner: Some((5, 6)),
        ..COPY
    };
    copy.gives_modes("x/@711 x/y/@1777 x/y/z/@600 x/y/z/a=1@600");
    copy.gives_owners("x/@0:0 x/y/@0:0 x/y/z/@5:6 x/y/z/a=1@5:6");
}

#[test]
fn the_top_directory_takes_only_the_time_of_the_source() {
    // D-203.
    let copy = Copy {
        parent: &["dst/ @700", "dst/sub/ @700"],
        source: &["src/ @777", "src/sub/ @711", "src/sub/a=1"],
        patterns: &["src"],
        destination: "/dst",
        ..COPY
    };
    copy.gives_modes("dst/@700 dst/sub/@711 dst/sub/a=1@644");
    Copy { destination: "/new", ..copy }.gives_modes("new/@755 new/sub/@711 new/sub/a=1@644");
    let done = Copy { destination: "/p/new", ..copy }.run().unwrap();
    let times = listing(&done.layer, &|entry| format!("@{}", entry.mtime.seconds));
    assert_eq!(times, "p/@1000 p/new/@500 p/new/sub/@500 p/new/sub/a=1@500");
}

#[test]
fn later_sources_overwrite_earlier_ones() {
    // D-204, D-212.
    let copy = Copy { source: &["a=1", "b=2", "d/x=3", "e/x=4"], ..COPY };
    let done = Copy { patterns: &["a", "b"], destination: "/x", ..copy }.run().unwrap();
    assert_eq!(listing(&done.layer, &|_| String::new()), "x=2");
    assert_eq!(done.stats.overwritten, ["x"]);
    Copy { patterns: &["d", "e"], destination: "/o/", ..copy }.gives("o/ o/x=4");
    Copy { patterns: &["a", "d"], destination: "/o/", ..copy }.gives("o/ o/a=1 o/x=3");
    Copy { patterns: &["b", "a"], destination: "/o/", ..copy }.gives("o/ o/a=1 o/b=2");
}

#[test]
fn what_is_in_the_way_is_replaced_or_refused() {
    // D-205.
    let copy = Copy {
        parent: &["dir/x=0", "d/a/", "e/sub=file", "f/sub->/dir", "file=0", "g/a->/file"],
        source: &["a=1", "s/sub/x=2"],
        patterns: &["a"],
        ..COPY
    };
    Copy { destination: "/d/", ..copy }.fails("cannot replace to directory `/d/a` with a file");
    Copy { destination: "/d", ..copy }.fails("cannot replace to directory `/d/a` with a file");
    Copy { destination: "/g/", ..copy }.gives("g/ g/a=1");
    Copy { destination: "/file/", ..copy }.fails("cannot copy to non-directory `/file`");
    Copy { destination: "/file/x", ..copy }.fails("cannot copy to non-directory `/file`");
    let copy = Copy { patterns: &["s"], ..copy };
    Copy { destination: "/e", ..copy }.fails("cannot copy to non-directory `/e/sub`");
    Copy { destination: "/f", ..copy }.fails("cannot copy to non-directory `/f/sub`");
    Copy { destination: "/file", ..copy }.fails("cannot copy to non-directory `/file`");
    Copy { source: &["s/dir=1"], destination: "/", ..copy }
        .fails("cannot replace to directory `/dir` with a file");
}

#[test]
fn conflicts_between_sources_are_refused_too() {
    // D-205, D-212.
    let copy = Copy { source: &["a/x=1", "b/x/y=2", "l/x->/etc"], destination: "/o/", ..COPY };
    Copy { patterns: &["a", "b"], ..copy }.fails("cannot copy to non-directory `/o/x`");
    Copy { patterns: &["b", "a"], ..copy }.fails("cannot replace to directory `/o/x` with a file");
    Copy { patterns: &["l", "b"], ..copy }.fails("cannot copy to non-directory `/o/x`");
    Copy { patterns: &["l", "a"], ..copy }.gives("o/ o/x=1");
}

#[test]
fn links_in_the_destination_are_followed_within_the_root() {
    // D-206.
    let copy = Copy {
        parent: &[
            "real/",
            "abs->/real",
            "rel->../../real",
            "dangling->/none/deep",
            "file->/real/f",
            "loop->loop",
        ],
        source: &["a=1", "d/x=2"],
        patterns: &["a"],
        ..COPY
    };
    for (destination, expected) in [
        ("/abs/", "real/ real/a=1"),
        ("/rel/b", "real/ real/b=1"),
        ("/dangling/", "none/ none/deep/ none/deep/a=1"),
        ("/dangling", "none/ none/deep=1"),
        ("/dangling/x/y", "none/ none/deep/ none/deep/x/ none/deep/x/y=1"),
        ("/file", "real/ real/f=1"),
    ] {
        Copy { destination, ..copy }.gives(expected);
    }
    Copy { patterns: &["d"], destination: "/abs", ..copy }.gives("real/ real/x=2");
    Copy { patterns: &["d"], destination: "/dangling", ..copy }.gives("none/ none/deep/ none/deep/x=2");
    Copy { destination: "/loop/x", ..copy }.fails("`/loop/x`: too many levels of symbolic links");
}

#[test]
fn links_in_the_source_are_followed_within_its_root() {
    // D-207.
    let copy = Copy {
        source: &["real/x=1", "real/in->x", "abs->/real", "out->../../../real/x", "none->/nowhere"],
        destination: "/o/",
        ..COPY
    };
    for (pattern, expected) in [
        ("abs", "o/ o/in->x o/x=1"),
        ("abs/x", "o/ o/x=1"),
        ("out", "o/ o/out=1"),
        ("real/in", "o/ o/in=1"),
        ("ab*", "o/ o/in->x o/x=1"),
        ("o*t", "o/ o/out=1"),
    ] {
        Copy { patterns: &[pattern], ..copy }.gives(expected);
    }
    Copy { patterns: &["none"], ..copy }.fails("\"/none\": not found");
    Copy { patterns: &["non*"], ..copy }.fails("\"/none\": not found");
}

#[test]
fn wildcards_match_per_component() {
    // D-193, D-195..D-198, D-314.
    let source =
        &["a.c=1", "b.c=2", "sub/c.c=3", "sub/deep/d.c=4", "x[0].txt=5", "y*z=6", "\u{e9}=7", ".h=8"];
    let copy = Copy { source, destination: "/o/", ..COPY };
    for (pattern, expected) in [
        ("*.c", "o/ o/a.c=1 o/b.c=2"),
        ("?.c", "o/ o/a.c=1 o/b.c=2"),
        ("[^a].c", "o/ o/b.c=2"),
        ("*/*.c", "o/ o/c.c=3"),
        ("**/*.c", "o/ o/c.c=3"),
        ("**.c", "o/ o/a.c=1 o/b.c=2"),
        ("sub/*", "o/ o/c.c=3 o/d.c=4"),
        ("s*", "o/ o/c.c=3 o/deep/ o/deep/d.c=4"),
        ("s*/deep", "o/ o/d.c=4"),
        ("x[[]0].txt", "o/ o/x[0].txt=5"),
        ("y\\*z", "o/ o/y*z=6"),
        ("?", "o/ o/\u{e9}=7"),
        ("*.none", ""),
        ("none/*", ""),
        ("a.c/*", ""),
        ("*h", "o/ o/.h=8"),
    ] {
        Copy { patterns: &[pattern], ..copy }.gives(expected);
    }
    Copy { patterns: &["x[0].txt"], ..copy }.gives("");
    // In lexical order, so that the last one is what stays.
    Copy { source: &["q/n=2", "p/n=1", "r/m=3"], patterns: &["[pq]/n"], ..copy }.gives("o/ o/n=2");
    Copy { patterns: &["a[.c"], ..copy }.fails("source `a[.c`: `[` is not closed");
}

#[test]
fn a_missing_source_fails_with_what_may_help() {
    // D-194.
    let copy = Copy { source: &["src/Main.rs=1", "src/lib.rs=2", "docs/x=3"], ..COPY };
    let facts = MissingFacts::default();
    Copy { patterns: &["nothing-like-it"], ..copy }.missing("/nothing-like-it", facts.clone());
    Copy { patterns: &["nothing-like-it"], ..copy }.fails("\"/nothing-like-it\": not found");
    Copy { patterns: &["src/main.rs"], ..copy }.missing(
        "/src/main.rs",
        MissingFacts {
            other_case: Some("/src/Main.rs".to_owned()),
            similar: Some("/src/Main.rs".to_owned()),
            ..facts.clone()
        },
    );
    Copy { patterns: &["scr/lib.rs"], ..copy }
        .missing("/scr/lib.rs", MissingFacts { similar: Some("/src/lib.rs".to_owned()), ..facts.clone() });
    Copy { patterns: &["docs/x"], ignore: Some("# no docs\ndocs\n"), ..copy }
        .missing("/docs/x", MissingFacts { ignored_by_line: Some(2), ..facts.clone() });
    Copy { patterns: &["src/lib.rs/x"], ..copy }.fails("\"/src/lib.rs/x\": not found");
    Copy { patterns: &["a", "docs/x"], ..copy }.missing("/a", facts);
}

#[test]
fn ignored_files_are_not_there() {
    // D-287..D-290.
    let source = &["a=1", "b.log=2", "docs/x=3", "docs/README.md=4", "docs/deep/y=5", "keep/z.log=6"];
    let copy = Copy { source, patterns: &["."], destination: "/o/", ..COPY };
    for (ignore, expected) in [
        (
            "*.log",
            "o/ o/a=1 o/docs/ o/docs/README.md=4 o/docs/deep/ o/docs/deep/y=5 o/docs/x=3 o/keep/ o/keep/z.log=6",
        ),
        ("docs\n**/*.log", "o/ o/a=1 o/keep/"),
        ("docs\n!docs/README.md\nkeep", "o/ o/a=1 o/b.log=2 o/docs/ o/docs/README.md=4"),
        ("*\n!a", "o/ o/a=1"),
        ("*", "o/"),
        ("docs\n!docs/none\nkeep", "o/ o/a=1 o/b.log=2"),
    ] {
        Copy { ignore: Some(ignore), ..copy }.gives(expected);
    }
    Copy { patterns: &["*"], ignore: Some("docs\nkeep\n*.log"), ..copy }.gives("o/ o/a=1");
    Copy { patterns: &["docs"], ignore: Some("docs\n!docs/deep"), ..copy }.gives("o/ o/deep/ o/deep/y=5");
    Copy { patterns: &["docs"], ignore: Some("docs\n!docs/none"), ..copy }.fails("\"/docs\": not found");
}

#[test]
fn excluded_files_are_left_out_relative_to_each_root() {
    // D-227, D-228, D-229.
    let source = &["dir/a.txt=1", "dir/b=2", "dir/sub/c.txt=3", "dir/sub/d=4", "f.txt=5"];
    let copy = Copy { source, patterns: &["dir"], destination: "/o/", ..COPY };
    Copy { exclude: &["*.txt"], ..copy }.gives("o/ o/b=2 o/sub/ o/sub/c.txt=3 o/sub/d=4");
    Copy { exclude: &["**/*.txt"], ..copy }.gives("o/ o/b=2 o/sub/ o/sub/d=4");
    Copy { exclude: &["sub", "!sub/d"], ..copy }.gives("o/ o/a.txt=1 o/b=2 o/sub/ o/sub/d=4");
    Copy { exclude: &["**"], ..copy }.gives("o/");
    let file = Copy { patterns: &["f.txt"], exclude: &["*.txt"], ..copy };
    file.gives("o/ o/f.txt=5");
    let source = fixture(source);
    assert_eq!(file.select(&view(&source)).unwrap()[0].not_excluded, [b"f.txt"]);
}

#[test]
fn everything_of_an_entry_is_copied() {
    // D-208, D-209, D-210.
    let source = fixture(&["d/a=1 @4755", "d/b=2 @2640", "d/t/ @1777", "d/l->../../x"]);
    let root = source.path();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("d/p"), rustix::fs::Mode::from(0o600)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("d/s")).unwrap();
    drop(socket);
    fs::set_permissions(root.join("d/s"), fs::Permissions::from_mode(0o600)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.join("d/a"), "user.note", b"text", flags).unwrap();
    rustix::fs::setxattr(root.join("d/t"), "user.note", b"more", flags).unwrap();
    let copy = Copy { patterns: &["d"], destination: "/o", ..COPY };
    let done = copy.run_on(&View::empty(), &view(&source)).unwrap();
    assert_eq!(done.layer.lookup(b"o/a").unwrap().unwrap().entry.mtime.seconds, THEN);
    assert_eq!(
        listing(&done.layer, &|entry| format!("@{:o}", entry.mode)),
        "o/@755 o/a=1@4755 o/b=2@2640 o/l->../../x@777 o/p Fifo@600 o/s=@600 o/t/@1777"
    );
    for (path, value) in [("o/a", b"text"), ("o/t", b"more")] {
        let entry = done.layer.complete(&done.layer.lookup(path.as_bytes()).unwrap().unwrap()).unwrap();
        assert_eq!(entry.xattrs.get(b"user.note".as_slice()).map(Vec::as_slice), Some(value.as_slice()));
    }
}

#[test]
fn hard_links_of_one_source_stay_linked() {
    // D-208.
    let copy = Copy { source: &["d/a=1", "d/b==d/a", "d/e/c==d/a"], destination: "/o", ..COPY };
    let done = Copy { patterns: &["d"], ..copy }.run().unwrap();
    assert_eq!(listing(&done.layer, &|_| String::new()), "o/ o/a=1 o/b=1 o/e/ o/e/c=1");
    let group = |path: &[u8]| done.layer.lookup(path).unwrap().unwrap().link_group;
    assert!(group(b"o/a").is_some());
    assert_eq!(group(b"o/a"), group(b"o/b"));
    assert_eq!(group(b"o/a"), group(b"o/e/c"));
    assert_eq!(done.stats.bytes, 1);
    let done = Copy { patterns: &["d/a", "d/b"], destination: "/o/", ..copy }.run().unwrap();
    assert_eq!(done.layer.lookup(b"o/a").unwrap().unwrap().link_group, None);
    assert_eq!(done.stats.bytes, 2);
    // Each match of a wildcard is copied for itself, as BuildKit does.
    let done = Copy { patterns: &["d/[ab]"], destination: "/o/", ..copy }.run().unwrap();
    assert_eq!(done.layer.lookup(b"o/a").unwrap().unwrap().link_group, None);
    assert_eq!(done.stats.bytes, 2);
}

#[test]
fn owners_come_from_the_instruction_the_image_or_are_root() {
    // D-209, D-213.
    let image = layer(&[("d", 5, 6, None), ("d/x", 7, 8, Some("1"))]);
    let copy = Copy { patterns: &["d"], destination: "/o", ..COPY };
    for (owners, owner, expected) in [
        (Owners::Kept, None, "o/@0:0 o/x=1@7:8"),
        (Owners::Root, None, "o/@0:0 o/x=1@0:0"),
        (Owners::Kept, Some((1, 2)), "o/@1:2 o/x=1@1:2"),
    ] {
        let done = Copy { owners, owner, ..copy }.run_on(&View::empty(), &image).unwrap();
        assert_eq!(listing(&done.layer, &|entry| format!("@{}:{}", entry.uid, entry.gid)), expected);
    }
}

/// Makes a layer of directories and files with owners.
fn layer(entries: &[(&str, u32, u32, Option<&str>)]) -> View {
    let mut tar = TarWriter::new(tempfile::tempfile().unwrap(), TarOptions::default());
    for (path, uid, gid, content) in entries {
        let kind = match content {
            Some(content) => EntryKind::File { size: content.len() as u64 },
            None => EntryKind::Directory { opaque: false },
        };
        tar.append(&entry(path, kind, *uid, *gid), &mut content.unwrap_or_default().as_bytes()).unwrap();
    }
    let file = tar.finish().unwrap();
    let index = Arc::new(TarIndex::build(&file).unwrap());
    View::new(vec![Arc::new(Tree::tar(file, index))])
}

fn entry(path: &str, kind: EntryKind, uid: u32, gid: u32) -> Entry {
    let mtime = Timestamp { seconds: THEN, nanos: 0 };
    Entry { path: path.into(), kind, mode: 0o751, uid, gid, mtime, xattrs: Default::default() }
}

#[test]
fn chmod_is_exact_or_symbolic_and_spares_links() {
    // D-215, D-216, D-217.
    let source = &["d/a=1 @600", "d/x=2 @711", "d/s/ @700", "d/l->a"];
    let copy = Copy { source, patterns: &["d"], destination: "/p/o", ..COPY };
    for (chmod, expected) in [
        ("644", "p/@644 p/o/@644 p/o/a=1@644 p/o/l->a@777 p/o/s/@644 p/o/x=2@644"),
        // Live BuildKit: directories on the way are made with a file creation mask.
        ("1777", "p/@755 p/o/@755 p/o/a=1@1777 p/o/l->a@777 p/o/s/@1777 p/o/x=2@1777"),
        ("u=rwX,go=rX", "p/@755 p/o/@755 p/o/a=1@644 p/o/l->a@777 p/o/s/@755 p/o/x=2@755"),
        ("+x", "p/@755 p/o/@755 p/o/a=1@711 p/o/l->a@777 p/o/s/@711 p/o/x=2@711"),
        ("g=u", "p/@755 p/o/@755 p/o/a=1@660 p/o/l->a@777 p/o/s/@770 p/o/x=2@771"),
        ("a+X,go-w", "p/@755 p/o/@755 p/o/a=1@600 p/o/l->a@777 p/o/s/@711 p/o/x=2@711"),
        ("u+s,+t", "p/@755 p/o/@755 p/o/a=1@5600 p/o/l->a@777 p/o/s/@5700 p/o/x=2@5711"),
        ("u-r+x=w", "p/@755 p/o/@755 p/o/a=1@200 p/o/l->a@777 p/o/s/@200 p/o/x=2@211"),
    ] {
        Copy { chmod: Some(chmod), ..copy }.gives_modes(expected);
    }
    for chmod in ["rwx", "u~x", "z+x", "u=q", ""] {
        let error = Copy { chmod: Some(chmod), ..copy }.run().err().map(|error| error.to_string());
        let start = format!("invalid chmod parameter `{chmod}`: it should be octal string");
        assert!(error.is_some_and(|error| error.starts_with(&start)), "{chmod}");
    }
}

#[test]
fn a_linked_layer_knows_nothing_of_the_image() {
    // D-218, D-221.
    let copy = Copy {
        parent: &["real/ @700", "dir/ @700", "link->/real"],
        source: &["a=1"],
        patterns: &["a"],
        link: true,
        ..COPY
    };
    for (destination, expected) in [
        ("/dir", "dir=1@644"),
        ("/dir/", "dir/@755 dir/a=1@644"),
        ("/link/", "link/@755 link/a=1@644"),
        ("/link/x/y", "link/@755 link/x/@755 link/x/y=1@644"),
    ] {
        Copy { destination, ..copy }.gives_modes(expected);
    }
    Copy { destination: "/dir/", chmod: Some("700"), owner: Some((3, 4)), ..copy }
        .gives_owners("dir/@3:4 dir/a=1@3:4");
}

#[test]
fn parents_are_recreated() {
    // D-222..D-226.
    let source = &["a/ @711", "a/b/ @700", "a/b/c.txt=1", "a/b/d=2", "a/e/f.txt=3", "g.txt=4", "ln->a"];
    let copy = Copy { source, parents: true, destination: "/d/", ..COPY };
    for (pattern, expected) in [
        ("a/b/c.txt", "d/@755 d/a/@711 d/a/b/@700 d/a/b/c.txt=1@644"),
        ("./a/b/c.txt", "d/@755 d/a/@711 d/a/b/@700 d/a/b/c.txt=1@644"),
        ("a/./b/c.txt", "d/@755 d/b/@700 d/b/c.txt=1@644"),
        ("a/b/./c.txt", "d/@755 d/c.txt=1@644"),
        ("a/b", "d/@755 d/a/@711 d/a/b/@700 d/a/b/c.txt=1@644 d/a/b/d=2@644"),
        ("./a/./b", "d/@755 d/b/@700 d/b/c.txt=1@644 d/b/d=2@644"),
        ("a/*/*.txt", "d/@755 d/a/@711 d/a/b/@700 d/a/b/c.txt=1@644 d/a/e/@755 d/a/e/f.txt=3@644"),
        (
            "**/*.txt",
            "d/@755 d/a/@711 d/a/b/@700 d/a/b/c.txt=1@644 d/a/e/@755 d/a/e/f.txt=3@644 d/g.txt=4@644",
        ),
        ("a/./**/*.txt", "d/@755 d/b/@700 d/b/c.txt=1@644 d/e/@755 d/e/f.txt=3@644"),
        ("a/e/", "d/@755 d/a/@711 d/a/e/@755 d/a/e/f.txt=3@644"),
        ("**/none", ""),
        ("*/./f.txt", ""),
        ("ln/e/f.txt", "d/@755 d/ln/@711 d/ln/e/@755 d/ln/e/f.txt=3@644"),
        ("ln", "d/@755 d/ln->a@777"),
    ] {
        if pattern == "*/./f.txt" {
            // The pivot's directory may be a wildcard; what follows it must exist in each match.
            Copy { patterns: &[pattern], ..copy }.fails("\"/a/f.txt\": not found");
        } else {
            Copy { patterns: &[pattern], ..copy }.gives_modes(expected);
        }
    }
    Copy { patterns: &["a/none"], ..copy }.fails("\"/a/none\": not found");
    Copy { patterns: &["g.txt"], destination: "/d", ..copy }.gives("d/ d/g.txt=4");
    Copy { patterns: &["a"], exclude: &["a/b", "**/f.txt"], ..copy }.gives("d/ d/a/ d/a/e/");
    Copy { patterns: &["**/*.txt"], ignore: Some("a/b"), ..copy }
        .gives("d/ d/a/ d/a/e/ d/a/e/f.txt=3 d/g.txt=4");
}

#[test]
fn here_documents_are_files_of_their_own() {
    let copy = Copy { inline: &[("EOF", "text\n")], ..COPY };
    Copy { destination: "/f", ..copy }.gives_modes("f=text\n@644");
    Copy { destination: "/f/", chmod: Some("755"), ..copy }.gives_modes("f/@755 f/EOF=text\n@755");
    Copy { destination: "/f", owner: Some((1, 2)), ..copy }.gives_owners("f=text\n@1:2");
    let both = Copy { source: &["a=1"], patterns: &["a"], destination: "/o/", ..copy };
    both.gives("o/ o/EOF=text\n o/a=1");
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let copy =
        Copy { source: &["d/a=1", "d/b/c=2", "e=3"], patterns: &["d", "e"], destination: "/o/", ..COPY };
    let bytes = || castoff_oci::Digest::of(&read_all(&copy.run().unwrap().tar));
    assert_eq!(bytes(), bytes());
}

fn read_all(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn digest_of(copy: &Copy<'_>, root: &TempDir) -> Digest {
    let view = view(root);
    let selection = copy.select(&view).unwrap().remove(0);
    let mut file = |node: &castoff_layer::Node| Ok::<_, CopyError>(content_digests(&view, &[node])?[0]);
    digest::<CopyError>(&selection, &view, copy.owners, &mut file).unwrap()
}

#[test]
fn the_digest_counts_content_and_not_time_or_place() {
    // D-311, D-312, D-314.
    let base = &["d/a=1", "d/s/b=2", "d/l->a"];
    let copy = Copy { patterns: &["d"], ..COPY };
    let of = |lines: &[&str], patterns: &[&str]| digest_of(&Copy { patterns, ..copy }, &fixture(lines));
    let expected = of(base, &["d"]);
    assert_eq!(of(&["other/a=1", "other/s/b=2", "other/l->a"], &["other"]), expected);
    assert_eq!(of(&["p/q/a=1", "p/q/s/b=2", "p/q/l->a"], &["p/q/"]), expected);
    assert_eq!(of(&["d/ @700", "d/a=1", "d/s/b=2", "d/l->a"], &["d"]), expected);
    assert_eq!(of(&["d/a=1", "d/s/b=2", "d/l->a", "outside=x"], &["d"]), expected);
    for changed in [
        &["d/a=2", "d/s/b=2", "d/l->a"][..],
        &["d/a=1 @600", "d/s/b=2", "d/l->a"],
        &["d/a=1", "d/s/ @700", "d/s/b=2", "d/l->a"],
        &["d/a=1", "d/s/b=2", "d/l->b"],
        &["d/c=1", "d/s/b=2", "d/l->a"],
        &["d/a=1", "d/s/b=2"],
        &["d/a=1", "d/s/b=2", "d/l->a", "d/t/"],
    ] {
        assert_ne!(of(changed, &["d"]), expected, "{changed:?}");
    }
    assert_ne!(of(&["a=1"], &["a"]), of(&["b=1"], &["b"]));
    assert_eq!(of(&["x/a=1"], &["x/a"]), of(&["y/a=1"], &["y/a"]));
    let times = fixture(base);
    fs::File::open(times.path().join("d/a")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(digest_of(&copy, &times), expected);
    let attributes = fixture(base);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(attributes.path().join("d/a"), "user.note", b"text", flags).unwrap();
    assert_ne!(digest_of(&copy, &attributes), expected);
    let excluded = Copy { exclude: &["**/*.log"], ..copy };
    let logs = fixture(&["d/a=1", "d/s/b=2", "d/l->a", "d/x.log=3"]);
    assert_eq!(digest_of(&excluded, &logs), expected);
}

#[test]
fn a_name_that_is_not_utf8_is_copied_as_it_is() {
    // D-198.
    use std::os::unix::ffi::OsStrExt;
    let source = fixture(&["d/"]);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(source.path().join("d").join(name), "1").unwrap();
    let copy = Copy { patterns: &["d"], destination: "/o", ..COPY };
    let done = copy.run_on(&View::empty(), &view(&source)).unwrap();
    assert!(done.layer.lookup(b"o/caf\xe9").unwrap().is_some());
}

#[test]
fn nothing_is_written_for_nothing() {
    // D-195.
    let done = Copy { source: &["a=1"], patterns: &["*.none"], destination: "/o/", ..COPY }.run().unwrap();
    assert_eq!(done.stats, CopyStats::default());
}
