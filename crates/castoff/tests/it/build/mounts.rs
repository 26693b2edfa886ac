//! RUN --mount, networks, and what a step sees of its machine.

use super::kit::{with_steps, with_steps_as_each_user};

// D-157, D-158, D-164
#[test]
fn cache_mounts_stay_between_builds_and_out_of_images() {
    with_steps_as_each_user(|kit| {
        let dockerfile = |text: &str| {
            format!(
                "FROM busybox\nRUN --mount=type=cache,target=/var/cache/x \
                 echo {text} >> /var/cache/x/log; cp /var/cache/x/log /log\n"
            )
        };
        assert_eq!(kit.files(&dockerfile("one"), &[]).text("log"), "one\n");
        let files = kit.files(&dockerfile("two"), &[]);
        assert_eq!(files.text("log"), "one\ntwo\n");
        assert!(!files.paths().contains(&"var/cache/x/log"));
        // D-139
        assert!(!files.paths().contains(&"var/cache"), "{:?}", files.paths());
        // A hit leaves it alone.
        kit.build(&dockerfile("two"), &[]).succeeds();
        assert_eq!(kit.files(&dockerfile("three"), &[]).text("log"), "one\ntwo\nthree\n");
        // D-163
        assert_eq!(kit.files(&dockerfile("four"), &["--no-cache"]).text("log"), "four\n");
    });
}

// D-159: with `locked` the second waits, so it sees what the first wrote last; each adds its line only after
// it has seen that nobody else is inside.
#[test]
fn locked_cache_mounts_have_one_writer() {
    with_steps(|kit| {
        let stage = |name: &str| {
            format!(
                "FROM busybox AS {name}\n\
                 RUN --mount=type=cache,id=l,target=/l,sharing=locked \
                 mkdir /l/inside && sleep 0.2 && rmdir /l/inside && echo {name} >> /l/log && cp /l/log /{name}\n"
            )
        };
        let dockerfile = stage("one")
            + &stage("two")
            + &stage("three")
            + "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\nCOPY --from=three /three /\n";
        let files = kit.files(&dockerfile, &["--jobs", "3"]);
        let mut counts: Vec<usize> =
            ["one", "two", "three"].iter().map(|name| files.text(name).lines().count()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 3]);
    });
}

// D-159
#[test]
fn private_cache_mounts_are_not_shared_at_one_time() {
    with_steps(|kit| {
        let stage = |name: &str, other: &str| {
            format!(
                "FROM busybox AS {name}\n\
                 RUN --mount=type=cache,id=p,target=/p,sharing=private --mount=type=cache,id=m,target=/m \
                 touch /p/{name} /m/{name}; tries=0; \
                 until [ -e /m/{other} ]; do tries=$((tries+1)); [ $tries -lt 200 ] || exit 9; sleep 0.05; done; \
                 ls /p > /{name}\n"
            )
        };
        let dockerfile = stage("one", "two")
            + &stage("two", "one")
            + "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n";
        let files = kit.files(&dockerfile, &["--jobs", "2"]);
        assert_eq!((files.text("one"), files.text("two")), ("one\n", "two\n"));
    });
}

// D-160, D-161
#[test]
fn cache_mounts_begin_as_they_are_told() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS seed\nRUN mkdir -p /seed/d && echo seed > /seed/d/file\n\
            FROM busybox\n\
            RUN --mount=type=cache,target=/c,from=seed,source=/seed --mount=type=cache,target=/m,mode=0700,uid=3,gid=4 \
                cat /c/d/file > /seen && stat -c '%a %u:%g' /m >> /seen\n";
        if kit.user.has_many_ids() {
            assert_eq!(kit.files(dockerfile, &[]).text("seen"), "seed\n700 3:4\n");
        }
    });
}

// D-154, D-155, D-156
#[test]
fn bind_mounts_show_stages_and_the_context() {
    with_steps_as_each_user(|kit| {
        kit.write("context/dir/file", "context\n");
        let dockerfile = "FROM busybox AS stage\nRUN mkdir /made && echo stage > /made/file\n\
            FROM busybox\n\
            RUN --mount=target=/ctx --mount=from=stage,source=/made,target=/stage \
                --mount=source=dir/file,target=/one,type=bind \
                cat /ctx/dir/file /stage/file /one > /seen; \
                touch /ctx/new 2>/dev/null && exit 8; touch /stage/new 2>/dev/null && exit 9; true\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("seen"), "context\nstage\ncontext\n");
        for stub in ["ctx", "stage", "one"] {
            assert!(!files.paths().contains(&stub), "{stub}");
        }
        kit.build("FROM busybox\nRUN --mount=source=absent,target=/x true\n", &[]).fails().says("absent");
    });
}

// D-154
#[test]
fn writes_to_bind_mounts_are_discarded() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "old\n");
        kit.own_all();
        let dockerfile = "FROM busybox AS stage\nRUN mkdir /made && echo old > /made/file\n\
            FROM busybox\n\
            RUN --mount=target=/ctx,rw --mount=from=stage,source=/made,target=/stage,readwrite \
                echo new > /ctx/file && echo new > /stage/file && rm /ctx/Dockerfile && \
                cat /ctx/file /stage/file > /seen\n\
            COPY --from=stage /made/file /stage-file\n\
            COPY file /context-file\n\
            RUN --mount=from=stage,source=/made,target=/stage cat /stage/file > /again\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("seen"), "new\nnew\n");
        assert_eq!(
            (files.text("stage-file"), files.text("context-file"), files.text("again")),
            ("old\n", "old\n", "old\n")
        );
        assert_eq!(kit.read("context/file"), "old\n");
        assert!(kit.path("context/Dockerfile").exists());
    });
}

// D-310
#[test]
fn bind_mounts_count_by_what_they_show() {
    with_steps(|kit| {
        kit.write("context/used/file", "1");
        let dockerfile = "FROM busybox\nRUN --mount=source=used,target=/u cat /u/file > /copy\n";
        kit.build(dockerfile, &[]).succeeds();
        kit.write("context/unused", "");
        assert_eq!(kit.build(dockerfile, &[]).succeeds().executed(), Vec::<&str>::new());
        kit.write("context/used/file", "2");
        assert_eq!(kit.files(dockerfile, &[]).text("copy"), "2");
        // The same of a stage.
        let dockerfile = "FROM scratch AS made\nCOPY used /used\nCOPY other /other\n\
            FROM busybox\nRUN --mount=from=made,source=used,target=/u,rw cat /u/file > /copy\n";
        kit.write("context/other", "1");
        kit.build(dockerfile, &[]).succeeds();
        kit.write("context/other", "2");
        assert_eq!(kit.build(dockerfile, &[]).succeeds().executed(), ["COPY other /other"]);
        kit.write("context/used/file", "3");
        assert_eq!(kit.files(dockerfile, &[]).text("copy"), "3");
    });
}

// D-165
#[test]
fn tmpfs_mounts_are_empty_and_forgotten() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nRUN mkdir /t && touch /t/hidden\n\
            RUN --mount=type=tmpfs,target=/t,size=1m ls -A /t > /seen && touch /t/new && \
                grep ' /t tmpfs' /proc/mounts | grep -o size=1024k >> /seen\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("seen"), "size=1024k\n");
        assert!(files.paths().contains(&"t/hidden") && !files.paths().contains(&"t/new"));
    });
}

// D-175, B-025, B-199
#[test]
fn a_step_without_network_has_only_itself() {
    with_steps_as_each_user(|kit| {
        let step = "ip -o link | cut -d: -f2 > /links";
        let files = kit.files(&format!("FROM busybox\nRUN --network=none {step}\n"), &[]);
        assert_eq!(files.text("links"), " lo\n");
        let files =
            kit.files(&format!("FROM busybox\nRUN --network=default {step}\n"), &["--network", "none"]);
        assert_eq!(files.text("links"), " lo\n");
    });
    with_steps(|kit| {
        kit.build("FROM busybox\nRUN --network=host true\n", &[]).fails().says("network.host is not allowed");
        kit.build("FROM busybox\nRUN --network=host true\n", &["--allow", "network.host"]).succeeds();
        kit.build("FROM busybox\nRUN --network=bridge true\n", &[]).fails().says("invalid network mode");
    });
}

// D-137 to D-140, D-144, B-009
#[test]
fn a_step_has_its_own_machine() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\n\
            WORKDIR /made/for/it\n\
            RUN hostname > h; umask > u; id > i; pwd > p; wc -c < /proc/self/fd/0 > in; \
                grep -c . /etc/hosts > n; cat /etc/hosts > hosts; ls /dev > dev; echo $$ > pid; touch /dev/shm/x\n";
        let files = kit.files(dockerfile, &["--add-host", "elsewhere:192.0.2.7"]);
        let text = |name: &str| files.text(&format!("made/for/it/{name}")).trim();
        assert_eq!(
            (text("h"), text("u"), text("p"), text("in")),
            ("buildkitsandbox", "0022", "/made/for/it", "0")
        );
        assert!(text("i").starts_with("uid=0(root) gid=0(root)"), "{}", text("i"));
        for line in ["127.0.0.1\tlocalhost", "192.0.2.7\telsewhere", "buildkitsandbox"] {
            assert!(text("hosts").contains(line), "{line}: {}", text("hosts"));
        }
        for device in ["null", "zero", "urandom", "full", "tty"] {
            assert!(text("dev").lines().any(|line| line == device), "{device}: {}", text("dev"));
        }
        let below = |directory: &str| files.paths().into_iter().any(|path| path.starts_with(directory));
        assert!(!below("dev/") && !below("proc/") && !below("sys/"), "{:?}", files.paths());
        assert!(!files.paths().contains(&"etc/hosts"), "{:?}", files.paths());
        assert!(!files.paths().contains(&"etc/resolv.conf"), "{:?}", files.paths());
    });
}

// D-142
#[test]
fn processes_left_behind_end_with_the_step() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c \
            (trap '' HUP TERM; sleep 0.3; touch /c/late) & true\n\
            RUN --mount=type=cache,target=/c sleep 0.6; ls /c > /seen\n";
        assert_eq!(kit.files(dockerfile, &[]).text("seen"), "");
    });
}

// D-253
#[test]
fn steps_run_as_their_user() {
    with_steps(|kit| {
        let step = |user: &str, name: &str| {
            format!(
                "USER {user}\nRUN id -u > /tmp/{name} && id -g >> /tmp/{name} && id -G >> /tmp/{name} && echo $HOME >> /tmp/{name}\n"
            )
        };
        let dockerfile = "FROM busybox\n".to_owned()
            + &step("app", "name")
            + &step("1000", "number")
            + &step("4242", "unknown")
            + &step("app:extra", "group")
            + &step("7:8", "both")
            + "RUN touch /root/denied || true\n";
        let files = kit.files(&dockerfile, &[]);
        let text = |name: &str| files.text(&format!("tmp/{name}")).replace('\n', " ");
        assert_eq!(text("name"), "1000 1000 1000 2000 /home/app ");
        assert_eq!(text("number"), text("name"));
        assert_eq!(text("unknown"), "4242 0 0 / ");
        assert_eq!(text("group"), "1000 2000 2000 /home/app ");
        assert_eq!(text("both"), "7 8 8 / ");
        assert!(!files.paths().contains(&"root/denied"));
        assert_eq!(files.look("tmp/both"), "-0644 7:8");
    });
}

// B-038, B-041
#[test]
fn limits_of_the_command_line_hold() {
    with_steps(|kit| {
        let dockerfile =
            "FROM busybox\nRUN ulimit -n > /n; df -k /dev/shm | tail -1 | awk '{print $2}' > /shm\n";
        let files = kit.files(dockerfile, &["--ulimit", "nofile=123:456", "--shm-size", "8m"]);
        assert_eq!((files.text("n"), files.text("shm")), ("123\n", "8192\n"));
    });
}

// D-048, D-049, D-051 to D-054, D-056, D-057, D-058
#[test]
fn heredocs_are_scripts_and_files() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\nARG WHO=world\n\
            RUN <<EOF\necho \"hello $WHO\" > /script\n# a comment\ncat >> /script <<INNER\n  inner\nINNER\nEOF\n\
            RUN <<'EOF' sh -s\necho shell $WHO > /shell\nEOF\n\
            RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/awk\" }\nEOF\n\
            RUN cat <<A - <<B > /two\na\nA\nb\nB\n\
            RUN <<script\n#!/bin/sh\necho $0 $(stat -c %a $0) > /about\n(echo x >> $0) 2> /dev/null || echo same >> /about\nscript\n\
            RUN test ! -e /dev/pipes && echo gone >> /about\n\
            COPY <<file.txt <<-'raw' /copied/\n$WHO \\$WHO\nfile.txt\n\t$WHO\n\traw\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("script"), "hello world\n  inner\n");
        assert_eq!(files.text("shell"), "shell world\n");
        assert_eq!(files.text("awk"), "awk\n");
        assert_eq!(files.text("about"), "/dev/pipes/script 755\nsame\ngone\n");
        assert_eq!(files.text("copied/file.txt"), "world $WHO\n");
        assert_eq!(files.text("copied/raw"), "$WHO\n");
        assert_eq!(files.look("copied/raw"), "-0644 0:0");
        assert!(!files.paths().iter().any(|path| path.starts_with("dev")), "{:?}", files.paths());
    });
}
