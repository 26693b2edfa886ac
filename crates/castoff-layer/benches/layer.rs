//! How long it takes to write, index, show, unpack and compress layers.

mod operations;

use castoff_layer::Compression;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const FILES: [usize; 2] = [1_000, 10_000];
const BYTES: usize = 4 << 20;

#[divan::bench(args = FILES)]
fn write_a_tar(bencher: Bencher, files: usize) {
    let entries = operations::entries(files);
    bencher.counter(ItemsCount::new(files)).bench(|| operations::write(black_box(&entries)));
}

#[divan::bench(args = FILES)]
fn index_a_tar(bencher: Bencher, files: usize) {
    let file = operations::file(&operations::write(&operations::entries(files)));
    bencher.counter(ItemsCount::new(files)).bench(|| operations::index(black_box(&file)));
}

#[divan::bench(args = FILES)]
fn read_an_index(bencher: Bencher, files: usize) {
    let file = operations::file(&operations::write(&operations::entries(files)));
    let bytes = operations::index(&file).to_bytes();
    bencher.counter(ItemsCount::new(files)).bench(|| operations::read_index(black_box(&bytes)));
}

#[divan::bench(args = FILES)]
fn make_an_image(bencher: Bencher, files: usize) {
    let tar = operations::write(&operations::entries(files));
    let index = operations::index(&operations::file(&tar));
    bencher.counter(ItemsCount::new(files)).bench(|| operations::image(black_box(&index), tar.len() as u64));
}

/// Creates files, so it says as much about the file system.
#[divan::bench(args = [1_000], sample_count = 10)]
fn unpack_a_tar(bencher: Bencher, files: usize) {
    let tar = operations::write(&operations::entries(files));
    bencher.counter(ItemsCount::new(files)).bench(|| operations::unpack(black_box(&tar)));
}

#[divan::bench(args = ["gzip", "zstd"])]
fn compress_text(bencher: Bencher, algorithm: &str) {
    let compression = if algorithm == "gzip" { Compression::Gzip } else { Compression::Zstd };
    let text = operations::text(BYTES);
    bencher.counter(BytesCount::new(BYTES)).bench(|| operations::pack(black_box(&text), compression));
}
