use std::fs;
use std::time::SystemTime;

use castoff_store::{FileMemo, StatKey};

use crate::{Kit, key};

const SECOND: i64 = 1_000_000_000;

fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn stat(ino: u64) -> StatKey {
    let then = 1_700_000_000 * SECOND;
    StatKey { dev: 1, ino, size: 5, mtime_ns: then, ctime_ns: then, mode: 0o100_644 }
}

fn reopen(kit: &Kit) -> FileMemo {
    kit.other().file_memo(key("tree"))
}

#[test]
fn a_digest_is_known_for_exactly_the_stat_it_was_computed_for() {
    let kit = Kit::new();
    let known = stat(1);
    let mut memo = kit.store.file_memo(key("tree"));
    memo.insert(b"src/main.rs", known, key("content"));
    assert_eq!(memo.get(b"src/main.rs", &known), Some(key("content")));
    memo.save().unwrap();
    let memo = reopen(&kit);
    assert_eq!(memo.get(b"src/main.rs", &known), Some(key("content")));
    assert_eq!(memo.get(b"src/main", &known), None);
    assert_eq!(memo.get(b"", &known), None);
    let others = [
        StatKey { dev: 2, ..known },
        StatKey { ino: 2, ..known },
        StatKey { size: 6, ..known },
        StatKey { mtime_ns: known.mtime_ns + 1, ..known },
        StatKey { ctime_ns: known.ctime_ns + 1, ..known },
        StatKey { mode: 0o100_755, ..known },
    ];
    for other in others {
        assert_eq!(memo.get(b"src/main.rs", &other), None, "{other:?}");
    }
    assert_eq!(kit.store.file_memo(key("another tree")).get(b"src/main.rs", &known), None);
}

// git, Documentation/technical/racy-git: a file that changed in the tick in which it was read.
#[test]
fn a_file_that_changed_just_before_the_scan_is_not_remembered() {
    let kit = Kit::new();
    let mut memo = kit.store.file_memo(key("tree"));
    let now = now_ns();
    let cases = [
        ("rest", now - 10 * SECOND, now - 10 * SECOND, true),
        ("written", now - SECOND, now - 10 * SECOND, false),
        ("changed", now - 10 * SECOND, now - SECOND, false),
        ("future", now + 100 * SECOND, now - 10 * SECOND, false),
        ("during", now + SECOND, now + SECOND, false),
    ];
    for (name, mtime_ns, ctime_ns, _) in cases {
        memo.insert(name.as_bytes(), StatKey { mtime_ns, ctime_ns, ..stat(1) }, key(name));
    }
    memo.save().unwrap();
    let memo = reopen(&kit);
    for (name, mtime_ns, ctime_ns, is_known) in cases {
        let found = memo.get(name.as_bytes(), &StatKey { mtime_ns, ctime_ns, ..stat(1) });
        assert_eq!(found, is_known.then(|| key(name)), "{name}");
    }
}

#[test]
fn nothing_is_written_when_nothing_was_inserted() {
    let kit = Kit::new();
    let mut memo = kit.store.file_memo(key("tree"));
    memo.save().unwrap();
    assert!(!kit.path("memos").exists());
    memo.insert(b"file", stat(1), key("content"));
    memo.save().unwrap();
    let path = crate::below(&kit.path("memos")).remove(0);
    fs::remove_file(&path).unwrap();
    memo.get(b"file", &stat(1)).unwrap();
    memo.save().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_damaged_memo_knows_nothing() {
    let kit = Kit::new();
    let mut memo = kit.store.file_memo(key("tree"));
    for number in 0..100u64 {
        memo.insert(format!("file {number}").as_bytes(), stat(number), key("content"));
    }
    memo.save().unwrap();
    let path = crate::below(&kit.path("memos")).remove(0);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(reopen(&kit).get(b"file 1", &stat(1)), None, "cut at {length}");
    }
    for position in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        // Bytes 20 to 32 are reserved or the seed: with those changed, entries are at most not found.
        let found = reopen(&kit).get(b"file 1", &stat(1));
        assert!(found.is_none() || (20..32).contains(&position) && found == Some(key("content")));
    }
}

#[test]
fn fifty_thousand_entries_are_kept_changed_and_found() {
    let kit = Kit::new();
    let name = |number: u64| format!("node_modules/package-{}/file-{number}.js", number % 500);
    let mut memo = kit.store.file_memo(key("tree"));
    for number in 0..50_000 {
        memo.insert(name(number).as_bytes(), stat(number), key(&number.to_string()));
    }
    memo.save().unwrap();
    let mut memo = reopen(&kit);
    memo.insert(name(7).as_bytes(), stat(1_000_007), key("changed"));
    memo.save().unwrap();
    let memo = reopen(&kit);
    assert_eq!(memo.get(name(7).as_bytes(), &stat(7)), None);
    assert_eq!(memo.get(name(7).as_bytes(), &stat(1_000_007)), Some(key("changed")));
    for number in (8..50_000).step_by(997) {
        assert_eq!(memo.get(name(number).as_bytes(), &stat(number)), Some(key(&number.to_string())));
    }
}

#[test]
fn times_beyond_the_range_are_the_nearest_in_it() {
    assert_eq!(StatKey::nanos(1, 5), SECOND + 5);
    assert_eq!(StatKey::nanos(i64::MAX, 0), i64::MAX);
    assert_eq!(StatKey::nanos(i64::MIN, 999), i64::MIN + 999);
}
