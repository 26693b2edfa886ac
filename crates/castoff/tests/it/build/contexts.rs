//! Where files and Dockerfiles are looked for.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::kit::{Files, Kit, with_steps, with_steps_as_each_user};

// B-045, D-274
#[test]
fn dockerfiles_are_found_where_docker_finds_them() {
    let kit = Kit::new();
    let files = |words: &[&str]| {
        let done = kit.castoff(&[&["build", "-o", "-"], words].concat()).succeeds();
        Files::read(&done.stdout)
    };
    kit.write("context/file", "");
    kit.write("context/Containerfile", "FROM scratch\nCOPY file /containerfile\n");
    assert_eq!(files(&["context"]).paths(), ["containerfile"]);
    kit.write("context/dockerfile", "FROM scratch\nCOPY file /lower\n");
    assert_eq!(files(&["context"]).paths(), ["lower"]);
    kit.write("other/D", "FROM scratch\nCOPY file /upper\n");
    symlink("../other/D", kit.path("context/Dockerfile")).unwrap();
    assert_eq!(files(&["context"]).paths(), ["upper"]);
    assert_eq!(files(&["-f", "other/D", "context"]).paths(), ["upper"]);
    kit.write("other/D.dockerignore", "file\n");
    kit.castoff(&["build", "-f", "other/D", "context"]).fails().says("not found");
    symlink("context", kit.path("alias")).unwrap();
    assert_eq!(files(&["alias/"]).paths(), ["upper"]);
}

// B-224
#[test]
fn an_unreadable_file_is_named() {
    with_steps_as_each_user(|kit| {
        if matches!(kit.user, super::kit::User::Current | super::kit::User::Unpacking) {
            return;
        }
        // Of another user.
        kit.write("context/private", "x");
        fs::set_permissions(kit.path("context/private"), fs::Permissions::from_mode(0o600)).unwrap();
        kit.build("FROM scratch\nCOPY private /\n", &[]).fails().says("private").says("Permission denied");
        // What nobody asks for is not read.
        kit.build("FROM scratch\nCOPY Dockerfile /\n", &[]).succeeds();
    });
}

// D-305, B-077
#[test]
fn one_image_has_many_names() {
    with_steps(|kit| {
        let digest = kit.inspect("busybox")["Digest"].as_str().unwrap().to_owned();
        let names = [
            "busybox:latest".to_owned(),
            "docker.io/library/busybox".to_owned(),
            format!("busybox@{digest}"),
            format!("busybox:anything@{digest}"),
        ];
        kit.build("FROM busybox\nRUN touch /x\n", &[]).succeeds();
        for name in names {
            let done = kit.build(&format!("FROM {name}\nRUN touch /x\n"), &[]).succeeds();
            assert_eq!(done.cached(), ["RUN touch /x"], "{name}");
        }
    });
}

// B-093
#[test]
fn an_image_without_layers_is_an_image() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch\nLABEL only=label\n";
    kit.build(dockerfile, &["-t", "empty", "-o", "type=oci,dest=empty.tar"]).succeeds();
    assert!(super::kit::layers(&kit.path("empty.tar")).is_empty());
    assert_eq!(kit.files(dockerfile, &[]).paths(), Vec::<&str>::new());
    let loaded = kit.another().castoff_reading(&["load"], &fs::read(kit.path("empty.tar")).unwrap());
    loaded.succeeds();
    kit.build("FROM empty\nCOPY <<f /\nf\n", &[]).succeeds();
    let done = kit.build(dockerfile, &[]).succeeds().says("-t NAME");
    assert!(done.stdout.is_empty());
}

/// Writes other bytes into a file again and again while `work` goes on.
fn while_changing(kit: &Kit, contents: &[String], work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut file = fs::File::options().write(true).open(kit.path("context/changing")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                for content in contents {
                    file.rewind().unwrap();
                    file.write_all(content.as_bytes()).unwrap();
                }
            }
        });
        work();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

// B-071: whatever was caught in the middle of a change, nothing wrong is remembered.
#[test]
fn files_that_change_under_a_build_do_not_poison_the_cache() {
    let kit = Kit::new();
    let dockerfile = "FROM scratch\nCOPY changing dir /d/\n";
    let contents = ["a", "b"].map(|letter| letter.repeat(400_000));
    kit.write("context/dir/other", "");
    kit.write("context/changing", &contents[0]);
    kit.write("context/Dockerfile", dockerfile);
    while_changing(&kit, &contents, || {
        for _ in 0..10 {
            let done = kit.castoff(&["build", "context"]);
            if done.code != Some(0) {
                done.fails().says("`changing` changed while it was copied");
            }
        }
    });
    for content in &contents {
        kit.write("context/changing", content);
        let files = kit.files(dockerfile, &[]);
        assert!(files.text("d/changing") == content, "another file's content is in the cache");
    }
}

// B-071
#[test]
fn files_that_change_under_a_step_do_not_poison_the_cache() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN --mount=target=/c cp /c/changing /copied\n";
        let contents = ["a", "b"].map(|letter| letter.repeat(400_000));
        kit.write("context/changing", &contents[0]);
        kit.write("context/Dockerfile", dockerfile);
        while_changing(kit, &contents, || {
            for _ in 0..6 {
                kit.castoff(&["build", "context"]).succeeds();
            }
        });
        for content in &contents {
            kit.write("context/changing", content);
            let files = kit.files(dockerfile, &[]);
            assert!(files.text("copied") == content, "another file's content is in the cache");
        }
    });
}

// D-275
#[test]
fn a_dockerfile_alone_has_no_files_to_copy() {
    let kit = Kit::new();
    let build = |dockerfile: &str| kit.castoff_reading(&["build", "-o", "-", "-"], dockerfile.as_bytes());
    let missing = "FROM scratch\nCOPY context /\n";
    kit.write("context/file", "");
    build(missing).fails().says("\"/context\": not found");
    build("FROM scratch\nCOPY <<a /x/\ntext\na\nCOPY nothing* /\n").succeeds();
    let done = build("FROM scratch AS one\nCOPY <<a /x/\ntext\na\nFROM scratch\nCOPY --from=one /x /y\n");
    assert_eq!(Files::read(&done.succeeds().stdout).paths(), ["y", "y/a"]);
}
