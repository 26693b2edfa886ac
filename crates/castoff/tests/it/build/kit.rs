//! What the tests of builds share: a store with a base image, a directory to build from, ways to look at
//! what came out, and the users for whom it is done.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use castoff_oci::Digest;
use tempfile::TempDir;

/// Does some checks that run steps, as the current user.
///
/// This is the only place that may skip, and only outside of CI: where the machine lets nobody run steps
/// there is nothing to check.
pub fn with_steps(check: impl Fn(&Kit)) {
    as_users(&[User::Current], check);
}

/// Does some checks that run steps as each kind of user that the machine has and the current one may
/// become: itself, one with subordinate ids, one with nothing but its own id.
pub fn with_steps_as_each_user(check: impl Fn(&Kit)) {
    as_users(&User::every(), check);
}

fn as_users(users: &[User], check: impl Fn(&Kit)) {
    for user in users {
        let kit = Kit::of(user.clone());
        if let Err(refusal) = user.can_run_steps() {
            assert!(std::env::var_os("CI").is_none(), "steps cannot run as {user:?}: {refusal}");
            writeln!(std::io::stderr(), "skipped as {user:?}: {refusal}").expect("standard error is open");
            continue;
        }
        let _told = ToldOnPanic(user);
        check(&kit);
    }
}

/// Says for whom a check failed.
struct ToldOnPanic<'a>(&'a User);

impl Drop for ToldOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _nobody = writeln!(std::io::stderr(), "as {:?}", self.0);
        }
    }
}

/// Who runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// Who runs the tests.
    Current,
    /// The same, root, with layers unpacked where they would be mounted.
    Unpacking,
    /// Somebody else, because the tests run as root.
    Other { uid: u32, gid: u32, subordinate_ids: bool },
}

impl User {
    fn every() -> Vec<User> {
        let mut users = vec![User::Current];
        if rustix::process::geteuid().is_root() {
            users.push(User::Unpacking);
            users.extend(with_subordinate_ids());
            // An id that no file of this machine mentions.
            users.push(User::Other { uid: 54_321, gid: 54_321, subordinate_ids: false });
        }
        users
    }

    /// Returns whether files may get any owner.
    pub fn has_many_ids(&self) -> bool {
        match self {
            User::Current => rustix::process::geteuid().is_root() || caller_has_subordinate_ids(),
            User::Unpacking => true,
            User::Other { subordinate_ids, .. } => *subordinate_ids,
        }
    }

    /// Tries it once in the life of this process.
    fn can_run_steps(&self) -> Result<(), String> {
        static TRIED: [OnceLock<Result<(), String>>; 4] = [const { OnceLock::new() }; 4];
        let slot = match self {
            User::Current => 0,
            User::Other { subordinate_ids: true, .. } => 1,
            User::Other { subordinate_ids: false, .. } => 2,
            User::Unpacking => 3,
        };
        TRIED[slot]
            .get_or_init(|| {
                let done = Kit::of(self.clone()).castoff(&["run", "busybox", "true"]);
                if done.code == Some(0) { Ok(()) } else { Err(done.stderr) }
            })
            .clone()
    }
}

fn with_subordinate_ids() -> Option<User> {
    let ranges = fs::read_to_string("/etc/subuid").ok()?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    ranges.lines().find_map(|range| {
        let name = range.split(':').next()?;
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = fields.into_iter().find(|fields| fields[0] == name && fields.len() == 7)?;
        let (uid, gid) = (user[2].parse().ok()?, user[3].parse().ok()?);
        (uid != 0).then_some(User::Other { uid, gid, subordinate_ids: true })
    })
}

fn caller_has_subordinate_ids() -> bool {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let name = fs::read_to_string("/etc/passwd").ok().and_then(|users| {
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|fields| fields.get(2) == Some(&uid.as_str())).map(|fields| fields[0].to_owned())
    });
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    ranges
        .lines()
        .filter_map(|line| line.split(':').next())
        .any(|range| range == uid || Some(range) == name.as_deref())
}

/// A directory with a store in `store/`, which has the image `busybox`, and files to build from in
/// `context/`.
pub struct Kit {
    /// Who runs the program.
    pub user: User,
    directory: TempDir,
}

impl Kit {
    /// Returns a kit for checks that run no steps.
    pub fn new() -> Kit {
        Kit::of(User::Current)
    }

    /// Returns a kit of the same user with a store that has the base image alone.
    pub fn another(&self) -> Kit {
        Kit::of(self.user.clone())
    }

    fn of(user: User) -> Kit {
        let kit = Kit { user, directory: tempfile::tempdir().unwrap() };
        fs::create_dir(kit.path("context")).unwrap();
        copy(&base().store, &kit.path("store"));
        kit.own(&kit.path(""));
        kit
    }

    /// Gives the user everything in the kit's directory, after files were written there.
    pub fn own_all(&self) {
        for entry in fs::read_dir(self.path("")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "store" {
                self.own(&entry.path());
            }
        }
    }

    fn own(&self, path: &Path) {
        if let User::Other { uid, gid, .. } = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
            if path.is_dir() {
                fs::read_dir(path).unwrap().for_each(|entry| self.own(&entry.unwrap().path()));
            }
        }
    }

    /// Returns whether the store had a file before anything was built.
    pub fn is_of_base_image(&self, file: &Path) -> bool {
        base().store.join(file.strip_prefix(self.path("store")).unwrap()).exists()
    }

    /// Returns a path in the kit's directory, which is the program's working directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes a file of the kit's directory, and the directories it needs.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the kit's directory.
    pub fn read(&self, path: &str) -> String {
        String::from_utf8(fs::read(self.path(path)).unwrap()).unwrap()
    }

    /// Returns the program with some words, in an environment with a store and a search path.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let program = match self.user {
            User::Current | User::Unpacking => Path::new(env!("CARGO_BIN_EXE_castoff")),
            User::Other { .. } => &base().program,
        };
        let mut command = Command::new(program);
        command.args(words);
        self.prepare(command)
    }

    /// Returns the program with some words, in a process that lets others read nothing it makes.
    pub fn command_with_mask<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let castoff = self.command(words);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "umask 0077; exec \"$@\"", "sh"])
            .arg(castoff.get_program())
            .args(castoff.get_args());
        self.prepare(command)
    }

    /// Returns another program as the kit's user.
    pub fn as_user(&self, mut command: Command) -> Command {
        if let User::Other { uid, gid, .. } = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn prepare(&self, command: Command) -> Command {
        let unpacking = self.user == User::Unpacking;
        let mut command = self.as_user(command);
        command
            .env_clear()
            .env("CASTOFF_ROOT", self.path("store"))
            .env("CASTOFF_SNAPSHOTTER", if unpacking { "directory" } else { "auto" })
            // For newuidmap.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub fn castoff(&self, words: &[&str]) -> Done {
        Done::of(self.command(words))
    }

    /// Runs the program with something on standard input.
    pub fn castoff_reading(&self, words: &[&str], input: &[u8]) -> Done {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut command = self.command(words);
        command.stdin(file);
        Done::of(command)
    }

    /// Builds `context/` with this Dockerfile.
    pub fn build(&self, dockerfile: &str, flags: &[&str]) -> Done {
        self.write("context/Dockerfile", dockerfile);
        self.castoff(&[&["build"], flags, &["context"]].concat())
    }

    /// Builds `context/` with this Dockerfile, which must succeed, and returns the files of the result.
    pub fn files(&self, dockerfile: &str, flags: &[&str]) -> Files {
        let done = self.build(dockerfile, &[&["-o", "type=tar,dest=-"], flags].concat()).succeeds();
        Files::read(&done.stdout)
    }

    /// Returns the facts of an image.
    pub fn inspect(&self, image: &str) -> serde_json::Value {
        let done = self.castoff(&["inspect", image]).succeeds();
        let mut list: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        list[0].take()
    }

    /// Returns the instructions of an image, the oldest first.
    pub fn history(&self, image: &str) -> Vec<String> {
        let done = self.castoff(&["history", "--format", "json", image]).succeeds();
        let text = String::from_utf8(done.stdout).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut list: Vec<String> = rows.map(|row| row["CreatedBy"].as_str().unwrap().to_owned()).collect();
        list.reverse();
        list
    }

    /// Returns the files below a path of the kit's directory that contain some bytes.
    pub fn containing(&self, path: &str, needle: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path(path), &mut |path| {
            let bytes = if path.is_symlink() {
                fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
            } else if path.is_file() {
                fs::read(path).unwrap()
            } else {
                Vec::new()
            };
            let name = path.as_os_str().as_encoded_bytes();
            if [name, &bytes].iter().any(|text| text.windows(needle.len()).any(|window| window == needle)) {
                found.push(path.to_owned());
            }
        });
        found
    }
}

impl Drop for Kit {
    /// Files of subordinate owners are nobody's to delete but the program's.
    fn drop(&mut self) {
        if self.user == User::Current && !rustix::process::geteuid().is_root() {
            let _best_effort = self.castoff(&["prune", "--all", "--force"]);
        }
    }
}

/// Returns everything below a directory.
pub fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(path, &mut |path| found.push(path.to_owned()));
    found
}

/// Visits everything below a directory.
pub fn walk(path: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}

/// A run of the program that has ended.
#[derive(Debug)]
pub struct Done {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn of(mut command: Command) -> Done {
        Done::wait(command.spawn().unwrap())
    }

    pub fn wait(child: Child) -> Done {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Done { code: output.status.code(), stdout: output.stdout, stderr }
    }

    #[track_caller]
    pub fn succeeds(self) -> Done {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn fails(self) -> Done {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        self
    }

    /// Checks that standard error has a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Done {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        self
    }

    /// Checks that standard error lacks a text.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Done {
        assert!(!self.stderr.contains(text), "`{text}` is in:\n{}", self.stderr);
        self
    }

    /// Returns standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Returns what is said of the step whose name ends so, without the step's number.
    #[track_caller]
    pub fn step(&self, name: &str) -> Vec<&str> {
        let Some(header) = self.stderr.lines().find(|line| line.starts_with('#') && line.ends_with(name))
        else {
            panic!("no step `{name}` in:\n{}", self.stderr)
        };
        let number = header.split(' ').next().unwrap();
        let said = self.stderr.lines().filter_map(|line| line.strip_prefix(number)?.strip_prefix(' '));
        said.skip(1).collect()
    }

    /// Returns the steps that were served from cache, by the text of their instruction.
    pub fn cached(&self) -> Vec<&str> {
        self.ended(|end| end == "CACHED")
    }

    /// Returns the steps that were executed.
    pub fn executed(&self) -> Vec<&str> {
        self.ended(|end| end.starts_with("DONE "))
    }

    fn ended(&self, fits: impl Fn(&str) -> bool) -> Vec<&str> {
        let mut names = BTreeMap::new();
        let mut found = Vec::new();
        for line in self.stderr.lines().filter(|line| line.starts_with('#')) {
            let Some((number, text)) = line.split_once(' ') else { continue };
            let name: &mut &str = names.entry(number).or_insert(text);
            if fits(text)
                && let Some((stage, instruction)) = name.split_once("] ")
                && stage != "[internal"
                && !instruction.starts_with("FROM ")
            {
                found.push(instruction);
            }
        }
        found.sort_unstable();
        found
    }
}

/// The files of an archive, by path without leading or trailing slash.
#[derive(Debug)]
pub struct Files(pub BTreeMap<String, FileOf>);

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOf {
    /// As `ls` shows it: `-`, `d`, `l`, `h` for a further name of a file, `c`, `b` or `p`.
    pub kind: char,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub link: String,
    pub content: Vec<u8>,
    pub pax: BTreeMap<String, Vec<u8>>,
}

impl Files {
    pub fn read(bytes: &[u8]) -> Files {
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let pax = entry.pax_extensions().unwrap().into_iter().flatten().map(|pair| {
                let pair = pair.unwrap();
                (pair.key().unwrap().to_owned(), pair.value_bytes().to_owned())
            });
            let pax = pax.collect();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let header = entry.header();
            let file = FileOf {
                kind: match header.entry_type() {
                    tar::EntryType::Regular => '-',
                    tar::EntryType::Directory => 'd',
                    tar::EntryType::Symlink => 'l',
                    tar::EntryType::Link => 'h',
                    tar::EntryType::Char => 'c',
                    tar::EntryType::Block => 'b',
                    tar::EntryType::Fifo => 'p',
                    other => panic!("{path}: {other:?}"),
                },
                mode: header.mode().unwrap(),
                uid: header.uid().unwrap(),
                gid: header.gid().unwrap(),
                // Times before 1970 are in the extension only.
                mtime: header.mtime().unwrap_or_default(),
                link: entry
                    .link_name_bytes()
                    .map(|link| String::from_utf8(link.into_owned()).unwrap())
                    .unwrap_or_default(),
                content,
                pax,
            };
            let path = path.trim_start_matches("./").trim_matches('/').to_owned();
            assert!(files.insert(path.clone(), file).is_none(), "{path} is in the archive twice");
        }
        Files(files)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> &FileOf {
        self.0.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", self.paths()))
    }

    /// Returns a file's content as text.
    #[track_caller]
    pub fn text(&self, path: &str) -> &str {
        std::str::from_utf8(&self.get(path).content).unwrap()
    }

    /// Returns the paths in order.
    pub fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|path| !path.is_empty()).collect()
    }

    /// Returns `kind mode uid:gid` of an entry.
    #[track_caller]
    pub fn look(&self, path: &str) -> String {
        let file = self.get(path);
        format!("{}{:04o} {}:{}", file.kind, file.mode, file.uid, file.gid)
    }
}

/// Runs a program of the machine. In CI it must be there; elsewhere its absence is answered by nothing.
pub fn tool(program: &str, arguments: &[&str], directory: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    match command.spawn() {
        Ok(child) => Some(Done::wait(child).succeeds().text().to_owned()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
            None
        }
    }
}

/// Returns the layers of the one image in an archive, from the bottom. Every digest is checked on the way.
pub fn layers(archive: &Path) -> Vec<Files> {
    let archive = Files::read(&fs::read(archive).unwrap());
    let index = json(&archive.get("index.json").content);
    layers_of(&archive, &index["manifests"][0]["digest"])
}

/// Returns the images of the one index in an archive in its order: the platform, the config and the layers
/// of each. Every digest and size is checked on the way.
pub fn platforms(archive: &Path) -> Vec<(String, serde_json::Value, Vec<Files>)> {
    let archive = Files::read(&fs::read(archive).unwrap());
    let root = json(&archive.get("index.json").content);
    assert_eq!(root["manifests"].as_array().unwrap().len(), 1, "{root}");
    assert_eq!(root["manifests"][0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(root["manifests"][0]["platform"], serde_json::Value::Null);
    let index = json(blob(&archive, &root["manifests"][0]["digest"]));
    assert_eq!(index["schemaVersion"], 2);
    let entries = index["manifests"].as_array().unwrap().iter().map(|entry| {
        assert_eq!(entry["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        let bytes = blob(&archive, &entry["digest"]);
        assert_eq!(entry["size"], bytes.len());
        let config = json(blob(&archive, &json(bytes)["config"]["digest"]));
        let platform = |value: &serde_json::Value| {
            let part = |key: &str| value[key].as_str().map(str::to_owned);
            [part("os"), part("architecture"), part("variant")].into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(platform(&entry["platform"]), platform(&config));
        (platform(&config).join("/"), config, layers_of(&archive, &entry["digest"]))
    });
    entries.collect()
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

fn blob<'a>(archive: &'a Files, digest: &serde_json::Value) -> &'a [u8] {
    let digest = digest.as_str().unwrap();
    let content = &archive.get(&format!("blobs/{}", digest.replace(':', "/"))).content;
    assert_eq!(Digest::of(content).to_string(), digest);
    content
}

fn layers_of(archive: &Files, manifest: &serde_json::Value) -> Vec<Files> {
    let manifest = json(blob(archive, manifest));
    let config = json(blob(archive, &manifest["config"]["digest"]));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let history = config["history"].as_array().unwrap();
    let with_layers = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(with_layers, diff_ids.len(), "{history:?}");
    let list = manifest["layers"].as_array().unwrap();
    assert_eq!(list.len(), diff_ids.len());
    list.iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| {
            let bytes = blob(archive, &layer["digest"]);
            assert_eq!(layer["size"], bytes.len());
            let mut tar = Vec::new();
            let (_, mut unpacked) = castoff_layer::decompress(Box::new(bytes)).unwrap();
            unpacked.read_to_end(&mut tar).unwrap();
            assert_eq!(Digest::of(&tar).to_string(), diff_id.as_str().unwrap());
            Files::read(&tar)
        })
        .collect()
}

/// What all kits are copies of.
struct Base {
    /// A store with the image `busybox`, nothing of it unpacked.
    store: PathBuf,
    /// The program, where every user may run it.
    program: PathBuf,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let directory = directory_of_this_process();
        let (store, archive) = (directory.join("store"), directory.join("rootfs.tar"));
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_castoff"));
        let open_to_all = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
        if rustix::process::geteuid().is_root() && !program.ancestors().all(open_to_all) {
            let copied = directory.join("castoff");
            fs::copy(&program, &copied).unwrap();
            program = copied;
        }
        fs::write(&archive, root_file_system()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
        command.arg("import").arg(&archive).arg("busybox:latest").env_clear().env("CASTOFF_ROOT", &store);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Done::of(command).succeeds();
        fs::remove_file(archive).unwrap();
        Base { store, program }
    })
}

/// Returns a new directory. Nothing runs at the end of a process of tests, so the next one removes it.
fn directory_of_this_process() -> PathBuf {
    const PREFIX: &str = "castoff-tests-";
    let temporary = std::env::temp_dir();
    for entry in fs::read_dir(&temporary).unwrap().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _of_another_user = fs::remove_dir_all(entry.path());
        }
    }
    let directory = temporary.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The programs of the base image.
const APPLETS: &str = "awk basename cat chgrp chmod chown cp cut date dd df dirname du echo egrep env expr false \
     find grep head hostname id install ip ln ls md5sum mkdir mkfifo mknod mktemp mount mv nc od printf ps pwd \
     readlink rm rmdir sed sh sha256sum sleep sort stat sync tail tar tee test touch tr true umount uname uniq \
     usleep wc whoami xargs yes";

/// Returns a root file system of a static busybox, as a tar.
fn root_file_system() -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"]
        .into_iter()
        .find_map(|path| fs::read(path).ok())
        .expect("the package busybox-static is installed");
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        if kind == tar::EntryType::Symlink {
            header.set_size(0);
            tar.append_link(&mut header, path, std::str::from_utf8(content).unwrap()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content).unwrap();
        }
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    for directory in ["bin", "etc", "home", "usr", "usr/bin", "var"] {
        add(directory, Directory, 0o755, b"");
    }
    add("root", Directory, 0o700, b"");
    add("tmp", Directory, 0o1777, b"");
    add("bin/busybox", Regular, 0o755, &busybox);
    for applet in APPLETS.split_whitespace() {
        add(&format!("bin/{applet}"), Symlink, 0o777, b"busybox");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
    add("etc/passwd", Regular, 0o644, users.as_bytes());
    add("etc/group", Regular, 0o644, b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n");
    tar.into_inner().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
    let mode = fs::metadata(from).unwrap().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
}
