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

/// Larger sections are not read.
const SECTION_LIMIT: u64 = 16 << 20;
/// More than this comes out of no list of crates.
const CRATES_LIMIT: u64 = 16 << 20;
/// Larger tables of sections are none.
const SECTIONS_LIMIT: usize = 4096;

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
    let Ok(sections) = sections else { return Ok(()) };
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

#[derive(Default)]
struct Sections {
    go: Option<Vec<u8>>,
    crates: Option<Vec<u8>>,
}

fn sections<'data, H, R>(data: R) -> object::read::Result<Sections>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let table = header.sections(endian, data)?;
    let mut found = Sections::default();
    for section in table.iter().take(SECTIONS_LIMIT) {
        let wanted = match table.section_name(endian, section) {
            Ok(b".go.buildinfo") => &mut found.go,
            Ok(b".dep-v0") => &mut found.crates,
            _ => continue,
        };
        let size: u64 = section.sh_size(endian).into();
        if size <= SECTION_LIMIT {
            *wanted = Some(section.data(endian, data)?.to_vec());
        }
    }
    Ok(found)
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
