//! The root file system and what is left of a run.

use std::os::unix::fs::MetadataExt;

use crate::machine::{Mode, everywhere};

#[test]
fn changes_are_in_the_upper_directory_and_nowhere_else() {
    everywhere(|machine| {
        machine.says("echo changed > /data/file; echo new > /data/new; cat /data/file /data/new > /both");
        assert_eq!(machine.upper(), ["both", "data/", "data/file", "data/new"]);
        assert_eq!(
            std::fs::read_to_string(machine.path("upper/both")).expect("it is there"),
            "changed\nnew\n"
        );
        assert_eq!(std::fs::read_to_string(machine.path("lower/data/file")).expect("it is there"), "lower\n");
    });
}

#[test]
fn removed_files_leave_whiteouts() {
    everywhere(|machine| {
        machine.says("rm /data/file; rm -r /home");
        assert_eq!(machine.upper(), ["data/", "data/file removed", "home removed"], "{:?}", machine.mode);
    });
}

#[test]
fn a_directory_made_again_hides_the_old_one() {
    everywhere(|machine| {
        assert_eq!(machine.says("rm -r /data; mkdir /data; echo n > /data/n; ls /data"), "n\n");
        let name = if machine.mode == Mode::Root { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
        let mut value = [0; 8];
        let length =
            rustix::fs::getxattr(machine.path("upper/data"), name, &mut value).expect("it has the mark");
        assert_eq!(&value[..length], b"y");
    });
}

#[test]
fn nothing_is_left_of_the_places_for_mounts() {
    // D-139
    everywhere(|machine| {
        let before = std::fs::metadata(machine.path("lower/etc")).expect("it is there").mtime();
        let mut spec = machine.script("test -s /etc/resolv.conf; test -s /etc/hosts; ls -d /proc/self /sys/class /dev/null > /dev/null; stat -c %Y /etc");
        spec.files = ["/etc/resolv.conf", "/etc/hosts", "/run/deep/er/script"]
            .map(|target| castoff_sandbox::ProvidedFile {
                target: target.into(),
                content: b"provided\n".to_vec(),
                mode: 0o644,
                writable: true,
            })
            .to_vec();
        assert_eq!(machine.says_with(&spec), format!("{before}\n"));
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn what_the_process_writes_beside_a_place_is_kept() {
    // D-139
    everywhere(|machine| {
        let mut spec = machine.script("echo kept > /etc/kept; echo kept > /run/deep/kept; chmod 700 /etc");
        spec.files = ["/etc/hosts", "/run/deep/script"]
            .map(|target| castoff_sandbox::ProvidedFile {
                target: target.into(),
                content: b"provided\n".to_vec(),
                mode: 0o644,
                writable: true,
            })
            .to_vec();
        machine.says_with(&spec);
        assert_eq!(machine.upper(), ["etc/", "etc/kept", "run/", "run/deep/", "run/deep/kept"]);
        let mode = std::fs::metadata(machine.path("upper/etc")).expect("it is there").mode();
        assert_eq!(mode & 0o7777, 0o700);
        machine.is_owned("etc", 0);
    });
}

#[test]
fn layers_are_merged_topmost_first() {
    everywhere(|machine| {
        let top = machine.directory_with("top", "file", "top\n");
        let mut spec = machine.script("cat /file /etc/group | head -n 1; ls /data");
        let bottom = machine.directory_with("bottom", "file", "bottom\n");
        spec.lowers = vec![top, machine.path("lower"), bottom];
        assert_eq!(machine.says_with(&spec), "top\nfile\nsub\n");
    });
}

#[test]
fn an_empty_file_system_needs_no_layer() {
    everywhere(|machine| {
        let mut spec = machine.spec(&["/busybox", "ls", "/"]);
        spec.lowers = Vec::new();
        spec.mounts = vec![crate::machine::bind("/busybox", machine.path("lower/bin/busybox"), false)];
        assert_eq!(machine.says_with(&spec), "busybox\ndev\nproc\nsys\n");
        assert_eq!(machine.upper(), [""; 0]);
    });
}

#[test]
fn many_layers_are_merged_and_too_many_refused() {
    everywhere(|machine| {
        let mut spec = machine.script("cat /file-0 /file-300");
        let mut lowers: Vec<_> = (0..=300)
            .map(|index| {
                machine.directory_with(
                    &format!("layer-{index}"),
                    &format!("file-{index}"),
                    &format!("{index}\n"),
                )
            })
            .collect();
        lowers.push(machine.path("lower"));
        spec.lowers = lowers.clone();
        assert_eq!(machine.says_with(&spec), "0\n300\n");
        spec.lowers = (0..=500).map(|_| machine.path("lower")).collect();
        let error = machine.run(&spec).error;
        assert!(error.contains("more than the 500"), "{error}");
    });
}

#[test]
fn the_root_can_be_read_only() {
    everywhere(|machine| {
        let mut spec = machine.script("echo x > /new || echo refused; echo x > /dev/shm/f && cat /etc/hosts");
        spec.readonly_root = true;
        spec.files = vec![castoff_sandbox::ProvidedFile {
            target: "/etc/hosts".into(),
            content: b"provided\n".to_vec(),
            mode: 0o644,
            writable: true,
        }];
        assert_eq!(machine.run(&spec).stdout, "refused\nprovided\n", "{:?}", machine.mode);
    });
}

#[test]
fn paths_with_separators_of_mount_options_work() {
    everywhere(|machine| {
        let lower = machine.directory_with("a:b,c\\d", "file", "odd\n");
        let mut spec = machine.script("cat /file");
        spec.lowers = vec![lower, machine.path("lower")];
        assert_eq!(machine.says_with(&spec), "odd\n");
    });
}
