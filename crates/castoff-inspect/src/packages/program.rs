//! What compilers put into programs: the modules of Go (`.go.buildinfo`, Go 1.18 and later) and the crates that
//! cargo-auditable tells of (`.dep-v0`).

use std::io::Read as _;

use castoff_layer::{Node, View, ViewError};
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};
use serde_json::Value;

use super::{Collection, Finding, PackageKind, purl};
use crate::seekable::Seekable;
use crate::tables;

/// Larger sections are not read.
const SECTION_LIMIT: u64 = 16 << 20;
/// More than this comes out of no list of crates.
const CRATES_LIMIT: u64 = 16 << 20;
/// The names of a program's sections are shorter.
const NAMES_LIMIT: u64 = 1 << 20;

/// Reads what a file tells if it is a program.
pub(super) fn program(view: &View, node: &Node, found: &mut Collection) -> Result<(), ViewError> {
    let path = node.entry.path.as_slice();
    let mut head = Vec::new();
    view.open(node)?
        .take(20)
        .read_to_end(&mut head)
        .map_err(|source| ViewError::Io { path: String::from_utf8_lossy(path).into_owned(), source })?;
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(());
    }
    let cache = ReadCache::new(Seekable::new(view, node));
    // What is no program in the end, or stripped of its sections, tells nothing.
    let sections = match head.get(4) {
        Some(&elf::ELFCLASS64) => sections::<FileHeader64<Endianness>, _>(&cache),
        Some(&elf::ELFCLASS32) => sections::<FileHeader32<Endianness>, _>(&cache),
        _ => return Ok(()),
    };
    let Some(sections) = sections else { return Ok(()) };
    if let Some(info) = sections.go {
        match go_modules(&info) {
            Some((version, modules)) => go(path, version, modules, found),
            None => found.leave(path, "a Go program that an old compiler made, or a damaged one"),
        }
    }
    if let Some(list) = sections.crates
        && crates(path, &list, found).is_none()
    {
        found.leave(path, "a damaged list of crates");
    }
    Ok(())
}

/// What the sections hold; what is too large or not in the file is as an empty section, which is damaged.
#[derive(Default)]
struct Sections {
    go: Option<Vec<u8>>,
    crates: Option<Vec<u8>>,
}

fn sections<'data, H, R>(data: R) -> Option<Sections>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let headers = tables::sections(header, endian, data)?;
    let names = headers.get(usize::try_from(header.shstrndx(endian, data).ok()?).ok()?)?;
    let names = tables::strings(tables::content::<H, R>(names, endian, data, NAMES_LIMIT)?);
    let mut found = Sections::default();
    for section in headers {
        let wanted = match section.name(endian, names) {
            Ok(b".go.buildinfo") => &mut found.go,
            Ok(b".dep-v0") => &mut found.crates,
            _ => continue,
        };
        // Of several of one name the first counts: a hostile file has as many as fit.
        if wanted.is_none() {
            let content = tables::content::<H, R>(section, endian, data, SECTION_LIMIT);
            *wanted = Some(content.unwrap_or_default().to_vec());
        }
    }
    Some(found)
}

/// Returns the version of Go and the text about the modules (debug/buildinfo of Go).
fn go_modules(section: &[u8]) -> Option<(&str, &str)> {
    let inline = section.starts_with(b"\xff Go buildinf:") && section.get(15)? & 2 != 0;
    if !inline {
        return None;
    }
    let (version, rest) = go_text(section.get(32..)?)?;
    let (modules, _) = go_text(rest)?;
    // Sixteen bytes mark the beginning and the end.
    let modules = match modules.len() {
        0 => modules,
        length => modules.get(16..length.checked_sub(16)?)?,
    };
    Some((std::str::from_utf8(version).ok()?, std::str::from_utf8(modules).ok()?))
}

/// Takes a text after its length, which is a varint.
fn go_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut used) = (0_u64, 0);
    for byte in bytes.iter().take(9) {
        length |= u64::from(byte & 0x7f) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            return bytes.get(used..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

fn go(path: &[u8], version: &str, modules: &str, found: &mut Collection) {
    let mut list: Vec<(&str, &str)> = Vec::new();
    // `go1.22.1 X:experiment`
    let toolchain = version.split(' ').next().unwrap_or_default().trim_start_matches("go");
    if toolchain.starts_with(|letter: char| letter.is_ascii_digit()) {
        list.push(("stdlib", toolchain));
    }
    for line in modules.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next();
        let (name, version) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match kind {
            Some("mod" | "dep") => list.push((name, version)),
            // What stands in for the one before.
            Some("=>") => {
                if let Some(last) = list.last_mut() {
                    *last = (name, version);
                }
            }
            _ => {}
        }
    }
    for (module, version) in list {
        // A directory stands in for a module: there is no name that others know.
        if module.starts_with(['.', '/']) {
            continue;
        }
        let (namespace, name) = purl::split_path(PackageKind::Go, module);
        let version = if version == "(devel)" { "" } else { version };
        found.add(
            path,
            &Finding {
                kind: PackageKind::Go,
                namespace,
                name,
                full_name: module,
                version,
                qualifiers: &[],
                licence: None,
            },
        );
    }
}

/// Adds the crates of a list in JSON that zlib compressed; `None` when it is none.
fn crates(path: &[u8], list: &[u8], found: &mut Collection) -> Option<()> {
    let mut text = Vec::new();
    let reader = flate2::read::ZlibDecoder::new(list).take(CRATES_LIMIT + 1);
    let mut reader = reader;
    reader.read_to_end(&mut text).ok().filter(|length| *length as u64 <= CRATES_LIMIT)?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    for package in value["packages"].as_array()? {
        // What only the build needed is not in the program.
        if package["kind"] == "build" {
            continue;
        }
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        found.add(
            path,
            &Finding {
                kind: PackageKind::Cargo,
                namespace: "",
                name,
                full_name: name,
                version,
                qualifiers: &[],
                licence: None,
            },
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use object::elf::FileHeader64;

    use super::sections;
    use crate::tables::made::{Made, Metered};

    #[test]
    fn sections_of_one_name_are_read_once() {
        let mut file = Made::new(vec![7; 1 << 16]);
        for place in 0..2000 {
            file.section(".dep-v0", 1, place, 50_000);
        }
        let bytes = file.bytes();
        let metered = Metered::new(&bytes);
        let found = sections::<FileHeader64<_>, _>(&metered).unwrap();
        assert_eq!(found.crates.unwrap().len(), 50_000);
        assert!(metered.read() < 4 * bytes.len() as u64, "{} bytes", metered.read());
    }

    #[test]
    fn a_section_that_is_not_in_the_file_is_a_damaged_one() {
        let mut file = Made::new(vec![7; 64]);
        file.section(".dep-v0", 1, 0, 1 << 40);
        file.section(".go.buildinfo", 1, 1 << 40, 2);
        let found = sections::<FileHeader64<_>, _>(file.bytes().as_slice()).unwrap();
        assert_eq!((found.crates, found.go), (Some(Vec::new()), Some(Vec::new())));
    }
}
