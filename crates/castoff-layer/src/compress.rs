//! Compression, by content in and block-parallel out.
//!
//! Output is cut into blocks of a fixed size, each compressed by itself: gzip members (RFC 1952,
//! section 2.2) or zstd frames (RFC 8878, section 3.1). The bytes depend on input, algorithm and level
//! alone, not on how many threads worked.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of input per block. Large enough that cutting costs little, small enough for a few per core.
const BLOCK: usize = 1 << 20;

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
    /// Level; gzip 0 to 9 (default 6), zstd 1 to 22 (default 3).
    pub level: Option<u32>,
    /// Threads that compress.
    pub threads: usize,
}

/// Returns the compression that a stream's first bytes show; six are enough.
pub fn detect(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', ..] => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Returns a reader of the uncompressed bytes, whatever the compression is.
///
/// # Errors
/// When the first bytes cannot be read. What is wrong later, the reader reports.
pub fn decompress<'a>(
    reader: Box<dyn Read + Send + 'a>,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut reader = reader;
    let mut magic = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut magic)?;
    let compression = detect(&magic);
    let whole = BufReader::with_capacity(128 * 1024, io::Cursor::new(magic).chain(reader));
    let plain: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(ZstdFrames { decoder: Some(zstd::Decoder::with_buffer(whole)?.single_frame()) }),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(whole)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
    };
    Ok((compression, plain))
}

/// Reads zstd frames one after the other to the end of the input.
struct ZstdFrames<'a, R: BufRead> {
    decoder: Option<zstd::Decoder<'a, R>>,
}

impl<R: BufRead> Read for ZstdFrames<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let mut rest = self.decoder.take().expect("it was there above").finish();
            if !rest.fill_buf()?.is_empty() {
                self.decoder = Some(zstd::Decoder::with_buffer(rest)?.single_frame());
            }
        }
    }
}

/// Returns whether a block is the header of a tar: 512 bytes whose checksum is right.
pub fn is_tar(header: &[u8]) -> bool {
    let Some(block) = header.get(..512) else { return false };
    let field = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let Ok(written) = u32::from_str_radix(field.trim_matches(['\0', ' ']), 8) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    sum == written
}

type Block = (u64, Vec<u8>);

/// Compresses a stream.
///
/// # Errors
/// When reading or writing fails, or the level is none of the algorithm's.
pub fn compress(input: &mut dyn Read, output: &mut dyn Write, options: CompressOptions) -> io::Result<()> {
    let encode: Encode = match options.compression {
        Compression::None => {
            io::copy(input, output)?;
            return Ok(());
        }
        Compression::Gzip => gzip_block,
        Compression::Zstd => zstd_block,
        Compression::Xz | Compression::Bzip2 => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "xz and bzip2 are read, not written"));
        }
    };
    let threads = options.threads.max(1);
    let level = options.level;
    std::thread::scope(|scope| {
        // Bounded, so that memory does not grow with the input.
        let (to_workers, from_reader) = sync_channel::<Block>(threads);
        let from_reader = Arc::new(Mutex::new(from_reader));
        let (to_writer, from_workers) = channel::<io::Result<Block>>();
        for _ in 0..threads {
            let blocks = Arc::clone(&from_reader);
            let done = to_writer.clone();
            scope.spawn(move || {
                loop {
                    let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, block)) = next else { return };
                    if done.send(encode(&block, level).map(|bytes| (number, bytes))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_writer);
        pump(input, output, to_workers, &from_workers, 4 * threads as u64)
    })
}

type Encode = fn(&[u8], Option<u32>) -> io::Result<Vec<u8>>;

/// Reads blocks, hands them out, and writes what comes back in order, with at most `window` blocks
/// under way.
fn pump(
    input: &mut dyn Read,
    output: &mut dyn Write,
    to_workers: std::sync::mpsc::SyncSender<Block>,
    from_workers: &std::sync::mpsc::Receiver<io::Result<Block>>,
    window: u64,
) -> io::Result<()> {
    let stopped = || io::Error::other("a compressing thread stopped");
    let mut waiting: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut to_workers = Some(to_workers);
    let (mut read, mut written) = (0, 0);
    loop {
        while to_workers.is_some() && read - written < window {
            let mut block = Vec::with_capacity(BLOCK);
            input.take(BLOCK as u64).read_to_end(&mut block)?;
            let last = block.len() < BLOCK;
            // An empty input still has one block, so that the output is a valid stream.
            if !block.is_empty() || read == 0 {
                let sender = to_workers.as_ref().ok_or_else(stopped)?;
                sender.send((read, block)).map_err(|_| stopped())?;
                read += 1;
            }
            if last {
                to_workers = None;
            }
        }
        if written == read && to_workers.is_none() {
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

fn gzip_block(block: &[u8], level: Option<u32>) -> io::Result<Vec<u8>> {
    let level = i32::try_from(level.unwrap_or(6)).unwrap_or(i32::MAX);
    let level = libdeflater::CompressionLvl::new(level)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip levels are 0 to 9"))?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut bytes = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut bytes).map_err(io::Error::other)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn zstd_block(block: &[u8], level: Option<u32>) -> io::Result<Vec<u8>> {
    let level = i32::try_from(level.unwrap_or(3)).unwrap_or(i32::MAX).min(22);
    zstd::bulk::compress(block, level)
}
