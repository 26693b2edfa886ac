//! What an image is made of and how it was built, as other programs read it.

use std::path::Path;

use serde_json::Value;

use super::kit::{Files, Kit, tool};

/// Files as package managers leave them.
fn plant(kit: &Kit) {
    let root = "context/root";
    kit.write(&format!("{root}/etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n");
    kit.write(
        &format!("{root}/var/lib/dpkg/status"),
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n",
    );
    kit.write(&format!("{root}/lib/apk/db/installed"), "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n");
    kit.write(
        &format!("{root}/app/node_modules/left/package.json"),
        "{\"name\":\"left\",\"version\":\"1.0.0\",\"license\":\"MIT\"}",
    );
    kit.write(&format!("{root}/site/a.dist-info/METADATA"), "Name: a\nVersion: 3\nLicense: in words\n");
}

const PLANTED: &str = "FROM busybox\nCOPY root /\n";

const PURLS: [&str; 4] = [
    "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
    "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
    "pkg:npm/left@1.0.0",
    "pkg:pypi/a@3",
];

// B-179
#[test]
fn packages_of_an_image_are_listed() {
    let kit = Kit::new();
    plant(&kit);
    kit.build(PLANTED, &["-t", "app"]).succeeds();
    let list = kit.castoff(&["sbom", "app"]).succeeds();
    let lines: Vec<Vec<&str>> = std::str::from_utf8(&list.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "VERSION", "TYPE", "LICENCE"]);
    assert!(lines.contains(&vec!["left", "1.0.0", "npm", "MIT"]), "{lines:?}");
    let spdx = kit.castoff(&["sbom", "--format", "spdx-json", "app"]).succeeds().stdout;
    assert_eq!(spdx, kit.castoff(&["sbom", "--format", "spdx-json", "app"]).succeeds().stdout);
    let spdx: serde_json::Value = serde_json::from_slice(&spdx).unwrap();
    let purls: Vec<&str> = spdx["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .filter(|purl| !purl.starts_with("pkg:oci/"))
        .collect();
    assert_eq!(purls, PURLS);
    let cyclonedx = kit.castoff(&["sbom", "--format", "cyclonedx-json", "app"]).succeeds().stdout;
    let cyclonedx: serde_json::Value = serde_json::from_slice(&cyclonedx).unwrap();
    crate::schemas::fits("bom-1.5.schema.json", &cyclonedx, &["components", "0"], "name");
    let purls: Vec<&str> = cyclonedx["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|component| component["purl"].as_str())
        .collect();
    assert_eq!(purls, PURLS);
    kit.castoff(&["sbom", "nothing"]).fails().says("there is no image `nothing` in the store");
}

// A list that lacks something says so.
#[test]
fn what_is_not_read_is_said() {
    let kit = Kit::new();
    kit.write("context/rpmdb.sqlite", "SQLite format 3\0");
    kit.build("FROM scratch\nCOPY rpmdb.sqlite /var/lib/rpm/\n", &["-t", "app"]).succeeds();
    kit.castoff(&["sbom", "app"]).succeeds().says("warning: not read: /var/lib/rpm/rpmdb.sqlite");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A layout of one index.
struct Layout<'a> {
    kit: &'a Kit,
    name: &'a str,
}

impl Layout<'_> {
    fn blob(&self, digest: &Value) -> Value {
        let digest = digest.as_str().unwrap().replace(':', "/");
        json(&self.kit.path(&format!("{}/blobs/{digest}", self.name)))
    }

    /// Returns the index.
    fn index(&self) -> Value {
        let top = json(&self.kit.path(&format!("{}/index.json", self.name)));
        self.blob(&top["manifests"][0]["digest"])
    }

    /// Returns the statements about the image at a place in the index, by the types of their predicates.
    fn statements(&self, place: usize) -> Vec<(String, Value)> {
        let index = self.index();
        let entries = index["manifests"].as_array().unwrap();
        let image = &entries[place]["digest"];
        let about: Vec<&Value> = entries
            .iter()
            .filter(|entry| entry["annotations"]["vnd.docker.reference.digest"] == *image)
            .collect();
        let [entry] = about[..] else { panic!("one manifest: {index:#}") };
        assert_eq!(entry["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(
            (&entry["platform"]["os"], &entry["platform"]["architecture"]),
            (&"unknown".into(), &"unknown".into())
        );
        let manifest = self.blob(&entry["digest"]);
        let layers = manifest["layers"].as_array().unwrap().iter();
        let statement = |layer: &Value| {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            let kind = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_owned();
            let statement = self.blob(&layer["digest"]);
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(statement["predicateType"], kind);
            for subject in statement["subject"].as_array().unwrap() {
                assert_eq!(format!("sha256:{}", subject["digest"]["sha256"].as_str().unwrap()), *image);
            }
            (kind, statement)
        };
        layers.map(statement).collect()
    }
}

const SBOM: &str = "https://spdx.dev/Document";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn kinds(statements: &[(String, Value)]) -> Vec<&str> {
    statements.iter().map(|(kind, _)| kind.as_str()).collect()
}

fn purls(statement: &Value) -> Vec<&str> {
    let packages = statement["predicate"]["packages"].as_array().unwrap();
    packages.iter().filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str()).collect()
}

// B-109, B-175, B-176, B-177
#[test]
fn attestations_are_beside_the_image_in_its_index() {
    let kit = Kit::new();
    plant(&kit);
    let flags =
        ["--sbom=true", "--provenance=true", "-t", "r.example/app:1", "-o", "type=oci,tar=false,dest=layout"];
    kit.build(PLANTED, &flags).succeeds().says("generating sbom").says("exporting attestation manifest");
    let layout = Layout { kit: &kit, name: "layout" };
    let statements = layout.statements(0);
    assert_eq!(kinds(&statements), [SBOM, PROVENANCE]);
    assert_eq!(purls(&statements[0].1), PURLS);
    let name = statements[1].1["subject"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("pkg:docker/r.example/app@1?platform=linux%2F"), "{name}");
    let index = layout.index();
    let [image, attestation] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index:#}") };
    let manifest = layout.blob(&attestation["digest"]);
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    // The image in the store is found behind its index, and leaves it with what is said of it.
    kit.castoff(&["inspect", "r.example/app:1"]).succeeds();
    kit.castoff(&["save", "--format", "oci", "-o", "saved.tar", "r.example/app:1"]).succeeds();
    // As programs know it that are older than artifacts.
    kit.build(PLANTED, &["--sbom=true", "-o", "type=oci,tar=false,dest=old,oci-artifact=false"]).succeeds();
    let old = Layout { kit: &kit, name: "old" };
    let statements = old.statements(0);
    assert_eq!(kinds(&statements), [SBOM]);
    assert_eq!(statements[0].1["subject"][0]["name"], "_");
    let manifest = old.blob(&old.index()["manifests"][1]["digest"]);
    assert_eq!(manifest["artifactType"], Value::Null);
    assert_eq!(
        old.blob(&manifest["config"]["digest"])["rootfs"]["diff_ids"][0],
        manifest["layers"][0]["digest"]
    );
    // Without being asked nothing is said.
    for off in [&["--provenance=false"][..], &["--sbom=0", "--attest", "type=provenance,disabled=true"], &[]]
    {
        kit.build(PLANTED, &[off, &["-o", "type=oci,tar=false,dest=plain"]].concat()).succeeds();
        assert_eq!(Layout { kit: &kit, name: "plain" }.index()["manifests"], Value::Null, "{off:?}");
    }
    // Another program's opinion.
    let copied = ["copy", "--all", "--quiet", "oci:layout:1", "oci:copied:1"];
    if tool("/usr/bin/skopeo", &copied, &kit.path("")).is_some() {
        assert_eq!(kinds(&Layout { kit: &kit, name: "copied" }.statements(0)), [SBOM, PROVENANCE]);
    }
}

// B-108, B-177
#[test]
fn attestations_of_several_platforms_are_the_same_bytes_with_an_epoch() {
    let kit = Kit::new();
    plant(&kit);
    let dockerfile = "FROM scratch\nCOPY root /\n";
    for name in ["one", "two"] {
        let output = format!("type=oci,tar=false,dest={name}");
        let flags = ["--sbom=true", "--provenance=mode=max", "--platform", "linux/amd64,linux/arm64"];
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=5", "--no-cache", "-o", &output];
        kit.build(dockerfile, &[&flags[..], &epoch].concat()).succeeds();
        let layout = Layout { kit: &kit, name };
        assert_eq!(layout.index()["manifests"].as_array().unwrap().len(), 4);
        for place in [0, 1] {
            assert_eq!(purls(&layout.statements(place)[0].1), PURLS);
        }
    }
    assert_eq!(kit.read("one/index.json"), kit.read("two/index.json"));
}

// B-178, B-221
#[test]
fn provenance_tells_what_went_in_and_no_secret() {
    let kit = Kit::new();
    kit.write("secret", "hunter2hunter2\n");
    kit.write("context/file", "content\n");
    let dockerfile = "FROM busybox AS base\nFROM base\nARG A\nARG P\nCOPY file /\n";
    let flags = [
        // It is about what is hidden, and not about what is refused (docs/secrets.md).
        "--prove=false",
        "--secret",
        "id=token,src=secret",
        "--build-arg",
        "A=value",
        "--build-arg",
        "P=hunter2hunter2",
        "--build-arg",
        "HTTPS_PROXY=http://me:secretpassword@proxy",
        "--build-arg",
        "U=https://me:otherpassword@host/x",
        "--label",
        "l=m",
        "--target",
        "final",
        "--metadata-file",
        "facts.json",
    ];
    let dockerfile = dockerfile.replace("FROM base\n", "FROM base AS final\n");
    let build = |mode: &str, name: &str| {
        let output = format!("type=oci,tar=false,dest={name}");
        let attest = format!("type=provenance,mode={mode},builder-id=https://ci.example/7,reproducible=true");
        kit.build(&dockerfile, &[&flags[..], &["--attest", &attest, "-o", &output]].concat()).succeeds();
        let (kind, statement) = Layout { kit: &kit, name }.statements(0).remove(0);
        assert_eq!(kind, PROVENANCE);
        statement["predicate"].clone()
    };
    let (min, max) = (build("min", "min"), build("max", "max"));
    for predicate in [&min, &max] {
        let [base] = &predicate["buildDefinition"]["resolvedDependencies"].as_array().unwrap()[..] else {
            panic!("{predicate:#}");
        };
        let uri = base["uri"].as_str().unwrap();
        assert!(uri.starts_with("pkg:docker/busybox@latest?") && uri.contains("platform=linux%2F"), "{base}");
        assert_eq!(base["digest"]["sha256"].as_str().unwrap().len(), 64);
        let details = &predicate["runDetails"];
        assert_eq!(details["builder"]["id"], "https://ci.example/7");
        assert_eq!(details["metadata"]["buildkit_reproducible"], true);
        // The context is a directory of the caller, which nobody else has.
        assert_eq!(details["metadata"]["buildkit_completeness"]["resolvedDependencies"], false);
        let time =
            |name: &str| details["metadata"][name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(time("startedOn") <= time("finishedOn"));
        let text = predicate.to_string();
        for secret in ["hunter2", "secretpassword", "otherpassword"] {
            assert!(!text.contains(secret), "{secret} in {predicate:#}");
        }
    }
    assert_eq!(
        min["buildDefinition"]["externalParameters"]["request"],
        serde_json::json!({"frontend": "dockerfile.v0"})
    );
    assert!(!min.to_string().contains("value"));
    let request = &max["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:A"], "value");
    assert_eq!(request["args"]["build-arg:P"], "*****");
    assert_eq!((&request["args"]["label:l"], &request["args"]["target"]), (&"m".into(), &"final".into()));
    assert_eq!(request["locals"][0]["name"], "context");
    let steps = max["buildDefinition"]["internalParameters"]["buildConfig"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["name"].as_str().unwrap().contains("COPY file /")), "{steps:?}");
    // B-113, B-114
    let facts = json(&kit.path("facts.json"));
    let told = &facts["buildx.build.provenance"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(*told, serde_json::json!({"frontend": "dockerfile.v0"}));
}

// D-101: a scanner of other file systems than the result's is not there, and castoff says so.
#[test]
fn arguments_of_scanners_say_that_they_have_no_effect() {
    let kit = Kit::new();
    let dockerfile =
        "ARG BUILDKIT_SBOM_SCAN_CONTEXT=false\nFROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n";
    let words = "BUILDKIT_SBOM_SCAN_STAGE has no effect in castoff";
    kit.build(dockerfile, &["--sbom=true"]).succeeds().says(words).never_says("SCAN_CONTEXT has");
    kit.build(dockerfile, &[]).succeeds().never_says(words);
    kit.build(dockerfile, &["--sbom=true", "--build-arg", "BUILDKIT_SBOM_SCAN_STAGE=false"])
        .succeeds()
        .never_says(words);
}

// B-179: what is in an image is a stranger's, and goes to a terminal.
#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let kit = Kit::new();
    kit.write("context/root/a\u{1b}[2J.jar", "no archive");
    kit.build("FROM scratch\nCOPY root /\n", &["-t", "app"]).succeeds();
    let done = kit.castoff(&["sbom", "app"]).succeeds();
    let said = done.stderr;
    assert!(said.contains("not read: /a\u{fffd}[2J.jar: no zip archive"), "{said:?}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

// B-178: in base64 nobody would see them, and one secret may be a part of another.
#[test]
fn provenance_hides_secrets_that_the_dockerfile_repeats() {
    use base64::Engine as _;
    let kit = Kit::new();
    kit.write("short", "open\n");
    kit.write("long", "opensesame-forty\n");
    let dockerfile = "FROM scratch\n# opensesame-forty\nLABEL a=opensesame-forty b=open\n";
    // It is about what is hidden, and not about what is refused (docs/secrets.md).
    let flags = [
        "--prove=false",
        "--secret",
        "id=a,src=short",
        "--secret",
        "id=b,src=long",
        "--provenance=mode=max",
        "-o",
    ];
    kit.build(dockerfile, &[&flags[..], &["type=oci,tar=false,dest=layout"]].concat()).succeeds();
    let predicate = Layout { kit: &kit, name: "layout" }.statements(0).remove(0).1["predicate"].take();
    let source = &predicate["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0];
    let text = base64::engine::general_purpose::STANDARD.decode(source["data"].as_str().unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, "FROM scratch\n# *****\nLABEL a=***** b=*****\n");
    assert!(!predicate.to_string().contains("sesame"), "{predicate:#}");
}

// B-178: names of secrets, and nothing that a step could have used is left out.
#[test]
fn steps_that_may_use_a_network_leave_materials_open() {
    super::kit::with_steps(|kit| {
        kit.write("secret", "hunter2hunter2\n");
        let complete = |network: &str| {
            let run =
                format!("RUN --network={network} --mount=type=secret,id=token test -s /run/secrets/token");
            let dockerfile = format!("FROM busybox\n{run}\n");
            let output = "type=oci,tar=false,dest=layout";
            let flags = ["--secret", "id=token,src=secret", "--provenance=mode=max", "-o", output];
            kit.build(&dockerfile, &flags).succeeds();
            let predicate = Layout { kit, name: "layout" }.statements(0).remove(0).1["predicate"].take();
            let request = &predicate["buildDefinition"]["externalParameters"]["request"];
            assert_eq!(request["secrets"], serde_json::json!([{"id": "token"}]));
            assert!(!predicate.to_string().contains("hunter2"));
            predicate["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"].clone()
        };
        assert_eq!(complete("none"), true);
        assert_eq!(complete("default"), false);
    });
}

// B-099
#[test]
fn attestations_of_files_are_files() {
    let kit = Kit::new();
    plant(&kit);
    let dockerfile = "FROM scratch\nCOPY root /\n";
    let flags = ["--sbom=true", "--provenance=filename=how.json"];
    kit.build(dockerfile, &[&flags[..], &["-o", "type=local,dest=out,attestation-prefix=app-"]].concat())
        .succeeds();
    let statement = json(&kit.path("out/app-sbom.spdx.json"));
    assert_eq!(purls(&statement), PURLS);
    let subjects: Vec<&str> = statement["subject"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|subject| subject["name"].as_str())
        .collect();
    assert!(subjects.contains(&"etc/os-release") && subjects.len() == 5, "{subjects:?}");
    assert_eq!(json(&kit.path("out/app-how.json"))["predicateType"], PROVENANCE);
    let inline = ["--sbom=true", "--provenance=inline-only=true"];
    assert_eq!(tops(&kit.files(dockerfile, &inline)), ["app", "etc", "lib", "sbom.spdx.json", "site", "var"]);
    // Several platforms in one directory, and each in its own.
    let several = ["--sbom=true", "--platform", "linux/amd64,linux/arm64", "-o"];
    kit.build(dockerfile, &[&several[..], &["type=local,dest=both,platform-split=false"]].concat())
        .succeeds();
    kit.build(dockerfile, &[&several[..], &["type=local,dest=split"]].concat()).succeeds();
    for file in [
        "both/sbom.spdx.linux_amd64.json",
        "both/sbom.spdx.linux_arm64.json",
        "split/linux_amd64/sbom.spdx.json",
        "split/linux_arm64/sbom.spdx.json",
    ] {
        assert_eq!(json(&kit.path(file))["predicateType"], SBOM, "{file}");
    }
    // A file of the result is not replaced.
    kit.write("context/root/sbom.spdx.json", "mine");
    let done = kit.build(dockerfile, &["--sbom=true", "-o", "type=local,dest=clash"]).fails();
    done.says("the attestation `sbom.spdx.json` would replace a file of the result");
}

fn tops(files: &Files) -> Vec<String> {
    let mut tops: Vec<String> =
        files.paths().iter().map(|path| path.split('/').next().unwrap().to_owned()).collect();
    tops.sort_unstable();
    tops.dedup();
    tops
}

// B-103, B-107, B-175
#[test]
fn what_cannot_carry_attestations_refuses_them() {
    let kit = Kit::new();
    let check = |flags: &[&str], expected: &str| {
        kit.build("FROM scratch\nLABEL a=b\n", &[&["--sbom=true"], flags].concat()).fails().says(expected);
        assert!(!kit.path("out").exists(), "{flags:?}");
    };
    check(&["-o", "type=oci,dest=out,oci-mediatypes=false"], "an attestation needs OCI media types");
    check(&["-o", "type=docker,dest=out"], "a docker archive holds one image");
    check(&["--attest", "type=sbom"], "asked for twice");
    check(&["--provenance", "version=v0.2"], "provenance of version v0.2 is not supported");
    check(&["--attest", "type=sbom,generator=scanner"], "scanner images are not supported yet");
}
