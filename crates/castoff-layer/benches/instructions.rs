//! Fixed work with layers, for counting instructions: `cargo xtask bench instructions` runs this below
//! callgrind, which counts what happens in `measured` alone. Takes the name of one operation; prints all
//! of them when there is none.

mod operations;

use castoff_layer::Compression;

const FILES: usize = 500;
const BYTES: usize = 256 << 10;

fn main() {
    let name = std::env::args().nth(1);
    let entries = operations::entries(FILES);
    let tar = operations::write(&entries);
    let file = operations::file(&tar);
    let index = operations::index(&file);
    let bytes = index.to_bytes();
    let text = operations::text(BYTES);
    let operations: [(&str, &mut dyn FnMut()); 7] = [
        ("tar-write", &mut || drop(operations::write(&entries))),
        ("tar-index", &mut || drop(operations::index(&file))),
        ("index-read", &mut || drop(operations::read_index(&bytes))),
        ("erofs-image", &mut || drop(operations::image(&index, tar.len() as u64))),
        ("layer-apply", &mut || operations::unpack(&tar)),
        ("compress-gzip", &mut || drop(operations::pack(&text, Compression::Gzip))),
        ("compress-zstd", &mut || drop(operations::pack(&text, Compression::Zstd))),
    ];
    for (operation, body) in operations {
        match &name {
            Some(name) if name == operation => return measured(body),
            Some(_) => {}
            None => print(operation),
        }
    }
}

/// What is counted.
#[inline(never)]
fn measured(body: &mut dyn FnMut()) {
    body();
}

#[expect(clippy::print_stdout, reason = "the list of operations is what is asked for")]
fn print(operation: &str) {
    println!("{operation}");
}
