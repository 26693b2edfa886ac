//! How long it takes to find out that nothing changed.

mod operations;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

#[divan::bench(args = [100])]
fn look_up_records(bencher: Bencher, count: usize) {
    let (_directory, store, keys) = operations::store(count);
    bencher.counter(ItemsCount::new(count)).bench(|| operations::look_up(&store, black_box(&keys)));
}

#[divan::bench(args = [100])]
fn write_records(bencher: Bencher, count: usize) {
    let (_directory, store, keys) = operations::store(count);
    bencher.counter(ItemsCount::new(count)).bench(|| {
        for key in &keys {
            operations::put(&store, *key);
        }
    });
}

#[divan::bench(args = [1_000, 20_000])]
fn ask_for_digests(bencher: Bencher, files: usize) {
    let (_directory, store, _) = operations::store(0);
    let known = operations::memo(&store, files);
    bencher.counter(ItemsCount::new(files)).bench(|| operations::ask(&store, black_box(&known)));
}
