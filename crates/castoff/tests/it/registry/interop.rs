//! What castoff writes is read by other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kit::{Machine, has, run, text};

/// More than one member of compression, and the kinds of files that archives may get wrong.
fn image(machine: &Machine) {
    // Text that compresses and is longer than a block.
    let long: String = (0..600_000).map(|number| format!("{number}\n")).collect();
    machine.write("context/dir/long", long);
    machine.write("context/dir/.hidden file", "x");
    machine.write(&format!("context/{}", "n".repeat(150)), "long name");
    machine.write("context/gone", "gone");
    std::os::unix::fs::symlink("dir/long", machine.path("context/link")).unwrap();
    machine.build(
        "FROM scratch\nCOPY . /all/\nCOPY --chmod=4751 --chown=7:8 gone /all/tool\nWORKDIR /all\n\
         ENV A=b\nLABEL c=d\nENTRYPOINT [\"/all/tool\"]\nUSER 7\n",
        &["-t", "made:1"],
    );
}

fn skopeo(words: &[&str]) -> String {
    run(Command::new("skopeo").arg("--insecure-policy").args(words))
}

fn inspect(from: &str) -> serde_json::Value {
    serde_json::from_str(&skopeo(&["inspect", "--config", from])).unwrap()
}

#[track_caller]
fn check_config(config: &serde_json::Value) {
    let part = &config["config"];
    assert_eq!(part["Env"][1], "A=b");
    assert_eq!(part["Labels"]["c"], "d");
    assert_eq!(part["Entrypoint"][0], "/all/tool");
    assert_eq!((&part["User"], &part["WorkingDir"]), (&"7".into(), &"/all".into()));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3, "{config}");
}

/// Makes archives of both formats, and a layout.
fn written(machine: &Machine) -> [String; 3] {
    image(machine);
    machine.castoff(&["save", "-o", "docker.tar", "made:1"]);
    machine.castoff(&["save", "--format", "oci", "-o", "oci.tar", "made:1"]);
    machine.build("FROM made:1\n", &["-t", "made:1", "-o", "type=oci,tar=false,dest=layout"]);
    let path = |name: &str| machine.path(name).display().to_string();
    [
        format!("docker-archive:{}", path("docker.tar")),
        format!("oci-archive:{}", path("oci.tar")),
        format!("oci:{}:1", path("layout")),
    ]
}

// B-102
#[test]
fn skopeo_reads_and_copies_what_castoff_writes() {
    if !has(&["skopeo"]) {
        return;
    }
    let machine = Machine::new();
    for from in written(&machine) {
        check_config(&inspect(&from));
        let to = machine.path("copied");
        let to_layout = format!("oci:{}:1", to.display());
        // Copying checks the digest of each layer, and of what it unpacks to.
        skopeo(&["copy", "--quiet", "--dest-decompress", &from, &to_layout]);
        check_config(&inspect(&to_layout));
        let another = Machine::new();
        another.castoff(&["load", "-i", &to.display().to_string()]);
        fs::remove_dir_all(to).unwrap();
    }
}

// B-102: and castoff reads what skopeo writes.
#[test]
fn castoff_reads_what_skopeo_writes() {
    if !has(&["skopeo"]) {
        return;
    }
    let machine = Machine::new();
    let [from, ..] = written(&machine);
    for (kind, name) in [("docker-archive", "a.tar"), ("oci-archive", "b.tar"), ("oci", "c")] {
        let path = machine.path(name).display().to_string();
        skopeo(&["copy", "--quiet", &from, &format!("{kind}:{path}:made:2")]);
        let another = Machine::new();
        let said = another.castoff(&["load", "-i", &path]);
        assert!(said.contains("made:2"), "{kind}: {said}");
        let facts: serde_json::Value =
            serde_json::from_str(&another.castoff(&["inspect", "made:2"])).unwrap();
        assert_eq!(facts[0]["Config"]["Labels"]["c"], "d", "{kind}");
        another.castoff(&["save", "-o", "again.tar", "made:2"]);
        check_config(&inspect(&format!("docker-archive:{}", another.path("again.tar").display())));
        let files = another.files("FROM made:2\n", &[]);
        assert_eq!(fs::metadata(files.join("all/dir/long")).unwrap().len(), 4_088_890, "{kind}");
    }
}

/// Returns the regular files below a directory with their content, and the links with their target.
fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    super::kit::walk(directory, &mut |path| {
        let content = match fs::read_link(path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) => fs::read(path).unwrap(),
        };
        found.push((path.strip_prefix(directory).unwrap().to_owned(), content));
    });
    found.sort();
    found
}

// B-102
#[test]
fn umoci_unpacks_what_castoff_writes() {
    if !has(&["umoci"]) {
        return;
    }
    let machine = Machine::new();
    written(&machine);
    let layout = format!("{}:1", machine.path("layout").display());
    let bundle = machine.path("bundle");
    let mut command = Command::new("umoci");
    command.args(["unpack", "--image", &layout]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--rootless");
    }
    run(command.arg(&bundle));
    let files = machine.files("FROM made:1\n", &[]);
    assert_eq!(tree(&bundle.join("rootfs")), tree(&files));
    assert!(tree(&files).len() >= 5);
}

// B-102
#[test]
fn tar_and_gzip_read_archives_and_layers() {
    let machine = Machine::new();
    written(&machine);
    for name in ["docker.tar", "oci.tar"] {
        let listing = run(Command::new("tar").arg("-tf").arg(machine.path(name)));
        for file in ["oci-layout", "index.json", "blobs/sha256/"] {
            assert!(listing.lines().any(|line| line == file), "{name}: {listing}");
        }
        assert_eq!(listing.lines().any(|line| line == "manifest.json"), name == "docker.tar");
    }
    let mut layers = Vec::new();
    super::kit::walk(&machine.path("layout/blobs"), &mut |path| {
        if fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]) {
            layers.push(path.to_owned());
        }
    });
    assert_eq!(layers.len(), 3);
    let (mut members, mut listing) = (0, String::new());
    for layer in &layers {
        let compressed = fs::read(layer).unwrap();
        members += compressed.windows(4).filter(|window| *window == [0x1f, 0x8b, 8, 0]).count();
        let output =
            Command::new("gzip").args(["-cd"]).stdin(fs::File::open(layer).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let plain = machine.write("plain.tar", &output.stdout);
        listing.push_str(&run(Command::new("tar").arg("-tvf").arg(plain)));
    }
    for file in [" all/dir/.hidden file", " all/link -> dir/long", "-rwsr-x--x 7/8 "] {
        assert!(listing.contains(file), "{file} is not in:\n{listing}");
    }
    assert!(members > 3, "the long file is in one member");
}
