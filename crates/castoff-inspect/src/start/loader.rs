//! The shared libraries that the dynamic loader would load, found by its own rules.
//!
//! glibc (ld.so(8)): DT_RPATH of who needs it and of who loaded that, `LD_LIBRARY_PATH`, DT_RUNPATH of who needs it,
//! `/etc/ld.so.cache`, the default directories. musl (ldso/dynlink.c): `LD_LIBRARY_PATH`, the path of who needs it and
//! of who loaded that, `/etc/ld-musl-ARCH.path` or its default.

use std::collections::BTreeMap;

use castoff_layer::{EntryKind, ViewError};
use object::elf as numbers;

use super::elf::{self, Elf};
use super::files::{Files, Found};

/// More libraries than any program has.
const LIBRARIES_LIMIT: usize = 4096;
/// Larger configuration files are not read.
const FILE_LIMIT: u64 = 16 << 20;

/// A program or library in the memory of the process.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    /// The name it was asked for by.
    pub(super) name: String,
    /// Its absolute path.
    pub(super) path: String,
    pub(super) elf: Elf,
    /// Who asked first.
    loaded_by: Option<usize>,
}

/// A library that is not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// The path of who needs it.
    pub(super) needed_by: String,
    pub(super) name: String,
    /// A file of that name in a directory of the loader's configuration that its cache does not list.
    pub(super) uncached: Option<String>,
    /// A file of that name that the user may not read.
    pub(super) unreadable: Option<String>,
}

/// A version that a library does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooOld {
    pub(super) needed_by: String,
    pub(super) library: String,
    pub(super) version: String,
    /// The newest one of its kind that the library has.
    pub(super) newest: Option<String>,
}

/// What the loader makes of a program.
#[derive(Debug, Default)]
pub(super) struct Loading {
    pub(super) loaded: Vec<Loaded>,
    pub(super) missing: Vec<Missing>,
    pub(super) too_old: Vec<TooOld>,
}

/// Which C library a loader belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Libc {
    Glibc,
    Musl,
}

/// Returns whose loader a path names; `None` for one whose rules are not known here.
pub(super) fn libc(interpreter: &str) -> Option<Libc> {
    let name = interpreter.rsplit('/').next().unwrap_or_default();
    if name.starts_with("ld-musl-") {
        Some(Libc::Musl)
    } else if name.starts_with("ld-linux") || name.starts_with("ld64.so.") || name.starts_with("ld.so.") {
        Some(Libc::Glibc)
    } else {
        None
    }
}

/// Loads a program.
///
/// # Errors
/// When the files of the image cannot be read.
pub(super) fn load(
    files: &Files<'_>,
    program: &Found,
    elf: Elf,
    loader: &Found,
    libc: Libc,
    library_path: Option<&str>,
) -> Result<Loading, ViewError> {
    let mut search = Search {
        files,
        libc,
        library_path: library_path
            .unwrap_or_default()
            .split([':', ';'])
            .filter(|part| !part.is_empty())
            .collect(),
        cache: BTreeMap::new(),
        defaults: Vec::new(),
        configured: Vec::new(),
    };
    match libc {
        Libc::Glibc => search.configure_glibc(&elf, loader)?,
        Libc::Musl => search.configure_musl(loader)?,
    }
    let mut loading = Loading::alone(program, elf);
    let mut next = 0;
    while next < loading.loaded.len() && loading.loaded.len() < LIBRARIES_LIMIT {
        for name in loading.loaded[next].elf.needed.clone() {
            search.load(&mut loading, next, &name)?;
        }
        next += 1;
    }
    if libc == Libc::Glibc {
        loading.compare_versions();
    }
    Ok(loading)
}

impl Loading {
    /// A program that no loader is asked for.
    pub(super) fn alone(program: &Found, elf: Elf) -> Loading {
        let (name, path) = (program.path.clone(), program.path.clone());
        Loading { loaded: vec![Loaded { name, path, elf, loaded_by: None }], ..Loading::default() }
    }

    fn is_loaded(&self, name: &str) -> bool {
        let same = |loaded: &Loaded| loaded.name == name || loaded.elf.soname.as_deref() == Some(name);
        self.loaded.iter().skip(1).any(same) || self.missing.iter().any(|missing| missing.name == name)
    }

    /// glibc refuses a program when a library lacks a version; one that has no versions at all it lets pass.
    fn compare_versions(&mut self) {
        for needer in &self.loaded {
            for (library, version) in &needer.elf.needed_versions {
                let named = |loaded: &&Loaded| {
                    loaded.elf.soname.as_deref() == Some(library) || loaded.name == *library
                };
                let Some(found) = self.loaded.iter().find(named) else { continue };
                let has = &found.elf.versions;
                if has.is_empty()
                    || has.contains(version)
                    || self.too_old.iter().any(|old| old.library == *library)
                {
                    continue;
                }
                let kind = |version: &str| version.split('_').next().unwrap_or_default().to_owned();
                let alike = has.iter().filter(|one| kind(one) == kind(version) && numbers_of(one).is_some());
                self.too_old.push(TooOld {
                    needed_by: needer.path.clone(),
                    library: library.clone(),
                    version: version.clone(),
                    newest: alike.max_by_key(|one| numbers_of(one)).cloned(),
                });
            }
        }
    }
}

/// Returns the numbers of a version as in `GLIBC_2.36`.
fn numbers_of(version: &str) -> Option<Vec<u32>> {
    version.split_once('_')?.1.split('.').map(|number| number.parse().ok()).collect()
}

struct Search<'a> {
    files: &'a Files<'a>,
    libc: Libc,
    library_path: Vec<&'a str>,
    /// Paths by library name, of `/etc/ld.so.cache`.
    cache: BTreeMap<String, Vec<String>>,
    /// The last directories to be searched.
    defaults: Vec<String>,
    /// Directories of ld.so.conf, which count only when the cache was made from them.
    configured: Vec<String>,
}

impl Search<'_> {
    fn load(&mut self, loading: &mut Loading, needer: usize, name: &str) -> Result<(), ViewError> {
        if loading.is_loaded(name) || (self.libc == Libc::Musl && is_part_of_musl(name)) {
            return Ok(());
        }
        let wanted = &loading.loaded[0].elf;
        let mut unreadable = None;
        for path in self.candidates(loading, needer, name) {
            let Some(found) = self.files.find(&path)? else { continue };
            if !matches!(found.node.entry.kind, EntryKind::File { .. }) {
                continue;
            }
            if !self.files.may_read(&found.node.entry) {
                unreadable.get_or_insert(path);
                continue;
            }
            // Both loaders go on when a file is for another machine.
            let Some(library) = elf::read(self.files, &found)? else { continue };
            if library.machine == wanted.machine && library.is_64 == wanted.is_64 {
                let by = Some(needer);
                loading.loaded.push(Loaded { name: name.to_owned(), path, elf: library, loaded_by: by });
                return Ok(());
            }
        }
        let mut uncached = None;
        for directory in &self.configured {
            let path = format!("{directory}/{name}");
            if uncached.is_none() && self.files.find(&path)?.is_some() {
                uncached = Some(path);
            }
        }
        let needed_by = loading.loaded[needer].path.clone();
        loading.missing.push(Missing { needed_by, name: name.to_owned(), uncached, unreadable });
        Ok(())
    }

    /// Returns where a library may be, in the order in which the loader looks.
    fn candidates(&self, loading: &Loading, needer: usize, name: &str) -> Vec<String> {
        if name.contains('/') {
            return vec![name.to_owned()];
        }
        let mut directories: Vec<String> = Vec::new();
        let own = |path: &Option<String>, loaded: &Loaded| -> Vec<String> {
            let parts = path.as_deref().unwrap_or_default().split(':').filter(|part| !part.is_empty());
            parts.map(|part| expand(part, loaded)).collect()
        };
        let chain = std::iter::successors(Some(needer), |at| loading.loaded[*at].loaded_by);
        let chain = chain.map(|at| &loading.loaded[at]);
        let environment = self.library_path.iter().map(|part| (*part).to_owned());
        let needer = &loading.loaded[needer];
        match self.libc {
            Libc::Glibc => {
                if needer.elf.runpath.is_none() {
                    directories.extend(chain.flat_map(|loaded| own(&loaded.elf.rpath, loaded)));
                    directories.extend(own(&loading.loaded[0].elf.rpath, &loading.loaded[0]));
                }
                directories.extend(environment);
                directories.extend(own(&needer.elf.runpath, needer));
            }
            Libc::Musl => {
                directories.extend(environment);
                for loaded in chain {
                    directories.extend(own(&loaded.elf.runpath, loaded));
                    directories.extend(own(&loaded.elf.rpath, loaded));
                }
            }
        }
        let in_directory = |directory: String| format!("{}/{name}", directory.trim_end_matches('/'));
        let mut paths: Vec<String> = directories.into_iter().map(in_directory).collect();
        paths.extend(self.cache.get(name).into_iter().flatten().cloned());
        paths.extend(self.defaults.iter().cloned().map(in_directory));
        paths
    }

    fn configure_glibc(&mut self, program: &Elf, loader: &Found) -> Result<(), ViewError> {
        if let Some(bytes) = self.files.view.read(b"etc/ld.so.cache", FILE_LIMIT)? {
            self.cache = cache_entries(&bytes, program.is_little_endian).unwrap_or_default();
        }
        for line in self.configuration(b"etc/ld.so.conf", 0)? {
            self.configured.push(line);
        }
        let mut directories: Vec<String> = Vec::new();
        if let Some(triplet) = triplet(program) {
            directories.extend([format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
        }
        directories
            .extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib32", "/usr/lib32"].map(str::to_owned));
        // A C library that lives elsewhere has its own directory compiled in.
        directories.extend(loader.path.rsplit_once('/').map(|(directory, _)| directory.to_owned()));
        for directory in directories {
            let variants = format!("{directory}/glibc-hwcaps");
            self.defaults.push(directory);
            if let Some(found) = self.files.find(&variants)?
                && found.node.entry.is_directory()
            {
                for (name, _) in self.files.view.read_dir(found.path.trim_start_matches('/').as_bytes())? {
                    self.defaults.push(format!("{variants}/{}", String::from_utf8_lossy(&name)));
                }
            }
        }
        Ok(())
    }

    /// Returns the directories of ld.so.conf and of what it includes.
    fn configuration(&self, path: &[u8], depth: u32) -> Result<Vec<String>, ViewError> {
        let Some(bytes) = self.files.view.read(path, FILE_LIMIT)? else { return Ok(Vec::new()) };
        let mut directories = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(pattern) = line.strip_prefix("include ")
                && depth < 4
                && let Some(directory) = pattern.trim().strip_suffix("/*.conf")
            {
                let directory = directory.trim_start_matches('/').as_bytes();
                let Ok(entries) = self.files.view.read_dir(directory) else { continue };
                for (name, _) in entries.into_iter().filter(|(name, _)| name.ends_with(b".conf")) {
                    let path = [directory, b"/", &name].concat();
                    directories.extend(self.configuration(&path, depth + 1)?);
                }
            } else if line.starts_with('/') {
                directories.push(line.trim_end_matches('/').to_owned());
            }
        }
        Ok(directories)
    }

    fn configure_musl(&mut self, loader: &Found) -> Result<(), ViewError> {
        let name = loader.path.rsplit('/').next().unwrap_or_default();
        // `/lib/ld-musl-x86_64.so.1` is a link to libc.so in some distributions; its configuration keeps the name.
        let architecture = name.strip_prefix("ld-musl-").and_then(|name| name.split('.').next());
        let file = architecture.map(|architecture| format!("etc/ld-musl-{architecture}.path"));
        let text = match &file {
            Some(file) => self.files.view.read(file.as_bytes(), FILE_LIMIT)?,
            None => None,
        };
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.as_deref().unwrap_or("/lib:/usr/local/lib:/usr/lib");
        let parts = text.split([':', '\n']).map(str::trim).filter(|part| !part.is_empty());
        self.defaults = parts.map(str::to_owned).collect();
        Ok(())
    }
}

/// Expands `$ORIGIN`, `$LIB` and `$PLATFORM` (ld.so(8), "Dynamic string tokens").
fn expand(part: &str, loaded: &Loaded) -> String {
    let origin = loaded.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let lib = if loaded.elf.is_64 { "lib64" } else { "lib" };
    part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin).replace("${LIB}", lib).replace("$LIB", lib)
}

/// musl is one library under several names (ldso/dynlink.c, "load_library").
fn is_part_of_musl(name: &str) -> bool {
    let parts = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
    name.strip_prefix("lib").is_some_and(|rest| parts.iter().any(|part| rest.starts_with(part)))
}

/// Returns the directory name that Debian gives an architecture's libraries.
fn triplet(elf: &Elf) -> Option<&'static str> {
    Some(match elf.machine {
        numbers::EM_X86_64 => "x86_64-linux-gnu",
        numbers::EM_386 => "i386-linux-gnu",
        numbers::EM_AARCH64 => "aarch64-linux-gnu",
        numbers::EM_ARM => "arm-linux-gnueabihf",
        numbers::EM_RISCV => "riscv64-linux-gnu",
        numbers::EM_PPC64 => "powerpc64le-linux-gnu",
        numbers::EM_S390 => "s390x-linux-gnu",
        numbers::EM_MIPS => "mips64el-linux-gnuabi64",
        _ => return None,
    })
}

/// Reads `ld.so.cache` (glibc, sysdeps/generic/dl-cache.h): a header of 48 bytes, entries of 24, strings; perhaps
/// after a table in the format of before 2.2.
fn cache_entries(bytes: &[u8], little_endian: bool) -> Option<BTreeMap<String, Vec<String>>> {
    const OLD: &[u8] = b"ld.so-1.7.0";
    const NEW: &[u8] = b"glibc-ld.so.cache1.1";
    let number = |at: usize| -> Option<usize> {
        let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(if little_endian { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }).ok()
    };
    let start = if bytes.starts_with(OLD) {
        let end = number(12)?.checked_mul(12)?.checked_add(16)?;
        end.checked_next_multiple_of(8)?
    } else {
        0
    };
    if !bytes.get(start..)?.starts_with(NEW) {
        return None;
    }
    let text = |at: usize| {
        let rest = bytes.get(start.checked_add(at)?..)?;
        Some(String::from_utf8_lossy(rest.split(|byte| *byte == 0).next()?).into_owned())
    };
    let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for index in 0..number(start + 20)? {
        let at = index.checked_mul(24)?.checked_add(start + 48)?;
        let (Some(name), Some(path)) = (text(number(at + 4)?), text(number(at + 8)?)) else { break };
        entries.entry(name).or_default().push(path);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::{Libc, cache_entries, is_part_of_musl, libc, numbers_of};

    #[test]
    fn loaders_are_known_by_name() {
        assert_eq!(libc("/lib64/ld-linux-x86-64.so.2"), Some(Libc::Glibc));
        assert_eq!(libc("/lib/ld-linux-aarch64.so.1"), Some(Libc::Glibc));
        assert_eq!(libc("/lib64/ld64.so.2"), Some(Libc::Glibc));
        assert_eq!(libc("/lib/ld-musl-x86_64.so.1"), Some(Libc::Musl));
        assert_eq!(libc("/system/bin/linker64"), None);
    }

    #[test]
    fn musl_has_its_libraries_in_itself() {
        assert!(
            ["libc.so", "libm.so.6", "libpthread.so.0", "libc.musl-x86_64.so.1"]
                .into_iter()
                .all(is_part_of_musl)
        );
        assert!(!["libcrypt.so.1", "libz.so.1", "m.so"].into_iter().any(is_part_of_musl));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers_of("GLIBC_2.4") < numbers_of("GLIBC_2.36"));
        assert_eq!(numbers_of("GLIBC_PRIVATE"), None);
    }

    fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = 48 + entries.len() * 24;
        let mut add = |text: &str| {
            let at = (base + strings.len()) as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        for (name, path) in entries {
            let (name, path) = (add(name), add(path));
            table.extend_from_slice(&[0x03, 0x03, 0, 0]);
            table.extend_from_slice(&name.to_le_bytes());
            table.extend_from_slice(&path.to_le_bytes());
            table.extend_from_slice(&[0; 12]);
        }
        let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
        bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(strings.len() as u32).to_le_bytes());
        bytes.resize(48, 0);
        bytes.extend(table);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn the_cache_is_read_and_a_broken_one_is_none() {
        let bytes = cache(&[("libz.so.1", "/opt/z/libz.so.1"), ("liba.so", "/a/liba.so")]);
        let entries = cache_entries(&bytes, true).unwrap();
        assert_eq!(entries["libz.so.1"], ["/opt/z/libz.so.1"]);
        assert_eq!(entries.len(), 2);
        let mut old = b"ld.so-1.7.0\0".to_vec();
        old.extend_from_slice(&1u32.to_le_bytes());
        old.extend_from_slice(&[0; 16]);
        assert_eq!(old.len(), 32);
        old.extend_from_slice(&bytes);
        assert_eq!(cache_entries(&old, true), Some(entries));
        for length in 0..bytes.len() {
            let _no_panic = cache_entries(&bytes[..length], true);
        }
        assert_eq!(cache_entries(b"something else", true), None);
        let mut huge = bytes.clone();
        huge[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        let _no_hang = cache_entries(&huge, true);
    }
}
