//! FROM (D-112, D-113).

use crate::flags::{FlagKind, Head, check_flags};
use crate::instruction::whole;
use crate::scope::{Scope, shown};
use crate::words::split_blanks;
use crate::{From, Span, Spanned};

/// Parses FROM. A line in error still begins a stage, so that the instructions after it are checked.
pub(super) fn parse(scope: &mut Scope<'_>, head: Head, span: Span) -> From {
    let flags = check_flags(scope, &head.flags, &[("platform", FlagKind::Value)]).unwrap_or_default();
    let words = split_blanks(&scope.joined.text, head.arguments.clone());
    let (as_keyword, name) = match &words[..] {
        [_] => (None, None),
        [_, keyword, name] if scope.text(keyword.clone()).eq_ignore_ascii_case("as") => {
            (Some(scope.word(keyword.clone())), Some(scope.word(name.clone())))
        }
        [] if head.is_unbalanced() => (None, None),
        _ => {
            let place = if head.arguments.is_empty() { whole(&head) } else { head.arguments.clone() };
            scope.error_with_hint(
                place,
                "FROM requires either one or three arguments",
                "write FROM image, or FROM image AS name",
            );
            (None, None)
        }
    };
    if let (Some(name), Some(range)) = (&name, words.get(2))
        && !is_stage_name(&name.value.to_lowercase())
    {
        let message = format!(
            "invalid name for build stage: \"{}\", name can't start with a number or contain symbols",
            shown(&name.value)
        );
        scope.error(range.clone(), message);
    }
    let image = match words.first() {
        Some(range) => scope.word(range.clone()),
        None => Spanned { value: String::new(), span: scope.span(head.arguments.clone()) },
    };
    From {
        span,
        lines: scope.lines,
        keyword: scope.word(head.keyword),
        image,
        platform: flags.value("platform"),
        name,
        as_keyword,
        comments: Vec::new(),
    }
}

/// Whether a folded name is `^[a-z][a-z0-9-_.]*$`.
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))
}
