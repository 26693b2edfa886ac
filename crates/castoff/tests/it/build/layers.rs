//! File systems that are hard to get right, through every kind of step and back.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::kit::{Kit, below, layers, with_steps, with_steps_as_each_user};

// D-143: a step that changes nothing has a layer like others, and an entry of the history that says so.
#[test]
fn a_step_that_changes_nothing_makes_a_layer() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN true\nRUN touch /made\nRUN cat /made\nENV A=b\n";
        kit.build(dockerfile, &["-t", "app", "-o", "type=oci,dest=app.tar"]).succeeds();
        // That there are as many entries with a layer as layers is checked on the way.
        let layers = layers(&kit.path("app.tar"));
        let paths: Vec<Vec<&str>> = layers[1..].iter().map(|layer| layer.paths()).collect();
        assert_eq!(paths, [vec![], vec!["made"], vec![]]);
        let history = kit.inspect("app")["History"].as_array().unwrap().clone();
        let empty: Vec<bool> = history[1..].iter().map(|entry| entry["empty_layer"] == true).collect();
        assert_eq!(empty, [false, false, false, true], "{history:?}");
    });
}

// D-246: made at once, with all that lead to it; what is there stays as it is.
#[test]
fn a_working_directory_is_made_at_once_or_left_alone() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN mkdir -m 2750 /there && touch -d @1000 /there\nWORKDIR /there\n\
            WORKDIR /a/b/c\nUSER app\nWORKDIR /there\nWORKDIR ../a/d\n";
        kit.build(dockerfile, &["-t", "app", "-o", "type=oci,dest=app.tar"]).succeeds();
        let layers = layers(&kit.path("app.tar"));
        let paths: Vec<Vec<&str>> = layers[2..].iter().map(|layer| layer.paths()).collect();
        assert_eq!(paths, [vec![], vec!["a", "a/b", "a/b/c"], vec![], vec!["a", "a/d"]]);
        for path in ["a", "a/b", "a/b/c"] {
            assert_eq!(layers[3].look(path), "d0755 0:0");
        }
        let files = kit.files(dockerfile, &[]);
        assert_eq!((files.look("there"), files.get("there").mtime), ("d2750 0:0".to_owned(), 1000));
        assert_eq!(kit.inspect("app")["Config"]["WorkingDir"], "/a/d");
    });
}

// What overlayfs may keep as a reference to the lower layer has to be in the layer itself.
#[test]
fn directories_that_move_and_files_that_change_their_mode_are_whole() {
    with_steps_as_each_user(|kit| {
        kit.write("context/tree/sub/file", "content\n");
        let dockerfile = "FROM busybox\nCOPY tree /tree\n\
            RUN mv /tree /moved && chmod 600 /moved/sub/file && chmod 700 /etc/passwd && mv /etc/group /bin/group\n";
        kit.build(dockerfile, &["-t", "moved"]).succeeds();
        kit.castoff(&["save", "-o", "moved.tar", "moved"]).succeeds();
        let layers = layers(&kit.path("moved.tar"));
        let top = &layers[2];
        let paths: Vec<&str> = top.paths();
        let expected = [
            ".wh.tree",
            "bin",
            "bin/group",
            "etc",
            "etc/.wh.group",
            "etc/passwd",
            "moved",
            "moved/sub",
            "moved/sub/file",
        ];
        assert_eq!(paths, expected);
        assert_eq!(
            (top.text("moved/sub/file"), top.look("moved/sub/file")),
            ("content\n", "-0600 0:0".into())
        );
        assert!(top.text("etc/passwd").starts_with("root:"));
    });
}

// B-225
#[test]
fn names_and_times_are_kept_exactly() {
    with_steps_as_each_user(|kit| {
        let long = "n".repeat(250);
        let deep = vec!["directory-with-a-name"; 20].join("/");
        kit.write(&format!("context/dir/{long}"), "long");
        kit.write(&format!("context/dir/{deep}/file"), "deep");
        kit.write("context/dir/a b \u{e9}\\*", "blanks");
        fs::write(kit.path("context/dir").join(OsStr::from_bytes(b"not-\xff-text")), "bytes").unwrap();
        for (name, seconds) in [("old", -86_400_i64), ("new", 5_000_000_000), ("zero", 0)] {
            kit.write(&format!("context/dir/{name}"), name);
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let epoch = SystemTime::UNIX_EPOCH;
            let time = if seconds < 0 { epoch - distance } else { epoch + distance };
            let file = File::open(kit.path(&format!("context/dir/{name}"))).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        }
        let dockerfile = "FROM busybox AS a\nCOPY dir /copied\nRUN cp -a /copied /by-step\n\
            FROM busybox\nCOPY --from=a /copied /by-step /again/\nRUN stat -c '%Y' /again/old /again/new /again/zero > /times\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("times"), "-86400\n5000000000\n0\n");
        assert_eq!(files.text(&format!("again/{long}")), "long");
        assert_eq!(files.text(&format!("again/{deep}/file")), "deep");
        assert_eq!(files.text("again/a b \u{e9}\\*"), "blanks");
        assert_eq!(files.text("again/not-\u{fffd}-text"), "bytes");
        kit.build(dockerfile, &["-o", "out"]).succeeds();
        assert_eq!(
            fs::read(kit.path("out/again").join(OsStr::from_bytes(b"not-\xff-text"))).unwrap(),
            b"bytes"
        );
        let modified = fs::metadata(kit.path("out/again/new")).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(5_000_000_000));
    });
}

// D-208, D-312
#[test]
fn extended_attributes_are_kept() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "x");
        let set = |value: &[u8]| {
            rustix::fs::setxattr(
                kit.path("context/file"),
                "user.castoff",
                value,
                rustix::fs::XattrFlags::empty(),
            )
        };
        if let Err(rustix::io::Errno::OPNOTSUPP) = set(b"one\0") {
            return;
        }
        let dockerfile = "FROM busybox\nCOPY file /copied\nRUN mv /copied /moved && echo y >> /moved\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("moved"), "xy\n");
        assert_eq!(
            files.get("moved").pax.get("SCHILY.xattr.user.castoff").map(Vec::as_slice),
            Some(&b"one\0"[..])
        );
        assert!(
            files.get("moved").pax.keys().all(|key| !key.contains("overlay")),
            "{:?}",
            files.get("moved").pax
        );
        assert_eq!(kit.build(dockerfile, &[]).succeeds().executed(), Vec::<&str>::new());
        set(b"two").unwrap();
        assert_eq!(kit.build(dockerfile, &[]).succeeds().executed().len(), 2);
    });
}

// D-144, D-145
#[test]
fn device_nodes_are_files_like_others() {
    with_steps(|kit| {
        if !rustix::process::geteuid().is_root() {
            // The kernel lets nobody else make them.
            return;
        }
        let dockerfile = "FROM busybox AS a\nRUN mknod /null c 1 3 && chmod 640 /null && mknod /disk b 7 0\n\
            FROM scratch\nCOPY --from=a /null /disk /\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!((files.look("null"), files.get("disk").kind), ("c0640 0:0".into(), 'b'));
    });
}

// A layer's archive cannot say that such a file exists.
#[test]
fn a_file_named_like_a_whiteout_is_refused_or_kept() {
    with_steps(|kit| {
        let done = kit.build("FROM busybox\nRUN touch /.wh.etc && echo x > /kept\n", &["-o", "-"]);
        if done.code == Some(0) {
            let files = super::kit::Files::read(&done.stdout);
            assert!(files.paths().contains(&"etc/passwd") && files.paths().contains(&"kept"));
        } else {
            done.fails().says(".wh.etc");
        }
    });
}

#[test]
fn a_hundred_and_fifty_layers_are_mounted() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "x");
        let copies: String = (0..150).map(|number| format!("COPY file /f{number}\n")).collect();
        let files = kit.files(&format!("FROM busybox\n{copies}RUN ls / | grep -c '^f[0-9]' > /count\n"), &[]);
        assert_eq!(files.text("count"), "150\n");
    });
}

// D-139, D-144: what a step needs of a file system that has nothing is not in the image.
#[test]
fn a_file_system_without_directories_runs_steps() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM scratch\nCOPY --from=busybox /bin/busybox /busybox\nSHELL [\"/busybox\", \"sh\", \"-c\"]\n\
            RUN /busybox echo $HOME $PWD > /made; /busybox ls /proc/self > /dev/null && /busybox cat /etc/resolv.conf > /dev/null\n\
            RUN --mount=type=tmpfs,target=/a/b/c --mount=type=cache,target=/d /busybox touch /a/b/c/x /d/y\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.paths(), ["busybox", "made"]);
        assert_eq!(files.text("made"), "/ /\n");
    });
}

// D-139
#[test]
fn mount_points_leave_no_trace() {
    with_steps_as_each_user(|kit| {
        kit.write("context/etc/file", "");
        symlink("../run/resolver/stub.conf", kit.path("context/etc/resolv.conf")).unwrap();
        let dockerfile = "FROM busybox\nCOPY etc /etc\n\
            RUN rmdir /var && ln -s /elsewhere /var\n\
            RUN --mount=type=tmpfs,target=/var/lib/x cat /etc/resolv.conf > /dev/null && touch /var/lib/x/y\n";
        kit.build(dockerfile, &["-t", "traces"]).succeeds();
        kit.castoff(&["save", "-o", "traces.tar", "traces"]).succeeds();
        let layers = layers(&kit.path("traces.tar"));
        assert_eq!(layers[2].paths(), ["var"]);
        assert_eq!(layers[3].paths(), Vec::<&str>::new());
    });
}

// B-202
#[test]
fn nothing_temporary_is_left() {
    with_steps_as_each_user(|kit| {
        kit.build("FROM busybox\nRUN mkdir -m 0 /closed && touch /x\n", &[]).succeeds();
        kit.build("FROM busybox\nRUN mkdir -m 0 /closed2 && false\n", &[]).fails();
        kit.castoff(&["run", "busybox", "mkdir", "-m", "0", "/closed"]).succeeds();
        assert_eq!(super::kit::below(&kit.path("store/tmp")), Vec::<std::path::PathBuf>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(kit.path("store").to_str().unwrap()), "{mounts}");
    });
}

// D-142, D-145 and what a container of docker has.
#[test]
fn a_step_is_as_confined_as_a_container() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN grep -e ^Cap -e ^Seccomp: /proc/self/status > /status; \
            ls /proc/self/fd > /fds; cat /proc/kcore 2>/dev/null | head -c 1 | wc -c > /kcore; \
            echo x > /proc/sys/kernel/domainname; mount -t tmpfs none /tmp; true\n";
        let files = kit.files(dockerfile, &[]);
        let status = files.text("status");
        assert!(status.contains("CapEff:\t00000000a80425fb"), "{status}");
        assert!(status.contains("CapInh:\t0000000000000000"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert_eq!(files.text("fds"), "0\n1\n2\n3\n", "the fourth is the listed directory");
        assert_eq!(files.text("kcore"), "0\n");
    });
}

// D-144: whatever the caller's mask is.
#[test]
fn the_callers_mask_is_not_in_the_image() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nWORKDIR /w/x\nCOPY <<f /c/d/\nf\nRUN umask > /mask && mkdir /made\n\
            USER app\nRUN ls / > /tmp/seen && cat /c/d/f\n";
        let dockerfile = if kit.user.has_many_ids() {
            dockerfile.to_owned()
        } else {
            dockerfile.replace("USER app\n", "")
        };
        kit.write("context/Dockerfile", dockerfile);
        let command =
            kit.command_with_mask(["build", "--no-cache", "-o", "type=tar,dest=masked.tar", "context"]);
        super::kit::Done::of(command).succeeds();
        let files = super::kit::Files::read(&fs::read(kit.path("masked.tar")).unwrap());
        for path in ["w", "w/x", "c", "c/d", "made"] {
            assert_eq!(files.look(path), "d0755 0:0", "{path}");
        }
        assert_eq!((files.look("c/d/f"), files.text("mask")), ("-0644 0:0".into(), "0022\n"));
    });
}

// D-312, D-311
#[test]
fn a_copy_is_known_by_name_mode_and_content() {
    let kit = Kit::new();
    let same = |kit: &Kit, dockerfile: &str| kit.build(dockerfile, &[]).succeeds().executed().is_empty();
    kit.write("context/a", "x");
    kit.write("context/b", "x");
    let dockerfile = "FROM scratch\nCOPY a /d/\n";
    assert!(!same(&kit, dockerfile));
    assert!(same(&kit, dockerfile));
    assert!(!same(&kit, "FROM scratch\nCOPY b /d/\n"));
    assert!(!same(&kit, "FROM scratch\nCOPY a /d\n"));
    let mut mode = fs::metadata(kit.path("context/a")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(kit.path("context/a"), mode).unwrap();
    assert!(!same(&kit, dockerfile));
    // Replaced within one tick of the clock, with the same size.
    for content in ["1", "2", "3", "4", "5"] {
        kit.write("context/a", content);
        assert!(!same(&kit, dockerfile), "{content}");
    }
}

// B-197: whiteouts, opaque directories, hard links, long names and attributes come from an image as from
// unpacked files.
#[test]
fn mounted_layers_look_like_unpacked_ones() {
    with_steps(|kit| {
        kit.write("context/tree/big", "0123456789abcdef".repeat(5_000));
        kit.write("context/tree/empty", "");
        for number in 0..300 {
            kit.write(&format!("context/tree/many/file-with-a-name-{number}"), number.to_string());
        }
        kit.write("context/tree/gone/file", "gone");
        kit.write("context/tree/hidden/file", "hidden");
        symlink("l".repeat(600), kit.path("context/tree/long-link")).unwrap();
        symlink("big", kit.path("context/tree/link")).unwrap();
        let base = "FROM busybox\nCOPY tree /tree\n\
            RUN rm -r /etc/group /tree/gone /tree/hidden && mkdir /tree/hidden && echo new > /tree/hidden/new \
             && ln /tree/big /tree/linked && chmod 4711 /tree/empty && chmod 1777 /tree/many && mkfifo /tree/fifo\n";
        kit.build(base, &["-t", "base"]).succeeds();
        kit.castoff(&["save", "-o", "base.tar", "base"]).succeeds();
        let look = "FROM base\nRUN find /tree /bin /home /usr /etc/passwd | sort > /tmp/names \
             && while read -r name; do stat -c '%n %F %a %u %g %Y' \"$name\"; \
                  test -h \"$name\" && readlink \"$name\"; \
                  test ! -f \"$name\" || { stat -c '%s %h' \"$name\"; md5sum < \"$name\"; }; \
                done < /tmp/names > /listing\nRUN rm -r /tree/many && mv /tree/linked /moved && echo more >> /tree/big\n";
        let seen = |kind: &str| {
            let other = kit.another();
            other.castoff(&["load", "-i", kit.path("base.tar").to_str().unwrap()]).succeeds();
            let files = other.files(look, &["--snapshotter", kind]);
            let unpacked = below(&other.path("store/layers"));
            let own = |path: &&std::path::PathBuf| !other.is_of_base_image(path);
            let unpacked =
                unpacked.iter().filter(own).any(|path| path.to_string_lossy().contains("layers/sha256-"));
            let listing = files.text("listing").to_owned();
            let changed = [files.text("tree/big").len(), files.text("moved").len()];
            let gone = files.paths().iter().any(|path| path.starts_with("tree/many"));
            (listing, changed, gone, unpacked)
        };
        let (listing, changed, gone, unpacked) = seen("directory");
        assert!(listing.contains("/tree/hidden/new") && listing.contains("/tree/linked"));
        assert!(!listing.contains("/tree/gone") && !listing.contains("/tree/hidden/file"));
        assert_eq!((changed, gone, unpacked), ([80_005, 80_000], false, true));
        let (mounted, changed, gone, unpacked) = seen("auto");
        let first = mounted.lines().zip(listing.lines()).find(|(mounted, unpacked)| mounted != unpacked);
        assert_eq!((first, mounted.len()), (None, listing.len()));
        assert_eq!((changed, gone), ([80_005, 80_000], false));
        let root = rustix::process::geteuid().is_root();
        let takes = root && castoff_sandbox::takes_images(&kit.path("store")).is_ok();
        assert_eq!(unpacked, !takes);
    });
}

// B-197
#[test]
fn images_that_cannot_be_are_an_error_when_asked_for() {
    let kit = Kit::new();
    let done = kit.castoff(&["images", "--snapshotter", "erofs"]);
    if rustix::process::geteuid().is_root() && castoff_sandbox::takes_images(&kit.path("store")).is_ok() {
        done.succeeds();
    } else {
        done.fails().says("EROFS images");
    }
}
