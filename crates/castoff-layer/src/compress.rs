//! Compression, by content in and block-parallel out.
//!
//! Output is cut into blocks of a fixed size, each compressed by itself: gzip members (RFC 1952,
//! section 2.2) or zstd frames (RFC 8878, section 3.1). The bytes depend on input, algorithm and level
//! alone, not on how many threads worked.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Bytes of input per block. Large enough that cutting costs little, small enough for a few per core.
const BLOCK: usize = 1 << 20;

/// What unpacking one xz stream may take; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// The compressions of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// None.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// XZ; read only.
    Xz,
    /// Bzip2; read only.
    Bzip2,
}

/// How data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressOptions {
    /// None, gzip or zstd.
    pub compression: Compression,
    /// Level; gzip 0 to 12 (default 6), zstd 1 to 22 (default 3).
    pub level: Option<u32>,
    /// Threads that compress.
    pub threads: usize,
}

/// Returns the compression that a stream's first bytes show; six are enough.
pub fn detect(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // The second is a skippable frame, which may come first (RFC 8878, section 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Returns a reader of the uncompressed bytes, whatever the compression is, over all members, frames and
/// streams to the end of the input.
///
/// # Errors
/// When the first bytes cannot be read. What is wrong later, the reader reports.
pub fn decompress<'a>(
    reader: Box<dyn Read + Send + 'a>,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let (compression, plain) = decoder(reader)?;
    Ok((compression, Box::new(plain)))
}

/// [`decompress`] for readers of any type.
///
/// # Errors
/// When the first bytes cannot be read. What is wrong later, the reader reports.
pub fn decoder<R: Read>(mut reader: R) -> io::Result<(Compression, Decoder<R>)> {
    let mut magic = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut magic)?;
    let compression = detect(&magic);
    let whole = io::Cursor::new(magic).chain(reader);
    if compression == Compression::None {
        return Ok((compression, Decoder(Decoding::None(whole))));
    }
    let whole = BufReader::with_capacity(128 * 1024, whole);
    let plain = match compression {
        Compression::Gzip => Decoding::Gzip(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => Decoding::Zstd(zstd::Decoder::with_buffer(whole)?),
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Decoding::Xz(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        Compression::Bzip2 => Decoding::Bzip2(bzip2::bufread::MultiBzDecoder::new(whole)),
        Compression::None => unreachable!("left above"),
    };
    Ok((compression, Decoder(plain)))
}

/// A reader of uncompressed bytes, made by [`decoder`].
pub struct Decoder<R: Read>(Decoding<R>);

type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

enum Decoding<R: Read> {
    None(Whole<R>),
    Gzip(flate2::bufread::MultiGzDecoder<BufReader<Whole<R>>>),
    Zstd(zstd::Decoder<'static, BufReader<Whole<R>>>),
    Xz(liblzma::bufread::XzDecoder<BufReader<Whole<R>>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<BufReader<Whole<R>>>),
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Decoding::None(reader) => reader.read(buffer),
            Decoding::Gzip(reader) => reader.read(buffer),
            Decoding::Zstd(reader) => reader.read(buffer),
            Decoding::Xz(reader) => reader.read(buffer),
            Decoding::Bzip2(reader) => reader.read(buffer),
        }
    }
}

/// Compresses a stream. Memory is bounded by a few MiB per thread, whatever the input.
///
/// # Errors
/// When reading or writing fails, or the level is none of the algorithm's.
pub fn compress(input: &mut dyn Read, output: &mut dyn Write, options: CompressOptions) -> io::Result<()> {
    if options.compression == Compression::None {
        io::copy(input, output)?;
        return output.flush();
    }
    let mut first = Encoder::new(options)?;
    if options.threads <= 1 {
        return alone(input, output, &mut first);
    }
    let mut encoders = vec![first];
    for _ in 1..options.threads {
        encoders.push(Encoder::new(options)?);
    }
    let threads = encoders.len();
    let (to_workers, from_reader) = sync_channel::<Block>(threads);
    let from_reader = Mutex::new(from_reader);
    let (to_writer, from_workers) = channel::<io::Result<Block>>();
    std::thread::scope(|scope| {
        for mut encoder in encoders {
            let (blocks, done) = (&from_reader, to_writer.clone());
            scope.spawn(move || {
                loop {
                    let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    // The reader is done, or the writer has failed.
                    let Ok((number, block)) = next else { return };
                    if done.send(encoder.block(&block).map(|bytes| (number, bytes))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_writer);
        // Ends with the senders dropped, so that the workers end as well.
        pump(input, output, to_workers, &from_workers, 2 * threads as u64 + 2)
    })
}

/// A block's number and its bytes.
type Block = (u64, Vec<u8>);

fn alone(input: &mut dyn Read, output: &mut dyn Write, encoder: &mut Encoder) -> io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut first = true;
    while read_block(input, &mut block)? || first {
        output.write_all(&encoder.block(&block)?)?;
        first = false;
    }
    output.flush()
}

/// Reads blocks, hands them out, and writes what comes back in order, with at most `window` blocks
/// under way.
fn pump(
    input: &mut dyn Read,
    output: &mut dyn Write,
    to_workers: SyncSender<Block>,
    from_workers: &Receiver<io::Result<Block>>,
    window: u64,
) -> io::Result<()> {
    let stopped = || io::Error::other("a compressing thread stopped");
    let mut waiting: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let (mut read, mut written, mut ended) = (0, 0, false);
    loop {
        while !ended && read - written < window {
            let mut block = Vec::with_capacity(BLOCK);
            ended = !read_block(input, &mut block)?;
            // An empty input still has one block, so that the output is a valid stream.
            if !ended || read == 0 {
                to_workers.send((read, block)).map_err(|_| stopped())?;
                read += 1;
            }
        }
        if written == read {
            return output.flush();
        }
        let (number, bytes) = from_workers.recv().map_err(|_| stopped())??;
        waiting.insert(number, bytes);
        while let Some(bytes) = waiting.remove(&written) {
            output.write_all(&bytes)?;
            written += 1;
        }
    }
}

/// Fills a block as far as the input goes; false if there is nothing left.
fn read_block(input: &mut dyn Read, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    input.take(BLOCK as u64).read_to_end(block)?;
    Ok(!block.is_empty())
}

/// Compresses blocks one after the other, keeping its tables.
enum Encoder {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    fn new(options: CompressOptions) -> io::Result<Encoder> {
        let level = options.level.map(|level| i32::try_from(level).unwrap_or(i32::MAX));
        let invalid = |message: &'static str| io::Error::new(io::ErrorKind::InvalidInput, message);
        match options.compression {
            Compression::Gzip => {
                let level = libdeflater::CompressionLvl::new(level.unwrap_or(6))
                    .map_err(|_| invalid("gzip levels are 0 to 12"))?;
                Ok(Encoder::Gzip(libdeflater::Compressor::new(level)))
            }
            Compression::Zstd => {
                let level = level.unwrap_or(3);
                if !(1..=22).contains(&level) {
                    return Err(invalid("zstd levels are 1 to 22"));
                }
                Ok(Encoder::Zstd(zstd::bulk::Compressor::new(level)?))
            }
            Compression::None | Compression::Xz | Compression::Bzip2 => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "xz and bzip2 are read, not written"))
            }
        }
    }

    fn block(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(compressor) => {
                let mut bytes = vec![0; compressor.gzip_compress_bound(block.len())];
                let length = compressor.gzip_compress(block, &mut bytes).map_err(io::Error::other)?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Encoder::Zstd(compressor) => compressor.compress(block),
        }
    }
}
