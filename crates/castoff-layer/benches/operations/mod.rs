//! What is measured of layers, on trees that are the same in every run.

use std::fs::File;
use std::io::Write;

use castoff_layer::{
    ApplyOptions, CompressOptions, Compression, Entry, EntryKind, TarIndex, TarOptions, TarWriter, Timestamp,
    apply, compress,
};

/// Bytes of each file.
pub const SIZE: usize = 1_000;

/// Entries of a layer: directories of fifty files each.
pub fn entries(files: usize) -> Vec<Entry> {
    let entry = |path: String, kind, mode| Entry {
        path: path.into_bytes(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: 1_000_000_000, nanos: 0 },
        xattrs: Default::default(),
    };
    let mut entries = Vec::new();
    for number in 0..files {
        if number % 50 == 0 {
            entries.push(entry(
                format!("srv/d{}", number / 50),
                EntryKind::Directory { opaque: false },
                0o755,
            ));
        }
        let path = format!("srv/d{}/file-{number}.js", number / 50);
        entries.push(entry(path, EntryKind::File { size: SIZE as u64 }, 0o644));
    }
    entries
}

/// Writes a layer.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let data = [b'x'; SIZE];
    let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
    for entry in entries {
        let size = if matches!(entry.kind, EntryKind::File { .. }) { SIZE } else { 0 };
        tar.append(entry, &mut &data[..size]).expect("memory takes everything");
    }
    tar.finish().expect("memory takes everything")
}

/// Puts a layer into a file, as the store has it.
pub fn file(tar: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(tar).expect("the file system has room");
    file
}

/// Looks up where everything is.
pub fn index(file: &File) -> TarIndex {
    TarIndex::build(file).expect("the tar is sound")
}

/// Reads an index as the store keeps it.
pub fn read_index(bytes: &[u8]) -> TarIndex {
    TarIndex::from_bytes(bytes).expect("the index is sound")
}

/// Makes the image that is mounted.
pub fn image(index: &TarIndex, size: u64) -> Vec<u8> {
    index.to_erofs(size, &mut |_| None).expect("the format holds it")
}

/// Unpacks a layer.
pub fn unpack(mut tar: &[u8]) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let options = ApplyOptions { overlay: false, ..ApplyOptions::default() };
    apply(&mut tar, root.path(), &options).expect("the tar is sound");
}

/// Compresses as a push does, by one thread.
pub fn pack(mut bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    let options = CompressOptions { compression, level: None, threads: 1 };
    compress(&mut bytes, &mut out, options).expect("memory takes everything");
    out
}

/// Bytes that look like source text, and always the same.
pub fn text(length: usize) -> Vec<u8> {
    let words = ["const ", "return ", "value", "(", ")", ";\n", "import ", "index ", "=> ", "{\n", "}\n"];
    let mut state: u32 = 7;
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(state >> 16) as usize % words.len()].as_bytes());
    }
    text.truncate(length);
    text
}
