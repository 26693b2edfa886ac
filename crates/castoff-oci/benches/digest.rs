//! How long it takes to hash: short texts as keys are made of, and long ones as layers are.

use castoff_oci::{Digest, Hasher};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

#[divan::bench(args = [64, 4 << 10, 4 << 20])]
fn digest(bencher: Bencher, length: usize) {
    let bytes = vec![b'x'; length];
    bencher.counter(BytesCount::new(length)).bench(|| Digest::of(black_box(&bytes)));
}

/// As a recipe with many short parts becomes a key.
#[divan::bench]
fn thousand_fields() -> Digest {
    let mut hasher = Hasher::new();
    for _ in 0..1_000 {
        hasher.field(black_box(b"src/components/button/index.tsx"));
    }
    hasher.finish()
}
