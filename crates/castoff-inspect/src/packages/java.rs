//! The packages of Maven: `META-INF/maven/GROUP/ARTIFACT/pom.properties` in archives, also in the archives that
//! an archive of an application brings.

use std::io::{Cursor, Read as _};

use zip::ZipArchive;

use super::{Collection, Finding, PackageKind};

/// A larger description is none.
const PROPERTIES_LIMIT: u64 = 64 << 10;
/// A larger archive in an archive is not read.
const INNER_LIMIT: u64 = 64 << 20;
/// An archive with more files is not read.
const FILES_LIMIT: usize = 200_000;
/// More than this comes out of no archive, together with those in it: files of an archive may share their
/// compressed bytes.
const TOTAL_LIMIT: u64 = 512 << 20;
/// What each file of an archive has in the list at its end (APPNOTE.TXT 4.3.12).
const LISTED: &[u8] = b"PK\x01\x02";

/// Returns whether a file is an archive of Java by its name.
pub(super) fn is_archive(name: &str) -> bool {
    [".jar", ".war", ".ear"].iter().any(|end| name.ends_with(end))
}

/// Reads an archive and those in it.
pub(super) fn archive(path: &[u8], bytes: Vec<u8>, found: &mut Collection) {
    Reading { left: TOTAL_LIMIT }.archive(path, bytes, true, found);
}

/// Reading an archive of an image.
struct Reading {
    /// How many bytes may still come out of it.
    left: u64,
}

impl Reading {
    fn archive(&mut self, path: &[u8], bytes: Vec<u8>, outer: bool, found: &mut Collection) {
        // The whole list is read into memory, so its length is looked at before.
        if memchr::memmem::find_iter(&bytes, LISTED).nth(FILES_LIMIT).is_some() {
            return found.leave(path, &format!("more than {FILES_LIMIT} files"));
        }
        let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
            return found.leave(path, "no zip archive");
        };
        for place in 0..archive.len() {
            let Some(Ok(name)) = archive.name_for_index(place) else { continue };
            let name = name.into_owned();
            let (limit, is_inner) =
                if name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties") {
                    (PROPERTIES_LIMIT, false)
                } else if outer && is_archive(&name) {
                    (INNER_LIMIT, true)
                } else {
                    continue;
                };
            if self.left == 0 {
                return found.leave(path, &format!("more than {} MiB in it", TOTAL_LIMIT >> 20));
            }
            let mut content = Vec::new();
            let read_all = archive.by_index(place).map_err(std::io::Error::other).and_then(|file| {
                // The size that the archive claims is not believed.
                file.take(limit + 1).read_to_end(&mut content)
            });
            self.left = self.left.saturating_sub(content.len() as u64);
            let inner = || [path, b"!/", name.as_bytes()].concat();
            match read_all {
                Err(_) => found.leave(&inner(), "damaged"),
                Ok(_) if content.len() as u64 > limit => found.leave(&inner(), "too large"),
                Ok(_) if is_inner => self.archive(&inner(), content, false, found),
                Ok(_) => properties(path, &String::from_utf8_lossy(&content), found),
            }
        }
    }
}

fn properties(path: &[u8], text: &str, found: &mut Collection) {
    let [mut group, mut artifact, mut version] = [""; 3];
    for line in text.lines() {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("groupId", value)) => group = value,
            Some(("artifactId", value)) => artifact = value,
            Some(("version", value)) => version = value,
            _ => {}
        }
    }
    if artifact.is_empty() {
        return found.leave(path, "a pom.properties without artifactId");
    }
    let full = if group.is_empty() { artifact.to_owned() } else { format!("{group}:{artifact}") };
    found.add(
        path,
        &Finding {
            kind: PackageKind::Maven,
            namespace: group,
            name: artifact,
            full_name: &full,
            version,
            qualifiers: &[],
            licence: None,
        },
    );
}
