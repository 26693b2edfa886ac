//! Errors of a whole file.

use castoff_dockerfile::{Parsed, parse};

use crate::print::fails;

#[test]
fn all_errors_are_found_in_one_run() {
    fails(
        "# escape=x\nFROM a b c\nRNU x\nCOPY a\nENV k\nRUN ok\nFROM x AS 1\nUSER\n",
        &[
            "invalid escape token",
            "FROM requires either one or three arguments",
            "unknown instruction: RNU",
            "COPY requires at least two arguments",
            "ENV must have two arguments",
            "invalid name for build stage",
            "USER requires exactly one argument",
        ],
    );
}

#[test]
fn sound_instructions_are_kept() {
    let parsed = parse(b"FROM x\nRUN a\nFOO\nRUN b\n");
    assert!(parsed.has_errors());
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 2);
    assert_eq!(parsed.diagnostics[0].lines, (3, 3));
}

#[test]
fn huge_files_are_refused() {
    let Parsed { diagnostics, .. } = parse(&vec![b'#'; (16 << 20) + 1]);
    assert_eq!(diagnostics[0].message, "the Dockerfile is too large");
}

#[test]
fn messages_do_not_repeat_huge_words() {
    let parsed =
        parse(format!("FROM x\n{}\nENV a=b {}", "A".repeat(100_000), "c".repeat(100_000)).as_bytes());
    assert_eq!(parsed.diagnostics.len(), 2);
    assert!(parsed.diagnostics.iter().all(|one| one.message.len() < 300));
}

#[test]
fn deep_json_is_plain_text() {
    let parsed = parse(format!("FROM x\nRUN {}\n", "[".repeat(100_000)).as_bytes());
    assert!(parsed.diagnostics.is_empty());
}

#[test]
fn findings_do_not_fill_the_memory() {
    assert_eq!(parse("x\n".repeat(100_000).as_bytes()).diagnostics.len(), 1000);
    let pairs = format!("FROM x\nENV a=b{}", " c".repeat(100_000));
    assert_eq!(parse(pairs.as_bytes()).diagnostics.len(), 1000);
}
