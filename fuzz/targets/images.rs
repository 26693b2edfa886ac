//! Layouts and archives of images are read or refused within bounds, and nothing gets in under a false digest.
//!
//! The input is documents, separated by NUL bytes. The first is the index of a layout; one that begins with `[` is
//! what a Docker archive has instead; the others are blobs. `@3` stands for the digest of the third document after
//! it, counted from one, and `#3` for its size.

#![no_main]

use std::path::Path;

use castoff_layer::{OpaqueXattr, Ownership};
use castoff_oci::Digest;
use castoff_registry::{Client, Config};
use castoff_sandbox::Cancel;
use castoff_solver::transfer::{Place, find_in_layout, gather};
use castoff_solver::{MachineMode, World, import};
use castoff_store::{Boot, Store};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let files = files(bytes);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = directory.path().join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in &files {
        std::fs::write(layout.join(name), content).expect("a file");
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice()).expect("a Vec takes everything");
    }
    WORLD.with(|(_place, world)| take(world, &layout, tar.into_inner().expect("a Vec takes everything")));
});

thread_local! {
    /// One for all inputs: making a store is what takes time. What an input leaves is blobs, by their digests.
    static WORLD: (tempfile::TempDir, World) = {
        let place = tempfile::tempdir().expect("a temporary directory");
        let world = world(&place.path().join("store"));
        (place, world)
    };
}

/// Takes a layout and an archive of the same files in.
fn take(world: &World, layout: &Path, archive: Vec<u8>) {
    if let Ok(root) = find_in_layout(layout, None, None)
        && let Ok(pack) = gather(world, &Place::Layout(layout.to_owned()), &root, None)
    {
        assert_eq!(pack.manifests.last().map(|last| last.digest), Some(pack.root.digest));
        for (digest, document) in &pack.documents {
            assert_eq!(Digest::of(&document.bytes), *digest);
        }
        for manifest in &pack.manifests {
            assert_eq!(pack.documents[&manifest.digest].bytes.len() as u64, manifest.size);
        }
    }
    if let Ok(loaded) = import::read_archive(&world.store, Box::new(std::io::Cursor::new(archive))) {
        for image in loaded {
            let root = world.store.blob(&image.descriptor.digest).expect("what was read is there");
            assert_eq!(root.size, image.descriptor.size);
        }
    }
}

/// Returns the files that an input describes, each once.
fn files(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(40).collect();
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut files = std::collections::BTreeMap::new();
    for (place, part) in parts.iter().enumerate().rev() {
        let mut content = Vec::new();
        let mut rest = *part;
        while let Some((first, after)) = rest.split_first() {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count().min(2);
            let number =
                std::str::from_utf8(&after[..digits]).ok().and_then(|text| text.parse::<usize>().ok());
            // The documents behind are done, the last of them first.
            let other = number.and_then(|number| done.get(done.len().checked_sub(number)?));
            match (first, other) {
                (b'@', Some(other)) => content.extend(Digest::of(other).to_string().bytes()),
                (b'#', Some(other)) => content.extend(other.len().to_string().bytes()),
                _ => {
                    content.push(*first);
                    rest = after;
                    continue;
                }
            }
            rest = &after[digits..];
        }
        let name = match (place, content.first()) {
            (_, Some(b'[')) => "manifest.json".to_owned(),
            (0, _) => "index.json".to_owned(),
            _ => format!("blobs/sha256/{}", Digest::of(&content).hex()),
        };
        files.insert(name, content.clone());
        done.push(content);
    }
    files.into_iter().collect()
}

/// Returns a world of which nothing but the store is used.
fn world(store: &Path) -> World {
    World {
        store: Store::open(store, &Boot { boot_id: "boot".to_owned() }).expect("a store"),
        registry: Client::new(Config::default()),
        shared_caches: Default::default(),
        locals: Default::default(),
        secrets: Default::default(),
        guard: None,
        git: Default::default(),
        agents: Default::default(),
        search_path: Default::default(),
        emulators: Default::default(),
        device_directories: Default::default(),
        devices: Default::default(),
        machine: MachineMode {
            opaque: OpaqueXattr::User,
            ownership: Ownership::Keep,
            user_namespace: false,
            images: false,
            jobs: 1,
        },
        host: Default::default(),
        cancel: Cancel::new().expect("a pipe"),
        clock: || 0,
    }
}
