//! What is made of a result: archives, directories, files about it.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::kit::{Files, Kit, layers, tool, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS build\n\
    RUN mkdir -p /out/dir && echo one > /out/one && ln -s one /out/link && chmod 700 /out/dir\n\
    FROM scratch\nCOPY --from=build /out /\nENV A=b\n";

// B-092, B-095, B-097
#[test]
fn files_are_written_to_directories_and_archives() {
    with_steps_as_each_user(|kit| {
        kit.write("out/other", "stays");
        kit.own_all();
        kit.build(DOCKERFILE, &["-o", "out", "-o", "type=tar,dest=out.tar"]).succeeds();
        assert_eq!((kit.read("out/one"), kit.read("out/link")), ("one\n".to_owned(), "one\n".to_owned()));
        assert_eq!(kit.read("out/other"), "stays");
        let dir = std::fs::metadata(kit.path("out/dir")).unwrap();
        assert_eq!(dir.permissions().mode() & 0o7777, 0o700);
        let owner = std::fs::metadata(kit.path("out.tar")).unwrap().uid();
        assert_eq!(dir.uid(), owner);
        let archive = std::fs::read(kit.path("out.tar")).unwrap();
        assert_eq!(Files::read(&archive).paths(), ["dir", "link", "one"]);
        // B-006: only the archive is on standard output.
        let done = kit.build(DOCKERFILE, &["-o", "-"]).succeeds();
        assert_eq!(done.stdout, archive);
        for kind in ["oci", "docker"] {
            let done = kit.build(DOCKERFILE, &["-o", &format!("type={kind},dest=-")]).succeeds();
            kit.write("streamed.tar", &done.stdout);
            assert_eq!(layers(&kit.path("streamed.tar"))[0].paths(), ["dir", "link", "one"]);
        }
        // Only files were asked for, so there is no image.
        assert_eq!(kit.castoff(&["images", "-q"]).succeeds().text().lines().count(), 1);
        kit.build(DOCKERFILE, &["-o", "type=local"]).fails().says("dest is required");
        kit.build(DOCKERFILE, &["-o", "dest=x"]).fails().says("type is required for output");
        kit.build(DOCKERFILE, &["-o", "-", "-o", "type=oci"]).fails();
    });
}

// B-223
#[test]
fn a_failing_build_makes_no_output() {
    with_steps(|kit| {
        kit.write("id", "of an earlier build");
        let flags = ["-o", "type=oci,dest=out.tar", "--iidfile", "id", "--metadata-file", "meta"];
        kit.build("FROM busybox\nRUN false\n", &flags).fails();
        for name in ["out.tar", "id", "meta"] {
            assert!(!kit.path(name).exists(), "{name}");
        }
        let left = std::fs::read_dir(kit.path("")).unwrap().count();
        assert_eq!(left, 2, "the store and the context");
    });
}

// B-102, B-108, B-110
#[test]
fn image_archives_are_what_other_programs_read() {
    with_steps_as_each_user(|kit| {
        let flags = [
            "-t",
            "example.invalid/app:1",
            "-o",
            "type=oci,dest=oci.tar",
            "-o",
            "type=docker,dest=docker.tar",
        ];
        kit.build(DOCKERFILE, &[&flags[..], &["-o", "type=oci,tar=false,dest=layout"]].concat()).succeeds();
        let id = kit.inspect("example.invalid/app:1")["Id"].as_str().unwrap().to_owned();
        for archive in ["oci.tar", "docker.tar"] {
            let layers = layers(&kit.path(archive));
            assert_eq!(layers.len(), 1);
            assert_eq!(layers[0].paths(), ["dir", "link", "one"]);
        }
        let everyone = kit.path("");
        std::fs::set_permissions(&everyone, Permissions::from_mode(0o755)).unwrap();
        for source in ["oci-archive:oci.tar", "docker-archive:docker.tar", "oci:layout"] {
            let config = tool("skopeo", &["inspect", "--config", "--raw", source], &everyone);
            if let Some(config) = config {
                assert_eq!(castoff_oci::Digest::of(config.trim_end().as_bytes()).to_string(), id, "{source}");
                assert!(config.contains("A=b"), "{config}");
            }
            let _ =
                tool("skopeo", &["copy", "-q", source, &format!("dir:copied-{}", source.len())], &everyone);
        }
        if tool("umoci", &["unpack", "--rootless", "--image", "layout:1", "bundle"], &everyone).is_some() {
            assert_eq!(kit.read("bundle/rootfs/one"), "one\n");
        }
    });
}

// B-105, B-108
#[test]
fn layers_are_compressed_as_asked() {
    let kit = Kit::new();
    kit.write("context/file", "x".repeat(100_000));
    let dockerfile = "FROM scratch\nCOPY file /\n";
    for (compression, magic) in
        [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("uncompressed", b"file")]
    {
        let output = format!("type=oci,dest=out.tar,compression={compression}");
        kit.build(dockerfile, &["-o", &output]).succeeds();
        let archive = Files::read(&std::fs::read(kit.path("out.tar")).unwrap());
        assert!(
            archive.0.values().any(|file| file.content.starts_with(magic) && file.kind == '-'),
            "{compression}: {:?}",
            archive.paths()
        );
        assert_eq!(layers(&kit.path("out.tar"))[0].text("file").len(), 100_000);
    }
    kit.build(dockerfile, &["-o", "type=oci,dest=o,compression=zip"]).fails().says("zip");
}

// B-021, B-024, B-035, B-113, B-158
#[test]
fn the_image_is_told_in_files_and_on_standard_output() {
    with_steps_as_each_user(|kit| {
        let flags = ["-q", "-t", "app", "-t", "app:two", "--iidfile", "id", "--metadata-file", "meta.json"];
        let done = kit.build(DOCKERFILE, &flags).succeeds();
        assert_eq!(done.stderr, "");
        let id = kit.inspect("app:two")["Id"].as_str().unwrap().to_owned();
        assert_eq!(done.text(), format!("{id}\n"));
        assert_eq!(kit.read("id"), id);
        let metadata: serde_json::Value = serde_json::from_str(&kit.read("meta.json")).unwrap();
        assert_eq!(metadata["containerimage.config.digest"], *id);
        assert_eq!(metadata["image.name"], "docker.io/library/app:latest,docker.io/library/app:two");
        assert_eq!(metadata["containerimage.digest"], metadata["containerimage.descriptor"]["digest"]);
        assert_eq!(metadata["containerimage.digest"], kit.inspect("app")["Digest"]);
        // Only what goes wrong is said.
        let done = kit.build("FROM busybox\nRUN echo said; false\n", &["-q"]).fails();
        assert!(done.stderr.contains("exit code: 1") && done.stdout.is_empty(), "{}", done.stderr);
        kit.build(DOCKERFILE, &["--iidfile", "id", "-o", "out"]).fails().says("iidfile");
        let done = kit.build(DOCKERFILE, &["--progress", "none"]).succeeds();
        assert_eq!((done.stderr.as_str(), done.text()), ("", ""));
    });
}

// B-039, B-094
#[test]
fn a_malformed_name_fails_before_the_build() {
    let kit = Kit::new();
    kit.build("FROM scratch\nLABEL a=b\n", &["-t", "Not:A:Name"]).fails().says("Not:A:Name").never_says("#1");
}

// B-157
#[test]
fn raw_progress_is_a_line_of_json_each() {
    with_steps_as_each_user(|kit| {
        let done = kit.build("FROM busybox\nRUN echo hello\n", &["--progress", "rawjson"]).succeeds();
        let mut names = Vec::new();
        let mut logs = 0;
        for line in done.stderr.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            for vertex in line["vertexes"].as_array().into_iter().flatten() {
                names.push(vertex["name"].as_str().unwrap().to_owned());
            }
            logs += line["logs"].as_array().map_or(0, Vec::len);
        }
        assert!(names.iter().any(|name| name == "[2/2] RUN echo hello"), "{names:?}");
        assert!(logs > 0);
    });
}
