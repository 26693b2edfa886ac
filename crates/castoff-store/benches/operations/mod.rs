//! What is measured of the store.

use castoff_oci::Digest;
use castoff_store::{Boot, CacheRecord, FileMemo, LayerId, RecordOutcome, StatKey, Store};
use tempfile::TempDir;

/// A store with records, and their keys.
pub fn store(records: usize) -> (TempDir, Store, Vec<Digest>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path(), &Boot { boot_id: "bench".to_owned() }).expect("a store");
    let keys: Vec<Digest> =
        (0..records).map(|number| Digest::of(format!("key {number}").as_bytes())).collect();
    for key in &keys {
        put(&store, *key);
    }
    (directory, store, keys)
}

/// Writes a record as a step leaves it.
pub fn put(store: &Store, key: Digest) {
    let recipe = serde_json::json!({
        "op": "exec",
        "arguments": ["/bin/sh", "-c", "npm ci && npm run build"],
        "environment": ["PATH=/usr/local/bin:/usr/bin:/bin", "NODE_ENV=production", "HOME=/root"],
        "parent": key.hex(),
        "mounts": [{"target": "/root/.npm", "type": "cache", "id": "npm"}],
    });
    let record = CacheRecord {
        recipe,
        outcome: RecordOutcome::Layer(LayerId::of_diff(castoff_oci::DiffId(key))),
        created_ms: 1_000_000_000_000,
        started_ms: 1_000_000_000_000,
        duration_ms: 1_234,
        cpu_ms: Some(1_000),
        memory_bytes: Some(100 << 20),
        log: Some(key),
        files: None,
        cache: None,
        warnings: Vec::new(),
        stage: "build".to_owned(),
        name: "RUN npm ci && npm run build".to_owned(),
    };
    store.put_record(key, &record).expect("a record");
}

/// Looks up what steps gave, as a build does that changes nothing.
pub fn look_up(store: &Store, keys: &[Digest]) -> usize {
    keys.iter().filter(|key| matches!(store.record(**key), Ok(Some(_)))).count()
}

/// Paths of a context and what is known of them.
pub fn memo(store: &Store, files: usize) -> Vec<(Vec<u8>, StatKey)> {
    let name = Digest::of(b"memo");
    let known: Vec<(Vec<u8>, StatKey)> = (0..files)
        .map(|number| {
            let path = format!("src/d{}/file-{number}.js", number / 50).into_bytes();
            let time = 1_000_000_000_000_000_000;
            let stat = StatKey {
                dev: 1,
                ino: number as u64,
                size: 1_000,
                mtime_ns: time,
                ctime_ns: time,
                mode: 0o100_644,
            };
            (path, stat)
        })
        .collect();
    let mut memo = store.file_memo(name);
    for (path, stat) in &known {
        memo.insert(path, *stat, Digest::of(path));
    }
    memo.save().expect("a memo");
    known
}

/// Asks for the digest of every file, as a scan does that finds nothing changed.
pub fn ask(store: &Store, known: &[(Vec<u8>, StatKey)]) -> usize {
    let memo: FileMemo = store.file_memo(Digest::of(b"memo"));
    known.iter().filter(|(path, stat)| memo.get(path, stat).is_some()).count()
}
