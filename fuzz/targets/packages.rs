//! What package managers and compilers leave in an image is read or refused within bounds, and documents are made
//! of what was found.
//!
//! The first byte says which file the rest is; a program is also looked at as one that is to be started.

#![no_main]

use std::io::Write;
use std::sync::Arc;

use castoff_inspect::packages::{Subject, cyclonedx, scan, spdx};
use castoff_inspect::{StartCheck, User};
use castoff_layer::{Entry, EntryKind, TarIndex, TarOptions, TarWriter, Tree, View};
use castoff_oci::{Digest, ImageConfig};

/// Where the rest may be, with its mode.
const PLACES: [(&str, u32); 8] = [
    ("var/lib/dpkg/status", 0o644),
    ("var/lib/dpkg/status.d/a", 0o644),
    ("lib/apk/db/installed", 0o644),
    ("node_modules/a/package.json", 0o644),
    ("a.dist-info/METADATA", 0o644),
    ("a.jar", 0o644),
    ("program", 0o755),
    ("etc/os-release", 0o644),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((place, content)) = bytes.split_first() else { return };
    let (path, mode) = PLACES[usize::from(*place) % PLACES.len()];
    let view = view(path, mode, content);
    let found = scan(&view).expect("the file system is sound");
    let subject = Subject {
        name: "image".to_owned(),
        digest: Some(Digest::of(content)),
        platform: "linux/amd64".parse().expect("a platform"),
        created: "2026-01-01T00:00:00Z".to_owned(),
        tool_version: "1".to_owned(),
    };
    for package in &found.packages {
        assert!(package.purl.starts_with("pkg:") && package.purl.is_ascii(), "{}", package.purl);
    }
    spdx::document(&found, &subject).to_string();
    cyclonedx::document(&found, &subject).to_string();
    if mode == 0o755 {
        let mut config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        config.config.cmd = Some(vec!["/program".to_owned()]);
        let user = User::Known { uid: 0, groups: vec![0] };
        StartCheck { view: &view, config: &config, user }.run().expect("the file system is sound");
    }
});

/// Returns a file system of one file.
fn view(path: &str, mode: u32, content: &[u8]) -> View {
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    let entry = Entry {
        path: path.as_bytes().to_vec(),
        kind: EntryKind::File { size: content.len() as u64 },
        mode,
        uid: 0,
        gid: 0,
        mtime: Default::default(),
        xattrs: Default::default(),
    };
    let mut read = content;
    tar.append(&entry, &mut read).expect("a Vec takes everything");
    let bytes = tar.finish().expect("a Vec takes everything");
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&bytes).expect("a temporary file takes everything");
    let index = TarIndex::build(&file).expect("what we wrote can be read");
    View::new(vec![Arc::new(Tree::tar(file, Arc::new(index)))])
}
