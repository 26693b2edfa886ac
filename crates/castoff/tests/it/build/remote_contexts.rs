//! Contexts that are no directory of this machine: archives, git repositories, what a server has.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tar::EntryType::{Link, Regular, Symlink};

use super::kit::{Files, Kit, with_steps};
use super::repository::{COMMITTED, Repositories};
use crate::server::{Answer, Server};

/// An entry: path, kind, content or target.
type Entry<'a> = (&'a str, tar::EntryType, &'a str);

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Returns a tar of files of 7:8. The names are written as they are.
fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(COMMITTED as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if *kind == Regular {
            header.set_size(content.len() as u64);
        } else {
            header.set_size(0);
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        archive.append(&header, if *kind == Regular { content.as_bytes() } else { b"" }).unwrap();
    }
    archive.into_inner().unwrap()
}

fn example() -> Vec<u8> {
    tar(&[
        ("Dockerfile", Regular, "FROM scratch\nCOPY in/file hidden /\n"),
        ("in/file", Regular, "archived"),
        ("hidden", Regular, "h"),
        (".dockerignore", Regular, "hidden\n"),
        ("other/D", Regular, "FROM scratch\nCOPY in /other\n"),
    ])
}

/// Compresses with a program of this machine.
fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

// B-061, B-062, B-045, D-279
#[test]
fn an_archive_on_standard_input_is_a_context() {
    let kit = Kit::new();
    let files = |words: &[&str], input: &[u8]| {
        let done = kit.castoff_reading(&[&["build", "-o", "-"], words].concat(), input).succeeds();
        Files::read(&done.stdout)
    };
    let plain = example();
    let mut all = vec![plain.clone()];
    all.extend(["gzip", "bzip2", "xz"].map(|program| compressed(program, &plain)));
    let mut zstd = Vec::new();
    let options = castoff_layer::CompressOptions {
        compression: castoff_layer::Compression::Zstd,
        level: None,
        threads: 1,
    };
    castoff_layer::compress(&mut plain.as_slice(), &mut zstd, options).unwrap();
    all.push(zstd);
    for archive in &all {
        let files = files(&["-"], archive);
        assert_eq!((files.text("file"), files.look("file")), ("archived", "-0640 7:8".into()));
        assert_eq!(files.get("file").mtime, COMMITTED as u64);
        // The ignore file is for directories, unless it is asked for.
        assert_eq!(files.text("hidden"), "h");
    }
    kit.castoff_reading(&["build", "--filter-context", "-"], &plain).fails().says("\"/hidden\": not found");
    assert_eq!(files(&["-f", "other/D", "-"], &plain).text("other/file"), "archived");
    kit.write("D", "FROM scratch\nCOPY in /of-this-machine\n");
    let absolute = kit.path("D").display().to_string();
    assert_eq!(files(&["-f", &absolute, "-"], &plain).text("of-this-machine/file"), "archived");
    let again = kit.castoff_reading(&["build", "--progress=plain", "-"], &all[1]).succeeds();
    assert_eq!(again.executed(), [""; 0]);
}

// B-044, B-061, D-275
#[test]
fn standard_input_is_one_thing() {
    let kit = Kit::new();
    let build = |words: &[&str], input: &[u8]| kit.castoff_reading(&[&["build"], words].concat(), input);
    build(&["-"], b"").fails().says("standard input is empty");
    build(&["-f", "x", "-"], b"FROM scratch\n").fails().says("ambiguous Dockerfile source");
    build(&["-f", "-", "-"], b"FROM scratch\n").fails().says("cannot both come from standard input");
    build(&["-"], &compressed("gzip", b"FROM scratch\n")).fails().says("no tar archive");
    build(&["-"], &compressed("gzip", &example())[..100]).fails().says("the archive cannot be used");
    build(&["-f", "none", "-"], &example()).fails().says("open none: no such file");
    // Without a context, every path of it is missing, and what is fetched is not.
    build(&["-"], b"FROM scratch\nCOPY a /\n").fails().says("\"/a\": not found").says("Dockerfile:2");
    let server = Server::start(|_| Answer::ok("fetched"));
    let text = format!("FROM scratch AS a\nADD {} /f\nFROM scratch\nCOPY --from=a f /\n", server.url("/f"));
    let done = build(&["-o", "-", "-"], text.as_bytes()).succeeds();
    assert_eq!(Files::read(&done.stdout).text("f"), "fetched");
}

// B-062, B-218, B-219
#[test]
fn a_hostile_archive_stays_inside() {
    let kit = Kit::new();
    let dockerfile: Entry<'_> = ("Dockerfile", Regular, "FROM scratch\nCOPY . /all\n");
    let build = |entries: &[Entry<'_>]| {
        let archive = tar(&[&[dockerfile], entries].concat());
        kit.castoff_reading(&["build", "-o", "-", "-"], &archive)
    };
    build(&[("../evil", Regular, "x")]).fails().says("entry `../evil` escapes the root");
    build(&[("a/../../evil", Regular, "x")]).fails().says("escapes the root");
    build(&[("h", Link, "../../../etc/hostname")]).fails();
    let outside = kit.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    let done =
        build(&[("/abs", Regular, "x"), ("out", Symlink, &target), ("out/evil", Regular, "x")]).succeeds();
    let files = Files::read(&done.stdout);
    assert_eq!((files.text("all/abs"), files.get("all/out").link.as_str()), ("x", target.as_str()));
    assert_eq!(files.text(&format!("all{target}/evil")), "x");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!kit.path("evil").exists());
    // Neither the Dockerfile nor a source is looked for outside.
    let elsewhere = [("Dockerfile", Symlink, "/etc/passwd")];
    kit.castoff_reading(&["build", "-"], &tar(&elsewhere)).fails().says("open Dockerfile: no such file");
    let through = ("Dockerfile", Regular, "FROM scratch\nCOPY out/passwd /\n");
    let archive = tar(&[through, ("out", Symlink, "/etc")]);
    kit.castoff_reading(&["build", "-"], &archive).fails().says("not found");
}

// B-063, B-064, B-065, B-069, D-276, D-273, D-278, D-279
#[test]
fn a_git_repository_is_a_context() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("x.git", &[]);
    let text = "FROM scratch\nCOPY . /all\n";
    repositories.commit(
        "x.git",
        &[
            ("sub/Dockerfile", text),
            ("sub/.dockerignore", "hidden\nDockerfile\n"),
            ("sub/hidden", "h"),
            ("sub/other/D", "FROM scratch\nCOPY hidden /\n"),
            ("sub/other/D.dockerignore", "*\n!hidden\n"),
        ],
    );
    repositories.git("x.git", &["tag", "v1"]);
    repositories.commit("x.git", &[("sub/hidden", "later"), ("Dockerfile", text)]);
    let server = repositories.serve(|_| true);
    let url = server.url("/x.git");
    let files = |rest: &str, words: &[&str]| {
        let done =
            kit.castoff(&[&["build", "-o", "-"], words, &[&format!("{url}{rest}")]].concat()).succeeds();
        Files::read(&done.stdout)
    };
    let all = files("#v1:sub", &[]);
    assert_eq!((all.text("all/hidden"), all.look("all/hidden")), ("h", "-0644 0:0".into()));
    assert!(all.0.contains_key("all/Dockerfile") && !all.0.contains_key("all/.git"));
    let filtered = files("?tag=v1&subdir=sub", &["--filter-context"]);
    assert!(!filtered.0.contains_key("all/hidden") && !filtered.0.contains_key("all/Dockerfile"));
    assert_eq!(files("#:sub", &["-f", "other/D", "--filter-context"]).text("hidden"), "later");
    let kept = files("", &["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]);
    assert!(kept.0.contains_key("all/.git/HEAD"));
    assert!(
        !files("?keep-git-dir=0", &["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"])
            .0
            .contains_key("all/.git")
    );

    let before = server.requests().len();
    let commit = repositories.git("x.git", &["rev-parse", "v1"]);
    let named = format!("{url}#{commit}:sub");
    let done = kit.castoff(&["build", "--progress=plain", &named]).succeeds();
    assert_eq!((done.executed(), server.requests().len()), (vec![], before));
    assert!(done.stderr.contains(&format!("[internal] load git source {named}")), "{}", done.stderr);
    kit.castoff(&["build", &format!("{url}#none")]).fails().says("does not contain ref `none`");
    kit.castoff(&["build", &format!("{url}?what=1")]).fails().says("unexpected query \"what\"");
    let secret = format!("http://user:passw0rd@{}/none.git", server.host());
    kit.castoff(&["build", "--progress=plain", &secret]).fails().never_says("passw0rd");
}

// D-311
#[test]
fn files_of_a_new_commit_are_known_by_their_content() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("x.git", &[]);
    repositories
        .commit("x.git", &[("Dockerfile", "FROM scratch\nCOPY a /\nCOPY b /\n"), ("a", "1"), ("b", "1")]);
    let server = repositories.serve(|_| true);
    let build = || kit.castoff(&["build", "--progress=plain", &server.url("/x.git")]).succeeds();
    assert_eq!(build().executed(), ["COPY a /", "COPY b /"]);
    repositories.commit("x.git", &[("b", "2")]);
    assert_eq!(build().executed(), ["COPY b /"]);
}

// B-068, B-045
#[test]
fn what_a_server_has_is_a_context() {
    let kit = Kit::new();
    let server = Server::start(|request| match request.path.as_str() {
        "/context.tgz" => Answer::ok(compressed("gzip", &example())),
        "/Dockerfile" => Answer::ok("FROM scratch\nCOPY . /all\n"),
        "/D" => Answer::ok("FROM scratch\nCOPY in /from-the-net\n"),
        _ => Answer::status(404),
    });
    let files = |words: &[&str]| {
        let done = kit.castoff(&[&["build", "-o", "-"], words].concat()).succeeds();
        Files::read(&done.stdout)
    };
    let archive = server.url("/context.tgz");
    assert_eq!(files(&[&archive]).look("file"), "-0640 7:8");
    assert_eq!(files(&["-f", "other/D", &archive]).text("other/file"), "archived");
    assert_eq!(files(&["-f", &server.url("/D"), &archive]).text("from-the-net/file"), "archived");
    kit.write("context/in/file", "local");
    assert_eq!(files(&["-f", &server.url("/D"), "context"]).text("from-the-net/file"), "local");
    // A Dockerfile is all that its context holds.
    assert_eq!(files(&[&server.url("/Dockerfile")]).paths(), ["all", "all/context"]);
    kit.castoff(&["build", "-f", "x", &server.url("/Dockerfile")])
        .fails()
        .says("ambiguous Dockerfile source");
    kit.castoff(&["build", &server.url("/none")]).fails().says("not found");
}

// B-072, B-074, B-075, B-076
#[test]
fn named_contexts_are_fetched_too() {
    let repositories = Repositories::new();
    repositories.init("x.git", &[]);
    repositories.commit("x.git", &[("in/repository", "r"), (".dockerignore", "*")]);
    let git = repositories.serve(|_| true);
    let server = Server::start(|request| match request.path.as_str() {
        "/a.tar" => Answer::ok(example()),
        _ => Answer::ok("one file"),
    });
    let repository = format!("--build-context=r={}#main:in", git.url("/x.git"));
    let archive = format!("--build-context=a={}", server.url("/a.tar"));
    let file = format!("--build-context=f={}", server.url("/x"));
    let flags = [repository.as_str(), archive.as_str(), file.as_str()];
    let kit = Kit::new();
    let text = "FROM r AS base\nFROM scratch\nCOPY --from=base / /r/\nCOPY --from=a in /a/\nCOPY --from=f context /\n";
    let files = kit.files(text, &flags);
    assert_eq!((files.text("r/repository"), files.look("a/file")), ("r", "-0640 7:8".into()));
    assert_eq!((files.text("context"), files.look("context")), ("one file", "-0600 0:0".into()));
    kit.build("FROM a\nLABEL x=y\n", &[&flags[..], &["-t", "it"]].concat()).succeeds();
    assert_eq!(kit.inspect("it")["Config"]["Env"].as_array().unwrap().len(), 1);
    let whole = kit.files("FROM a\n", &flags);
    assert_eq!(whole.look("in/file"), "-0640 7:8");
    with_steps(|kit| {
        let text = "FROM busybox\nRUN --mount=from=a,target=/a --mount=from=r,target=/r cat /a/in/file /r/repository >/out\n";
        assert_eq!(kit.files(text, &flags).text("out"), "archivedr");
    });
}

// D-102, D-103
#[test]
fn the_time_of_a_source_is_that_of_the_image() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("x.git", &[]);
    repositories.commit("x.git", &[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    let git = repositories.serve(|_| true);
    let server = Server::start(|request| match request.path.as_str() {
        "/newest.tar" => Answer::ok(example()),
        "/timeless" => Answer::ok("x"),
        _ => Answer::ok(example()).with("Last-Modified", THEN),
    });
    let created = |words: &[&str]| {
        kit.castoff(&[&["build", "-t", "it"], words].concat()).succeeds();
        kit.inspect("it")["Created"].as_str().unwrap().to_owned()
    };
    let of_context = "--build-arg=SOURCE_DATE_EPOCH=context";
    let (committed, modified) = ("2001-09-09T01:46:47Z", "1994-11-06T08:49:37Z");
    assert_eq!(created(&[of_context, &git.url("/x.git")]), committed);
    assert_eq!(created(&[of_context, &server.url("/dated.tar")]), modified);
    assert_eq!(created(&[of_context, &server.url("/newest.tar")]), committed);
    let named = format!("--build-context=n={}", git.url("/x.git"));
    kit.write("context/Dockerfile", "FROM scratch\nWORKDIR /w\n");
    assert_eq!(created(&["--build-arg=SOURCE_DATE_EPOCH=n", &named, "context"]), committed);
    let by_stage = |source: &str| {
        kit.write(
            "context/Dockerfile",
            format!("FROM scratch AS t\nADD {source} /\nFROM scratch\nWORKDIR /w\n"),
        );
        "--build-arg=SOURCE_DATE_EPOCH=t"
    };
    assert_eq!(created(&[by_stage(&git.url("/x.git")), "context"]), committed);
    assert_eq!(created(&[by_stage(&server.url("/f")), "context"]), modified);
    assert!(created(&[by_stage(&server.url("/timeless")), "context"]).starts_with("20"));
    kit.write("context/Dockerfile", "FROM scratch AS t\nADD Dockerfile /\nFROM scratch\n");
    kit.castoff(&["build", "--build-arg=SOURCE_DATE_EPOCH=t", "context"])
        .fails()
        .says("invalid SOURCE_DATE_EPOCH");
}
