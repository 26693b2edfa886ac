//! COPY and ADD (section 10.1).

use std::ops::Range;

use crate::flags::{FlagKind, Flags, Head};
use crate::instruction::{Keyword, flagged, list, whole};
use crate::scope::Scope;
use crate::words::{Json, json, split_blanks};
use crate::{Copy, Heredoc, Spanned};

/// Parses COPY.
pub(super) fn parse_copy(scope: &mut Scope<'_>, head: &Head) -> Option<Copy> {
    let allowed = [
        ("from", FlagKind::Value),
        ("chown", FlagKind::Value),
        ("chmod", FlagKind::Value),
        ("link", FlagKind::Switch),
        ("parents", FlagKind::Switch),
        ("exclude", FlagKind::List),
    ];
    flagged(scope, head, &allowed, |scope, flags| parse(scope, Keyword::Copy, head, flags))
}

/// Parses ADD.
pub(super) fn parse_add(scope: &mut Scope<'_>, head: &Head) -> Option<Copy> {
    let allowed = [
        ("chown", FlagKind::Value),
        ("chmod", FlagKind::Value),
        ("link", FlagKind::Switch),
        ("exclude", FlagKind::List),
        ("checksum", FlagKind::Value),
        ("keep-git-dir", FlagKind::Switch),
        ("unpack", FlagKind::Switch),
    ];
    flagged(scope, head, &allowed, |scope, flags| parse(scope, Keyword::Add, head, flags))
}

/// A word of the arguments.
enum Argument {
    Path(Spanned<String>),
    Heredoc(Heredoc, Range<usize>),
}

fn parse(scope: &mut Scope<'_>, keyword: Keyword, head: &Head, flags: &Flags) -> Option<Copy> {
    let name = keyword.name();
    let mut arguments = arguments(scope, head)?;
    let destination = arguments.pop();
    let destination = match destination {
        Some(Argument::Heredoc(_, range)) => {
            scope.error(range, format!("{name} cannot accept a heredoc as a destination"));
            return None;
        }
        Some(Argument::Path(destination)) if !arguments.is_empty() => destination,
        Some(Argument::Path(_)) => {
            let message = format!(
                "{name} requires at least two arguments, but only one was provided; \
                 the destination could not be determined"
            );
            scope.error(head.arguments.clone(), message);
            return None;
        }
        None => {
            scope.error(whole(head), format!("{name} requires at least two arguments"));
            return None;
        }
    };
    let mut sources = Vec::new();
    let mut heredocs = Vec::new();
    for argument in arguments {
        match argument {
            Argument::Path(path) => sources.push(path),
            Argument::Heredoc(heredoc, _) => heredocs.push(heredoc),
        }
    }
    Some(Copy {
        sources,
        heredocs,
        destination,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}

fn arguments(scope: &mut Scope<'_>, head: &Head) -> Option<Vec<Argument>> {
    let text = &scope.joined.text;
    if json(text, head.arguments.clone()) != Json::Other {
        return Some(list(scope, head.arguments.clone())?.into_iter().map(Argument::Path).collect());
    }
    // Tokens of here-documents are whole words and may hold blanks; the rest is split at blanks.
    let mut arguments = Vec::new();
    let mut at = head.arguments.start;
    let paths = |range| split_blanks(text, range).into_iter().map(|word| Argument::Path(scope.word(word)));
    for found in &scope.heredocs {
        arguments.extend(paths(at..found.range.start));
        arguments.push(Argument::Heredoc(found.heredoc.clone(), found.range.clone()));
        at = found.range.end;
    }
    arguments.extend(paths(at..head.arguments.end));
    Some(arguments)
}
