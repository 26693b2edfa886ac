//! Programs and scripts: found, executable, of a known format.

use castoff_inspect::{Rule, User, Wanted};
use castoff_oci::Healthcheck;

use crate::kit::{Compiler, Image};

/// A program without a loader.
fn program() -> Vec<u8> {
    let compiler = Compiler::new();
    let source = "void _start(void) { for (;;) {} }";
    std::fs::read(compiler.make("static", source, &["-static", "-nostdlib"])).unwrap()
}

#[test]
fn an_image_without_a_command_has_nothing_to_start() {
    Image::new(&[]).check(&[]);
}

#[test]
fn a_static_program_starts() {
    Image::new(&["/app"]).file("/app", 0o755, program()).check(&[]);
}

#[test]
fn a_program_is_looked_for_in_path() {
    let image = Image::new(&["app", "-x"]).file("/opt/bin/app", 0o755, program());
    image.check(&["program-missing certain: `app` is in no directory of PATH \
         (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)"]);
    assert_eq!(image.findings()[0].wanted, Some(Wanted::Program("app".to_owned())));
    image.env("PATH", "/bin:/opt/bin").check(&[]);
}

#[test]
fn what_cannot_be_executed_in_path_is_passed_over() {
    Image::new(&["app"]).file("/usr/local/bin/app", 0o644, "").file("/bin/app", 0o755, program()).check(&[]);
    Image::new(&["app"])
        .file("/usr/local/bin/app", 0o644, program())
        .check(&["program-not-executable certain: `/usr/local/bin/app` may not be executed by anybody: its mode is 0644"]);
}

#[test]
fn a_relative_program_is_below_the_working_directory() {
    let mut image = Image::new(&["./app"]).file("/srv/app", 0o755, program());
    image.check(&["program-missing certain: `./app`, which is `/./app`, is not in the image"]);
    image.config.config.working_dir = "/srv".to_owned();
    image.check(&[]);
}

#[test]
fn the_entrypoint_comes_before_the_command() {
    let mut image = Image::new(&["argument"]).file("/app", 0o755, program());
    image.config.config.entrypoint = Some(vec!["/app".to_owned()]);
    image.check(&[]);
    image.config.config.entrypoint = Some(vec!["/other".to_owned()]);
    image.check(&["program-missing certain: `/other` is not in the image"]);
}

#[test]
fn one_string_for_a_whole_command_line_is_hinted_at() {
    let image = Image::new(&["node server.js"]);
    assert_eq!(image.findings()[0].rule, Rule::ProgramMissing);
    assert!(image.findings()[0].hint.as_ref().unwrap().contains("each argument is a string of its own"));
}

#[test]
fn what_a_volume_may_bring_is_only_likely_to_be_missing() {
    let mut image = Image::new(&["/data/app"]);
    image.config.config.volumes = Some([("/data".to_owned(), Default::default())].into());
    image.check(&["program-missing likely: `/data/app` is not in the image"]);
}

#[test]
fn links_are_followed_inside_the_image() {
    Image::new(&["/bin/app"]).link("/bin", "usr/bin").file("/usr/bin/app", 0o755, program()).check(&[]);
    Image::new(&["/app"])
        .link("/app", "/gone")
        .check(&["program-missing certain: `/app` is not in the image"]);
}

#[test]
fn another_architecture_is_named() {
    let mut image = Image::new(&["/app"]).file("/app", 0o755, program());
    image.config.architecture = "s390x".to_owned();
    let own = Image::new(&[]).config.architecture;
    image.check(&[&format!(
        "wrong-architecture certain: `/app` is a program for {own}, and the image is for s390x"
    )]);
}

#[test]
fn a_file_of_no_format_is_not_executed() {
    let text = "unknown-format certain: `/app` is neither a binary nor a script: `exec format error`";
    Image::new(&["/app"]).file("/app", 0o755, "echo hello\n").check(&[text]);
    Image::new(&["/app"]).file("/app", 0o755, "").check(&[text]);
    Image::new(&["/app"])
        .file("/app", 0o755, "MZ..")
        .check(&["unknown-format likely: `/app` is neither a binary nor a script: `exec format error`"]);
    // A shell runs it itself.
    Image::new(&["/bin/sh", "-c", "/app"])
        .file("/bin/sh", 0o755, program())
        .file("/app", 0o755, "echo hello\n")
        .check(&[]);
}

#[test]
fn a_script_needs_its_interpreter() {
    let image = Image::new(&["/run"]).file("/run", 0o755, "#!/bin/bash -e\n");
    image.check(&[
        "interpreter-missing certain: `/run` asks for the interpreter `/bin/bash`, which is not in the image",
    ]);
    image.file("/bin/bash", 0o755, program()).check(&[]);
}

#[test]
fn a_carriage_return_is_part_of_the_name() {
    Image::new(&["/run"])
        .file("/bin/sh", 0o755, program())
        .file("/run", 0o755, "#!/bin/sh\r\necho\r\n")
        .check(&["carriage-return certain: the first line of `/run` ends with a carriage return, \
         which is taken for part of the name `/bin/sh`"]);
}

#[test]
fn env_looks_in_path() {
    let image = Image::new(&["/run"]).file("/run", 0o755, "#!/usr/bin/env python3\n").file(
        "/usr/bin/env",
        0o755,
        program(),
    );
    image
        .check(&["interpreter-missing certain: `/run` asks for `python3`, which is in no directory of PATH"]);
    image.file("/usr/bin/python3", 0o755, program()).check(&[]);
}

#[test]
fn interpreters_of_interpreters_end() {
    Image::new(&["/run"])
        .file("/run", 0o755, "#!/run\n")
        .check(&["interpreter-missing certain: `/run`: more than 5 interpreters of interpreters"]);
}

#[test]
fn the_shell_form_needs_a_shell_and_its_program() {
    Image::new(&["/bin/sh", "-c", "node server.js"]).check(&[
        "shell-missing certain: the command is in shell form, and the shell `/bin/sh` is not in the image",
    ]);
    let image = Image::new(&["/bin/sh", "-c", "exec app --port 80"]).file("/bin/sh", 0o755, program());
    image.check(&["program-missing certain: `app` is in no directory of PATH \
         (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)"]);
    image.file("/usr/bin/app", 0o755, program()).check(&[]);
    // What a shell makes of this is not foretold.
    Image::new(&["/bin/sh", "-c", "app || true"]).file("/bin/sh", 0o755, program()).check(&[]);
}

#[test]
fn the_script_of_an_interpreter_is_looked_for() {
    let mut image = Image::new(&["node", "dist/server.js"]).file("/usr/bin/node", 0o755, program());
    image.config.config.working_dir = "/srv".to_owned();
    image.check(&[
        "script-missing certain: `node` is to run `/srv/dist/server.js`, which is not in the image",
    ]);
    let image = image.file("/srv/dist/server.js", 0o600, "");
    image.check(&[]);
    image.user(1000).check(&[
        "not-readable certain: `/srv/dist/server.js` may not be read by the image's user: its mode is 0600",
    ]);
    Image::new(&["java", "-jar", "/app.jar"])
        .file("/usr/bin/java", 0o755, program())
        .check(&["script-missing certain: `java` is to run `/app.jar`, which is not in the image"]);
    // Options may mean anything.
    Image::new(&["python3", "-m", "http.server"]).file("/usr/bin/python3", 0o755, program()).check(&[]);
}

#[test]
fn permissions_are_those_of_the_user() {
    let image = Image::new(&["/private/app"]).file("/private/app", 0o700, program());
    image.check(&[]);
    let image = image.user(1000);
    image.check(&[
        "program-not-executable certain: `/private/app` may not be executed by the user `1000`: its mode is 0700",
    ]);
    std::fs::set_permissions(image.path("/private"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    image.check(&[
        "not-readable certain: `/private/app` cannot be reached by the image's user: `/private` may not be passed",
    ]);
}

#[test]
fn an_unknown_user_is_said() {
    let mut image = Image::new(&["/app"]).file("/app", 0o700, program());
    image.user = User::Unknown("unable to find user app: no matching entries in passwd file".to_owned());
    image.check(&[
        "user-unknown certain: the user of the image cannot be found: unable to find user app: no matching entries in passwd file",
    ]);
}

#[test]
fn the_working_directory_is_made_when_it_is_missing_and_is_no_file() {
    let mut image = Image::new(&["/app"]).file("/app", 0o755, program());
    image.config.config.working_dir = "/srv".to_owned();
    image.check(&[]);
    image
        .file("/srv", 0o644, "")
        .check(&["working-directory certain: the working directory `/srv` is no directory"]);
}

#[test]
fn the_program_of_the_health_check_is_looked_for() {
    let check = |test: &[&str], expected: &[&str]| {
        let mut image =
            Image::new(&["/app"]).file("/app", 0o755, program()).file("/bin/sh", 0o755, program());
        let test = test.iter().map(|word| (*word).to_owned()).collect();
        image.config.config.healthcheck = Some(Healthcheck { test, ..Healthcheck::default() });
        image.check(expected);
        assert!(image.findings().iter().all(|finding| !finding.rule.stops_start()));
    };
    check(&["NONE"], &[]);
    check(&["CMD", "/app", "--health"], &[]);
    check(&["CMD-SHELL", "test -e /ready"], &[]);
    check(
        &["CMD-SHELL", "curl -f http://localhost/ || exit 1"],
        &["healthcheck-missing certain: the health check runs `curl`, which is not in the image"],
    );
    check(
        &["CMD", "/bin/check"],
        &["healthcheck-missing certain: the health check runs `/bin/check`, which is not in the image"],
    );
}
