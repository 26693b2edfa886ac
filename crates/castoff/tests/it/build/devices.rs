//! RUN --device: devices that specifications of the Container Device Interface describe.

use super::kit::{Done, Kit, with_steps, with_steps_as_each_user};

const SPEC: &str = "\
cdiVersion: \"0.6.0\"
kind: test.example/thing
containerEdits:
  env: [THING=all, PATH=/usr/bin:/bin]
devices:
  - name: full
    annotations: {org.mobyproject.buildkit.device.class: things}
    containerEdits:
      env: [NAME=full]
      deviceNodes: [{path: /dev/thing/full, hostPath: /dev/full, type: c, major: 1, minor: 7, permissions: rwm}]
      mounts:
        - {hostPath: DIRECTORY/library, containerPath: /opt/library, options: [ro, nosuid, nodev, noexec, rbind]}
  - name: fuse
    containerEdits:
      deviceNodes: [{path: /dev/fuse}]
  - name: free
    annotations: {org.mobyproject.buildkit.device.autoallow: \"true\"}
    containerEdits: {env: [NAME=free]}
  - name: hooked
    containerEdits:
      hooks: [{hookName: createContainer, path: /bin/true}]
  - name: gone
    containerEdits:
      deviceNodes: [{path: /dev/no-such-device}]
  - name: owned
    containerEdits:
      deviceNodes: [{path: /dev/null, uid: 5}]
";

/// Writes the specification, and another in JSON, into two directories.
fn specify(kit: &Kit) {
    let directory = kit.path("").display().to_string();
    kit.write("cdi/thing.yaml", SPEC.replace("DIRECTORY/", &directory));
    kit.write("library/program", "#!/bin/sh\necho library\n");
    let program = kit.path("library/program");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let json = r#"{"cdiVersion": "0.6.0", "kind": "test.example/other", "devices": [
        {"name": "zero", "containerEdits": {"deviceNodes": [{"path": "/dev/other-zero", "hostPath": "/dev/zero"}]}}]}"#;
    kit.write("run-cdi/other.json", json);
    kit.own_all();
}

fn build(kit: &Kit, step: &str, flags: &[&str]) -> Done {
    kit.write("context/Dockerfile", format!("FROM busybox\n{step}\n"));
    let words = [&["build", "-o", "type=tar,dest=-"], flags, &["context"]].concat();
    let mut command = kit.command(words);
    let directories = format!("{}:{}", kit.path("cdi").display(), kit.path("run-cdi").display());
    command.env("CASTOFF_CDI_SPEC_DIRS", directories);
    Done::of(command)
}

// D-178, B-010
#[test]
fn a_step_has_the_devices_that_it_asks_for() {
    with_steps_as_each_user(|kit| {
        specify(kit);
        let step = "RUN --device=test.example/thing=full,required --device=name=test.example/other,required=true \
            test -c /dev/thing/full && ! echo x > /dev/thing/full && head -c 3 /dev/other-zero | od -An -c > /seen && \
            echo $THING $NAME >> /seen && cat /opt/library/program | tail -1 >> /seen && \
            if /opt/library/program 2> /dev/null; then exit 8; fi; \
            if touch /opt/library/new 2> /dev/null; then exit 9; fi\n\
            RUN test ! -e /dev/thing && test ! -e /opt/library && echo ${NAME-none} >> /seen";
        let done = build(kit, step, &["--allow", "device"]).succeeds();
        let files = super::kit::Files::read(&done.stdout);
        assert_eq!(files.text("seen"), "  \\0  \\0  \\0\nall full\necho library\nnone\n");
        assert!(!files.paths().iter().any(|path| path.starts_with("dev") || path.starts_with("opt")));
    });
}

// D-178, B-010
#[test]
fn devices_are_allowed_one_by_one_or_by_class_and_may_have_other_names() {
    with_steps(|kit| {
        specify(kit);
        let asks = |name: &str| format!("RUN --device={name},required test -c /dev/thing/full");
        let full = "test.example/thing=full";
        let refused = build(kit, &asks(full), &[]).fails();
        drop(
            refused
                .says("device test.example/thing=full is not allowed")
                .says("hint: grant it with `--allow device="),
        );
        drop(
            build(kit, &asks(full), &["--allow", "device=test.example/thing=fuse"])
                .fails()
                .says("is not allowed"),
        );
        for allowed in [
            "device",
            "device=test.example/thing",
            "device=test.example/thing=*",
            "device=test.example/thing=full",
        ] {
            build(kit, &asks(full), &["--allow", allowed]).succeeds();
        }
        build(kit, &asks("things"), &["--allow", "device"]).succeeds();
        build(kit, &asks("mine"), &["--allow", "device=test.example/thing=full,alias=mine"]).succeeds();
        build(kit, "RUN --device=test.example/thing=free test $NAME = free", &[]).succeeds();
        drop(build(kit, "RUN true", &["--allow", "device=mine"]).says("unknown entitlement"));
    });
}

// D-178
#[test]
fn what_is_not_there_is_ignored_unless_required() {
    with_steps(|kit| {
        specify(kit);
        build(kit, "RUN --device=test.example/thing=absent true", &[]).succeeds();
        let required =
            build(kit, "RUN true\nRUN --device=absent,required true", &["--allow", "device"]).fails();
        required
            .says("required device \"absent\" is not registered")
            .says(">>> RUN --device=absent,required true")
            .never_says("RUN true\n#");
        kit.write("cdi/broken.yaml", "kind: [");
        let broken = build(kit, "RUN --device=absent,required true", &["--allow", "device"]).fails();
        drop(broken.says("broken.yaml"));
        let check = |name: &str, expected: &str| {
            let step = format!("RUN --device=test.example/thing={name} true");
            drop(build(kit, &step, &["--allow", "device"]).fails().says(expected));
        };
        check("hooked", "needs a hook (`createContainer`), which castoff cannot give a step");
        check("gone", "needs `/dev/no-such-device`, which this machine does not have");
        check("owned", "needs `uid` of the node `/dev/null`");
    });
}

// D-178: what comes later decides, and two of one directory do not.
#[test]
fn later_directories_win_and_equals_conflict() {
    with_steps(|kit| {
        let spec = |name: &str| {
            format!("kind: a.b/c\ndevices: [{{name: d, containerEdits: {{env: [WHICH={name}]}}}}]\n")
        };
        kit.write("cdi/one.yaml", spec("first"));
        kit.write("run-cdi/one.yaml", spec("second"));
        let step = "RUN --device=a.b/c=d,required test $WHICH = second";
        build(kit, step, &["--allow", "device"]).succeeds();
        kit.write("run-cdi/two.yml", spec("third"));
        let done = build(kit, step, &["--allow", "device", "--no-cache"]).fails();
        drop(done.says("specified by two files of one directory"));
    });
}
