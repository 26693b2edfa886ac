//! COPY, ADD, WORKDIR and ONBUILD, and what of the context is seen.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::kit::{Kit, with_steps, with_steps_as_each_user};

// D-278, D-281 to D-286, D-288, D-289
#[test]
fn ignored_files_are_not_in_the_context() {
    let kit = Kit::new();
    for file in ["keep", "drop.log", "docs/guide", "docs/README.md", "deep/a/b.o", "deep/b.o", "c.o"] {
        kit.write(&format!("context/{file}"), file);
    }
    kit.write(
        "context/.dockerignore",
        "\u{feff}# a comment\n*.log\n docs \n!docs/README.md\n/deep/**/*.o\n\nDockerfile\n",
    );
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let files = kit.files(dockerfile, &[]);
    assert_eq!(files.paths(), [".dockerignore", "c.o", "deep", "deep/a", "docs", "docs/README.md", "keep"]);
    // D-278: the Dockerfile's own list is used alone.
    kit.write("context/Dockerfile.dockerignore", "**\n!keep\n");
    assert_eq!(kit.files(dockerfile, &[]).paths(), ["keep"]);
    kit.write("context/Dockerfile.dockerignore", "[\n");
    kit.build(dockerfile, &[]).fails().says("[");
    kit.write("context/Dockerfile.dockerignore", "!\n");
    kit.build(dockerfile, &[]).fails();
}

// D-280
#[test]
fn a_named_context_has_its_own_ignore_file() {
    let kit = Kit::new();
    kit.write("context/.dockerignore", "shared\n");
    kit.write("context/Dockerfile.dockerignore", "shared\n");
    kit.write("other/Dockerfile.dockerignore", "shared\n");
    kit.write("other/.dockerignore", "hidden\n*.dockerignore\n.dockerignore\n");
    kit.write("other/shared", "");
    kit.write("other/hidden", "");
    let files = kit.files("FROM scratch\nCOPY --from=more . /\n", &["--build-context", "more=other"]);
    assert_eq!(files.paths(), ["shared"]);
}

// D-199 to D-203, D-207 to D-209, D-272
#[test]
fn copies_have_the_shape_that_is_documented() {
    let kit = Kit::new();
    kit.write("context/file", "file");
    kit.write("context/dir/sub/inner", "inner");
    symlink("sub/inner", kit.path("context/dir/link")).unwrap();
    symlink("dir", kit.path("context/alias")).unwrap();
    std::fs::set_permissions(kit.path("context/dir/sub"), Permissions::from_mode(0o2750)).unwrap();
    std::fs::set_permissions(kit.path("context/file"), Permissions::from_mode(0o4711)).unwrap();
    let dockerfile = "FROM scratch\nWORKDIR /w\n\
        COPY file new/name\nCOPY file dir /all/\nCOPY alias/sub .\nCOPY [\"file\", \"/a b/\"]\n\
        COPY ../../file /outside\nCOPY nothing* /none/\n";
    let files = kit.files(dockerfile, &[]);
    assert_eq!(files.look("w/new"), "d0755 0:0");
    assert_eq!(files.look("w/new/name"), "-4711 0:0");
    assert_eq!(files.look("all/file"), "-4711 0:0");
    assert_eq!(files.look("all/sub"), "d2750 0:0");
    assert_eq!((files.get("all/link").kind, files.get("all/link").link.as_str()), ('l', "sub/inner"));
    assert_eq!(files.text("w/inner"), "inner");
    assert_eq!(files.text("a b/file"), "file");
    assert_eq!(files.text("outside"), "file");
    assert!(!files.paths().contains(&"all/dir"));
}

// D-205, D-206
#[test]
fn copies_replace_what_is_there() {
    with_steps(|kit| {
        kit.write("context/file", "new");
        kit.write("context/dir/inner", "new");
        let base = "FROM busybox\nRUN echo old > /file && ln /file /twin && mkdir -p /real/d && ln -s /real /abs && \
            ln -s missing /dangling\n";
        let files = kit.files(&format!("{base}COPY file /file\nCOPY dir /abs\nCOPY dir /dangling/\n"), &[]);
        assert_eq!((files.text("file"), files.text("twin")), ("new", "old\n"));
        assert_eq!((files.get("abs").kind, files.text("real/inner")), ('l', "new"));
        assert_eq!((files.get("dangling").kind, files.text("missing/inner")), ('l', "new"));
        kit.write("context/tree/real", "a file");
        kit.build(&format!("{base}COPY tree /\n"), &[]).fails().says("cannot replace to directory");
        kit.write("context/other/file/x", "");
        kit.build(&format!("{base}COPY other /\n"), &[]).fails().says("cannot copy to non-directory");
    });
}

// D-202, D-213 to D-217
#[test]
fn owners_and_modes_are_set_as_asked() {
    with_steps_as_each_user(|kit| {
        kit.write("context/dir/file", "");
        std::fs::set_permissions(kit.path("context/dir/file"), Permissions::from_mode(0o640)).unwrap();
        kit.own_all();
        let dockerfile = "FROM busybox\n\
            COPY --chown=app dir /name/new/\n\
            COPY --chown=app:extra dir /group/\n\
            COPY --chown=12 dir /number/\n\
            COPY --chown=12:34 --chmod=0751 dir /both/new/\n\
            COPY --chmod=u=rwX,go=rX dir /symbolic/\n\
            COPY --chmod=+x dir/file /\n\
            RUN chown 5:6 /number/file && chmod 4755 /number/file\n\
            COPY --from=busybox etc/passwd /etc/again\n";
        let many = kit.user.has_many_ids();
        let dockerfile =
            if many { dockerfile.to_owned() } else { dockerfile.replace("chown 5:6 /number/file && ", "") };
        let files = kit.files(&dockerfile, &[]);
        assert_eq!(
            (files.look("name"), files.look("name/new/file")),
            ("d0755 1000:1000".into(), "-0640 1000:1000".into())
        );
        assert_eq!(files.look("group/file"), "-0640 1000:2000");
        assert_eq!(files.look("number/file"), if many { "-4755 5:6" } else { "-4755 12:12" });
        assert_eq!(
            (files.look("both"), files.look("both/new/file")),
            ("d0751 12:34".into(), "-0751 12:34".into())
        );
        assert_eq!(files.look("symbolic/file"), "-0644 0:0");
        assert_eq!(files.look("file"), "-0751 0:0");
        assert_eq!(files.look("etc/again"), "-0644 0:0");
        kit.build("FROM busybox\nCOPY --chown=stranger dir /\n", &[]).fails().says("stranger");
        kit.build("FROM busybox\nCOPY --chmod=9999 dir /\n", &[]).fails().says("it should be octal string");
    });
}

// D-313: the same name may be another owner, whatever the files that are copied.
#[test]
fn owners_by_name_follow_the_users_of_the_image() {
    with_steps(|kit| {
        if !kit.user.has_many_ids() {
            return;
        }
        kit.write("context/file", "");
        let owner = |line: &str| {
            let dockerfile = format!(
                "FROM busybox AS users\nRUN echo {line} >> /etc/passwd\nFROM scratch\n\
                COPY --from=users /etc/passwd /etc/passwd\nCOPY --chown=new file /x\n"
            );
            kit.files(&dockerfile, &[]).look("x")
        };
        assert_eq!(owner("new:x:50:51::/:/bin/sh"), "-0644 50:51");
        assert_eq!(owner("new:x:60:61::/:/bin/sh"), "-0644 60:61");
        assert_eq!(owner("new:x:50:51::/:/bin/sh"), "-0644 50:51");
    });
}

// D-209
#[test]
fn copies_from_stages_keep_their_owners() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS a\nRUN mkdir -m 700 /d && touch /d/f && chown -R 7:8 /d && chmod 2711 /d/f\n\
            FROM scratch\nUSER 99\nCOPY --from=a /d /copied/\nCOPY --from=a /d/f /x/\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!((files.look("copied"), files.look("copied/f")), ("d0755 0:0".into(), "-2711 7:8".into()));
        assert_eq!(files.look("x/f"), "-2711 7:8");
    });
}

// D-218, D-219
#[test]
fn linked_copies_do_not_depend_on_what_is_below() {
    with_steps(|kit| {
        kit.write("context/file", "linked");
        let dockerfile = |base: &str| {
            format!(
                "FROM busybox\nRUN {base}\nCOPY --link file /into/deep/\nRUN cat /into/deep/file > /seen\n"
            )
        };
        let files = kit.files(&dockerfile("ln -s /tmp /into"), &[]);
        assert_eq!(
            (files.get("into").kind, files.text("into/deep/file"), files.text("seen")),
            ('d', "linked", "linked")
        );
        let done = kit.build(&dockerfile("mkdir -m 700 /into"), &[]).succeeds();
        assert_eq!(done.cached(), ["LINK COPY --link file /into/deep/"], "{}", done.stderr);
        kit.build("FROM scratch\nCOPY --link --chown=app file /\n", &[]).fails().says("--chown");
    });
}

// D-222 to D-224, D-227
#[test]
fn parents_and_exclusions_are_as_documented() {
    let kit = Kit::new();
    for file in ["a/b/one.txt", "a/b/two.md", "a/c/one.txt", "top.txt"] {
        kit.write(&format!("context/{file}"), file);
    }
    let files = kit.files(
        "FROM scratch\nCOPY --parents a/**/*.txt /parents/\nCOPY --parents a/./b/two.md /pivot/\n\
         COPY --exclude=**/*.txt --exclude=Dockerfile . /rest/\n",
        &[],
    );
    let expected = [
        "parents",
        "parents/a",
        "parents/a/b",
        "parents/a/b/one.txt",
        "parents/a/c",
        "parents/a/c/one.txt",
        "pivot",
        "pivot/b",
        "pivot/b/two.md",
        "rest",
        "rest/a",
        "rest/a/b",
        "rest/a/b/two.md",
        "rest/a/c",
    ];
    assert_eq!(files.paths(), expected);
}

// D-204, D-228
#[test]
fn what_is_copied_otherwise_than_it_seems_is_said() {
    let kit = Kit::new();
    for file in ["a", "b", "dir/keep", "dir/drop.txt"] {
        kit.write(&format!("context/{file}"), file);
    }
    let done = kit.build("FROM scratch\nCOPY a b /file\n", &["-o", "-"]).succeeds();
    let done = done.says("several sources have a file that becomes `/file`: the last one is kept (line 2)");
    assert_eq!(super::kit::Files::read(&done.stdout).text("file"), "b");
    // It is no less true of a step whose result is there.
    let done = kit.build("FROM scratch\nCOPY a b /file\n", &["--progress=plain"]).succeeds();
    assert_eq!(done.cached(), ["COPY a b /file"]);
    drop(done.says("several sources have a file that becomes `/file`: the last one is kept"));
    let excluding = "FROM scratch\nCOPY --exclude=a --exclude=*.txt a dir /x/\n";
    let done = kit.build(excluding, &["-o", "-"]).succeeds();
    let done = done.says("--exclude names `/a`, but leaves out only what is below a source (line 2)");
    assert_eq!(super::kit::Files::read(&done.stdout).paths(), ["x", "x/a", "x/keep"]);
    kit.build("FROM scratch\nCOPY --exclude=*.txt a dir /y/\n", &[]).succeeds().never_says("WARN");
}

// D-232 to D-234
#[test]
fn add_unpacks_archives() {
    let kit = Kit::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o751);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(12345);
    header.set_size(4);
    archive.append_data(&mut header, "in/side", &b"text"[..]).unwrap();
    kit.write("context/archive", archive.into_inner().unwrap());
    kit.write("context/not.tar", "only the name");
    let files = kit.files("FROM scratch\nADD archive not.tar /x\nADD --unpack=false archive /kept/\n", &[]);
    assert_eq!((files.look("x/in/side"), files.text("x/in/side")), ("-0751 7:8".into(), "text"));
    assert_eq!(files.get("x/in/side").mtime, 12345);
    assert_eq!(files.text("x/not.tar"), "only the name");
    assert!(files.paths().contains(&"kept/archive"));
    kit.build("FROM scratch\nCOPY https://example.invalid/x /\n", &[])
        .fails()
        .says("source can't be a URL for COPY");
}

// D-245 to D-248
#[test]
fn working_directories_are_made_for_their_user() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nWORKDIR /a/../b//c/\nUSER app:extra\nWORKDIR d\nUSER 0\nWORKDIR /tmp\nRUN pwd > seen\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!((files.look("b"), files.look("b/c")), ("d0755 0:0".into(), "d0755 0:0".into()));
        assert_eq!(files.look("b/c/d"), "d0755 1000:2000");
        assert_eq!((files.look("tmp"), files.text("tmp/seen")), ("d1777 0:0".into(), "/tmp\n"));
    });
}

// D-266, D-268 to D-270
#[test]
fn triggers_run_in_the_image_that_is_built_on_theirs() {
    with_steps(|kit| {
        let base = "FROM busybox\nONBUILD COPY file /triggered\nONBUILD RUN cat /triggered > /seen\n\
            ONBUILD COPY --from=tools /tool /\nRUN test ! -e /seen\n";
        kit.build(base, &["-t", "base"]).succeeds();
        kit.write("context/file", "downstream\n");
        let dockerfile = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM base\nRUN cat /tool >> /seen\n";
        let done = kit.build(dockerfile, &["-t", "child"]).succeeds();
        assert!(done.stderr.contains("] ONBUILD RUN cat /triggered > /seen"), "{}", done.stderr);
        assert_eq!(kit.castoff(&["run", "child", "cat", "/seen"]).succeeds().text(), "downstream\ntool\n");
        assert_eq!(kit.inspect("child")["Config"]["OnBuild"], serde_json::json!(null));
        let grandchild = kit.build("FROM child\nRUN true\n", &[]).succeeds();
        assert_eq!(grandchild.executed(), ["RUN true"]);
    });
}

// Whatever a RUN does to files is in the image exactly (B-197).
#[test]
fn what_a_step_does_to_files_is_in_the_image() {
    with_steps_as_each_user(|kit| {
        let dockerfile = "FROM busybox AS a\n\
            RUN mkdir -p /t/gone /t/opaque /t/kept && touch /t/gone/x /t/opaque/old /t/kept/x /t/file && \
                echo data > /t/one && ln /t/one /t/two && ln -s one /t/link && mkfifo /t/pipe && \
                cp /bin/true /t/setuid && chmod 4711 /t/setuid && mkdir -m 3770 /t/sticky && touch -d @1000000007 /t/file\n\
            RUN rm -r /t/gone && rm -r /t/opaque && mkdir /t/opaque && touch /t/opaque/new && \
                rm /t/file && mkdir /t/file && mv /t/kept/x /t/moved && rm /etc/group\n";
        let files = kit.files(dockerfile, &["-t", "changed"]);
        let in_t: Vec<&str> = files.paths().into_iter().filter(|path| path.starts_with("t/")).collect();
        let expected = [
            "t/file",
            "t/kept",
            "t/link",
            "t/moved",
            "t/one",
            "t/opaque",
            "t/opaque/new",
            "t/pipe",
            "t/setuid",
            "t/sticky",
            "t/two",
        ];
        assert_eq!(in_t, expected);
        assert_eq!(
            (files.look("t/setuid"), files.look("t/sticky")),
            ("-4711 0:0".into(), "d3770 0:0".into())
        );
        assert_eq!((files.get("t/pipe").kind, files.get("t/file").kind), ('p', 'd'));
        let (one, two) = (files.get("t/one"), files.get("t/two"));
        assert_eq!((one.kind, two.kind, two.link.as_str()), ('-', 'h', "t/one"));
        assert_eq!(files.text("t/one"), "data\n");
        assert!(!files.paths().contains(&"etc/group"));

        // The same through layers: an archive, another store, and a step on top of it.
        kit.build(dockerfile, &["-t", "changed"]).succeeds();
        kit.castoff(&["save", "-o", "changed.tar", "changed"]).succeeds();
        let other = kit.another();
        let archive = std::fs::read(kit.path("changed.tar")).unwrap();
        other.castoff_reading(&["load"], &archive).succeeds();
        let again = other.files("FROM changed\nRUN test ! -e /t/gone && test ! -e /t/opaque/old\n", &[]);
        let of = |files: &super::kit::Files| {
            let mut files = files.0.clone();
            files.retain(|path, _| path.starts_with("t/"));
            files
        };
        assert_eq!(of(&again), of(&files));
    });
}

// B-111: what was deleted is a whiteout in the layer that deleted it.
#[test]
fn every_layer_has_what_its_instruction_changed() {
    with_steps(|kit| {
        let dockerfile =
            "FROM busybox\nRUN mkdir /d && touch /d/x /d/y\nRUN rm /d/x && rm -r /home\nRUN true\n";
        kit.build(dockerfile, &["-t", "layers"]).succeeds();
        kit.castoff(&["save", "-o", "layers.tar", "layers"]).succeeds();
        let layers = super::kit::layers(&kit.path("layers.tar"));
        let paths: Vec<Vec<&str>> = layers.iter().map(|layer| layer.paths()).collect();
        assert_eq!(paths[1..], [vec!["d", "d/x", "d/y"], vec![".wh.home", "d", "d/.wh.x"], vec![]]);
    });
}
