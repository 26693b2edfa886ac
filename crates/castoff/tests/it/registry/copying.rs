//! Images from place to place as they are.

use std::fs;
use std::process::Command;

use super::kit::{Machine, Registry, run, with_registry};
use super::proxy::{Asked, Fault, Proxy};
use super::{THREE, read};

/// Gives a machine the context that [`THREE`] needs, and builds it.
fn build(machine: &Machine, flags: &[&str]) {
    for name in ["one", "two", "three"] {
        machine.write(&format!("context/{name}"), format!("{name}\n"));
    }
    machine.build(THREE, flags);
}

/// Returns the digest that skopeo sees at a place; of an index its own.
fn seen(place: &str) -> String {
    let words = ["--insecure-policy", "inspect", "--tls-verify=false", "--raw", place];
    let raw = Command::new("skopeo").args(words).output().unwrap();
    assert!(raw.status.success(), "{place}: {}", String::from_utf8_lossy(&raw.stderr));
    castoff_oci::Digest::of(&raw.stdout).to_string()
}

/// Copies all of a place by skopeo, which checks every digest, and returns the one of the root.
fn skopeo(machine: &Machine, place: &str) -> String {
    let to = format!("oci:{}:1", machine.path("checked").display());
    let words = ["--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"];
    run(Command::new("skopeo").args(words).args([place, &to]));
    fs::remove_dir_all(machine.path("checked")).unwrap();
    seen(place)
}

// B-082, B-083, B-107: documents keep their bytes on every way.
#[test]
fn an_image_keeps_its_digest_wherever_it_goes() {
    with_registry("", |registry, machine| {
        let other = Registry::start("");
        registry.push("v2s2:1", THREE, &[], &["--format", "v2s2"]);
        registry.push("oci:1", THREE, &[], &["--format", "oci"]);
        for format in ["v2s2", "oci"] {
            let from = format!("{}/{format}:1", registry.host());
            let digest = seen(&format!("docker://{from}"));
            let far = format!("{}/team/far:{format}", other.host());
            assert_eq!(machine.castoff(&["copy", "--quiet", &from, &far]).trim(), digest);
            assert_eq!(skopeo(machine, &format!("docker://{far}")), digest);
            // Nothing of it went through the store.
            assert!(format == "oci" || !machine.path("store/blobs").exists());
            let back = format!("{}/back-{format}:1", registry.host());
            let ways = [
                (format!("docker://{far}"), "oci:layout:app".to_owned()),
                ("oci:layout:app".to_owned(), "oci-archive:a.tar:x".to_owned()),
                ("oci-archive:a.tar:x".to_owned(), "store:kept:1".to_owned()),
                ("store:kept:1".to_owned(), "docker-archive:b.tar".to_owned()),
                ("docker-archive:b.tar:kept:1".to_owned(), back.clone()),
            ];
            for (from, to) in &ways {
                assert_eq!(machine.castoff(&["copy", from, to, "--digestfile", "digest"]).trim(), digest);
                assert_eq!(read(&machine.path(""), "digest"), digest, "{from} {to}");
            }
            let path = |name: &str| machine.path(name).display().to_string();
            // In layouts, skopeo finds nothing but OCI's own types.
            if format == "oci" {
                assert_eq!(skopeo(machine, &format!("oci:{}:app", path("layout"))), digest);
                assert_eq!(skopeo(machine, &format!("oci-archive:{}:x", path("a.tar"))), digest);
            }
            assert_eq!(skopeo(machine, &format!("docker://{back}")), digest);
            skopeo(machine, &format!("docker-archive:{}:kept:1", path("b.tar")));
            let layers = machine.castoff(&["history", "kept:1"]);
            assert!(layers.contains("COPY one"), "{layers}");
        }
    });
}

// B-109, B-214
#[test]
fn an_index_is_copied_whole_or_one_platform_of_it() {
    with_registry("", |registry, machine| {
        build(machine, &["-t", "both:1", "--platform", "linux/amd64,linux/arm64"]);
        let (whole, single) = (format!("{}/whole:1", registry.host()), format!("{}/one:1", registry.host()));
        let digest = machine.castoff(&["copy", "store:both:1", &whole]);
        assert_eq!(skopeo(machine, &format!("docker://{whole}")), digest.trim());
        machine.castoff(&["copy", "--all", &whole, "oci:layout:both"]);
        let one = machine.castoff(&["copy", "--platform", "linux/arm64", "oci:layout:both", &single]);
        assert_ne!(one, digest);
        assert_eq!(seen(&format!("docker://{single}")), one.trim());
        let raw = fs::read_to_string(machine.path("layout/index.json")).unwrap();
        assert!(raw.contains(digest.trim()), "{raw}");
        let error = machine.fails(&["copy", "--platform", "linux/s390x", &whole, "store:none"]);
        assert!(error.contains("no match for platform linux/s390x; it is there for: linux/amd64"), "{error}");
        let error = machine.fails(&["copy", "--platform", "linux/s390x", &single, "store:none"]);
        assert!(error.contains("it is there for: linux/arm64"), "{error}");
    });
}

// B-082: within a registry nothing is sent; between two each blob once.
#[test]
fn blobs_are_mounted_or_sent_once() {
    with_registry("", |registry, machine| {
        registry.push("team/app:1", THREE, &[], &[]);
        let proxy = Proxy::start(registry.host(), |_| Fault::Pass);
        let name = |repository: &str| format!("{}/{repository}", proxy.host());
        machine.castoff(&["copy", &name("team/app:1"), &name("other:1")]);
        assert_eq!(proxy.count(Asked::sends), 0, "{:?}", proxy.asked());
        assert_eq!(proxy.count(|asked| asked.path.contains("mount=")), 4);
        assert_eq!(proxy.count(|asked| asked.method == "GET" && asked.path.contains("/blobs/")), 0);
        let other = Registry::start("");
        let to = Proxy::start(other.host(), |_| Fault::Pass);
        machine.castoff(&["copy", &name("team/app:1"), &format!("{}/far:1", to.host())]);
        assert_eq!(to.count(Asked::sends), 4);
        machine.castoff(&["copy", &name("team/app:1"), &format!("{}/far:2", to.host())]);
        assert_eq!(to.count(Asked::sends), 4);
    });
}

// B-220, B-223: what is damaged gets no name anywhere.
#[test]
fn damage_on_the_way_leaves_nothing() {
    with_registry("", |registry, machine| {
        registry.push("app:1", THREE, &[], &[]);
        let from = format!("{}/app:1", registry.host());
        machine.castoff(&["copy", &from, "oci:layout:1"]);
        let layers = fs::read_dir(machine.path("layout/blobs/sha256")).unwrap();
        let layer = layers
            .map(|entry| entry.unwrap().path())
            .find(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]))
            .unwrap();
        let mut bytes = fs::read(&layer).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&layer, bytes).unwrap();
        let to = format!("{}/bad:1", registry.host());
        for to in ["oci:other:1", "oci-archive:other.tar", "docker-archive:other.tar:x:1", "store:bad:1"] {
            let error = machine.fails(&["copy", "oci:layout:1", to]);
            assert!(error.contains("is damaged: its bytes have the digest"), "{to}: {error}");
        }
        assert!(!machine.path("other/index.json").exists());
        assert!(!machine.path("other.tar").exists());
        assert!(machine.fails(&["inspect", "bad:1"]).contains("there is no image"));
        fs::remove_file(&layer).unwrap();
        let error = machine.fails(&["copy", "oci:layout:1", "oci:other:1"]);
        assert!(error.contains("opening `layout/blobs/sha256/"), "{error}");
        // The repository is another one, and has no blob of it.
        let error = machine.fails(&["copy", "oci:layout:1", &to.replace("bad", "worse")]);
        assert!(error.contains("No such file"), "{error}");
        assert!(Machine::new().fails(&["pull", &to]).contains("not found"));
        for (words, reason) in [
            (&["copy", "oci:layout:2", "store:x"][..], "has no image of that name"),
            (&["copy", "oci:none", "store:x"], "reading the layout: `none/index.json`"),
            (&["copy", "oci-archive:none", "store:x"], "opening `none`"),
            (&["copy", "store:none", "oci:x"], "there is no image `none` in the store"),
            (&["copy", "dir:x", "oci:x"], "a place that castoff does not reach"),
        ] {
            let error = machine.fails(words);
            assert!(error.contains(reason), "{words:?} {error}");
        }
    });
}

// B-079, B-091
#[test]
fn several_images_tags_and_platforms_are_pulled() {
    with_registry("", |registry, machine| {
        let name = format!("{}/app", registry.host());
        let (one, two) = (format!("{name}:1"), format!("{name}:2"));
        build(machine, &["--push", "-t", &one, "-t", &two, "--platform", "linux/amd64,linux/arm64"]);
        let puller = Machine::new();
        let said = puller.castoff(&["pull", "--quiet", "--all-tags", &name]);
        assert_eq!(said, format!("{one}\n{two}\n"));
        let said = puller.castoff(&["pull", "--tls-verify=false", &two, &one]);
        assert_eq!(said, format!("{two}\n{one}\n"));
        let error = puller.fails(&["pull", "--all-tags", &one]);
        assert!(error.contains("neither tag nor digest"), "{error}");
        let whole = Machine::new();
        whole.castoff(&["pull", "--all-platforms", &one]);
        let digest = seen(&format!("docker://{one}"));
        assert_eq!(whole.castoff(&["push", "--quiet", &one]), format!("{one}@{digest}\n"));
        whole.castoff(&["inspect", "--platform", "linux/arm64", &one]);
        whole.castoff(&["inspect", "--platform", "linux/amd64", &one]);
    });
}

// Something that is no image, as signatures and charts are.
#[test]
fn what_is_no_image_is_copied_and_not_stored() {
    with_registry("", |registry, machine| {
        let layer = b"signature";
        let layer_digest = castoff_oci::Digest::of(layer);
        let config_digest = castoff_oci::Digest::of(b"{}");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config_digest}","size":2}},"layers":[{{"mediaType":"a/b","digest":"{layer_digest}","size":9}}]}}"#
        );
        let digest = castoff_oci::Digest::of(manifest.as_bytes());
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{}}}]}}"#,
            manifest.len()
        );
        machine.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        machine.write("layout/index.json", index);
        for (digest, bytes) in
            [(layer_digest, &layer[..]), (config_digest, b"{}"), (digest, manifest.as_bytes())]
        {
            machine.write(&format!("layout/blobs/sha256/{}", digest.hex()), bytes);
        }
        let to = format!("{}/artifact:1", registry.host());
        assert_eq!(machine.castoff(&["copy", "oci:layout", &to]).trim(), digest.to_string());
        assert_eq!(machine.castoff(&["copy", &to, "oci:again:1"]).trim(), digest.to_string());
        assert_eq!(
            fs::read(machine.path(&format!("again/blobs/sha256/{}", layer_digest.hex()))).unwrap(),
            layer
        );
        let error = machine.fails(&["copy", &to, "store:artifact"]);
        assert!(error.contains("the store has images only"), "{error}");
        let error = machine.fails(&["copy", &to, "docker-archive:x.tar"]);
        assert!(error.contains("an archive for docker has images only"), "{error}");
        assert_eq!(machine.castoff(&["images", "--quiet"]), "");
    });
}

/// Writes a layout whose index is of `entries`, and nothing else.
fn layout(machine: &Machine, directory: &str, entries: &[serde_json::Value]) {
    machine.write(&format!("{directory}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    machine.write(&format!("{directory}/index.json"), index.to_string());
    fs::create_dir_all(machine.path(&format!("{directory}/blobs/sha256"))).unwrap();
}

// B-102, B-223: what a layout has stays there.
#[test]
fn a_layout_is_extended_and_never_emptied() {
    let machine = Machine::new();
    for label in ["one", "two"] {
        machine.build(&format!("FROM scratch\nLABEL name={label}\n"), &["-t", label]);
    }
    let entries = || {
        let index = fs::read(machine.path("layout/index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let entry =
            |entry: &serde_json::Value| entry["annotations"]["org.opencontainers.image.ref.name"].clone();
        index["manifests"].as_array().unwrap().iter().map(entry).collect::<Vec<_>>()
    };
    machine.castoff(&["copy", "store:one", "oci:layout"]);
    machine.castoff(&["copy", "store:two", "oci:layout"]);
    assert_eq!(entries(), [serde_json::Value::Null, serde_json::Value::Null]);
    machine.castoff(&["copy", "store:two", "oci:layout"]);
    assert_eq!(entries().len(), 2, "the same image is there once");
    machine.castoff(&["copy", "store:one", "oci:layout:a"]);
    machine.castoff(&["copy", "store:two", "oci:layout:a"]);
    assert_eq!(entries(), [serde_json::Value::Null, serde_json::Value::Null, "a".into()]);
    // What is no index is left to whoever wrote it.
    machine.write("layout/index.json", "{");
    let error = machine.fails(&["copy", "store:one", "oci:layout:b"]);
    assert!(error.contains("extending the layout: `layout/index.json` is malformed"), "{error}");
    assert_eq!(fs::read_to_string(machine.path("layout/index.json")).unwrap(), "{");
}

// B-102: two that extend a layout at once lose nothing.
#[test]
fn a_layout_is_extended_by_several_at_once() {
    let machine = Machine::new();
    machine.build("FROM scratch\nLABEL a=b\n", &["-t", "made"]);
    let copies: Vec<_> = (0..8)
        .map(|place| {
            machine.command(&["copy", "store:made", &format!("oci:layout:{place}")]).spawn().unwrap()
        })
        .collect();
    for mut copy in copies {
        assert!(copy.wait().unwrap().success());
    }
    let index = fs::read(machine.path("layout/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 8, "{index:#}");
}

#[test]
fn an_index_that_names_more_than_fits_is_refused() {
    let machine = Machine::new();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let entries: Vec<_> = (0..100_u8)
        .map(|place| {
            let digest = castoff_oci::Digest::of(&[place]).to_string();
            serde_json::json!({"mediaType": kind, "digest": digest, "size": 16 << 20})
        })
        .collect();
    layout(&machine, "inner", &entries);
    let inner = fs::read(machine.path("inner/index.json")).unwrap();
    let digest = castoff_oci::Digest::of(&inner);
    let kind = "application/vnd.oci.image.index.v1+json";
    let root = serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": inner.len()});
    layout(&machine, "layout", &[root]);
    machine.write(&format!("layout/blobs/sha256/{}", digest.hex()), inner);
    let error = machine.fails(&["copy", "oci:layout", "store:x"]);
    assert!(error.contains("the documents are larger than 256 MiB together"), "{error}");
}
