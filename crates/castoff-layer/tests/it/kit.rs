//! Entries, raw headers and directories for the tests.

use std::collections::BTreeMap;

use castoff_layer::{
    Entry, EntryKind, ReadOptions, TarOptions, TarReadError, TarWriter, Timestamp, read_tar,
};

/// Returns whether owners, devices and whiteouts can be made here.
///
/// Tests that need it end early without it; continuous integration runs them as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An entry of this process's own, so that it can be made without privileges.
pub fn entry(path: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_ref().to_vec(),
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp { seconds: 1_700_000_000, nanos: 0 },
        xattrs: BTreeMap::new(),
    }
}

pub fn file(path: impl AsRef<[u8]>, size: u64) -> Entry {
    entry(path, EntryKind::File { size })
}

pub fn directory(path: impl AsRef<[u8]>) -> Entry {
    Entry { mode: 0o755, ..entry(path, EntryKind::Directory { opaque: false }) }
}

pub fn opaque(path: impl AsRef<[u8]>) -> Entry {
    Entry { mode: 0o755, ..entry(path, EntryKind::Directory { opaque: true }) }
}

pub fn symlink(path: impl AsRef<[u8]>, target: &str) -> Entry {
    Entry { mode: 0o777, ..entry(path, EntryKind::Symlink { target: target.into() }) }
}

pub fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(path, EntryKind::Hardlink { target: target.as_ref().to_vec() })
}

pub fn whiteout(path: impl AsRef<[u8]>) -> Entry {
    let mut entry = entry(path, EntryKind::Whiteout);
    (entry.mode, entry.uid, entry.gid, entry.mtime) = (0, 0, 0, Timestamp::default());
    entry
}

/// Data of a file, different for each path and size.
pub fn data(entry: &Entry) -> Vec<u8> {
    let EntryKind::File { size } = entry.kind else { return Vec::new() };
    let seed = entry.path.iter().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    (0..size).map(|index| seed.wrapping_add((index / 3) as u8)).collect()
}

/// Writes entries with the data of [`data`].
pub fn tar_with(entries: &[Entry], options: TarOptions) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new(), options);
    for entry in entries {
        tar.append(entry, &mut data(entry).as_slice()).unwrap();
    }
    tar.finish().unwrap()
}

pub fn tar(entries: &[Entry]) -> Vec<u8> {
    tar_with(entries, TarOptions::default())
}

/// Reads a tar whole: entries and their data.
pub fn read_with(bytes: &[u8], options: ReadOptions) -> Result<Vec<(Entry, Vec<u8>)>, TarReadError> {
    let mut found = Vec::new();
    read_tar(&mut &bytes[..], options, &mut |entry, data, offset| {
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        assert_eq!(&bytes[offset as usize..][..content.len()], content, "the offset is that of the data");
        found.push((entry, content));
        Ok(())
    })?;
    Ok(found)
}

pub fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarReadError> {
    read_with(bytes, ReadOptions::default())
}

/// A block of a tar made by hand, for what no decent writer writes.
pub fn raw(kind: u8, name: &[u8], link: &[u8], size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(kind));
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    header
}

/// A header and its padded data.
pub fn member(header: &tar::Header, data: &[u8]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A PAX header with these records.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    member(&raw(b'x', b"pax", b"", body.len() as u64), &body)
}

/// Members and the end of the archive.
pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
