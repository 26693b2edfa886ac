//! A store of objects that speaks S3, on ports of loopback: the one that `cargo xtask stores` fetches.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A test that takes longer than this many seconds has no store any more.
const SECONDS: &str = "300";

/// Who may do everything, and who may ask without a signature. What is signed must be signed well.
const IDENTITIES: &str = r#"{"identities": [
    {"name": "castoff", "credentials": [{"accessKey": "id", "secretKey": "opensesame"}], "actions": ["Admin"]},
    {"name": "anonymous", "actions": ["Admin"]}
]}"#;

/// Does some checks with a store that has the bucket `cache`.
///
/// This is the only place that may skip, and only outside of CI: where the program was not fetched.
pub fn with_store(check: impl FnOnce(&Store)) {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("e2e").join("weed");
    if program.is_file() {
        check(&Store::start(&program));
        return;
    }
    assert!(std::env::var_os("CI").is_none(), "`cargo xtask stores` fetches {}", program.display());
    writeln!(std::io::stderr(), "skipped: no {}", program.display()).expect("standard error is open");
}

/// A running store.
pub struct Store {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Store {
    fn start(program: &Path) -> Store {
        // A port that was free may be taken by another test before the store has it.
        let started = (0..3).find_map(|_| Store::try_start(program));
        let store = started.expect("the store listens");
        let (status, said) = store.http("PUT", "/cache", b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
        store
    }

    fn try_start(program: &Path) -> Option<Store> {
        let directory = tempfile::tempdir().unwrap();
        let identities = directory.path().join("identities.json");
        fs::write(&identities, IDENTITIES).unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        let listeners: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
        drop(listeners);
        let names = ["master.port", "volume.port", "filer.port", "s3.port"];
        let names = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.grpc")]);
        let given = names.zip(&ports).map(|(name, port)| format!("-{name}={port}"));
        let process = Command::new("timeout")
            .args(["--kill-after=1", SECONDS])
            .arg(program)
            .args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"])
            .args(["-master.telemetry=false", "-master.electionTimeout=1s", "-volume.preStopSeconds=0"])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=20", "-s3.iam=false"])
            .args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args(given)
            .arg(format!("-s3.config={}", identities.display()))
            .arg(format!("-dir={}", data.display()))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut store = Store { process, port: ports[6], _directory: directory };
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end && store.process.try_wait().unwrap().is_none() {
            if store.try_http("GET", "/", b"").is_ok_and(|(status, _)| status == 200) {
                return Some(store);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Returns the address of the store.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks without a signature and returns the status and what was answered.
    pub fn http(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.try_http(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_http(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: 127.0.0.1:{}\r\ncontent-length: {length}\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
        let status = std::str::from_utf8(answer.get(9..12).unwrap_or_default()).unwrap_or_default();
        let rest = answer.get(end + 4..).unwrap_or_default().to_vec();
        Ok((status.parse().unwrap_or(0), rest))
    }

    /// Returns the keys of the bucket that begin with something, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.listed(prefix, "Key")
    }

    /// Returns the sizes of these objects in bytes.
    pub fn sizes(&self, prefix: &str) -> Vec<u64> {
        self.listed(prefix, "Size").iter().map(|size| size.parse().unwrap()).collect()
    }

    fn listed(&self, prefix: &str, what: &str) -> Vec<String> {
        let (status, list) = self.http("GET", &format!("/cache?list-type=2&prefix={prefix}"), b"");
        let list = String::from_utf8(list).unwrap();
        assert_eq!(status, 200, "{list}");
        let begin = format!("<{what}>");
        let values = list.split(&begin).skip(1);
        values.filter_map(|rest| rest.split("</").next()).map(str::to_owned).collect()
    }

    /// Changes an object.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = format!("/cache/{}", key.replace(':', "%3A"));
        let (status, mut bytes) = self.http("GET", &path, b"");
        assert_eq!(status, 200, "{key}");
        change(&mut bytes);
        assert_eq!(self.http("PUT", &path, &bytes).0, 200, "{key}");
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) {
        let (status, _) = self.http("DELETE", &format!("/cache/{}", key.replace(':', "%3A")), b"");
        assert_eq!(status, 204, "{key}");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // `timeout` hands it on to the store, and is not waited for longer than a second.
        let pid = self.process.id().to_string();
        let _dead_already = Command::new("kill").args(["-TERM", &pid]).status();
        let _gone = self.process.wait();
    }
}
