//! Looking into what is compressed or an archive: gzip, zstd, xz, bzip2, zip and tar, also in one another.
//!
//! Everything here is taken as hostile. What is opened is bounded in depth and in bytes; what is beyond, damaged or of
//! another kind is left and said. The bytes of a file as it is are looked at in any case.

use std::io::{self, BufReader, Read};

use castoff_layer::{Compression, EntryKind, Limits as TarLimits, ReadOptions, TarReadError};

use super::scan::Scanner;
use super::stream::{Stream, Watched};
use super::zip;

/// Bytes that show what something is: the header of a tar.
const HEAD: usize = 512;

/// What can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Compressed,
    Zip,
    Tar,
}

/// Looks at a reader to its end, and into what it gives.
pub(super) fn read<'p>(
    scanner: &mut Scanner<'p>,
    stream: &mut Stream<'p>,
    path: &[u8],
    data: &mut dyn Read,
    depth: u32,
) -> io::Result<()> {
    let head = stream.head(data, HEAD)?;
    let Some(kind) = kind(head) else { return stream.drain(data) };
    let head = head.to_vec();
    let mut watched = Watched { inner: &mut *data, stream: &mut *stream, failed: None };
    open(scanner, kind, path, &mut (&head[..]).chain(&mut watched), depth);
    match watched.failed {
        Some(error) => Err(error),
        None => stream.drain(data),
    }
}

/// Looks into a part of something whose bytes were looked at.
fn nested(scanner: &mut Scanner<'_>, path: &[u8], data: &mut dyn Read, depth: u32) {
    let mut head = Vec::with_capacity(HEAD);
    // What cannot be read is for whoever reads the outer stream.
    if (&mut *data).take(HEAD as u64).read_to_end(&mut head).is_err() {
        return;
    }
    if let Some(kind) = kind(&head) {
        open(scanner, kind, path, &mut (&head[..]).chain(data), depth);
    }
}

fn kind(head: &[u8]) -> Option<Kind> {
    match castoff_layer::detect(head) {
        // The only method that there is (RFC 1952, section 2.3.1).
        Compression::Gzip if head.get(2) == Some(&8) => Some(Kind::Compressed),
        Compression::Zstd | Compression::Xz | Compression::Bzip2 => Some(Kind::Compressed),
        Compression::Gzip | Compression::None if zip::is_zip(head) => Some(Kind::Zip),
        Compression::Gzip | Compression::None => castoff_layer::is_tar(head).then_some(Kind::Tar),
    }
}

/// Looks into something; its own bytes are looked at elsewhere.
fn open(scanner: &mut Scanner<'_>, kind: Kind, path: &[u8], data: &mut dyn Read, depth: u32) {
    if depth >= scanner.limits.depth {
        return scanner.leave(path, "it is in too many others");
    }
    let depth = depth + 1;
    let done = match kind {
        Kind::Compressed => match castoff_layer::decoder(data) {
            Ok((_, mut plain)) => unpack(scanner, path, &mut plain, depth),
            Err(_) => Err("it is damaged"),
        },
        Kind::Tar => tar(scanner, path, data, depth),
        Kind::Zip => members_of_zip(scanner, path, data, depth),
    };
    scanner.checked.depth = scanner.checked.depth.max(depth);
    if let Err(reason) = done {
        scanner.leave(path, reason);
    }
}

/// Looks at what something unpacks to.
fn unpack(
    scanner: &mut Scanner<'_>,
    path: &[u8],
    plain: &mut dyn Read,
    depth: u32,
) -> Result<(), &'static str> {
    scanner.checked.members += 1;
    let budget = scanner.budget;
    let mut limited = Limited { inner: plain, left: budget, is_over: false };
    let done = scanner.content(path, &mut limited, depth);
    let (used, is_over) = (budget - limited.left, limited.is_over);
    // What was unpacked inside of it was counted there.
    scanner.budget = scanner.budget.saturating_sub(used);
    scanner.checked.unpacked += used;
    match done {
        _ if is_over => Err("it unpacks to too much"),
        Ok(_) => Ok(()),
        Err(_) => Err("it is damaged"),
    }
}

/// A reader that ends when too much came of it.
struct Limited<'a> {
    inner: &'a mut dyn Read,
    left: u64,
    is_over: bool,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 && !buffer.is_empty() {
            // There may be nothing more.
            self.is_over |= self.inner.read(&mut [0])? > 0;
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

fn tar(scanner: &mut Scanner<'_>, path: &[u8], data: &mut dyn Read, depth: u32) -> Result<(), &'static str> {
    let limits = TarLimits { entries: 1_000_000, ..TarLimits::default() };
    let options = ReadOptions { whiteouts: false, limits };
    let done = castoff_layer::read_tar(data, options, &mut |entry, data, _| {
        let path = [path, b"!/", &entry.path].concat();
        // Headers cut long names.
        scanner.names(&path, &entry);
        if let EntryKind::File { .. } = entry.kind {
            scanner.checked.members += 1;
            nested(scanner, &path, data, depth);
        }
        Ok::<(), TarReadError>(())
    });
    done.map_err(|_| "it is no archive that can be read to its end")
}

fn members_of_zip(
    scanner: &mut Scanner<'_>,
    path: &[u8],
    data: &mut dyn Read,
    depth: u32,
) -> Result<(), &'static str> {
    let mut reader = BufReader::with_capacity(64 << 10, data);
    loop {
        let member = match zip::next(&mut reader) {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(()),
            Err(_) => return Err("it is damaged"),
        };
        let path = [path, b"!/", &member.name[..]].concat();
        match (member.method, member.size) {
            _ if member.is_encrypted => scanner.leave(&path, "it is encrypted"),
            (8, Some(size)) => {
                let mut data = reader.by_ref().take(size);
                let mut plain = flate2::bufread::DeflateDecoder::new(&mut data);
                if let Err(reason) = unpack(scanner, &path, &mut plain, depth) {
                    scanner.leave(&path, reason);
                }
                zip::skip(&mut data).map_err(|_| "it is damaged")?;
            }
            (8, None) => {
                let mut plain = flate2::bufread::DeflateDecoder::new(&mut reader);
                if let Err(reason) = unpack(scanner, &path, &mut plain, depth) {
                    scanner.leave(&path, reason);
                }
            }
            // What begins with the bytes of its compression: stored, bzip2, zstd and xz.
            (0 | 12 | 93 | 95, Some(size)) => {
                scanner.checked.members += 1;
                let mut data = reader.by_ref().take(size);
                nested(scanner, &path, &mut data, depth);
                zip::skip(&mut data).map_err(|_| "it is damaged")?;
            }
            (_, Some(size)) => {
                scanner.leave(&path, "it is compressed in another way");
                zip::skip(&mut reader.by_ref().take(size)).map_err(|_| "it is damaged")?;
            }
            (_, None) => scanner.leave(&path, "its size is not told before it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp};
    use flate2::Compression;

    use super::super::scan::Limits;
    use super::super::{Encoding, Find, Needles, Scan, Scanner};

    const VALUE: &[u8] = b"hunter22-x9Kq2pLm4Zt7";

    fn scan_within(limits: Limits, path: &str, content: &[u8]) -> Scan {
        let needles = Needles::of([("token", VALUE)]);
        let mut scanner = Scanner::new(&needles, None);
        scanner.limits = limits;
        scanner.file(path.as_bytes(), &mut &content[..]).unwrap();
        scanner.finish()
    }

    fn scan(path: &str, content: &[u8]) -> Scan {
        scan_within(Limits { depth: 6, file: 1 << 30, scan: 1 << 30 }, path, content)
    }

    #[track_caller]
    fn is_found(content: &[u8], expected: &str) {
        let paths: Vec<String> = scan("/f", content).finds.into_iter().map(|find| find.path).collect();
        assert_eq!(paths, [expected]);
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
        for (path, content) in files {
            let entry = Entry {
                path: path.as_bytes().to_vec(),
                kind: EntryKind::File { size: content.len() as u64 },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
                xattrs: Default::default(),
            };
            tar.append(&entry, &mut &content[..]).unwrap();
        }
        tar.finish().unwrap()
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (path, content) in files {
            zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// A zip as programs write it that cannot go back: sizes come behind the data.
    fn streamed_zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, content) in files {
            bytes.extend(b"PK\x03\x04\x14\0\x08\0\x08\0");
            bytes.extend([0; 16]);
            bytes.extend((path.len() as u16).to_le_bytes());
            bytes.extend([0, 0]);
            bytes.extend(path.bytes());
            let mut encoder = flate2::write::DeflateEncoder::new(&mut bytes, Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
            bytes.extend(b"PK\x07\x08\0\0\0\0\0\0\0\0\0\0\0\0");
        }
        bytes.extend(b"PK\x01\x02");
        bytes
    }

    fn text() -> Vec<u8> {
        [&b"a text long enough to be compressed, a text long enough with token="[..], VALUE, b"\n"].concat()
    }

    #[test]
    fn what_is_compressed_is_looked_into() {
        is_found(&text(), "/f");
        is_found(&gzip(&text()), "/f");
        is_found(&[gzip(b"first "), gzip(&text())].concat(), "/f");
        let mut zstd = Vec::new();
        let options = castoff_layer::CompressOptions {
            compression: castoff_layer::Compression::Zstd,
            level: None,
            threads: 1,
        };
        castoff_layer::compress(&mut &text()[..], &mut zstd, options).unwrap();
        is_found(&zstd, "/f");
    }

    #[test]
    fn members_of_archives_are_looked_into_and_named() {
        let files: &[(&str, &[u8])] = &[("a", b"nothing"), ("d/b", &gzip(&text())), ("c", b"nothing either")];
        is_found(&tar(files), "/f!/d/b");
        is_found(&zip(files), "/f!/d/b");
        is_found(&streamed_zip(files), "/f!/d/b");
        is_found(&zip(&[("a", b""), ("b", &text())]), "/f!/b");
        is_found(&gzip(&tar(files)), "/f!/d/b");
        is_found(&zip(&[("x.tar.gz", &gzip(&tar(&[("y.gz", &gzip(&text()))])))]), "/f!/x.tar.gz!/y.gz");
        let scan = scan("/f", &zip(files));
        assert_eq!((scan.checked.left, scan.checked.depth), (0, 2));
    }

    /// Also in the name of a member, which is then not told.
    #[test]
    fn names_of_members_are_looked_at() {
        let name = format!("x/{}.txt", String::from_utf8_lossy(VALUE));
        let found = scan("/f", &gzip(&tar(&[(&name, b"nothing")]))).finds;
        let find = |path: &str| Find {
            path: path.to_owned(),
            secret: "token".to_owned(),
            part: super::super::Part::Whole,
            encoding: Encoding::Raw,
        };
        assert_eq!(found, [find("/f"), find("/f!/x/*****.txt")]);
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_said() {
        let mut nested = text();
        for _ in 0..7 {
            nested = gzip(&nested);
        }
        let scan = scan("/deep.gz", &nested);
        assert!(scan.finds.is_empty());
        assert_eq!((scan.checked.depth, scan.checked.left), (6, 1));
        assert_eq!(scan.checked.unread[0].path, "/deep.gz");
        is_found(&gzip(&gzip(&gzip(&gzip(&gzip(&gzip(&text())))))), "/f");

        let zeros = vec![0; 4 << 20];
        let bomb = zip(&[("1", &gzip(&zeros)), ("2", &gzip(&zeros)), ("3", &gzip(&zeros))]);
        let limits = Limits { depth: 6, file: 1 << 20, scan: 2 << 20 };
        let scan = scan_within(limits, "/bomb.zip", &bomb);
        assert!(scan.checked.unpacked <= 2 << 20, "{:?}", scan.checked);
        assert!(scan.checked.left >= 2, "{:?}", scan.checked);
        let reasons: Vec<&str> = scan.checked.unread.iter().map(|file| file.reason).collect();
        assert!(reasons.contains(&"it unpacks to too much"), "{reasons:?}");
    }

    /// What is damaged is looked at as it is, and what is before the damage is found.
    #[test]
    fn damage_is_no_error() {
        let mut whole = gzip(&[&text()[..], &vec![7; 100_000]].concat());
        whole.truncate(whole.len() - 20);
        let scan = scan("/f", &whole);
        assert_eq!((scan.finds.len(), scan.checked.left), (1, 1));
        for length in [4, 20, 29, 31, 60] {
            let cut = &zip(&[("name", &text())])[..length];
            assert!(super::super::zip::is_zip(cut));
            let _whatever_it_says = scan_within(Limits { depth: 6, file: 1 << 20, scan: 1 << 20 }, "/f", cut);
        }
    }

    #[test]
    fn a_reader_that_fails_is_an_error() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("gone"))
            }
        }
        let needles = Needles::of([("token", VALUE)]);
        let noise: Vec<u8> =
            (0..5000u32).map(|number| (number.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        for begin in [&b"text"[..], &gzip(&text())[..30], &gzip(&noise)[..600]] {
            let mut scanner = Scanner::new(&needles, None);
            let error = scanner.file(b"/f", &mut begin.chain(Failing)).unwrap_err();
            assert_eq!(error.to_string(), "gone");
        }
    }

    proptest::proptest! {
        // Hostile bytes end, and are no error of the reader.
        #[test]
        fn anything_can_be_looked_at(
            magic in 0usize..6,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000),
        ) {
            let magics: [&[u8]; 6] =
                [b"\x1f\x8b\x08", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9", b""];
            let limits = Limits { depth: 3, file: 1 << 20, scan: 1 << 20 };
            scan_within(limits, "/f", &[magics[magic], &rest].concat());
        }
    }
}
