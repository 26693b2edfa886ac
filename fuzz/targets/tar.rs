//! Hostile archives are read or refused within bounds, and no entry leaves the root.

#![no_main]

use std::io::Read;

use castoff_layer::{Compression, EntryKind, ReadOptions, TarOptions, TarWriter, decompress, read_tar};

/// Most bytes that are taken from one decompressed input.
const MOST: u64 = 8 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read(bytes, false);
    read(bytes, true);
    if let Ok((compression, plain)) = decompress(Box::new(bytes))
        && compression != Compression::None
    {
        let mut text = Vec::new();
        // A damaged stream is an error; that is all that is asked of it.
        if plain.take(MOST).read_to_end(&mut text).is_ok() {
            read(&text, false);
        }
    }
});

/// Reads an archive; what was read is written, and read again is the same.
fn read(mut bytes: &[u8], whiteouts: bool) {
    let mut entries = Vec::new();
    let options = ReadOptions { whiteouts, ..ReadOptions::default() };
    let result = read_tar(&mut bytes, options, &mut |mut entry, data, _| {
        assert!(!entry.path.starts_with(b"/") && !entry.path.contains(&0), "{:?}", entry.path);
        assert!(entry.path.split(|byte| *byte == b'/').all(|name| name != b".."), "{:?}", entry.path);
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        if let EntryKind::File { size } = entry.kind {
            assert_eq!(size, content.len() as u64);
        }
        // Whole seconds are written.
        entry.mtime.nanos = 0;
        entries.push((entry, content));
        Ok(())
    });
    if result.is_err() || whiteouts {
        return;
    }
    let mut writer = TarWriter::new(Vec::new(), TarOptions::default());
    for (entry, content) in &entries {
        // Not every entry that can be read can be written: whiteouts without their meaning, for one.
        if writer.append(entry, &mut content.as_slice()).is_err() {
            return;
        }
    }
    let written = writer.finish().expect("a Vec takes everything");
    let mut again = Vec::new();
    read_tar(&mut written.as_slice(), ReadOptions::default(), &mut |entry, data, _| {
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        again.push((entry, content));
        Ok(())
    })
    .expect("what we wrote can be read");
    assert!(again == entries, "{:?}", again.iter().zip(&entries).find(|(new, old)| new != old));
}
