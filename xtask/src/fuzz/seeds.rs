//! First inputs for the fuzzer, taken from the examples and from the texts in tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{listed, repository, run};
use crate::rust::{Token, tokens};

/// Writes the seeds of a target. Names follow from content, so that doing it again changes nothing.
pub fn write(target: &str, directory: &Path) -> Result<()> {
    let seeds: BTreeSet<String> = match target {
        "lexer" | "parser" | "lowering" => dockerfiles()?,
        "expansion" => texts(&["crates/castoff-dockerfile/tests/it/expand.rs"])?
            .filter(|text| text.contains(['$', '\'', '"', '\\', '`']))
            .map(|text| format!("@{text}\na=value\nb=\nc=a/b/c\n"))
            .collect(),
        "ignore" => texts(&["crates/castoff-graph/src/pattern/tests.rs"])?
            .map(|text| format!("{text}\n!a\n\0a/b/{text}"))
            .collect(),
        "reference" => texts(&["crates/castoff-oci"])?.filter(|text| text.len() < 200).collect(),
        "tar" => return archives(directory),
        "packages" => return packages(directory),
        "images" => [IMAGE, DOCKER_IMAGE, NESTED].map(str::to_owned).into(),
        _ => BTreeSet::new(),
    };
    for (number, seed) in seeds.iter().enumerate() {
        let path = directory.join(format!("{number:04}"));
        std::fs::write(&path, seed).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The Dockerfiles of the examples, and the texts of tests that are instructions.
fn dockerfiles() -> Result<BTreeSet<String>> {
    let mut seeds = BTreeSet::new();
    for file in listed("examples")? {
        if file.ends_with("Dockerfile") {
            seeds.insert(read(&file)?);
        }
    }
    let tests = texts(&["crates/castoff-dockerfile/tests", "crates/castoff-plan/tests"])?;
    let begins = |text: &str| {
        let word = text.trim_start().split([' ', '\n']).next().unwrap_or_default();
        word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase()) || text.trim_start().starts_with('#')
    };
    seeds.extend(tests.filter(|text| begins(text)).map(|text| match text.contains("FROM") {
        true => text,
        false => format!("FROM x\n{text}"),
    }));
    Ok(seeds)
}

/// The string literals of files, or of the Rust files below directories.
fn texts(places: &[&str]) -> Result<impl Iterator<Item = String> + use<>> {
    let mut texts = Vec::new();
    for place in places {
        for file in listed(place)? {
            if file.ends_with(".rs") {
                texts.extend(tokens(&read(&file)?).into_iter().filter_map(|token| match token {
                    Token::Text(text) => Some(text),
                    Token::Comment(_) | Token::Word(_) | Token::Sign(_) => None,
                }));
            }
        }
    }
    Ok(texts.into_iter())
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(repository().join(file)).with_context(|| format!("cannot read `{file}`"))
}

/// A small directory in every form and compression.
fn archives(directory: &Path) -> Result<()> {
    for format in ["v7", "ustar", "gnu", "oldgnu", "pax"] {
        for compression in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
            let name = format!("{format}{compression}");
            // Its own directory is a small one with files in it.
            run(Command::new("tar")
                .args(["--create", "--format", format, "--file"])
                .arg(directory.join(name))
                .args(compression.split_terminator(' '))
                .args(["fuzz/Cargo.toml", "fuzz/targets/parser.rs", ".cargo"])
                .current_dir(repository()))?;
        }
    }
    Ok(())
}

/// Documents as the target of that name reads them: an index, a manifest, a config, a layer.
const IMAGE: &str = concat!(
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"@1","size":#1,"annotations":{"io.containerd.image.name":"a.example/b:c"}}]}"#,
    "\0",
    r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"@1","size":#1},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"@2","size":#2}]}"#,
    "\0",
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["@1"]}}"#,
    "\0layer"
);

/// The same in a Docker archive.
const DOCKER_IMAGE: &str = concat!(
    r#"[{"Config":"blobs/sha256/x","RepoTags":["b:c"],"Layers":["blobs/sha256/y"]}]"#,
    "\0",
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["@1"]}}"#,
    "\0layer"
);

/// An index of an index of nothing.
const NESTED: &str = concat!(
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"@1","size":#1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}"#,
    "\0",
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"@1","size":#1}]}"#,
    "\0",
    r#"{"schemaVersion":2,"manifests":[]}"#
);

/// What package managers and compilers leave in an image, each behind the number of its place in the target.
fn packages(directory: &Path) -> Result<()> {
    let texts: [(u8, &str); 6] = [
        (0, "Package: a\nStatus: install ok installed\nArchitecture: amd64\nSource: b (1)\nVersion: 2\n\n"),
        (1, "Package: a\nVersion: 2\n"),
        (2, "P:a\nV:1\nA:x86_64\nL:MIT\no:b\nF:lib\nR:c\n\n"),
        (3, r#"{"name":"@a/b","version":"1.0.0","license":{"type":"MIT OR ISC"}}"#),
        (
            4,
            "Name: A_b\nVersion: 1\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n\n",
        ),
        (7, "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian'\n"),
    ];
    let mut seeds: Vec<Vec<u8>> =
        texts.iter().map(|(place, text)| [&[*place][..], text.as_bytes()].concat()).collect();
    seeds.push([&[6][..], b"#!/bin/sh -e\n"].concat());
    seeds.extend(program(directory)?.map(|program| [&[6][..], &program].concat()));
    seeds.push(
        [&[5][..], &stored("META-INF/maven/a/b/pom.properties", b"artifactId=b\nversion=1\n")].concat(),
    );
    for (number, seed) in seeds.iter().enumerate() {
        let path = directory.join(format!("{number:04}"));
        std::fs::write(&path, seed).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// Returns small programs: one that is linked, with what the Go command would have put into it, and the same without
/// sections of the machine's own.
fn program(directory: &Path) -> Result<[Vec<u8>; 2]> {
    let source = r#"__attribute__((section(".go.buildinfo"), used)) static const char go[] =
        "\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" "\6go1.22" "\x2e" "0123456789abcdef"
        "dep\ta.b/c\tv1\n\n" "0123456789abcdef";
        int main(void) { return 0; }"#;
    let (text, output) = (directory.join("program.c"), directory.join("program"));
    std::fs::write(&text, source)?;
    let mut made = Vec::new();
    for flags in [&["-s"][..], &["-s", "-nostdlib", "-static", "-Wl,--build-id=none"]] {
        run(Command::new("cc")
            .args(["-Os", "-Wl,-z,noseparate-code", "-o"])
            .arg(&output)
            .arg(&text)
            .args(flags))?;
        made.push(std::fs::read(&output)?);
    }
    std::fs::remove_file(&text)?;
    std::fs::remove_file(&output)?;
    Ok(made.try_into().expect("two programs were made"))
}

/// Returns an archive of one file as it is (APPNOTE.TXT 4.3.6).
fn stored(name: &str, content: &[u8]) -> Vec<u8> {
    let shifted = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    let sum =
        content.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shifted(sum)));
    let size = (content.len() as u32).to_le_bytes();
    let sizes = [(!sum).to_le_bytes(), size, size].concat();
    let length = (name.len() as u16).to_le_bytes();
    let begin =
        [b"PK\x03\x04\x0a\0\0\0\0\0\0\0\x21\0", &sizes[..], &length, &[0; 2], name.as_bytes(), content]
            .concat();
    let list = [b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\x21\0", &sizes[..], &length, &[0; 16], name.as_bytes()]
        .concat();
    let list_size = (list.len() as u32).to_le_bytes();
    let end =
        [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &list_size[..], &(begin.len() as u32).to_le_bytes(), &[0; 2]]
            .concat();
    [begin, list, end].concat()
}
