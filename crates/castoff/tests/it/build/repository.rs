//! Git repositories made for a test, and a server of them on this machine's loopback.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::server::{Answer, Request, Server};

/// When all commits are made.
pub const COMMITTED: i64 = 1_000_000_007;

/// A directory of repositories.
pub struct Repositories(TempDir);

impl Repositories {
    pub fn new() -> Repositories {
        Repositories(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    /// Runs git in a repository, for the author of the test's commits, and returns what it printed.
    #[track_caller]
    pub fn git(&self, repository: &str, words: &[&str]) -> String {
        let output = git(&self.path(repository)).args(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {words:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes a repository.
    pub fn init(&self, repository: &str, words: &[&str]) {
        fs::create_dir_all(self.path(repository)).unwrap();
        self.git(repository, &[&["init", "--quiet", "--initial-branch=main"], words].concat());
    }

    /// Commits some files and returns the commit's id. `path -> target` is a symbolic link.
    pub fn commit(&self, repository: &str, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let (path, link) = path.split_once(" -> ").map_or((*path, None), |(path, to)| (path, Some(to)));
            let path = self.path(repository).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match link {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        self.git(repository, &["add", "--all"]);
        self.git(repository, &["commit", "--quiet", "--allow-empty", "--message=x"]);
        self.git(repository, &["rev-parse", "HEAD"])
    }

    /// Serves all repositories to those whom `admit` lets in.
    pub fn serve(&self, admit: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Server {
        let root = self.0.path().to_owned();
        Server::start(move |request| {
            if admit(request) {
                backend(&root, request)
            } else {
                Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\"")
            }
        })
    }

    /// Serves all repositories as files, which is the old protocol.
    pub fn serve_files(&self) -> Server {
        let root = self.0.path().to_owned();
        Server::start(move |request| {
            let path = request.path.split('?').next().unwrap().trim_start_matches('/');
            fs::read(root.join(path)).map_or_else(|_| Answer::status(404), Answer::ok)
        })
    }
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", directory);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@a.example");
        command.env(format!("GIT_{who}_DATE"), format!("{COMMITTED} +0000"));
    }
    command
}

/// Answers by git's own program for web servers (RFC 3875).
fn backend(root: &Path, request: &Request) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut child = git(root)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&request.body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut answer = Answer::ok(&output[end + 4..]);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            answer.status = value[..3].parse().unwrap();
        } else {
            answer = answer.with(name, value);
        }
    }
    answer
}
