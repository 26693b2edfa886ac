//! What runs programs of other architectures: the processor, a handler that the machine has registered
//! with binfmt_misc, or an emulator that castoff registers for a step alone (B-167).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::emulation;

/// Where the machine's handlers are listed.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// How programs of an architecture can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// By the processor.
    Native,
    /// By a handler that the machine has registered, with an interpreter that is open already.
    Registered {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// By an emulator that is registered in the user namespace of the process alone.
    Private(Emulator),
    /// Not at all.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// A program that runs programs of another architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The program; linked statically, because a step does not have its libraries.
    pub interpreter: PathBuf,
    /// Go's name of the architecture.
    pub architecture: String,
}

/// An architecture as the headers of its programs say it.
#[derive(Debug, PartialEq, Eq)]
struct Architecture {
    /// Go's name.
    name: &'static str,
    /// QEMU's name.
    qemu: &'static str,
    /// `e_machine` of elf.h.
    machine: u16,
    /// 32 or 64.
    bits: u8,
    big_endian: bool,
}

const fn architecture(name: &'static str, qemu: &'static str, machine: u16, bits: u8) -> Architecture {
    Architecture { name, qemu, machine, bits, big_endian: false }
}

const ARCHITECTURES: [Architecture; 9] = [
    architecture("amd64", "x86_64", 62, 64),
    architecture("386", "i386", 3, 32),
    architecture("arm64", "aarch64", 183, 64),
    architecture("arm", "arm", 40, 32),
    architecture("riscv64", "riscv64", 243, 64),
    architecture("ppc64le", "ppc64le", 21, 64),
    Architecture { big_endian: true, ..architecture("s390x", "s390x", 22, 64) },
    architecture("mips64le", "mips64el", 8, 64),
    architecture("loong64", "loongarch64", 258, 64),
];

/// Length of the part of an ELF header that names the architecture.
const HEADER: usize = 20;

/// Returns the architectures that castoff knows, by Go's names.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

/// Finds out how programs of an architecture can be run by this process. `own` is the machine's own
/// architecture, and `search` a search path such as that of `PATH` for emulators.
pub fn execution(wanted: &str, own: &str, search: &OsStr) -> Execution {
    if wanted == own || (own, wanted) == ("amd64", "386") {
        return Execution::Native;
    }
    let Some(architecture) = ARCHITECTURES.iter().find(|architecture| architecture.name == wanted) else {
        return Execution::Impossible { reason: format!("the architecture `{wanted}` is unknown") };
    };
    let handlers = handlers(Path::new(REGISTERED));
    if let Some(handler) = handlers.iter().find(|handler| handler.fits(architecture) && handler.is_open) {
        return Execution::Registered { interpreter: handler.interpreter.clone() };
    }
    let interpreter = match find(architecture, search) {
        Ok(interpreter) => interpreter,
        Err(mut reason) => {
            if handlers.iter().any(|handler| handler.fits(architecture)) {
                reason += "; the handler that binfmt_misc has is registered without the flag F";
            }
            return Execution::Impossible { reason };
        }
    };
    let emulator = Emulator { interpreter, architecture: wanted.to_owned() };
    match emulation::trial(&emulator) {
        Ok(()) => Execution::Private(emulator),
        Err(reason) => Execution::Impossible { reason },
    }
}

/// Returns the level of this processor among those that amd64 programs may need, from 1 to 4, as the
/// psABI of x86-64 defines them (B-168).
pub fn amd64_level() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! has {
            ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        let second = has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3");
        let third = second && has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe" "xsave");
        let fourth = third && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
        1 + u32::from(second) + u32::from(third) + u32::from(fourth)
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Finds an emulator in a search path.
fn find(architecture: &Architecture, search: &OsStr) -> Result<PathBuf, String> {
    let names = [format!("qemu-{}-static", architecture.qemu), format!("qemu-{}", architecture.qemu)];
    let mut dynamic = None;
    for name in &names {
        for directory in std::env::split_paths(search).filter(|directory| directory.is_absolute()) {
            let path = directory.join(name);
            let is_program =
                path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
            match is_program.then(|| is_static(&path)) {
                Some(Ok(true)) => return Ok(path),
                Some(_) => dynamic = Some(path),
                None => {}
            }
        }
    }
    Err(match dynamic {
        Some(path) => format!("`{}` is not linked statically", path.display()),
        None => format!("neither `{}` nor `{}` is in PATH", names[0], names[1]),
    })
}

/// Returns whether a program of this machine needs no loader: it has no segment of type PT_INTERP.
fn is_static(path: &Path) -> io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let mut file = fs::File::open(path)?;
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    let wide = header[4] == 2;
    if &header[..4] != b"\x7fELF" || header[5] != if cfg!(target_endian = "big") { 2 } else { 1 } {
        return Ok(false);
    }
    let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (offset, size, count) = if wide {
        let offset: [u8; 8] = header[32..40].try_into().expect("eight bytes");
        (u64::from_ne_bytes(offset), short(54), short(56))
    } else {
        let offset: [u8; 4] = header[28..32].try_into().expect("four bytes");
        (u64::from(u32::from_ne_bytes(offset)), short(42), short(44))
    };
    for index in 0..u64::from(count) {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(offset.saturating_add(index * u64::from(size))))?;
        file.read_exact(&mut kind)?;
        if u32::from_ne_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Architecture {
    /// Returns the beginning of its programs.
    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = self.bits / 32;
        header[5] = if self.big_endian { 2 } else { 1 };
        header[6] = 1;
        // ET_EXEC. A position independent program is ET_DYN, 3, which the mask lets through.
        let (kind, machine) = if self.big_endian {
            (2_u16.to_be_bytes(), self.machine.to_be_bytes())
        } else {
            (2_u16.to_le_bytes(), self.machine.to_le_bytes())
        };
        header[16..18].copy_from_slice(&kind);
        header[18..20].copy_from_slice(&machine);
        header
    }

    /// Returns which bits of the header count: not the two bytes of the operating system's variant.
    fn mask(&self) -> [u8; HEADER] {
        let mut mask = [0xff; HEADER];
        mask[7..9].fill(0);
        mask[if self.big_endian { 17 } else { 16 }] = 0xfe;
        mask
    }
}

impl Emulator {
    /// Returns what is written to binfmt_misc's `register`. The flags: the interpreter is opened now (F),
    /// given the program open (O) with the program's own credentials (C) and its `argv[0]` (P).
    pub(crate) fn registration(&self) -> Result<Vec<u8>, String> {
        let architecture = ARCHITECTURES.iter().find(|known| known.name == self.architecture);
        let architecture = architecture.ok_or("the architecture is unknown")?;
        let hex = |bytes: [u8; HEADER]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let path = self.interpreter.as_os_str().as_encoded_bytes();
        // BINPRM_BUF_SIZE, and the delimiter.
        if path.len() >= 128 || path.contains(&b':') {
            return Err(format!("binfmt_misc takes no path like `{}`", self.interpreter.display()));
        }
        let front = format!(
            ":castoff-{}:M:0:{}:{}:",
            self.architecture,
            hex(architecture.header()),
            hex(architecture.mask())
        );
        Ok([front.as_bytes(), path, b":POCF"].concat())
    }
}

/// A handler as binfmt_misc lists it.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    interpreter: PathBuf,
    /// The flag F: the interpreter is not looked up in the root of the process.
    is_open: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// Reads the text of an entry that is enabled and goes by magic.
    fn parse(text: &str) -> Option<Handler> {
        let mut lines = text.lines();
        if lines.next() != Some("enabled") {
            return None;
        }
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let magic = unhex(value("magic ")?)?;
        let mask = value("mask ").map_or(Some(vec![0xff; magic.len()]), unhex)?;
        Some(Handler {
            interpreter: PathBuf::from(value("interpreter ")?),
            is_open: value("flags:").is_some_and(|flags| flags.contains('F')),
            offset: value("offset ")?.parse().ok()?,
            magic,
            mask,
        })
    }

    /// Returns whether it takes the programs of an architecture.
    fn fits(&self, architecture: &Architecture) -> bool {
        let header = architecture.header();
        // Only the header's beginning is known here; a magic that goes further is another's.
        let Some(part) = header.get(self.offset..self.offset + self.magic.len()) else { return false };
        let names_the_machine = self.offset + self.magic.len() == HEADER && self.offset <= 4;
        names_the_machine
            && self.mask.len() == self.magic.len()
            && part
                .iter()
                .zip(&self.mask)
                .zip(&self.magic)
                .all(|((byte, mask), magic)| byte & mask == magic & mask)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Returns the enabled handlers of the machine. None when the file system is not mounted.
fn handlers(directory: &Path) -> Vec<Handler> {
    let read = |name: &Path| fs::read_to_string(name).unwrap_or_default();
    if read(&directory.join("status")).trim() != "enabled" {
        return Vec::new();
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let special = |path: &PathBuf| path.ends_with("status") || path.ends_with("register");
    paths.iter().filter(|path| !special(path)).filter_map(|path| Handler::parse(&read(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> &'static Architecture {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name).unwrap()
    }

    // B-167: as the kernel lists what Debian and Docker register.
    #[test]
    fn handlers_are_recognised_by_their_magic() {
        let entry = |flags: &str, magic: &str, mask: &str| {
            format!(
                "enabled\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\nmagic {magic}\nmask {mask}\n"
            )
        };
        let arm64 = entry(
            "POCF",
            "7f454c460201010000000000000000000200b700",
            "ffffffffffffff00fffffffffffffffffeffffff",
        );
        let s390x = entry(
            "OCF",
            "7f454c4602020100000000000000000000020016",
            "ffffffffffffff00fffffffffffffffffffeffff",
        );
        let fits = |text: &str| {
            let handler = Handler::parse(text).unwrap();
            let fitting = ARCHITECTURES.iter().filter(|architecture| handler.fits(architecture));
            fitting.map(|architecture| architecture.name).collect::<Vec<_>>()
        };
        assert_eq!(fits(&arm64), ["arm64"]);
        assert_eq!(fits(&s390x), ["s390x"]);
        assert!(Handler::parse(&arm64).unwrap().is_open);
        assert!(!Handler::parse(&entry("PO", "7f454c46", "ffffffff")).unwrap().is_open);
        // One that takes every program is no emulator.
        assert_eq!(fits(&entry("F", "7f454c46", "ffffffff")), Vec::<&str>::new());
        assert_eq!(fits("enabled\ninterpreter /i\nflags: F\noffset 18\nmagic b700\n"), Vec::<&str>::new());
        for text in [
            &arm64.replace("enabled", "disabled"),
            "",
            "enabled\ninterpreter /i\nflags: \nextension .py\n",
            "enabled\ninterpreter /i\nflags: F\noffset 0\nmagic 7f4\n",
            "enabled\ninterpreter /i\nflags: F\noffset x\nmagic 7f\n",
        ] {
            assert_eq!(Handler::parse(text), None, "{text}");
        }
    }

    #[test]
    fn registrations_are_what_the_kernel_reads() {
        let emulator = |path: &str| Emulator { interpreter: path.into(), architecture: "arm64".to_owned() };
        let text = emulator("/usr/bin/qemu-aarch64-static").registration().unwrap();
        let expected = r":castoff-arm64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:POCF";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert!(emulator("/a:b").registration().is_err());
        assert!(emulator(&format!("/{}", "a".repeat(128))).registration().is_err());
    }

    #[test]
    fn emulators_are_static_programs_of_the_search_path() {
        let directory = tempfile::tempdir().unwrap();
        let search = directory.path().as_os_str();
        let arm64 = known("arm64");
        let absent = find(arm64, search).unwrap_err();
        assert_eq!(absent, "neither `qemu-aarch64-static` nor `qemu-aarch64` is in PATH");
        let path = directory.path().join("qemu-aarch64");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(find(arm64, search).unwrap_err(), absent);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(find(arm64, search).unwrap_err().ends_with("is not linked statically"));
        fs::copy("/bin/sh", &path).unwrap();
        assert!(find(arm64, search).unwrap_err().ends_with("is not linked statically"));
        fs::copy("/bin/busybox", directory.path().join("qemu-aarch64-static")).unwrap();
        assert_eq!(find(arm64, search), Ok(directory.path().join("qemu-aarch64-static")));
    }
}
