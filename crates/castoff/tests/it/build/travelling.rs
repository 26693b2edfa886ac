//! Cache mounts that travel through shared caches. A machine is a store of its own.

use std::fs;
use std::path::{Path, PathBuf};

use castoff_layer::{CompressOptions, Compression, compress};
use castoff_oci::Digest;
use serde_json::{Value, json};

use super::kit::{Kit, with_steps, with_steps_as_each_user};

fn to(kit: &Kit, more: &str) -> String {
    format!("type=local,dest={},mounts=true{more}", kit.path("cache").display())
}

fn from(kit: &Kit, more: &str) -> String {
    format!("type=local,src={},mounts=true{more}", kit.path("cache").display())
}

/// A step that says what its mount has, and then does something in it.
fn step(name: &str, does: &str) -> String {
    format!(
        "FROM busybox\nRUN --mount=type=cache,id=deps,target=/cache echo {name}: $(ls -A /cache); {does}\n"
    )
}

/// Returns what a step said that its mount has.
#[track_caller]
fn seen<'a>(stderr: &'a str, name: &str) -> &'a str {
    let start = format!("{name}:");
    // Not where the command itself is shown.
    let line = stderr.lines().find_map(|line| line.split_once(&start).filter(|_| !line.contains("$(")));
    line.unwrap_or_else(|| panic!("{name}: {stderr}")).1.trim()
}

fn layers(kit: &Kit) -> usize {
    fs::read_dir(kit.path("cache/blobs/sha256")).unwrap().count()
}

// B-121, B-122, D-157: a mount that is new begins with what another machine left, as it left it.
#[test]
fn a_new_cache_mount_begins_with_what_another_machine_left() {
    with_steps_as_each_user(|kit| {
        let fill = "mkdir -m 750 /cache/d && echo one > /cache/d/file && chmod 640 /cache/d/file && \
            ln /cache/d/file /cache/hard && ln -s d/file /cache/soft && touch -d @1000000000 /cache/old";
        let done = kit.build(&step("first", fill), &["--cache-to", &to(kit, "")]).succeeds();
        done.says("cache mount deps: 1 of 1 chunks sent");
        let look = "stat -c '%n %a %u:%g %h' /cache/d /cache/d/file /cache/hard && cat /cache/soft && \
            stat -c %Y /cache/old";
        let other = kit.another();
        let done = other.build(&step("second", look), &["--cache-from", &from(kit, "")]).succeeds();
        let said = done.stderr.clone();
        assert_eq!(seen(&said, "second"), "d hard old soft");
        for expected in
            ["/cache/d 750 0:0", "/cache/d/file 640 0:0 2", "/cache/hard 640 0:0 2", " one", " 1000000000"]
        {
            let says = |line: &str| line.contains(expected) && !line.contains("$(");
            assert!(said.lines().any(says), "{expected}: {said}");
        }
        done.says("cache mount deps: 5 entries").says("from the cache in ");
        // What is there stays: a second step of this machine does not ask.
        let done = other.build(&step("third", "true"), &["--cache-from", &from(kit, "")]).succeeds();
        assert_eq!(seen(&done.stderr, "third"), "d hard old soft");
        done.never_says("from the cache in ");
        // Only who asks for it gets it, and --no-cache begins with nothing (D-163).
        let other = kit.another();
        let without = from(kit, "").replace(",mounts=true", "");
        let done = other.build(&step("fourth", "true"), &["--cache-from", &without]).succeeds();
        assert_eq!(seen(&done.stderr, "fourth"), "");
        let other = kit.another();
        let flags = ["--no-cache", "--cache-from", &from(kit, "")];
        let done = other.build(&step("fifth", "true"), &flags).succeeds();
        assert_eq!(seen(&done.stderr, "fifth"), "");
        let other = kit.another();
        let done =
            other.build(&step("sixth", "true"), &["--cache-from", &from(kit, "").replace("=true", "=x;y")]);
        assert_eq!(seen(&done.succeeds().stderr, "sixth"), "");
    });
}

// B-122: a change costs the chunks around it, a hit costs nothing, and the last state is what counts.
#[test]
fn only_new_chunks_are_sent() {
    with_steps(|kit| {
        let fill = "head -c 30000000 /dev/urandom > /cache/a; head -c 30000000 /dev/urandom > /cache/z";
        let flags = ["--cache-to", &to(kit, "")];
        let chunks = |stderr: &str| -> (u32, u32) {
            let line = stderr.split_once("cache mount deps: ").expect("it says so").1;
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].parse().unwrap(), words[2].parse().unwrap())
        };
        let done = kit.build(&step("first", fill), &flags).succeeds();
        let (new, all) = chunks(&done.stderr);
        assert!(new == all && all > 8, "{new} of {all}");
        let before = layers(kit);
        // The same again: nothing was executed, so nothing is looked at.
        kit.build(&step("first", fill), &flags).succeeds().never_says("chunks sent");
        assert_eq!(layers(kit), before);
        let two = step("second", "echo more > /cache/middle")
            + "RUN --mount=type=cache,id=deps,target=/c echo most > /c/n\n";
        let done = kit.build(&two, &flags).succeeds();
        let (new, all) = chunks(&done.stderr);
        assert!(new <= 3 && all > 8, "{new} of {all}");
        assert_eq!(done.stderr.matches("chunks sent").count(), 1);
        let other = kit.another();
        let done = other.build(&step("third", "true"), &["--cache-from", &from(kit, "")]).succeeds();
        assert_eq!(seen(&done.stderr, "third"), "a middle n z");
    });
}

// B-122: the same command's own mount comes first, then what others left under the id.
#[test]
fn the_same_command_finds_what_it_left() {
    with_steps(|kit| {
        let make = "FROM busybox\nARG V\nRUN --mount=type=cache,id=deps,target=/cache \
            echo make: $(ls /cache) && touch /cache/make-$V\n";
        let (to, from) = (to(kit, ""), from(kit, ""));
        kit.build(make, &["--build-arg", "V=1", "--cache-to", &to]).succeeds();
        // Another command on another machine, which did not have that mount.
        kit.another().build(&step("other", "touch /cache/other"), &["--cache-to", &to]).succeeds();
        let done = kit.another().build(make, &["--build-arg", "V=2", "--cache-from", &from]).succeeds();
        assert_eq!(seen(&done.stderr, "make"), "make-1");
        let done = kit.another().build(&step("third", "true"), &["--cache-from", &from]).succeeds();
        assert_eq!(seen(&done.stderr, "third"), "other");
    });
}

#[test]
fn a_mount_that_is_too_large_stays_here() {
    with_steps(|kit| {
        let fill = step("first", "head -c 3000000 /dev/urandom > /cache/a");
        let done = kit.build(&fill, &["--cache-to", &to(kit, ",mounts-max-size=2m")]).succeeds();
        let done = done.says("cache mount deps: more than 2").never_says("chunks sent");
        assert_eq!(done.stderr.matches("cache mount deps").count(), 1);
        kit.build(&step("second", "true"), &["--cache-to", &to(kit, "")]).succeeds().says("chunks sent");
        let other = kit.another();
        let few = from(kit, ",mounts-max-size=2m");
        let done = other.build(&step("third", "true"), &["--cache-from", &few]).succeeds();
        assert_eq!(seen(&done.stderr, "third"), "");
        done.says("2097152 are allowed");
    });
}

/// Returns the blobs of a cache that are JSON and have a text in them.
fn documents(kit: &Kit, with: &str) -> Vec<PathBuf> {
    let blobs = fs::read_dir(kit.path("cache/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.starts_with(b"{") && String::from_utf8_lossy(&bytes).contains(with)
    };
    blobs.filter(has).collect()
}

fn write_blob(kit: &Kit, bytes: &[u8]) -> (Digest, usize) {
    let digest = Digest::of(bytes);
    fs::write(kit.path("cache/blobs/sha256").join(digest.hex()), bytes).unwrap();
    (digest, bytes.len())
}

/// Puts an archive in place of the one that the cache has of the only mount.
fn replace_archive(kit: &Kit, tar: &[u8]) {
    let manifest =
        documents(kit, "\"layers\":[{\"mediaType\":\"application/vnd.castoff.cache.chunk").remove(0);
    let mut manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().replace("sha256:", "cache/blobs/sha256/");
    let mut mount: Value = serde_json::from_slice(&fs::read(kit.path(&config)).unwrap()).unwrap();
    let mut chunk = Vec::new();
    let options = CompressOptions { compression: Compression::Zstd, level: None, threads: 1 };
    compress(&mut &tar[..], &mut chunk, options).unwrap();
    let (digest, size) = write_blob(kit, &chunk);
    let media_type = manifest["layers"][0]["mediaType"].clone();
    manifest["layers"] = json!([{"mediaType": media_type, "digest": digest.to_string(), "size": size}]);
    mount["chunks"] = json!([{"digest": Digest::of(tar).to_string(), "size": tar.len()}]);
    mount["size"] = json!(tar.len());
    let (digest, size) = write_blob(kit, mount.to_string().as_bytes());
    let media_type = manifest["config"]["mediaType"].clone();
    manifest["config"] = json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
    let (digest, size) = write_blob(kit, manifest.to_string().as_bytes());
    let descriptor = json!({"mediaType": manifest["mediaType"], "digest": digest.to_string(), "size": size});
    for key in mount["keys"].as_array().unwrap() {
        let hex = key.as_str().unwrap().trim_start_matches("sha256:");
        let path = kit.path("cache/castoff-keys/latest").join(hex);
        assert!(path.is_file());
        fs::write(path, descriptor.to_string()).unwrap();
    }
}

/// Returns a tar with one file.
fn tar_of(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, &b"evil"[..]).unwrap();
    tar.into_inner().unwrap()
}

// B-121, B-218, B-219, B-220: what is broken or hostile is not there, and the step begins with an empty mount.
#[test]
fn a_broken_or_hostile_mount_is_not_used() {
    with_steps(|kit| {
        let check = |expected: &str| {
            let other = kit.another();
            let done = other.build(&step("next", "true"), &["--cache-from", &from(kit, "")]).succeeds();
            assert_eq!(seen(&done.stderr, "next"), "");
            done.says("is of no use: ").says(expected);
            other
        };
        kit.build(&step("first", "echo one > /cache/a"), &["--cache-to", &to(kit, "")]).succeeds();
        replace_archive(kit, &tar_of("good"));
        let other = kit.another();
        let done =
            other.build(&step("next", "cat /cache/good"), &["--cache-from", &from(kit, "")]).succeeds();
        assert_eq!(seen(&done.stderr, "next"), "good");
        replace_archive(kit, &tar_of("../evil"));
        let other = check("escapes the root");
        let outside = |path: &Path| path.file_name().is_some_and(|name| name == "evil");
        assert!(!super::kit::below(&other.path("")).iter().any(|path| outside(path)));
        replace_archive(kit, b"no archive at all");
        check("");
    });
}

// B-218, B-220: a blob that is not what its name says.
#[test]
fn a_damaged_chunk_is_found() {
    with_steps(|kit| {
        // The same bytes, whoever makes them.
        let fill = "echo one > /cache/a; touch -d @1000000000 /cache/a";
        kit.build(&step("first", fill), &["--cache-to", &to(kit, "")]).succeeds();
        let blobs = fs::read_dir(kit.path("cache/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        for path in blobs {
            let mut bytes = fs::read(&path).unwrap();
            if !bytes.starts_with(b"{") {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xff;
                fs::write(&path, bytes).unwrap();
            }
        }
        let other = kit.another();
        let done = other.build(&step("next", "true"), &["--cache-from", &from(kit, "")]).succeeds();
        assert_eq!(seen(&done.stderr, "next"), "");
        done.says("is of no use: ").says("has the digest");
        // Who finds it and exports puts it right, though the name is the same.
        let flags = ["--cache-from", &from(kit, ""), "--cache-to", &to(kit, "")];
        kit.another().build(&step("mended", fill), &flags).succeeds().says("1 of 1 chunks sent");
        let done = kit.another().build(&step("last", "true"), &["--cache-from", &from(kit, "")]).succeeds();
        assert_eq!(seen(&done.stderr, "last"), "a");
        done.never_says("is of no use");
    });
}

// D-166
#[test]
fn no_secret_leaves_in_a_mount() {
    with_steps(|kit| {
        kit.write("token", "s3cr3t-of-a-mount");
        kit.build(&step("first", "echo s3cr3t-of-a-mount > /cache/a"), &[]).succeeds();
        let next = step("next", "true").replace("RUN ", "RUN --mount=type=secret,id=token ");
        let flags = ["--secret", "id=token,src=token", "--cache-to", &to(kit, "")];
        let done = kit.build(&next, &flags).fails();
        done.says("secret `token` is in `/cache/a` of a cache mount");
        assert!(documents(kit, "cache.mount").is_empty());
        assert!(kit.containing("cache", b"s3cr3t").is_empty());
        let flags = ["--secret", "id=token,src=token,prove=false", "--no-cache", "--cache-to", &to(kit, "")];
        kit.build(&next, &flags).succeeds().says("chunks sent");
    });
}
