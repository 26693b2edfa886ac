//! What a process may see and do.

use castoff_sandbox::Network;

use crate::machine::{Mode, bind, everywhere};

/// Returns a line of /proc/self/status.
fn status(field: &str) -> String {
    format!("grep '^{field}:' /proc/self/status | cut -f2")
}

#[test]
fn root_has_dockers_default_capabilities() {
    // D-145
    everywhere(|machine| {
        let mut said = String::new();
        for field in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            said += &machine.says(&status(field));
        }
        let (default, none) = ("00000000a80425fb\n", "0000000000000000\n");
        assert_eq!(said, [default, default, default, none, none].concat(), "{:?}", machine.mode);
    });
}

#[test]
fn other_users_have_no_capabilities_and_may_gain_them() {
    everywhere(|machine| {
        if machine.mode == Mode::Single {
            return;
        }
        for (field, expected) in [
            ("CapEff", "0000000000000000\n"),
            ("CapPrm", "0000000000000000\n"),
            ("CapBnd", "00000000a80425fb\n"),
            ("NoNewPrivs", "0\n"),
        ] {
            let mut spec = machine.script(&status(field));
            (spec.uid, spec.gid) = (1000, 1000);
            assert_eq!(machine.says_with(&spec), expected, "{:?} {field}", machine.mode);
        }
    });
}

#[test]
fn privileged_keeps_all_capabilities_and_no_filter() {
    // D-177
    everywhere(|machine| {
        if machine.mode == Mode::Single {
            return;
        }
        let mut spec =
            machine.script(&format!("{}; mount -t tmpfs none /tmp && echo mounted", status("Seccomp")));
        spec.privileged = true;
        assert_eq!(machine.says_with(&spec), "0\nmounted\n", "{:?}", machine.mode);
    });
}

#[test]
fn mounting_is_forbidden() {
    everywhere(|machine| {
        let outcome = machine.run(
            &machine.script("mount -t tmpfs none /tmp || umount /proc || unshare -r true || echo refused"),
        );
        assert_eq!(outcome.stdout, "refused\n", "{:?} {outcome:?}", machine.mode);
        assert_eq!(machine.says(&status("Seccomp")), "2\n");
    });
}

#[test]
fn parts_of_proc_are_hidden_or_protected() {
    // D-145
    everywhere(|machine| {
        assert_eq!(machine.says("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /proc/scsi /proc/acpi 2>/dev/null | grep -v : | wc -w"), "0\n0\n");
        for path in [
            "/proc/sys/kernel/hostname",
            "/proc/sysrq-trigger",
            "/proc/irq/0/x",
            "/sys/kernel/uevent_helper",
            "/sys/x",
        ] {
            let outcome = machine.run(&machine.script(&format!("echo x > {path}")));
            assert_eq!(outcome.status, "code 1", "{:?} {path}: {outcome:?}", machine.mode);
        }
    });
}

#[test]
fn a_process_sees_only_its_own_processes() {
    everywhere(|machine| {
        let said = machine.says("ls -d /proc/[0-9]* | wc -l; echo $$");
        let numbers: Vec<u32> = said.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(numbers[0] <= 5 && numbers[1] <= 5, "{:?} {said}", machine.mode);
    });
}

#[test]
fn no_specification_can_be_read_from_the_processes_around() {
    // D-170: the init and the helper know the secrets.
    everywhere(|machine| {
        let mut spec = machine.script("cat /proc/1/environ /proc/1/cmdline; cat /proc/1/mem 2>&1 | head -c 60; ls /proc/1/fd 2>&1 | grep -c .");
        spec.env.push(("MARK".into(), "known".into()));
        let said = machine.run(&spec).stdout;
        assert!(!said.contains("known") && !said.contains("MARK"), "{said}");
        assert!(said.contains("denied") || said.contains("not permitted"), "{:?} {said}", machine.mode);
    });
}

#[test]
fn descriptors_of_the_caller_do_not_leak() {
    everywhere(|machine| {
        // The fourth is the directory that is being read.
        assert_eq!(machine.says_with(&machine.spec(&["/bin/ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
    });
}

#[test]
fn the_network_can_be_left_out() {
    // D-175
    everywhere(|machine| {
        let mut spec =
            machine.script("ls /sys/class/net; grep -c : /proc/net/dev; ip addr show lo | grep -c 127.0.0.1");
        spec.network = Network::None;
        assert_eq!(machine.says_with(&spec), "lo\n1\n1\n", "{:?}", machine.mode);
    });
}

#[test]
fn the_host_name_is_given() {
    // D-138
    everywhere(|machine| assert_eq!(machine.says("hostname"), "buildkitsandbox\n"));
}

#[test]
fn dev_has_what_programs_expect() {
    // D-144
    everywhere(|machine| {
        let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done
            for l in fd stdin stdout stderr ptmx; do test -L /dev/$l || echo no $l; done
            test -c /dev/pts/ptmx && test -d /dev/mqueue && stat -c %a /dev/shm /tmp
            echo x > /dev/null; head -c 4 /dev/zero | wc -c; echo y > /dev/shm/f; cat /dev/shm/f; cat /dev/fd/0
            ls /dev | wc -w";
        assert_eq!(machine.says(script), "1777\n1777\n4\ny\n15\n", "{:?}", machine.mode);
        assert_eq!(machine.upper(), ["tmp/"; 0]);
    });
}

#[test]
fn shared_memory_has_the_size_asked_for() {
    everywhere(|machine| {
        let mut spec = machine.script("head -c 3000000 /dev/zero > /dev/shm/f");
        spec.shm_size = 1 << 20;
        assert_eq!(machine.run(&spec).status, "code 1");
        spec.shm_size = 4 << 20;
        assert_eq!(machine.run(&spec).status, "code 0");
    });
}

#[test]
fn with_one_id_changes_of_owner_are_pretended() {
    // B-196
    everywhere(|machine| {
        let script = "touch /f; chown 1000:1000 /f && stat -c %u:%g /f
            mknod /d c 1 3 2>/dev/null && ls /d 2>/dev/null; mknod /p p && ls /p";
        let said = machine.says(script);
        let expected = match machine.mode {
            Mode::Root => "1000:1000\n/d\n/p\n",
            Mode::Single => "0:0\n/p\n",
            // There is no way to make a device in a user namespace.
            Mode::Range => "1000:1000\n/p\n",
        };
        assert_eq!(said, expected, "{:?}", machine.mode);
    });
}

#[test]
fn nothing_of_the_machine_is_above_the_root() {
    everywhere(|machine| {
        let marker = machine.path("outside");
        let script = format!(
            "ls -d /..{0} /../..{0} /proc/1/root{0} 2>/dev/null; ls /.. | wc -w; ls / | wc -w",
            marker.display()
        );
        let said = machine.run(&machine.script(&script)).stdout;
        let numbers: Vec<&str> = said.lines().collect();
        assert!(numbers.len() == 2 && numbers[0] == numbers[1], "{:?}: {said}", machine.mode);
        // What is mounted is what is known.
        let script = "cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/\\(proc\\|sys\\|dev\\)\\(/\\|$\\)'";
        assert_eq!(machine.says(script), "/\n", "{:?}", machine.mode);
    });
}

#[test]
fn the_helpers_own_file_cannot_be_overwritten() {
    everywhere(|machine| {
        let mut spec = machine.spec(&["/proc/self/exe", "overwrite"]);
        spec.mounts = ["/lib", "/lib64", "/usr/lib"]
            .iter()
            .filter(|path| std::path::Path::new(path).exists())
            .map(|path| bind(path, path.into(), false))
            .collect();
        assert_eq!(machine.says_with(&spec), "Read-only file system (os error 30)\n", "{:?}", machine.mode);
    });
}
