//! Context directories, archives and the base, from lines that describe files.
//!
//! ```text
//! dir/ 2750                a directory, with its mode
//! dir/file 0640 = text     a file
//! link -> dir/file         a symbolic link
//! other => dir/file        a hard link
//! pipe |                   a FIFO
//! dir/file @ user.a=b      an extended attribute of what is there
//! a.tar.gz < name          an archive of that name of the group, compressed as the ending says
//! "a b" = text             a name with blanks
//! ```
//!
//! In archives, `7:8` after the mode is the owner, and names are stored as they are written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::run;

/// Lines by the name of the archive that they describe.
pub(super) type Archives = BTreeMap<String, Vec<String>>;

/// The time of every file: older than any run.
const TIME: u64 = 1_000_000_000;

/// Programs of the base.
const APPLETS: &str = "[ basename cat chgrp chmod chown cp cut date dd dirname echo env expr false find grep head id \
ln ls mkdir mkfifo mknod mktemp mv od printf pwd readlink rm rmdir sed seq sh sleep sort stat sync tail tar test \
touch tr true uname wc xargs";

/// Files of the base besides its programs.
const BASE: &[&str] = &[
    "bin/",
    "etc/",
    "etc/passwd = root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1001:app:/home/app:/bin/sh\\nweb:x:33:33::/var/www:/bin/sh\\n",
    "etc/group = root:x:0:\\nstaff:x:50:app\\napp:x:1001:\\nweb:x:33:app\\n",
    "root/ 0700",
    "tmp/ 1777",
    // Without them, docker and buildah leave what they mount on.
    "dev/",
    "proc/",
    "sys/",
    "home/",
    "data/ 0750",
    "data/file 0600 = old",
    "data/sub/ 0700",
    "data/sub/deep 0640 = old",
    "data/twin => data/file",
    "data/full/",
    "data/full/one = 1",
    "data/full/two = 2",
    "data/setuid 4755 = s",
    "to-data -> data",
    "abs-data -> /data",
    "up-data -> ../../../data/sub",
    "dangling -> /nowhere/yet",
    "file-link -> data/file",
    "chain -> to-data",
    "loop -> loop",
];

/// What a line describes.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    path: String,
    mode: Option<u32>,
    owner: (u64, u64),
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Directory,
    File(String),
    Symlink(String),
    Hardlink(String),
    Fifo,
    Attribute(String, String),
    Archive(String),
}

/// Writes a context anew.
pub(super) fn write(directory: &Path, files: &[String], archives: &Archives) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut directories = Vec::new();
    for line in files {
        let described = parse(line)?;
        make(directory, &described, archives).with_context(|| format!("`{line}`"))?;
        if described.what == What::Directory {
            directories.push(described);
        }
    }
    // The mode of a directory must not be in the way of what is put into it.
    for described in directories {
        let mode = described.mode.unwrap_or(0o755);
        fs::set_permissions(directory.join(&described.path), PermissionsExt::from_mode(mode))?;
    }
    // Deepest first, so that no directory is touched afterwards. Links are left out by `touch` itself.
    run(Command::new("find").arg(directory).args(["-depth", "-exec", "touch", "--no-dereference"]).args([
        format!("--date=@{TIME}").as_str(),
        "{}",
        "+",
    ]))
}

fn make(directory: &Path, described: &Described, archives: &Archives) -> Result<()> {
    let path = directory.join(&described.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match &described.what {
        What::Directory => fs::create_dir_all(&path)?,
        What::File(text) => {
            fs::write(&path, text)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(described.mode.unwrap_or(0o644)))?;
        }
        What::Symlink(target) => symlink(target, &path)?,
        What::Hardlink(target) => fs::hard_link(directory.join(target), &path)?,
        What::Fifo => run(Command::new("mkfifo").arg("--mode=0640").arg(&path))?,
        What::Attribute(name, value) => {
            run(Command::new("setfattr").args(["-h", "-n", name, "-v", value]).arg(&path))?;
        }
        What::Archive(name) => {
            let lines = archives.get(name).with_context(|| format!("there is no archive `{name}`"))?;
            let bytes = compress(archive(lines)?, &described.path)?;
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

/// Returns a tar archive.
fn archive(lines: &[String]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines {
        let described = parse(line)?;
        let mut header = tar::Header::new_gnu();
        let (kind, data, link) = match &described.what {
            What::Directory => (tar::EntryType::Directory, "", None),
            What::File(text) => (tar::EntryType::Regular, text.as_str(), None),
            What::Symlink(target) => (tar::EntryType::Symlink, "", Some(target)),
            What::Hardlink(target) => (tar::EntryType::Link, "", Some(target)),
            What::Fifo => (tar::EntryType::Fifo, "", None),
            What::Attribute(..) | What::Archive(_) => bail!("`{line}` is nothing for an archive"),
        };
        header.set_entry_type(kind);
        // Written as it is: what escapes is part of the test.
        field(&mut header.as_old_mut().name, &described.path)?;
        if let Some(link) = link {
            field(&mut header.as_old_mut().linkname, link)?;
        }
        header.set_mode(described.mode.unwrap_or(if kind == tar::EntryType::Directory {
            0o755
        } else {
            0o644
        }));
        header.set_uid(described.owner.0);
        header.set_gid(described.owner.1);
        header.set_mtime(TIME);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes())?;
    }
    Ok(builder.into_inner()?)
}

fn field(field: &mut [u8], text: &str) -> Result<()> {
    let place = field.get_mut(..text.len()).with_context(|| format!("`{text}` is too long"))?;
    place.copy_from_slice(text.as_bytes());
    Ok(())
}

fn compress(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>> {
    let ending = name.rsplit('.').next().unwrap_or_default();
    Ok(match ending {
        "gz" | "tgz" => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(&bytes)?;
            writer.finish()?
        }
        "bz2" => {
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            writer.write_all(&bytes)?;
            writer.finish()?
        }
        "xz" => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
            writer.write_all(&bytes)?;
            writer.finish()?
        }
        "zst" => zstd::encode_all(bytes.as_slice(), 3)?,
        _ => bytes,
    })
}

/// Reads a line.
fn parse(line: &str) -> Result<Described> {
    let (path, mut rest) = match line.strip_prefix('"').and_then(|line| line.split_once('"')) {
        Some((path, rest)) => (path.to_owned(), rest.trim_start()),
        None => {
            let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
            (path.to_owned(), rest.trim_start())
        }
    };
    let mut mode = None;
    let mut owner = (0, 0);
    while rest.starts_with(|first: char| first.is_ascii_digit()) {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match word.split_once(':') {
            Some((uid, gid)) => owner = (uid.parse()?, gid.parse()?),
            None => mode = Some(u32::from_str_radix(word, 8)?),
        }
        rest = after;
    }
    let (sign, value) = rest.split_once(' ').unwrap_or((rest, ""));
    let what = match sign {
        "" if path.ends_with('/') => What::Directory,
        "=" => What::File(value.replace("\\n", "\n")),
        "->" => What::Symlink(value.to_owned()),
        "=>" => What::Hardlink(value.to_owned()),
        "|" => What::Fifo,
        "<" => What::Archive(value.to_owned()),
        "@" => {
            let (name, value) = value.split_once('=').with_context(|| format!("`{line}` has no value"))?;
            What::Attribute(name.to_owned(), value.to_owned())
        }
        _ => bail!("`{line}` describes nothing"),
    };
    Ok(Described { path, mode, owner, what })
}

/// Returns what the base consists of.
pub(super) fn base_description() -> String {
    format!("{APPLETS}\n{}\n", BASE.join("\n"))
}

/// Makes the root that every builder imports, and returns its archive.
pub(super) fn base_root(directory: &Path) -> Result<PathBuf> {
    let root = directory.join("base");
    let mut lines: Vec<String> = BASE.iter().map(|line| (*line).to_owned()).collect();
    lines.extend(APPLETS.split_whitespace().map(|applet| format!("bin/{applet} -> busybox")));
    fs::create_dir_all(root.join("bin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    fs::copy(busybox.context("busybox-static is not installed")?, root.join("bin/busybox"))?;
    write(&root, &lines, &Archives::new())?;
    let tar = directory.join("import/base.tar");
    fs::create_dir_all(directory.join("import"))?;
    run(Command::new("tar")
        .args(["--create", "--sort=name", "--numeric-owner", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(&root)
        .arg("."))?;
    Ok(tar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_describe_files() {
        let described = parse("a/b 0640 7:8 = one\\ntwo = 3").unwrap();
        assert_eq!((described.path.as_str(), described.mode, described.owner), ("a/b", Some(0o640), (7, 8)));
        assert_eq!(described.what, What::File("one\ntwo = 3".to_owned()));
        assert_eq!(parse("\"a b\" -> c").unwrap().path, "a b");
        assert_eq!(parse("d/ 2750").unwrap().what, What::Directory);
        assert!(parse("nothing").is_err());
    }
}
