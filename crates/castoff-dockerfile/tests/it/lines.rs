//! Physical lines to logical lines (section 1).

use castoff_dockerfile::{InstructionKind, parse};

use crate::print::{check, fails, tree};

#[test]
fn a_byte_order_mark_is_dropped() {
    // D-001
    assert_eq!(tree("\u{feff}FROM x\n"), "FROM x\n");
    assert_eq!(tree("\u{feff}# escape=`\nFROM x\nRUN a`\nb"), "FROM x\nRUN sh \"ab\"\n");
    assert_eq!(parse("\u{feff}FROM x".as_bytes()).dockerfile.stages[0].from.image.span.range(), 8..9);
}

#[test]
fn carriage_returns_at_line_ends_are_stripped() {
    // D-002
    assert_eq!(tree("FROM x\r\nRUN a \\\r\n b\r\n"), "FROM x\nRUN sh \"a  b\"\n");
    assert_eq!(tree("# escape=`\r\nFROM x\r\nRUN a`\r\nb\r\n"), "FROM x\nRUN sh \"ab\"\n");
}

#[test]
fn long_lines_are_accepted() {
    // D-003
    let long = "a".repeat(100_000);
    check(&format!("RUN {long}"), &format!("RUN sh \"{long}\""));
}

#[test]
fn a_file_needs_a_stage() {
    // D-004
    fails("", &["the Dockerfile cannot be empty"]);
    fails("\n# x\n\n", &["file with no instructions"]);
    fails("\\\n", &["file with no instructions"]);
    fails("ARG a\n", &["no stages to build"]);
}

#[test]
fn indentation_of_keywords_is_ignored() {
    // D-005
    assert_eq!(tree("  FROM x\n\t RUN  a  b \n   # c\n"), "FROM x\nRUN sh \"a  b\"\n");
}

#[test]
fn comments_vanish_and_do_not_trail() {
    // D-006, D-007
    check("# a \\\nRUN b # c", "RUN sh \"b # c\"");
    check("ENV A=1 B=#x", "ENV [A][1] [B][#x]");
}

#[test]
fn comments_between_continued_lines_vanish() {
    // D-008
    check("RUN a \\\n# x\n   # y \\\nb", "RUN sh \"a b\"");
    check("RUN a \\\n# x", "RUN sh \"a\"");
}

#[test]
fn blank_lines_between_continued_lines_are_skipped() {
    // D-009
    check("RUN a \\\n\n   \n b", "RUN sh \"a  b\"");
}

#[test]
fn lines_continue_after_the_escape_character() {
    // D-010, D-012
    check("RUN ec\\\nho", "RUN sh \"echo\"");
    check("RUN echo a\\\n  b", "RUN sh \"echo a  b\"");
    check("RUN a \\ \t \nb", "RUN sh \"a b\"");
    check("RUN a\\\n\\\nb", "RUN sh \"ab\"");
    check("\\\nRUN a", "RUN sh \"a\"");
}

#[test]
fn two_or_three_escape_characters_do_not_continue() {
    // D-011
    assert_eq!(tree("FROM x\nRUN a\\\\\nRUN b"), "FROM x\nRUN sh \"a\\\\\\\\\"\nRUN sh \"b\"\n");
    assert_eq!(tree("FROM x\nRUN a\\\\\\\nRUN b"), "FROM x\nRUN sh \"a\\\\\\\\\\\\\"\nRUN sh \"b\"\n");
}

#[test]
fn a_continuation_may_end_with_the_file() {
    // D-013
    check("RUN a \\", "RUN sh \"a\"");
    check("RUN a \\\n\n", "RUN sh \"a\"");
}

#[test]
fn anything_may_be_broken_over_lines() {
    // D-014
    check("RU\\\nN --net\\\nwork=none [\"a\", \\\n\"b\"]", "RUN network=\"none\" exec [\"a\", \"b\"]");
}

#[test]
fn places_are_those_of_the_source() {
    // D-015
    let source = "FROM x\nRU\\\n# c\nN ab\\\ncd <<E\nbody\nE\nCMD []\n";
    let parsed = parse(source.as_bytes());
    let run = &parsed.dockerfile.stages[0].instructions[0];
    assert_eq!(run.lines, (2, 7));
    assert_eq!(&source[run.span.range()], "RU\\\n# c\nN ab\\\ncd <<E\nbody\nE");
    assert_eq!(&source[run.keyword.span.range()], "RU\\\n# c\nN");
    assert_eq!(run.keyword.value, "RUN");
    let InstructionKind::Run(kind) = &run.kind else { panic!("{run:?}") };
    assert_eq!(&source[kind.heredocs[0].span.range()], "<<E");
    assert_eq!(parsed.dockerfile.stages[0].instructions[1].lines, (8, 8));
}

#[test]
fn comments_above_are_kept() {
    // D-016
    let source = "# syntax=docker/dockerfile:1\n# base The base.\n\n# more\nFROM x AS base\n# gone\n#\n# kept\n\
                  ARG a\nARG b\n";
    let parsed = parse(source.as_bytes());
    let stage = &parsed.dockerfile.stages[0];
    assert_eq!(stage.from.comments, ["base The base.", "more"]);
    assert_eq!(stage.from.description(), Some("The base."));
    assert_eq!(stage.instructions[0].comments, ["kept"]);
    assert_eq!(stage.instructions[0].description("kep"), None);
    assert_eq!(stage.instructions[1].comments, [""; 0]);
}

#[test]
fn bytes_that_are_not_text_are_refused_outside_comments() {
    let errors = |source: &[u8]| {
        let parsed = parse(source);
        assert_eq!(parsed.source.len(), source.len());
        parsed.diagnostics.into_iter().map(|one| (one.message, one.span.start)).collect::<Vec<_>>()
    };
    assert_eq!(errors(b"# \xe9\nFROM x\nRUN a \\\n# \xff\n b"), []);
    assert_eq!(errors(b"FROM x\nRUN \xe9\xff"), [("not valid UTF-8".to_owned(), 11)]);
    assert_eq!(errors(b"FROM x\nCOPY <<E /a\n# \xff\nE\n"), [("not valid UTF-8".to_owned(), 21)]);
    assert_eq!(
        parse(b"\xff\xfeF\0R\0").diagnostics[0].message,
        "the Dockerfile is UTF-16; only UTF-8 is understood"
    );
}
