//! RUN --mount=type=cache: what is shared with whom, and what is not.

use super::kit::{Done, Kit, with_steps, with_steps_as_each_user};

// D-162
#[test]
fn a_source_in_a_cache_never_leads_out_of_it() {
    with_steps_as_each_user(|kit| {
        let fill = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c mkdir -p /c/in/deep && echo in > /c/in/file && \
            ln -s in /c/link && ln -s ../in /c/in/back && ln -s / /c/root && ln -s /etc /c/etc && ln -s .. /c/up && \
            ln -s in/deep/../../.. /c/far\n";
        kit.build(fill, &[]).succeeds();
        let step = |source: &str| {
            format!(
                "FROM busybox\nRUN --mount=type=cache,id=c,source={source},target=/s cat /s/file > /seen\n"
            )
        };
        for source in ["in", "/in", "link", "in/back", "in/deep/.."] {
            assert_eq!(kit.files(&step(source), &[]).text("seen"), "in\n", "{source}");
        }
        for source in ["root", "etc", "up", "far", "root/etc", "up/0", "link/../up"] {
            drop(kit.build(&step(source), &[]).fails().says("leads out of its directory"));
        }
        drop(kit.build(&step("absent"), &[]).fails().says("absent"));
        // A part of a cache is the cache's own.
        let write = "FROM busybox\nRUN --mount=type=cache,id=c,source=in,target=/s echo new > /s/new\n\
            RUN --mount=type=cache,id=c,target=/c cat /c/in/new > /seen\n";
        assert_eq!(kit.files(write, &[]).text("seen"), "new\n");
    });
}

// D-157, D-158: by id and not by target; the target is the id where there is none.
#[test]
fn caches_are_known_by_their_ids() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=cache,id=one,target=/a echo one > /a/file\n\
            RUN --mount=type=cache,target=/c/ echo own > /c/file\n\
            RUN --mount=type=cache,id=one,target=/b --mount=type=cache,id=two,target=/a --mount=id=/c,target=/d,type=cache \
                cat /b/file /d/file > /seen && ls /a >> /seen\n\
            RUN --mount=type=cache,id=one,target=/a,ro if touch /a/new 2>/dev/null; then exit 9; fi; cat /a/file >> /seen\n";
        assert_eq!(kit.files(dockerfile, &[]).text("seen"), "one\nown\none\n");
    });
}

// D-100, D-158
#[test]
fn namespaces_keep_caches_apart() {
    with_steps(|kit| {
        let dockerfile = |text: &str| {
            format!(
                "FROM busybox\nRUN --mount=type=cache,target=/c echo {text} >> /c/log && cp /c/log /log\n"
            )
        };
        let log = |text: &str, namespace: &[&str]| {
            let flags: Vec<String> =
                namespace.iter().map(|name| format!("--build-arg=BUILDKIT_CACHE_MOUNT_NS={name}")).collect();
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            kit.files(&dockerfile(text), &flags).text("log").to_owned()
        };
        assert_eq!(log("1", &[]), "1\n");
        assert_eq!(log("2", &["a"]), "2\n");
        assert_eq!(log("3", &["b"]), "3\n");
        assert_eq!(log("4", &["a"]), "2\n4\n");
        assert_eq!(log("5", &[]), "1\n5\n");
    });
}

// D-160
#[test]
fn caches_that_begin_differently_are_different() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS a\nRUN mkdir /s && echo a > /s/file\n\
            FROM busybox AS b\nRUN mkdir /s && echo b > /s/file\n\
            FROM busybox\n\
            RUN --mount=type=cache,id=x,target=/c,from=a,source=s cat /c/file > /seen && echo changed > /c/file\n\
            RUN --mount=type=cache,id=x,target=/c,from=b,source=s cat /c/file >> /seen\n\
            RUN --mount=type=cache,id=x,target=/c ls /c >> /seen\n\
            RUN --mount=source=/s,from=a,target=/c,id=x,type=cache cat /c/file >> /seen\n";
        assert_eq!(kit.files(dockerfile, &[]).text("seen"), "a\nb\nchanged\n");
        let absent =
            "FROM busybox AS a\nFROM busybox\nRUN --mount=type=cache,target=/c,from=a,source=none true\n";
        drop(kit.build(absent, &[]).fails().says("none"));
    });
}

// D-163
#[test]
fn a_filter_empties_the_caches_of_its_stage_alone() {
    with_steps(|kit| {
        let dockerfile = |text: &str| {
            let stage = |name: &str| {
                format!(
                    "FROM busybox AS {name}\n\
                     RUN --mount=type=cache,id={name},target=/c echo {text} >> /c/log && cp /c/log /{name}\n"
                )
            };
            stage("one") + &stage("two") + "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
        };
        kit.build(&dockerfile("a"), &[]).succeeds();
        let files = kit.files(&dockerfile("b"), &["--no-cache-filter", "one"]);
        assert_eq!((files.text("one"), files.text("two")), ("b\n", "a\nb\n"));
    });
}

/// Starts two castoff processes that build the same store's caches at one time, and returns what each says.
fn both(kit: &Kit, step: &dyn Fn(&str, &str) -> String) -> [Done; 2] {
    let names = [("one", "two"), ("two", "one")];
    let children = names.map(|(name, other)| {
        kit.write(&format!("{name}/Dockerfile"), format!("FROM busybox\n{}", step(name, other)));
        kit.command(["build", "-o", "type=tar,dest=-", name]).spawn().unwrap()
    });
    children.map(|child| Done::wait(child).succeeds())
}

fn seen(done: &Done) -> String {
    super::kit::Files::read(&done.stdout).text("seen").to_owned()
}

// D-159: both are inside at once, because each waits for the other.
#[test]
fn two_processes_share_a_cache() {
    with_steps(|kit| {
        let done = both(kit, &|name, other| {
            format!(
                "RUN --mount=type=cache,id=s,target=/s touch /s/{name}; tries=0; \
                 until [ -e /s/{other} ]; do tries=$((tries+1)); [ $tries -lt 400 ] || exit 9; sleep 0.05; done; \
                 ls /s > /seen\n"
            )
        });
        assert_eq!(done.map(|done| seen(&done)), ["one\ntwo\n", "one\ntwo\n"]);
    });
}

// D-159: the second comes in when the first has left.
#[test]
fn two_processes_take_turns_in_a_locked_cache() {
    with_steps(|kit| {
        let done = both(kit, &|name, _| {
            format!(
                "RUN --mount=type=cache,id=l,target=/l,sharing=locked \
                 mkdir /l/inside && sleep 0.2 && rmdir /l/inside && echo {name} >> /l/log && wc -l < /l/log > /seen\n"
            )
        });
        let mut counts = done.map(|done| seen(&done));
        counts.sort();
        assert_eq!(counts, ["1\n", "2\n"]);
    });
}

// D-159: each has a cache of its own, though both are inside at once.
#[test]
fn two_processes_have_private_caches() {
    with_steps(|kit| {
        let done = both(kit, &|name, other| {
            format!(
                "RUN --mount=type=cache,id=p,target=/p,sharing=private --mount=type=cache,id=m,target=/m \
                 touch /p/{name} /m/{name}; tries=0; \
                 until [ -e /m/{other} ]; do tries=$((tries+1)); [ $tries -lt 400 ] || exit 9; sleep 0.05; done; \
                 ls /p > /seen\n"
            )
        });
        assert_eq!(done.map(|done| seen(&done)), ["one\n", "two\n"]);
    });
}
