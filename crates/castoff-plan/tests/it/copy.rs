//! COPY and ADD (section 10).

use crate::build::{build, check};

/// Returns the copy lines of instructions in /w of an image with a stage `a` above it.
fn copies(instructions: &str) -> String {
    let build = build(&format!("FROM alpine AS a\nFROM alpine\nWORKDIR /w\nENV V=val\n{instructions}\n"));
    let words = ["copy", "add", "owner", "chmod", "link", "parents", "exclude", "inline", "unpack"];
    let lines = build.graph();
    let lines = lines
        .lines()
        .map(|line| line.trim_start().trim_start_matches(|c: char| c == 'v' || c.is_ascii_digit()));
    let wanted = lines.map(str::trim_start).filter(|line| words.iter().any(|word| line.starts_with(word)));
    wanted.map(|line| line.to_owned() + "\n").collect()
}

fn errors(instruction: &str) -> String {
    build(&format!("FROM alpine AS a\nFROM alpine\n{instruction}\n")).errors()
}

#[test]
fn destinations_are_absolute_and_keep_their_slash() {
    // D-199.
    for (written, meant) in [
        ("x", "/w/x"),
        ("x/", "/w/x/"),
        (".", "/w/"),
        ("./", "/w/"),
        ("/", "/"),
        ("/x/.", "/x/"),
        ("../y", "/y"),
        ("../../..", "/"),
        ("/a//b/../c/", "/a/c/"),
        ("$V", "/w/val"),
    ] {
        check(&copies(&format!("COPY s {written}")), &format!("copy on v1: v2:s -> {meant}"));
    }
}

#[test]
fn sources_are_kept_as_written_after_expansion() {
    check(&copies("COPY $V/*.txt ./b/ ../c /d/"), "copy on v1: v2:val/*.txt v2:./b/ v2:../c -> /d/");
    check(&copies("COPY [\"a b\", \"/d/\"]"), "copy on v1: v2:a b -> /d/");
    check(&copies("COPY \"\" /d/"), "copy on v1: v2:. -> /d/");
}

#[test]
fn from_is_a_number_a_stage_or_an_image() {
    // D-189.
    check(&copies("COPY --from=0 /x /y"), "copy on v1: v0:/x -> /y");
    check(&copies("COPY --from=A /x /y"), "copy on v1: v0:/x -> /y");
    let build = build("FROM scratch\nCOPY --from=busybox:1 /bin/sh /sh\n");
    check(
        &build.graph_lines(&["v", "name"]),
        "
        v0 scratch
        name: FROM scratch
        v1 image docker.io/library/busybox:1@sha256:... linux/amd64
        name: FROM docker.io/library/busybox:1@sha256:...
        v2 copy on v0: v1:/bin/sh -> /sh
        name: [1/1] COPY --from=busybox:1 /bin/sh /sh
        ",
    );
    // An image is one for the target.
    check(&build.platforms(&["linux/arm64"]).questions(), "docker.io/library/busybox:1 linux/arm64");
    // D-190: a number of a later stage is a forward reference.
    let later =
        crate::build::build("FROM scratch AS a\nCOPY --from=1 / /\nFROM scratch\n").target("a").errors();
    let message = "cannot copy from stage \"1\", it needs to be defined before current stage \"a\" @2 `1`";
    assert!(later.starts_with(message), "{later}");
}

#[test]
fn from_can_be_a_named_context() {
    // D-189: after stages, before images.
    let source = "FROM alpine AS a\nFROM scratch\nCOPY --from=a x /\nCOPY --from=b y /\n";
    let build = build(source).with(|options| {
        options.contexts.insert("b".into(), castoff_plan::NamedContext::Directory);
    });
    check(
        &build.graph_lines(&["v"]),
        "
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v1 scratch
        v2 copy on v1: v0:x -> /
        v3 local context b
        v4 copy on v2: v3:y -> /
        ",
    );
}

#[test]
fn bad_from_fails_even_in_an_unneeded_stage() {
    // D-128, D-062, D-189.
    let first =
        |from: &str| build(&format!("FROM alpine\nCOPY --from={from} /x /y\nFROM scratch\n")).errors();
    check(&first("7"), "invalid stage index 7 @2 `7`");
    check(
        &first("$X"),
        "
        variable expansion is not supported for --from @2 `$X`
          hint: define a stage with `FROM image AS name`, where a global ARG may stand, and use its name
        ",
    );
    let errors = first("UPPER");
    assert!(errors.starts_with("failed to parse stage name \"UPPER\""), "{errors}");
}

#[test]
fn owner_is_user_and_group() {
    // D-213, D-217.
    check(&copies("COPY --chown=u:g s /d"), "copy on v1: v2:s -> /d\nowner: u:g");
    check(&copies("COPY --chown=$V s /d"), "copy on v1: v2:s -> /d\nowner: val");
    check(&copies("COPY --chown=1:2 --link s /d"), "copy on v1: v2:s -> /d\nowner: 1:2\nlink: true");
    check(&errors("COPY --chown=a:b:c s /d"), "invalid chown string: a:b:c @3 `a:b:c`");
    // Live BuildKit: a part that is empty is root.
    check(&copies("COPY --chown=:g s /d"), "copy on v1: v2:s -> /d\nowner: :g");
    check(&copies("COPY --chown=u: s /d"), "copy on v1: v2:s -> /d\nowner: u:");
}

#[test]
fn linked_copy_cannot_look_names_up() {
    // D-220: `root` needs no look.
    check(&copies("COPY --link --chown=root:0 s /d"), "copy on v1: v2:s -> /d\nowner: root:0\nlink: true");
    check(
        &errors("COPY --link --chown=app s /d"),
        "--chown=app names an owner that --link cannot look up @3 `app`\n  hint: use numbers, or drop --link",
    );
}

#[test]
fn mode_is_octal_or_symbolic() {
    // D-215, D-216.
    for (written, meant) in [
        ("755", "0755"),
        ("0", "0000"),
        ("07777", "7777"),
        ("u=rwX,go=rX", "u=rwX,go=rX"),
        ("+x", "+x"),
        ("g=u", "g=u"),
        ("a+X,go-w", "a+X,go-w"),
        ("u+r-w", "u+r-w"),
    ] {
        check(
            &copies(&format!("COPY --chmod={written} s /d")),
            &format!("copy on v1: v2:s -> /d\nchmod: {meant}"),
        );
    }
    for wrong in ["10000", "8", "0x1", "75a", "99999999999999"] {
        check(
            &errors(&format!("COPY --chmod={wrong} s /d")),
            &format!(
                "invalid chmod parameter: '{wrong}'. it should be octal string and between 0 and 07777 @3 `{wrong}`"
            ),
        );
    }
    for wrong in ["rwx", "u=rwz", "u", "u=rw,,g=r"] {
        check(
            &errors(&format!("COPY --chmod={wrong} s /d")),
            &format!(
                "invalid chmod parameter: '{wrong}'. it is neither octal nor like `u=rwX,go=rX` @3 `{wrong}`"
            ),
        );
    }
}

#[test]
fn other_flags_are_handed_on() {
    // D-222, D-227: --exclude is not expanded.
    check(
        &copies("COPY --parents --exclude=*.$V --exclude=!a a/./b /d/"),
        "
        copy on v1: v2:a/./b -> /d/
        parents: true
        exclude: *.$V
        exclude: !a
        ",
    );
    check(&copies("ADD --unpack=false a.tar /d/"), "add on v1: v2:a.tar -> /d/\nunpack: false");
}

#[test]
fn heredocs_are_files_after_the_other_sources() {
    // D-053, D-054.
    check(
        &copies("COPY <<a.txt s <<'b.txt' /d/\n$V \\$V \"q\"\na.txt\n$V\nb.txt"),
        r#"
        copy on v1: v2:s <<a.txt <<b.txt -> /d/
        inline: a.txt "val $V \"q\"\n"
        inline: b.txt "$V\n"
        "#,
    );
    // D-022: the file's escape character means nothing in a body, the backslash always does.
    let build = build("# escape=`\nFROM scratch\nENV V=val\nCOPY <<f /\n\\$V `$V \\\\ \\x\nf\n");
    check(&build.graph_lines(&["inline"]), r#"inline: f "$V `val \\ x\n""#);
}

#[test]
fn quotes_of_a_word_are_removed_where_it_is_expanded() {
    // D-042: a word is split first, so that half a quote is left.
    check(&copies("COPY \"s\" 'd'/\"$V\"/"), "copy on v1: v2:s -> /w/d/val/");
    let errors = errors("COPY \"a b\" /c");
    assert!(errors.contains("looking for matching double-quote"), "{errors}");
    let errors = crate::build::build("FROM scratch\nVOLUME 'a b'\n").errors();
    assert!(errors.contains("looking for matching single-quote"), "{errors}");
    let errors = crate::build::build("FROM scratch\nEXPOSE \"1 2\"\n").errors();
    assert!(errors.contains("looking for matching double-quote"), "{errors}");
}

#[test]
fn a_git_flag_without_a_repository_is_reported() {
    // D-239, D-037.
    let warnings = |instruction: &str| build(&format!("FROM scratch\n{instruction}\n")).warnings();
    let text = "FlagWithoutEffect: --keep-git-dir has no effect: no source is a git repository";
    check(&warnings("ADD --keep-git-dir=true https://example.invalid/x a /x/"), &format!("{text} (line 2)"));
    check(&warnings("ADD --keep-git-dir=false x /"), &format!("{text} (line 2)"));
    check(&warnings("ADD --keep-git-dir a git://example.invalid/x /x/"), "");
    check(&warnings("# check=skip=FlagWithoutEffect\nADD --keep-git-dir a /x/"), "");
}

#[test]
fn heredocs_alone_need_no_context() {
    let build = build("FROM scratch\nCOPY <<x /x\nhi\nx\n");
    check(&build.graph_lines(&["v"]), "v0 scratch\nv1 copy on v0: <<x -> /x");
}

#[test]
fn heredoc_cannot_be_named_with_a_slash() {
    let errors = errors("COPY <<../x /d/\nhi\n../x");
    assert!(errors.starts_with("the delimiter `../x` cannot be the name of a file @3"), "{errors}");
}

#[test]
fn copy_takes_no_remote_source() {
    // D-230, D-231.
    for url in ["http://example.invalid/x", "https://example.invalid/x.tar?y=.git"] {
        check(
            &errors(&format!("COPY {url} /x")),
            &format!("source can't be a URL for COPY @3 `{url}`\n  hint: ADD fetches it"),
        );
    }
    for git in ["https://example.invalid/x.git", "git@example.invalid:x/y"] {
        check(
            &errors(&format!("COPY {git} /x")),
            &format!("source can't be a git ref for COPY @3 `{git}`\n  hint: ADD fetches it"),
        );
    }
    for local in ["github.com/a/b", "./x", "a@b", "x.git"] {
        check(&copies(&format!("ADD {local} /x")), &format!("add on v1: v2:{local} -> /x"));
    }
}

/// Returns the sources and copies of an ADD.
fn fetches(instruction: &str) -> String {
    let build = build(&format!("FROM scratch\n{instruction}\n"));
    build.graph_lines(&["v"])
}

#[test]
fn add_fetches_urls_and_repositories() {
    // D-230, D-236, D-242, D-244, B-221.
    let zeros = "0".repeat(64);
    check(
        &fetches(&format!("ADD --checksum=sha256:{zeros} https://user:word@example.invalid/d/x?y#z /")),
        "v0 scratch\nv1 http https://xxxxx:xxxxx@example.invalid/d/x?y sha256:...\nv2 add on v0: v1:x -> /",
    );
    check(
        &fetches(
            "ADD a https://example.invalid/x.git?branch=b&submodules=false#:s git@example.invalid:x /d/",
        ),
        "v0 scratch\nv1 local context\n\
         v2 git https://example.invalid/x.git#refs/heads/b:s no-submodules\n\
         v3 git git@example.invalid:x\n\
         v4 add on v0: v1:a v2:. v3:. -> /d/",
    );
    check(
        &fetches("ADD --keep-git-dir --checksum=abc git://example.invalid/x /d/"),
        "v0 scratch\nv1 git git://example.invalid/x commit=abc keep-git-dir\nv2 add on v0: v1:. -> /d/",
    );
    // Without a name of its own, a file can only be given one.
    check(
        &fetches("ADD https://example.invalid /x"),
        "v0 scratch\nv1 http https://example.invalid\nv2 add on v0: v1:__unnamed__ -> /x",
    );
    let message = "cannot tell the name of the file from the URL `https://example.invalid/` @3";
    let error = errors("ADD https://example.invalid/ /x/");
    assert!(error.starts_with(message), "{error}");
    // D-239.
    let error = errors("ADD --keep-git-dir=false https://example.invalid/x.git?keep-git-dir=true /x");
    assert!(error.starts_with("keep-git-dir conflicts: \"true\" vs \"false\" @3"), "{error}");
    let error = errors("ADD --checksum=md5:0 https://example.invalid/x /x");
    assert!(error.starts_with("invalid checksum `md5:0` @3"), "{error}");
}

#[test]
fn checksum_needs_one_remote_source() {
    // D-243.
    check(&errors("ADD --checksum=sha256:0 a /x"), "checksum requires HTTP(S) or Git sources @3 `sha256:0`");
    check(
        &errors("ADD --checksum=sha256:0 a b /x/"),
        "checksum can't be specified for multiple sources @3 `sha256:0`",
    );
}

#[test]
fn history_shows_expanded_paths_and_some_flags() {
    // D-298.
    let history = |instruction: &str| {
        let build = build(&format!("FROM alpine AS a\nFROM scratch\nENV V=val\n{instruction}\n"));
        build.history().lines().last().unwrap_or("").split_once(' ').unwrap_or(("", "")).1.to_owned()
    };
    check(&history("COPY $V b x/"), "COPY val b x/ # buildkit");
    check(&history("COPY --from=a --link --exclude=z /b c"), "COPY /b c # buildkit");
    check(
        &history("COPY --chmod=0755 --chown=$V:g --parents b c"),
        "COPY --parents --chown=val:g --chmod=0755 b c # buildkit",
    );
    check(&history("ADD a.tar /"), "ADD a.tar / # buildkit");
    check(&history("COPY <<f b /d/\nx\nf"), "COPY b <<f /d/ # buildkit");
}
