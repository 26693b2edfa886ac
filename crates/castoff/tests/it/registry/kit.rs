//! What the tests of registries share: Debian's registry on a port of loopback, a machine with a store of
//! its own, and images that skopeo brings from one to the other.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// Does some checks with a registry that has some settings, and a machine that knows nothing of it.
///
/// This is the only place that may skip, and only outside of CI: where the programs are not installed.
pub fn with_registry(settings: &str, check: impl FnOnce(&mut Registry, &Machine)) {
    if has(&["docker-registry", "skopeo"]) {
        check(&mut Registry::start(settings), &Machine::new());
    }
}

/// Returns whether some programs are installed; in CI they are.
pub fn has(programs: &[&str]) -> bool {
    let missing = |program: &&&str| {
        !["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|at| Path::new(at).join(program).exists())
    };
    let missing: Vec<_> = programs.iter().filter(missing).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "not installed: {missing:?}");
    if !missing.is_empty() {
        writeln!(std::io::stderr(), "skipped: not installed: {missing:?}").expect("standard error is open");
    }
    missing.is_empty()
}

/// A running registry.
pub struct Registry {
    process: Child,
    port: u16,
    settings: String,
    directory: TempDir,
}

impl Registry {
    pub fn start(settings: &str) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let (process, port) = serve(directory.path(), 0, settings);
        Registry { process, port, settings: settings.to_owned(), directory }
    }

    /// Returns `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at the same port.
    pub fn restart(&mut self) {
        self.process = serve(self.directory.path(), self.port, &self.settings).0;
    }

    /// Builds an image with a machine of its own and puts it here.
    pub fn push(&self, name: &str, dockerfile: &str, flags: &[&str], copy: &[&str]) {
        let machine = Machine::new();
        if dockerfile.contains("FROM busybox") {
            import_busybox(&machine);
        }
        let archive = machine.archive(dockerfile, flags);
        let to = format!("docker://{}/{name}", self.host());
        let from = format!("docker-archive:{}", archive.display());
        let words = ["copy", "--insecure-policy", "--dest-tls-verify=false", "--quiet"];
        run(Command::new("skopeo").args(words).args(copy).args([from, to]));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _dead_already = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Starts the registry and waits until it listens.
fn serve(directory: &Path, port: u16, settings: &str) -> (Child, u16) {
    let storage = directory.join("storage").display().to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: none\n{settings}"
    );
    let file = directory.join("config.yml");
    fs::write(&file, config).unwrap();
    let mut process = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .env_clear()
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let port = loop {
        let Some(line) = lines.next() else { panic!("the registry ended: {said}") };
        let line = line.unwrap();
        said.push_str(&line);
        said.push('\n');
        let after = line.split_once("listening on 127.0.0.1:").map(|(_, after)| after);
        if let Some(after) = after {
            let digits = after.split(|character: char| !character.is_ascii_digit()).next().unwrap();
            break digits.parse().unwrap();
        }
    };
    // Whatever it says later is of no interest, but somebody must read it.
    std::thread::spawn(move || lines.for_each(drop));
    (process, port)
}

/// A store, a home, and a directory to build from.
pub struct Machine {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Machine {
    pub fn new() -> Machine {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        Machine { directory, environment: Vec::new() }
    }

    /// Returns a machine with nothing but one variable more in its environment.
    pub fn with(name: &str, value: impl ToString) -> Machine {
        let mut machine = Machine::new();
        machine.environment.push((name.to_owned(), value.to_string()));
        machine
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the program with some words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.directory.path())
            .env("CASTOFF_ROOT", self.path("store"))
            .envs(self.environment.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program and returns standard output, which must be a success.
    #[track_caller]
    pub fn castoff(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}\n{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the program and returns standard error, which must be a failure.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}\n{}", text(&output.stderr));
        text(&output.stderr)
    }

    /// Builds a Dockerfile and returns a path with the files of the result.
    #[track_caller]
    pub fn files(&self, dockerfile: &str, flags: &[&str]) -> PathBuf {
        self.write("context/Dockerfile", dockerfile);
        let out = self.path("out");
        let _absent_at_first = fs::remove_dir_all(&out);
        let to = format!("type=local,dest={}", out.display());
        self.castoff(&[&["build", "-o", &to], flags, &["context"]].concat());
        out
    }

    /// Builds a Dockerfile into the store.
    #[track_caller]
    pub fn build(&self, dockerfile: &str, flags: &[&str]) -> String {
        self.write("context/Dockerfile", dockerfile);
        self.castoff(&[&["build", "--quiet"], flags, &["context"]].concat())
    }

    /// Builds a Dockerfile, which must fail, and returns what is said about it.
    #[track_caller]
    pub fn build_fails(&self, dockerfile: &str, flags: &[&str]) -> String {
        self.write("context/Dockerfile", dockerfile);
        self.fails(&[&["build"], flags, &["context"]].concat())
    }

    /// Builds a Dockerfile, whose context has the files `one`, `two` and `three`, and returns an archive.
    pub fn archive(&self, dockerfile: &str, flags: &[&str]) -> PathBuf {
        for name in ["one", "two", "three"] {
            self.write(&format!("context/{name}"), format!("{name}\n"));
        }
        self.build(dockerfile, &[&["-t", "saved:1"], flags].concat());
        self.castoff(&["save", "-o", "saved.tar", "saved:1"]);
        self.path("saved.tar")
    }

    /// Returns how many blobs of the store are compressed layers.
    pub fn fetched(&self) -> usize {
        let mut count = 0;
        walk(&self.path("store/blobs"), &mut |path| {
            count += usize::from(fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]));
        });
        count
    }
}

impl Drop for Machine {
    /// Files of subordinate owners are nobody's to delete but the program's.
    fn drop(&mut self) {
        let _best_effort = self.command(&["prune", "--all", "--force"]).output();
    }
}

/// Visits the files below a directory.
pub fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { walk(&path, visit) } else { visit(&path) }
    }
}

/// Runs a program, which must succeed, and returns what it wrote.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{command:?}\n{}", text(&stderr));
    text(&stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns whether this machine lets anybody run steps. In CI it does.
pub fn runs_steps(machine: &Machine) -> bool {
    let probe = machine.command(&["run", "busybox", "sh", "-c", "true"]).output().unwrap();
    probe.status.success() || std::env::var_os("CI").is_some()
}

/// Gives a machine the image `busybox`, made of the static busybox of this machine.
pub fn import_busybox(machine: &Machine) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    let program = machine.write("rootfs/bin/busybox", busybox.expect("busybox-static is installed"));
    fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["sh", "cat", "ls"] {
        symlink("busybox", machine.path("rootfs/bin").join(name)).unwrap();
    }
    machine.write("rootfs/etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    let (rootfs, archive) = (machine.path("rootfs"), machine.path("rootfs.tar"));
    run(Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg("."));
    machine.castoff(&["import", "rootfs.tar", "busybox:latest"]);
}
