//! ONBUILD and the triggers it stores (section 14).

use castoff_dockerfile::{InstructionKind, parse, parse_trigger};

use crate::print::{check, instruction, refused};

#[track_caller]
fn trigger(text: &str, expected: &str) {
    match parse_trigger(text, '\\') {
        Ok(parsed) => assert_eq!(instruction(&parsed), expected),
        Err(diagnostics) => panic!("{diagnostics:#?}"),
    }
}

#[track_caller]
fn refused_trigger(text: &str, expected: &str) {
    let diagnostics = parse_trigger(text, '\\').unwrap_err();
    assert!(diagnostics[0].message.contains(expected), "{diagnostics:?}");
}

#[test]
fn the_text_of_a_trigger_is_stored() {
    // D-266
    check("ONBUILD  RUN  a \\\n b", "ONBUILD \"RUN  a  b\" = RUN sh \"a  b\"");
    check("onbuild copy --from=x a b", "ONBUILD \"copy --from=x a b\" = COPY from=\"x\" \"a\" -> \"b\"");
    check(
        "ONBUILD COPY <<A <<B /x\na\nA\nB",
        "ONBUILD \"COPY <<A <<B /x\\na\\nA\\nB\" = COPY <<A \"a\\n\" <<B \"\" -> \"/x\"",
    );
}

#[test]
fn some_instructions_are_no_triggers() {
    // D-267
    refused("ONBUILD ONBUILD RUN a", "isn't allowed");
    refused("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger");
    refused("ONBUILD maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger");
    refused("ONBUILD", "ONBUILD requires at least one argument");
}

#[test]
fn errors_in_triggers_are_found_early() {
    refused("ONBUILD FOO", "unknown instruction: FOO");
    refused("ONBUILD COPY a", "COPY requires at least two arguments");
}

#[test]
fn stored_triggers_are_parsed() {
    // D-271
    trigger("RUN a", "RUN sh \"a\"");
    trigger("\n# c\nCOPY a b\n", "COPY \"a\" -> \"b\"");
    trigger("RUN <<A\nb\nA", "RUN sh \"<<A\" only <<A \"b\\n\"");
    trigger("ENV a=b", "ENV [a][b]");
    refused_trigger("RUN a\nRUN b", "more than one instruction");
    refused_trigger("", "no instruction");
    refused_trigger("FROM a", "FROM isn't allowed as an ONBUILD trigger");
    refused_trigger("ONBUILD RUN a", "isn't allowed");
    refused_trigger("FOO", "unknown instruction: FOO");
    refused_trigger("RUN <<A\n", "unterminated heredoc");
}

#[test]
fn a_stored_text_parses_to_the_same_trigger() {
    // D-266
    let source = "FROM x\nONBUILD RUN --mount=type=cache,target=/x cat <<-'A' && \\\n  y\n\ta $b\n\tA\n";
    let parsed = parse(source.as_bytes());
    let stored = &parsed.dockerfile.stages[0].instructions[0];
    let InstructionKind::OnBuild(inner) = &stored.kind else { panic!("{stored:?}") };
    let again = parse_trigger(&stored.text, '\\').unwrap();
    assert_eq!(instruction(inner), instruction(&again));
}
