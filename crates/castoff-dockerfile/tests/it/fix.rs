//! Fixes: what they write, and that the file means the same afterwards.

use castoff_dockerfile::fix::{fix, mean_the_same};
use castoff_dockerfile::lint::LintOptions;
use castoff_dockerfile::parse;
use proptest::prelude::*;

fn fixed(source: &str) -> (String, usize) {
    let fixed = fix(source.as_bytes(), &LintOptions::default(), &|_| true);
    (String::from_utf8(fixed.bytes).unwrap(), fixed.applied.len())
}

#[track_caller]
fn check(source: &str, expected: &str) {
    let (once, count) = fixed(source);
    assert_eq!(once, expected, "{source}");
    assert_eq!(count == 0, source == expected, "{source}");
    assert_eq!(fixed(&once), (once.clone(), 0), "{source}");
}

/// Checks that a file has nothing that is fixed.
#[track_caller]
fn stays(source: &str) {
    check(source, source);
}

#[test]
fn keywords_get_the_case_of_the_majority() {
    // D-324, D-326
    check("FROM x\n# c\n  Run  a\nrun b\n", "FROM x\n# c\n  RUN  a\nRUN b\n");
    check("from x\nrun a\nRUN b", "from x\nrun a\nrun b");
    check("FROM x as y\r\nRUN a\r\n", "FROM x AS y\r\nRUN a\r\n");
    check("from x AS y\nrun b\n", "from x as y\nrun b\n");
    check("\u{feff}FROM x\nrun a\n", "\u{feff}FROM x\nRUN a\n");
    // Broken over two lines.
    stays("FROM x\nRUN a\nru\\\nn b\n");
}

#[test]
fn stages_are_renamed_with_their_uses() {
    // D-323, D-117
    check(
        "FROM x AS Build\nFROM y\nCOPY --from=Build a b\nRUN --mount=type=bind,from=Build,target=/t c Build\nCOPY --from=build a Build\n",
        "FROM x AS build\nFROM y\nCOPY --from=build a b\nRUN --mount=type=bind,from=build,target=/t c Build\nCOPY --from=build a Build\n",
    );
    // Its description would be lost (D-016).
    stays("# Build What it does.\nFROM x AS Build\n");
}

#[test]
fn blank_lines_inside_instructions_go() {
    // D-325
    check("FROM x\nRUN a \\\n\n  \n # c\n b\n\nRUN c\n", "FROM x\nRUN a \\\n # c\n b\n\nRUN c\n");
    check("FROM x\nRUN a \\\n\n <<E\n\nb\nE\n", "FROM x\nRUN a \\\n <<E\n\nb\nE\n");
}

#[test]
fn commands_of_plain_words_get_json_form() {
    // D-328
    check(
        "FROM x\nCMD node  server.js --port=80\n",
        "FROM x\nCMD [\"node\", \"server.js\", \"--port=80\"]\n",
    );
    for command in [
        "CMD node $FILE",
        "CMD a && b",
        "CMD cd /a",
        "CMD A=1 b",
        "CMD a 'b c'",
        "CMD a *",
        "CMD ~/a",
        "ENTRYPOINT a",
        "CMD exec a",
        "CMD a\\\n b",
        "ENTRYPOINT [\"x\"]\nCMD a",
    ] {
        stays(&format!("FROM x\n{command}\n"));
    }
    stays("FROM x\nSHELL [\"bash\", \"-c\"]\nCMD a\n");
}

#[test]
fn maintainers_become_labels() {
    // D-329
    check(
        "FROM x\nMAINTAINER Ada <a@b.org>\n",
        "FROM x\nLABEL org.opencontainers.image.authors=\"Ada <a@b.org>\"\n",
    );
    check("from x\nMaintainer a\nrun b\n", "from x\nlabel org.opencontainers.image.authors=\"a\"\nrun b\n");
    stays("FROM x\nMAINTAINER \"Ada\"\n");
    stays("FROM x\nMAINTAINER a$b\n");
}

#[test]
fn pairs_get_an_equals_sign() {
    // D-334, D-106
    check(
        "FROM x\nENV a b\nLABEL c   d e\nENV f \"g h\"\n",
        "FROM x\nENV a=b\nLABEL c=\"d e\"\nENV f \"g h\"\n",
    );
    check("FROM x\nENV a $b/c:$d e\n", "FROM x\nENV a=\"$b/c:$d e\"\n");
    stays("FROM x\nENV a b 'c d'\n");
    stays("FROM x\nENV a b\\ c\n");
}

#[test]
fn the_flag_of_the_target_platform_goes() {
    // D-336
    check("FROM --platform=$TARGETPLATFORM  x AS y\n", "FROM x AS y\n");
    check("FROM --platform=${TARGETPLATFORM} x\n", "FROM x\n");
    stays("ARG TARGETPLATFORM=linux/arm64\nFROM --platform=$TARGETPLATFORM x\n");
    stays("FROM --platform=\"$TARGETPLATFORM\" x\n");
}

#[test]
fn protocols_get_lower_case() {
    // D-342
    check("FROM x\nEXPOSE 80/TCP 81 82-83/Udp\n", "FROM x\nEXPOSE 80/tcp 81 82-83/udp\n");
    stays("FROM x\nEXPOSE $A/TCP\n");
}

#[test]
fn large_files_are_fixed_in_time() {
    let source = format!("FROM x\n{}", "run a\nENV a b\nCMD a\n".repeat(20_000));
    let (once, count) = fixed(&source);
    assert!(count > 50_000 && once.starts_with("FROM x\nRUN a\nENV a=b\nCMD [\"a\"]\n"), "{count}");
}

#[test]
fn files_with_errors_are_left_alone() {
    stays("FROM x as y\nRUNN a\n");
    stays("");
}

#[test]
fn bytes_that_are_not_text_stay() {
    let source = b"# caf\xe9\nFROM x as y\n";
    let fixed = fix(source, &LintOptions::default(), &|_| true);
    assert_eq!(fixed.bytes, b"# caf\xe9\nFROM x AS y\n");
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("FROM Alpine as Base"),
        Just("from x AS Two"),
        Just("FROM --platform=$TARGETPLATFORM y"),
        Just("FROM Base"),
        Just("COPY --from=Base a b"),
        Just("copy --from=TWO a b"),
        Just("RUN --mount=type=bind,from=Base,target=/x a \\\n\n # c\n  && b"),
        Just("run <<E\na \\\n\nE"),
        Just("ENV a b c"),
        Just("env a $b"),
        Just("LABEL a 'b c'"),
        Just("CMD a b"),
        Just("cmd echo a"),
        Just("Entrypoint a"),
        Just("MAINTAINER a <b>"),
        Just("EXPOSE 80/TCP $A/UDP"),
        Just("ARG TOKEN"),
        Just("SHELL [\"a\"]"),
        Just("ONBUILD Copy --from=Base a b"),
        Just("# Base is a comment"),
        Just("# check=skip=JSONArgsRecommended"),
        Just(""),
        Just("\tvolume /A"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn fixing_changes_no_meaning_and_leaves_nothing_to_fix(
        lines in prop::collection::vec(line(), 0..12),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let source = format!("FROM x{end}{}{end}", lines.join(end));
        let before = parse(source.as_bytes());
        let (once, _) = fixed(&source);
        let after = parse(once.as_bytes());
        prop_assert_eq!(before.has_errors(), after.has_errors());
        prop_assert!(mean_the_same(&before.dockerfile, &after.dockerfile), "{}", once);
        prop_assert_eq!(fixed(&once), (once.clone(), 0));
    }

    #[test]
    fn arbitrary_text_is_fixed_without_harm(source in "(FROM|from|RUN|Run|ENV|[ -~]|\n|\\\\\n){0,80}") {
        let before = parse(source.as_bytes());
        let (once, _) = fixed(&source);
        prop_assert!(mean_the_same(&before.dockerfile, &parse(once.as_bytes()).dockerfile));
    }
}
