//! Fixed work with the store, for counting instructions: `cargo xtask bench instructions` runs this below
//! callgrind, which counts what happens in `measured` alone. Takes the name of one operation; prints all
//! of them when there is none.

mod operations;

use std::hint::black_box;

use castoff_oci::Digest;

fn main() {
    let name = std::env::args().nth(1);
    let (_directory, store, keys) = operations::store(50);
    let known = operations::memo(&store, 2_000);
    let bytes = vec![b'x'; 256 << 10];
    let operations: [(&str, &mut dyn FnMut()); 4] = [
        ("record-look-up", &mut || {
            black_box(operations::look_up(&store, &keys));
        }),
        ("record-write", &mut || keys.iter().for_each(|key| operations::put(&store, *key))),
        ("digest", &mut || {
            black_box(Digest::of(&bytes));
        }),
        ("memo-ask", &mut || {
            black_box(operations::ask(&store, &known));
        }),
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
