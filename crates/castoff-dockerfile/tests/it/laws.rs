//! What holds for every input, as functions that panic where it does not. The fuzz targets use them too.

use castoff_dockerfile::expand::{ExpandOptions, expand, expand_shown, expand_words};
use castoff_dockerfile::{
    Diagnostic, Dockerfile, Instruction, InstructionKind, Severity, Span, parse, parse_trigger, print,
};

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

/// Places are in the text, on borders of characters, inside those of the whole, and in order.
pub fn check_file(bytes: &[u8]) {
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

/// A trigger's text parses, or there are errors with places in it.
pub fn check_trigger(text: &str) {
    for escape in ['\\', '`'] {
        match parse_trigger(text, escape) {
            Ok(instruction) => check_instruction(&instruction, text),
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty());
                check_diagnostics(&diagnostics, text);
            }
        }
    }
}

/// Printing a file that has no error and parsing it again gives the same tree.
pub fn check_round_trip(bytes: &[u8]) {
    let parsed = parse(bytes);
    if parsed.diagnostics.iter().any(|one| one.severity == Severity::Error) {
        return;
    }
    let printed = print(&parsed.dockerfile);
    let again = parse(printed.as_bytes());
    assert!(!again.has_errors(), "{printed:?}: {:#?}", again.diagnostics);
    let (before, after) = (shape(&parsed.dockerfile), shape(&again.dockerfile));
    assert_eq!(before, after, "{printed:?}");
    assert_eq!(print(&again.dockerfile), printed);
}

/// Returns the tree as text, without places.
fn shape(dockerfile: &Dockerfile) -> String {
    let text = format!("{dockerfile:?}");
    let mut shape = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("span: Span {").into_iter().chain(rest.find("lines: (")).min() {
        shape.push_str(&rest[..at]);
        let end = rest[at..].find(['}', ')']).map_or(rest.len(), |end| at + end + 1);
        rest = &rest[end..];
    }
    shape + rest
}

/// A word expands, or fails at a place in it; the forms of expansion agree; the result is bounded.
pub fn check_expansion(word: &str, escape: char, quotes: bool, variable: &dyn Fn(&str) -> Option<String>) {
    let options = ExpandOptions { escape, variable, quotes };
    let expanded = expand(word, &options);
    let words = expand_words(word, &options);
    let shown = expand_shown(word, &options);
    match expanded {
        Ok(expanded) => {
            let words = words.expect("what expands to one word expands to words");
            assert_eq!(words.unset, expanded.unset);
            assert!(words.words.iter().all(|word| !word.is_empty()));
            // `${name:-word}` does not count as a use of an unset variable, and is still shown as written.
            if expanded.unset.is_empty() && !word.contains("${") {
                assert_eq!(shown.as_ref(), Ok(&expanded.text));
            }
            assert!(expanded.text.len() <= word.len() + (1 << 20), "{} bytes", expanded.text.len());
        }
        Err(error) => {
            assert!(word.is_char_boundary(error.offset), "{} in {word:?}", error.offset);
            assert_eq!(words, Err(error));
        }
    }
    if let Err(error) = shown {
        assert!(word.is_char_boundary(error.offset), "{} in {word:?}", error.offset);
    }
}
