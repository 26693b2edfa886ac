//! How an image is written: media types, annotations, compression with a table of contents, times, and the
//! files about it.

use std::collections::BTreeMap;
use std::io::Read as _;

use castoff_oci::Digest;
use serde_json::Value;

use super::kit::{Done, Kit, layers, tool, with_steps};

const DOCKERFILE: &str = "FROM busybox\nCOPY file /\nCOPY more /more\n";
const LAYOUT: &str = "type=oci,tar=false,dest=layout";

fn kit() -> Kit {
    let kit = Kit::new();
    kit.write("context/file", "content\n");
    kit.write("context/more/large", "0123456789".repeat(900_000));
    kit.write("context/more/empty", "");
    kit
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

/// Returns a document of `layout/`.
fn blob(kit: &Kit, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    let text = kit.read(&format!("layout/blobs/{}", digest.replace(':', "/")));
    assert_eq!(
        (Digest::of(text.as_bytes()).to_string().as_str(), &descriptor["size"]),
        (digest, &text.len().into())
    );
    json(&text)
}

/// Returns the one entry of `layout/index.json`.
fn root(kit: &Kit) -> Value {
    let index = json(&kit.read("layout/index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    index["manifests"][0].clone()
}

// B-116, B-117
#[test]
fn an_image_is_annotated() {
    let kit = kit();
    let output = format!(
        "{LAYOUT},annotation.own=1,annotation-manifest-descriptor[linux/amd64].d=2,annotation.both=o"
    );
    let flags = ["--platform", "linux/amd64", "--annotation", "both=f", "--annotation", "manifest:flag=3"];
    kit.build(DOCKERFILE, &[&flags[..], &["-t", "app", "-o", &output, "-o", "type=image"]].concat())
        .succeeds();
    let entry = root(&kit);
    assert_eq!(entry["annotations"]["d"], "2");
    let manifest = blob(&kit, &entry);
    let expected: Value = serde_json::json!({"both": "o", "flag": "3", "own": "1"});
    assert_eq!(manifest["annotations"], expected);
    // The image of the store has those of the flag alone.
    kit.castoff(&["save", "--format", "oci", "-o", "saved.tar", "app"]).succeeds();
    kit.castoff(&["load", "-i", "saved.tar"]).succeeds();
    std::fs::remove_dir_all(kit.path("layout")).unwrap();
    // Annotations of a base image are not inherited (B-117).
    kit.build("FROM app\nLABEL a=b\n", &["-o", LAYOUT]).succeeds();
    assert_eq!(blob(&kit, &root(&kit))["annotations"], Value::Null);
    let refused = |flags: &[&str], words: &str| {
        kit.build(DOCKERFILE, &[&["--platform", "linux/amd64"], flags].concat()).fails().says(words);
    };
    refused(&["--annotation", "index:a=b"], "an index needs several platforms");
    refused(&["--annotation", "index-descriptor:a=b"], "an index needs several platforms");
    refused(&["--annotation", "manifest[linux/arm64]:a=b"], "which is not built");
    refused(&["--annotation", "manifest[linux/*]:a=b"], "is not a platform");
    refused(&["--annotation", "layer:a=b"], "is not a level");
    refused(&["--annotation", "a"], "KEY=VALUE");
    refused(&["-o", "type=oci,dest=o,annotation-layer.a=b"], "is not a level");
    let docker = "type=oci,dest=o,oci-mediatypes=false";
    refused(&["--annotation", "manifest-descriptor:a=b", "-o", docker], "OCI media types");
    assert!(!kit.path("o").exists());
}

// B-109, B-116
#[test]
fn an_index_is_annotated_on_every_level() {
    let kit = kit();
    let annotations = [
        "index:i=1",
        "index-descriptor:id=2",
        "manifest[linux/arm64]:arm=3",
        "manifest,manifest-descriptor:all=4",
        "manifest-descriptor[linux/amd64]:amd=5",
    ];
    let mut flags = vec!["--platform", "linux/amd64,linux/arm64", "-o", LAYOUT, "--metadata-file", "meta"];
    flags.extend(annotations.iter().flat_map(|annotation| ["--annotation", annotation]));
    kit.build("FROM scratch\nCOPY file /\n", &flags).succeeds();
    let entry = root(&kit);
    assert_eq!(entry["annotations"]["id"], "2");
    let index = blob(&kit, &entry);
    assert_eq!(index["annotations"], serde_json::json!({"i": "1"}));
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries[0]["annotations"], serde_json::json!({"all": "4", "amd": "5"}));
    assert_eq!(entries[1]["annotations"], serde_json::json!({"all": "4"}));
    assert_eq!(blob(&kit, &entries[0])["annotations"], serde_json::json!({"all": "4"}));
    assert_eq!(blob(&kit, &entries[1])["annotations"], serde_json::json!({"all": "4", "arm": "3"}));
    // B-113: an index has no config.
    let metadata = json(&kit.read("meta"));
    assert_eq!(metadata["containerimage.config.digest"], Value::Null);
    assert_eq!(metadata["containerimage.descriptor"]["annotations"]["id"], "2");
    assert_eq!(metadata["containerimage.digest"], entry["digest"]);
}

// B-107
#[test]
fn documents_and_layers_have_dockers_types() {
    let kit = kit();
    let output = format!("{LAYOUT},oci-mediatypes=false");
    kit.build(DOCKERFILE, &["-t", "app", "-o", &output, "--annotation", "a=b"]).succeeds();
    let entry = root(&kit);
    assert_eq!(entry["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let manifest = blob(&kit, &entry);
    assert_eq!(manifest["mediaType"], entry["mediaType"]);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    }
    assert_eq!(manifest["config"]["digest"], kit.inspect("app")["Id"]);
    // skopeo takes layouts of OCI types alone.
    kit.build(DOCKERFILE, &["-o", "type=docker,dest=docker.tar,oci-mediatypes=false", "-t", "app"])
        .succeeds();
    if let Some(config) =
        tool("skopeo", &["inspect", "--config", "--raw", "docker-archive:docker.tar"], &kit.path(""))
    {
        assert_eq!(
            Digest::of(config.trim_end().as_bytes()).to_string(),
            kit.inspect("app")["Id"].as_str().unwrap()
        );
    }
    std::fs::remove_dir_all(kit.path("layout")).unwrap();
    kit.build(DOCKERFILE, &["--platform", "linux/amd64,linux/arm64", "-o", &output]).fails();
    kit.build("FROM scratch\nCOPY file /\n", &["--platform", "linux/amd64,linux/arm64", "-o", &output])
        .succeeds();
    let entry = root(&kit);
    assert_eq!(entry["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    // Layers of a base image in zstd are written anew, because nothing that needs Docker's types reads them.
    std::fs::remove_dir_all(kit.path("layout")).unwrap();
    kit.build("FROM scratch\nCOPY more /\n", &["-o", "type=oci,dest=base.tar,compression=zstd,name=base"])
        .succeeds();
    kit.castoff(&["load", "-i", "base.tar"]).succeeds();
    let dockerfile = "FROM base\nCOPY file /\n";
    let types = |output: &str| {
        std::fs::remove_dir_all(kit.path("layout")).unwrap_or_default();
        kit.build(dockerfile, &["-o", output]).succeeds();
        let layers = blob(&kit, &root(&kit))["layers"].clone();
        let types =
            layers.as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned());
        types.map(|kind| kind.rsplit('.').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(types(LAYOUT), ["tar+zstd", "tar+gzip"]);
    assert_eq!(types(&output), ["gzip", "gzip"]);
    for compression in ["zstd", "estargz"] {
        let output = format!("{output},compression={compression}");
        kit.build(DOCKERFILE, &["-o", &output]).fails().says("needs OCI media types");
    }
}

// B-105, B-108; stargz-snapshotter, docs/estargz.md
#[test]
fn single_files_can_be_taken_out_of_an_estargz_layer() {
    let kit = kit();
    let output = "type=oci,dest=out.tar,compression=estargz,force-compression=true";
    kit.build(
        DOCKERFILE,
        &["-t", "app", "-o", output, "-o", &format!("{LAYOUT},compression=estargz,force-compression=true")],
    )
    .succeeds();
    // Each blob decompresses to the diff id that the config has, whoever reads it.
    let whole = layers(&kit.path("out.tar"));
    assert_eq!(whole.len(), 3);
    let manifest = blob(&kit, &root(&kit));
    for (layer, files) in manifest["layers"].as_array().unwrap().iter().zip(&whole) {
        let path = layer["digest"].as_str().unwrap().replace(':', "/");
        let bytes = std::fs::read(kit.path(&format!("layout/blobs/{path}"))).unwrap();
        let unpack = |offset: usize, limit: u64| {
            let (_, reader) = castoff_layer::decompress(Box::new(&bytes[offset..])).unwrap();
            let mut out = Vec::new();
            reader.take(limit).read_to_end(&mut out).unwrap();
            out
        };
        // The footer: 51 bytes, whose extra field has the place of the table in 16 hexadecimal digits.
        let footer = &bytes[bytes.len() - 51..];
        assert_eq!(
            (&footer[..4], &footer[12..14], &footer[32..38]),
            (&[0x1f, 0x8b, 8, 4][..], &b"SG"[..], &b"STARGZ"[..])
        );
        assert_eq!(unpack(bytes.len() - 51, 10), b"");
        let offset = std::str::from_utf8(&footer[16..32]).unwrap();
        let table_tar = unpack(usize::from_str_radix(offset, 16).unwrap(), u64::MAX);
        let table_files = super::kit::Files::read(&table_tar);
        let table = table_files.text("stargz.index.json");
        let annotations = &layer["annotations"];
        assert_eq!(
            annotations["containerd.io/snapshot/stargz/toc.digest"],
            Digest::of(table.as_bytes()).to_string()
        );
        let size: usize =
            annotations["io.containers.estargz.uncompressed-size"].as_str().unwrap().parse().unwrap();
        assert_eq!(unpack(0, u64::MAX).len(), size);
        let table = json(table);
        assert_eq!(table["version"], 1);
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in table["entries"].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap().trim_end_matches('/').to_owned();
            let at = |key: &str| usize::try_from(entry[key].as_u64().unwrap_or(0)).unwrap();
            let is_file = ["reg", "chunk"].contains(&entry["type"].as_str().unwrap());
            let known = found.entry(name.clone()).or_default();
            if is_file && files.get(&name).kind == '-' && !files.get(&name).content.is_empty() {
                let rest = files.get(&name).content.len() - known.len();
                let length = if at("chunkSize") > 0 { at("chunkSize") } else { rest };
                let chunk = unpack(at("offset"), length as u64);
                assert_eq!(entry["chunkDigest"], Digest::of(&chunk).to_string(), "{name}");
                assert_eq!(at("chunkOffset"), known.len(), "{name}");
                known.extend(chunk);
            }
        }
        for (name, file) in &files.0 {
            if name == "stargz.index.json" {
                continue;
            }
            let described = found.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            if file.kind == '-' {
                assert!(*described == file.content, "{name}");
            }
        }
        assert!(found.contains_key(".no.prefetch.landmark"));
    }
    // The same again is the same bytes, and comes from what is remembered.
    kit.build(
        DOCKERFILE,
        &["-o", "type=oci,dest=again.tar,compression=estargz,force-compression=true", "-t", "app"],
    )
    .succeeds();
    assert!(std::fs::read(kit.path("out.tar")).unwrap() == std::fs::read(kit.path("again.tar")).unwrap());
    // An image of such layers is a base like any other, and none of them is compressed again.
    kit.castoff(&["load", "-i", "out.tar"]).succeeds();
    let files = kit.files("FROM app\n", &[]);
    assert_eq!(files.text("file"), "content\n");
}

// B-105: levels
#[test]
fn a_level_is_one_that_the_algorithm_has() {
    let kit = kit();
    let size = |level: &str| {
        kit.build(DOCKERFILE, &["-o", &format!("type=oci,dest=out.tar,{level},force-compression=true")])
            .succeeds();
        std::fs::metadata(kit.path("out.tar")).unwrap().len()
    };
    assert!(size("compression-level=0") > size("compression-level=1"));
    assert!(size("compression-level=1") > size("compression-level=9"));
    assert!(size("compression=zstd,compression-level=1") >= size("compression=zstd,compression-level=19"));
    assert!(
        size("compression=estargz,compression-level=0") > size("compression=estargz,compression-level=9")
    );
    for bad in [
        "compression-level=10",
        "compression=zstd,compression-level=23",
        "compression-level=x",
        "compression=estargz,compression-level=10",
    ] {
        kit.build(DOCKERFILE, &["-o", &format!("type=oci,dest=o,{bad}")])
            .fails()
            .says("is not a number that is allowed here");
    }
}

// B-170, B-171
#[test]
fn an_output_may_have_times_of_its_own() {
    let kit = kit();
    kit.write("context/Dockerfile", "FROM scratch\nCOPY file /\n");
    let build = |flags: &[&str]| {
        let mut command = kit.command([&["build"], flags, &["context"]].concat());
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        Done::of(command).succeeds()
    };
    let created = |name: &str| kit.inspect(name)["Created"].as_str().unwrap().to_owned();
    build(&[
        "-o",
        "type=image,name=build",
        "-o",
        "type=image,name=own,source-date-epoch=1234567890",
        "-o",
        "type=image,name=without,source-date-epoch=",
        "-o",
        "type=oci,dest=out.tar,rewrite-timestamp=true,source-date-epoch=1234567890",
        "-o",
        "type=oci,dest=layers.tar,rewrite-timestamp=true",
    ]);
    assert_eq!(created("build"), "2001-09-09T01:46:40Z");
    assert_eq!(created("own"), "2009-02-13T23:31:30Z");
    assert!(created("without").as_str() > "2020");
    assert_eq!(layers(&kit.path("out.tar"))[0].get("file").mtime, 1_234_567_890);
    assert_eq!(layers(&kit.path("layers.tar"))[0].get("file").mtime, 1_000_000_000);
    build(&["-o", "type=oci,dest=none.tar,rewrite-timestamp=true,source-date-epoch="])
        .says("rewrite-timestamp has no effect");
    kit.build(DOCKERFILE, &["-o", "type=oci,dest=o,source-date-epoch=now"])
        .fails()
        .says("seconds since 1970");
}

// B-113, B-114
#[test]
fn the_metadata_file_has_the_keys_of_buildx() {
    let kit = kit();
    let meta = |flags: &[&str], variables: &[(&str, &str)]| {
        kit.write("context/Dockerfile", "FROM scratch\nCOPY file /\nMAINTAINER me\n");
        let mut command = kit.command([&["build", "--metadata-file", "meta"], flags, &["context"]].concat());
        command.envs(variables.iter().copied());
        Done::of(command).succeeds();
        json(&kit.read("meta"))
    };
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let first = meta(&["-o", "type=oci,dest=out.tar,name=a:1,compression=zstd", "-t", "b"], &[]);
    let image = [
        "buildx.build.ref",
        "buildx.build.provenance",
        "containerimage.config.digest",
        "containerimage.descriptor",
        "containerimage.digest",
        "image.name",
    ];
    assert_eq!(keys(&first), image);
    assert_eq!(first["image.name"], "docker.io/library/a:1");
    let parts: Vec<&str> = first["buildx.build.ref"].as_str().unwrap().split('/').collect();
    assert_eq!((parts.len(), parts[2].len()), (3, 25));
    let descriptor = &first["containerimage.descriptor"];
    assert_eq!(descriptor["digest"], first["containerimage.digest"]);
    assert_eq!(descriptor["platform"]["os"], "linux");
    assert!(descriptor["annotations"]["org.opencontainers.image.created"].is_string());
    assert!(descriptor["size"].is_u64());
    // What is told is what was written, not what the store has.
    let archive = super::kit::Files::read(&std::fs::read(kit.path("out.tar")).unwrap());
    let index = json(archive.text("index.json"));
    assert_eq!(index["manifests"][0]["digest"], descriptor["digest"]);
    // Files have no image; a build is told of all the same.
    assert_eq!(keys(&meta(&["-o", "out"], &[])), ["buildx.build.ref", "buildx.build.provenance"]);
    let variables = [("BUILDX_METADATA_WARNINGS", "1"), ("BUILDX_METADATA_PROVENANCE", "disabled")];
    let told = meta(&["-o", "out"], &variables);
    assert_eq!(keys(&told), ["buildx.build.ref", "buildx.build.warnings"]);
    let max = meta(&["-o", "out"], &[("BUILDX_METADATA_PROVENANCE", "max")]);
    let definition = &max["buildx.build.provenance"]["buildDefinition"];
    assert!(definition["internalParameters"]["buildConfig"]["steps"].is_array());
    assert_eq!(told["buildx.build.warnings"][0]["range"][0]["start"]["line"], 3);
    let other = meta(&["-o", "out"], &[]);
    assert_ne!(other["buildx.build.ref"], first["buildx.build.ref"]);
}

// B-095, B-096
#[test]
fn a_local_output_may_remove_what_the_result_lacks() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS b\nRUN mkdir -p /r/d && echo 1 > /r/d/f && ln -s d /r/l\n\
            FROM scratch\nCOPY --from=b /r /\n";
        for stale in ["out/stale", "out/d/stale", "out/gone/x"] {
            kit.write(stale, "old");
        }
        kit.write("out/d/f", "old");
        kit.write("outside/kept", "x");
        std::os::unix::fs::symlink("../outside", kit.path("out/link")).unwrap();
        kit.build(dockerfile, &["-o", "out"]).succeeds();
        assert_eq!((kit.read("out/d/f"), kit.read("out/stale")), ("1\n".to_owned(), "old".to_owned()));
        kit.build(dockerfile, &["-o", "type=local,dest=out,mode=delete"]).succeeds();
        let mut left = Vec::new();
        for directory in ["out", "out/d"] {
            left.extend(
                std::fs::read_dir(kit.path(directory)).unwrap().map(|entry| entry.unwrap().file_name()),
            );
        }
        left.sort();
        assert_eq!(left, ["d", "f", "l"]);
        assert_eq!(kit.read("outside/kept"), "x");
        // A failing build removes nothing.
        kit.write("out/stale", "old");
        kit.build("FROM busybox\nRUN false\n", &["-o", "type=local,dest=out,mode=delete"]).fails();
        assert_eq!(kit.read("out/stale"), "old");
        // The current directory, and what is not below it, need a word more.
        kit.build(dockerfile, &["-o", "type=local,dest=.,mode=delete"]).fails().says("buildx.local.delete");
        assert!(kit.path("out/stale").exists());
        let elsewhere = tempfile::tempdir().unwrap();
        let output = format!("type=local,dest={},mode=delete", elsewhere.path().display());
        std::fs::write(elsewhere.path().join("stale"), "").unwrap();
        kit.build(dockerfile, &["-o", &output]).fails().says("buildx.local.delete");
        assert!(elsewhere.path().join("stale").exists());
        kit.build(dockerfile, &["-o", &output, "--allow", "buildx.local.delete"]).succeeds();
        assert!(!elsewhere.path().join("stale").exists() && elsewhere.path().join("d/f").exists());
        // B-095
        kit.write("file", "x");
        kit.build(dockerfile, &["-o", "type=local,dest=file"]).fails();
        assert_eq!(kit.read("file"), "x");
        kit.build(dockerfile, &["-o", "type=local,dest=new/and/deep"]).succeeds();
        assert_eq!(kit.read("new/and/deep/d/f"), "1\n");
        kit.build(dockerfile, &["-o", "type=local,dest=-"]).fails().says("dest cannot be stdout");
    });
}

// B-102, B-110
#[test]
fn what_other_programs_write_is_read() {
    let kit = kit();
    kit.build(
        DOCKERFILE,
        &["-t", "app", "-o", "type=oci,dest=out.tar,name=app", "-o", &format!("{LAYOUT},name=app:1")],
    )
    .succeeds();
    let here = kit.path("");
    for (kind, name) in [("oci-archive", "skopeo.tar"), ("docker-archive", "docker.tar")] {
        let target = format!("{kind}:{name}:example.invalid/{kind}:1");
        if tool("skopeo", &["copy", "-q", "oci-archive:out.tar", &target], &here).is_some() {
            kit.castoff(&["load", "-i", name]).succeeds();
            let files = kit.files(&format!("FROM example.invalid/{kind}:1\n"), &[]);
            assert_eq!(files.text("file"), "content\n");
        }
    }
    if tool("umoci", &["config", "--image", "layout:1", "--tag", "two", "--config.env", "UMOCI=yes"], &here)
        .is_some()
    {
        kit.castoff(&["load", "-i", "layout"]).succeeds();
        let done = kit.build("FROM l\n", &["--build-context", "l=oci-layout://layout:two", "-t", "derived"]);
        done.succeeds();
        let environment = kit.inspect("derived")["Config"]["Env"].to_string();
        assert!(environment.contains("UMOCI=yes"), "{environment}");
    }
}

// B-053, B-207
#[test]
fn digests_are_written_where_buildah_and_kaniko_write_them() {
    let kit = kit();
    kit.write("digest", "of an earlier build, and longer than the one that is written now, which must not show at its end: no");
    let files = ["--iidfile-raw", "raw", "--digest-file", "digest", "--iidfile", "id"];
    let names = ["--image-name-with-digest-file", "names", "--image-name-tag-with-digest-file", "tags"];
    let tags = ["-t", "example.invalid/a:1", "-t", "b"];
    kit.build("FROM scratch\nCOPY file /\n", &[&files[..], &names, &tags].concat()).succeeds();
    let image = kit.inspect("b");
    let (id, digest) = (image["Id"].as_str().unwrap(), image["Digest"].as_str().unwrap());
    assert_eq!((kit.read("id").as_str(), kit.read("digest").as_str()), (id, digest));
    assert_eq!(format!("sha256:{}", kit.read("raw")), id);
    assert_eq!(kit.read("names"), format!("example.invalid/a@{digest}\ndocker.io/library/b@{digest}\n"));
    assert_eq!(
        kit.read("tags"),
        format!("example.invalid/a:1@{digest}\ndocker.io/library/b:latest@{digest}\n")
    );
    kit.build("FROM scratch\nCOPY file /\n", &["--iidfile-raw", "raw", "-o", "out"]).fails().says("iidfile");
}

// B-051, B-174
#[test]
fn one_flag_makes_an_image_without_times() {
    let kit = kit();
    let dockerfile = "FROM busybox\nCOPY file /\n";
    for (flag, seconds, year) in
        [("--reproducible", 0, "1970-01-01T00:00:00Z"), ("--timestamp=86400", 86400, "1970-01-02T00:00:00Z")]
    {
        kit.build(dockerfile, &[flag, "-t", "app", "-o", "type=oci,dest=out.tar", "-o", "type=image"])
            .succeeds();
        assert_eq!(kit.inspect("app")["Created"], year);
        let layers = layers(&kit.path("out.tar"));
        assert!(layers.last().unwrap().0.values().all(|file| file.mtime == seconds), "{flag}");
        // Also in the store, where it is what is saved.
        kit.castoff(&["save", "--format", "oci", "-o", "saved.tar", "app"]).succeeds();
        assert_eq!(super::kit::layers(&kit.path("saved.tar")).last().unwrap().get("file").mtime, seconds);
    }
    kit.build(dockerfile, &["--timestamp=now"]).fails();
}

// B-104, B-106
#[test]
fn an_image_may_have_no_name_in_the_store_or_one_of_its_digest() {
    let kit = kit();
    let names = || kit.castoff(&["images", "-q"]).succeeds().text().lines().count();
    let dockerfile = "FROM scratch\nCOPY file /\n";
    let before = names();
    kit.build(dockerfile, &["-t", "app", "-o", "type=cacheonly"]).succeeds();
    kit.build(dockerfile, &["-o", "type=image,name=app,store=false"]).succeeds();
    assert_eq!(names(), before);
    let cached =
        kit.build(dockerfile, &["-o", "type=image,dangling-name-prefix=dangling", "--digest-file", "digest"]);
    assert_eq!(cached.succeeds().cached(), ["COPY file /"]);
    let digest = kit.read("digest");
    assert_eq!(kit.inspect(&format!("dangling@{digest}"))["Digest"], *digest);
    assert_eq!(names(), before + 1);
    kit.build(dockerfile, &["-o", "type=image,dangling-name-prefix=UPPER"])
        .fails()
        .says("dangling-name-prefix `UPPER`");
}
