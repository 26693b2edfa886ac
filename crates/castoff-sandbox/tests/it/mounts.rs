//! The mounts of RUN (D-153 to D-174).

use castoff_sandbox::{MountKind, MountSpec, SecretBytes};

use crate::machine::{Mode, bind, everywhere};

fn secret(target: &str, mode: u32) -> MountSpec {
    let content = SecretBytes::new(b"hush".to_vec());
    MountSpec { target: target.into(), kind: MountKind::Secret { content, mode, uid: 0, gid: 0 } }
}

#[test]
fn secrets_are_files_for_the_time_of_the_process() {
    // D-167, D-170
    everywhere(|machine| {
        let mut spec = machine.script(
            "cat /run/secrets/token; stat -c ' %a %u:%g' /run/secrets/token; echo x > /run/secrets/token || echo read-only",
        );
        spec.mounts = vec![secret("/run/secrets/token", 0o400)];
        assert_eq!(machine.run(&spec).stdout, "hush 400 0:0\nread-only\n");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn secrets_may_belong_to_a_user() {
    everywhere(|machine| {
        if machine.mode == Mode::Single {
            return;
        }
        let mut spec =
            machine.script("cat /token; stat -c ' %a %u:%g' /token; cat /other 2>/dev/null || echo denied");
        let content = SecretBytes::new(b"hush".to_vec());
        let kind = MountKind::Secret { content, mode: 0o440, uid: 1000, gid: 1001 };
        spec.mounts = vec![MountSpec { target: "/token".into(), kind }, secret("/other", 0o400)];
        (spec.uid, spec.gid) = (1000, 1000);
        assert_eq!(machine.says_with(&spec), "hush 440 1000:1001\ndenied\n");
    });
}

#[test]
fn no_secret_is_in_an_argument_or_variable_of_any_process() {
    // D-170. What the machine shows while the process runs is looked at from within, too.
    everywhere(|machine| {
        let mut spec = machine.script("cat /proc/*/cmdline /proc/*/environ 2>/dev/null | grep -c hus[h]");
        spec.mounts = vec![secret("/token", 0o400)];
        assert_eq!(machine.run(&spec).stdout, "0\n");
    });
}

#[test]
fn binds_are_read_only_unless_writable() {
    // D-154, D-157
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n");
        for writable in [false, true] {
            let mut spec =
                machine.script("cat /mnt/here/file; echo w > /mnt/here/w 2>/dev/null && echo written");
            spec.mounts = vec![bind("/mnt/here", source.clone(), writable)];
            let expected = if writable { "source\nwritten\n" } else { "source\n" };
            assert_eq!(machine.run(&spec).stdout, expected);
        }
        assert!(source.join("w").exists());
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn a_file_is_bound_onto_a_file() {
    // D-155
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n").join("file");
        let mut spec = machine.script("cat /etc/passwd /new/file");
        spec.mounts = vec![bind("/etc/passwd", source.clone(), false), bind("/new/file", source, false)];
        assert_eq!(machine.says_with(&spec), "source\nsource\n");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn a_missing_source_is_an_error() {
    // D-155
    everywhere(|machine| {
        let mut spec = machine.script("true");
        spec.mounts = vec![bind("/mnt", machine.path("nothing"), false)];
        let error = machine.run(&spec).error;
        assert!(error.contains("No such file or directory") && error.contains("/mnt"), "{error}");
    });
}

#[test]
fn a_target_that_leads_out_of_the_tree_stays_inside() {
    // D-162; the link is absolute and names a directory of the machine.
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n");
        for target in ["/escape/here", "/up/up/outside-here", "/../../elsewhere"] {
            let mut spec = machine.script(&format!("cat {target}/file; echo w > {target}/w"));
            spec.mounts = vec![bind(target, source.clone(), true)];
            assert_eq!(machine.says_with(&spec), "source\n", "{:?} {target}", machine.mode);
        }
        let outside: Vec<_> = std::fs::read_dir(machine.path("outside")).expect("it is there").collect();
        assert_eq!(outside.len(), 1);
        assert!(
            !std::path::Path::new("/outside-here").exists() && !std::path::Path::new("/elsewhere").exists()
        );
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn an_overlay_mount_keeps_its_source_as_it_was() {
    // D-154: `rw` gives a private view.
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n");
        let view = machine.directory_with("view/fs", "sub", "");
        std::fs::remove_file(view.join("sub")).expect("own file");
        let work = machine.directory_with("view/work", "x", "");
        std::fs::remove_file(work.join("x")).expect("own file");
        let mut spec = machine
            .script("cat /mnt/file; echo changed > /mnt/file; rm -r /mnt/sub 2>/dev/null; cat /mnt/file");
        spec.mounts = vec![MountSpec {
            target: "/mnt".into(),
            kind: MountKind::Overlay {
                lowers: vec![source.clone()],
                upper: view,
                work,
                source: "".into(),
                writable: true,
            },
        }];
        let said = machine.run(&spec);
        assert_eq!(said.stdout, "source\nchanged\n", "{said:?}");
        assert_eq!(std::fs::read_to_string(source.join("file")).expect("it is there"), "source\n");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn part_of_an_overlay_can_be_shown() {
    // D-155: `source`.
    everywhere(|machine| {
        let directories: Vec<_> = ["view/fs", "view/work"]
            .map(|name| {
                let path = machine.directory_with(name, "x", "");
                std::fs::remove_file(path.join("x")).expect("own file");
                path
            })
            .to_vec();
        let mut spec = machine.script("cat /one/file /two; echo w > /one/w || echo refused");
        let kind = |source: &str| MountKind::Overlay {
            lowers: vec![machine.path("lower")],
            upper: directories[0].clone(),
            work: directories[1].clone(),
            source: source.into(),
            writable: false,
        };
        spec.mounts = vec![MountSpec { target: "/one".into(), kind: kind("data/sub") }];
        spec.argv[2] = "cat /one/file; echo w > /one/w || echo refused".into();
        assert_eq!(machine.run(&spec).stdout, "below\nrefused\n");
    });
}

#[test]
fn memory_file_systems_are_empty_and_limited() {
    // D-165
    everywhere(|machine| {
        let mut spec = machine.script(
            "ls -A /data; stat -c %a /data; head -c 2000000 /dev/zero > /data/f 2>/dev/null || echo full",
        );
        spec.mounts =
            vec![MountSpec { target: "/data".into(), kind: MountKind::Tmpfs { size: Some(1 << 20) } }];
        assert_eq!(machine.says_with(&spec), "755\nfull\n");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn a_memory_file_system_has_the_mode_of_what_it_covers() {
    // D-165: as with docker; steps that are not root's need a /tmp.
    everywhere(|machine| {
        let mut spec = machine.script("stat -c %a /tmp");
        spec.mounts = vec![MountSpec { target: "/tmp".into(), kind: MountKind::Tmpfs { size: None } }];
        assert_eq!(machine.says_with(&spec), "1777\n");
    });
}

#[test]
fn later_mounts_nest_in_earlier_ones() {
    // D-153
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n");
        let mut spec = machine.script("ls /mnt; cat /mnt/in/file /mnt/in/token");
        spec.mounts = vec![
            MountSpec { target: "/mnt".into(), kind: MountKind::Tmpfs { size: None } },
            bind("/mnt/in", source, true),
            secret("/mnt/in/token", 0o400),
        ];
        assert_eq!(machine.says_with(&spec), "in\nsource\nhush");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn targets_in_dev_work() {
    everywhere(|machine| {
        let source = machine.directory_with("source", "file", "source\n");
        let mut spec = machine.script("cat /dev/here/file");
        spec.mounts = vec![bind("/dev/here", source, false)];
        assert_eq!(machine.says_with(&spec), "source\n");
    });
}
