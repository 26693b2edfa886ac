//! Files that change while they are copied, and trees that several threads read.

use std::collections::BTreeMap;
use std::fs;

use castoff_graph::pattern::IgnorePatterns;
use castoff_layer::{TarOptions, TarWriter, View};
use castoff_oci::Digest;
use castoff_solver::copy::{
    CopyError, Owners, Seen, SelectOptions, Selection, SourceTree, WriteOptions, content_digests, select,
    write,
};
use tempfile::TempDir;

use super::{NOW, fixture, view};

fn everything(view: &View, ignore: &str) -> Selection {
    let (exclude, ignore) = (IgnorePatterns::default(), IgnorePatterns::parse(ignore).unwrap());
    let options = SelectOptions { parents: false, exclude: &exclude, ignore: Some(&ignore), literal: false };
    select(view, ".", &options).unwrap()
}

fn digests(view: &View, selection: &Selection) -> BTreeMap<Vec<u8>, Digest> {
    let nodes: Vec<_> = selection.regular_files().collect();
    let digests = content_digests(view, &nodes).unwrap();
    nodes.iter().map(|node| node.entry.path.clone()).zip(digests).collect()
}

/// Looks at `a`, lets it change, and copies it; `began_ms` is when looking began.
fn copied(change: impl FnOnce(&TempDir), began_ms: i64) -> Result<(), CopyError> {
    let source = fixture(&["a=first"]);
    let tree = view(&source);
    let selection = everything(&tree, "");
    let digests = digests(&tree, &selection);
    change(&source);
    let seen = Some(Seen { digests: &digests, began_ms });
    let source = SourceTree { view: tree, selection: &selection, owners: Owners::Root, seen, unpack: false };
    let options = WriteOptions { owner: None, chmod: None, link: false, parents: false, mtime: NOW };
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    write(&View::empty(), &[source], &[], "/o/", &options, &mut tar).map(drop)
}

/// No file was at rest by then, and all files were by then.
const MOMENTS: [i64; 2] = [0, i64::MAX];

#[test]
fn what_changed_since_it_was_looked_at_is_refused_however_it_is_noticed() {
    // B-071
    for began_ms in MOMENTS {
        copied(|_| {}, began_ms).unwrap();
        let error = copied(|source| fs::write(source.path().join("a"), "other").unwrap(), began_ms);
        assert!(matches!(error, Err(CopyError::Changed { path }) if path == "a"), "{began_ms}");
        let replaced = copied(
            |source| {
                fs::write(source.path().join("b"), "other").unwrap();
                fs::rename(source.path().join("b"), source.path().join("a")).unwrap();
            },
            began_ms,
        );
        assert!(matches!(replaced, Err(CopyError::Changed { .. })), "{began_ms}");
    }
}

#[test]
fn other_metadata_and_the_same_bytes_are_no_change() {
    // B-071
    for began_ms in MOMENTS {
        copied(
            |source| {
                let now = std::time::SystemTime::now();
                fs::File::open(source.path().join("a")).unwrap().set_modified(now).unwrap();
            },
            began_ms,
        )
        .unwrap();
    }
}

#[test]
fn a_large_tree_is_selected_in_order_and_digested_whatever_the_threads_do() {
    // D-312, D-314
    let mut lines = Vec::new();
    for outer in 0..20 {
        for inner in 0..5 {
            lines.push(format!("d{outer:02}/e{inner}/f={outer} {inner}"));
            lines.push(format!("d{outer:02}/e{inner}/skipped/g=x"));
        }
        lines.push(format!("d{outer:02}/z={outer}"));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let source = fixture(&lines);
    let tree = view(&source);
    let mut expected = Vec::new();
    for outer in 0..20 {
        expected.push(format!("d{outer:02}"));
        for inner in 0..5 {
            expected.push(format!("d{outer:02}/e{inner}"));
            expected.push(format!("d{outer:02}/e{inner}/f"));
        }
        expected.push(format!("d{outer:02}/z"));
    }
    for _ in 0..20 {
        let selection = everything(&tree, "**/skipped");
        let entries = &selection.roots[0].entries;
        let paths: Vec<String> =
            entries.iter().map(|entry| String::from_utf8(entry.relative.clone()).unwrap()).collect();
        assert_eq!(paths, expected);
        let digests = digests(&tree, &selection);
        assert_eq!(digests.len(), 120);
        for (path, digest) in digests {
            let bytes = fs::read(source.path().join(String::from_utf8(path).unwrap())).unwrap();
            assert_eq!(digest, Digest::of(&bytes));
        }
    }
}

#[test]
fn of_files_that_cannot_be_read_the_first_is_named() {
    let lines: Vec<String> = (0..100).map(|number| format!("f{number:02}={number}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let source = fixture(&lines);
    let tree = view(&source);
    let selection = everything(&tree, "");
    let nodes: Vec<_> = selection.regular_files().collect();
    fs::remove_file(source.path().join("f00")).unwrap();
    fs::remove_file(source.path().join("f99")).unwrap();
    let error = content_digests(&tree, &nodes).unwrap_err().to_string();
    assert!(error.contains("/f00"), "{error}");
}
