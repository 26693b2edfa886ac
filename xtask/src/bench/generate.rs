//! Trees of files that are the same in every run.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::chance::Chance;

/// Bytes that file contents are cut from.
const POOL: usize = 4 << 20;
/// How much of it is of one kind.
const BLOCK: usize = 4 << 10;
/// Files of one directory, and directories of one directory.
const WIDTH: u64 = 50;
/// The time of every file: older than any run, so that no builder takes it for just changed.
const TIME: u64 = 1_000_000_000;

/// A source of file contents: three quarters look like a source text, a quarter does not compress.
pub(super) struct Pool {
    bytes: Vec<u8>,
}

const WORDS: &[&str] = &[
    "const",
    "function",
    "return",
    "import",
    "from",
    "export",
    "default",
    "module",
    "value",
    "index",
    "string",
    "number",
    "undefined",
    "=>",
    "{",
    "}",
    "(",
    ")",
    ";",
    "\n",
    "\n  ",
    "require",
    "prototype",
    "length",
    "this",
    "error",
    "callback",
    "options",
    "result",
    "0x1f",
    "===",
    "null",
];

impl Pool {
    pub(super) fn new() -> Pool {
        let mut chance = Chance(7);
        let mut bytes = Vec::new();
        while bytes.len() < POOL {
            let text = bytes.len() + 3 * BLOCK;
            while bytes.len() < text {
                bytes.extend_from_slice(chance.of(WORDS).as_bytes());
                bytes.push(b' ');
            }
            let noise = bytes.len() + BLOCK;
            while bytes.len() < noise {
                bytes.extend_from_slice(&chance.next().to_le_bytes());
            }
        }
        bytes.truncate(POOL);
        Pool { bytes }
    }

    /// Writes a file of a size; its first line makes it differ from every other.
    pub(super) fn write(&self, path: &Path, size: u64, chance: &mut Chance) -> Result<()> {
        let mut file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
        let head = format!("// {:016x}\n", chance.next());
        let head = &head.as_bytes()[..head.len().min(usize::try_from(size)?)];
        file.write_all(head)?;
        let mut left = usize::try_from(size)? - head.len();
        while left > 0 {
            let start = chance.below(POOL);
            let part = left.min(POOL - start);
            file.write_all(&self.bytes[start..start + part])?;
            left -= part;
        }
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(TIME))?;
        Ok(())
    }
}

/// Many files below a directory.
pub(super) struct Files<'a> {
    pub(super) count: u64,
    /// Of all of them together.
    pub(super) bytes: u64,
    pub(super) seed: u64,
    /// Endings of their names, in turn.
    pub(super) endings: &'a [&'a str],
}

/// Makes the files and returns their paths relative to the directory.
pub(super) fn files(directory: &Path, pool: &Pool, files: &Files<'_>) -> Result<Vec<PathBuf>> {
    let mut chance = Chance(files.seed);
    let mean = files.bytes / files.count.max(1);
    let mut paths = Vec::new();
    for number in 0..files.count {
        let (inner, outer) = (number / WIDTH, number / WIDTH / WIDTH);
        let below = PathBuf::from(format!("d{outer}/e{}", inner % WIDTH));
        if number % WIDTH == 0 {
            fs::create_dir_all(directory.join(&below))?;
        }
        let ending = files.endings[(number % files.endings.len() as u64) as usize];
        let path = below.join(format!("file-{number}.{ending}"));
        // From half of the mean to one and a half of it.
        let size = mean / 2 + chance.below(usize::try_from(mean)?.max(1)) as u64;
        pool.write(&directory.join(&path), size, &mut chance)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes a text and the directories above it.
pub(super) fn text(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_the_same_in_every_run() {
        let pool = Pool::new();
        let place = std::env::temp_dir().join(format!("xtask-bench-{}", std::process::id()));
        let wanted = Files { count: 120, bytes: 12_000, seed: 3, endings: &["js", "log"] };
        let paths = files(&place.join("a"), &pool, &wanted).unwrap();
        assert_eq!(paths, files(&place.join("b"), &Pool::new(), &wanted).unwrap());
        assert_eq!(paths.len(), 120);
        let mut all = 0;
        for path in &paths {
            let bytes = fs::read(place.join("a").join(path)).unwrap();
            assert_eq!(bytes, fs::read(place.join("b").join(path)).unwrap());
            all += bytes.len();
        }
        assert!((9_000..15_000).contains(&all), "{all}");
        fs::remove_dir_all(&place).unwrap();
    }
}
