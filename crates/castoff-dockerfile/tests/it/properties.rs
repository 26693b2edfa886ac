//! Laws that hold for every input.

use castoff_dockerfile::expand::{ExpandOptions, expand};
use castoff_dockerfile::{Diagnostic, Instruction, InstructionKind, Span, parse, parse_trigger};
use proptest::prelude::*;

/// Pieces that make random text look like a Dockerfile.
const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "HEALTHCHECK ",
    "CMD ",
    "ONBUILD ",
    "SHELL ",
    "VOLUME ",
    "EXPOSE ",
    "scratch",
    " AS ",
    "a",
    "/b",
    "x=1",
    "=",
    "\"",
    "'",
    "\\",
    "\\\n",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    "#",
    "# escape=`\n",
    "# syntax=x\n",
    "`",
    "`\n",
    "<<EOF",
    "<<-'E F'",
    "<<",
    "EOF",
    "\nEOF\n",
    "E F\n",
    "--",
    "--from=",
    "--mount=type=cache,",
    "--link",
    "--interval=5s",
    "NONE",
    "[",
    "]",
    "\"a\"",
    ",",
    "$",
    "${",
    "}",
    ":-",
    "##",
    "%",
    "//",
    "\u{feff}",
    "\u{fc}",
    "\u{3000}",
    "\0",
];

fn dockerfile() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

fn check_span(span: Span, source: &str) {
    assert!(span.start <= span.end, "{span:?}");
    assert!(source.get(span.range()).is_some(), "{span:?} in {} bytes", source.len());
}

fn check_lines(lines: (u32, u32), source: &str) {
    let count = source.split('\n').count();
    assert!(1 <= lines.0 && lines.0 <= lines.1 && lines.1 as usize <= count, "{lines:?} of {count}");
}

fn check_diagnostics(diagnostics: &[Diagnostic], source: &str) {
    for diagnostic in diagnostics {
        check_span(diagnostic.span, source);
        check_lines(diagnostic.lines, source);
    }
}

fn check_instruction(instruction: &Instruction, source: &str) {
    check_span(instruction.span, source);
    check_lines(instruction.lines, source);
    check_span(instruction.keyword.span, source);
    assert_eq!(
        source[instruction.keyword.span.range()].chars().next(),
        instruction.keyword.value.chars().next()
    );
    match &instruction.kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => {
            copy.sources.iter().chain([&copy.destination]).for_each(|word| check_span(word.span, source));
            copy.heredocs.iter().for_each(|heredoc| check_span(heredoc.span, source));
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            for (name, value) in &pairs.pairs {
                check_span(name.span, source);
                check_span(value.span, source);
            }
        }
        InstructionKind::Run(run) => {
            run.heredocs.iter().for_each(|heredoc| check_span(heredoc.span, source));
            run.mounts.iter().for_each(|mount| check_span(mount.span, source));
        }
        InstructionKind::OnBuild(inner) => check_instruction(inner, source),
        _ => {}
    }
}

fn check_file(bytes: &[u8]) {
    let parsed = parse(bytes);
    check_diagnostics(&parsed.diagnostics, &parsed.source);
    let dockerfile = &parsed.dockerfile;
    dockerfile.global_args.iter().for_each(|arg| check_instruction(arg, &parsed.source));
    for stage in &dockerfile.stages {
        check_span(stage.from.span, &parsed.source);
        check_span(stage.from.image.span, &parsed.source);
        stage.instructions.iter().for_each(|instruction| check_instruction(instruction, &parsed.source));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_with_spans_in_range(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_file(&bytes);
    }

    #[test]
    fn likely_text_parses_with_spans_in_range(text in dockerfile()) {
        check_file(text.as_bytes());
    }

    #[test]
    fn likely_text_with_broken_bytes_parses(text in dockerfile(), at in any::<prop::sample::Index>()) {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = 0xff;
        }
        check_file(&bytes);
    }

    #[test]
    fn triggers_parse_or_fail_with_spans_in_range(text in dockerfile()) {
        match parse_trigger(&text, '\\') {
            Ok(instruction) => check_instruction(&instruction, &text),
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty());
                for diagnostic in diagnostics {
                    check_span(diagnostic.span, &text);
                }
            }
        }
    }

    #[test]
    fn any_word_expands_or_fails_inside_it(word in dockerfile(), quotes in any::<bool>()) {
        let variable = |name: &str| (name.len() % 2 == 1).then(|| format!("{name}/x"));
        let options = ExpandOptions { escape: '\\', variable: &variable, quotes };
        if let Err(error) = expand(&word, &options) {
            assert!(word.is_char_boundary(error.offset), "{} in {word:?}", error.offset);
        }
    }
}
