//! Both languages as tables, and their laws.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn excluded(patterns: &[&str], path: &str, expected: bool) {
    let compiled = IgnorePatterns::from_patterns(patterns).unwrap();
    assert_eq!(compiled.matches(path.as_bytes()), expected, "{patterns:?} on {path}");
}

#[track_caller]
fn refused(text: &str, line: usize, problem: PatternProblem) {
    let error = IgnorePatterns::parse(text).unwrap_err();
    assert_eq!((error.line, error.problem), (line, problem), "{text:?}: {error}");
}

// D-288, as moby's patternmatcher does it and the differential test has seen it.
#[test]
fn a_pattern_that_changes_nothing_does_not_count_below() {
    for (patterns, path, expected) in [
        (&["docs/deep", "!docs"][..], "docs", false),
        (&["docs/deep", "!docs"], "docs/deep", true),
        (&["docs/deep", "!docs"], "docs/deep/x", true),
        (&["docs", "!docs"], "docs/deep", false),
        (&["a", "!a/b", "a*"], "a/b", false),
        (&["a", "!a/b", "a*"], "a/c", true),
        (&["a", "!a/b", "a/*"], "a/b", true),
        (&["*", "!a", "a/b", "!a"], "a/b", true),
        (&["*/b", "!**"], "a/b/c", false),
    ] {
        excluded(patterns, path, expected);
    }
}

#[test]
fn one_pattern_against_one_path() {
    // D-285, D-286, D-287.
    for (pattern, path, expected) in [
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "ab", false),
        ("a", "b/a", false),
        ("a/b", "a", false),
        ("a/b", "a/b/c", true),
        ("*.o", "x.o", true),
        ("*.o", "sub/a.o", false),
        ("*.o", "d.o/inside", true),
        ("*", "anything/below", true),
        ("*/*", "a", false),
        ("*/*", "a/b", true),
        ("*/b", "a/b/c", true),
        ("?", "a", true),
        ("?", "ab", false),
        ("?", "\u{e9}", true),
        ("a?b", "a/b", false),
        ("[a-c]x", "bx", true),
        ("[a-c]x", "dx", false),
        ("[^a-c]x", "dx", true),
        ("[^a-c]x", "ax", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a.b", "axb", false),
        ("a(b)+c$", "a(b)+c$", true),
        ("A", "a", false),
        ("**", "a", true),
        ("**", "a/b/c", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "a/x/below", true),
        ("**/x", "a/yx", false),
        ("**/x/y", "x/y", true),
        ("**/x/y", "a/x/y/z", true),
        ("**/x/y", "x/a/y", false),
        ("a/**", "a", false),
        ("a/**", "a/b", true),
        ("a/**", "a/b/c", true),
        ("a/**", "ab", false),
        ("a**", "ab/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a**/*.txt", "a/x.txt", true),
        ("a**/*.txt", "ab/c/x.txt", true),
        ("a**/*.txt", "b/x.txt", false),
        ("**/*.txt", "x.txt", true),
        ("**/*.txt", "a/b/x.txt", true),
        ("**/*.txt", "a/b/x.txt.gz", false),
        ("**/*.*", "a/b", false),
        ("**/.git*", "a/.gitignore", true),
        ("**file", "file", true),
        ("**file", "dir/xfile", true),
        ("**file", "dir/file", true),
        ("**file", "filed", false),
        ("**a].m", "a].m", true),
        ("**a].m", "b/a].m", true),
        ("**a].m", "b/xa].m", false),
        ("**/a*b*c", "x/a1b2c", true),
        ("**/a*b*c", "x/a1c2b", false),
        ("*/**", "a/b", true),
        ("*/**", "a", false),
        ("**/**/x", "a/b/x", true),
    ] {
        excluded(&[pattern], path, expected);
    }
}

#[test]
fn patterns_are_cleaned_and_anchored() {
    // D-283.
    for (pattern, path, expected) in [
        ("/a", "a", true),
        ("./a//b/../c", "a/c", true),
        ("a/", "a", true),
        ("a/", "a/b", true),
        ("../a", "a", false),
        ("/../a", "a", true),
        (".", "a", false),
        ("/", "a", false),
        ("a/..", "b", false),
    ] {
        excluded(&[pattern], path, expected);
    }
}

#[test]
fn the_last_pattern_that_applies_decides() {
    // D-288, D-289, D-290.
    for (patterns, path, expected) in [
        (&["docs", "!docs/README.md"][..], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/other.md", true),
        (&["docs", "!docs/README.md"], "docs", true),
        (&["!docs/README.md", "docs"], "docs/README.md", true),
        (&["volume/", "!**/one.txt"], "volume/a/one.txt", false),
        (&["volume/", "!**/one.txt"], "volume/a/two.txt", true),
        (&["*", "!src"], "src/main.rs", false),
        (&["*", "!src"], "Makefile", true),
        (&["*", "!src", "src/target"], "src/target/x", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-1.md", false),
        (&["a", "!a/b", "a/b/c"], "a/b/c/d", true),
        (&["a", "! a/b"], "a/b", false),
        (&["**"], "", false),
    ] {
        excluded(patterns, path, expected);
    }
}

#[test]
fn a_file_may_exclude_everything() {
    // D-340, D-290.
    for (text, expected) in [
        ("*", true),
        ("**", true),
        ("a\n./*/\n", true),
        ("*/*", false),
        ("**/*.md", false),
        ("?", false),
        (".", false),
        ("*\n!a", false),
        ("", false),
    ] {
        assert_eq!(IgnorePatterns::parse(text).unwrap().excludes_everything(), expected, "{text}");
    }
}

#[test]
fn an_ignore_file_has_comments_blanks_and_a_byte_order_mark() {
    // D-281.
    let text = "\u{feff}# comment\r\n\n  a  \r\n #b\n\t\nc #d\n! a/x\n";
    let patterns = IgnorePatterns::parse(text).unwrap();
    assert_eq!(patterns.excluding_line(b"a"), Some(3));
    assert_eq!(patterns.excluding_line(b"#b"), Some(4));
    assert_eq!(patterns.excluding_line(b"c #d"), Some(6));
    assert_eq!(patterns.excluding_line(b"c"), None);
    assert_eq!(patterns.excluding_line(b"a/x"), None);
    assert_eq!(patterns.excluding_line(b"# comment"), None);
    assert!(IgnorePatterns::parse("\n# x\n").unwrap().is_empty());
}

#[test]
fn a_first_line_after_a_byte_order_mark_is_a_pattern() {
    // D-281.
    assert!(IgnorePatterns::parse("\u{feff}a\n").unwrap().matches(b"a"));
}

#[test]
fn malformed_patterns_are_refused_with_their_line() {
    // D-282, D-284.
    refused("a\n!\n", 2, PatternProblem::LoneExclamationMark);
    refused("!  \n", 1, PatternProblem::LoneExclamationMark);
    refused("\n\n[a", 3, PatternProblem::UnclosedClass);
    refused("a[", 1, PatternProblem::UnclosedClass);
    refused("[a-", 1, PatternProblem::UnclosedClass);
    refused("[]a]", 1, PatternProblem::MalformedClass);
    refused("[a-]", 1, PatternProblem::MalformedClass);
    refused("[-a]", 1, PatternProblem::MalformedClass);
    refused("a\\", 1, PatternProblem::TrailingBackslash);
    let error = IgnorePatterns::parse("x\nsrc/[ab\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: pattern `src/[ab`: `[` is not closed");
}

#[test]
fn names_that_are_not_utf8_are_matched_byte_by_byte() {
    // D-285, D-198.
    let patterns = IgnorePatterns::parse(b"\xff?.bin\ncaf\xe9".as_slice()).unwrap();
    assert!(patterns.matches(b"\xff\xfe.bin"));
    assert!(patterns.matches(b"caf\xe9/x"));
    assert!(!patterns.matches("caf\u{e9}".as_bytes()));
}

#[test]
fn directories_are_pruned_only_when_nothing_below_can_come_back() {
    // D-289.
    for (patterns, directory, expected) in [
        (&["node_modules"][..], "node_modules", true),
        (&["node_modules"], "src", false),
        (&["**/node_modules"], "a/b/node_modules", true),
        (&["**/node_modules", "!src/keep"], "a/node_modules", true),
        (&["a", "!a/b"], "a", false),
        (&["a", "!a/b"], "a/c", true),
        (&["a", "!a/b/c"], "a/b", false),
        (&["a", "!b/x"], "a", true),
        (&["a", "!**/one.txt"], "a", false),
        (&["a", "!**"], "a", false),
        (&["a", "!a/*.md"], "a", false),
        (&["a", "!a/*.md"], "a/b", true),
        (&["!a/b", "a"], "a", true),
        (&["*", "!src"], "src", false),
        (&["*", "!src"], "doc", true),
        (&["a", "!*"], "a/b", false),
        (&["a", "!a/x/**"], "a/x", false),
        (&["a", "!a/x/**"], "a/y", true),
        (&["a/**"], "a", false),
        (&["a/**"], "a/b", true),
        (&["*"], "", false),
    ] {
        let compiled = IgnorePatterns::from_patterns(patterns).unwrap();
        assert_eq!(compiled.can_prune(directory.as_bytes()), expected, "{patterns:?} on {directory}");
    }
}

#[test]
fn a_component_is_matched_as_go_matches_it() {
    // D-193, D-198; the cases of Go's path/filepath/match_test.go that have no slash.
    for (pattern, name, expected) in [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*c", "abc", true),
        ("a*", "abc", true),
        ("a*b*c*d*e*", "axbxcxdxe", true),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[e-g]", "abc", false),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "ab", false),
        ("a?b", "a\u{263a}b", true),
        ("a[^a]b", "a\u{263a}b", true),
        ("a???b", "a\u{263a}b", false),
        ("[a-\u{3b6}]*", "\u{3b1}", true),
        ("*[a-\u{3b6}]", "A", false),
        ("[\\]a]", "]", true),
        ("[\\-]", "-", true),
        ("[x\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("[\\-x]", "a", false),
        ("*x", "xxx", true),
        ("**", "abc", true),
        ("arr[[]0].txt", "arr[0].txt", true),
        ("", "", true),
        ("", "a", false),
    ] {
        let glob = Glob::parse(pattern.as_bytes()).unwrap();
        assert_eq!(glob.matches(name.as_bytes()), expected, "{pattern} on {name}");
    }
    for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a["] {
        assert!(Glob::parse(pattern.as_bytes()).is_err(), "{pattern}");
    }
}

#[test]
fn a_deep_pattern_covers_parents_and_says_where_to_search() {
    // D-224.
    let pattern = DeepPattern::parse(b"src/**/*.rs").unwrap();
    assert!(pattern.applies(b"src/a/b.rs"));
    assert!(pattern.may_match_below(b"src"));
    assert!(pattern.may_match_below(b"src/deep/er"));
    assert!(!pattern.may_match_below(b"doc"));
    assert!(pattern.may_match_below(b""));
}

#[test]
fn wildcards_are_seen_unless_escaped() {
    // D-193.
    for (path, expected) in [("a/b", false), ("a*", true), ("a\\*", false), ("\\\\*", true), ("[", true)] {
        assert_eq!(has_wildcard(path.as_bytes()), expected, "{path}");
    }
    assert_eq!(unescape(b"a\\*\\\\b\\"), b"a*\\b");
}

#[test]
fn paths_are_cleaned_and_confined() {
    // D-192.
    for (path, expected) in
        [("/a/b/", "a/b"), ("../x", "x"), ("a/../../x", "x"), (".", ""), ("//", ""), ("a/./b", "a/b")]
    {
        assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
    }
}

#[test]
fn a_hostile_pattern_does_not_hang() {
    let pattern = "*a".repeat(200) + "**/" + &"**/a".repeat(50) + "b";
    let path = "a/".repeat(500);
    excluded(&[&pattern], path.trim_end_matches('/'), false);
}

fn pattern_text() -> impl Strategy<Value = String> {
    "(!|/|\\./)?(a|b|ab|\\*|\\*\\*|\\?|/|\\[ab\\]|\\[\\^a\\]|\\\\a|\\.){1,8}"
}

fn path_text() -> impl Strategy<Value = String> {
    "[ab.]{1,3}(/[ab.]{1,3}){0,4}"
}

/// The moby rules written down naively: all splits are tried.
fn reference(pattern: &[u8], path: &[u8]) -> bool {
    fn go(tokens: &[machine::Token], text: &[u8]) -> bool {
        use machine::Token;
        let Some((first, rest)) = tokens.split_first() else { return text.is_empty() };
        let next = text.first().map(|byte| u32::from(*byte));
        match first {
            Token::Char(wanted) => next == Some(*wanted) && go(rest, &text[1..]),
            Token::AnyChar => next.is_some_and(|byte| byte != 47) && go(rest, &text[1..]),
            Token::Class { negated, ranges } => {
                next.is_some_and(|byte| ranges.iter().any(|(l, h)| (*l..=*h).contains(&byte)) != *negated)
                    && go(rest, &text[1..])
            }
            Token::Star => (0..=text.len())
                .take_while(|end| !text[..*end].contains(&b'/'))
                .any(|end| go(rest, &text[end..])),
            Token::Everything => (0..=text.len()).any(|end| go(rest, &text[end..])),
            Token::Directories => (0..=text.len())
                .filter(|end| *end == 0 || text[end - 1] == b'/')
                .any(|end| go(&rest[1..], &text[end..])),
            Token::Within => false,
        }
    }
    let tokens = ignore::tokens_for_tests(pattern);
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    ends.chain([path.len()]).any(|end| go(&tokens, &path[..end]))
}

proptest! {
    #[test]
    fn no_pattern_and_no_path_panics(pattern in ".*", path in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(patterns) = IgnorePatterns::parse(pattern.as_bytes()) {
            patterns.matches(&path);
            patterns.can_prune(&path);
        }
        if let Ok(glob) = Glob::parse(pattern.as_bytes()) {
            glob.matches(&path);
        }
    }

    #[test]
    fn no_bytes_panic(pattern in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(patterns) = IgnorePatterns::parse(&pattern) {
            patterns.matches(&pattern);
        }
    }

    #[test]
    fn shortcuts_agree_with_the_rules(pattern in pattern_text(), path in path_text()) {
        let pattern = pattern.trim_start_matches('!');
        if let Ok(compiled) = DeepPattern::parse(pattern.as_bytes()) {
            prop_assert_eq!(
                compiled.applies(path.as_bytes()),
                reference(pattern.as_bytes(), path.as_bytes()),
                "{} on {}", pattern, path
            );
        }
    }

    #[test]
    fn what_is_below_a_pruned_directory_is_excluded(
        patterns in proptest::collection::vec(pattern_text(), 1..4), path in path_text(), below in path_text()
    ) {
        if let Ok(compiled) = IgnorePatterns::from_patterns(&patterns)
            && compiled.can_prune(path.as_bytes())
        {
            let inside = format!("{path}/{below}");
            prop_assert!(compiled.matches(inside.as_bytes()), "{:?} on {}", patterns, inside);
        }
    }
}
