//! Equal inputs give equal images.

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use super::kit::{Kit, with_steps_as_each_user};

// B-170, B-173, D-249, D-301, D-302
#[test]
fn two_machines_make_the_same_image_of_the_same_files() {
    let dockerfile = "FROM busybox AS a\nWORKDIR /w\nCOPY --chown=app dir .\n\
        FROM busybox AS b\nCOPY --link dir/file /linked\nWORKDIR /x/y\n\
        FROM busybox\nCOPY --from=a /w /w\nCOPY --from=b /x /x\nCOPY --chmod=600 dir /again/\nADD dir/file /added/\n\
        WORKDIR /z\nCOPY <<h /z/\nhere\nh\n";
    let id = |kit: &Kit, directory: &str, jobs: &str, epoch: &str| {
        // Another directory, other inodes, another order of creation; times of files are in layers.
        let mut names = vec!["b", "file", "sub/x", "a"];
        if jobs == "8" {
            names.reverse();
        }
        for name in names {
            kit.write(&format!("{directory}/dir/{name}"), name);
        }
        let time =
            FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(1_111_111_111_111));
        for path in ["dir", "dir/b", "dir/file", "dir/sub", "dir/sub/x", "dir/a"] {
            File::open(kit.path(&format!("{directory}/{path}"))).unwrap().set_times(time).unwrap();
        }
        kit.write(&format!("{directory}/Dockerfile"), dockerfile);
        let mut command = kit.command(["build", "-q", "--jobs", jobs, "-t", "same", directory]);
        command.env("SOURCE_DATE_EPOCH", epoch);
        super::kit::Done::of(command).succeeds();
        let digest = kit.inspect("same")["Digest"].as_str().unwrap().to_owned();
        (digest, kit.inspect("same")["Created"].as_str().unwrap().to_owned())
    };
    with_steps_as_each_user(|kit| {
        let mut results = Vec::new();
        for (directory, jobs) in [("context", "1"), ("some/where/else", "8")] {
            results.push(id(&kit.another(), directory, jobs, "1234567890"));
        }
        results.push(id(&Kit::new(), "context", "8", "1234567890"));
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2], "as the user who runs the tests");
        assert_eq!(results[0].1, "2009-02-13T23:31:30Z");
        assert_ne!(id(kit, "context", "8", "1").0, results[0].0);
    });
}

// B-172
#[test]
fn without_an_epoch_a_rebuild_is_the_same_image() {
    let kit = Kit::new();
    kit.write("context/file", "x");
    let dockerfile = "FROM busybox\nCOPY file /\nWORKDIR /w\n";
    kit.build(dockerfile, &["-t", "a"]).succeeds();
    kit.build(dockerfile, &["-t", "b"]).succeeds();
    assert_eq!(kit.inspect("a")["Id"], kit.inspect("b")["Id"]);
}

// B-100
#[test]
fn an_epoch_is_the_time_of_all_files_of_an_archive() {
    let kit = Kit::new();
    kit.write("context/file", "x");
    kit.write("context/Dockerfile", "FROM busybox\nCOPY file /\n");
    let mut command = kit.command(["build", "-o", "-", "context"]);
    command.env("SOURCE_DATE_EPOCH", "1234567890");
    let done = super::kit::Done::of(command).succeeds();
    let files = super::kit::Files::read(&done.stdout);
    assert!(files.0.values().all(|file| file.mtime == 1_234_567_890));
}
