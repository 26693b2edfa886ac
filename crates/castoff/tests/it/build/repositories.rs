//! ADD of git repositories, from a server on this machine's loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::kit::{Done, Kit};
use super::repository::{COMMITTED, Repositories};
use crate::server::Server;

/// Returns the text of a Dockerfile that adds one repository.
fn added(server: &Server, flags: &str, rest: &str) -> String {
    format!("FROM scratch\nADD {flags} {}{rest} /d/\n", server.url("/x.git"))
}

/// Returns a repository `x.git` with a branch, tags, modes, a symbolic link and a subdirectory, and its
/// commits: the first, and that of `main`.
fn example(repositories: &Repositories) -> (String, String) {
    repositories.init("x.git", &[]);
    let first = repositories.commit("x.git", &[("file", "first"), ("sub/deep/in", "inside")]);
    repositories.git("x.git", &["tag", "--annotate", "--message=x", "v1"]);
    repositories.git("x.git", &["branch", "old"]);
    fs::write(repositories.path("x.git/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(repositories.path("x.git/run"), fs::Permissions::from_mode(0o700)).unwrap();
    let second = repositories.commit("x.git", &[("file", "second"), ("link -> sub/deep", "")]);
    (first, second)
}

// D-239, D-231, D-242, B-064, B-065, B-066
#[test]
fn a_tree_is_added_as_it_is_at_its_reference() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    let (first, second) = example(&repositories);
    let server = repositories.serve(|_| true);
    let files = |flags: &str, rest: &str| kit.files(&added(&server, flags, rest), &[]);

    let main = files("", "");
    assert_eq!(main.paths(), ["d", "d/file", "d/link", "d/run", "d/sub", "d/sub/deep", "d/sub/deep/in"]);
    assert_eq!((main.look("d/file"), main.look("d/run")), ("-0644 0:0".into(), "-0755 0:0".into()));
    assert_eq!((main.look("d/sub"), main.get("d/link").link.as_str()), ("d0755 0:0".into(), "sub/deep"));
    assert_eq!(main.text("d/file"), "second");
    for old in ["#v1", "#old", "?tag=v1", "?branch=old", "#refs/heads/old", &format!("#{first}")] {
        assert_eq!(files("", old).text("d/file"), "first", "{old}");
    }
    assert_eq!(files("", "#old:/sub/deep").paths(), ["d", "d/in"]);
    let short = &second[..9];
    assert_eq!(files(&format!("--checksum={short}"), "?subdir=sub").paths(), ["d", "d/deep", "d/deep/in"]);
    assert_eq!(files("", "?mtime=commit").get("d/file").mtime, COMMITTED as u64);
    assert!(main.get("d/file").mtime > COMMITTED as u64);

    let kept = files("--keep-git-dir", "#v1");
    assert_eq!(kept.text("d/.git/HEAD").trim(), first);
    assert!(kept.text("d/.git/config").contains(&server.url("/x.git")));
    assert_eq!(files("", "?keep-git-dir=true").text("d/.git/HEAD").trim(), second);
}

// D-316, D-243
#[test]
fn a_commit_is_fetched_once() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    let (first, second) = example(&repositories);
    let server = repositories.serve(|_| true);
    let build = |flags: &str, rest: &str| -> (Done, usize) {
        let before = server.requests().len();
        let done = kit.build(&added(&server, flags, rest), &["--progress=plain"]).succeeds();
        (done, server.requests().len() - before)
    };
    let (done, _) = build("", "");
    assert_eq!(done.executed().len(), 1, "{}", done.stderr);
    // Where a branch leads is asked again, what is there is not.
    let (done, requests) = build("", "");
    assert_eq!((done.executed().len(), requests <= 2), (0, true), "{}", done.stderr);
    assert_eq!(build("", "#refs/heads/main").0.executed(), [""; 0]);
    assert_eq!(build(&format!("--checksum={second}"), "#main").0.executed(), [""; 0]);
    for named in [
        format!("#{second}"),
        format!("?checksum={second}"),
        format!("?ref=no&fetch-by-commit&commit={second}"),
    ] {
        let (done, requests) = build("", &named);
        assert_eq!((done.executed().len(), requests), (0, 0), "{named}: {}", done.stderr);
    }
    assert_eq!(build("", &format!("#{first}")).0.executed().len(), 1);
    repositories.commit("x.git", &[("file", "third")]);
    let (done, _) = build("", "");
    assert_eq!(done.executed().len(), 1);
    assert_eq!(kit.files(&added(&server, "", ""), &[]).text("d/file"), "third");
}

// D-243, D-240, B-221
#[test]
fn what_is_not_there_is_told() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    let (first, _) = example(&repositories);
    repositories.commit("x.git", &[("out -> ..", ""), ("sub/up -> ../..", "")]);
    let server = repositories.serve(|_| true);
    let fails = |flags: &str, rest: &str, expected: &str| {
        kit.build(&added(&server, flags, rest), &[]).fails().says(expected).says("Dockerfile:2");
    };
    fails("", "#none", "the repository does not contain ref `none`");
    fails("", &format!("#{}", "1".repeat(40)), "the repository does not contain ref `1111");
    fails(&format!("--checksum={first}"), "#main", &format!("expected checksum to match {first}, got"));
    fails("", "#:none", "subdirectory `none` does not exist");
    fails("", "#:file", "subdirectory `file` is not a directory");
    fails("", "#:link", "subdirectory `link` is a symbolic link");
    fails("", "#:link/in", "subdirectory `link` is a symbolic link");
    fails("", "#:out/etc", "subdirectory `out` is a symbolic link");
    fails("", "#:sub/up/etc", "subdirectory `sub/up` is a symbolic link");
    fails("", "?what=1", "unexpected query \"what\"");
    fails("--keep-git-dir=true", "?keep-git-dir=false", "keep-git-dir conflicts");
    let nowhere = format!("FROM scratch\nADD {} /d/\n", server.url("/none.git"));
    kit.build(&nowhere, &[]).fails().says("git ls-remote failed");
    let mut command = kit.command(["build", "context"]);
    command.env("PATH", kit.path("context"));
    Done::of(command).fails().says("the program `git` was not found in PATH");
}

// D-240, B-066
#[test]
fn submodules_are_fetched_unless_they_are_not_wanted() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    repositories.init("inner.git", &[]);
    repositories.commit("inner.git", &[("innermost", "1")]);
    let module = |repository: &str, url: &str, path: &str| {
        let allow = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
        repositories.git(repository, &[&allow[..], &["--", url, path]].concat());
    };
    let local = repositories.path("inner.git").display().to_string();
    repositories.init("sub.git", &[]);
    module("sub.git", &local, "in");
    repositories.git("sub.git", &["config", "-f", ".gitmodules", "submodule.in.url", "../inner.git"]);
    repositories.commit("sub.git", &[("of-sub", "2")]);
    repositories.init("x.git", &[]);
    module("x.git", &repositories.path("sub.git").display().to_string(), "s");
    repositories.git("x.git", &["config", "-f", ".gitmodules", "submodule.s.url", "../sub.git"]);
    repositories.commit("x.git", &[("own", "3")]);
    let server = repositories.serve(|_| true);
    let files = kit.files(&added(&server, "", ""), &[]);
    assert_eq!((files.text("d/s/of-sub"), files.text("d/s/in/innermost")), ("2", "1"));
    assert!(files.paths().iter().all(|path| !path.ends_with("/.git")), "{:?}", files.paths());
    let without = kit.files(&added(&server, "", "?submodules=false"), &[]);
    assert_eq!(without.paths(), ["d", "d/.gitmodules", "d/own", "d/s"]);

    // What is on this machine, and what would run a program, is no business of a repository.
    let mark = kit.path("mark");
    for hostile in [local.clone(), format!("file://{local}"), format!("ext::touch {}", mark.display())] {
        repositories.git("x.git", &["config", "-f", ".gitmodules", "submodule.s.url", &hostile]);
        repositories.commit("x.git", &[]);
        kit.build(&added(&server, "", ""), &[]).fails().says("git submodule failed");
    }
    assert!(!mark.exists());
}

// D-241, B-067, B-221
#[test]
fn credentials_reach_their_server_and_nobody_else() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    example(&repositories);
    // `x-access-token:t0ken-value` and `user:passw0rd`
    let known =
        ["Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4tdmFsdWU=", "Basic dXNlcjpwYXNzdzByZA==", "Own h3ader-value"];
    let server = repositories.serve(move |request| known.contains(&request.header("authorization")));
    kit.write("token", "t0ken-value\n");
    kit.write("header", "Own h3ader-value");
    let host = server.host();
    let text = added(&server, "--keep-git-dir", "");
    let check = |text: &str, secrets: &[&str]| {
        let flags = [&["--progress=plain", "--no-cache", "-t", "it"], secrets].concat();
        let done = kit.another().build(text, &flags);
        for secret in ["t0ken", "passw0rd", "h3ader"] {
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
        }
        done
    };
    check(&text, &[]).fails().says("git ls-remote failed");
    for secrets in
        [vec!["--secret=id=GIT_AUTH_TOKEN,src=../token"], vec!["--secret=id=GIT_AUTH_HEADER,src=../header"]]
    {
        let kit = kit.another();
        kit.write("token", "t0ken-value\n");
        kit.write("header", "Own h3ader-value");
        let secrets: Vec<String> = secrets.iter().map(|secret| secret.replace("../", "")).collect();
        let flags: Vec<&str> = secrets.iter().map(String::as_str).collect();
        kit.build(&text, &flags).succeeds();
        for secret in ["t0ken-value", "h3ader-value", "eC1hY2Nlc3MtdG9rZW4"] {
            assert!(kit.containing("store", secret.as_bytes()).is_empty(), "{secret}");
        }
    }
    let of_host = format!("--secret=id=GIT_AUTH_TOKEN.{host},src=token");
    kit.build(&text, &[&of_host]).succeeds();
    let login = text.replace("http://", "http://user:passw0rd@");
    check(&login, &[]).succeeds().says("http://xxxxx:xxxxx@");
    kit.build(&login, &["--no-cache", "-t", "it"]).succeeds();
    assert!(kit.containing("store", b"passw0rd").is_empty());
    assert!(kit.history("it")[0].contains("xxxxx:xxxxx@"));
}

// B-066
#[test]
fn old_servers_and_new_digests_work() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    let (first, _) = example(&repositories);
    repositories.git("", &["clone", "--quiet", "--bare", "x.git", "dumb/x.git"]);
    repositories.git("dumb/x.git", &["update-server-info"]);
    let dumb = Repositories::serve_files(&repositories);
    let at = |rest: &str| format!("FROM scratch\nADD {}{rest} /d/\n", dumb.url("/dumb/x.git"));
    assert_eq!(kit.files(&at(""), &[]).text("d/file"), "second");
    assert_eq!(kit.files(&at(&format!("#{first}")), &[]).text("d/file"), "first");

    repositories.init("new/x.git", &["--object-format=sha256"]);
    let commit = repositories.commit("new/x.git", &[("file", "sha256")]);
    assert_eq!(commit.len(), 64);
    let server = repositories.serve(|_| true);
    let text = format!("FROM scratch\nADD {}#{commit} /d/\n", server.url("/new/x.git"));
    assert_eq!(kit.files(&text, &[]).text("d/file"), "sha256");
    let text = text.replace(&format!("#{commit}"), "#main");
    assert_eq!(kit.files(&text, &[]).text("d/file"), "sha256");
}

// B-202
#[test]
fn nothing_of_the_users_configuration_counts() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    example(&repositories);
    let server = repositories.serve(|_| true);
    let mark = kit.path("mark");
    let hook = format!("#!/bin/sh\ntouch {}\n", mark.display());
    kit.write("hooks/post-checkout", hook);
    fs::set_permissions(kit.path("hooks/post-checkout"), fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = kit.path("hooks").display().to_string();
    let elsewhere = format!("[url \"http://127.0.0.1:1/\"]\ninsteadOf = {}\n", server.url("/"));
    let configuration = format!("[core]\nhooksPath = {hooks}\n{elsewhere}");
    kit.write(".gitconfig", &configuration);
    // The store lies in somebody's repository.
    repositories.git("", &["init", "--quiet", &kit.path("").display().to_string()]);
    kit.write(".git/config", &configuration);
    kit.write("context/Dockerfile", added(&server, "", ""));
    let mut command = kit.command(["build", "context"]);
    command.env("HOME", kit.path("")).env("GIT_DIR", kit.path(".git")).env("GIT_SSH_COMMAND", "false");
    Done::of(command).succeeds();
    assert!(!mark.exists());
}

// D-241, B-067
#[test]
fn ssh_has_the_keys_of_a_forwarded_agent_alone() {
    let (kit, repositories) = (Kit::new(), Repositories::new());
    example(&repositories);
    // Says how it was called, and is the server too.
    let ssh = "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\" >>\"$0.log\"; done\nexec sh -c \"$word\"\n";
    kit.write("bin/ssh", ssh);
    fs::set_permissions(kit.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = kit.path("own.sock");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let url = format!("ssh://git@a.example{}", repositories.path("x.git").display());
    kit.write("context/Dockerfile", format!("FROM scratch\nADD {url}#v1 /d/\n"));
    let called = |words: &[&str]| {
        let mut command = kit.command([&["build"], words].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", kit.path("bin").display()));
        command.env("SSH_AUTH_SOCK", &socket).env("HOME", kit.path("home"));
        Done::of(command).succeeds();
        let log = kit.read("bin/ssh.log");
        fs::remove_file(kit.path("bin/ssh.log")).unwrap();
        assert!(log.contains("git@a.example\n") && log.contains("StrictHostKeyChecking=yes\n"), "{log}");
        assert!(
            log.contains(&format!("UserKnownHostsFile=\"{}/.ssh/known_hosts\"", kit.path("home").display()))
        );
        let agent = log.lines().find_map(|line| line.strip_prefix("IdentityAgent=")).unwrap();
        agent.trim_matches('"').to_owned()
    };
    // A Dockerfile gets what the caller forwards, and not what the caller has.
    assert_eq!(called(&["--no-cache", "context"]), "none");
    let forwarded = called(&["--ssh=default", "--no-cache", "context"]);
    assert!(forwarded.ends_with("/agent") && forwarded.starts_with(&kit.path("store").display().to_string()));
    // A context is the caller's own word.
    repositories.commit("x.git", &[("Dockerfile", "FROM scratch\n")]);
    assert_eq!(called(&[&format!("{url}#main")]), socket.display().to_string());
}
