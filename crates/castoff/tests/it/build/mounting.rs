//! RUN --mount: where mounts come from, how they nest, and secrets and their limits.

use super::kit::{with_steps, with_steps_as_each_user};

// D-151, D-155: a stage by name and by number, a named context, an image, and a file of each.
#[test]
fn bind_mounts_come_from_everything_that_has_files() {
    with_steps_as_each_user(|kit| {
        kit.write("other/file", "other\n");
        kit.write("context/file", "context\n");
        kit.own_all();
        let dockerfile = "FROM busybox AS stage\nRUN echo stage > /file\n\
            FROM busybox\n\
            RUN --mount=from=stage,target=/a --mount=from=0,source=/file,target=/b --mount=from=other,target=/c \
                --mount=from=other,src=file,dst=/d --mount=source=file,target=/e --mount=from=busybox,source=bin,target=/f \
                cat /a/file /b /c/file /d /e > /seen && /f/busybox echo image >> /seen\n";
        let files = kit.files(dockerfile, &["--build-context", "other=other"]);
        assert_eq!(files.text("seen"), "stage\nstage\nother\nother\ncontext\nimage\n");
        for name in ["a", "b", "c", "d", "e", "f"] {
            assert!(!files.paths().contains(&name), "{name}");
        }
    });
}

// D-153
#[test]
fn mounts_nest_and_nothing_in_them_is_kept() {
    with_steps_as_each_user(|kit| {
        kit.write("context/dir/inner/file", "bound\n");
        kit.own_all();
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/t/c --mount=source=dir,target=/t/c/b,rw \
                --mount=type=tmpfs,target=/t/c/b/inner \
                touch /t/one /t/c/two /t/c/b/three /t/c/b/inner/four && ls /t /t/c /t/c/b /t/c/b/inner > /seen\n\
            RUN mkdir -p /p/m && touch /p/m/below\n\
            RUN --mount=type=tmpfs,target=/p/m touch /p/m/mounted /p/beside && ls /p/m >> /seen\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(
            files.text("seen"),
            "/t:\nc\none\n\n/t/c:\nb\ntwo\n\n/t/c/b:\ninner\nthree\n\n/t/c/b/inner:\nfour\nmounted\n"
        );
        assert!(!files.paths().iter().any(|path| path.starts_with("t/")), "{:?}", files.paths());
        let below: Vec<&str> = files.paths().into_iter().filter(|path| path.starts_with("p/")).collect();
        assert_eq!(below, ["p/beside", "p/m", "p/m/below"]);
    });
}

// D-165
#[test]
fn a_tmpfs_is_full_at_its_size() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=64k \
            if dd if=/dev/zero of=/t/file bs=1k count=100 2> /dev/null; then exit 9; fi; wc -c < /t/file > /seen\n";
        assert_eq!(kit.files(dockerfile, &[]).text("seen").trim(), "65536");
    });
}

// D-168: also over ENV and ARG.
#[test]
fn a_secret_variable_wins_over_others_of_its_name() {
    with_steps(|kit| {
        kit.write("token", "of-the-secret");
        let dockerfile = "FROM busybox\nENV A=env\nARG B=arg\n\
            RUN --mount=type=secret,id=token,env=A --mount=type=secret,id=token,env=B \
                test \"$A$B\" = of-the-'secret'of-the-'secret' && test ! -e /run/secrets && echo hidden > /seen\n\
            RUN echo $A $B >> /seen\n";
        let files = kit.files(dockerfile, &["--secret", "id=token,src=token"]);
        assert_eq!(files.text("seen"), "hidden\nenv arg\n");
    });
}

// D-171
#[test]
fn a_secret_has_at_most_500_kib() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s > /seen\n";
        kit.write("largest", vec![b'x'; 500 << 10]);
        let files = kit.files(dockerfile, &["--secret", "id=s,src=largest"]);
        assert_eq!(files.text("seen").trim(), (500 << 10).to_string());
        kit.write("larger", vec![b'x'; (500 << 10) + 1]);
        let done = kit.build(dockerfile, &["--no-cache", "--secret", "id=s,src=larger"]);
        drop(done.fails().says("secret `s` is larger than 500 KiB"));
    });
}

// D-167: mode and owner are those asked for, and the file is nobody's to write.
#[test]
fn a_secret_file_has_its_mode_and_owner() {
    with_steps(|kit| {
        kit.write("token", "value");
        let dockerfile = "FROM busybox\n\
            RUN --mount=gid=8,uid=7,mode=0440,target=/deep/er/token,id=token,type=secret \
                stat -c '%a %u:%g' /deep/er/token > /seen; echo x > /deep/er/token || echo closed >> /seen\n";
        let files = kit.files(dockerfile, &["--secret", "id=token,src=token"]);
        assert_eq!(files.text("seen"), "440 7:8\nclosed\n");
        assert!(!files.paths().iter().any(|path| path.starts_with("deep")), "{:?}", files.paths());
    });
}

// D-138, D-140
#[test]
fn a_step_has_the_host_name_that_was_asked_for() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN hostname > /seen; grep -c box /etc/hosts >> /seen; \
            grep -c nameserver /etc/resolv.conf > /servers || true\n";
        let files = kit.files(dockerfile, &["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box"]);
        assert_eq!(files.text("seen"), "box\n1\n");
    });
}

// D-139
#[test]
fn places_of_mounts_leave_no_trace_and_what_a_step_writes_there_stays() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\n\
            RUN mkdir /parent && touch -d '2001-02-03 04:05:06' /parent\n\
            RUN --mount=type=cache,target=/parent/made --mount=type=secret,id=x,target=/parent/absent true\n\
            RUN stat -c %Y /parent > /seen; ls -A /parent >> /seen; ls /etc/hosts /etc/resolv.conf 2>/dev/null >> /seen; true\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.get("parent").mtime, 981_173_106);
        let seen = files.text("seen");
        assert!(seen.starts_with("981173106\n") && !seen.contains("made"), "{seen}");
        assert!(!files.paths().contains(&"etc/hosts") && !files.paths().contains(&"etc/resolv.conf"));
    });
}

// D-141
#[test]
fn a_step_that_fails_says_what_and_how() {
    with_steps(|kit| {
        let done = kit.build("FROM busybox\nRUN [\"sh\", \"-c\", \"exit 42\"]\n", &[]).fails();
        drop(done.says("process \"sh -c exit 42\" did not complete successfully: exit code: 42"));
        let done = kit.build("FROM busybox\nRUN kill -TERM $$\n", &[]).fails();
        drop(done.says("process \"/bin/sh -c kill -TERM $$\" did not complete successfully: exit code: 143"));
    });
}

// D-145, D-177, B-010
#[test]
fn rights_are_dockers_or_all() {
    with_steps(|kit| {
        let step = "grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status | cut -f2 > /seen; \
            (mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt 2>/dev/null) && echo mounted >> /seen; \
            (echo 1 > /proc/sys/kernel/printk) 2>/dev/null; true";
        let files = kit.files(&format!("FROM busybox\nRUN {step}\n"), &[]);
        assert_eq!(files.text("seen"), "00000000a80425fb\n00000000a80425fb\n2\n");
        let insecure = format!("FROM busybox\nRUN --security=insecure {step}\n");
        drop(kit.build(&insecure, &[]).fails().says("security.insecure is not allowed"));
        let files = kit.files(&insecure, &["--allow", "security.insecure"]);
        let seen: Vec<&str> = files.text("seen").lines().collect();
        assert_eq!((seen[1], seen[2], seen[3]), (seen[0], "0", "mounted"), "{seen:?}");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Everything that root has on this machine.
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
        assert_eq!(seen[0], own, "{seen:?}");
        if std::path::Path::new("/dev/loop-control").exists() {
            let device = "FROM busybox\nRUN --security=insecure test -c /dev/loop-control && mknod /n c 1 3 && echo x > /n\n";
            kit.build(device, &["--allow", "security.insecure"]).succeeds();
        }
        drop(kit.build("FROM busybox\nRUN true\n", &["--allow", "everything"]).says("unknown entitlement"));
    });
}
