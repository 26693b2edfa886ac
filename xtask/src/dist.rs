//! The program as it is shipped: one static file.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{capture, output_directory, repository, run};

/// Links libc in, and leaves nothing to be relocated: each step starts this program once more, and a static
/// program without relocations touches half the pages before its first line.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds it and says where it is.
pub fn main() -> Result<()> {
    let binary = build()?;
    let size = binary.metadata()?.len();
    println!("{} ({:.1} MB)", binary.display(), size as f64 / 1e6);
    Ok(())
}

/// Builds it and returns where it is.
pub fn build() -> Result<PathBuf> {
    let host = capture(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let directory = output_directory().with_file_name("dist");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--package", "castoff"])
        // With a target named, build scripts are built without the flags.
        .args(["--target", host, "--target-dir"])
        .arg(&directory)
        .env("RUSTFLAGS", FLAGS)
        .current_dir(repository());
    run(&mut cargo)?;
    let binary = directory.join(host).join("release/castoff");
    let bytes = std::fs::read(&binary).with_context(|| format!("cannot read `{}`", binary.display()))?;
    ensure!(!has_interpreter(&bytes), "`{}` needs a dynamic loader: it is not static", binary.display());
    Ok(binary)
}

/// Returns whether a 64-bit little-endian ELF file names an interpreter (gABI, "Program Header": PT_INTERP).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((offset, size, count)) = headers() else { return false };
    (0..count).any(|index| number(offset + index * size, 4) == Some(PT_INTERP as usize))
}

#[cfg(test)]
mod tests {
    use super::has_interpreter;

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        // This test's own program is linked as any; the same without its program headers is not.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&own));
        let mut none = own;
        none[56] = 0;
        none[57] = 0;
        assert!(!has_interpreter(&none));
        assert!(!has_interpreter(b"\x7fELF"));
    }
}
