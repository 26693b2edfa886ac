//! castoff
fn main() {}
