//! Loaders and shared libraries, with programs that are really linked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use castoff_inspect::{Certainty, Rule, StartCheck, Wanted};
use castoff_layer::{Ownership, Tree, View};

use crate::kit::{Compiler, Image, machine_libraries};

/// Brings a program with all that the machine's loader loads for it, at the same paths.
fn with_libraries(image: Image, program: &Path) -> Image {
    machine_libraries(program).values().fold(image, |image, path| image.copy(path, path.to_str().unwrap()))
}

const LIBRARY: &str = "int castoff_answer(void) { return 42; }";
const USER: &str = "int castoff_answer(void); int main(void) { return castoff_answer() - 42; }";

#[test]
fn a_program_with_its_loader_and_libraries_starts() {
    let compiler = Compiler::new();
    let program = compiler.program();
    with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &program).check(&[]);
}

#[test]
fn a_glibc_program_without_its_loader_is_named_as_such() {
    let compiler = Compiler::new();
    let program = compiler.program();
    let image = Image::new(&["/app"]).copy(&program, "/app");
    let loader =
        machine_libraries(&program).into_values().find(|path| path.to_str().unwrap().contains("/ld-"));
    let loader = loader.unwrap();
    let loader = loader.to_str().unwrap();
    image.check(&[&format!(
        "loader-missing certain: `/app` is linked against glibc: its loader `{loader}` is not in the image"
    )]);
    image.file("/lib/ld-musl-x86_64.so.1", 0o755, "").check(&[&format!(
        "loader-missing certain: `/app` is linked against glibc, and the image has musl: \
         its loader `{loader}` is not in the image"
    )]);
}

#[test]
fn a_musl_program_without_its_loader_is_named_as_such() {
    let compiler = Compiler::new();
    let options = ["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"];
    let program = compiler.make("musl", "int main(void) { return 0; }", &options);
    with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &program).check(&[
        "loader-missing certain: `/app` is linked against musl: its loader `/lib/ld-musl-x86_64.so.1` is not in the image",
    ]);
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let compiler = Compiler::new();
    let library = compiler.make("libanswer.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
    let program = compiler.make("user", USER, &["-L.", "-l:libanswer.so"]);
    let image = with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &compiler.program());
    image.check(&[
        "library-missing certain: `/app` needs the library `libanswer.so.1`, which the loader does not find in the image",
    ]);
    assert_eq!(image.findings()[0].wanted, Some(Wanted::Library("libanswer.so.1".to_owned())));
    image.copy(&library, "/usr/lib/libanswer.so.1").check(&[]);
}

#[test]
fn a_library_outside_the_default_directories_needs_the_cache() {
    let compiler = Compiler::new();
    let library = compiler.make("libanswer.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
    let program = compiler.make("user", USER, &["-L.", "-l:libanswer.so"]);
    let image = with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &compiler.program())
        .copy(&library, "/usr/local/lib/libanswer.so.1");
    image.check(&[
        "library-missing certain: `/app` needs the library `libanswer.so.1`, which the loader does not find in the image",
    ]);
    let image = image.file("/etc/ld.so.conf", 0o644, "include /etc/ld.so.conf.d/*.conf\n").file(
        "/etc/ld.so.conf.d/libc.conf",
        0o644,
        "# default\n/usr/local/lib\n",
    );
    image.check(&[
        "library-missing certain: `/app` needs `libanswer.so.1`: `/usr/local/lib/libanswer.so.1` is there, \
         but the loader's cache does not list it",
    ]);
    assert_eq!(image.findings()[0].hint.as_deref(), Some("add `RUN ldconfig` after it is copied"));
    // The machine's ldconfig makes the cache.
    let root = image.path("/");
    let status = std::process::Command::new("/sbin/ldconfig").arg("-r").arg(&root).status().unwrap();
    assert!(status.success());
    image.check(&[]);
}

#[test]
fn the_environment_and_run_paths_are_searched() {
    let compiler = Compiler::new();
    let library = compiler.make("libanswer.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"]);
    let plain = compiler.make("user", USER, &["-L.", "-l:libanswer.so"]);
    let base = || with_libraries(Image::new(&["/opt/bin/app"]), &compiler.program());
    base()
        .copy(&plain, "/opt/bin/app")
        .copy(&library, "/opt/lib/libanswer.so.1")
        .env("LD_LIBRARY_PATH", "/nowhere:/opt/lib")
        .check(&[]);
    for tags in ["-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"] {
        let options = ["-L.", "-l:libanswer.so", tags, "-Wl,-rpath,$ORIGIN/../lib"];
        let program = compiler.make("run-path", USER, &options);
        base().copy(&program, "/opt/bin/app").copy(&library, "/opt/lib/libanswer.so.1").check(&[]);
    }
}

/// Only DT_RPATH is inherited by the libraries of a library.
#[test]
fn a_run_path_is_not_inherited() {
    let compiler = Compiler::new();
    let inner = compiler.make("libinner.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libinner.so"]);
    let outer = "int castoff_answer(void); int castoff_outer(void) { return castoff_answer(); }";
    let outer = compiler.make(
        "libouter.so",
        outer,
        &["-shared", "-fPIC", "-Wl,-soname,libouter.so", "-L.", "-linner"],
    );
    let user = "int castoff_outer(void); int main(void) { return castoff_outer() - 42; }";
    let check = |tags: &str, expected: &[&str]| {
        let options = ["-L.", "-louter", "-Wl,--allow-shlib-undefined", tags, "-Wl,-rpath,/opt/lib"];
        let program = compiler.make("inherit", user, &options);
        with_libraries(Image::new(&["/app"]), &compiler.program())
            .copy(&program, "/app")
            .copy(&outer, "/opt/lib/libouter.so")
            .copy(&inner, "/opt/lib/libinner.so")
            .check(expected);
    };
    check("-Wl,--disable-new-dtags", &[]);
    check(
        "-Wl,--enable-new-dtags",
        &["library-missing certain: `/opt/lib/libouter.so` needs the library `libinner.so`, \
           which the loader does not find in the image"],
    );
}

#[test]
fn an_older_library_lacks_a_version() {
    let compiler = Compiler::new();
    let script = |name: &str, text: &str| std::fs::write(compiler.place().join(name), text).unwrap();
    script("old.map", "ANSWER_1.2 { global: castoff_other; };");
    script(
        "new.map",
        "ANSWER_1.2 { global: castoff_other; }; ANSWER_1.10 { global: castoff_answer; } ANSWER_1.2;",
    );
    let options = |map: &'static str| ["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", map];
    let other = "int castoff_other(void) { return 1; }";
    let old = compiler.make("old.so", other, &options("-Wl,--version-script=old.map"));
    let new =
        compiler.make("new.so", &format!("{other} {LIBRARY}"), &options("-Wl,--version-script=new.map"));
    let program = compiler.make("user", USER, &["-L.", "-l:new.so"]);
    let image = with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &compiler.program())
        .copy(&new, "/usr/lib/libanswer.so.1");
    image.check(&[]);
    let image = image.copy(&old, "/usr/lib/libanswer.so.1");
    image.check(&[
        "library-too-old certain: `/app` needs ANSWER_1.10 of `libanswer.so.1`, and the image's has versions up to ANSWER_1.2",
    ]);
    assert_eq!(image.findings()[0].rule, Rule::LibraryTooOld);
}

#[test]
fn a_library_that_the_user_may_not_read_is_said() {
    let compiler = Compiler::new();
    let program = compiler.program();
    let image = with_libraries(Image::new(&["/app"]).copy(&program, "/app"), &program);
    let libc = machine_libraries(&program)["libc.so.6"].clone();
    let path = image.path(libc.to_str().unwrap());
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let libc = libc.to_str().unwrap();
    image.user(1000).check(&[&format!(
        "not-readable certain: `{libc}`, which `/app` needs, may not be read by the user `1000`"
    )]);
}

/// What is no ELF file at all, or breaks off anywhere, is not loaded and breaks nothing here.
#[test]
fn broken_programs_are_said_to_be_of_no_format() {
    let compiler = Compiler::new();
    let program = std::fs::read(compiler.program()).unwrap();
    for length in (1..program.len()).step_by(257) {
        let findings = Image::new(&["/app"]).file("/app", 0o755, &program[..length]).findings();
        assert!(!findings.is_empty(), "{length} bytes");
    }
}

/// The programs of this machine start, and its own loader is the second opinion. Every tenth of them, because each
/// takes a process.
#[test]
fn the_programs_of_this_machine_are_judged_as_its_loader_judges_them() {
    let tree = Tree::directory(Path::new("/"), None, Ownership::Keep).unwrap();
    let view = View::new(vec![Arc::new(tree)]);
    let mut names: Vec<_> =
        std::fs::read_dir("/usr/bin").unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut judged = 0;
    for path in names.iter().step_by(10) {
        let binary = std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
        if !binary || path.metadata().unwrap().permissions().mode() & 0o111 == 0 {
            continue;
        }
        let image = Image::new(&[path.to_str().unwrap()]);
        let user = image.user.clone();
        let findings = StartCheck { view: &view, config: &image.config, user }.run().unwrap();
        let certain: Vec<_> =
            findings.iter().filter(|finding| finding.certainty == Certainty::Certain).collect();
        // Behind a link, ldd takes the link's directory for the program's.
        let ldd = Command::new("ldd").arg(path.canonicalize().unwrap()).output().unwrap();
        let missing = String::from_utf8_lossy(&[ldd.stdout, ldd.stderr].concat()).contains("not found");
        assert_eq!(!certain.is_empty(), missing, "{}: {certain:?}", path.display());
        judged += 1;
    }
    assert!(judged > 5, "{judged} programs");
}
