//! Compression: equal bytes for any number of threads, and everything the field uses is read.

use std::io::{self, Read, Write};

use castoff_layer::{CompressOptions, Compression, compress, decompress, detect};

/// Text that compresses, longer than some blocks.
fn text(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("{:x} ", state % 4096).as_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn packed(input: &[u8], compression: Compression, level: Option<u32>, threads: usize) -> Vec<u8> {
    let mut output = Vec::new();
    compress(&mut &input[..], &mut output, CompressOptions { compression, level, threads }).unwrap();
    output
}

fn unpacked(input: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
    let (compression, mut reader) = decompress(Box::new(input))?;
    let mut output = Vec::new();
    reader.read_to_end(&mut output)?;
    Ok((compression, output))
}

const SIZES: [usize; 6] = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_500_000];

#[test]
fn what_is_compressed_is_read_back() {
    for size in SIZES {
        let input = text(size);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let output = packed(&input, compression, None, 3);
            let expected =
                if size == 0 && compression == Compression::None { Compression::None } else { compression };
            assert_eq!(detect(&output), expected);
            let (found, back) = unpacked(&output).unwrap();
            assert_eq!(found, expected);
            assert!(back == input, "{compression:?} {size}");
        }
    }
}

// B-173
#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    /// Gives a little at a time, differently each time.
    struct Trickle<'a>(&'a [u8], usize);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 65_521 + 1;
            let count = buffer.len().min(self.1);
            self.0.read(&mut buffer[..count])
        }
    }
    let input = text(5_500_000);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let alone = packed(&input, compression, Some(1), 1);
        for threads in [0, 2, 5, 16] {
            assert!(packed(&input, compression, Some(1), threads) == alone, "{threads} threads");
        }
        let mut output = Vec::new();
        let options = CompressOptions { compression, level: Some(1), threads: 4 };
        compress(&mut Trickle(&input, 3), &mut output, options).unwrap();
        assert!(output == alone);
    }
}

// B-108: what is cut into blocks is nearly as small as what is not.
#[test]
fn blocks_of_gzip_cost_less_than_a_tenth() {
    // A program with the names of its parts: what layers are mostly made of.
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    for input in [&program[..program.len().min(12 << 20)], &text(6_000_000)] {
        let mut whole = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        whole.write_all(input).unwrap();
        let whole = whole.finish().unwrap().len();
        let blocks = packed(input, Compression::Gzip, None, 2).len();
        assert!(blocks * 10 <= whole * 11, "{blocks} bytes in blocks, {whole} in one");
    }
}

#[test]
fn gzip_headers_say_nothing_of_the_machine() {
    let output = packed(b"x", Compression::Gzip, None, 1);
    assert_eq!(&output[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "no flags, no time");
}

#[test]
fn levels_are_checked() {
    for (compression, level) in [
        (Compression::Gzip, 13),
        (Compression::Zstd, 0),
        (Compression::Zstd, 23),
        (Compression::Gzip, u32::MAX),
    ] {
        let options = CompressOptions { compression, level: Some(level), threads: 1 };
        let error = compress(&mut &b""[..], &mut io::sink(), options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    for compression in [Compression::Xz, Compression::Bzip2] {
        let options = CompressOptions { compression, level: None, threads: 1 };
        let error = compress(&mut &b""[..], &mut io::sink(), options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
    let input = text(3_000_000);
    assert!(
        packed(&input, Compression::Zstd, Some(19), 2).len()
            < packed(&input, Compression::Zstd, Some(1), 2).len()
    );
}

#[test]
fn foreign_streams_are_read_whole() {
    let (one, two) = (text(1000), text(70_000));
    let both = [one.as_slice(), &two].concat();
    let check = |expected: Compression, parts: [Vec<u8>; 2]| {
        let (found, back) = unpacked(&parts.concat()).unwrap();
        assert_eq!(found, expected);
        assert!(back == both, "{expected:?}");
    };
    let gzip = |input: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(input).unwrap();
        writer.finish().unwrap()
    };
    check(Compression::Gzip, [gzip(&one), gzip(&two)]);
    let zstd = |input: &[u8]| zstd::encode_all(input, 1).unwrap();
    check(Compression::Zstd, [zstd(&one), zstd(&two)]);
    // A skippable frame first, as zstd:chunked layers have them last.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    check(Compression::Zstd, [[skippable.clone(), zstd(&one)].concat(), [zstd(&two), skippable].concat()]);
    let xz = |input: &[u8]| {
        let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
        writer.write_all(input).unwrap();
        writer.finish().unwrap()
    };
    check(Compression::Xz, [xz(&one), xz(&two)]);
    let bzip2 = |input: &[u8]| {
        let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        writer.write_all(input).unwrap();
        writer.finish().unwrap()
    };
    check(Compression::Bzip2, [bzip2(&one), bzip2(&two)]);
}

#[test]
fn plain_streams_stay_as_they_are() {
    for input in [&b""[..], b"x", b"BZ", b"BZhello", b"\x1f", b"\xfd7zXY\0", &text(300_000)] {
        let (found, back) = unpacked(input).unwrap();
        assert_eq!(found, Compression::None);
        assert_eq!(back, input);
    }
}

#[test]
fn cut_streams_are_errors() {
    let input = text(2_500_000);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let output = packed(&input, compression, Some(1), 2);
        for end in [output.len() - 1, output.len() / 2, 20] {
            assert!(unpacked(&output[..end]).is_err(), "{compression:?} cut at {end}");
        }
    }
}

#[test]
fn errors_of_both_ends_come_back() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            let count = self.0.min(buffer.len());
            buffer[..count].fill(7);
            self.0 -= count;
            Ok(count)
        }
    }
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.0 -= 1;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for threads in [1, 4] {
        let options = CompressOptions { compression: Compression::Gzip, level: None, threads };
        let error = compress(&mut Broken(30_000_000), &mut io::sink(), options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = compress(&mut io::repeat(1), &mut Broken(5), options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
