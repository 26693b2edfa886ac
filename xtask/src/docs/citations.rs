//! Who cites which rule.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust::{Token, tokens};

/// The tests that cite each rule.
pub type Cited = BTreeMap<u16, BTreeSet<String>>;

/// Adds the tests of a Rust file: a rule is cited in the comments above a test function or in its body.
pub fn of_rust(file: &str, text: &str, cited: &mut Cited) {
    let module = module(file);
    let tokens = tokens(text);
    let mut above = Vec::new();
    let mut is_test = false;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            // What stands at the head of a file is about all of it.
            [Token::Comment(comment), ..] if comment.starts_with("//!") => {
                above.clear();
                at += 1;
            }
            [Token::Comment(comment), ..] => {
                above.push(comment.as_str());
                at += 1;
            }
            [Token::Sign('#'), Token::Sign('['), rest @ ..] => {
                is_test |= matches!(rest, [Token::Word(word), Token::Sign(']'), ..] if word == "test");
                at += 2 + closing(rest, '[', ']');
            }
            [Token::Word(word), Token::Word(name), rest @ ..] if is_test && word == "fn" => {
                let open = rest.iter().position(|token| *token == Token::Sign('{')).unwrap_or(rest.len());
                let body = &rest[(open + 1).min(rest.len())..];
                let length = closing(body, '{', '}');
                let inside = body[..length].iter().filter_map(|token| match token {
                    Token::Comment(text) | Token::Text(text) => Some(text.as_str()),
                    Token::Word(_) | Token::Sign(_) => None,
                });
                for rule in above.drain(..).chain(inside).flat_map(rules) {
                    cited.entry(rule).or_default().insert(format!("{module}::{name}"));
                }
                is_test = false;
                at += 3 + open + length;
            }
            _ => {
                above.clear();
                is_test = false;
                at += 1;
            }
        }
    }
}

/// Adds the cases of the differential test: a rule is cited in the comments right above a case.
pub fn of_cases(file: &str, text: &str, cited: &mut Cited) {
    let group = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".toml");
    let mut above = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            above.extend(rules(comment));
            continue;
        }
        if line.starts_with('[') {
            inside = line == "[cases]" || line.starts_with("[cases.");
        }
        let key = match line.strip_prefix("[cases.") {
            Some(key) => key.trim_end_matches(']'),
            None => line.split_once(" = ").map_or("", |(key, _)| key),
        };
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if inside && !key.is_empty() && key.chars().all(is_key) {
            for rule in &above {
                cited.entry(*rule).or_default().insert(format!("differential::{group}::{key}"));
            }
        }
        above.clear();
    }
}

/// Returns the number of tokens up to and including the one that closes what was opened before them.
fn closing(tokens: &[Token], open: char, close: char) -> usize {
    let mut depth = 1;
    for (at, token) in tokens.iter().enumerate() {
        if *token == Token::Sign(open) {
            depth += 1;
        } else if *token == Token::Sign(close) {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}

/// Returns the module of a file: `crates/castoff-graph/src/pattern/tests.rs` is `graph::pattern`.
fn module(file: &str) -> String {
    let path = file.trim_start_matches("crates/").trim_start_matches("castoff-").trim_end_matches(".rs");
    let parts =
        path.split('/').filter(|part| !matches!(*part, "src" | "tests" | "it" | "lib" | "mod" | "main"));
    parts.collect::<Vec<_>>().join("::")
}

/// Returns the rules that a text names, those between the ends of `D-001..D-003` and `D-001 to D-003`
/// included.
fn rules(text: &str) -> Vec<u16> {
    let mut rules: Vec<u16> = Vec::new();
    let mut rest = text;
    let mut joined = false;
    while let Some(at) = rest.find("D-") {
        let between = &rest[..at];
        joined &= matches!(between, ".." | "..=" | " to ");
        let after = &rest[at + 2..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest = &after[digits..];
        let starts_word = !between.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        match after[..digits].parse::<u16>() {
            Ok(rule) if digits == 3 && starts_word => {
                match rules.last() {
                    Some(&first) if joined => rules.extend(first + 1..=rule),
                    _ => rules.push(rule),
                }
                joined = true;
            }
            _ => joined = false,
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<String> {
        let mut cited = Cited::new();
        match file.ends_with(".rs") {
            true => of_rust(file, text, &mut cited),
            false => of_cases(file, text, &mut cited),
        }
        let line = |(rule, tests): (&u16, &BTreeSet<String>)| {
            format!("{rule} {}", tests.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        cited.iter().map(line).collect()
    }

    #[test]
    fn tests_cite_above_and_inside() {
        let text = "
            //! D-001
            /// D-002 and D-003.
            #[test]
            fn a() { if x { /* D-004 */ } f(\"D-005: y\"); }
            // D-006
            fn helper() { /* D-007 */ }
            // D-008
            #[cfg(unix)]
            #[test]
            // D-009
            fn b() {}
            proptest! { /// D-010
                #[test] fn c(x in 0..3) { z() } }
        ";
        assert_eq!(
            found("crates/castoff-plan/tests/it/args.rs", text),
            [
                "2 plan::args::a",
                "3 plan::args::a",
                "4 plan::args::a",
                "5 plan::args::a",
                "8 plan::args::b",
                "9 plan::args::b",
                "10 plan::args::c",
            ]
        );
        assert_eq!(
            found("crates/castoff/src/a/tests.rs", "/// D-001\n#[test]\nfn x() {}"),
            ["1 castoff::a::x"]
        );
    }

    #[test]
    fn cases_cite_right_above() {
        let text = "# D-001\nfiles = [\n]\n\n[cases]\n# D-002\n# D-003\na-b = \"x\"\nc = '''\n# D-004\nRUN\n'''\n# D-005\n[cases.d]\ntext = 'x'\n";
        assert_eq!(
            found("xtask/differential/copy.toml", text),
            ["2 differential::copy::a-b", "3 differential::copy::a-b", "5 differential::copy::d"]
        );
    }

    #[test]
    fn ranges_are_spelt_out() {
        assert_eq!(rules("D-001..D-003, D-010 to D-011; D-020"), [1, 2, 3, 10, 11, 20]);
        assert_eq!(rules("D-1 ID-001 D-0011 B-001 x-D-002 (D-003)"), [3]);
    }
}
