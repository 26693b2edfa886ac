//! RUN for other architectures. The programs are those of Debian's busybox-static for arm64, which `cargo
//! xtask ci` puts beside the tests' own files; the emulator is that of qemu-user-static.

use std::fs;
use std::path::{Path, PathBuf};

use super::kit::{Done, Kit, platforms, with_steps, with_steps_as_each_user};

/// Returns the foreign busybox. Outside of CI it may be missing.
fn busybox() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("e2e").join("busybox-arm64");
    let found = path.is_file();
    assert!(found || std::env::var_os("CI").is_none(), "`cargo xtask foreign` makes {}", path.display());
    found.then_some(path)
}

/// A base of another architecture with the commands of busybox.
const BASE: &str = "FROM scratch\n\
    COPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

const ARM64: [&str; 2] = ["--platform", "linux/arm64"];

fn with_busybox(kit: &Kit) -> bool {
    let Some(busybox) = busybox() else { return false };
    kit.write("context/busybox", fs::read(busybox).unwrap());
    fs::set_permissions(kit.path("context/busybox"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    true
}

// B-167
#[test]
fn steps_of_another_architecture_run_by_an_emulator() {
    with_steps_as_each_user(|kit| {
        if !with_busybox(kit) {
            return;
        }
        let dockerfile = format!(
            "FROM --platform=$BUILDPLATFORM busybox AS native\nRUN uname -m > /native\n{BASE}\
             COPY --from=native /native /\n\
             ARG TARGETARCH\n\
             RUN --mount=type=cache,target=/c --network=none uname -m > /machine && echo $TARGETARCH >> /machine && \
                 ls -A / > /seen && (sh -c 'echo child of $0' > /child) && cat /proc/self/comm > /name\n\
             RUN <<EOF\n#!/bin/sh\necho script > /script\nEOF\n\
             RUN false || exit 0\n"
        );
        let files = kit.files(&dockerfile, &ARM64);
        assert_eq!(files.text("machine"), "aarch64\narm64\n");
        assert_eq!(files.text("native"), "x86_64\n");
        assert_eq!(files.text("script"), "script\n");
        assert_eq!(files.text("child"), "child of sh\n");
        for name in files.paths().iter().chain(&[files.text("seen")]) {
            assert!(!name.contains("qemu"), "{name}");
        }
        drop(kit.build(&format!("{BASE}RUN exit 3\n"), &ARM64).fails().says("exit code: 3"));
    });
}

// B-166, B-167, D-321: in one build each platform's steps are its own, and what they share is done once.
#[test]
fn steps_of_two_platforms_run_in_one_build() {
    with_steps(|kit| {
        if !with_busybox(kit) {
            return;
        }
        let dockerfile = format!(
            "FROM --platform=$BUILDPLATFORM busybox AS shared\nRUN echo once > /once\n\
             FROM busybox AS base-amd64\n{}\
             FROM base-$TARGETARCH\nCOPY --from=shared /once /\nRUN uname -m > /machine\n",
            BASE.replace("FROM scratch", "FROM scratch AS base-arm64")
        );
        let output = ["-t", "both", "-o", "type=oci,dest=both.tar"];
        let done =
            kit.build(&dockerfile, &[&["--platform", "linux/arm64,linux/amd64"], &output[..]].concat());
        let executed = done.succeeds();
        let executed = executed.executed();
        assert_eq!(executed.iter().filter(|step| **step == "RUN echo once > /once").count(), 1);
        assert_eq!(executed.iter().filter(|step| **step == "RUN uname -m > /machine").count(), 2);
        let machines: Vec<(String, String)> = platforms(&kit.path("both.tar"))
            .into_iter()
            .map(|(platform, _, layers)| (platform, layers.last().unwrap().text("machine").to_owned()))
            .collect();
        let expected = [("linux/arm64", "aarch64\n"), ("linux/amd64", "x86_64\n")];
        assert_eq!(machines, expected.map(|(platform, machine)| (platform.to_owned(), machine.to_owned())));
        let run = |flags: &[&str]| {
            let done = kit.castoff(&[&["run"], flags, &["both", "uname", "-m"]].concat()).succeeds();
            done.text().to_owned()
        };
        assert_eq!((run(&[]), run(&ARM64)), ("x86_64\n".to_owned(), "aarch64\n".to_owned()));
    });
}

// B-167: which emulator there is does not count.
#[test]
fn the_emulator_is_not_part_of_the_key() {
    with_steps(|kit| {
        if !with_busybox(kit) {
            return;
        }
        kit.build(BASE, &ARM64).succeeds();
        fs::create_dir(kit.path("elsewhere")).unwrap();
        fs::copy("/usr/bin/qemu-aarch64-static", kit.path("elsewhere/qemu-aarch64")).unwrap();
        let build = |dockerfile: &str| {
            kit.write("context/Dockerfile", dockerfile);
            let mut command = kit.command(["build", "--platform", "linux/arm64", "context"]);
            command.env("PATH", kit.path("elsewhere"));
            Done::of(command).succeeds()
        };
        assert_eq!(build(BASE).executed(), Vec::<&str>::new());
        assert_eq!(build(&format!("{BASE}RUN uname -m\n")).executed(), ["RUN uname -m"]);
    });
}

// B-167: before anything runs, with a hint.
#[test]
fn a_step_that_nothing_can_run_is_refused_before_the_build() {
    with_steps(|kit| {
        let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS native\nRUN echo ran > /file\n\
            FROM scratch\nCOPY --from=native /file /\nRUN [\"/file\"]\n";
        kit.write("context/Dockerfile", dockerfile);
        let mut command = kit.command(["build", "--platform", "linux/arm64", "context"]);
        command.env("PATH", kit.path("nothing"));
        Done::of(command)
            .fails()
            .says("exec format error: linux/arm64 cannot run here: neither `qemu-aarch64-static` nor")
            .says("Dockerfile:5")
            .says(">>> RUN [\"/file\"]")
            .says("hint: install qemu-user-static")
            .never_says("RUN echo ran > /file\n#");
        kit.build(dockerfile, &["--platform", "freebsd/amd64"]).fails().says("freebsd/amd64 cannot run here");
        // Without a RUN there is nothing to run.
        kit.build("FROM scratch\nCOPY Dockerfile /\n", &["--platform", "linux/s390x"]).succeeds();
    });
}

// B-168
#[test]
fn levels_of_amd64_are_those_of_the_processor() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN uname -m > /machine\n";
        assert_eq!(kit.files(dockerfile, &["--platform", "linux/amd64/v1"]).text("machine"), "x86_64\n");
        let done =
            kit.build("FROM scratch\nCOPY Dockerfile /\nRUN [\"/x\"]\n", &["--platform", "linux/amd64/v9"]);
        drop(done.fails().says("linux/amd64/v9 cannot run here: this processor is amd64/v"));
    });
}

// B-167, B-168
#[test]
fn info_says_what_runs_which_platform() {
    with_steps_as_each_user(|kit| {
        let says = |path: &str, text: &str| {
            let mut command = kit.command(["info"]);
            command.env("PATH", path);
            let done = Done::of(command).succeeds();
            assert!(done.text().contains(text), "{text}: {}", done.text());
        };
        says("/usr/bin", "yes  linux/386: the processor\n");
        says("/usr/bin", "yes  linux/arm64: `/usr/bin/qemu-aarch64-static`, registered ");
        says("/var/empty", "no   linux/arm64: neither `qemu-aarch64-static` nor `qemu-aarch64` is in PATH\n");
        let json = kit.castoff(&["info", "--format", "json"]).succeeds();
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let arm64 = json["platforms"].as_array().unwrap().iter().find(|row| row["platform"] == "linux/arm64");
        assert_eq!(arm64.unwrap()["ok"], true);
    });
}

#[test]
fn an_image_of_another_architecture_is_run() {
    with_steps_as_each_user(|kit| {
        if !with_busybox(kit) {
            return;
        }
        kit.build(BASE, &[&ARM64[..], &["-t", "foreign"]].concat()).succeeds();
        let done = kit.castoff(&["run", "--rm", "foreign", "uname", "-m"]).succeeds();
        assert_eq!(done.text(), "aarch64\n");
    });
}
