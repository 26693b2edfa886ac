//! A small root file system and the ways to run it: as root, as a user with subordinate ids, as a user
//! with one id. Each check runs in every way that the machine allows; in CI that must be all.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use castoff_sandbox::{MountKind, MountSpec, ProcessSpec};
use tempfile::TempDir;

/// The user for whom nothing on the machine is made.
const USER: u32 = 20_001;
/// The first of that user's 65536 subordinate ids.
const SUBORDINATE: u32 = 300_000;

/// As whom the sandbox is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Root,
    Range,
    Single,
}

/// A root file system in a temporary directory, and a mode to run it in.
pub struct Machine {
    pub mode: Mode,
    /// Whether part of /proc is hidden, as in a container.
    pub in_container: bool,
    directory: TempDir,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// `code N`, `signal N`, `cancelled`, `timed out`, or empty with an error.
    pub status: String,
    pub error: String,
    pub stdout: String,
    pub stderr: String,
}

/// Applets of busybox that the checks use.
const APPLETS: [&str; 36] = [
    "sh", "cat", "ls", "rm", "mkdir", "rmdir", "touch", "echo", "id", "hostname", "grep", "ip", "stat",
    "chown", "chmod", "mount", "umount", "sleep", "setsid", "ln", "mv", "pwd", "env", "ulimit", "test",
    "mknod", "wc", "sort", "find", "cp", "true", "readlink", "tty", "su", "head", "cut",
];

/// Runs a check in every mode of this machine.
pub fn everywhere(check: impl Fn(&Machine)) {
    for mode in modes() {
        check(&Machine::new(*mode));
    }
}

/// Runs a check as users in a container that hides part of /proc, for which it takes root to set up.
pub fn in_containers(check: impl Fn(&Machine)) {
    if !modes().contains(&Mode::Root) {
        return;
    }
    for mode in [Mode::Range, Mode::Single] {
        let mut machine = Machine::new(mode);
        machine.in_container = true;
        check(&machine);
    }
}

/// The modes of this machine. This is the one place that may leave checks out, and not in CI.
fn modes() -> &'static [Mode] {
    static MODES: OnceLock<Vec<Mode>> = OnceLock::new();
    MODES.get_or_init(|| {
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let wanted: &[Mode] =
            if is_root { &[Mode::Root, Mode::Range, Mode::Single] } else { &[Mode::Range, Mode::Single] };
        let possible: Vec<Mode> = wanted.iter().copied().filter(|mode| is_possible(*mode)).collect();
        let all = possible == [Mode::Root, Mode::Range, Mode::Single];
        assert!(all || std::env::var_os("CI").is_none(), "this machine allows only {possible:?}");
        assert!(!possible.is_empty() || std::env::var_os("CI").is_none());
        possible
    })
}

fn is_possible(mode: Mode) -> bool {
    let expected = match mode {
        Mode::Root => "Root",
        Mode::Range => "UserNamespace(Range)",
        Mode::Single => "UserNamespace(Single)",
    };
    let said = Machine::new(mode).command(&["enter"]).output().expect("the child starts");
    String::from_utf8_lossy(&said.stdout).trim() == expected
}

/// The test program where every user can reach it: one copy for all tests of a build, because a static
/// value is never dropped and each test may be a process of its own.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_castoff-sandbox-child"));
        let modified = fs::metadata(built).and_then(|metadata| metadata.modified()).expect("it was built");
        let stamp = modified.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let copy = std::env::temp_dir().join(format!("castoff-sandbox-child-{stamp}"));
        if !copy.exists() {
            let partial = copy.with_extension(std::process::id().to_string());
            fs::copy(built, &partial).expect("the program is there");
            fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).expect("own file");
            fs::rename(&partial, &copy).expect("own directory entry");
        }
        copy
    })
}

impl Machine {
    fn new(mode: Mode) -> Machine {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let machine = Machine { mode, in_container: false, directory };
        machine.fill().expect("a root file system is made");
        machine
    }

    fn fill(&self) -> std::io::Result<()> {
        for path in [
            "lower/bin",
            "lower/etc",
            "lower/home",
            "lower/data/sub",
            "lower/tmp",
            "upper",
            "work",
            "outside",
        ] {
            fs::create_dir_all(self.path(path))?;
        }
        fs::copy("/bin/busybox", self.path("lower/bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", self.path("lower/bin").join(applet))?;
        }
        let files = [
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"),
            ("etc/group", "root:x:0:\nuser:x:1000:\n"),
            ("data/file", "lower\n"),
            ("data/sub/file", "below\n"),
        ];
        for (path, text) in files {
            fs::write(self.path("lower").join(path), text)?;
        }
        fs::write(self.path("outside/file"), "outside\n")?;
        symlink(self.path("outside"), self.path("lower/escape"))?;
        symlink("../../../../../../../../..", self.path("lower/up"))?;
        fs::set_permissions(self.path("lower/tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755))?;
        if self.mode != Mode::Root && self.we_are_root() {
            give(self.directory.path(), USER)?;
        }
        Ok(())
    }

    fn we_are_root(&self) -> bool {
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
    }

    /// A path in the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory with one file, owned by the mode's user.
    pub fn directory_with(&self, name: &str, file: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("own directory");
        fs::write(path.join(file), content).expect("own directory");
        if self.mode != Mode::Root && self.we_are_root() {
            give(&path, USER).expect("we are root");
        }
        path
    }

    /// Checks that something in the upper directory belongs to a user of the sandbox, where that user's
    /// number on the machine is known.
    #[track_caller]
    pub fn is_owned(&self, name: &str, inside: u32) {
        let outside = match (self.mode, inside) {
            (Mode::Root, id) => id,
            _ if !self.we_are_root() => return,
            (Mode::Range, 1..) => SUBORDINATE + inside - 1,
            (Mode::Range | Mode::Single, _) => USER,
        };
        let metadata = fs::symlink_metadata(self.path("upper").join(name)).expect("it was made");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), outside, "{:?} {name}", self.mode);
    }

    /// A specification that runs a script of the shell.
    pub fn script(&self, script: &str) -> ProcessSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    pub fn spec(&self, argv: &[&str]) -> ProcessSpec {
        ProcessSpec {
            lowers: vec![self.path("lower")],
            upper: self.path("upper"),
            work: self.path("work"),
            userxattr: self.mode != Mode::Root,
            argv: argv.iter().map(OsString::from).collect(),
            env: vec![("PATH".into(), "/bin".into())],
            hostname: "buildkitsandbox".to_owned(),
            fake_ids: self.mode == Mode::Single,
            ..ProcessSpec::default()
        }
    }

    pub fn run(&self, spec: &ProcessSpec) -> Outcome {
        self.run_with(spec, &[], "")
    }

    /// Runs with something on standard input.
    pub fn run_typing(&self, spec: &ProcessSpec, input: &str) -> Outcome {
        self.run_with(spec, &[], input)
    }

    /// Runs until the output has a text in it, then cancels.
    pub fn run_until(&self, spec: &ProcessSpec, text: &str) -> Outcome {
        self.run_with(spec, &[text], "")
    }

    fn run_with(&self, spec: &ProcessSpec, more: &[&str], input: &str) -> Outcome {
        // A volatile overlay marks its work directory, which must not be used again.
        self.remove("work/work");
        let path = self.write(spec);
        let mut arguments = vec!["run", path.to_str().expect("temporary paths are text")];
        arguments.extend(more);
        let mut command = self.command(&arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the child starts");
        child.stdin.take().expect("it is a pipe").write_all(input.as_bytes()).expect("it fits into the pipe");
        let said = child.wait_with_output().expect("the child ends");
        let document: serde_json::Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said.stderr)));
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        Outcome {
            status: text("status"),
            error: text("error"),
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }

    /// Writes a specification to a file that the mode's user can read.
    pub fn write(&self, spec: &ProcessSpec) -> PathBuf {
        let path = self.path("spec.json");
        fs::write(&path, serde_json::to_vec(spec).expect("specifications are plain data"))
            .expect("own directory");
        path
    }

    /// Runs a script and returns what it prints; it must end well and say nothing on standard error.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        self.says_with(&self.script(script))
    }

    #[track_caller]
    pub fn says_with(&self, spec: &ProcessSpec) -> String {
        let outcome = self.run(spec);
        assert!(outcome.status == "code 0" && outcome.stderr.is_empty(), "{:?}: {outcome:?}", self.mode);
        outcome.stdout
    }

    /// Removes a directory. A user can do that to what overlayfs closed, or to what the user's subordinate
    /// ids own, only inside the namespace.
    fn remove(&self, name: &str) {
        let path = self.path(name);
        if !path.exists() {
            return;
        }
        if self.we_are_root() {
            fs::remove_dir_all(path).expect("root may remove it");
        } else {
            let path = path.to_str().expect("temporary paths are text");
            let removed = self.command(&["remove", path]).status();
            assert!(removed.is_ok_and(|status| status.success()), "{path} is removed");
        }
    }

    /// The test program, as the mode's user.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut all: Vec<OsString> = vec![program().into()];
        if self.mode == Mode::Single {
            all.push("--single".into());
        }
        all.extend(arguments.iter().map(OsString::from));
        let mut command;
        if self.mode == Mode::Root || !self.we_are_root() {
            command = Command::new(&all[0]);
            command.args(&all[1..]);
        } else {
            // The user exists in a mount namespace only.
            let script = r#"set -e
                { cat /etc/passwd; echo "castoff-test:x:$1:$1::/:/bin/sh"; } >"$2/passwd"
                echo "castoff-test:$3:65536" >"$2/subid"
                mount --bind "$2/passwd" /etc/passwd
                mount --bind "$2/subid" /etc/subuid
                mount --bind "$2/subid" /etc/subgid
                [ "$4" = false ] || mount --bind /dev/null /proc/uptime
                user=$1; shift 4
                exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@""#;
            command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script, "sh"]);
            command.args([
                USER.to_string(),
                self.directory.path().display().to_string(),
                SUBORDINATE.to_string(),
                self.in_container.to_string(),
            ]);
            command.args(&all);
        }
        command.stdin(Stdio::null()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// What the process left behind: the paths in the upper directory, sorted, with whiteouts marked.
    pub fn upper(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.path("upper"), "", &mut found);
        found.sort();
        found
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.we_are_root() {
            self.remove("upper");
            self.remove("work");
        }
    }
}

fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in fs::read_dir(directory).expect("the upper directory is readable").flatten() {
        let metadata = entry.metadata().expect("an entry has metadata");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if metadata.is_dir() {
            found.push(format!("{name}/"));
            list(&entry.path(), &format!("{name}/"), found);
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            found.push(format!("{name} removed"));
        } else {
            found.push(name);
        }
    }
}

/// Gives a tree to a user.
fn give(path: &Path, user: u32) -> std::io::Result<()> {
    lchown(path, Some(user), Some(user))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Returns what a command prints; it must end well.
#[track_caller]
pub fn says(command: &mut Command) -> String {
    let said = command.stdin(Stdio::null()).output().expect("the command starts");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).expect("it prints text")
}

/// A mount of a file or directory of the machine.
pub fn bind(target: &str, source: PathBuf, writable: bool) -> MountSpec {
    MountSpec { target: target.into(), kind: MountKind::Bind { source, writable } }
}
