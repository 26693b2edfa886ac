//! Shared caches in buckets of a real store of objects. No step of these builds runs a program.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::caching::check_mounts;
use super::kit::{Machine, text};
use super::store::{Store, with_store};

const DOCKERFILE: &str = "FROM scratch AS build\nCOPY large /large\nCOPY data /data\n\
    FROM scratch\nCOPY --from=build /data /\n";

const KEY: &str = "access_key_id=id,secret_access_key=opensesame";

fn place(store: &Store, more: &str) -> String {
    let place = format!("type=s3,endpoint_url={},bucket=cache,region=us-east-1", store.url());
    if more.is_empty() { place } else { format!("{place},{more}") }
}

/// Returns so many bytes that are not compressed away.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(word).collect()
}

/// Returns a machine with the context. Files have the same times on all, so layers are the same.
fn machine(data: &str, large: usize) -> Machine {
    let machine = Machine::new();
    for (name, content) in [("large", noise(large)), ("data", data.as_bytes().to_vec())] {
        let path = machine.write(&format!("context/{name}"), content);
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    machine.write("context/Dockerfile", DOCKERFILE);
    machine
}

/// Builds on a machine and returns what is said.
#[track_caller]
fn built_on(machine: &Machine, flags: &[&str]) -> String {
    let words = [&["build", "--progress=plain", "--iidfile=id"], flags, &["context"]].concat();
    let output = machine.command(&words).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// Builds on a machine of its own and returns what is said and the image id.
#[track_caller]
fn built(data: &str, flags: &[&str]) -> (String, String) {
    let machine = machine(data, 400_000);
    let said = built_on(&machine, flags);
    (said, fs::read_to_string(machine.path("id")).unwrap())
}

fn cached(said: &str) -> usize {
    said.lines().filter(|line| line.ends_with("CACHED")).count()
}

// B-121, B-122, B-129, B-133
#[test]
fn a_cache_in_a_bucket_serves_another_machine() {
    with_store(|store| {
        let cache = place(store, &format!("{KEY},prefix=team/"));
        let to = format!("{cache},mode=max");
        // A bucket in which nothing is yet is one that has no step.
        let (said, first) = built("one\n", &["--cache-from", &cache, "--cache-to", &to]);
        assert!(said.contains("the cache in the bucket cache: 3 steps sent"), "{said}");
        assert!(!said.contains("WARN"), "{said}");
        let (blobs, manifests) = (store.keys("team/blobs/"), store.keys("team/manifests/buildkit/"));
        // Two steps make the same layer; what is known of a step is in its manifest.
        assert_eq!(blobs.len(), 2, "{blobs:?}");
        assert!(blobs.iter().all(|key| key.starts_with("team/blobs/sha256:")), "{blobs:?}");
        let (said, second) = built("one\n", &["--cache-from", &cache]);
        assert_eq!(cached(&said), 3, "{said}");
        assert_eq!(first, second);
        // What is there is not sent again, and one file that changed is one step and its copy.
        let (said, _) = built("one\n", &["--cache-from", &cache, "--cache-to", &to]);
        assert!(said.contains("0 steps sent (0B), 3 were there"), "{said}");
        assert_eq!(store.keys("team/manifests/buildkit/"), manifests);
        let (said, _) = built("two\n", &["--cache-from", &cache, "--cache-to", &to]);
        assert_eq!(cached(&said), 1, "{said}");
        assert!(said.contains("2 steps sent"), "{said}");
        // Another name is another cache; an import asks all that it names.
        let (said, _) = built("one\n", &["--cache-from", &format!("{cache},name=other")]);
        assert_eq!(cached(&said), 0, "{said}");
        let (said, _) = built("one\n", &["--cache-from", &format!("{cache},name=other;buildkit")]);
        assert_eq!(cached(&said), 3, "{said}");
        // An export fills all names, with blobs that are there.
        let both = format!("{to},name=buildkit;main");
        let (said, _) = built("one\n", &["--cache-from", &cache, "--cache-to", &both]);
        assert!(said.contains("3 steps sent (0B)"), "{said}");
        let (said, _) = built("one\n", &["--cache-from", &format!("{cache},name=main")]);
        assert_eq!(cached(&said), 3, "{said}");
    });
}

// B-121, B-220: nothing of a bucket is believed, and what is broken in it is mended.
#[test]
fn what_is_damaged_in_a_bucket_is_made_again() {
    with_store(|store| {
        let cache = place(store, KEY);
        let to = format!("{cache},mode=max");
        built("one\n", &["--cache-to", &to]);
        let all = ["--cache-from", &cache, "--cache-to", &to, "-o", "type=oci,dest=image.tar"];
        let blobs = store.keys("blobs/");
        for key in &blobs {
            store.change(key, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xff;
            });
        }
        let (said, _) = built("one\n", &all);
        assert!(said.contains("the build goes on without that result"), "{said}");
        // The same layers have the same names, and are now what these say.
        assert_eq!(store.keys("blobs/"), blobs);
        let (said, _) = built("one\n", &all);
        assert!(!said.contains("goes on without"), "{said}");
        assert_eq!(cached(&said), 3, "{said}");
        // A rule of the bucket removed blobs and left their manifests.
        blobs.iter().for_each(|key| store.remove(key));
        built("one\n", &["--cache-to", &to]);
        assert_eq!(store.keys("blobs/"), blobs);
        // A manifest of another step, and one that is none.
        for key in store.keys("manifests/") {
            store.change(&key, |bytes| bytes.truncate(10));
        }
        let (said, _) = built("one\n", &["--cache-from", &cache]);
        assert!(said.contains("is refused"), "{said}");
        assert_eq!(cached(&said), 0, "{said}");
    });
}

// B-129: names of content, and keys that stand for one thing: writers do not meet.
#[test]
fn machines_fill_a_bucket_at_once() {
    with_store(|store| {
        let cache = place(store, KEY);
        let to = format!("{cache},mode=max,upload_parallelism=8");
        // The large layer is sent in several parts.
        let machines: Vec<Machine> = (0..3).map(|_| machine("one\n", 40 << 20)).collect();
        std::thread::scope(|scope| {
            for machine in &machines {
                scope.spawn(|| built_on(machine, &["--cache-to", &to, "-t", "app"]));
            }
        });
        // The end of an upload in parts is one moment, and leaves one object.
        let large = store.sizes("blobs/").into_iter().max().unwrap();
        assert!(large > 40 << 20, "{large}");
        let other = machine("one\n", 40 << 20);
        let said = built_on(&other, &["--cache-from", &cache, "--target=build", "-t", "app"]);
        assert_eq!(cached(&said), 2, "{said}");
        other.castoff(&["save", "-o", "image.tar", "app"]);
        assert!(fs::metadata(other.path("image.tar")).unwrap().len() > 40 << 20);
    });
}

// B-122, B-129
#[test]
fn a_cache_mount_travels_through_a_bucket() {
    with_store(|store| check_mounts(&place(store, KEY)));
}

// B-121, B-122, B-129
#[test]
fn a_bucket_that_cannot_be_used_says_why() {
    with_store(|store| {
        let wrong = place(store, "access_key_id=id,secret_access_key=guessed");
        let (said, _) = built("one\n", &["--cache-from", &wrong]);
        assert_eq!(said.matches("the cache in the bucket cache cannot be read").count(), 1, "{said}");
        assert!(said.contains("SignatureDoesNotMatch: "), "{said}");
        let machine = machine("one\n", 16);
        let said = machine.build_fails(DOCKERFILE, &["--cache-to", &wrong]);
        assert!(
            said.contains("exporting to the cache in the bucket cache") && said.contains("403"),
            "{said}"
        );
        assert!(!said.contains("guessed") && !said.contains("X-Amz"), "{said}");
        let none = place(store, KEY).replace("bucket=cache", "bucket=none");
        let said = machine.build_fails(DOCKERFILE, &["--cache-to", &none]);
        assert!(said.contains("status 404: NoSuchBucket: "), "{said}");
        let (said, _) = built("one\n", &["--cache-to", &format!("{none},ignore-error=true")]);
        assert!(said.contains("WARN: exporting to the cache in the bucket none"), "{said}");
        // Nobody has a key.
        let said = machine.build_fails(DOCKERFILE, &["--cache-to", &place(store, "")]);
        assert!(said.contains("the bucket cache: no access key: give access_key_id"), "{said}");
        let (said, _) = built("one\n", &["--cache-from", &place(store, "")]);
        assert!(
            said.contains("WARN: a cache to import cannot be read: the bucket cache: no access key"),
            "{said}"
        );
        // The credentials file of AWS's tools.
        machine.write(
            ".aws/credentials",
            "[default]\naws_access_key_id = id\naws_secret_access_key = opensesame\n",
        );
        let said = built_on(&machine, &["--cache-to", &place(store, "")]);
        assert!(said.contains("1 steps sent"), "{said}");
        let said = machine.build_fails(DOCKERFILE, &["--offline", "--cache-to", &place(store, KEY)]);
        assert!(said.contains("filling a cache in a bucket"), "{said}");
    });
}

// B-034, B-128, B-130: what is not built says so, and says what is; a key is in no message.
#[test]
fn other_services_say_what_to_use_instead() {
    let machine = machine("one\n", 16);
    let fails = |value: &str| {
        let words = ["build", "--cache-to", value, "context"];
        let output = machine.command(&words).output().unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let said = fails("type=gha,scope=main");
    assert!(said.contains("type=gha is not supported: keep a type=local directory"), "{said}");
    let said = fails("type=azblob,account_url=https://example.com");
    assert!(said.contains("type=azblob is not supported: use type=registry"), "{said}");
    let said = fails("type=s3,bucket=b,region=r,access_key_id=x,secret_access_key=opensesame,tag=x");
    assert!(said.contains("unexpected key `tag`"), "{said}");
    assert!(!said.contains("opensesame"), "{said}");
}
