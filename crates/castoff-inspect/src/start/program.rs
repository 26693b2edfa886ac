//! What execve(2) makes of a file: a binary with its loader and libraries, or a script with its interpreter.

use castoff_layer::{EntryKind, ViewError};
use castoff_oci::ImageConfig;

use super::elf::{self, Elf};
use super::files::{Files, Found, Lookup};
use super::loader::{self, Libc, Loading};
use super::script::{self, Shebang};
use super::{Finding, Rule, Wanted};

/// Linux follows this many interpreters of interpreters (exec.c, "exec_binprm").
const INTERPRETERS_LIMIT: u32 = 5;

/// A process that would come to be.
pub(super) struct Process {
    /// The binary that runs in the end.
    pub(super) program: Found,
    /// Its arguments, with the script's when it is an interpreter; the first is its name.
    pub(super) argv: Vec<String>,
    /// Itself and its libraries, as far as they are found.
    pub(super) loading: Loading,
}

/// Says what is found about a program.
pub(super) struct Executor<'a> {
    pub(super) files: &'a Files<'a>,
    pub(super) config: &'a ImageConfig,
    /// Whether a shell starts it, which runs files of no format itself.
    pub(super) by_shell: bool,
}

impl Executor<'_> {
    /// Follows the file at an absolute path, which is known to be there.
    pub(super) fn execute(
        &self,
        found: &Found,
        argv: &[String],
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Process>, ViewError> {
        self.follow(found, argv.to_vec(), 0, findings)
    }

    fn follow(
        &self,
        found: &Found,
        argv: Vec<String>,
        depth: u32,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Process>, ViewError> {
        let path = &found.path;
        if !matches!(found.node.entry.kind, EntryKind::File { .. }) {
            let message = format!("`{path}` is no file and cannot be executed");
            findings.push(Finding::certain(Rule::ProgramNotExecutable, message));
            return Ok(None);
        }
        if !self.files.may_execute(&found.node.entry) {
            let mode = found.node.entry.mode;
            let who = self.who();
            let message = format!("`{path}` may not be executed by {who}: its mode is {mode:04o}");
            let hint = "add `--chmod=755` to the COPY that brings it";
            findings.push(Finding::certain(Rule::ProgramNotExecutable, message).hint(hint));
            return Ok(None);
        }
        let head = self.files.head(found, script::HEAD)?;
        if let Some(shebang) = script::parse(&head) {
            return self.script(found, &shebang, argv, depth, findings);
        }
        if let Some(elf) = elf::read(self.files, found)? {
            return self.binary(found, elf, argv, findings);
        }
        if self.by_shell && !head.contains(&0) {
            return Ok(None);
        }
        // Machines may have handlers for these (binfmt_misc).
        let handled =
            [&b"MZ"[..], b"PK", b"\0asm", b"\xca\xfe\xba\xbe"].iter().any(|magic| head.starts_with(magic));
        let message = format!("`{path}` is neither a binary nor a script: `exec format error`");
        let finding = match handled {
            true => Finding::likely(Rule::UnknownFormat, message),
            false => Finding::certain(Rule::UnknownFormat, message),
        };
        let hint = if head.is_empty() {
            "the file is empty"
        } else {
            "a script needs a first line such as `#!/bin/sh`"
        };
        findings.push(finding.hint(hint));
        Ok(None)
    }

    fn who(&self) -> String {
        match self.files.user {
            Some((uid, _)) if uid != 0 => {
                let name = &self.config.config.user;
                if name.is_empty() { format!("user {uid}") } else { format!("the user `{name}`") }
            }
            _ => "anybody".to_owned(),
        }
    }

    fn script(
        &self,
        found: &Found,
        shebang: &Shebang,
        argv: Vec<String>,
        depth: u32,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Process>, ViewError> {
        let path = &found.path;
        if !self.files.may_read(&found.node.entry) {
            let message = format!("`{path}` may not be read by {}", self.who());
            findings.push(Finding::certain(Rule::NotReadable, message));
            return Ok(None);
        }
        if shebang.has_carriage_return() {
            let message = format!(
                "the first line of `{path}` ends with a carriage return, which is taken for part of the name `{}`",
                shebang.interpreter.trim_end()
            );
            let hint = "save the file with Unix line ends, or add `* text=auto eol=lf` to .gitattributes";
            findings.push(Finding::certain(Rule::CarriageReturn, message).hint(hint));
            return Ok(None);
        }
        if depth >= INTERPRETERS_LIMIT {
            let message = format!("`{path}`: more than {INTERPRETERS_LIMIT} interpreters of interpreters");
            findings.push(Finding::certain(Rule::InterpreterMissing, message));
            return Ok(None);
        }
        let interpreter = &shebang.interpreter;
        let place = absolute(interpreter, &self.config.config.working_dir);
        let Lookup::Found(program) = self.files.lookup(&place)? else {
            let message =
                format!("`{path}` asks for the interpreter `{interpreter}`, which is not in the image");
            findings.push(
                Finding::certain(Rule::InterpreterMissing, message).wanted(Wanted::File(interpreter.clone())),
            );
            return Ok(None);
        };
        if let Some(name) = shebang.program_of_env() {
            match super::command::search(self.files, &self.config.config, name)? {
                Ok(program) => {
                    let mut inner = vec![name.to_owned(), path.clone()];
                    inner.extend(argv.into_iter().skip(1));
                    return self.follow(&program, inner, depth + 2, findings);
                }
                Err(_) => {
                    let message = format!("`{path}` asks for `{name}`, which is in no directory of PATH");
                    findings.push(
                        Finding::certain(Rule::InterpreterMissing, message)
                            .wanted(Wanted::Program(name.to_owned())),
                    );
                    return Ok(None);
                }
            }
        }
        let mut inner = vec![interpreter.clone()];
        inner.extend(shebang.argument.clone());
        inner.push(path.clone());
        inner.extend(argv.into_iter().skip(1));
        self.follow(&program, inner, depth + 1, findings)
    }

    fn binary(
        &self,
        found: &Found,
        elf: Elf,
        argv: Vec<String>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Process>, ViewError> {
        let path = &found.path;
        let architecture = &self.config.architecture;
        if !elf::runs(architecture, elf.machine) {
            let own = elf::architecture(elf.machine);
            let message = format!("`{path}` is a program for {own}, and the image is for {architecture}");
            let hint = "build it for TARGETARCH, or take it from a stage of the target's platform";
            findings.push(Finding::certain(Rule::WrongArchitecture, message).hint(hint));
            return Ok(None);
        }
        let Some(interpreter) = elf.interpreter.clone() else {
            // Linked statically: nothing else is needed.
            let loaded = loader::Loading::alone(found, elf);
            return Ok(Some(Process { program: found.clone(), argv, loading: loaded }));
        };
        let Some(loader) = self.files.find(&absolute(&interpreter, &self.config.config.working_dir))? else {
            findings.push(self.loader_missing(path, &interpreter)?);
            return Ok(None);
        };
        if !self.files.may_execute(&loader.node.entry) {
            let message =
                format!("the loader `{interpreter}` of `{path}` may not be executed by {}", self.who());
            findings.push(Finding::certain(Rule::ProgramNotExecutable, message));
            return Ok(None);
        }
        // A loader whose rules are not known may find what we do not.
        let Some(libc) = loader::libc(&interpreter).or_else(|| loader::libc(&loader.path)) else {
            let loaded = loader::Loading::alone(found, elf);
            return Ok(Some(Process { program: found.clone(), argv, loading: loaded }));
        };
        let library_path = self.config.config.variable("LD_LIBRARY_PATH");
        let named = Found { path: interpreter.clone(), ..loader.clone() };
        let loader = if libc == Libc::Musl { &named } else { &loader };
        let loading = loader::load(self.files, found, elf, loader, libc, library_path)?;
        for missing in &loading.missing {
            findings.push(library_missing(missing, libc, &self.who()));
        }
        for old in &loading.too_old {
            let newest = old.newest.as_ref().map(|newest| format!(" up to {newest}")).unwrap_or_default();
            let message = format!(
                "`{}` needs {} of `{}`, and the image's has versions{newest}",
                old.needed_by, old.version, old.library
            );
            let hint = "build in a stage whose distribution is no newer than that of the last stage";
            findings.push(Finding::certain(Rule::LibraryTooOld, message).hint(hint));
        }
        Ok(Some(Process { program: found.clone(), argv, loading }))
    }

    /// Says so by the names of the C libraries: the kernel says only `no such file or directory`, of a file
    /// that is there.
    fn loader_missing(&self, path: &str, interpreter: &str) -> Result<Finding, ViewError> {
        let musl = self.has_musl()?;
        let (kind, hint) = match loader::libc(interpreter) {
            Some(Libc::Glibc) if musl => (
                "is linked against glibc, and the image has musl: ",
                "build it in an Alpine stage, link it statically, or ship it on a Debian-like base",
            ),
            Some(Libc::Glibc) => (
                "is linked against glibc: ",
                "link it statically, or use a base with glibc (debian:*-slim, distroless/base)",
            ),
            Some(Libc::Musl) => (
                "is linked against musl: ",
                "link it statically (`-static`), or use an Alpine base for the last stage",
            ),
            None => ("", "link it statically, or copy the loader and its libraries too"),
        };
        let message = format!("`{path}` {kind}its loader `{interpreter}` is not in the image");
        Ok(Finding::certain(Rule::LoaderMissing, message)
            .hint(hint)
            .wanted(Wanted::File(interpreter.to_owned())))
    }

    fn has_musl(&self) -> Result<bool, ViewError> {
        let Ok(entries) = self.files.view.read_dir(b"lib") else { return Ok(false) };
        Ok(entries.iter().any(|(name, _)| name.starts_with(b"ld-musl-")))
    }
}

fn library_missing(missing: &loader::Missing, libc: Libc, who: &str) -> Finding {
    let loader::Missing { needed_by, name, uncached, unreadable } = missing;
    if let Some(path) = unreadable {
        let message = format!("`{path}`, which `{needed_by}` needs, may not be read by {who}");
        return Finding::certain(Rule::NotReadable, message);
    }
    if let Some(path) = uncached.as_ref().filter(|_| libc == Libc::Glibc) {
        let message = format!(
            "`{needed_by}` needs `{name}`: `{path}` is there, but the loader's cache does not list it"
        );
        return Finding::certain(Rule::LibraryMissing, message).hint("add `RUN ldconfig` after it is copied");
    }
    let message =
        format!("`{needed_by}` needs the library `{name}`, which the loader does not find in the image");
    Finding::certain(Rule::LibraryMissing, message).wanted(Wanted::Library(name.clone()))
}

/// Returns a path as a process in the working directory means it.
pub(super) fn absolute(path: &str, working_directory: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", working_directory.trim_end_matches('/'))
    }
}
