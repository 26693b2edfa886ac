//! What the kernel and the loader read of an ELF file (gABI, "Program Header" and "Dynamic Section").

use castoff_layer::ViewError;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef, SectionIndex};

use super::files::{Files, Found};
use crate::tables;

/// A loadable ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Elf {
    /// e_machine.
    pub(super) machine: u16,
    pub(super) is_64: bool,
    pub(super) is_little_endian: bool,
    /// Path of the loader.
    pub(super) interpreter: Option<String>,
    /// DT_NEEDED in their order.
    pub(super) needed: Vec<String>,
    /// DT_RPATH, `None` when DT_RUNPATH is there.
    pub(super) rpath: Option<String>,
    pub(super) runpath: Option<String>,
    pub(super) soname: Option<String>,
    /// Versions needed of other libraries: the library and the version.
    pub(super) needed_versions: Vec<(String, String)>,
    /// Versions that it has.
    pub(super) versions: Vec<String>,
}

/// Larger tables are no tables.
const TABLE_LIMIT: u64 = 64 << 20;
/// The same of the sections about versions.
const VERSIONS_LIMIT: u64 = 1 << 20;
/// More libraries and versions are in no program.
const NAMES_LIMIT: usize = 10_000;
/// Longer paths are none (PATH_MAX).
const PATH_LIMIT: usize = 4096;
/// Longer lists of directories are none.
const SEARCH_LIMIT: usize = 1 << 20;

/// Reads an ELF file; `None` for anything else and for what is broken beyond loading.
pub(super) fn read(files: &Files<'_>, found: &Found) -> Result<Option<Elf>, ViewError> {
    let head = files.head(found, 20)?;
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let cache = ReadCache::new(files.seekable(found));
    Ok(match head.get(4) {
        Some(&elf::ELFCLASS64) => parse::<FileHeader64<Endianness>, _>(&cache),
        Some(&elf::ELFCLASS32) => parse::<FileHeader32<Endianness>, _>(&cache),
        _ => None,
    })
}

fn parse<'data, H, R>(data: R) -> Option<Elf>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let mut found = Elf {
        machine: header.e_machine(endian),
        is_64: header.is_class_64(),
        is_little_endian: header.is_little_endian(),
        ..Elf::default()
    };
    let segments = tables::segments(header, endian, data)?;
    let of_kind = |kind: u32| segments.iter().filter(move |segment| segment.p_type(endian) == kind);
    // The kernel takes the first, and of no more than a path's length.
    if let Some(segment) = of_kind(elf::PT_INTERP).next() {
        if tables::size(segment, endian) > PATH_LIMIT as u64 {
            return None;
        }
        found.interpreter = segment.interpreter(endian, data).ok()?.map(text);
    }
    // Loaders take the last.
    let dynamic: &[H::Dyn] = match of_kind(elf::PT_DYNAMIC).next_back() {
        Some(segment) if tables::size(segment, endian) <= TABLE_LIMIT => {
            segment.dynamic(endian, data).ok()?.unwrap_or_default()
        }
        _ => &[],
    };
    let value = |tag: u32| {
        let entry = dynamic.iter().take_while(|entry| entry.tag32(endian) != Some(elf::DT_NULL));
        entry.filter(move |entry| entry.tag32(endian) == Some(tag)).map(|entry| entry.d_val(endian).into())
    };
    let Some(address) = value(elf::DT_STRTAB).next() else { return Some(found) };
    let size = value(elf::DT_STRSZ).next().unwrap_or_default().min(TABLE_LIMIT);
    let offset = segments.iter().find_map(|segment| {
        let (start, length): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let inside = segment.p_type(endian) == elf::PT_LOAD
            && (start..start.saturating_add(length)).contains(&address);
        let offset: u64 = segment.p_offset(endian).into();
        inside.then(|| offset.saturating_add(address - start))
    });
    let Some(strings) = offset.and_then(|offset| data.read_bytes_at(offset, size).ok()) else {
        return Some(found);
    };
    let string = |at: u64, longest: usize| {
        let rest = strings.get(usize::try_from(at).ok()?..)?;
        let string = rest.split(|byte| *byte == 0).next()?;
        (string.len() <= longest).then(|| text(string))
    };
    let needed = value(elf::DT_NEEDED).filter_map(|at| string(at, PATH_LIMIT));
    found.needed = needed.take(NAMES_LIMIT).collect();
    let search = |tag: u32| value(tag).next().and_then(|at| string(at, SEARCH_LIMIT));
    found.soname = value(elf::DT_SONAME).next().and_then(|at| string(at, PATH_LIMIT));
    found.runpath = search(elf::DT_RUNPATH);
    // gABI: DT_RUNPATH takes precedence; glibc and musl then drop DT_RPATH.
    found.rpath = search(elf::DT_RPATH).filter(|_| found.runpath.is_none());
    // A file whose sections were stripped tells nothing about versions.
    let _without = versions(header, endian, data, &mut found);
    Some(found)
}

/// Reads the symbol versions (LSB, "Symbol Versioning"). The lists of a hostile file share their entries, so that
/// they are far longer than the file.
fn versions<'data, H, R>(header: &H, endian: Endianness, data: R, found: &mut Elf) -> Option<()>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let headers = tables::sections(header, endian, data)?;
    let of_kind = |kind: u32| {
        let section = headers.iter().find(|section| section.sh_type(endian) == kind)?;
        let size: u64 = section.sh_size(endian).into();
        (size <= VERSIONS_LIMIT).then_some(section)
    };
    let strings_of = |link: SectionIndex| {
        let bytes = tables::content::<H, R>(headers.get(link.0)?, endian, data, TABLE_LIMIT)?;
        Some(tables::strings(bytes))
    };
    if let Some(section) = of_kind(elf::SHT_GNU_VERNEED)
        && let Some((mut needed, link)) = section.gnu_verneed(endian, data).ok()?
    {
        let strings = strings_of(link)?;
        while let Some((library, mut names)) = needed.next().ok()? {
            let library = name(library.file(endian, strings).ok()?)?;
            while let Some(version) = names.next().ok()? {
                if found.needed_versions.len() == NAMES_LIMIT {
                    return None;
                }
                if version.vna_flags.get(endian) & elf::VER_FLG_WEAK == 0 {
                    let version = name(version.name(endian, strings).ok()?)?;
                    found.needed_versions.push((library.clone(), version));
                }
            }
        }
    }
    if let Some(section) = of_kind(elf::SHT_GNU_VERDEF)
        && let Some((mut defined, link)) = section.gnu_verdef(endian, data).ok()?
    {
        let strings = strings_of(link)?;
        while let Some((_, mut names)) = defined.next().ok()? {
            if let Some(version) = names.next().ok()? {
                if found.versions.len() == NAMES_LIMIT {
                    // Of a part of them it could not be said what is missing.
                    found.versions.clear();
                    return None;
                }
                found.versions.push(name(version.name(endian, strings).ok()?)?);
            }
        }
    }
    Some(())
}

/// Returns the name of a library or version, unless it is too long for one.
fn name(bytes: &[u8]) -> Option<String> {
    (bytes.len() <= PATH_LIMIT).then(|| text(bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the e_machine of an architecture by Go's name.
pub(super) fn machine(architecture: &str) -> Option<u16> {
    Some(match architecture {
        "amd64" => elf::EM_X86_64,
        "386" => elf::EM_386,
        "arm64" => elf::EM_AARCH64,
        "arm" => elf::EM_ARM,
        "riscv64" => elf::EM_RISCV,
        "ppc64le" | "ppc64" => elf::EM_PPC64,
        "s390x" => elf::EM_S390,
        "mips64le" | "mips64" | "mipsle" | "mips" => elf::EM_MIPS,
        "loong64" => elf::EM_LOONGARCH,
        _ => return None,
    })
}

/// Returns Go's name of an e_machine.
pub(super) fn architecture(machine: u16) -> String {
    let known = ["amd64", "386", "arm64", "arm", "riscv64", "ppc64le", "s390x", "mips64le", "loong64"];
    let name = known.into_iter().find(|name| self::machine(name) == Some(machine));
    name.map_or_else(|| format!("machine {machine}"), str::to_owned)
}

/// Returns whether processors of an architecture run a machine's programs: those of 64 bits run those of
/// 32 with the kernels that distributions ship.
pub(super) fn runs(architecture: &str, machine: u16) -> bool {
    let own = self::machine(architecture);
    own.is_none_or(|own| own == machine)
        || (architecture == "amd64" && machine == elf::EM_386)
        || (architecture == "arm64" && machine == elf::EM_ARM)
}

#[cfg(test)]
mod tests {
    use object::elf::{self, FileHeader64};

    use super::parse;
    use crate::tables::made::{Made, Metered};

    fn read(bytes: &[u8]) -> Option<super::Elf> {
        parse::<FileHeader64<_>, _>(bytes)
    }

    #[test]
    fn the_first_interpreter_counts_and_is_a_path() {
        let mut file = Made::new(b"/first\0/other\0".to_vec());
        file.segment(elf::PT_INTERP, 0, 7);
        file.segment(elf::PT_INTERP, 7, 7);
        assert_eq!(read(&file.bytes()).unwrap().interpreter.unwrap(), "/first");
        let mut file = Made::new(vec![b'/'; 9000]);
        file.segment(elf::PT_INTERP, 0, 9000);
        assert_eq!(read(&file.bytes()), None);
    }

    #[test]
    fn segments_that_overlap_are_not_all_read() {
        let mut file = Made::new(vec![0; 1 << 20]);
        for place in 0..1000 {
            file.segment(elf::PT_DYNAMIC, place * 16, 1 << 19);
        }
        let bytes = file.bytes();
        let metered = Metered::new(&bytes);
        parse::<FileHeader64<_>, _>(&metered).unwrap();
        assert!(metered.read() < 4 << 20, "{} bytes", metered.read());
        let mut file = Made::new(Vec::new());
        for _ in 0..1171 {
            file.segment(elf::PT_NULL, 0, 0);
        }
        assert_eq!(read(&file.bytes()), None, "Linux executes no such file");
    }

    #[test]
    fn libraries_are_not_more_than_there_can_be() {
        let strings = [&[b'a'; 100][..], &[0], &[b'b'; 5000], &[0]].concat();
        let mut content = Vec::new();
        let entry = |content: &mut Vec<u8>, tag: u32, value: u64| {
            content.extend(u64::from(tag).to_le_bytes());
            content.extend(value.to_le_bytes());
        };
        entry(&mut content, elf::DT_STRTAB, 20_003 * 16);
        entry(&mut content, elf::DT_STRSZ, strings.len() as u64);
        entry(&mut content, elf::DT_SONAME, 101);
        for _ in 0..20_000 {
            entry(&mut content, elf::DT_NEEDED, 0);
        }
        let size = content.len() as u64;
        content.extend(strings);
        let mut file = Made::new(content);
        file.segment(elf::PT_LOAD, 0, size + 6000);
        file.segment(elf::PT_DYNAMIC, 0, size);
        let found = read(&file.bytes()).unwrap();
        assert_eq!((found.needed.len(), found.needed[0].len()), (super::NAMES_LIMIT, 100));
        assert_eq!(found.soname, None, "it is longer than a path");
    }

    /// Each list of names goes over the same entry, as often as it says.
    #[test]
    fn versions_that_refer_to_themselves_are_not_counted_out() {
        // Verneed: version, count, file, aux, next. Vernaux: hash, flags, other, name, next.
        let mut content = Vec::new();
        for place in 0..64_u32 {
            content.extend(1_u16.to_le_bytes());
            content.extend(u16::MAX.to_le_bytes());
            content.extend(0_u32.to_le_bytes());
            content.extend(((64 - place) * 16).to_le_bytes());
            content.extend(if place == 63 { 0_u32 } else { 16 }.to_le_bytes());
        }
        content.extend([0; 16]);
        let size = content.len() as u64;
        content.extend(b"libx.so\0");
        let mut file = Made::new(content);
        file.section(".dynstr", 3, size, 8);
        file.linked(".gnu.version_r", elf::SHT_GNU_VERNEED, 0, size, 1);
        // Versions are looked for in what has a table of strings.
        let found = {
            let mut found = super::Elf::default();
            let bytes = file.bytes();
            let header: &FileHeader64<object::Endianness> =
                object::read::elf::FileHeader::parse(bytes.as_slice()).unwrap();
            let ended = super::versions(header, object::Endianness::Little, bytes.as_slice(), &mut found);
            assert_eq!(ended, None);
            found
        };
        assert_eq!(found.needed_versions.len(), super::NAMES_LIMIT);
        assert_eq!(found.needed_versions[0].0, "libx.so");
    }
}
