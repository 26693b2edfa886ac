//! The memo of file digests of one tree, so that a file that did not change is not read again.
//!
//! One binary file per tree, read whole and searched in place:
//!
//! ```text
//! header   magic 8 | version u32 | count u32 | slots u32 | zero u32 | seed u64 | checksum u64
//! slots    u32 * slots      offset of an entry from the start of the file, 0 for none; linear probing
//! entries  length u16 | mode u32 | device u64 | inode u64 | size u64 | mtime i64 | ctime i64
//!          | digest 32 | day u32 | path
//! ```
//!
//! All numbers are little-endian. An entry says: the file with this stat has this digest. It is believed
//! when the stat is the same to the nanosecond, and it is written only when the file had been at rest for
//! some time before the scan began: a file changed in the same tick of the clock as it was read could have
//! the same stat and other bytes (git calls such an index entry racily clean).

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::Hasher as _;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use castoff_oci::Digest;

use crate::Store;
use crate::file::{FileError, random_name, read_optional};

const MAGIC: &[u8; 8] = b"castmemo";
const VERSION: u32 = 1;
const HEADER: usize = 40;
/// Bytes of an entry before its path.
const FIXED: usize = 2 + 4 + 5 * 8 + 32 + 4;
/// How long a file must have been at rest before the scan that reads it.
const MARGIN_NANOS: i64 = 2_000_000_000;
/// How many days an entry is kept that no saved scan asked for; its file is gone, or another build's.
const KEEP_DAYS: u32 = 14;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// What identifies one state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatKey {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Type and permissions.
    pub mode: u32,
}

/// The file digests that are known of one tree. [`FileMemo::get`] may be called by many threads.
#[derive(Debug)]
pub struct FileMemo {
    store: Store,
    path: String,
    /// When this scan began, in nanoseconds since 1970.
    opened_ns: i64,
    table: Table,
    fresh: HashMap<Box<[u8]>, (StatKey, Digest)>,
}

impl StatKey {
    /// Returns the key of a file that was just looked at.
    pub fn of(metadata: &Metadata) -> StatKey {
        StatKey {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: StatKey::nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: StatKey::nanos(metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        }
    }

    /// Returns a time as nanoseconds since 1970; one beyond the years 1678 to 2262 is the nearest of them.
    pub fn nanos(seconds: i64, nanos: i64) -> i64 {
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }
}

impl Store {
    /// Returns what is known of the tree that `name` stands for (such as the digest of its path). A file
    /// that is damaged or not there knows nothing.
    ///
    /// To be called before the first file of the tree is looked at: the moment counts as the start of the
    /// scan.
    pub fn file_memo(&self, name: Digest) -> FileMemo {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let opened_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let path = format!("memos/{}", name.hex());
        let bytes = read_optional(&self.path(&path)).ok().flatten();
        let table = bytes.and_then(Table::parse).unwrap_or_default();
        if table.count > 0 {
            crate::file::touch(&self.path(&path));
        }
        FileMemo { store: self.clone(), path, opened_ns, table, fresh: HashMap::new() }
    }
}

impl FileMemo {
    /// Returns the digest of the file at `path` (its bytes relative to the tree's root) if it is known for
    /// exactly this stat.
    pub fn get(&self, path: &[u8], stat: &StatKey) -> Option<Digest> {
        if let Some((known, digest)) = self.fresh.get(path) {
            return (known == stat).then_some(*digest);
        }
        let (known, digest) = self.table.find(path)?;
        (known == *stat).then_some(digest)
    }

    /// Remembers the digest of the file at `path`. `stat` is to be taken before the first byte is read.
    ///
    /// A file that changed less than two seconds before the scan began is not remembered.
    pub fn insert(&mut self, path: &[u8], stat: StatKey, digest: Digest) {
        let at_rest = stat.mtime_ns.max(stat.ctime_ns) < self.opened_ns - MARGIN_NANOS;
        if at_rest && path.len() <= usize::from(u16::MAX) {
            self.fresh.insert(path.into(), (stat, digest));
        }
    }

    /// Writes the memo if anything was inserted. Entries that no scan asked for in the last two weeks are
    /// dropped.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<(), FileError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let today = u32::try_from(self.opened_ns / DAY_NANOS).unwrap_or(0);
        let mut writer = TableWriter::default();
        for entry in self.table.entries() {
            let day = if entry.seen { today } else { entry.day };
            if day.saturating_add(KEEP_DAYS) >= today && !self.fresh.contains_key(entry.path) {
                writer.push(entry.path, &entry.stat, &entry.digest, day);
            }
        }
        for (path, (stat, digest)) in &self.fresh {
            writer.push(path, stat, digest, today);
        }
        let bytes = writer.finish();
        self.store.write_file(&self.path, &bytes)?;
        self.table = Table::parse(bytes).unwrap_or_default();
        self.fresh.clear();
        Ok(())
    }
}

/// A parsed memo file.
#[derive(Debug, Default)]
struct Table {
    bytes: Vec<u8>,
    slots: usize,
    count: usize,
    seed: u64,
    /// One bit per slot: whether the entry was asked for.
    seen: Vec<AtomicU64>,
}

struct Entry<'t> {
    path: &'t [u8],
    stat: StatKey,
    digest: Digest,
    /// Day, since 1970, of the last saved scan that asked for it.
    day: u32,
    seen: bool,
}

impl Table {
    /// Returns the table in these bytes, or `None` when they are not whole.
    fn parse(bytes: Vec<u8>) -> Option<Table> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..at + 4)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?));
        let (version, count, slots) = (word(8)?, word(12)? as usize, word(16)? as usize);
        let (seed, sum) = (long(24)?, long(32)?);
        let is_whole = bytes.get(..8)? == MAGIC
            && version == VERSION
            && slots.is_power_of_two()
            && count < slots
            && bytes.len() >= HEADER + slots * 4
            && checksum(&bytes[HEADER..]) == sum;
        let seen = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        is_whole.then_some(Table { bytes, slots, count, seed, seen })
    }

    #[inline]
    fn find(&self, path: &[u8]) -> Option<(StatKey, Digest)> {
        if self.count == 0 {
            return None;
        }
        let mut slot = hash(self.seed, path) as usize & (self.slots - 1);
        for _ in 0..self.slots {
            let entry = self.entry(slot)?;
            if entry.path == path {
                self.seen[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
                return Some((entry.stat, entry.digest));
            }
            slot = (slot + 1) & (self.slots - 1);
        }
        None
    }

    /// Returns the entry of a slot, or `None` for an empty one. Asked for every file of a context.
    #[inline]
    fn entry(&self, slot: usize) -> Option<Entry<'_>> {
        let offset = self.bytes.get(HEADER + slot * 4..)?.first_chunk::<4>()?;
        let offset = u32::from_le_bytes(*offset) as usize;
        let entry = self.bytes.get(offset..).filter(|_| offset >= HEADER)?;
        let length = usize::from(u16::from_le_bytes(*entry.first_chunk()?));
        let fixed: &[u8; FIXED] = entry.first_chunk()?;
        let long = |at: usize| -> [u8; 8] { std::array::from_fn(|byte| fixed[at + byte]) };
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| fixed[at + byte]));
        let stat = StatKey {
            mode: word(2),
            dev: u64::from_le_bytes(long(6)),
            ino: u64::from_le_bytes(long(14)),
            size: u64::from_le_bytes(long(22)),
            mtime_ns: i64::from_le_bytes(long(30)),
            ctime_ns: i64::from_le_bytes(long(38)),
        };
        Some(Entry {
            path: entry.get(FIXED..FIXED + length)?,
            stat,
            digest: Digest::from_bytes(std::array::from_fn(|byte| fixed[46 + byte])),
            day: word(78),
            seen: self.seen[slot / 64].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0,
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.slots).filter_map(|slot| self.entry(slot))
    }
}

#[derive(Default)]
struct TableWriter {
    entries: Vec<u8>,
    /// Where each entry begins in `entries`.
    starts: Vec<usize>,
}

impl TableWriter {
    fn push(&mut self, path: &[u8], stat: &StatKey, digest: &Digest, day: u32) {
        // Offsets have 32 bits. A memo at that size serves nobody; what does not fit is read again.
        if self.entries.len() + FIXED + path.len() > (1 << 31) {
            return;
        }
        self.starts.push(self.entries.len());
        let length = u16::try_from(path.len()).expect("`insert` refuses longer paths");
        self.entries.extend(length.to_le_bytes());
        self.entries.extend(stat.mode.to_le_bytes());
        for number in [stat.dev, stat.ino, stat.size] {
            self.entries.extend(number.to_le_bytes());
        }
        for number in [stat.mtime_ns, stat.ctime_ns] {
            self.entries.extend(number.to_le_bytes());
        }
        self.entries.extend(digest.as_bytes());
        self.entries.extend(day.to_le_bytes());
        self.entries.extend(path);
    }

    fn finish(self) -> Vec<u8> {
        let slots = (self.starts.len() * 2).next_power_of_two().max(16);
        // Names are chosen by others; a seed of our own keeps them from colliding on purpose.
        let seed = u64::from_str_radix(&random_name()[..16], 16).expect("random names are hex digits");
        let first = HEADER + slots * 4;
        let mut table = vec![0u32; slots];
        for start in &self.starts {
            let entry = &self.entries[*start..];
            let length = usize::from(u16::from_le_bytes([entry[0], entry[1]]));
            let mut slot = hash(seed, &entry[FIXED..FIXED + length]) as usize & (slots - 1);
            while table[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            table[slot] = u32::try_from(first + start).expect("`push` keeps the file small enough");
        }
        let mut bytes = Vec::with_capacity(first + self.entries.len());
        bytes.extend(MAGIC);
        for number in [VERSION, self.starts.len() as u32, slots as u32, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(seed.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(table.iter().flat_map(|offset| offset.to_le_bytes()));
        bytes.extend(self.entries);
        let sum = checksum(&bytes[HEADER..]);
        bytes[32..40].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// SipHash with zero keys over the seed and the path. The algorithm of `DefaultHasher` may change with the
/// compiler; a table hashed otherwise finds nothing, which costs a scan and no more.
#[inline]
fn hash(seed: u64, path: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(path);
    hasher.finish()
}

/// A sum over 64-bit words that tells a torn or cut file; not a guard against anybody.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut add = |word: u64| sum = (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    add(u64::from_le_bytes(last));
    sum
}

#[cfg(test)]
mod tests {
    use super::{DAY_NANOS, KEEP_DAYS, StatKey};
    use crate::{Boot, Store};
    use castoff_oci::Digest;

    #[test]
    fn entries_that_no_scan_asked_for_in_weeks_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Boot { boot_id: String::new() }).unwrap();
        let (name, digest) = (Digest::of(b"tree"), Digest::of(b"content"));
        let stat = StatKey { dev: 1, ino: 1, size: 1, mtime_ns: 1, ctime_ns: 1, mode: 0 };
        let scan = |after: u32, asks: &[&[u8]], finds: &[u8]| {
            let mut memo = store.file_memo(name);
            memo.opened_ns += i64::from(after) * DAY_NANOS;
            for path in asks {
                assert_eq!(memo.get(path, &stat), Some(digest), "{path:?}");
            }
            memo.insert(finds, stat, digest);
            memo.save().unwrap();
        };
        scan(0, &[], b"gone");
        scan(0, &[], b"kept");
        scan(KEEP_DAYS, &[b"kept"], b"third");
        scan(KEEP_DAYS + 1, &[b"kept", b"third"], b"fourth");
        let memo = store.file_memo(name);
        assert_eq!(memo.get(b"gone", &stat), None);
        for path in [&b"kept"[..], b"third", b"fourth"] {
            assert_eq!(memo.get(path, &stat), Some(digest));
        }
    }
}
