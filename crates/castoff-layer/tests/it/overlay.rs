//! Five opinions of a stack of layers that must be one: the kernel's overlayfs over unpacked layers and over
//! EROFS images, plain unpacking of one layer over the other, and views over directories and over tars.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use castoff_layer::{
    ApplyOptions, Entry, EntryKind, OpaqueXattr, Ownership, TarIndex, TarOptions, TarWriter, Tree,
    TreeOptions, View, apply, write_tree,
};
use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::kit::{directory, entry, file, hardlink, is_root, opaque, symlink, tar, whiteout};

/// An overlay that is unmounted at the end of the test, whatever the end is.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Mounts layers read-only, or returns `None` where mounting is not allowed.
fn overlay(layers: &[PathBuf], target: &Path, opaque: OpaqueXattr) -> Option<Mounted> {
    let lowers: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let user = if opaque == OpaqueXattr::User { ",userxattr" } else { "" };
    let data = std::ffi::CString::new(format!("lowerdir={}{user}", lowers.join(":"))).unwrap();
    match mount("overlay", target, "overlay", MountFlags::RDONLY, Some(data.as_c_str())) {
        Ok(()) => Some(Mounted(target.to_owned())),
        Err(rustix::io::Errno::PERM) => None,
        Err(error) => panic!("overlay cannot be mounted: {error}"),
    }
}

/// Mounts an EROFS image of a tar, or returns `None` where the kernel does not mount images from files.
fn mount_image(image: &Path, tar: &Path, target: &Path) -> Option<Mounted> {
    let data = std::ffi::CString::new(format!("device={}", tar.display())).unwrap();
    match mount(image, target, "erofs", MountFlags::RDONLY, Some(data.as_c_str())) {
        Ok(()) => Some(Mounted(target.to_owned())),
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NODEV | rustix::io::Errno::NOTBLK) => None,
        Err(error) => panic!("the image cannot be mounted: {error}"),
    }
}

fn stream(root: &Path) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    // Overlayfs lists, but does not find, whiteouts in a directory that only one layer has.
    let ghost = |path: &[u8]| root.join(std::ffi::OsStr::from_bytes(path)).symlink_metadata().is_err();
    let options = TreeOptions { overlay: false, skip: &ghost, ..TreeOptions::default() };
    write_tree(root, &mut tar, &options).unwrap();
    tar.finish().unwrap()
}

fn stream_view(view: &View) -> Vec<u8> {
    fn directory_of(view: &View, path: &[u8], tar: &mut TarWriter<Vec<u8>>) {
        for (_, node) in view.read_dir(path).unwrap() {
            let mut entry = view.complete(&node).unwrap();
            if let EntryKind::Directory { opaque } = &mut entry.kind {
                *opaque = false;
            }
            match entry.kind {
                EntryKind::File { .. } => tar.append(&entry, &mut view.open(&node).unwrap()).unwrap(),
                _ => tar.append(&entry, &mut std::io::empty()).unwrap(),
            }
            if entry.is_directory() {
                directory_of(view, &entry.path, tar);
            }
        }
    }
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    directory_of(view, b"", &mut tar);
    tar.finish().unwrap()
}

fn listing(bytes: &[u8]) -> Vec<String> {
    let found = crate::kit::read(bytes).unwrap();
    found
        .into_iter()
        .map(|(entry, data)| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            format!("{path} {:?} {:o} {} {data:?}", entry.kind, entry.mode, entry.mtime.seconds)
        })
        .collect()
}

/// Layers bottom to top, each with an entry for every directory that it has something in.
fn check(layers: &[Vec<Entry>], opaque: OpaqueXattr) {
    let temporary = tempfile::tempdir().unwrap();
    let plain = temporary.path().join("plain");
    let merged = temporary.path().join("merged");
    std::fs::create_dir(&plain).unwrap();
    std::fs::create_dir(&merged).unwrap();
    let (mut bodies, mut images) = (Vec::new(), Vec::new());
    let (mut directories, mut tars) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        let bytes = tar(layer);
        let body = temporary.path().join(index.to_string());
        std::fs::create_dir(&body).unwrap();
        let options = ApplyOptions { opaque, ..ApplyOptions::default() };
        apply(&mut &bytes[..], &body, &options).unwrap();
        apply(&mut &bytes[..], &plain, &ApplyOptions { overlay: false, ..options }).unwrap();
        directories.push(Arc::new(Tree::directory(&body, Some(opaque), Ownership::Keep).unwrap()));
        let path = temporary.path().join(format!("{index}.tar"));
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        let tar_index = Arc::new(TarIndex::build(&file).unwrap());
        let image = temporary.path().join(format!("{index}.erofs"));
        std::fs::write(&image, tar_index.to_erofs(bytes.len() as u64, &mut |_| None).unwrap()).unwrap();
        images.push((image, path));
        tars.push(Arc::new(Tree::tar(file, tar_index)));
        bodies.push(body);
    }
    let Some(_mounted) = overlay(&bodies, &merged, opaque) else { return };
    let kernel = listing(&stream(&merged));
    let check = |found: Vec<u8>, what: &str| {
        let found = listing(&found);
        let first = found.iter().zip(&kernel).find(|(found, kernel)| found != kernel);
        assert_eq!((first, found.len()), (None, kernel.len()), "{what}: {layers:#?}");
    };
    check(stream(&plain), "plain unpacking and the kernel");
    check(stream_view(&View::new(directories)), "a view of directories");
    check(stream_view(&View::new(tars)), "a view of tars");
    // Attributes of users are overlayfs's marks only in a user namespace, where images are not mounted.
    if opaque == OpaqueXattr::Trusted {
        let lowers: Vec<PathBuf> =
            (0..images.len()).map(|index| temporary.path().join(format!("image-{index}"))).collect();
        let mut mounted = Vec::new();
        for ((image, tar), lower) in images.iter().zip(&lowers) {
            std::fs::create_dir(lower).unwrap();
            mounted.push(mount_image(image, tar, lower));
        }
        if mounted.iter().all(Option::is_some) {
            let again = temporary.path().join("again");
            std::fs::create_dir(&again).unwrap();
            let _overlay = overlay(&lowers, &again, opaque);
            check(stream(&again), "images");
        }
    }
}

fn leaf(path: String, kind: u8, size: u64) -> Entry {
    match kind {
        0 => whiteout(path),
        1 => symlink(path, "elsewhere"),
        2 => directory(path),
        3 => opaque(path),
        _ => file(path, size),
    }
}

fn layer() -> impl Strategy<Value = Vec<Entry>> {
    let children = prop::collection::btree_map(prop_oneof![Just("x"), Just("y")], (0..6_u8, 0..9_u64), 0..3);
    let names = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::btree_map(names, (0..9_u8, 1..9_u64, children), 0..4).prop_map(|map| {
        let mut entries = Vec::new();
        for (name, (kind, size, children)) in map {
            // More directories than anything else, or layers would rarely meet.
            let mut top = leaf(name.to_owned(), if kind > 5 { 2 } else { kind }, size);
            if kind != 0 {
                top.mtime.seconds += i64::from(kind) * 10 + size as i64;
            }
            let below = top.is_directory();
            entries.push(top);
            if below {
                let children = children.into_iter();
                entries.extend(
                    children.map(|(child, (kind, size))| leaf(format!("{name}/{child}"), kind, size)),
                );
            }
        }
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stack_of_layers_means_one_thing(
        layers in prop::collection::vec(layer(), 2..5),
        user in any::<bool>(),
    ) {
        if is_root() {
            check(&layers, if user { OpaqueXattr::User } else { OpaqueXattr::Trusted });
        }
    }
}

/// Everything that the format stores in a place of its own: several blocks of names, links within and
/// beyond a block, attributes, devices, large numbers.
#[test]
fn an_image_has_what_its_tar_has() {
    if !is_root() {
        return;
    }
    let mut entries = vec![directory("d"), file("empty", 0), file("long", 5_000), symlink("in", "elsewhere")];
    entries.extend((0..200).map(|number| file(format!("d/a-name-of-some-length-{number:03}"), number)));
    entries.push(file(format!("d/{}", "n".repeat(255)), 600));
    entries.push(symlink("beyond", &"t".repeat(3_000)));
    entries.push(symlink("brim", &"t".repeat(448)));
    let mut marked = file("marked", 700);
    marked.xattrs.insert(b"user.large".to_vec(), vec![b'v'; 2_000]);
    marked.xattrs.insert(b"user.small".to_vec(), b"x".to_vec());
    (marked.mode, marked.uid, marked.gid) = (0o6755, 4_000_000_000, 70_000);
    entries.push(marked);
    entries.push(entry("null", EntryKind::CharDevice { major: 1, minor: 3 }));
    entries.push(entry("disk", EntryKind::BlockDevice { major: 259, minor: 70_000 }));
    entries.push(entry("pipe", EntryKind::Fifo));
    let mut old = file("old", 1);
    (old.mtime.seconds, old.mtime.nanos) = (-1_000_000, 999_999_999);
    entries.push(old);
    check(&[entries, vec![file("top", 1)]], OpaqueXattr::Trusted);
}

#[test]
fn what_an_image_cannot_hold_is_said() {
    let check = |entries: &[Entry], expected: &str| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar(entries)).unwrap();
        let index = TarIndex::build(&file).unwrap();
        assert_eq!(index.to_erofs(0, &mut |_| None).unwrap_err().to_string(), expected);
    };
    check(&[hardlink("a", "elsewhere")], "`a` is a hard link to something that is not in the layer");
    let device = entry("device", EntryKind::CharDevice { major: 5_000, minor: 1 });
    check(&[device], "`device` is larger than an EROFS image takes");
    check(&[file("n".repeat(600), 1)], "`` is larger than an EROFS image takes");
}

#[test]
fn whiteouts_and_opaque_directories_mean_to_the_kernel_what_they_mean_here() {
    if !is_root() {
        return;
    }
    let bottom = vec![
        directory("d"),
        file("d/a", 1),
        file("d/b", 2),
        directory("e"),
        directory("e/sub"),
        file("e/sub/f", 3),
        file("swap", 4),
    ];
    let middle = vec![directory("d"), whiteout("d/a"), opaque("e"), file("e/new", 5), directory("swap")];
    let top = vec![directory("d"), file("d/a", 6), whiteout("e"), file("swap", 7)];
    check(&[bottom.clone(), middle.clone()], OpaqueXattr::Trusted);
    check(&[bottom, middle, top], OpaqueXattr::User);
}
