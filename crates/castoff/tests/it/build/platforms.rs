//! Builds for several platforms: what runs once, the index that comes out, and what commands make of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::empty_registry::EmptyRegistry;
use super::kit::{Files, Kit, layers, platforms, tool, with_steps, with_steps_as_each_user};

const BOTH: [&str; 2] = ["--platform", "linux/amd64,linux/arm64"];

/// A build on this machine for other machines.
const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM busybox AS build
RUN echo tools > /tools
COPY source /source
ARG TARGETARCH
RUN cat /tools /source > /out && echo for $TARGETARCH >> /out
FROM scratch
ARG TARGETPLATFORM
LABEL platform=$TARGETPLATFORM
COPY --from=build /out /
";

fn flags<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// Makes the image `base` for both platforms, without running anything.
fn make_base(kit: &Kit) {
    make_base_as(kit, "base");
}

fn make_base_as(kit: &Kit, name: &str) {
    kit.write("context/amd64/name", "the one\n");
    kit.write("context/arm64/name", "the other\n");
    kit.write("context/same", "of both\n");
    kit.own_all();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY same /\nCOPY $TARGETARCH /\nENV ARCH=$TARGETARCH\n";
    kit.build(dockerfile, &flags(&[&BOTH, &["-t", name]])).succeeds();
}

// B-102, B-109, B-110, B-166, B-169, D-099, D-122, D-320, D-321
#[test]
fn what_does_not_depend_on_the_target_runs_once() {
    with_steps_as_each_user(|kit| {
        kit.write("context/source", "source\n");
        kit.own_all();
        let done =
            kit.build(CROSS, &flags(&[&BOTH, &["-t", "app:1", "-o", "type=oci,dest=app.tar"]])).succeeds();
        let for_arch = |arch: &str| format!("RUN cat /tools /source > /out && echo for {arch} >> /out");
        let (amd64, arm64) = (for_arch("amd64"), for_arch("arm64"));
        let copy = "COPY --from=build /out /";
        assert_eq!(
            done.executed(),
            [copy, copy, "COPY source /source", &*amd64, &*arm64, "RUN echo tools > /tools"]
        );
        let images = platforms(&kit.path("app.tar"));
        let shown: Vec<(&str, &str, &str)> = images
            .iter()
            .map(|(platform, config, layers)| {
                assert_eq!(layers.len(), 1);
                let label = config["config"]["Labels"]["platform"].as_str().unwrap();
                (platform.as_str(), label, layers[0].text("out"))
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("linux/amd64", "linux/amd64", "tools\nsource\nfor amd64\n"),
                ("linux/arm64", "linux/arm64", "tools\nsource\nfor arm64\n")
            ]
        );
        // One platform of them has nothing left to do, and the order is the user's.
        let done = kit.build(CROSS, &["--platform", "linux/arm64", "-o", "type=tar,dest=one.tar"]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new());
        assert_eq!(
            Files::read(&std::fs::read(kit.path("one.tar")).unwrap()).text("out"),
            "tools\nsource\nfor arm64\n"
        );
        let again =
            ["--platform", "linux/arm64", "--platform", "amd64,linux/arm64", "-o", "type=oci,dest=again.tar"];
        let done = kit.build(CROSS, &again).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new());
        let order: Vec<String> = platforms(&kit.path("again.tar")).into_iter().map(|image| image.0).collect();
        assert_eq!(order, ["linux/arm64", "linux/amd64"]);
        // What runs once for two platforms in one graph is once on the screen, too.
        let plan = kit.castoff(&["plan", BOTH[0], BOTH[1], "context"]).succeeds();
        assert_eq!(
            plan.text().matches("echo tools").count(),
            2,
            "the operation and the name:\n{}",
            plan.text()
        );
        assert_eq!(plan.text().matches("output linux/").count(), 2);
        assert_eq!(plan.text().matches("for: linux/amd64, linux/arm64").count(), 5, "{}", plan.text());
    });
}

// B-029: this machine is one of them, under any name.
#[test]
fn the_machine_itself_is_named_local() {
    let kit = Kit::new();
    kit.build("FROM scratch\nCOPY Dockerfile /\n", &["-t", "own", "--platform", "local"]).succeeds();
    let own = kit.inspect("own");
    assert_eq!(own["Manifests"], serde_json::Value::Null);
    let name = format!("{}/{}", own["Os"].as_str().unwrap(), own["Architecture"].as_str().unwrap());
    kit.build("FROM scratch\nCOPY Dockerfile /\n", &["-t", "same", "--platform", &format!("local,{name}")])
        .succeeds();
    assert_eq!(kit.inspect("same")["Digest"], own["Digest"]);
    kit.build("FROM scratch\n", &["--platform", "linux/amd64,no where"]).fails().says("no where");
}

// B-021, B-024, B-035, B-109, B-112, B-113, B-149
#[test]
fn the_index_is_told_in_files_and_on_standard_output() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch\nCOPY Dockerfile /\n";
    let names = ["-t", "app", "-t", "app:two"];
    let files = ["-q", "--iidfile", "id", "--metadata-file", "meta.json"];
    let done = kit.build(dockerfile, &flags(&[&BOTH, &names, &files])).succeeds();
    let metadata = || serde_json::from_str::<serde_json::Value>(&kit.read("meta.json")).unwrap();
    let index = metadata()["containerimage.digest"].as_str().unwrap().to_owned();
    assert_eq!((done.text(), kit.read("id")), (&*format!("{index}\n"), index.clone()));
    assert_eq!(metadata()["containerimage.descriptor"]["digest"], *index);
    assert_eq!(
        metadata()["containerimage.descriptor"]["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(metadata()["containerimage.descriptor"]["platform"], serde_json::Value::Null);
    assert_eq!(metadata()["containerimage.config.digest"], serde_json::Value::Null);
    assert_eq!(metadata()["image.name"], "docker.io/library/app:latest,docker.io/library/app:two");
    for name in ["app", "app:two", &index, &index[7..20]] {
        assert_eq!(kit.inspect(name)["Id"], *index, "{name}");
    }
    let done = kit.build(dockerfile, &flags(&[&BOTH, &names])).succeeds();
    let steps = done.step("exporting to image").join("\n");
    assert!(steps.contains(&format!("exporting manifest list {index}")), "{steps}");
    for part in ["exporting manifest sha256:", "exporting config sha256:"] {
        assert_eq!(steps.matches(part).count(), 2, "{steps}");
    }
    // One platform is a manifest, unless an index is asked for.
    let one = ["--platform", "linux/arm64", "--metadata-file", "meta.json"];
    kit.build(dockerfile, &flags(&[&one, &["-t", "one"]])).succeeds();
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(metadata()["containerimage.descriptor"]["mediaType"], manifest);
    assert_eq!(metadata()["containerimage.descriptor"]["platform"]["architecture"], "arm64");
    assert_eq!(metadata()["containerimage.config.digest"], kit.inspect("one")["Id"]);
    let force = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-t", "forced"];
    let done = kit.build(dockerfile, &flags(&[&one, &force])).succeeds().never_says("not consumed");
    assert!(done.stderr.contains("[linux/arm64 1/1] COPY Dockerfile /"), "{}", done.stderr);
    let index = "application/vnd.oci.image.index.v1+json";
    assert_eq!(metadata()["containerimage.descriptor"]["mediaType"], index);
    let forced = kit.inspect("forced");
    assert_eq!(forced["Manifests"].as_array().unwrap().len(), 1);
    assert_eq!(forced["Manifests"][0]["Digest"], kit.inspect("one")["Digest"]);
    // An image is known by its own id, also one that an index has, too.
    let one = kit.inspect("one")["Id"].as_str().unwrap().to_owned();
    let facts = kit.inspect(&one[7..25]);
    assert_eq!((&facts["Id"], &facts["RepoTags"][0]), (&one.clone().into(), &"one:latest".into()));
    kit.castoff(&["rmi", "one"]).succeeds();
    let facts = kit.inspect(&one[7..25]);
    assert_eq!((&facts["Id"], &facts["Architecture"]), (&one.clone().into(), &"arm64".into()));
    // It has no name to lose.
    kit.castoff(&["rmi", &one]).fails();
    kit.inspect("forced");
    let forbid = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=0"];
    kit.build(dockerfile, &flags(&[&BOTH, &forbid])).fails().says("BUILDKIT_MULTI_PLATFORM").never_says("#1");
    kit.build(dockerfile, &["--build-arg", "BUILDKIT_MULTI_PLATFORM=maybe"])
        .fails()
        .says("BUILDKIT_MULTI_PLATFORM");
}

// B-095, B-097, B-098, B-100
#[test]
fn files_of_each_platform_have_a_directory_of_their_own() {
    with_steps_as_each_user(|kit| {
        make_base(kit);
        let from = "FROM base\n";
        let both = ["--platform", "linux/amd64,linux/arm64/v8"];
        kit.build(from, &flags(&[&both, &["-o", "out", "-o", "type=tar,dest=out.tar"]])).succeeds();
        assert_eq!(kit.read("out/linux_amd64/name"), "the one\n");
        assert_eq!(kit.read("out/linux_arm64/name"), "the other\n");
        let tar = Files::read(&std::fs::read(kit.path("out.tar")).unwrap());
        let expected = ["linux_amd64", "linux_amd64/name", "linux_amd64/same"];
        assert_eq!(tar.paths()[..3], expected);
        assert_eq!(tar.paths()[3..], ["linux_arm64", "linux_arm64/name", "linux_arm64/same"]);
        assert_eq!(
            (tar.look("linux_arm64"), tar.text("linux_arm64/name")),
            ("d0755 0:0".to_owned(), "the other\n")
        );
        // One directory for all has room for what is the same.
        for kind in ["local", "tar"] {
            let output = format!("type={kind},dest=merged-{kind},platform-split=false");
            kit.build(from, &flags(&[&both, &["-o", &output]]))
                .fails()
                .says("cannot put `name` of linux_arm64 over that of linux_amd64");
            assert!(!kit.path(&format!("merged-{kind}")).exists());
        }
        let same = "FROM base AS base\nFROM scratch\nARG TARGETVARIANT TARGETARCH\nCOPY --from=base same /dir/\nCOPY Dockerfile /$TARGETARCH\n";
        let merge = [
            "-o",
            "type=local,dest=merged,platform-split=false",
            "-o",
            "type=tar,dest=merged.tar,platform-split=false",
        ];
        kit.build(same, &flags(&[&both, &merge])).succeeds();
        let tar = Files::read(&std::fs::read(kit.path("merged.tar")).unwrap());
        assert_eq!(tar.paths(), ["amd64", "arm64", "dir", "dir/same"]);
        assert_eq!(
            (kit.read("merged/dir/same"), kit.path("merged/arm64").exists()),
            ("of both\n".to_owned(), true)
        );
        // One platform has none, unless it is asked for or counts as several.
        let one = ["--platform", "linux/arm/v6"];
        let plain = "FROM scratch\nCOPY same /\n";
        kit.build(plain, &flags(&[&one, &["-o", "one", "-o", "type=local,dest=split,platform-split=true"]]))
            .succeeds();
        assert_eq!(
            (kit.read("one/same"), kit.read("split/linux_arm_v6/same")),
            ("of both\n".to_owned(), "of both\n".to_owned())
        );
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=77", "--build-arg", "BUILDKIT_MULTI_PLATFORM=true"];
        let done = kit.build(plain, &flags(&[&one, &epoch, &["-o", "-"]])).succeeds();
        let tar = Files::read(&done.stdout);
        assert_eq!((tar.get("linux_arm_v6").mtime, tar.get("linux_arm_v6/same").mtime), (77, 77));
    });
}

// B-166, B-223
#[test]
fn one_failing_platform_fails_all() {
    with_steps(|kit| {
        let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS build\nARG TARGETARCH\n\
             RUN test $TARGETARCH = amd64 && echo x > /x\nFROM scratch\nCOPY --from=build /x /\n";
        kit.write("id", "of an earlier build");
        let outputs = ["-t", "app", "-o", "type=oci,dest=app.tar", "--iidfile", "id"];
        let done = kit.build(dockerfile, &flags(&[&BOTH, &outputs])).fails();
        assert!(done.stderr.contains("test arm64 = amd64"), "{}", done.stderr);
        for name in ["app.tar", "id"] {
            assert!(!kit.path(name).exists(), "{name}");
        }
        kit.castoff(&["inspect", "app"]).fails();
    });
}

// D-340, D-194: what is wrong for all platforms is said once.
#[test]
fn a_finding_of_each_platform_is_said_once() {
    let kit = Kit::new();
    make_base(&kit);
    kit.write("context/.dockerignore", "hidden\n");
    kit.write("context/hidden", "");
    let findings = |flags: &[&str]| {
        let done = kit.build("FROM base\nCOPY hidden /\n", flags).fails();
        done.stderr.matches(" - CopyIgnoredFile: ").count()
    };
    assert_eq!((findings(&[]), findings(&BOTH)), (1, 1));
}

// B-102, B-103: the archive that a Docker engine loads has no room for an index.
#[test]
fn a_docker_archive_of_an_index_is_refused_before_the_build() {
    let kit = Kit::new();
    let docker = ["-o", "type=docker,dest=x.tar"];
    kit.build("FROM scratch\nLABEL a=b\n", &flags(&[&BOTH, &docker]))
        .fails()
        .says("type=oci")
        .never_says("#1");
    assert!(!kit.path("x.tar").exists());
}

// B-079, D-125, D-321, D-335: each platform gets its own of an index, and what fits it of variants.
#[test]
fn an_index_of_the_store_is_a_base_image() {
    let (kit, registry) = (Kit::new(), EmptyRegistry::start());
    let base = registry.name("base");
    make_base_as(&kit, &base);
    let from = format!("FROM {base}\n");
    kit.build(&from, &flags(&[&BOTH, &["-t", "derived", "-o", "type=oci,dest=derived.tar"]]))
        .succeeds()
        .never_says("InvalidBaseImagePlatform");
    let shown: Vec<(String, String, String)> = platforms(&kit.path("derived.tar"))
        .iter()
        .map(|(platform, config, layers)| {
            let env = config["config"]["Env"].as_array().unwrap().last().unwrap().as_str().unwrap();
            (platform.clone(), env.to_owned(), layers[1].text("name").to_owned())
        })
        .collect();
    let expected = [("linux/amd64", "ARCH=amd64", "the one\n"), ("linux/arm64", "ARCH=arm64", "the other\n")];
    assert_eq!(shown, expected.map(|(platform, env, name)| (platform.into(), env.into(), name.into())));
    // A further platform has to come from somewhere.
    kit.build(&from, &["--platform", "linux/amd64,linux/s390x"])
        .fails()
        .says(&format!(
            "{base}:latest: no match for platform linux/s390x; it is there for: linux/amd64, linux/arm64"
        ))
        .says(&format!(">>> FROM {base}"));
    // arm/v7 takes v6, and not the other way round.
    let dockerfile = "FROM scratch\nARG TARGETVARIANT\nENV VARIANT=$TARGETVARIANT\nCOPY same /\n";
    let arms = registry.name("arms");
    kit.build(dockerfile, &["--platform", "linux/arm/v6,linux/arm/v5,linux/amd64", "-t", &arms]).succeeds();
    for (platform, variant) in [("linux/arm", "v6"), ("linux/arm/v6", "v6"), ("linux/arm/v5", "v5")] {
        kit.build(&format!("FROM {arms}\n"), &["--platform", platform, "-t", "one"])
            .succeeds()
            .never_says("InvalidBaseImagePlatform");
        let env = kit.inspect("one")["Config"]["Env"].to_string();
        assert!(env.contains(&format!("VARIANT={variant}")), "{platform}: {env}");
    }
    let v7 = registry.name("v7");
    kit.build(dockerfile, &["--platform", "linux/arm/v7,linux/amd64", "-t", &v7]).succeeds();
    kit.build(&format!("FROM {v7}\n"), &["--platform", "linux/arm/v6"])
        .fails()
        .says("no match for platform linux/arm/v6; it is there for: linux/arm/v7, linux/amd64");
}

// D-123, D-293, D-335: one image for another platform is used when there is no other, and it is said.
#[test]
fn the_only_image_is_used_whatever_its_platform() {
    let (kit, registry) = (Kit::new(), EmptyRegistry::start());
    kit.write("context/file", "");
    let odd = registry.name("odd");
    kit.build("FROM scratch\nCOPY file /\n", &["--platform", "linux/s390x", "-t", &odd]).succeeds();
    let from = format!("FROM {odd}\nLABEL a=b\n");
    // Whether it can run here depends on the machine, and so does what is said (see below).
    kit.build(&from, &["-t", "unasked"]).succeeds();
    kit.build(&from, &["-t", "asked", "--platform", "linux/arm64"])
        .succeeds()
        .says("was pulled with platform \"linux/s390x\", expected \"linux/arm64\"");
    assert_eq!(kit.inspect("asked")["Architecture"], "arm64");
    // What can run here is what is wanted then. The config says what the image's base says either way.
    let own = kit.inspect("busybox")["Architecture"].as_str().unwrap().to_owned();
    let like = if own == "amd64" { "386" } else { own.as_str() };
    for (architecture, warns) in [(like, false), ("riscv32", true)] {
        let name = registry.name(architecture);
        let platform = format!("linux/{architecture}");
        kit.build("FROM scratch\nCOPY file /\n", &["--platform", &platform, "-t", &name]).succeeds();
        let done = kit.build(&format!("FROM {name}\nLABEL a=b\n"), &["-t", "it"]).succeeds();
        assert_eq!(done.stderr.contains("InvalidBaseImagePlatform"), warns, "{}", done.stderr);
        assert_eq!(kit.inspect("it")["Architecture"], architecture);
    }
    // A registry that is not well may have the right one.
    let unwell = EmptyRegistry::answering("405 Method Not Allowed");
    let odd = unwell.name("odd");
    kit.build("FROM scratch\nCOPY file /\n", &["--platform", "linux/s390x", "-t", &odd]).succeeds();
    kit.build(&format!("FROM {odd}\n"), &["--platform", "linux/arm64"])
        .fails()
        .says("the store has it for linux/s390x, and not for linux/arm64")
        .says("status 405");
    // What fits is not asked for.
    kit.build(&format!("FROM {odd}\n"), &["--platform", "linux/s390x"]).succeeds();
}

// B-109, B-112
#[test]
fn commands_take_an_index() {
    with_steps(|kit| {
        make_base(kit);
        kit.castoff(&["tag", "base", "other:1"]).succeeds();
        let facts = kit.inspect("base");
        assert_eq!(facts["RepoTags"], serde_json::json!(["base:latest", "other:1"]));
        assert_eq!((&facts["Id"], &facts["Digest"]), (&kit.inspect("other:1")["Id"], &facts["Id"]));
        let manifests = facts["Manifests"].as_array().unwrap();
        let listed: Vec<&str> = manifests.iter().map(|image| image["Platform"].as_str().unwrap()).collect();
        assert_eq!(listed, ["linux/amd64", "linux/arm64"]);
        let list = kit.castoff(&["images", "--no-trunc", "base"]).succeeds();
        assert!(list.text().contains(facts["Id"].as_str().unwrap()), "{}", list.text());
        let row = kit.castoff(&["images", "--format", "json", "base"]).succeeds();
        let row: serde_json::Value = serde_json::from_str(row.text()).unwrap();
        assert_eq!(row["Platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
        // The layer that both have is counted once.
        let size = |image: &serde_json::Value| image["Size"].as_u64().unwrap();
        assert!(size(&row) < size(&manifests[0]) + size(&manifests[1]) && size(&row) > size(&manifests[0]));
        // What is for this machine, and what is asked for.
        let machine =
            kit.castoff(&["inspect", "-f", ".Architecture", "busybox"]).succeeds().text().trim().to_owned();
        for platform in ["linux/amd64", "linux/arm64"] {
            let arch = platform.strip_prefix("linux/").unwrap();
            let env =
                kit.castoff(&["inspect", "--platform", platform, "-f", ".Config.Env", "base"]).succeeds();
            assert!(env.text().contains(&format!("ARCH={arch}")), "{}", env.text());
            let history = kit.castoff(&["history", "--platform", platform, "--no-trunc", "base"]).succeeds();
            assert!(history.text().contains(&format!("COPY {arch} /")), "{}", history.text());
            if arch == machine {
                assert_eq!(facts["Architecture"], arch);
            }
        }
        kit.castoff(&["inspect", "--platform", "linux/s390x", "base"])
            .fails()
            .says("linux/amd64, linux/arm64");
        kit.castoff(&["inspect", "--platform", "linux/s390x", "busybox"]).fails().says("linux/s390x");
        // A build of this machine's busybox for both runs here as what it is here.
        let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS tools\nFROM scratch\n\
             COPY --from=tools /bin /bin\nARG TARGETARCH\nENV ARCH=$TARGETARCH\n";
        kit.build(dockerfile, &flags(&[&BOTH, &["-t", "runs"]])).succeeds();
        let echo = |flags: &[&str]| {
            let words = [&["run"], flags, &["runs", "sh", "-c", "echo $ARCH"]].concat();
            kit.castoff(&words).succeeds().text().trim().to_owned()
        };
        assert_eq!(echo(&[]), machine);
        assert_eq!(echo(&["--platform", "linux/arm64"]), "arm64");
        // The name goes, and with the last one the image.
        kit.castoff(&["rmi", "base"]).succeeds();
        kit.castoff(&["inspect", "base"]).fails();
        kit.castoff(&["rmi", &facts["Id"].as_str().unwrap()[7..30]]).succeeds();
        kit.castoff(&["inspect", "other:1"]).fails();
        // What a name keeps is all of its platforms.
        kit.castoff(&["prune", "--all", "--force"]).succeeds();
        assert_eq!(kit.inspect("runs")["Manifests"].as_array().unwrap().len(), 2);
        kit.build("FROM runs\n", &flags(&[&BOTH, &["-o", "type=oci,dest=runs.tar"]])).succeeds();
        assert!(platforms(&kit.path("runs.tar")).iter().all(|image| !image.2[0].0.is_empty()));
    });
}

// B-102, B-110, B-220
#[test]
fn an_index_is_the_same_after_save_and_load() {
    let kit = Kit::new();
    make_base(&kit);
    kit.castoff(&["save", "--format", "oci", "-o", "base.tar", "base"]).succeeds();
    let saved = std::fs::read(kit.path("base.tar")).unwrap();
    assert_eq!(platforms(&kit.path("base.tar")).len(), 2);
    let other = kit.another();
    let loaded = other.castoff_reading(&["load"], &saved).succeeds();
    assert!(loaded.text().contains("base:latest"), "{}", loaded.text());
    assert_eq!(other.inspect("base")["Manifests"].as_array().unwrap().len(), 2);
    let again = other.castoff(&["save", "--format", "oci", "base"]).succeeds();
    assert_eq!(again.stdout, saved);
    // The manifest that is asked for alone is one image.
    for platform in ["linux/amd64", "linux/arm64"] {
        other.castoff(&["save", "--platform", platform, "-o", "one.tar", "base"]).succeeds();
        let name = layers(&other.path("one.tar"))[1].text("name").to_owned();
        assert_eq!(name, if platform.ends_with("amd64") { "the one\n" } else { "the other\n" });
    }
    // Docker's own list in its archive has the one image that it has room for.
    let docker = other.castoff(&["save", "base"]).succeeds();
    let files = Files::read(&docker.stdout);
    let list: serde_json::Value = serde_json::from_str(files.text("manifest.json")).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["Layers"].as_array().unwrap().len(), 2);
    let third = kit.another();
    third.castoff_reading(&["load"], &docker.stdout).succeeds();
    assert_eq!(third.inspect("base")["Manifests"].as_array().unwrap().len(), 2);
    third.build("FROM base\n", &flags(&[&BOTH, &["-o", "out"]])).succeeds();
    assert_eq!(third.read("out/linux_arm64/name"), "the other\n");
}

// B-108, B-170: the same files and the same time are the same index, on any machine.
#[test]
fn two_stores_make_the_same_index() {
    let made = |name: &str| {
        let kit = Kit::new();
        make_base(&kit);
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000", "--metadata-file", "meta.json", "-t", name];
        let output = ["-o", "type=oci,dest=out.tar,rewrite-timestamp=true"];
        let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY same /dir/\nCOPY $TARGETARCH/name /dir/\n";
        kit.build(dockerfile, &flags(&[&BOTH, &epoch, &output])).succeeds();
        let metadata: serde_json::Value = serde_json::from_str(&kit.read("meta.json")).unwrap();
        for (_, config, layers) in platforms(&kit.path("out.tar")) {
            assert_eq!(config["created"], "1970-01-01T00:16:40Z");
            assert_eq!(layers[1].get("dir/name").mtime, 1000);
        }
        (metadata["containerimage.digest"].clone(), std::fs::read(kit.path("out.tar")).unwrap())
    };
    assert_eq!(made("app"), made("app"));
}

// B-102, B-110: what other programs make of it.
#[test]
fn other_programs_read_the_index() {
    let kit = Kit::new();
    make_base(&kit);
    let outputs = ["-o", "type=oci,dest=app.tar", "-o", "type=oci,tar=false,dest=layout", "-t", "app:1"];
    kit.build("FROM base\n", &flags(&[&BOTH, &outputs])).succeeds();
    let here = kit.path("");
    std::fs::set_permissions(&here, Permissions::from_mode(0o755)).unwrap();
    for source in ["oci-archive:app.tar", "oci:layout:1"] {
        let Some(raw) = tool("skopeo", &["inspect", "--raw", source], &here) else { return };
        let index: serde_json::Value = serde_json::from_str(&raw).unwrap();
        let platforms: Vec<String> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(platforms, ["amd64", "arm64"], "{source}");
        for (arch, name) in [("amd64", "the one\n"), ("arm64", "the other\n")] {
            let to = format!("oci:copied-{arch}-{}:one", source.len());
            tool("skopeo", &["--override-arch", arch, "copy", "-q", source, &to], &here);
            let bundle = format!("bundle-{arch}-{}", source.len());
            let image = to.strip_prefix("oci:").unwrap();
            if tool("umoci", &["unpack", "--rootless", "--image", image, &bundle], &here).is_some() {
                assert_eq!(kit.read(&format!("{bundle}/rootfs/name")), name);
            }
        }
        // All of it goes through another program and comes back.
        let to = format!("oci-archive:all-{}.tar:copied:1", source.len());
        tool("skopeo", &["copy", "-q", "--all", source, &to], &here);
        let other = kit.another();
        let archive = std::fs::read(kit.path(&format!("all-{}.tar", source.len()))).unwrap();
        other.castoff_reading(&["load"], &archive).succeeds();
        other.build("FROM copied:1\n", &flags(&[&BOTH, &["-o", "out"]])).succeeds();
        assert_eq!(other.read("out/linux_arm64/name"), "the other\n");
    }
    // A layout with an index is a named context (B-073).
    let context = ["--build-context", "other=oci-layout://layout:1", "-o", "from-layout"];
    kit.build("FROM other\n", &flags(&[&BOTH, &context])).succeeds();
    assert_eq!(kit.read("from-layout/linux_amd64/name"), "the one\n");
    assert_eq!(kit.read("from-layout/linux_arm64/name"), "the other\n");
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).unwrap();
}

/// Rewrites the index in an archive, which gets the digest that it then has.
fn with_index(archive: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let files = Files::read(archive);
    let mut root: serde_json::Value = serde_json::from_slice(&files.get("index.json").content).unwrap();
    let path = |digest: &serde_json::Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    let old = path(&root["manifests"][0]["digest"]);
    let mut index: serde_json::Value = serde_json::from_slice(&files.get(&old).content).unwrap();
    change(&mut index);
    let bytes = serde_json::to_vec(&index).unwrap();
    root["manifests"][0]["digest"] = castoff_oci::Digest::of(&bytes).to_string().into();
    root["manifests"][0]["size"] = bytes.len().into();
    let mut out = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| append(&mut out, path, content);
    for (path, file) in files.0.iter().filter(|(path, file)| file.kind == '-' && **path != old) {
        match path.as_str() {
            "index.json" => add(path, &serde_json::to_vec(&root).unwrap()),
            _ => add(path, &file.content),
        }
    }
    add(&path(&root["manifests"][0]["digest"]), &bytes);
    out.into_inner().unwrap()
}

// B-079, B-220, D-335: an index may say what it likes of what it lists; it is believed in nothing that can
// be checked.
#[test]
fn an_index_that_lies_is_found_out() {
    let (kit, registry) = (Kit::new(), EmptyRegistry::start());
    let base = &*registry.name("base:1");
    let from = &*format!("FROM {base}\n");
    make_base_as(&kit, base);
    let honest = kit.castoff(&["save", "--format", "oci", base]).succeeds().stdout;
    let load = |change: &dyn Fn(&mut serde_json::Value)| {
        let other = kit.another();
        let done = other.castoff_reading(&["load"], &with_index(&honest, change));
        (other, done)
    };
    let (other, done) = load(&|_| {});
    done.succeeds();
    assert_eq!(other.inspect(base)["Manifests"].as_array().unwrap().len(), 2);
    // Of sizes.
    let (other, done) = load(&|index| index["manifests"][1]["size"] = 7.into());
    done.fails().says("its descriptor says 7");
    other.castoff(&["inspect", base]).fails();
    // Of what kind of thing an entry is.
    let (_, done) = load(&|index| {
        index["manifests"][1]["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    });
    done.fails().says("malformed");
    // Of what there is: none of its images, or another number of them.
    let absent = format!("sha256:{}", "0".repeat(64));
    let (_, done) = load(&|index| {
        index["manifests"].as_array_mut().unwrap().truncate(1);
        index["manifests"][0]["digest"] = absent.clone().into();
    });
    done.fails().says("which is not in it");
    let (other, done) = load(&|index| index["manifests"][1]["digest"] = absent.clone().into());
    done.succeeds();
    other.build(from, &["--platform", "linux/amd64", "-o", "out"]).succeeds();
    assert_eq!(other.read("out/name"), "the one\n");
    other.build(from, &["--platform", "linux/arm64"]).fails();
    other.castoff(&["inspect", "--platform", "linux/arm64", base]).fails().says("linux/arm64");
    // Of platforms: the build goes on with what it was given, and says what that is.
    let (other, done) = load(&|index| index["manifests"].as_array_mut().unwrap().swap(0, 1));
    done.succeeds();
    other.build(from, &["--platform", "linux/arm64", "-o", "out"]).succeeds().never_says("InvalidBase");
    assert_eq!(other.read("out/name"), "the other\n");
    let (other, done) = load(&|index| {
        let first = index["manifests"][0]["platform"].take();
        index["manifests"][0]["platform"] = index["manifests"][1]["platform"].take();
        index["manifests"][1]["platform"] = first;
    });
    done.succeeds();
    other
        .build(from, &["--platform", "linux/arm64", "-t", "lied"])
        .succeeds()
        .says("InvalidBaseImagePlatform")
        .says("pulled with platform \"linux/amd64\", expected \"linux/arm64\"");
    assert_eq!(other.inspect("lied")["Architecture"], "arm64");
    // An index in an index, twice at each of many levels, is read once at each.
    let mut deep = honest.clone();
    for _ in 0..40 {
        let files = Files::read(&deep);
        let root: serde_json::Value = serde_json::from_slice(&files.get("index.json").content).unwrap();
        let inner = root["manifests"][0].clone();
        deep = nested(&files, &inner);
    }
    kit.another().castoff_reading(&["load"], &deep).succeeds();
}

/// Returns an archive whose index lists the index of another twice.
fn nested(files: &Files, inner: &serde_json::Value) -> Vec<u8> {
    let mut inner = inner.clone();
    inner.as_object_mut().unwrap().remove("annotations");
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [inner, inner]});
    let bytes = serde_json::to_vec(&list).unwrap();
    let digest = castoff_oci::Digest::of(&bytes);
    let root = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()}
    ]});
    let root = serde_json::to_vec(&root).unwrap();
    let name = format!("blobs/sha256/{}", digest.hex());
    let mut out = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| append(&mut out, path, content);
    add("index.json", &root);
    add(&name, &bytes);
    for (path, file) in files.0.iter().filter(|(path, file)| file.kind == '-' && *path != "index.json") {
        add(path, &file.content);
    }
    out.into_inner().unwrap()
}
