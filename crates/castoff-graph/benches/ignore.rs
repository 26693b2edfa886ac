//! How long it takes to match paths with ignore patterns of every kind.

use castoff_graph::pattern::IgnorePatterns;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// What people write.
const ORDINARY: &str = ".git\nnode_modules\n**/*.log\n**/.DS_Store\ntarget/\ndist\n*.md\n!README.md\n.env*\n";

const PATHS: &[&str] = &[
    "src/main.rs",
    "web/src/components/button/index.tsx",
    "web/node_modules/react/index.js",
    "README.md",
    "docs/guide/a/b/c/d/page.log",
];

/// Kinds of patterns by name, each a whole ignore file.
const KINDS: &[(&str, &str)] = &[
    ("ordinary", ORDINARY),
    ("literal", "web/src/components/button/index.tsx"),
    ("extension anywhere", "**/*.tsx"),
    ("name anywhere", "**/node_modules"),
    ("classes", "**/[a-c]*/[^x]*/b?tton/**"),
    ("many stars", "**/*a*b*c*d*e*f*g*h*/**/*.tsx"),
];

#[divan::bench]
fn read_the_ordinary_file() -> IgnorePatterns {
    IgnorePatterns::parse(black_box(ORDINARY)).expect("the patterns are sound")
}

#[divan::bench(args = KINDS.iter().map(|kind| kind.0))]
fn five_paths(bencher: Bencher, kind: &str) {
    let (_, text) = KINDS.iter().find(|(name, _)| *name == kind).expect("it is of the list");
    let patterns = IgnorePatterns::parse(text).expect("the patterns are sound");
    bencher.bench(|| PATHS.iter().filter(|path| patterns.matches(black_box(path.as_bytes()))).count());
}

/// Grows with the path, not with its square.
#[divan::bench(args = [1 << 10, 1 << 14])]
fn hostile_pattern(bencher: Bencher, length: usize) {
    let patterns = IgnorePatterns::parse("*a".repeat(100) + "b").expect("the pattern is sound");
    let path = "a".repeat(length);
    bencher.bench(|| patterns.matches(black_box(path.as_bytes())));
}
