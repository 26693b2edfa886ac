//! Images in a running engine: Debian's docker, and engines that answer what they are told to.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use castoff_oci::Digest;
use serde_json::Value;
use tempfile::TempDir;

use super::kit::{Done, Kit};

/// An engine that ends with this.
struct Docker {
    directory: TempDir,
    child: Child,
}

impl Docker {
    /// Starts the engine, or returns nothing outside of CI where there is none or nobody is root.
    fn start() -> Option<Docker> {
        let directory = tempfile::Builder::new().prefix("engine").tempdir_in("/tmp").unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("none.json"), "{}").unwrap();
        let mut command = Command::new("/usr/sbin/dockerd");
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "none.json"),
        ] {
            command.arg(flag).arg(path(name));
        }
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "-H"]);
        command.arg(format!("unix://{}", path("socket").display()));
        let log = std::fs::File::create(path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = if rustix::process::geteuid().is_root() {
            command.spawn()
        } else {
            Err(std::io::ErrorKind::PermissionDenied.into())
        };
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "dockerd: {error}");
                writeln!(std::io::stderr(), "skipped: dockerd: {error}").expect("standard error is open");
                return None;
            }
        };
        let mut docker = Docker { directory, child };
        let deadline = Instant::now() + Duration::from_secs(90);
        while docker.get("/_ping").is_none() {
            let ended = docker.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(docker.directory.path().join("log")).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(docker)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Returns the body of what is there.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    fn image(&self, name: &str) -> Value {
        let body = self.get(&format!("/images/{name}/json"));
        serde_json::from_str(&body.unwrap_or_else(|| panic!("docker has no image {name}"))).unwrap()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It ends its containerd with it, which a kill would leave.
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ended = self.child.wait();
    }
}

/// Passes connections on and counts the bytes to the engine. Ends with the process.
fn counted(kit: &Kit, engine: &Path) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let listener = UnixListener::bind(kit.path("counted")).unwrap();
    let (engine, counter) = (engine.to_owned(), Arc::clone(&count));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), UnixStream::connect(&engine).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    counter.fetch_add(read as u64, Ordering::SeqCst);
                    to.write_all(&buffer[..read]).unwrap();
                }
                let _closed_already = to.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _closed_already = std::io::copy(&mut server, &mut client);
                let _closed_already = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    count
}

// B-102, B-103, B-112
#[test]
fn an_image_is_loaded_into_docker_and_only_what_it_lacks_is_sent() {
    let Some(docker) = Docker::start() else { return };
    let kit = Kit::new();
    let count = counted(&kit, &docker.socket());
    let address = format!("unix://{}", kit.path("counted").display());
    // Nothing that compression or a hole would make small.
    let mut noise = Vec::new();
    while noise.len() < 4_000_000 {
        noise.extend(Digest::of(&noise[noise.len().saturating_sub(64)..]).as_bytes());
    }
    kit.write("context/large", &noise);
    let build = |file: &str, flags: &[&str]| {
        kit.write("context/small", file);
        kit.write(
            "context/Dockerfile",
            "FROM busybox\nCOPY large /\nCOPY small /\nCMD [\"cat\", \"/small\"]\n",
        );
        let mut command = kit.command([&["build"], flags, &["context"]].concat());
        command.env("DOCKER_HOST", &address);
        let before = count.load(Ordering::SeqCst);
        Done::of(command).succeeds();
        count.load(Ordering::SeqCst) - before
    };
    assert!(build("one", &["--load", "-t", "app:1", "--iidfile", "id"]) > 4_000_000);
    let image = docker.image("app:1");
    assert_eq!(image["Id"], kit.read("id"));
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["cat", "/small"]));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    let sent = build("two", &["-o", "type=docker,name=app:2", "--iidfile", "id"]);
    assert!(sent < 200_000, "{sent} bytes for a small file");
    assert_eq!(docker.image("app:2")["Id"], kit.read("id"));
    // Another compression is of the blobs, and not of what the engine makes of them.
    build("two", &["-o", "type=docker,name=app:3,compression=gzip"]);
    assert_eq!(docker.image("app:3")["Id"], docker.image("app:2")["Id"]);
    // With a table of contents they are other layers, though made of the same ones.
    let sent = build(
        "two",
        &["-o", "type=docker,name=app:5,compression=estargz,force-compression=true", "--iidfile", "id"],
    );
    assert!(sent > 3_000_000, "{sent}");
    assert_eq!(docker.image("app:5")["Id"], kit.read("id"));
    assert_ne!(docker.image("app:5")["Id"], docker.image("app:2")["Id"]);
    // An archive for `docker load` is the same.
    kit.build(
        "FROM busybox\nCOPY large /\n",
        &["-t", "app:4", "-o", "type=docker,dest=out.tar", "--iidfile", "id"],
    )
    .succeeds();
    let engine = castoff_registry::Engine::new(castoff_registry::EngineAddress::Unix(docker.socket()));
    engine.load(&mut std::fs::File::open(kit.path("out.tar")).unwrap()).unwrap();
    assert_eq!(docker.image("app:4")["Id"], kit.read("id"));
    // The classic store has no place for an index.
    let mut command = kit.command(["build", "--platform", "linux/amd64,linux/arm64", "--load", "context"]);
    kit.write("context/Dockerfile", "FROM scratch\nCOPY small /\n");
    command.env("DOCKER_HOST", &address);
    Done::of(command).fails().says("takes single images");
}

/// Answers as an engine does that is Podman and takes no archive. Ends with the process.
fn refusing(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 8192];
            let is_whole = |request: &[u8]| match request.starts_with(b"POST") {
                true => request.ends_with(b"\r\n0\r\n\r\n"),
                false => request.ends_with(b"\r\n\r\n"),
            };
            while !is_whole(&request) {
                match client.read(&mut buffer) {
                    Ok(read @ 1..) => request.extend(&buffer[..read]),
                    _ => break,
                }
            }
            let body = if request.starts_with(b"POST") {
                "{\"stream\":\"Loading\"}\n{\"errorDetail\":{\"message\":\"disk full\"},\"error\":\"disk \\u001b[31mfull\"}\n"
            } else {
                "{\"Components\":[{\"Name\":\"Podman Engine\"}]}"
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _client_has_gone = client.write_all(answer.as_bytes());
        }
    });
}

// B-103
#[test]
fn an_engine_is_chosen_by_variables_and_contexts_and_refuses_in_its_own_words() {
    let kit = Kit::new();
    kit.write("context/Dockerfile", "FROM busybox\n");
    refusing(&kit.path("socket"));
    let address = format!("unix://{}", kit.path("socket").display());
    let name = Digest::of(b"mine").hex();
    let meta = format!("{{\"Name\":\"mine\",\"Endpoints\":{{\"docker\":{{\"Host\":\"{address}\"}}}}}}");
    kit.write(&format!("docker/contexts/meta/{name}/meta.json"), meta);
    let build = |output: &str, variables: &[(&str, &str)]| {
        let mut command = kit.command(["build", "-t", "app", "-o", output, "context"]);
        command.env("DOCKER_CONFIG", kit.path("docker")).envs(variables.iter().copied());
        Done::of(command).fails()
    };
    for (output, variables) in [
        ("type=docker", &[("DOCKER_HOST", address.as_str()), ("CONTAINER_HOST", "unix:///nowhere")][..]),
        ("type=docker", &[("CONTAINER_HOST", &address)]),
        ("type=docker", &[("DOCKER_CONTEXT", "mine")]),
        ("type=docker,context=mine", &[("DOCKER_HOST", "unix:///nowhere")]),
        (&format!("type=docker,context={address}"), &[]),
    ] {
        build(output, variables).says("refused: disk  [31mfull");
    }
    kit.write("docker/config.json", "{\"currentContext\":\"mine\"}");
    build("type=docker", &[]).says("refused: disk");
    build("type=docker", &[("DOCKER_HOST", "unix:///nowhere")]).says("unix:///nowhere` does not answer");
    build("type=docker", &[("DOCKER_HOST", "ssh://host")]).says("no address of an engine");
    build("type=docker,context=other", &[]).says("docker has no context `other`");
    build("type=oci,dest=o,context=mine", &[]).says("context is for type=docker");
}
