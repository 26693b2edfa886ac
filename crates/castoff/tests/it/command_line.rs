//! What can be said about a command line before anything is built.

use crate::{Run, run, run_as};

#[track_caller]
fn check(words: &[&str], code: i32, stdout: &str, stderr: &str) {
    let expected = Run { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    assert_eq!(run(words), expected, "{words:?}");
}

#[test]
fn the_version_is_data() {
    let version = format!("castoff {}\n", env!("CARGO_PKG_VERSION"));
    check(&["version"], 0, &version, "");
    check(&["--version"], 0, &version, "");
}

// B-004
#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    check(
        &["build", "--taget", "x", "."],
        1,
        "",
        "error: unexpected argument '--taget' found\n\n  tip: a similar argument exists: '--target'\n\n\
         Usage: castoff build --target <STAGE> <PATH|URL|->\n\nFor more information, try '--help'.\n",
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = run_as("docker", directory.path(), &["buildx", "build", "--taget", "x", "."]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(125), ""));
}

#[test]
fn a_flag_of_later_is_refused_by_name() {
    check(&["build", "--memory", "1g", "."], 1, "", "error: `--memory` is not supported yet\n");
    check(&["build", ".", "--cgroup-parent=x"], 1, "", "error: `--cgroup-parent` is not supported yet\n");
}

// B-039, B-137: before anything is read.
#[test]
fn a_wrong_value_is_refused_with_its_reason() {
    check(
        &["build", "-t", "A", "."],
        1,
        "",
        "error: invalid value `A` for `--tag`: invalid reference format: repository name `library/A` must be lowercase\n",
    );
    check(
        &["build", "--secret", "src=x", "."],
        1,
        "",
        "error: invalid value `src=x` for `--secret`: `id` is required\n",
    );
}

#[test]
fn help_is_data_and_missing_words_are_not() {
    let help = run(&["build", "--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.starts_with("Build an image from a Dockerfile\n"), "{}", help.stdout);
    for words in [&[][..], &["build"], &["build", "a", "b"], &["nonsense"]] {
        let run = run(words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{words:?}");
        assert!(!run.stderr.is_empty());
    }
}

// B-060
#[test]
fn a_context_that_does_not_exist_is_refused() {
    let run = run(&["build", "nowhere"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("path \"nowhere\" not found"), "{}", run.stderr);
}
