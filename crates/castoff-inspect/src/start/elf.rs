//! What the kernel and the loader read of an ELF file (gABI, "Program Header" and "Dynamic Section").

use castoff_layer::ViewError;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

use super::files::{Files, Found};

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

/// Reads an ELF file; `None` for anything else and for what is broken beyond loading.
pub(super) fn read(files: &Files<'_>, found: &Found) -> Result<Option<Elf>, ViewError> {
    let head = files.head(found, 20)?;
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let cache = ReadCache::new(files.seekable(found));
    let parsed = match head.get(4) {
        Some(&elf::ELFCLASS64) => parse::<FileHeader64<Endianness>, _>(&cache),
        Some(&elf::ELFCLASS32) => parse::<FileHeader32<Endianness>, _>(&cache),
        _ => return Ok(None),
    };
    Ok(parsed.ok())
}

fn parse<'data, H, R>(data: R) -> object::read::Result<Elf>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut found = Elf {
        machine: header.e_machine(endian),
        is_64: header.is_class_64(),
        is_little_endian: header.is_little_endian(),
        ..Elf::default()
    };
    let segments = header.program_headers(endian, data)?;
    let mut dynamic: &[H::Dyn] = &[];
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            found.interpreter = Some(text(path));
        }
        let size: u64 = segment.p_filesz(endian).into();
        if segment.p_type(endian) == elf::PT_DYNAMIC
            && size <= TABLE_LIMIT
            && let Some(entries) = segment.dynamic(endian, data)?
        {
            dynamic = entries;
        }
    }
    let value = |tag: u32| {
        let entry = dynamic.iter().take_while(|entry| entry.tag32(endian) != Some(elf::DT_NULL));
        entry.filter(move |entry| entry.tag32(endian) == Some(tag)).map(|entry| entry.d_val(endian).into())
    };
    let Some(address) = value(elf::DT_STRTAB).next() else { return Ok(found) };
    let size = value(elf::DT_STRSZ).next().unwrap_or_default().min(TABLE_LIMIT);
    let offset = segments.iter().find_map(|segment| {
        let (start, length): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let inside = segment.p_type(endian) == elf::PT_LOAD
            && (start..start.saturating_add(length)).contains(&address);
        let offset: u64 = segment.p_offset(endian).into();
        inside.then(|| offset.saturating_add(address - start))
    });
    let Some(strings) = offset.and_then(|offset| data.read_bytes_at(offset, size).ok()) else {
        return Ok(found);
    };
    let string = |at: u64| {
        let rest = strings.get(usize::try_from(at).ok()?..)?;
        Some(text(rest.split(|byte| *byte == 0).next()?))
    };
    found.needed = value(elf::DT_NEEDED).filter_map(string).collect();
    found.soname = value(elf::DT_SONAME).next().and_then(string);
    found.runpath = value(elf::DT_RUNPATH).next().and_then(string);
    // gABI: DT_RUNPATH takes precedence; glibc and musl then drop DT_RPATH.
    found.rpath = value(elf::DT_RPATH).next().and_then(string).filter(|_| found.runpath.is_none());
    // A file whose sections were stripped tells nothing about versions.
    let _without = versions(header, endian, data, &mut found);
    Ok(found)
}

/// Reads the symbol versions (LSB, "Symbol Versioning").
fn versions<'data, H, R>(header: &H, endian: Endianness, data: R, found: &mut Elf) -> object::read::Result<()>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let sections = header.sections(endian, data)?;
    if let Some((mut needed, link)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((library, mut names)) = needed.next()? {
            let library = text(library.file(endian, strings)?);
            while let Some(name) = names.next()? {
                if name.vna_flags.get(endian) & elf::VER_FLG_WEAK == 0 {
                    found.needed_versions.push((library.clone(), text(name.name(endian, strings)?)));
                }
            }
        }
    }
    if let Some((mut defined, link)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut names)) = defined.next()? {
            if let Some(name) = names.next()? {
                found.versions.push(text(name.name(endian, strings)?));
            }
        }
    }
    Ok(())
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
