//! Parser directives (section 2).

use castoff_dockerfile::{Dockerfile, parse};

use crate::print::{fails, tree};

#[track_caller]
fn read(source: &str) -> Dockerfile {
    parse(source.as_bytes()).dockerfile
}

fn syntax(source: &str) -> Option<String> {
    let dockerfile = read(source);
    if let Some(syntax) = &dockerfile.syntax {
        assert!(source.get(syntax.span.range()).is_some());
    }
    dockerfile.syntax.map(|syntax| syntax.value)
}

#[test]
fn keys_are_case_insensitive_and_blanks_are_free() {
    // D-017
    for line in ["# escape=`", "#escape=`", "  # ESCAPE = `  ", "#\tEscape=`\r"] {
        assert_eq!(read(&format!("{line}\nFROM x\n")).escape, '`', "{line}");
    }
    assert_eq!(syntax("# syntax = Docker/X:1 \nFROM x"), Some("Docker/X:1".to_owned()));
}

#[test]
fn anything_else_ends_directive_position() {
    // D-018
    for lines in [
        "# x\n# escape=`",
        "\n# escape=`",
        "# foo=bar\n# escape=`",
        "# escape\n# escape=`",
        "#escape=\n#escape=`",
        "# x1=a\n# escape=`",
        "# 1x=a\n# escape=`",
        "# es-cape=a\n# escape=`",
    ] {
        assert_eq!(read(&format!("{lines}\nFROM x\n")).escape, '\\', "{lines}");
    }
    assert_eq!(read("FROM x\n# escape=`\nRUN a").escape, '\\');
    assert_eq!(read("# syntax=a\n# check=skip=all\n# escape=`\nFROM x").escape, '`');
}

#[test]
fn a_directive_may_stand_once() {
    // D-019
    fails("# escape=`\n# Escape=\\\nFROM x", &["only one escape parser directive can be used"]);
    fails("# syntax=a\n# syntax=a\nFROM x", &["only one syntax parser directive can be used"]);
    fails("# check=skip=all\n#check=skip=all\nFROM x", &["only one check parser directive can be used"]);
}

#[test]
fn directives_are_not_continued() {
    // D-020
    assert_eq!(syntax("# syntax=a\\\nFROM x"), Some("a\\".to_owned()));
}

#[test]
fn the_escape_character_is_a_backslash_or_a_backtick() {
    // D-021
    assert_eq!(read("# escape=\\\nFROM x").escape, '\\');
    fails("# escape=x\nFROM x", &["invalid escape token"]);
    fails("# escape=``\nFROM x", &["invalid escape token"]);
    let source = "# escape=`\nFROM x\nENV a=b` c d=e\\\nRUN c:\\ `\n d";
    assert_eq!(tree(source), "FROM x\nENV [a][b` c] [d][e\\]\nRUN sh \"c:\\\\  d\"\n");
}

#[test]
fn the_frontend_is_the_first_word() {
    // D-023, D-026
    assert_eq!(syntax("# syntax=docker/dockerfile:1 --x\nFROM x"), Some("docker/dockerfile:1".to_owned()));
    let check = read("# check=skip=all;error=true rest\nFROM x").check;
    assert_eq!(check.map(|check| check.value), Some("skip=all;error=true".to_owned()));
    // Found by fuzzing: other white space before the blank was kept, which D-017 trims.
    let check = read("# check=skip=a\u{b} rest\nFROM x").check;
    assert_eq!(check.map(|check| check.value), Some("skip=a".to_owned()));
}

#[test]
fn directives_are_not_expanded() {
    // D-061
    assert_eq!(
        syntax("# syntax=$BUILDKIT_SYNTAX\nARG BUILDKIT_SYNTAX=a\nFROM x"),
        Some("$BUILDKIT_SYNTAX".to_owned())
    );
    fails("# escape=$e\nARG e=`\nFROM x", &["invalid escape token"]);
}

#[test]
fn the_frontend_is_found_in_other_styles() {
    // D-024
    assert_eq!(syntax("// syntax=a\nFROM x"), Some("a".to_owned()));
    assert_eq!(syntax("{\n  \"syntax\": \"a\"\n}"), Some("a".to_owned()));
    assert_eq!(syntax("#!/usr/bin/x\n# syntax=a\nFROM x"), Some("a".to_owned()));
    assert_eq!(syntax("#!/usr/bin/x\n// syntax=a\nFROM x"), Some("a".to_owned()));
    assert_eq!(syntax("{\"syntax\": 1}"), None);
    assert_eq!(syntax("FROM x\n# syntax=a"), None);
    assert_eq!(read("#!/usr/bin/x\n# escape=`\nFROM x").escape, '\\');
}
