//! Names and values: ENV, LABEL, ARG (section 6).

use std::ops::Range;

use crate::flags::Head;
use crate::instruction::{Keyword, at_least_one};
use crate::scope::{Scope, shown};
use crate::words::{BLANKS, split_quoted, trim};
use crate::{ArgDeclaration, KeyValues};

/// Parses ENV and LABEL (D-105 to D-108).
pub(super) fn parse_pairs(scope: &mut Scope<'_>, keyword: Keyword, head: &Head) -> Option<KeyValues> {
    let words = split_quoted(&scope.joined.text, head.arguments.clone(), scope.escape);
    let words = at_least_one(scope, keyword, head, words)?;
    if !scope.text(words[0].clone()).contains('=') {
        return legacy_pair(scope, keyword, head);
    }
    let mut pairs = Vec::with_capacity(words.len());
    let mut sound = true;
    for word in words {
        let Some((name, value)) = split_pair(scope, &word) else {
            let text = shown(scope.text(word.clone()));
            let message =
                format!("syntax error: can't find = in \"{text}\"; must be of the form: name=value");
            scope.error(word, message);
            sound = false;
            continue;
        };
        if name.is_empty() {
            scope.error(word, format!("{} names can not be blank", keyword.name()));
            sound = false;
            continue;
        }
        pairs.push((scope.word(name), scope.word(value)));
    }
    sound.then_some(KeyValues { pairs, legacy: false })
}

/// The form without `=`: everything after the name is the value (D-106).
fn legacy_pair(scope: &mut Scope<'_>, keyword: Keyword, head: &Head) -> Option<KeyValues> {
    let text = &scope.joined.text;
    let arguments = head.arguments.clone();
    let Some(length) = text[arguments.clone()].find(BLANKS) else {
        scope.error(arguments, format!("{} must have two arguments", keyword.name()));
        return None;
    };
    let name = arguments.start..arguments.start + length;
    let value = trim(text, name.end..arguments.end);
    Some(KeyValues { pairs: vec![(scope.word(name), scope.word(value))], legacy: true })
}

/// Parses ARG (D-084).
pub(super) fn parse_arg(scope: &mut Scope<'_>, head: &Head) -> Option<Vec<ArgDeclaration>> {
    let words = split_quoted(&scope.joined.text, head.arguments.clone(), scope.escape);
    let words = at_least_one(scope, Keyword::Arg, head, words)?;
    let mut declarations = Vec::with_capacity(words.len());
    let mut sound = true;
    for word in words {
        let (name, default) = match split_pair(scope, &word) {
            Some((name, default)) => (name, Some(default)),
            None => (word.clone(), None),
        };
        if name.is_empty() {
            scope.error(word, "ARG names can not be blank");
            sound = false;
            continue;
        }
        declarations.push(ArgDeclaration {
            name: scope.word(name),
            default: default.map(|default| scope.word(default)),
        });
    }
    sound.then_some(declarations)
}

/// Splits a word at its first `=`.
fn split_pair(scope: &Scope<'_>, word: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let at = word.start + scope.text(word.clone()).find('=')?;
    Some((word.start..at, at + 1..word.end))
}
