//! Indexes of what registries have, as `docker buildx imagetools` makes and shows them.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::THREE;
use super::kit::{Machine, Registry, run, with_registry};

/// Pushes an image for a platform, and returns its digest.
fn image(machine: &Machine, name: &str, platform: &str, flags: &[&str]) -> String {
    machine.write("image/file", format!("{name} {platform}\n"));
    machine.write("image/Dockerfile", "FROM scratch\nCOPY file /\n");
    let words = ["build", "--push", "--quiet", "-t", name, "--platform", platform];
    machine.castoff(&[&words[..], flags, &["image"]].concat());
    let raw = machine.castoff(&["index", "inspect", "--raw", name]);
    castoff_oci::Digest::of(raw.as_bytes()).to_string()
}

/// Returns a document of a registry as skopeo sees it.
fn seen(name: &str) -> Value {
    let words = ["--insecure-policy", "inspect", "--tls-verify=false", "--raw"];
    let raw = run(Command::new("skopeo").args(words).arg(format!("docker://{name}")));
    serde_json::from_str(&raw).unwrap()
}

/// Copies all of a name by skopeo, which checks every digest.
fn complete(machine: &Machine, name: &str) {
    let to = format!("oci:{}:1", machine.path("checked").display());
    let words = ["--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"];
    run(Command::new("skopeo").args(words).args([format!("docker://{name}"), to]));
    fs::remove_dir_all(machine.path("checked")).unwrap();
}

fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned()).collect()
}

// B-109, B-116
#[test]
fn images_become_an_index() {
    with_registry("", |registry, machine| {
        let other = Registry::start("");
        let name = |name: &str| format!("{}/{name}", registry.host());
        let (amd, arm) = (name("app:amd64"), format!("{}/far/app:arm64", other.host()));
        let amd_digest = image(machine, &amd, "linux/amd64", &[]);
        let arm_digest = image(machine, &arm, "linux/arm64", &[]);
        let both = name("app:both");
        let dry = machine.castoff(&["imagetools", "create", "--dry-run", &amd, &arm]);
        let metadata = machine.path("facts").display().to_string();
        let made = machine.castoff(&[
            "index",
            "create",
            "-t",
            &both,
            "--tag",
            &name("second:1"),
            &amd,
            &arm,
            "--metadata-file",
            &metadata,
        ]);
        assert_eq!(castoff_oci::Digest::of(dry.as_bytes()).to_string(), made.trim());
        let facts: Value = serde_json::from_str(&fs::read_to_string(metadata).unwrap()).unwrap();
        assert_eq!(facts["containerimage.descriptor"]["digest"], made.trim());
        let index = seen(&both);
        assert_eq!(platforms(&index), ["amd64", "arm64"]);
        assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
        let digests = [&index["manifests"][0]["digest"], &index["manifests"][1]["digest"]];
        assert_eq!(digests, [amd_digest.as_str(), arm_digest.as_str()]);
        for name in [&both, &name("second:1")] {
            complete(machine, name);
        }
        // The same again is the same; an index of an index has its entries, each once.
        let again = machine.castoff(&["index", "create", "-t", &name("again:1"), &both, &arm]);
        assert_eq!(again, made);
        let annotated = name("annotated:1");
        machine.castoff(&[
            "imagetools",
            "create",
            "-t",
            &annotated,
            "--annotation",
            "a.b=c",
            "--annotation",
            "manifest-descriptor[linux/arm64]:d=e",
            &both,
        ]);
        let index = seen(&annotated);
        assert_eq!(index["annotations"]["a.b"], "c");
        assert_eq!(index["manifests"][0].get("annotations"), None);
        assert_eq!(index["manifests"][1]["annotations"]["d"], "e");
        let error = machine.fails(&["index", "create", "-t", &both, "--annotation", "manifest:a=b", &both]);
        assert!(error.contains("levels index and manifest-descriptor alone"), "{error}");
        let only = name("arm:1");
        machine.castoff(&["index", "create", "-t", &only, "--platform", "linux/arm64", &both]);
        assert_eq!(platforms(&seen(&only)), ["arm64"]);
        complete(machine, &only);
        let error = machine.fails(&["index", "create", "-t", &only, "--platform", "linux/s390x", &both]);
        assert!(error.contains("no part is for linux/s390x"), "{error}");
    });
}

#[test]
fn an_index_is_extended_and_copied() {
    with_registry("", |registry, machine| {
        let name = |name: &str| format!("{}/app:{name}", registry.host());
        image(machine, &name("amd64"), "linux/amd64", &[]);
        let arm = image(machine, &name("arm64"), "linux/arm64", &[]);
        // An image alone becomes an index, unless it is to stay what it is.
        machine.castoff(&["index", "create", "-t", &name("all"), &name("amd64")]);
        assert_eq!(platforms(&seen(&name("all"))), ["amd64"]);
        let same = machine.castoff(&[
            "index",
            "create",
            "-t",
            &name("copy"),
            "--prefer-index=false",
            &name("arm64"),
        ]);
        assert_eq!(same.trim(), arm);
        // A digest alone is one of the repository of the name.
        machine.castoff(&["index", "create", "--append", "-t", &name("all"), &arm]);
        let index = seen(&name("all"));
        assert_eq!(platforms(&index), ["amd64", "arm64"]);
        // A descriptor may say more.
        let mut descriptor = index["manifests"][1].clone();
        descriptor["platform"]["variant"] = "v8.1".into();
        descriptor["annotations"] = serde_json::json!({ "a": "b" });
        machine.write("descriptor", descriptor.to_string());
        machine.castoff(&["index", "create", "-t", &name("said"), "-f", "descriptor", &name("amd64")]);
        let said = seen(&name("said"));
        assert_eq!(said["manifests"][0], descriptor);
        complete(machine, &name("said"));
        descriptor["size"] = 1.into();
        machine.write("descriptor", descriptor.to_string());
        let error = machine.fails(&["index", "create", "-t", &name("said"), "-f", "descriptor"]);
        assert!(error.contains("with another type or size"), "{error}");
        for (words, reason) in [
            (vec!["--dry-run"], "there are no sources"),
            (vec!["a"], "an index needs a name"),
            (vec!["--dry-run", &arm], "no repository is named"),
            (vec!["-t", "a", "-t", "b", &arm], "several repositories are named"),
            (vec!["-t", "a", "-t", "b", "--append", "c"], "give one `--tag`"),
            (vec!["-t", "a", "store:b"], "push or copy it first"),
            (vec!["-t", "a", "{\"digest\":1}"], "is not a descriptor"),
        ] {
            let error = machine.fails(&[&["index", "create"], &words[..]].concat());
            assert!(error.contains(reason), "{words:?}: {error}");
        }
        let error = machine.fails(&["index", "create", "-t", &name("none"), &name("not-there")]);
        assert!(error.contains("app:not-there"), "{error}");
        assert!(machine.fails(&["index", "inspect", &name("none")]).contains("not found"));
    });
}

// B-102, B-105: what is for docker stays for docker, and attestations come along.
#[test]
fn types_and_attestations_stay() {
    with_registry("", |registry, machine| {
        let name = |name: &str| format!("{}/{name}", registry.host());
        registry.push("old:1", THREE, &[], &["--format", "v2s2"]);
        machine.castoff(&["index", "create", "-t", &name("list:1"), &name("old:1")]);
        let list = seen(&name("list:1"));
        assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
        complete(machine, &name("list:1"));
        let error =
            machine.fails(&["index", "create", "-t", &name("list:1"), "--annotation", "a=b", &name("old:1")]);
        assert!(error.contains("whose list has no annotations"), "{error}");
        image(machine, &name("new:1"), "linux/arm64", &["--provenance=true"]);
        machine.castoff(&["index", "create", "-t", &name("mixed:1"), &name("old:1"), &name("new:1")]);
        let mixed = seen(&name("mixed:1"));
        assert_eq!(mixed["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(platforms(&mixed).last().unwrap(), "unknown");
        complete(machine, &name("mixed:1"));
        machine.castoff(&["index", "create", "-t", &name("arm:1"), "-p", "linux/arm64", &name("mixed:1")]);
        assert_eq!(platforms(&seen(&name("arm:1"))), ["arm64", "unknown"]);
    });
}

#[test]
fn an_index_is_shown() {
    with_registry("", |registry, machine| {
        let name = |name: &str| format!("{}/app:{name}", registry.host());
        let amd = image(machine, &name("amd64"), "linux/amd64", &[]);
        let arm = image(machine, &name("arm64"), "linux/arm/v7", &[]);
        let both = machine.castoff(&[
            "index",
            "create",
            "-t",
            &name("both"),
            "--annotation",
            "manifest-descriptor[linux/arm/v7]:a.b=c",
            &name("amd64"),
            &name("arm64"),
        ]);
        let inspect = |words: &[&str]| machine.castoff(&[&["imagetools", "inspect"], words].concat());
        let repository = format!("{}/app", registry.host());
        let (index, manifest) =
            ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(
            inspect(&[&name("both")]),
            format!(
                "Name:      {repository}:both\nMediaType: {index}\nDigest:    {both}\nManifests:\n  \
                 Name:      {repository}:both@{amd}\n  MediaType: {manifest}\n  Platform:  linux/amd64\n\n  \
                 Name:        {repository}:both@{arm}\n  MediaType:   {manifest}\n  Platform:    linux/arm/v7\n  \
                 Annotations:\n    a.b: c\n"
            )
        );
        assert_eq!(
            inspect(&[&name("amd64")]),
            format!("Name:      {repository}:amd64\nMediaType: {manifest}\nDigest:    {amd}\n")
        );
        assert_eq!(inspect(&[&name("both"), "--format", "{{.Manifest.Digest}}"]), both);
        assert_eq!(inspect(&[&name("both"), "--format", "{{.Name}}"]), format!("{repository}:both\n"));
        let images = inspect(&[&name("both"), "--format", "{{json .Image}}"]);
        let images: Value = serde_json::from_str(&images).unwrap();
        assert_eq!(images["linux/arm/v7"]["architecture"], "arm");
        assert_eq!(inspect(&[&name("amd64"), "--format", ".Image.Os"]), "linux\n");
        let error = machine.fails(&["imagetools", "inspect", &name("both"), "--format", "{{json .SBOM}}"]);
        assert!(error.contains("is not supported yet"), "{error}");
        machine.castoff(&["copy", &name("both"), "oci:layout:x"]);
        assert_eq!(inspect(&["oci:layout:x", "--raw"]), inspect(&[&name("both"), "--raw"]));
        // As buildx's plug-in calls it.
        let link = machine.path("docker-buildx");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_castoff"), &link).unwrap();
        let mut command = Command::new(link);
        command.args(["buildx", "imagetools", "inspect", "--raw", &name("both")]);
        command.env("HOME", machine.path("")).env("CASTOFF_ROOT", machine.path("store"));
        assert_eq!(run(&mut command), inspect(&[&name("both"), "--raw"]));
    });
}
