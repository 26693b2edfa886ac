//! Word expansion (section 5).

use castoff_dockerfile::expand::{ExpandOptions, expand, expand_shown, expand_words};

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "V" => "value",
        "EMPTY" => "",
        "PATHS" => "/a/b/c.tar.gz",
        "PORTS" => "80 443",
        "SLASHES" => "a/b/c",
        "STAR" => "*",
        "QUESTION" => "?}/x",
        "DOLLARS" => "$1",
        "V1" => "one",
        "_x" => "under",
        "BACK" => "a\\b",
        "gr\u{fc}n" => "green",
        _ => return None,
    };
    Some(value.to_owned())
}

fn options(escape: char, quotes: bool) -> ExpandOptions<'static> {
    ExpandOptions { escape, variable: &variable, quotes }
}

#[track_caller]
fn check(word: &str, expected: &str) {
    match expand(word, &options('\\', true)) {
        Ok(expanded) => assert_eq!(expanded.text, expected, "{word}"),
        Err(error) => panic!("{word}: {error}"),
    }
}

#[track_caller]
fn fails(word: &str, expected: &str) {
    match expand(word, &options('\\', true)) {
        Ok(expanded) => panic!("{word} gave {:?}", expanded.text),
        Err(error) => {
            assert!(error.message.contains(expected), "{word}: {error}");
            assert!(error.offset <= word.len(), "{word}: {}", error.offset);
        }
    }
}

#[test]
fn names_end_where_letters_digits_and_underscores_end() {
    // D-065
    check("$V", "value");
    check("$V-x", "value-x");
    check("$V1.$_x", "one.under");
    check("$gr\u{fc}n!", "green!");
    check("a$", "a$");
    check("$ $.", "$ $.");
    check("$(V)", "$(V)");
    check("$1x$@y$*$#$?$-$$$!z$0", "xyz");
}

#[test]
fn braces_hold_names() {
    // D-066
    check("${V}x", "valuex");
    check("${UNSET}x", "x");
    fails("${}", "bad substitution");
    fails("${:-x}", "bad substitution");
    fails("${{V}}", "bad substitution");
    fails("${+x}", "bad substitution");
    fails("${", "missing '}'");
    fails("${V", "missing '}'");
    fails("a${V:-x", "missing '}'");
    fails("${V:", "missing '}'");
}

#[test]
fn minus_gives_a_default() {
    // D-067
    check("${V:-w}", "value");
    check("${EMPTY:-w}", "w");
    check("${UNSET:-w}", "w");
    check("${EMPTY-w}", "");
    check("${UNSET-w}", "w");
    check("${UNSET-}", "");
}

#[test]
fn plus_gives_an_alternative() {
    // D-068
    check("${V:+w}", "w");
    check("${EMPTY:+w}", "");
    check("${UNSET:+w}", "");
    check("${EMPTY+w}", "w");
    check("${UNSET+w}", "");
}

#[test]
fn question_mark_requires_a_value() {
    // D-069
    check("${V:?no}", "value");
    check("${EMPTY?no}", "");
    fails("${UNSET?must be $V}", "UNSET: must be value");
    fails("${EMPTY:?no}", "EMPTY: no");
    fails("${UNSET?}", "UNSET: is not allowed to be unset");
    fails("${EMPTY:?}", "EMPTY: is not allowed to be empty");
}

#[test]
fn prefixes_and_suffixes_are_stripped() {
    // D-070, D-073
    check("${PATHS#*/}", "a/b/c.tar.gz");
    check("${PATHS##*/}", "c.tar.gz");
    check("${PATHS%.*}", "/a/b/c.tar");
    check("${PATHS%%.*}", "/a/b/c");
    check("${PATHS#nope}", "/a/b/c.tar.gz");
    check("${V#?}", "alue");
    check("${V%??}", "val");
    check("${V#}", "value");
    check("${STAR#\\*}", "");
    check("${V#\\*}", "value");
    check("${BACK#a\\\\}", "b");
    check("${QUESTION#\\?}", "}/x");
    check("${V#\\?}", "value");
    check("${QUESTION%\\}\\/x}", "?");
    check("${STAR#[*]}", "*");
    check("${V##$V}", "");
    check("${UNSET#x}", "");
    fails("${V#\\v}", "invalid escape");
}

#[test]
fn matches_are_replaced() {
    // D-071, D-073, D-074
    check("${SLASHES/b/x}", "a/x/c");
    check("${SLASHES/\\//-}", "a-b/c");
    check("${SLASHES//\\//-}", "a-b-c");
    check("${SLASHES//\\//}", "abc");
    check("${SLASHES//\\//\\/}", "a\\/b\\/c");
    check("${V/a*u/-}", "v-e");
    check("${V/?/X}", "Xalue");
    check("${V//?/X}", "XXXXX");
    check("${V//*/X}", "X");
    check("${V//x/y}", "value");
    check("${V//}/x}", "value");
    check("${V//[a-v]/x}", "value");
    check("${V/a/$DOLLARS}", "v$1lue");
    check("${V//a/$DOLLARS}", "v$1lue");
    check("${V/a/${V1:-x}}", "vonelue");
    check("${V//$V/}", "");
    check("${UNSET/x/y}", "");
    fails("${V/p}", "missing '/'");
    fails("${V/p/r", "missing '}'");
}

#[test]
fn an_empty_pattern_matches_at_the_start() {
    // D-071
    check("${V/$EMPTY/x}", "xvalue");
    check("${V/$UNSET/}", "value");
    check("${V///x}", "xvxaxlxuxex");
}

#[test]
fn other_operators_are_refused() {
    // D-072
    for word in ["${V=x}", "${V:=x}", "${V^}", "${V^^}", "${V,}", "${V:0:3}", "${V!}", "${V:#x}", "${V:%x}"] {
        fails(word, "unsupported modifier");
    }
}

#[test]
fn operands_nest() {
    // D-075
    check("${UNSET:-${UNSET2:-$V}}", "value");
    check("${UNSET:-\"a}b\"}", "a}b");
    check("${UNSET:-a\\}b}", "a}b");
    check("${UNSET:-'$V'}", "$V");
    check("${V:+${V%ue}${V1}}", "valone");
    let deep = format!("{}x{}", "${A:-".repeat(5000), "}".repeat(5000));
    fails(&deep, "nested too deeply");
}

#[test]
fn the_escape_character_makes_the_next_literal() {
    // D-076, D-079
    check("a\\b", "ab");
    check("\\$V \\${V}", "$V ${V}");
    check("\\\\$V", "\\value");
    check("a\\", "a");
    check("\\'\\\"", "'\"");
}

#[test]
fn the_escape_character_may_be_a_backtick() {
    // D-021
    let options = options('`', true);
    assert_eq!(expand("C:\\$V`$V", &options).unwrap().text, "C:\\value$V");
    assert_eq!(expand("\"`\"\\\"", &options).unwrap().text, "\"\\");
}

#[test]
fn single_quotes_are_literal() {
    // D-077
    check("'$V\\'x", "$V\\x");
    check("a'b c'd", "ab cd");
    fails("it's", "looking for matching single-quote");
}

#[test]
fn double_quotes_expand() {
    // D-078
    check("\"$V ${V}\"", "value value");
    check("\"\\\"\\$\\\\\\n\"", "\"$\\\\n");
    check("\"it's\"", "it's");
    fails("\"$V", "looking for matching double-quote");
    fails("\"a\\", "looking for matching double-quote");
}

#[test]
fn quotes_are_ordinary_in_bodies() {
    // D-054
    let options = options('\\', false);
    let body = "it's \"$V\" \\$V \\\\ \\n ${UNSET:-'}\n";
    assert_eq!(expand(body, &options).unwrap().text, "it's \"value\" $V \\ n '\n");
}

#[test]
fn unset_names_are_reported_once() {
    // D-080
    let expanded = expand("$B $A ${B} ${C:-x} ${D+y} ${E#z} $V", &options('\\', true)).unwrap();
    assert_eq!(expanded.unset, ["B", "A", "E"]);
}

#[test]
fn words_are_split_after_expansion() {
    // D-082
    let words = |word| expand_words(word, &options('\\', true)).unwrap().words;
    assert_eq!(words("$PORTS"), ["80", "443"]);
    assert_eq!(words("1$PORTS/udp"), ["180", "443/udp"]);
    assert_eq!(words("\"$PORTS\""), ["80 443"]);
    assert_eq!(words("8\\ 0"), ["8 0"]);
    assert_eq!(words("$UNSET"), [""; 0]);
    assert_eq!(words("''"), [""; 0]);
}

#[test]
fn unset_variables_stay_in_shown_text() {
    // D-083
    let shown = |word| expand_shown(word, &options('\\', true)).unwrap();
    assert_eq!(
        shown("$V $UNSET ${UNSET} ${UNSET:-x} ${UNSET%x}"),
        "value $UNSET ${UNSET} ${UNSET:-x} ${UNSET%x}"
    );
}

#[test]
fn results_do_not_grow_without_limit() {
    let long = "x".repeat(1 << 16);
    let variable = |_: &str| Some(long.clone());
    let options = ExpandOptions { escape: '\\', variable: &variable, quotes: true };
    assert!(expand(&"$V".repeat(8), &options).is_ok());
    let error = expand(&"$V".repeat(17), &options).unwrap_err();
    assert!(error.message.contains("too long"));
    let error = expand("${V//x/$V}", &options).unwrap_err();
    assert!(error.message.contains("too long"));
}
